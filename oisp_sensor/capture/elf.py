# SPDX-License-Identifier: Apache-2.0
"""Reading ELF files that nobody vouches for: symbols by name, file offsets of code, build id, needed libraries.

64-bit little-endian only (x86-64, arm64). Every count and offset out of the file is checked against the file's size and
a bound before it is used; whatever does not fit is ElfError, never an exception of another kind. Symbol tables are
scanned with numpy: a Node executable has several hundred thousand symbols.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from dataclasses import dataclass, field

import numpy as np

EM_X86_64 = 62
EM_AARCH64 = 183

_MAX_FILE = 4 << 30  # what a symbol's offset is trusted within
_MAX_SECTIONS = 65536
_MAX_SEGMENTS = 1024
_MAX_SYMBOLS = 8 << 20
_MAX_TEXT = 4096  # a path or name inside the file
_MAX_NOTES = 1 << 20
_MAX_NEEDED = 512

_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_STRSZ, _DT_RUNPATH = 1, 5, 15, 10, 29
_STT_FUNC, _STT_GNU_IFUNC = 2, 10

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)


class ElfError(ValueError):
    """Not an ELF file that can be read: the reason in a few words."""


@dataclass(frozen=True)
class Segment:
    offset: int
    address: int
    size: int
    executable: bool


@dataclass(frozen=True)
class Function:
    name: str
    address: int
    offset: int  # in the file
    size: int


@dataclass(frozen=True)
class Dynamic:
    needed: list[str] = field(default_factory=list)
    rpath: str = ""
    runpath: str = ""


class Elf:
    """One mapped file. Close it: the mapping holds the file."""

    def __init__(self, fd: int) -> None:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise ElfError("not a regular file")
        if not 64 <= info.st_size <= _MAX_FILE:
            raise ElfError("no ELF file of a readable size")
        self.size = info.st_size
        self._map = mmap.mmap(fd, self.size, access=mmap.ACCESS_READ)
        try:
            self._header()
            self.segments = [s for k, s in self._program_headers() if k == _PT_LOAD]
        except BaseException:
            self._map.close()
            raise

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._map.close()

    def bytes_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ElfError(f"{size} bytes at {offset:#x} lie outside the file")
        return self._map[offset : offset + size]

    def _header(self) -> None:
        head = self.bytes_at(0, 64)
        if head[:7] != b"\x7fELF\x02\x01\x01":
            raise ElfError("not a 64-bit little-endian ELF file")
        fields = struct.unpack_from("<HHIQQQIHHHHHH", head, 16)
        self.type, self.machine = fields[0], fields[1]
        self._phoff, self._shoff = fields[4], fields[5]
        self._phentsize, self._phnum, self._shentsize, self._shnum = fields[8], fields[9], fields[10], fields[11]

    def _program_headers(self) -> list[tuple[int, Segment]]:
        if not self._phnum:
            return []
        if self._phentsize != 56 or self._phnum > _MAX_SEGMENTS:
            raise ElfError(f"{self._phnum} program headers of {self._phentsize} bytes")
        table = self.bytes_at(self._phoff, 56 * self._phnum)
        found = []
        for kind, flags, offset, address, _, size, _, _ in struct.iter_unpack("<IIQQQQQQ", table):
            if offset + size > self.size:
                raise ElfError("a segment lies outside the file")
            found.append((kind, Segment(offset, address, size, bool(flags & 1))))
        return found

    def _sections(self) -> list[tuple[int, ...]]:
        if not self._shoff or not self._shnum:
            return []
        if self._shentsize != 64 or self._shnum > _MAX_SECTIONS:
            raise ElfError(f"{self._shnum} section headers of {self._shentsize} bytes")
        return list(struct.iter_unpack("<IIQQQQIIQQ", self.bytes_at(self._shoff, 64 * self._shnum)))

    def file_offset(self, address: int) -> int | None:
        """Offset of an address in the executable segments of the file, or None."""
        for s in self.segments:
            if s.executable and s.address <= address < s.address + s.size:
                return address - s.address + s.offset
        return None

    def _data_offset(self, address: int) -> int | None:
        for s in self.segments:
            if s.address <= address < s.address + s.size:
                return address - s.address + s.offset
        return None

    def functions(self, names: frozenset[str]) -> dict[str, Function]:
        """Defined functions of these names (of .dynsym, then .symtab); the first definition counts."""
        wanted = {name.encode(): name for name in names}
        found: dict[str, Function] = {}
        sections = self._sections()
        for kind in (_SHT_DYNSYM, _SHT_SYMTAB):
            for section in sections:
                if section[1] == kind:
                    for name, symbol in self._lookup(section, sections, wanted):
                        if name not in found:
                            found[name] = symbol
        return found

    def _lookup(
        self, section: tuple[int, ...], sections: list[tuple[int, ...]], wanted: dict[bytes, str]
    ) -> list[tuple[str, Function]]:
        offset, size, link = section[4], section[5], section[6]
        if link >= len(sections) or size // _SYMBOL.itemsize > _MAX_SYMBOLS:
            raise ElfError("a symbol table without names, or with too many symbols")
        strings, end = sections[link][4], sections[link][4] + sections[link][5]
        if end > self.size:
            raise ElfError("a string table lies outside the file")
        places = {name: found for name in wanted if (found := self._find_name(name, strings, end))}
        if not places:
            return []
        table = np.frombuffer(self.bytes_at(offset, size // _SYMBOL.itemsize * _SYMBOL.itemsize), _SYMBOL)
        kinds = table["info"] & 15
        defined = (table["section"] != 0) & ((kinds == _STT_FUNC) | (kinds == _STT_GNU_IFUNC) | (kinds == 0))
        result = []
        for name, places_of_name in places.items():
            for row in table[defined & np.isin(table["name"], places_of_name)]:
                address = int(row["value"])
                place = self.file_offset(address)
                if place is not None and int(row["info"]) & 15 != _STT_GNU_IFUNC:
                    result.append((wanted[name], Function(wanted[name], address, place, int(row["size"]))))
        return result

    def _find_name(self, name: bytes, start: int, end: int) -> list[int]:
        """Every place where a symbol's name may point to: linkers also share the tails of longer names."""
        places: list[int] = []
        at = self._map.find(name + b"\0", start, end)
        while at >= 0 and len(places) < 64:
            places.append(at - start)
            at = self._map.find(name + b"\0", at + 1, end)
        return places

    def has_section(self, name: bytes) -> bool:
        sections = self._sections()
        index = struct.unpack_from("<H", self.bytes_at(62, 2))[0]
        if index >= len(sections):
            return False
        names = sections[index][4]
        return any(self._map[names + s[0] : names + s[0] + len(name) + 1] == name + b"\0" for s in sections)

    def build_id(self) -> str:
        """Hex build id, empty where the file has none."""
        for kind, segment in self._program_headers():
            if kind != _PT_NOTE or segment.size > _MAX_NOTES:
                continue
            notes = self.bytes_at(segment.offset, segment.size)
            at = 0
            while at + 12 <= len(notes):
                name_size, size, note = struct.unpack_from("<III", notes, at)
                body = at + 12 + (name_size + 3 & ~3)
                if note == 3 and notes[at + 12 : at + 16] == b"GNU\0" and size <= 64:
                    return notes[body : body + size].hex()
                at = body + (size + 3 & ~3)
        return ""

    def interpreter(self) -> str:
        for kind, segment in self._program_headers():
            if kind == _PT_INTERP and segment.size <= _MAX_TEXT:
                return os.fsdecode(self.bytes_at(segment.offset, segment.size).rstrip(b"\0"))
        return ""

    def dynamic(self) -> Dynamic:
        """What the dynamic loader would look for."""
        entries: list[tuple[int, int]] = []
        for kind, segment in self._program_headers():
            if kind == _PT_DYNAMIC and segment.size <= 1 << 16:
                table = self.bytes_at(segment.offset, segment.size // 16 * 16)
                entries = list(struct.iter_unpack("<QQ", table))
        values = dict(entries)
        at = self._data_offset(values.get(_DT_STRTAB, 0)) if values.get(_DT_STRTAB) else None
        if at is None:
            return Dynamic()
        strings = self.bytes_at(at, min(values.get(_DT_STRSZ, 0), self.size - at))
        needed = [_text(strings, v) for k, v in entries if k == _DT_NEEDED][:_MAX_NEEDED]
        rpath = _text(strings, values[_DT_RPATH]) if _DT_RPATH in values else ""
        runpath = _text(strings, values[_DT_RUNPATH]) if _DT_RUNPATH in values else ""
        return Dynamic(needed, rpath, runpath)


def _text(strings: bytes, at: int) -> str:
    end = strings.find(b"\0", at, at + _MAX_TEXT)
    return os.fsdecode(strings[at:end]) if end > at else ""


def object_symbol(image: bytes, name: str) -> tuple[int, int]:
    """(offset in its section, size) of a data symbol of one of our own relocatable objects."""
    shoff = struct.unpack_from("<Q", image, 40)[0]
    count = struct.unpack_from("<H", image, 60)[0]
    sections = list(struct.iter_unpack("<IIQQQQIIQQ", image[shoff : shoff + 64 * count]))
    for section in sections:
        if section[1] != _SHT_SYMTAB:
            continue
        strings = sections[section[6]]
        for entry, _, _, _, value, size in struct.iter_unpack("<IBBHQQ", image[section[4] : section[4] + section[5]]):
            at = strings[4] + entry
            if image[at : at + len(name) + 1] == name.encode() + b"\0":
                return value, size
    raise ElfError(f"no symbol {name}")
