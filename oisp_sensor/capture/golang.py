# SPDX-License-Identifier: Apache-2.0
"""Functions of Go executables by name, out of .gopclntab: it is there also when the symbols have been stripped, because
the Go runtime needs it for its own stack traces.

Layouts of Go 1.16, 1.18 and 1.20 (the latest) are read. Where the table gives offsets only, the address of the first
function comes from the table, from `runtime.text` or from a search, and is believed only when the functions that it
gives look like functions. Before Go 1.17 (arm64: 1.18) arguments were on the stack: refused.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oisp_sensor.capture import elf
from oisp_sensor.capture.late import np

if TYPE_CHECKING:
    import numpy

_BUILD_INFO = b"\xff Go buildinf:"
_PER_POINTER, _LAYOUT_118, _LAYOUT_120 = 0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1
_MAGICS = (_PER_POINTER, _LAYOUT_118, _LAYOUT_120)
_SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab")
_MAX_FUNCTIONS = 4 << 20
_SAMPLES = 256
_ALIGN = 32  # of functions on amd64; 16 on arm64
_PADDING = {elf.EM_X86_64: (0xCC, 0xC3, 0x90), elf.EM_AARCH64: ()}
_VERSION = re.compile(rb"(?:devel )?go(\d+)\.(\d+)")


@dataclass(frozen=True)
class Program:
    """A Go executable: its version as it says it ("go1.26.8"), the functions found, or why none can be used."""

    version: str
    functions: dict[str, elf.Function]
    refused: str = ""


def is_go(file: elf.Elf) -> bool:
    return file.section(b".go.buildinfo") is not None or any(file.section(name) for name in _SECTIONS)


def read(file: elf.Elf, names: frozenset[str]) -> Program:
    """The wanted functions of a Go executable. Never raises for what is in the file but ElfError."""
    version = _version(file)
    match = _VERSION.match(version.encode())
    oldest = (1, 18) if file.machine == elf.EM_AARCH64 else (1, 17)
    if match and (int(match[1]), int(match[2])) < oldest:
        return Program(version, {}, f"{version} passes arguments on the stack")
    table = _table(file)
    if table is None:
        return Program(version, {}, "it has no .gopclntab of a known layout")
    if table.magic == _PER_POINTER and not match:
        return Program(version, {}, "its Go version is not known, and may pass arguments on the stack")
    found = table.find(names)
    if not found:
        return Program(version, {})
    text = table.text_address(file)
    if text is None:
        return Program(version, {}, "the address of its first function is not known")
    functions = {}
    for name, (start, end) in found.items():
        place = file.file_offset(text + start)
        if place is not None and end > start:
            functions[name] = elf.Function(name, text + start, place, end - start)
    return Program(version, functions)


def _version(file: elf.Elf) -> str:
    section = file.section(b".go.buildinfo")
    if section is None or section.size < 48:
        return ""
    head = file.bytes_at(section.offset, min(section.size, 256))
    if not head.startswith(_BUILD_INFO):
        return ""
    if head[15] & 2:  # since Go 1.18: the text stands here, after its length
        size = head[32]
        return head[33 : 33 + size].decode(errors="replace") if size < 128 else ""
    (pointer,) = struct.unpack_from("<Q", head, 16)  # to a string header
    at = file.data_offset(pointer)
    if at is None:
        return ""
    start, size = struct.unpack("<QQ", file.bytes_at(at, 16))
    place = file.data_offset(start)
    return file.bytes_at(place, size).decode(errors="replace") if place is not None and size < 128 else ""


def _table(file: elf.Elf) -> _Table | None:
    for name in _SECTIONS:
        section = file.section(name)
        if section is not None and section.size >= 72:
            made = _Table(file, section)
            if made.usable:
                return made
    return None


class _Table:
    """One .gopclntab: header, names, and per function its entry and the offset of its record."""

    def __init__(self, file: elf.Elf, section: elf.Section) -> None:
        self._data = file.bytes_at(section.offset, section.size)
        self.magic, minimum, pointer, count = struct.unpack_from("<IxxBBQ", self._data)
        self._count = count
        self._wide = self.magic == _PER_POINTER
        at = 24 if self._wide else 32
        self._said_text = 0 if self._wide else struct.unpack_from("<Q", self._data, 24)[0]
        names, _, _, _, functions = struct.unpack_from("<QQQQQ", self._data, at)
        self._names, self._functions = names, functions
        entry = 16 if self._wide else 8
        self.usable = (
            self.magic in _MAGICS
            and pointer == 8
            and minimum in (1, 4)
            and 0 < count <= _MAX_FUNCTIONS
            and 0 < names < functions
            and functions + entry * count + entry // 2 <= len(self._data)
        )
        if self.usable:
            self._read_functions()

    def _read_functions(self) -> None:
        word = np.dtype("<u8" if self._wide else "<u4")
        values = np.frombuffer(self._data, word, 2 * self._count + 1, self._functions)
        self._entries = values[::2]  # one more than functions: the end of the last
        self._records = values[1::2].astype(np.int64)

    def find(self, names: frozenset[str]) -> dict[str, tuple[int, int]]:
        """Name to (start, end), relative to the first function; in the oldest layout absolute."""
        places = self._records + self._functions + (8 if self._wide else 4)
        inside = places <= len(self._data) - 4
        block = np.frombuffer(self._data, np.uint8)
        told = np.zeros(self._count, np.int64)
        for i in range(4):
            told[inside] |= block[places[inside] + i].astype(np.int64) << (8 * i)
        found = {}
        for name in names:
            at = self._data.find(b"\0" + name.encode() + b"\0", self._names, self._functions)
            if at < 0:
                continue
            rows = np.flatnonzero(inside & (told == at + 1 - self._names))
            if len(rows) == 1:
                found[name] = (int(self._entries[rows[0]]), int(self._entries[rows[0] + 1]))
        return found

    def text_address(self, file: elf.Elf) -> int | None:
        """Where the first function is. None when nothing fits."""
        if self._wide:
            return 0 if self._fits(file, np.array([0]))[0] else None
        symbol = file.functions(frozenset({"runtime.text"})).get("runtime.text")
        section = file.section(b".text")
        guesses = [self._said_text, symbol.address if symbol else 0, section.address if section else 0]
        for guess in guesses:
            if guess and self._fits(file, np.array([guess]))[0]:
                return guess
        if section is None:
            return None
        # Linked with C code in front of it: every aligned address is tried.
        starts = np.arange(section.address & -_ALIGN, section.address + section.size, _ALIGN)
        fitting = starts[self._fits(file, starts)]
        return int(fitting[0]) if len(fitting) == 1 else None

    def _fits(self, file: elf.Elf, starts: numpy.ndarray) -> numpy.ndarray:
        """For each address: would nearly all functions stand behind padding or another one's return?"""
        section = file.section(b".text")
        padding = _PADDING.get(file.machine, ())
        if section is None or not padding:
            alone: numpy.ndarray = np.full(len(starts), bool(section) and len(starts) == 1)
            return alone
        code = np.frombuffer(file.bytes_at(section.offset, section.size), np.uint8)
        good = np.isin(code, padding)
        step = max(1, self._count // _SAMPLES)
        entries = self._entries[1 : self._count : step].astype(np.int64)
        hits = np.zeros(len(starts), np.int64)
        for entry in entries:
            before = starts + entry - 1 - section.address
            valid = (before >= 0) & (before < len(code))
            hits[valid] += good[before[valid]]
        fits: numpy.ndarray = hits >= 0.9 * len(entries)
        return fits
