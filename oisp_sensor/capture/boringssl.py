# SPDX-License-Identifier: Apache-2.0
"""BoringSSL without symbols (Bun and what it compiles, Electron, cygrpc): functions told by their errors.

Each error that BoringSSL can report passes its reason, the name of the source file and the line to one function, as
constants. The reasons that `ssl_lib.cc` reports in SSL_write are those of no other function; a little before it stands
the one that SSL_peek reports, which compilers put into SSL_read as well: of the two, SSL_read is the one that changes
what is pending. Such patterns survive rebuilds and compilers; offsets do not. Whatever is found more than once, or not
at all, is not used, and the reason is said.

x86-64 only. Bounds come from .eh_frame, or where there is none from the padding between functions.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oisp_sensor.capture import elf

if TYPE_CHECKING:
    import capstone

_SOURCE = b"ssl_lib.cc\0"
# Reasons, as openssl/ssl.h and err.h number them: part of the interface, never renumbered.
_NOT_CALLED, _BAD_LENGTH, _NULL_CONTEXT, _HANDSHAKE_FAILURE, _UNINITIALIZED = 66, 111, 185, 215, 226
_TYPE_NOT_SET = 134  # of SSL_do_handshake: neither client nor server
_WRITE = frozenset({_NOT_CALLED, _BAD_LENGTH, _HANDSHAKE_FAILURE, _UNINITIALIZED})
_NEIGHBOURS = 60  # lines from SSL_peek to SSL_write; 21 or 22 in the releases looked at
_MAX_SITES = 1024
_MAX_FUNCTION = 16 << 10
_INT3, _FRAME = 0xCC, b"\x55\x48\x89\xe5"  # push rbp; mov rbp, rsp
# A store to memory that is not the function's own frame.
_STORE = re.compile(r"(?:mov|add|sub) \w+ ptr \[(?!rsp|rbp|rip)\w+[^\]]*\], ")
_FLOW = re.compile(r"(?:notrack |bnd )*(?:j\w+|call|ret\w*|ud2|int3|hlt)$")


@dataclass(frozen=True)
class _Layout:
    """Registers of (reason, file, line), and how an instruction begins that puts an address into the one of the file.
    Link-time optimisation leaves out the second argument of the five, which nothing uses."""

    reason: str
    file: str
    line: str
    move: bytes
    load: bytes


_LAYOUTS = (
    _Layout("edx", "rcx", "r8d", b"\xb9", b"\x48\x8d\x0d"),
    _Layout("esi", "rdx", "ecx", b"\xba", b"\x48\x8d\x15"),
)


@dataclass(frozen=True)
class Found:
    """The functions, under the names that they have in the source; or why there are none."""

    functions: dict[str, elf.Function]
    refused: str = ""


@dataclass
class _Group:
    """One function that reports errors of ssl_lib.cc: its bounds, and reason by line."""

    start: int
    end: int
    sites: list[tuple[int, int]]

    @property
    def reasons(self) -> frozenset[int]:
        return frozenset(reason for _, reason in self.sites)

    def line_of(self, reason: int) -> int:
        return min(line for line, r in self.sites if r == reason)


def look(file: elf.Elf) -> Found | None:
    """None where nothing speaks of BoringSSL."""
    if file.machine != elf.EM_X86_64:
        return None
    text, constants = file.section(b".text"), file.section(b".rodata")
    if text is None or constants is None:
        return None
    name = _name_of_source(file, constants)
    if name is None:
        return None
    try:
        groups = [g for layout in _LAYOUTS for g in _groups(file, text, name, layout)]
        return Found(_functions(file, groups))
    except _Unclear as error:
        return Found({}, str(error))


class _Unclear(Exception):
    pass


def _name_of_source(file: elf.Elf, constants: elf.Section) -> int | None:
    """Address of the file's name as the errors pass it: with whatever folders stand before it."""
    at = file.find(_SOURCE, constants.offset, constants.offset + constants.size)
    if at < 0:
        return None
    start = file.rfind(b"\0", constants.offset, at) + 1 or constants.offset
    return start - constants.offset + constants.address


def _uses(file: elf.Elf, text: elf.Section, name: int, layout: _Layout) -> Iterator[int]:
    """Addresses of what puts the name into its argument: `mov ecx, imm32`, `lea rcx, [rip + x]`, or with rdx."""
    end = text.offset + text.size
    if name < 1 << 32:
        for at in file.find_all(layout.move + struct.pack("<I", name), text.offset, end):
            yield at - text.offset + text.address
    for at in file.find_all(layout.load, text.offset, end - 7):
        (distance,) = struct.unpack("<i", file.bytes_at(at + 3, 4))
        address = at - text.offset + text.address
        if address + 7 + distance == name:
            yield address


def _groups(file: elf.Elf, text: elf.Section, name: int, layout: _Layout) -> list[_Group]:
    groups: dict[int, _Group] = {}
    for count, at in enumerate(_uses(file, text, name, layout)):
        if count >= _MAX_SITES:
            raise _Unclear("BoringSSL's errors are reported in too many places")
        bounds = file.frame_at(at) or _bounds_by_padding(file, text, at)
        if bounds is not None and bounds[0] not in groups and bounds[1] - bounds[0] <= _MAX_FUNCTION:
            sites = _sites(file, bounds, name, layout)
            if sites:
                groups[bounds[0]] = _Group(*bounds, sites)
    return list(groups.values())


