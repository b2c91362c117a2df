# SPDX-License-Identifier: Apache-2.0
"""/proc/PID in two steps: bounded raw reads, which need power, and their parsing, which does not.

A pid and its start time name a process for ever. The folder is opened once and everything is read through it, and the
start time is compared before and after, so that a pid that was given to another process is never described. What stands
in /proc is written by the process itself (names, arguments, links) and may hold any bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import msgspec

__all__ = ["CMDLINE_BYTES", "CUT", "TICK_NS", "ProcessFacts", "RawProcess", "parse", "read_process", "read_raw"]

CMDLINE_BYTES = 16384
PATH_BYTES = 4096
_ARGUMENTS = 512
_GROUPS = 64
_STAT_BYTES = 4096
_STATUS_BYTES = 8192
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10_000_000
CUT = "\N{HORIZONTAL ELLIPSIS}"  # stands where a text was too long to be read whole
_PTS = range(136, 144)  # major numbers of pseudo terminals
_NO_SESSION = 0xFFFFFFFF


@dataclass
class ProcessFacts:
    """What is known of a process. Empty text or None: not known. Texts are UTF-8 clean, foreign bytes as U+FFFD."""

    pid: int
    start_ns: int  # since boot, to the clock tick
    ppid: int | None = None
    pgid: int | None = None
    sid: int | None = None
    name: str = ""
    exe: str = ""
    cwd: str = ""
    cgroup: str = ""
    arguments: list[str] | None = None
    uid: int | None = None
    gid: int | None = None
    euid: int | None = None
    groups: list[int] = field(default_factory=list)
    terminal: str = ""
    session: int | None = None

    @property
    def ticks(self) -> int:
        return self.start_ns // TICK_NS


class RawProcess(msgspec.Struct, tag="facts", frozen=True):
    """What was read, as it stood there. `start_ns` is of the process that was read."""

    pid: int
    start_ns: int
    found: bool = True  # False: the process has gone, or the pid is another's by now
    stat: bytes = b""
    status: bytes = b""
    cmdline: bytes = b""
    cgroup: bytes = b""
    sessionid: bytes = b""
    exe: bytes = b""
    cwd: bytes = b""


def read_process(pid: int, start_ns: int | None = None, proc: str = "/proc") -> ProcessFacts | None:
    """The facts of `pid`, or None: it has gone, or (with `start_ns`) that pid is another process by now."""
    raw = read_raw(pid, start_ns, proc)
    return None if raw is None else parse(raw)


def read_raw(pid: int, start_ns: int | None = None, proc: str = "/proc") -> RawProcess | None:
    """At most some 41 KiB of one process, its start time compared before and after."""
    try:
        folder = os.open(f"{proc}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        stat = _read(folder, "stat", _STAT_BYTES)
        ticks = start_ticks(stat)
        if ticks is None or (start_ns is not None and ticks != start_ns // TICK_NS):
            return None
        raw = _read_rest(folder, pid, ticks * TICK_NS, stat)
        after = start_ticks(_read(folder, "stat", _STAT_BYTES))
        # It may end while it is read: what was read then is true, but not complete.
        return raw if after is None or after == ticks else None
    finally:
        os.close(folder)


def _read_rest(folder: int, pid: int, start_ns: int, stat: bytes) -> RawProcess:
    return RawProcess(
        pid,
        start_ns,
        stat=stat,
        status=_read(folder, "status", _STATUS_BYTES),
        cmdline=_read(folder, "cmdline", CMDLINE_BYTES),
        cgroup=_read(folder, "cgroup", PATH_BYTES),
        sessionid=_read(folder, "sessionid", 32),
        exe=_link(folder, "exe"),
        cwd=_link(folder, "cwd"),
    )


def start_ticks(stat: bytes) -> int | None:
    """Field 22 of /proc/PID/stat."""
    return _number(stat, 19)


def parent_of(stat: bytes) -> int | None:
    return _number(stat, 1)


def _number(stat: bytes, field: int) -> int | None:
    """A field behind the name, which may hold blanks and parentheses: so from the last one on."""
    words = stat[stat.rfind(b")") + 2 :].split(None, field + 1)
    return int(words[field]) if b")" in stat and len(words) > field and words[field].isdigit() else None


def _read(folder: int, name: str, limit: int) -> bytes:
    """Up to `limit` bytes, and one more where there are more."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return b""
    data = b""
    try:
        while len(data) <= limit:
            piece = os.read(fd, limit + 1 - len(data))
            if not piece:
                break
            data += piece
    except OSError:
        pass
    finally:
        os.close(fd)
    return data


