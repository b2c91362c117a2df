# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas out of the field table: one document per part, and the bundled envelope."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin

from bundle_schema import Schema, bundle
from fieldtable import INTEGERS, Field, Struct, Table, Type

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BASE = "https://oisp.dev/schema/v0.1/"
KEYWORDS = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "format": "format",
    "default": "default",
}
FAMILY_DOCS = {
    "process": "process.*: lives of processes.",
    "network": "network.*: connections, flows and name look-ups.",
    "file": "file.*: what was done to files.",
    "ai": "ai.*: requests to models and what came back.",
    "agent": "agent.* and rag.*: what agents do.",
}


def generate(table: Table) -> dict[str, str]:
    """File name below schema/v0.1/ -> text."""
    parts = _parts(table)
    envelope = parts.pop("envelope")
    by_uri = {schema["$id"]: schema for schema in parts.values()}
    parts["envelope"] = bundle(envelope, lambda uri: by_uri[uri])
    return {f"{place}.schema.json": _text(schema) for place, schema in parts.items()}


def _text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _uri(place: str) -> str:
    return urljoin(BASE, f"{place}.schema.json")


def _parts(table: Table) -> dict[str, Schema]:
    parts: dict[str, Schema] = {}
    for struct in table.structs.values():
        head: Schema = {"$schema": DIALECT, "$id": _uri(struct.place)}
        if struct.root:
            parts[struct.place] = {**head, "title": struct.name, **_object(table, struct)}
            continue
        if struct.place not in parts:
            parts[struct.place] = _family(struct, head)
        parts[struct.place].setdefault("$defs", {})[_definition(struct)] = _object(table, struct)
    parts["envelope"]["allOf"] = _choices(table)
    return parts


def _family(struct: Struct, head: Schema) -> Schema:
    return {
        **head,
        "title": f"Payloads of {struct.family} events",
        "description": f"{FAMILY_DOCS[struct.family]} One definition per event type; the envelope picks it.",
        "type": "object",
    }


def _definition(struct: Struct) -> str:
    return struct.events[0] if struct.events else struct.name


def _choices(table: Table) -> list[Schema]:
    """One event type selects exactly one definition."""
    choices = []
    for event_type, struct in table.event_types().items():
        ref = f"{struct.place}.schema.json#/$defs/{_definition(struct)}"
        choices.append(
            {
                "if": {"properties": {"event_type": {"const": event_type}}, "required": ["event_type"]},
                "then": {"properties": {"data": {"$ref": ref}}, "required": ["data"]},
            }
        )
    return choices


def _object(table: Table, struct: Struct) -> Schema:
    schema: Schema = {"description": struct.doc, "type": "object"}
    either = {pair[0] for pair in struct.either}
    required = [f.name for f in struct.fields if f.required and f.name not in either]
    if required:
        schema["required"] = required
    for pair in struct.either:
        schema["anyOf"] = [{"required": [name]} for name in pair]
    schema["properties"] = {f.name: _property(table, struct, f) for f in struct.fields}
    if struct.closed:
        schema["additionalProperties"] = False
    return schema


def _property(table: Table, struct: Struct, f: Field) -> Schema:
    alternatives = [_one(table, struct, f, t) for t in f.types]
    if "short" in f.options:
        short = {"type": f.options["short"], "deprecated": True, "description": "Short form, accepted on input."}
        alternatives.append(short)
    schema = alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}
    out: Schema = {"description": f.doc, **schema}
    if f.short:
        out["deprecated"] = True
    return out


def _one(table: Table, struct: Struct, f: Field, t: Type) -> Schema:
    item = _plain(table, struct, t)
    if t.array:
        return {"type": "array", "items": item} if item else {"type": "array"}
    for option, keyword in KEYWORDS.items():
        if option in f.options:
            item[keyword] = f.options[option]
    return item


def _plain(table: Table, struct: Struct, t: Type) -> Schema:
    if t.name in INTEGERS:
        return {"type": "integer"}
    fixed: dict[str, Schema] = {
        "string": {"type": "string"},
        "hex": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "boolean": {"type": "boolean"},
        "number": {"type": "number"},
        "object": {"type": "object"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {},
    }
    if t.name in fixed:
        return fixed[t.name]
    enum = table.enum_of(struct, t.name)
    if enum is not None:
        return {"type": "string", "enum": enum.values}
    return {"$ref": _reference(struct, table.structs[t.name])}


def _reference(user: Struct, target: Struct) -> str:
    fragment = "" if target.root else f"#/$defs/{_definition(target)}"
    if user.place == target.place:
        return fragment or "#"
    up = "../" if "/" in user.place and target.place.split("/")[0] != user.place.split("/")[0] else ""
    name = target.place if up or "/" not in user.place else target.place.split("/")[1]
    return f"{up}{name}.schema.json{fragment}"


def compact(schema: Any) -> Any:
    """`schema` without what only people read."""
    if isinstance(schema, dict):
        return {k: compact(v) for k, v in schema.items() if k not in ("description", "title") or isinstance(v, dict)}
    return [compact(v) for v in schema] if isinstance(schema, list) else schema