def _bounds_by_padding(file: elf.Elf, text: elf.Section, at: int) -> tuple[int, int] | None:
    """Functions are aligned to 16; what is between them is filled with int3, and most begin by setting up a frame. The
    decoding from there must meet the given instruction."""
    low = max(text.address, (at & ~15) - _MAX_FUNCTION)
    code = file.bytes_at(text.offset + low - text.address, min(at + _MAX_FUNCTION, text.address + text.size) - low)
    for start in range(at & ~15, low, -16):
        place = start - low
        if code[place - 1] == _INT3 or code[place : place + len(_FRAME)] == _FRAME:
            met = any(here == at for here, _, _, _ in _decoder().disasm_lite(code[place : at - low + 16], start))
            end = _end_by_padding(code, low, at) if met else 0
            return (start, end) if end else None
    return None


def _end_by_padding(code: bytes, low: int, at: int) -> int:
    """From an instruction onwards: an int3 that only int3 follows up to the next aligned address, or the next frame."""
    for address, _, mnemonic, _ in _decoder().disasm_lite(code[at - low :], at):
        place = int(address) - low
        rest = code[place : (place + low + 15 & ~15) - low]
        if mnemonic == "int3" and rest and set(rest) == {_INT3}:
            return int(address)
        if address & 15 == 0 and code[place : place + len(_FRAME)] == _FRAME:
            return int(address)
    return 0


def _decoder() -> capstone.Cs:
    import capstone  # only where code is read, as numpy: see late.py

    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def _sites(file: elf.Elf, bounds: tuple[int, int], name: int, layout: _Layout) -> list[tuple[int, int]]:
    """(line, reason) of each error of a function: constants put into their arguments in the straight piece of code
    around the name."""
    start, end = bounds
    place = file.file_offset(start)
    if place is None:
        return []
    block: list[str] = []
    found = []
    for at, size, mnemonic, operands in _decoder().disasm_lite(file.bytes_at(place, end - start), start):
        block.append("name" if _is_name(at + size, mnemonic, operands, name, layout) else f"{mnemonic} {operands}")
        if _FLOW.match(mnemonic):
            if "name" in block:
                found += _constants(block, layout)
            block = []
    return found


def _is_name(following: int, mnemonic: str, operands: str, name: int, layout: _Layout) -> bool:
    if mnemonic == "mov":
        return operands == f"e{layout.file[1:]}, {name:#x}"
    relative = (
        re.fullmatch(rf"{layout.file}, \[rip ([+-]) (0x[0-9a-f]+|\d+)\]", operands) if mnemonic == "lea" else None
    )
    return relative is not None and following + int(relative[2], 0) * (1 if relative[1] == "+" else -1) == name


def _constants(block: list[str], layout: _Layout) -> list[tuple[int, int]]:
    text = "\n".join(block)
    reasons = re.findall(rf"^mov {layout.reason}, (0x[0-9a-f]+|\d+)$", text, re.M)
    lines = re.findall(rf"^mov {layout.line}, (0x[0-9a-f]+|\d+)$", text, re.M)
    return [(int(lines[-1], 0), int(reasons[-1], 0))] if reasons and lines else []


def _only(groups: list[_Group], what: str) -> _Group:
    if len(groups) != 1:
        raise _Unclear(f"BoringSSL without symbols: {what} is found {len(groups)} times")
    return groups[0]


def _functions(file: elf.Elf, groups: list[_Group]) -> dict[str, elf.Function]:
    # Before 2023 the length was looked at elsewhere.
    write = _only([g for g in groups if g.reasons | {_BAD_LENGTH} == _WRITE], "SSL_write")
    line = write.line_of(_NOT_CALLED)
    near = [g for g in groups if _NOT_CALLED in g.reasons and line - _NEIGHBOURS < g.line_of(_NOT_CALLED) < line]
    read = _only([g for g in near if _changes_something(file, g)], "SSL_read")
    if len(near) > 2 or len({g.line_of(_NOT_CALLED) for g in near}) != 1:
        raise _Unclear("BoringSSL without symbols: what stands before SSL_write is not SSL_peek and SSL_read")
    found = {}
    for name, group in {"SSL_write": write, "SSL_read": read, **_beginning(groups, read)}.items():
        place = file.file_offset(group.start)
        if place is None:
            raise _Unclear(f"BoringSSL without symbols: {name} is in no executable segment")
        found[name] = elf.Function(name, group.start, place, group.end - group.start)
    return found


def _beginning(groups: list[_Group], read: _Group) -> dict[str, _Group]:
    """By what a new connection is known: SSL_new, or where link-time optimisation has put it into others,
    SSL_do_handshake."""
    new = [g for g in groups if g.reasons == {_NULL_CONTEXT}]
    if new:
        name, group, reason = "SSL_new", _only(new, "SSL_new"), _NULL_CONTEXT
    else:
        shakes = [g for g in groups if g.reasons == {_TYPE_NOT_SET}]
        name, group = "SSL_do_handshake (begins)", _only(shakes, "neither SSL_new nor SSL_do_handshake, which")
        reason = _TYPE_NOT_SET
    if group.line_of(reason) > read.line_of(_NOT_CALLED):
        raise _Unclear("BoringSSL without symbols: its functions stand in an order that is not known")
    return {name: group}


def _changes_something(file: elf.Elf, group: _Group) -> bool:
    place = file.file_offset(group.start)
    code = file.bytes_at(place, group.end - group.start) if place is not None else b""
    return any(_STORE.match(f"{m} {o}") for _, _, m, o in _decoder().disasm_lite(code, group.start))
