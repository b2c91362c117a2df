# SPDX-License-Identifier: Apache-2.0
"""Reading ELF files that nobody vouches for: symbols by name, file offsets of code, build id, needed libraries.

64-bit little-endian only (x86-64, arm64). Every count and offset out of the file is checked against the file's size and
a bound before it is used; whatever does not fit is ElfError, never an exception of another kind. Symbol tables are
scanned with numpy: a Node executable has several hundred thousand symbols.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oisp_sensor.capture.late import np

if TYPE_CHECKING:
    import numpy

EM_X86_64 = 62
EM_AARCH64 = 183

_MAX_FILE = 4 << 30  # what a symbol's offset is trusted within
_MAX_SECTIONS = 65536
_MAX_SEGMENTS = 1024
_MAX_SYMBOLS = 8 << 20
_MAX_TEXT = 4096  # a path or name inside the file
_MAX_NOTES = 1 << 20
_MAX_NEEDED = 512
_MAX_NAMES = 1 << 20  # of sections, all together

_SHT_SYMTAB, _SHT_NOBITS, _SHT_DYNSYM = 2, 8, 11
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE, _PT_GNU_EH_FRAME = 1, 2, 3, 4, 0x6474E550
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_STRSZ, _DT_RUNPATH = 1, 5, 15, 10, 29
_STT_FUNC, _STT_GNU_IFUNC = 2, 10

_SYMBOL = [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
_SYMBOL_BYTES = 24


class ElfError(ValueError):
    """Not an ELF file that can be read: the reason in a few words."""


@dataclass(frozen=True)
class Segment:
    offset: int
    address: int
    size: int
    executable: bool


@dataclass(frozen=True)
class Section:
    offset: int
    address: int
    size: int


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
        self._named: dict[bytes, Section] | None = None
        self._frames: tuple[numpy.ndarray, numpy.ndarray] | None = None
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

    def find(self, what: bytes, start: int, end: int) -> int:
        return self._map.find(what, start, end)

    def rfind(self, what: bytes, start: int, end: int) -> int:
        return self._map.rfind(what, start, end)

    def find_all(self, what: bytes, start: int, end: int) -> Iterator[int]:
        """Every place of a few bytes; regular expressions walk a mapping faster than a loop does."""
        view = memoryview(self._map)[start:end]
        try:
            for match in re.finditer(re.escape(what), view):
                yield start + match.start()
        finally:
            view.release()

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

    def data_offset(self, address: int) -> int | None:
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
        if link >= len(sections) or size // _SYMBOL_BYTES > _MAX_SYMBOLS:
            raise ElfError("a symbol table without names, or with too many symbols")
        strings, end = sections[link][4], sections[link][4] + sections[link][5]
        if end > self.size:
            raise ElfError("a string table lies outside the file")
        places = {name: found for name in wanted if (found := self._find_name(name, strings, end))}
        if not places:
            return []
        table = np.frombuffer(self.bytes_at(offset, size // _SYMBOL_BYTES * _SYMBOL_BYTES), np.dtype(_SYMBOL))
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

    def section(self, name: bytes) -> Section | None:
        """The first section of this name, if its bytes are in the file."""
        if self._named is None:
            self._named = self._read_named()
        return self._named.get(name)

    def _read_named(self) -> dict[bytes, Section]:
        sections = self._sections()
        index = struct.unpack_from("<H", self.bytes_at(62, 2))[0]
        if index >= len(sections):
            return {}
        start, size = sections[index][4], sections[index][5]
        names = self.bytes_at(start, min(size, _MAX_NAMES))
        found: dict[bytes, Section] = {}
        for s in sections:
            if s[1] != _SHT_NOBITS and s[4] + s[5] <= self.size and s[0] < len(names):
                end = names.find(b"\0", s[0])
                found.setdefault(names[s[0] : end if end >= 0 else len(names)], Section(s[4], s[3], s[5]))
        return found

    def has_section(self, name: bytes) -> bool:
        return self.section(name) is not None

    def frame_at(self, address: int) -> tuple[int, int] | None:
        """(start, end) of the function around an address, as .eh_frame has it: there in stripped files too."""
        if self._frames is None:
            self._frames = self._read_frames()
        starts, records = self._frames
        row = int(np.searchsorted(starts, address, "right")) - 1
        if row < 0:
            return None
        place = self.data_offset(int(records[row]))
        if place is None:
            return None
        return self._frame(place, int(starts[row]), address)

    def _read_frames(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Sorted starts and the addresses of their records, out of .eh_frame_hdr."""
        none = np.zeros(0, np.int64)
        for kind, segment in self._program_headers():
            if kind == _PT_GNU_EH_FRAME and segment.size >= 12:
                head = self.bytes_at(segment.offset, 12)
                count = struct.unpack_from("<I", head, 8)[0]
                if head[:4] != b"\x01\x1b\x03\x3b" or count > _MAX_SYMBOLS or 12 + 8 * count > segment.size:
                    break
                table = np.frombuffer(self.bytes_at(segment.offset + 12, 8 * count), "<i4").reshape(-1, 2)
                return table[:, 0] + np.int64(segment.address), table[:, 1] + np.int64(segment.address)
        return none, none

    def _frame(self, place: int, start: int, address: int) -> tuple[int, int] | None:
        """Of one frame description with 4-byte addresses relative to their place (DW_EH_PE_pcrel | sdata4)."""
        size, back, _, length = struct.unpack("<IIiI", self.bytes_at(place, 16))
        if not 12 <= size < 1 << 20 or not 0 < back <= place + 4:
            return None
        common = self.bytes_at(place + 4 - back, 9)
        # Version 1 and an augmentation that ends with R: the encoding; compilers write zR, zPLR and zRS.
        if common[4:8] != b"\0\0\0\0" or common[8] != 1 or b"R" not in self.bytes_at(place + 13 - back, 8):
            return None
        return (start, start + length) if start <= address < start + length else None

    def plt_name(self, address: int) -> str | None:
        """None when no stub of the PLT is there, else the name of the function that it jumps to ("" when unknown)."""
        for section in (b".plt", b".plt.sec", b".plt.got"):
            found = self.section(section)
            if found is not None and found.address <= address < found.address + found.size:
                return self._stub_name(address)
        return None

    def _stub_name(self, address: int) -> str:
        """x86: [endbr64] [bnd] jmp *slot(%rip); the slot's relocation names the symbol."""
        place = self.data_offset(address)
        code = self.bytes_at(place, 16) if place is not None else b""
        at = code.find(b"\xff\x25")
        relocations, symbols, names = (self.section(n) for n in (b".rela.plt", b".dynsym", b".dynstr"))
        if not 0 <= at <= 5 or relocations is None or symbols is None or names is None:
            return ""
        slot = address + at + 6 + int(struct.unpack_from("<i", code, at + 2)[0])
        table = self.bytes_at(relocations.offset, relocations.size // 24 * 24)
        for where, info, _ in struct.iter_unpack("<QQq", table):
            if where == slot and (info >> 32) * 24 + 24 <= symbols.size:
                (name,) = struct.unpack("<I", self.bytes_at(symbols.offset + (info >> 32) * 24, 4))
                return _text(self.bytes_at(names.offset, names.size), name)
        return ""

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
        at = self.data_offset(values.get(_DT_STRTAB, 0)) if values.get(_DT_STRTAB) else None
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
