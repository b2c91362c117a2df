# SPDX-License-Identifier: Apache-2.0
"""Gives up, for good, everything that a process which reads hostile bytes does not need.

After confine() the process has another user, no capability, no way to get one back, no core file, bounded memory, and
a filter on its system calls (seccomp.py). What it works with it must have open, mapped and imported before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from oisp_sensor import seccomp

__all__ = ["KEPT", "KEPT_FOR_CALLER", "KEPT_WITHOUT_MULTI", "USER", "User", "confine", "keep", "least_user"]

USER = "oisp-sensor"
_NOBODY = 65534
# Numbers that systemd sets apart for services without an account of their own; nobody owns files by them.
_TRANSIENT = range(61184, 65520)
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECUREBITS_LOCKED = 0x3F | 0xC0  # no root by uid, no keeping, no raising: each with its lock
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64
_CAP_SETUID, _CAP_SETGID = 7, 6


# What the loader keeps once the command runs, and why. The rest it gives up; a worker that it starts later has its own
# from being root, and gives them up itself.
KEPT = {
    "CAP_BPF": (39, "reads and writes the maps of its programs, attaches to what is mapped later"),
    "CAP_PERFMON": (38, "attaches probes, and sees the mappings of the scope"),
    "CAP_SYS_PTRACE": (19, "reads /proc of processes of other users"),
    "CAP_DAC_READ_SEARCH": (2, "reads libraries below folders of other users"),
    "CAP_CHECKPOINT_RESTORE": (40, "opens what a process mapped (/proc/PID/map_files), also where it was deleted"),
    "CAP_KILL": (5, "passes signals on to a command of another user, ends a worker"),
}
KEPT_WITHOUT_MULTI = {"CAP_SYS_ADMIN": (21, "perf-event uprobes: this kernel has no uprobe_multi")}
KEPT_FOR_CALLER = {
    "CAP_DAC_OVERRIDE": (1, "opens output files in folders of the user who called sudo"),
    "CAP_FOWNER": (3, "moves their full files away"),
    "CAP_CHOWN": (0, "gives them their files"),
}


class User(NamedTuple):
    uid: int
    gid: int
    name: str


def least_user() -> User | None:
    """Whom a confined process runs as: the account `oisp-sensor`; else a number that nobody has, one for each sensor;
    None where this process may not change its user."""
    if not may_change_user():
        return None
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(USER)
        if found.pw_uid != 0:
            return User(found.pw_uid, found.pw_gid, USER)
    first = os.getpid() % len(_TRANSIENT)
    for number in (*_TRANSIENT[first:], *_TRANSIENT[:first]):
        try:
            pwd.getpwuid(number)
        except KeyError:
            return User(number, number, f"uid {number}")
    return User(_NOBODY, _NOBODY, "nobody")


def may_change_user() -> bool:
    have = effective_capabilities()
    return bool(have >> _CAP_SETUID & 1 and have >> _CAP_SETGID & 1)


def effective_capabilities() -> int:
    """As bits, by number."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.create_string_buffer(struct.pack("<II", _CAPABILITY_VERSION, 0), 8)
    data = ctypes.create_string_buffer(24)
    if libc.capget(head, data):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capget")
    low, _, _, high, _, _ = struct.unpack("<6I", data.raw)
    return int(high << 32 | low)


def confine(
    user: tuple[int, int] | None, *, memory_bytes: int, rules: Sequence[seccomp.Rule] | None, descriptors: int = 64
) -> None:
    """Of the only thread of this process. Raises OSError where any of it cannot be done: then nothing may be read."""
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise OSError(16, "a second thread would stay as it is", "confine")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, memory_bytes)
    _limit(resource.RLIMIT_NOFILE, descriptors)
    if user is not None:
        # What a program that is executed could get back; it cannot execute one either.
        for capability in range(_CAPABILITIES):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS_LOCKED, 0, 0, 0)
        _become(*user)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _drop_capabilities(libc)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "PR_SET_DUMPABLE")
    if effective_capabilities():
        raise OSError(1, "capabilities are left", "capset")
    if rules is None:  # a process that forks children which take a filter each
        if libc.prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "PR_SET_NO_NEW_PRIVS")
        return
    _limit(resource.RLIMIT_NPROC, 0)
    seccomp.install(rules)


def keep(capabilities: Iterable[int]) -> None:
    """Gives up all others. Nothing is raised that was not there."""
    wanted = sum(1 << number for number in capabilities) & effective_capabilities()
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.create_string_buffer(struct.pack("<II", _CAPABILITY_VERSION, 0), 8)
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    if libc.capset(head, ctypes.create_string_buffer(struct.pack("<6I", low, low, 0, high, high, 0), 24)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")


def _become(uid: int, gid: int) -> None:
    """In a container whose numbers end earlier, nobody."""
    os.setgroups([])
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError:
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    head = ctypes.create_string_buffer(struct.pack("<II", _CAPABILITY_VERSION, 0), 8)
    none = ctypes.create_string_buffer(24)
    if libc.capset(head, none):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")


def _limit(which: int, value: int) -> None:
    """Never raises a limit."""
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
