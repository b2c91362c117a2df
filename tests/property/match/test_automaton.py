# SPDX-License-Identifier: Apache-2.0
"""The automaton finds exactly what a search that looks everywhere finds; any table in bounds is safe to scan with."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.match.automaton import Automaton
from tests.reference.match import find_all, find_leftmost

letters = st.sampled_from(b"abABc-")
small = st.lists(letters, min_size=1, max_size=6).map(bytes)
anything = st.binary(min_size=1, max_size=12)


@given(st.lists(small, max_size=12), st.lists(letters, max_size=900).map(bytes), st.booleans())
def test_few_letters(patterns: list[bytes], data: bytes, ignore_case: bool) -> None:
    assert Automaton(patterns, ignore_case=ignore_case).scan(data) == find_all(patterns, data, ignore_case)
    leftmost = Automaton(patterns, ignore_case=ignore_case, matches="leftmost")
    assert leftmost.scan(data) == find_leftmost(patterns, data, ignore_case)


@given(st.lists(anything, max_size=40), st.binary(max_size=200))
def test_any_bytes(patterns: list[bytes], data: bytes) -> None:
    data = data + b"".join(patterns) + data
    assert Automaton(patterns).scan(data) == find_all(patterns, data)


@given(st.lists(small, min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.binary(max_size=3000))
@settings(deadline=None)
def test_a_damaged_table_is_refused_or_harmless(patterns: list[bytes], seed: int, data: bytes) -> None:
    automaton = Automaton(patterns)
    arrays = automaton.to_arrays()
    rng = np.random.default_rng(seed)
    name = ("next", "classes", "out_start", "outputs")[seed % 4]
    changed = arrays[name].copy()  # type: ignore[literal-required]
    changed[rng.integers(len(changed))] = rng.integers(0, 256 if name == "classes" else 1 << (seed % 32))
    arrays[name] = changed  # type: ignore[literal-required]
    with contextlib.suppress(ValueError):
        for _, start, end in Automaton.from_arrays(automaton.patterns, arrays).scan(data):
            assert 0 <= start < end <= len(data)
