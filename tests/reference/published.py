# SPDX-License-Identifier: Apache-2.0
"""The published contract (tests/vectors/contract/*.tsv) as JSON Schemas, one definition per event type.

Made from the table of facts alone, not from our field table, so that it can be held against what we generate. Only the
full form is in it: what we emit must be valid here.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "contract"
NUMERIC = {"minimum", "maximum", "minLength", "maxLength"}

Row = dict[str, str]
Schema = dict[str, Any]


def rows(name: str) -> list[Row]:
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@cache
def envelope() -> Schema:
    own = [r for r in rows("fields.tsv") if ":" not in r["field"] and not r["field"].startswith(("(", "redaction"))]
    return _object({"additionalProperties": False}, own)


@cache
def payload(event_type: str) -> Schema:
    prefix = f"{event_type}: data."
    own = [{**r, "field": r["field"].removeprefix(prefix)} for r in rows("fields.tsv") if r["field"].startswith(prefix)]
    return _object({}, own)


@cache
def marker() -> Schema:
    prefix = "redaction-marker."
    own = [{**r, "field": r["field"].removeprefix(prefix)} for r in rows("fields.tsv") if r["field"].startswith(prefix)]
    return _object({}, own)


def event_types() -> list[str]:
    return [r["field"].removesuffix(": data") for r in rows("fields.tsv") if r["field"].endswith(": data")]


def _object(schema: Schema, members: list[Row]) -> Schema:
    schema["type"] = "object"
    for row in members:
        _place(schema, row["field"].replace("[]", ".[]").split("."), row)
    return schema


def _place(schema: Schema, path: list[str], row: Row) -> None:
    """Put `row` where its path leads. The rows of a member follow the member's own."""
    name, rest = path[0], path[1:]
    if name == "[]":
        inner = schema.setdefault("items", {})
    elif name == "*":
        inner = schema.setdefault("additionalProperties", {})
    else:
        inner = schema.setdefault("properties", {}).setdefault(name, {})
        if not rest and row["required"]:
            schema.setdefault("required", []).append(name)
    if rest:
        _place(inner, rest, row)
    else:
        inner.update(_type(row))


def _type(row: Row) -> Schema:
    kinds = row["type"].split(" or ")
    options = [marker() if kind == "redaction-marker" else {"type": kind} for kind in kinds]
    out: Schema = dict(options[0]) if len(options) == 1 else {"anyOf": options}
    if row["enum"]:
        out["enum"] = row["enum"].split(",")
    for constraint in row["constraints"].split(" ") if row["constraints"] else ():
        name, _, value = constraint.partition("=")
        out[name] = int(value) if name in NUMERIC else value
    return out
