# SPDX-License-Identifier: Apache-2.0
"""Each vector form equals its scalar twin: over lengths, alignments, every byte value, and at a page not to be read."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import subprocess
import sys

import pytest

from oisp_core.simd.scan import Scanner, available

FUNCTIONS = ["find_eol", "find_string_stop", "find_quote", "find_structure", "utf8_prefix", "utf8_count"]
SCALAR = Scanner("scalar")
VECTOR = [name for name in available() if name != "scalar"]


def definition(function: str, data: bytes) -> int:
    """The same in plain Python."""
    if function == "utf8_prefix":
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return error.start
        return len(data)
    if function == "utf8_count":
        return sum(b & 0xC0 != 0x80 for b in data)
    stops = {
        "find_eol": lambda b: b in b"\r\n",
        "find_string_stop": lambda b: b in b'"\\' or b < 0x20 or b >= 0x80,
        "find_quote": lambda b: b in b'"\\' or b < 0x20,
        "find_structure": lambda b: b in b'"{}[]',
    }
    return next((i for i, b in enumerate(data) if stops[function](b)), len(data))


def samples() -> list[bytes]:
    rng = random.Random(4)
    text = 'aé€😀z{"k": [1, "\\u00e9"]}\r\n'.encode()
    made = [b"a" * n for n in range(140)]
    made += [bytes([b]) for b in range(256)]
    for _ in range(400):
        size = rng.randrange(1, 140)
        data = bytearray(rng.choice((b"a", text, b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"\xc3\xa9")) * size)[:size]
        for _ in range(rng.randrange(0, 3)):
            data[rng.randrange(size)] = rng.randrange(256)
        made.append(bytes(data))
    return made


SAMPLES = samples()


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("function", FUNCTIONS)
def test_equals_the_definition(name: str, function: str) -> None:
    scan = getattr(Scanner(name), function)
    for data in SAMPLES:
        assert scan(data) == definition(function, data), data


@pytest.mark.parametrize("name", available())
def test_find_equals_bytes_find(name: str) -> None:
    scanner = Scanner(name)
    for data in SAMPLES:
        for byte in {0, 97, 255, *data[-3:]}:
            at = data.find(byte)
            assert scanner.find(data, byte) == (at if at >= 0 else len(data))


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_byte_value_at_every_place(name: str, function: str) -> None:
    scan = getattr(Scanner(name), function)
    for byte in range(256):
        for at in (0, 7, 15, 16, 31, 32, 47, 66):
            data = bytearray(b"a" * 67)
            data[at] = byte
            assert scan(bytes(data)) == definition(function, bytes(data))


def guarded(size: int) -> tuple[mmap.mmap, int]:
    """Two pages, the second of which may not be read; the offset at which `size` bytes end at it."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert libc.mprotect(address + page, page, 0) == 0
    return memory, page - size


@pytest.mark.parametrize("name", available())
def test_reads_nothing_beyond_the_end(name: str) -> None:
    scanner = Scanner(name)
    memory, _ = guarded(0)
    page = mmap.PAGESIZE
    view = memoryview(memory)
    for fill in (b"a", "€".encode()):
        for size in range(100):
            data = (fill * 100)[:size]
            view[page - size : page] = data
            for function in FUNCTIONS:
                assert getattr(scanner, function)(view[page - size : page]) == definition(function, data)
            assert scanner.find(view[page - size : page], 1) == size


@pytest.mark.parametrize("function", FUNCTIONS)
def test_alignment_does_not_matter(function: str) -> None:
    data = bytearray(b"b" * 200)
    data[150:153] = b'"\r\n'
    for name in VECTOR:
        scan = getattr(Scanner(name), function)
        for start in range(64):
            assert scan(memoryview(data)[start:]) == definition(function, bytes(data[start:]))


def test_the_best_table_is_the_first_available() -> None:
    assert Scanner().name == available()[0]


def test_another_name_is_a_clear_error() -> None:
    with pytest.raises(LookupError, match="no scan table 'mmx'"):
        Scanner("mmx")


def told(name: str) -> subprocess.CompletedProcess[str]:
    """The tables that a process uses whose environment names one."""
    code = "from oisp_core.simd.scan import Scanner; from oisp_core.encode.writer import sha256_backend as h; "
    command = [sys.executable, "-c", code + "print(Scanner().name, h())"]
    environment = {**os.environ, "OISP_SIMD": name, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_lesser_table_can_be_asked_for() -> None:
    assert told("scalar").stdout == "scalar portable\n"
    for name in VECTOR:
        assert told(name).stdout.split()[0] == name


def test_a_table_that_is_not_there_is_named() -> None:
    done = told("avx9")
    assert done.returncode != 0
    assert "OISP_SIMD" in done.stderr
    assert "scalar" in done.stderr


def string_break(data: bytes) -> tuple[int, bool]:
    at, escaped = 0, False
    while at < len(data) and data[at] not in b'"' and 0x20 <= data[at] < 0x80:
        if data[at] != 0x5C:
            at += 1
        elif data[at + 1 : at + 2] and data[at + 1] in b'"\\/bfnrt':
            at, escaped = at + 2, True
        else:
            break
    return at, escaped


@pytest.mark.parametrize("name", available())
def test_string_break_passes_escapes_of_two_bytes(name: str) -> None:
    scan = Scanner(name).find_string_break
    rng = random.Random(5)
    parts = [b"\\n", b'\\"', b"\\\\", b"\\/", b"\\u00e9", b"\\x", b'"', b"\x01", "é".encode(), b"\\"]
    for _ in range(4000):
        pieces = [b"a" * rng.choice((0, 1, 5, 30, 62, 63, 64, 70)) for _ in range(rng.randrange(1, 6))]
        data = b"".join(piece + rng.choice(parts[: rng.choice((4, 4, 4, 10))]) for piece in pieces)
        assert scan(data) == string_break(data), data
    for data in SAMPLES:
        assert scan(data) == string_break(data), data
