# SPDX-License-Identifier: Apache-2.0
"""Protocol Buffers read by the `protobuf` section of a dialect's YAML, slow and obvious: bytes -> plain data.

Also a writer of messages for tests (`encode`), which shares nothing with the reader of the engine.
"""

from __future__ import annotations

import base64
import math
import struct
from pathlib import Path
from typing import Any

import yaml

VARINTS = {"bool", "int", "uint", "sint", "enum"}


class Bad(Exception):
    """No message: broken, or cut."""


class Field:
    def __init__(self, schema: Schema, number: int, spec: str) -> None:
        name, kind, *rest = spec.split()
        self.number, self.repeated = number, name.endswith("[]")
        self.name = name.removesuffix("[]")
        self.flags = set(rest)
        self.kind = "message" if kind in schema.messages else "enum" if kind in schema.enums else kind
        self.ref = kind

    def wires(self) -> set[int]:
        if self.kind == "present":
            return {0, 1, 2, 5}
        if self.kind == "fixed":
            base = {1, 5}
        else:
            base = {0} if self.kind in VARINTS else {"float": {5}, "double": {1}}.get(self.kind, {2})
        return base | {2} if self.repeated and self.kind in {*VARINTS, "fixed", "float", "double"} else base


class Schema:
    def __init__(self, doc: dict[str, Any]) -> None:
        self.roots: dict[str, str] = doc["roots"]
        self.messages: dict[str, Any] = doc.get("messages", {})
        self.enums: dict[str, dict[int, str]] = doc.get("enums", {})
        self.fields = {
            name: [Field(self, int(number), spec) for number, spec in rows.items()]
            for name, rows in self.messages.items()
        }


def load(file: Path) -> Schema:
    return Schema(yaml.safe_load(file.read_text())["protobuf"])


# --- reading ----------------------------------------------------------------------------------------------------------


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Bad
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value & (2**64 - 1), at
    raise Bad


def split(data: bytes) -> list[tuple[int, int, Any]]:
    """(number, wire type, value) of each field."""
    at, found = 0, []
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0 or key >> 32:
            raise Bad
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if at + size > len(data):
                raise Bad
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        elif wire == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise Bad
            value, at = data[at : at + size], at + size
        else:
            raise Bad
        found.append((number, wire, value))
    return found


def shortest(single: float) -> float:
    """The number that the shortest decimal of a 32-bit float stands for: 0.7, not 0.699999988079071."""
    for digits in range(6, 10):
        near = float(f"{single:.{digits}g}")
        if abs(near) <= 3.4028235e38 and struct.unpack("<f", struct.pack("<f", near))[0] == single:
            return near
    return single


def number(schema: Schema, f: Field, wire: int, raw: int) -> Any:
    if f.kind == "bool":
        return raw != 0
    if f.kind == "uint":
        return raw
    if f.kind == "sint":
        return (raw >> 1) ^ -(raw & 1)
    if f.kind == "float" or f.kind == "double":
        text = struct.pack("<Q", raw)
        real = struct.unpack("<f", text[:4])[0] if f.kind == "float" else struct.unpack("<d", text)[0]
        return (shortest(real) if f.kind == "float" else real) if math.isfinite(real) else None
    if f.kind == "enum":
        words = schema.enums[f.ref]
        low = raw & 0xFFFFFFFF
        return words.get(raw, None if raw == 0 else low - 2**32 if low >> 31 else low)
    bits = 32 if wire == 5 else 64
    return raw - 2**bits if raw >> (bits - 1) else raw


def json_value(kind: str, data: bytes) -> Any:
    """google.protobuf.Struct, Value and ListValue."""
    if kind == "struct":
        out = {}
        for n, wire, entry in split(data):
            if (n, wire) == (1, 2):
                parts = {k: v for k, w, v in split(entry) if w == 2}
                out[parts.get(1, b"").decode("utf-8", "replace")] = (
                    json_value("value", parts[2]) if 2 in parts else None
                )
        return out
    if kind == "list":
        return [json_value("value", v) for n, wire, v in split(data) if (n, wire) == (1, 2)]
    found = split(data)
    if not found:
        return None
    n, wire, value = found[-1]
    if (n, wire) == (2, 1):
        real = struct.unpack("<d", struct.pack("<Q", value))[0]
        return real if math.isfinite(real) else None
    if (n, wire) == (3, 2):
        return value.decode("utf-8", "replace")
    if (n, wire) == (4, 0):
        return value != 0
    return json_value("struct" if n == 5 else "list", value) if wire == 2 and n in (5, 6) else None


def values(schema: Schema, f: Field, wire: int, raw: Any) -> list[Any]:
    if f.kind == "present":
        return [True]
    if f.kind == "message":
        return [document(schema, f.ref, raw)]
    if f.kind == "string":
        return [raw.decode("utf-8", "replace")]
    if f.kind == "bytes":
        return [base64.b64encode(raw).decode()]
    if f.kind in ("struct", "value", "list"):
        return [json_value(f.kind, raw)]
    if wire != 2:
        return [number(schema, f, wire, raw)]
    out, at = [], 0
    width = {"float": 4, "double": 8, "fixed": 4 if len(raw) % 8 else 8}.get(f.kind, 0)
    while at < len(raw):
        if width:
            if at + width > len(raw):
                raise Bad
            one, at = int.from_bytes(raw[at : at + width], "little"), at + width
        else:
            one, at = varint(raw, at)
        out.append(number(schema, f, 5 if width == 4 else 1, one))
    return out


def document(schema: Schema, message: str, data: bytes) -> dict[str, Any]:
    found = split(data)
    out: dict[str, Any] = {}
    for f in schema.fields[message]:
        mine = [(wire, raw) for n, wire, raw in found if n == f.number and wire in f.wires()]
        if f.repeated and mine:
            out[f.name] = [value for wire, raw in mine for value in values(schema, f, wire, raw)]
        elif mine and "inline" in f.flags:
            out |= document(schema, f.ref, mine[-1][1])
        elif mine:
            out[f.name] = values(schema, f, *mine[-1])[0]
        elif "always" in f.flags:
            zero = {"string": "", "bytes": ""}.get(f.kind)
            out[f.name] = [] if f.repeated else zero if zero is not None else number(schema, f, 5, 0)
    return out


# --- writing ----------------------------------------------------------------------------------------------------------


def put_varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def encode(*fields: tuple[int, Any]) -> bytes:
    """(number, int | float | str | bytes): a varint, a double, or bytes of that length."""
    out = b""
    for number_, value in fields:
        if isinstance(value, float):
            out += put_varint(number_ << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, int):
            out += put_varint(number_ << 3) + put_varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += put_varint(number_ << 3 | 2) + put_varint(len(raw)) + raw
    return out
