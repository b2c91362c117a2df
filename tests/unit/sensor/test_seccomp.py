# SPDX-License-Identifier: Apache-2.0
"""The filter as a program: run by an interpreter of classic BPF, for every call, on every architecture it names."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_sensor import seccomp

ALLOW, EPERM = 0x7FFF0000, 0x00050001
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run(program: bytes, number: int, audit: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel does with struct seccomp_data: number, architecture, instruction pointer, six arguments."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(arguments + (0,) * 6)[:6])
    lines = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at = loaded = 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            return k
        else:
            answer = {0x15: loaded == k, 0x35: loaded >= k, 0x45: bool(loaded & k)}[code]
            at += yes if answer else no


@pytest.mark.parametrize("machine", AUDIT)
@pytest.mark.parametrize("rules", [seccomp.WORKER, seccomp.HELPER])
def test_every_number(machine: str, rules: tuple[seccomp.Rule, ...]) -> None:
    """All numbers that there are and some hundred that there are not: only what is listed passes, and without a
    condition only what has none."""
    program, known = seccomp.assemble(rules, machine), seccomp.numbers(machine)
    free = {known[rule.call] for rule in rules if rule.argument < 0 and rule.call in known}
    bound = {known[rule.call] for rule in rules if rule.argument >= 0 and rule.call in known}
    for number in range(700):
        answer = run(program, number, AUDIT[machine])
        assert answer in (ALLOW, EPERM)
        if number in free:
            assert answer == ALLOW
        elif number not in bound:
            assert answer == EPERM


@pytest.mark.parametrize("machine", AUDIT)
def test_another_architecture_is_refused(machine: str) -> None:
    program, read = seccomp.assemble(seccomp.WORKER, machine), seccomp.numbers(machine)["read"]
    others = [audit for name, audit in AUDIT.items() if name != machine] + [0x40000003, 0]  # i386, and none
    assert [run(program, read, audit) for audit in others] == [EPERM] * len(others)
    assert run(program, read | 0x40000000, AUDIT[machine]) == EPERM  # x32
    assert run(program, read, AUDIT[machine]) == ALLOW


@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 5), EPERM),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 7), EPERM),
        ("ioctl", (1, 0x5401), ALLOW),  # TCGETS
        ("ioctl", (1, 0x5413), ALLOW),  # TIOCGWINSZ
        ("ioctl", (1, 0x5412), EPERM),  # TIOCSTI
        ("ioctl", (1, 0x541C), EPERM),  # TIOCLINUX
        ("ioctl", (1, 0x5402), EPERM),  # TCSETS
        ("ioctl", (1, 0x100005412), EPERM),  # the kernel looks at the low half, and so does the filter
        ("fcntl", (1, 3), ALLOW),  # F_GETFL
        ("fcntl", (1, 0), EPERM),  # F_DUPFD
        ("fcntl", (1, 1033), EPERM),  # F_ADD_SEALS
        ("newfstatat", (3, 0, 0, 0x1000), ALLOW),
        ("newfstatat", (3, 0, 0, 0), EPERM),
    ],
)
def test_arguments(call: str, arguments: tuple[int, ...], answer: int) -> None:
    for machine, audit in AUDIT.items():
        program = seccomp.assemble(seccomp.WORKER, machine)
        assert run(program, seccomp.numbers(machine)[call], audit, arguments) == answer


@given(st.sampled_from(sorted(AUDIT)), st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_memory_never_becomes_executable(machine: str, number: int, arguments: tuple[int, ...]) -> None:
    program, known = seccomp.assemble(seccomp.WORKER, machine), seccomp.numbers(machine)
    for call in ("mmap", "mprotect"):
        expected = EPERM if arguments[2] & 4 else ALLOW
        assert run(program, known[call], AUDIT[machine], arguments) == expected
    if number not in known.values():
        assert run(program, number, AUDIT[machine], arguments) == EPERM


def test_numbers_are_the_kernels() -> None:
    """Against the table that the C library's headers give, where they are installed."""
    import shutil
    import subprocess

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    import platform

    if platform.machine() not in AUDIT:
        pytest.skip(f"no table for {platform.machine()}")
    known = seccomp.numbers()
    source = "#include <sys/syscall.h>\n" + "".join(f"SYS_{name}\n" for name in known)
    done = subprocess.run([compiler, "-E", "-P", "-"], input=source, capture_output=True, text=True, check=True)
    found = dict(zip(known, map(int, done.stdout.split()[-len(known) :]), strict=True))
    assert found == known


def test_another_machine_is_said() -> None:
    with pytest.raises(OSError, match="no table of system calls for riscv64"):
        seccomp.assemble(seccomp.WORKER, "riscv64")
