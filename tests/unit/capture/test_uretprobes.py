# SPDX-License-Identifier: Apache-2.0
"""Kernels and processes where a uretprobe would kill its target: the table, row by row."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from oisp_sensor.capture import functions, targets, uretprobes
from oisp_sensor.capture.elf import Function
from oisp_sensor.capture.program import GO_NUMBERS, PROBES
from oisp_sensor.capture.uretprobes import Machine, harm

X86, ARM = "x86_64", "aarch64"
SHADOW, GUARDED = frozenset({"user_shstk"}), frozenset({"gcs"})
STRICT, FILTER, NONE = "Name:\tx\nSeccomp:\t1\n", "Name:\tx\nSeccomp:\t2\n", "Name:\tx\nSeccomp:\t0\n"

ROWS = [
    # version, architecture, processor, status, a word of the reason
    ((5, 10), X86, frozenset(), NONE, ""),
    ((5, 10), X86, frozenset(), FILTER, ""),
    ((6, 5), X86, SHADOW, NONE, ""),
    ((6, 6), X86, SHADOW, NONE, "shadow stack"),
    ((6, 10), X86, SHADOW, NONE, "shadow stack"),
    ((6, 10), X86, frozenset(), FILTER, ""),
    ((6, 11), X86, SHADOW, NONE, "seccomp"),
    ((6, 11), X86, frozenset(), NONE, "seccomp"),
    ((6, 13), X86, frozenset(), FILTER, "seccomp"),
    ((6, 12), ARM, frozenset(), FILTER, ""),
    ((6, 14), X86, SHADOW, FILTER, ""),
    ((6, 18), X86, SHADOW, STRICT, ""),
    ((6, 10), X86, frozenset(), STRICT, "strict seccomp"),
    ((6, 12), ARM, GUARDED, NONE, ""),
    ((6, 13), ARM, GUARDED, NONE, "guarded control stack"),
    ((6, 17), ARM, GUARDED, NONE, "guarded control stack"),
    ((6, 18), ARM, GUARDED, NONE, ""),
]


@pytest.mark.parametrize(("version", "architecture", "cpu", "status", "word"), ROWS)
def test_the_table(version, architecture, cpu, status, word):
    found = harm(7, Machine(version, architecture, cpu, status, 7))
    assert (word in found) if word else found == ""


@pytest.mark.parametrize("version", [(5, 10), (6, 12), (7, 0)])
def test_never_in_processes_that_nobody_knows(version):
    assert "every process" in harm(0, Machine(version, X86))


def test_of_this_machine():
    assert harm(os.getpid()) == harm(os.getpid(), Machine.of(os.getpid()))
    assert harm(2**22 + 1) == "the process has gone"


def test_every_rule_has_its_row():
    reasons = {harm(7, Machine(v, a, c, s, 7)) for v, a, c, s, _ in ROWS} | {harm(0, Machine((7, 0), X86))}
    assert {rule.reason for rule in uretprobes.TABLE} <= reasons


@pytest.mark.parametrize("name", [name for name in PROBES if PROBES[name].exits])
def test_of_go_no_end_is_ever_given_to_a_uretprobe(name, monkeypatch):
    """A Go function that must be refused is none of those that a request brings back."""
    no = SimpleNamespace(through="", refused="no", offsets=[], shared=[])
    monkeypatch.setattr(functions, "find_exits", lambda file, function: no)
    target = targets.Target("x", 1, 1, uretprobes=True)
    targets._plan_function(None, Function(name, 64, 64, 10), target)
    assert name in target.refused
    assert (name in target.returned) == (PROBES[name].number not in GO_NUMBERS)
