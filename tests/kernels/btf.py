# SPDX-License-Identifier: Apache-2.0
"""What a kernel says of its structs (BTF), and what our programs read of them."""

from __future__ import annotations

import re
import struct

# Bytes behind the head of a type: INT, ARRAY, VAR, DECL_TAG; and for each of its `count` members.
_EXTRA = {1: 4, 3: 12, 14: 4, 17: 4}
_VECTOR = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64


def structs(btf: bytes) -> dict[str, set[str]]:
    """Name of each struct -> names of its members, those of unnamed members included."""
    _, _, _, head, types, types_size, strings, _ = struct.unpack_from("<HBBIIIII", btf)
    base, text = head + types, head + strings
    end = base + types_size

    def word(offset: int) -> str:
        return btf[text + offset : btf.index(b"\0", text + offset)].decode()

    known: list[tuple[str, list[tuple[str, int]]]] = [("", [])]
    at = base
    while at < end:
        name, info, _ = struct.unpack_from("<III", btf, at)
        kind, count = info >> 24 & 31, info & 0xFFFF
        at += 12
        members = []
        if kind in (4, 5):
            members = [struct.unpack_from("<II", btf, at + number * 12) for number in range(count)]
        known.append((word(name) if kind == 4 else "", [(word(n), t) for n, t in members]))
        at += _EXTRA.get(kind, 0) + _VECTOR.get(kind, 0) * count
    return {name: set(_named(known, number, 0)) for number, (name, _) in enumerate(known) if name}


def _named(known: list[tuple[str, list[tuple[str, int]]]], number: int, depth: int) -> list[str]:
    found = []
    for name, kind in known[number][1]:
        if name:
            found.append(name)
        elif depth < 8:
            found += _named(known, kind, depth + 1)
    return found


def wanted(header: str) -> dict[str, set[str]]:
    """What kernel.h reads of the kernel: struct -> fields. What follows three underscores is not the type's name."""
    block = header.split("#pragma clang attribute push")[1].split("#pragma clang attribute pop")[0]
    found: dict[str, set[str]] = {}
    for name, body in re.findall(r"struct (\w+) \{\n(.*?)\n\}", block, re.DOTALL):
        fields = re.findall(r"(\w+)(?:\[\d+\])?\s*[;,](?!\))", re.sub(r"/\*.*?\*/", "", body))
        found[name.split("___")[0]] = {field for field in fields if not field.isdigit()}
    return found
