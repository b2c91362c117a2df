# SPDX-License-Identifier: Apache-2.0
"""A seccomp filter, assembled by hand: what a confined process may ask of the kernel. Everything else answers EPERM.

A filter is a classic BPF program over the call's number, architecture and arguments. It looks at the architecture
first (numbers mean something else on another one), and on x86_64 refuses the x32 numbers. Pointers cannot be looked
behind: rules are about flags, commands and protection bits only. EPERM rather than a kill: a library that tries
something unforeseen goes on, and a test can try everything inside one process.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["HELPER", "WORKER", "Rule", "assemble", "install", "numbers"]

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_EPERM = 0x00050000 | 1
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCHITECTURE, _NUMBER, _ARGUMENTS = 4, 0, 16  # offsets in struct seccomp_data
_X32_BIT = 0x40000000
_FILTER = struct.Struct("<HBBI")

_PROT_EXEC = 4
_AT_EMPTY_PATH = 0x1000
# ioctl: what asks a terminal; never what writes to one (TIOCSTI, TIOCLINUX, TCSETS).
_TCGETS, _TIOCGWINSZ = 0x5401, 0x5413
_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 4, 1030

_ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
            "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
            "pread64": 17, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35,
            "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "exit": 60, "fcntl": 72,
            "fsync": 74, "fdatasync": 75, "ftruncate": 77, "gettimeofday": 96, "getrusage": 98, "getuid": 102,
            "getgid": 104, "geteuid": 107, "getegid": 108, "sigaltstack": 131, "gettid": 186, "futex": 202,
            "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230,
            "exit_group": 231, "newfstatat": 262, "ppoll": 271, "getrandom": 318,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "fcntl": 25, "ioctl": 29, "ftruncate": 46, "close": 57, "lseek": 62, "read": 63, "write": 64,
            "writev": 66, "pread64": 67, "ppoll": 73, "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83,
            "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113,
            "clock_nanosleep": 115, "restart_syscall": 128, "sched_getaffinity": 123, "sched_yield": 124,
            "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165,
            "gettimeofday": 169, "getpid": 172, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
            "gettid": 178, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214,
            "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
        },
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A system call that is allowed, where `argument` (its low 32 bits) is one of `values`, or has all bits of
    `has` and none of `without`. No argument named: always."""

    call: str
    argument: int = -1
    values: tuple[int, ...] = ()
    without: int = 0
    has: int = 0


# Memory, time, descriptors that are open already. No file is opened, nothing is executed, created or traced, no
# socket is made, no signal is sent; memory never becomes executable.
_EVERY = (
    *(
        Rule(name)
        for name in (
            "read", "write", "writev", "pread64", "lseek", "close", "fstat", "munmap", "mremap", "brk", "madvise",
            "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "futex",
            "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday",
            "getrandom", "getrusage", "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "exit",
            "exit_group",
        )
    ),
    Rule("mmap", 2, without=_PROT_EXEC),
    Rule("mprotect", 2, without=_PROT_EXEC),
    Rule("newfstatat", 3, has=_AT_EMPTY_PATH),  # how newer C libraries say fstat
)  # fmt: skip
WORKER = (
    *_EVERY,
    *(Rule(name) for name in ("poll", "ppoll", "recvfrom", "recvmsg", "sendto", "sendmsg", "ftruncate", "fsync")),
    Rule("fdatasync"),
    Rule("fcntl", 1, (_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL)),
    Rule("ioctl", 1, (_TCGETS, _TIOCGWINSZ)),
)
HELPER = (
    *_EVERY,
    *(Rule(name) for name in ("recvmsg", "sendto")),
    Rule("fcntl", 1, (_F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC)),  # mmap in Python takes a copy
)


def numbers(machine: str = "") -> dict[str, int]:
    """The system calls that filters may name, by number, on this or another machine."""
    return dict(_known(machine)[1])


def _known(machine: str) -> tuple[int, dict[str, int]]:
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(38, f"no table of system calls for {machine}")
    return _ARCHITECTURES[machine]


def assemble(rules: Iterable[Rule], machine: str = "") -> bytes:
    """The program, as an array of struct sock_filter. Calls that a machine does not have are left out."""
    audit, table = _known(machine)
    program = [
        _FILTER.pack(_LOAD, 0, 0, _ARCHITECTURE),
        _FILTER.pack(_JEQ, 1, 0, audit),
        _FILTER.pack(_RET, 0, 0, _RET_EPERM),
        _FILTER.pack(_LOAD, 0, 0, _NUMBER),
        _FILTER.pack(_JGE, 0, 1, _X32_BIT),
        _FILTER.pack(_RET, 0, 0, _RET_EPERM),
    ]
    for rule in rules:
        if rule.call in table:
            program += _rule(rule, table[rule.call])
    program.append(_FILTER.pack(_RET, 0, 0, _RET_EPERM))
    return b"".join(program)


def _rule(rule: Rule, number: int) -> list[bytes]:
    """Falls through with the number loaded where the call is another one; else answers."""
    body = [_FILTER.pack(_RET, 0, 0, _RET_ALLOW)] if rule.argument < 0 else _on_argument(rule)
    return [_FILTER.pack(_JEQ, 0, len(body), number), *body]


def _on_argument(rule: Rule) -> list[bytes]:
    body = [_FILTER.pack(_LOAD, 0, 0, _ARGUMENTS + 8 * rule.argument)]
    allow, refuse = _FILTER.pack(_RET, 0, 0, _RET_ALLOW), _FILTER.pack(_RET, 0, 0, _RET_EPERM)
    for value in rule.values:
        body += [_FILTER.pack(_JEQ, 0, 1, value), allow]
    if rule.without:
        body += [_FILTER.pack(_JSET, 0, 1, rule.without), refuse, allow]
    if rule.has:
        body += [_FILTER.pack(_JSET, 0, 1, rule.has), allow]
    return [*body, refuse]


def install(rules: Iterable[Rule]) -> None:
    """For this thread and what it starts, for ever. The process must have one thread only."""
    program = assemble(rules)
    block = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(program) // _FILTER.size, ctypes.addressof(block)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    for option, arguments in (
        (PR_SET_NO_NEW_PRIVS, (1, 0, 0, 0)),
        (PR_SET_SECCOMP, (SECCOMP_MODE_FILTER, ctypes.addressof(head), 0, 0)),
    ):
        if libc.prctl(option, *arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "seccomp")
