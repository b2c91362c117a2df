# SPDX-License-Identifier: Apache-2.0
"""HPACK, slow and obvious (RFC 7541): the twin of oisp_core/reassemble/hpack.pyx, for blocks of moderate size."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

STATIC: list[tuple[bytes, bytes]] = list(HeaderTable.STATIC_TABLE)
CODES = {
    f"{code:0{size}b}": symbol
    for symbol, (code, size) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
}
EOS = 256


class Bad(Exception):
    """The block is not valid."""


class Short(Bad):
    """The block ends inside a field."""


def huffman(data: bytes) -> bytes:
    """Bit by bit."""
    out, code = bytearray(), ""
    for bit in "".join(f"{byte:08b}" for byte in data):
        code += bit
        if code in CODES:
            if CODES[code] == EOS:
                raise Bad
            out.append(CODES[code])
            code = ""
    if len(code) > 7 or "0" in code:
        raise Bad
    return bytes(out)


@dataclass
class Decoder:
    """Entries are (name, value), newest first; None for what is not known."""

    table: list[tuple[bytes | None, bytes | None]] = field(default_factory=list)
    max: int = 4096
    allowed: int = 4096
    unsure: bool = False
    max_known: bool = True
    unknown: int = 0

    def size(self) -> int:
        return sum(len(name or b"") + len(value or b"") + 32 for name, value in self.table)

    def lost(self) -> None:
        self.table.clear()
        self.unsure = True
        self.max_known = False
        self.max = max(self.max, self.allowed)

    def shrink(self, most: int) -> None:
        while self.size() > most:
            self.table.pop()

    def settle(self) -> None:
        if self.max_known and self.size() + 32 > self.max:
            self.unsure = False

    def insert(self, name: bytes | None, value: bytes) -> None:
        need = len(name or b"") + len(value) + 32
        if need > self.max:
            self.table.clear()
            if self.max_known:
                self.unsure = False
            return
        self.shrink(self.max - need)
        self.table.insert(0, (name, value))
        self.settle()

    def entry(self, index: int) -> tuple[bytes | None, bytes | None]:
        if index <= len(STATIC):
            return STATIC[index - 1]
        if index - len(STATIC) <= len(self.table):
            return self.table[index - len(STATIC) - 1]
        if not self.unsure:
            raise Bad
        return None, None

    def decode(self, data: bytes) -> list[tuple[int, bytes | None, bytes, bool]]:
        """(place in the block, name or None, value, never indexed). Raises Bad with the fields so far as argument."""
        self.unknown = 0
        fields: list[tuple[int, bytes | None, bytes, bool]] = []
        at, begun = 0, False
        try:
            while at < len(data):
                place, at, begun = at, *self.field(data, at, begun, fields)
                assert at > place
        except Bad as error:
            error.args = (fields,)
            raise
        return fields

    def field(
        self, data: bytes, at: int, begun: bool, fields: list[tuple[int, bytes | None, bytes, bool]]
    ) -> tuple[int, bool]:
        first, place = data[at], at
        if first & 0x80:
            index, at = number(data, at, 7)
            if index == 0:
                raise Bad
            name, value = self.entry(index)
            self.unknown += name is None
            if value is not None:
                fields.append((place, name, value, False))
            return at, True
        if first & 0xE0 == 0x20:
            size, at = number(data, at, 5)
            if begun or size > self.allowed:
                raise Bad
            self.max, self.max_known = size, True
            self.shrink(size)
            self.settle()
            return at, begun
        index, at = number(data, at, 6 if first & 0x40 else 4)
        if index == 0:
            name, at = string(data, at)
        else:
            name = self.entry(index)[0]
        value, at = string(data, at)
        self.unknown += name is None
        if first & 0x40:
            self.insert(name, value)
        fields.append((place, name, value, first & 0xF0 == 0x10))
        return at, True


def number(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """RFC 7541 section 5.1, with a bound of 2^28."""
    prefix = (1 << bits) - 1
    value = data[at] & prefix
    at += 1
    if value < prefix:
        return value, at
    shift = 0
    while True:
        if at == len(data):
            raise Short
        byte = data[at]
        at += 1
        if shift > 28 or (shift == 28 and byte & 0x7F):
            raise Bad
        value += (byte & 0x7F) << shift
        if value > 1 << 28:
            raise Bad
        if not byte & 0x80:
            return value, at
        shift += 7


def string(data: bytes, at: int) -> tuple[bytes, int]:
    if at == len(data):
        raise Short
    coded = data[at] & 0x80
    size, at = number(data, at, 7)
    if at + size > len(data):
        raise Short
    text = data[at : at + size]
    return (huffman(text) if coded else text), at + size
