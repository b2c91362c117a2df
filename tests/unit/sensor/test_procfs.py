# SPDX-License-Identifier: Apache-2.0
"""Reading /proc: a tree of plain files stands for it, with whatever a hostile process may put there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oisp_sensor.enrich.procfs import CMDLINE_BYTES, CUT, TICK_NS, read_process
from tests.unit.sensor.proctree import START, make


def read(proc: Path, pid: int = 7, start: int | None = START):  # type: ignore[no-untyped-def]
    return read_process(pid, None if start is None else start * TICK_NS, str(proc))


def test_all_facts(tmp_path: Path) -> None:
    make(tmp_path)
    facts = read(tmp_path)
    assert (facts.pid, facts.ppid, facts.pgid, facts.sid, facts.name) == (7, 1, 5, 6, "agent")
    assert (facts.exe, facts.cwd, facts.cgroup, facts.arguments) == (
        "/usr/bin/agent",
        "/srv",
        "/user.slice",
        ["agent", "-x"],
    )
    assert (facts.uid, facts.euid, facts.gid, facts.groups) == (1000, 0, 1001, [4, 27])
    assert (facts.terminal, facts.session, facts.start_ns) == ("/dev/pts/3", 3, START * TICK_NS)


def test_a_reused_pid_is_not_named(tmp_path: Path) -> None:
    make(tmp_path)
    assert read(tmp_path, start=START - 1) is None
    assert read(tmp_path, start=None) is not None


def test_a_pid_that_changes_hands_while_it_is_read_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oisp_sensor.enrich import procfs

    folder = make(tmp_path)
    rest = procfs._read_rest

    def read_and_replace(fd: int, *words: Any) -> procfs.RawProcess:
        raw = rest(fd, *words)
        stat = folder / "stat"
        stat.write_bytes(stat.read_bytes().replace(str(START).encode(), str(START + 9).encode()))
        return raw

    monkeypatch.setattr(procfs, "_read_rest", read_and_replace)
    assert read(tmp_path) is None


def test_a_process_that_ends_while_it_is_read_keeps_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oisp_sensor.enrich import procfs

    folder = make(tmp_path)
    rest = procfs._read_rest

    def read_and_die(fd: int, *words: Any) -> procfs.RawProcess:
        raw = rest(fd, *words)
        (folder / "stat").unlink()
        return raw

    monkeypatch.setattr(procfs, "_read_rest", read_and_die)
    assert read(tmp_path).exe == "/usr/bin/agent"


@pytest.mark.parametrize("comm", [b") S 1 1 (", b"a b", b"\xff\xfe", b"((((", b"\n"])
def test_any_name(tmp_path: Path, comm: bytes) -> None:
    make(tmp_path, comm=comm)
    facts = read(tmp_path)
    assert facts.ppid == 1
    assert facts.name == comm.decode("utf-8", "replace")


@pytest.mark.parametrize("stat", [b"", b"7", b"7 (x", b"7 (x) S 1", b"7 (x) " + b"z " * 40, b"\0" * 9000])
def test_a_broken_stat_names_nobody(tmp_path: Path, stat: bytes) -> None:
    folder = make(tmp_path)
    (folder / "stat").write_bytes(stat)
    assert read(tmp_path) is None


def test_long_arguments_are_cut_and_say_so(tmp_path: Path) -> None:
    make(tmp_path, cmdline=b"agent\0" + b"x" * 10_000_000)
    arguments = read(tmp_path).arguments
    assert len(arguments[1]) == CMDLINE_BYTES - 6 + 1
    assert arguments[1].endswith("x" + CUT)


def test_many_arguments_are_cut_and_say_so(tmp_path: Path) -> None:
    make(tmp_path, cmdline=b"a\0" * 5000)
    arguments = read(tmp_path).arguments
    assert len(arguments) == 513
    assert arguments[-1] == CUT


@pytest.mark.parametrize(
    ("cmdline", "expected"), [(b"", None), (b"\0", [""]), (b"a\0\0b\0", ["a", "", "b"]), (b"\xff", ["\ufffd"])]
)
def test_odd_arguments(tmp_path: Path, cmdline: bytes, expected: list[str] | None) -> None:
    make(tmp_path, cmdline=cmdline)
    assert read(tmp_path).arguments == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0::/a\n", "/a"),
        (b"3:cpu:/docker/x\n0::/\n", "/docker/x"),
        (b"1:name=systemd:/s\n2:cpu:/\n", "/s"),
        (b"junk", ""),
        (b"", ""),
    ],
)
def test_control_groups(tmp_path: Path, text: bytes, expected: str) -> None:
    make(tmp_path, cgroup=text)
    assert read(tmp_path).cgroup == expected


def test_missing_files_are_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path)
    for name in ("cmdline", "status", "cgroup", "sessionid", "exe", "cwd"):
        (folder / name).unlink()
    facts = read(tmp_path)
    assert (facts.exe, facts.cwd, facts.cgroup, facts.arguments, facts.uid) == ("", "", "", None, None)


def test_this_process() -> None:
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    facts = read_process(os.getpid())
    assert facts is not None
    assert facts.exe == os.path.realpath(f"/proc/{os.getpid()}/exe")
    assert facts.uid == os.getuid()
    assert facts.ppid == os.getppid()


def test_a_process_that_has_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert read_process(child.pid) is None