def _link(folder: int, name: str) -> bytes:
    try:
        return os.fsencode(os.readlink(name, dir_fd=folder))[:PATH_BYTES]
    except OSError:
        return b""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def parse(raw: RawProcess) -> ProcessFacts | None:
    """None where it does not read as a process."""
    facts = _parse_stat(raw.stat, raw.pid)
    if facts is None:
        return None
    facts.exe = _text(raw.exe)
    facts.cwd = _text(raw.cwd)
    facts.arguments = _arguments(raw.cmdline)
    facts.cgroup = _cgroup(raw.cgroup)
    session = raw.sessionid.strip()
    if session.isdigit() and int(session) != _NO_SESSION:
        facts.session = int(session)
    _parse_status(raw.status, facts)
    return facts


def _parse_stat(line: bytes, pid: int) -> ProcessFacts | None:
    """pid (comm) state ppid pgrp session tty_nr ...: comm may hold blanks and parentheses, so from the last one on."""
    start, end = line.find(b"("), line.rfind(b")")
    fields = line[end + 2 :].split()
    if start < 0 or end < start or len(fields) < 20:
        return None
    try:
        ppid, pgid, sid, terminal = (int(fields[i]) for i in (1, 2, 3, 4))
        started = int(fields[19])
    except ValueError:
        return None
    facts = ProcessFacts(pid, started * TICK_NS, ppid, pgid, sid, _text(line[start + 1 : end]))
    major, minor = terminal >> 8 & 0xFFF, terminal & 0xFF | terminal >> 12 & 0xFFF00
    if major in _PTS:
        facts.terminal = f"/dev/pts/{minor + (major - _PTS.start) * (1 << 20)}"
    elif major == 4:
        facts.terminal = f"/dev/tty{minor}" if minor < 64 else f"/dev/ttyS{minor - 64}"
    return facts


def _parse_status(status: bytes, facts: ProcessFacts) -> None:
    for line in status.split(b"\n"):
        key, _, value = line.partition(b":")
        numbers = [int(word) for word in value.split() if word.isdigit()]
        if key == b"Uid" and len(numbers) == 4:
            facts.uid, facts.euid = numbers[:2]
        elif key == b"Gid" and len(numbers) == 4:
            facts.gid = numbers[0]
        elif key == b"Groups":
            facts.groups = numbers[:_GROUPS]


def _arguments(data: bytes) -> list[str] | None:
    """None for a kernel thread, and for a process that ends."""
    if not data:
        return None
    cut = len(data) > CMDLINE_BYTES
    words = data[:CMDLINE_BYTES].removesuffix(b"\0").split(b"\0")
    arguments = [_text(word) for word in words[:_ARGUMENTS]]
    if cut:
        arguments[-1] += CUT
    if len(words) > _ARGUMENTS:
        arguments.append(CUT)
    return arguments


def _cgroup(data: bytes) -> str:
    """Of the unified hierarchy, or else the longest one of version 1."""
    lines = [line.split(b":", 2) for line in data.split(b"\n")]
    paths = {parts[0]: parts[2] for parts in lines if len(parts) == 3}
    unified = paths.pop(b"0", b"")
    longest = max(paths.values(), key=len, default=b"")
    return _text(unified if len(unified) > 1 or len(longest) <= 1 else longest)
