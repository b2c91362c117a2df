# SPDX-License-Identifier: Apache-2.0
"""The field table (tools/fields/*.yaml) in memory: Structs, fields, enums and their types. Writes nothing.

The format is described in tools/fields/README.md. A table that contradicts itself (an unknown type, a number used
twice) raises TableError, which names the Struct and the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "fields"
FAMILIES = ("process", "network", "file", "ai", "agent")
SCALARS = {"string", "boolean", "uint32", "uint64", "int32", "int64", "number", "timestamp", "hex"}
OPEN = {"object", "map", "any"}
INTEGERS = {"uint32", "uint64", "int32", "int64"}


class TableError(Exception):
    pass


@dataclass(frozen=True)
class Type:
    """One alternative of a field's type."""

    name: str
    array: bool = False

    def __str__(self) -> str:
        return self.name + ("[]" if self.array else "")


@dataclass
class Enum:
    name: str
    owner: str
    prefix: str
    c: str | None
    values: list[str]
    numbers: dict[str, int]

    def number(self, value: str) -> int:
        return self.numbers.get(value, self.values.index(value) + 1)


@dataclass
class Field:
    name: str
    number: int
    types: list[Type]
    doc: str
    options: dict[str, Any] = field(default_factory=dict)
    short: bool = False

    @property
    def required(self) -> bool:
        return bool(self.options.get("required"))


@dataclass
class Struct:
    name: str
    family: str
    doc: str
    place: str
    root: bool
    proto: str | None
    events: list[str]
    oneof: tuple[int, str] | None
    closed: bool
    either: list[list[str]]
    enums: dict[str, Enum]
    fields: list[Field]

    def full(self) -> list[Field]:
        return [f for f in self.fields if not f.short]


@dataclass
class Table:
    structs: dict[str, Struct]
    enums: dict[str, Enum]

    def enum_of(self, struct: Struct, name: str) -> Enum | None:
        return struct.enums.get(name) or self.enums.get(name)

    def all_enums(self) -> list[Enum]:
        nested = [e for s in self.structs.values() for e in s.enums.values()]
        return nested + list(self.enums.values())

    def event_types(self) -> dict[str, Struct]:
        return {t: s for s in self.structs.values() for t in s.events}


def load(folder: Path = FOLDER) -> Table:
    table = Table({}, {})
    for family in ("common", *FAMILIES):
        raw = yaml.safe_load((folder / f"{family}.yaml").read_text())
        for name, spec in raw.pop("enums", {}).items():
            table.enums[name] = _enum(name, "", spec)
        place = f"events/{family}"
        for name, spec in raw.items():
            root = "place" in spec
            place = spec.get("place", place)
            table.structs[name] = _struct(name, family, place, root, spec)
    _check(table)
    return table


def _enum(name: str, owner: str, spec: dict[str, Any]) -> Enum:
    return Enum(name, owner, spec.get("prefix", ""), spec.get("c") or None, spec["values"], spec.get("numbers", {}))


def _struct(name: str, family: str, place: str, root: bool, spec: dict[str, Any]) -> Struct:
    fields = [Field(n, v[0], _types(v[1]), v[2], v[3] if len(v) > 3 else {}) for n, v in spec["fields"].items()]
    fields += [Field(n, 0, _types(v[0]), v[1], {}, True) for n, v in spec.get("short", {}).items()]
    proto = spec.get("proto", name)
    return Struct(
        name=name,
        family=family,
        doc=spec["doc"],
        place=place,
        root=root,
        proto=proto or None,
        events=spec.get("event", []),
        oneof=tuple(spec["oneof"]) if "oneof" in spec else None,
        closed=spec.get("closed", False),
        either=spec.get("either", []),
        enums={n: _enum(n, name, e) for n, e in spec.get("enums", {}).items()},
        fields=fields,
    )


def _types(text: str) -> list[Type]:
    return [Type(part.removesuffix("[]"), part.endswith("[]")) for part in text.split("|")]


def _check(table: Table) -> None:
    for struct in table.structs.values():
        numbers: set[int] = set()
        for f in struct.fields:
            where = f"{struct.name}.{f.name}"
            for t in f.types:
                known = t.name in SCALARS or t.name in OPEN or t.name in table.structs
                if not known and table.enum_of(struct, t.name) is None:
                    raise TableError(f"{where}: unknown type {t.name}")
            oneof = f.options.get("oneof", {})
            for number in [f.number, *(v[0] for k, v in oneof.items() if k != "name")]:
                if number in numbers:
                    raise TableError(f"{where}: number {number} is taken")
                numbers |= {number} if number else set()
    for enum in table.all_enums():
        if enum.prefix and len({enum.number(v) for v in enum.values}) != len(enum.values):
            raise TableError(f"{enum.owner}.{enum.name}: a number is taken twice")
