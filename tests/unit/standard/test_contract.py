# SPDX-License-Identifier: Apache-2.0
"""Schemas and proto say what the published contract says: the same names, types, enums, constraints and numbers.

The contract lies in tests/vectors/contract/ as tables of facts. Here ours is flattened into the same tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema
import pytest

from tests.reference import published
from tests.unit.standard.conftest import SHORT

Schema = dict[str, Any]
Row = tuple[str, str, str, str, str]
CONSTRAINTS = ("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "default")
MARKER = "https://oisp.dev/schema/v0.1/common/redaction.schema.json"


class Flat:
    """Our bundled schema, read as the rows of fields.tsv. Members of the short form are left out."""

    def __init__(self, envelope: Schema) -> None:
        self.documents = {envelope["$id"]: envelope}
        for schema in envelope["$defs"].values():
            if "$id" in schema:
                self.documents[schema["$id"]] = schema
        self.root: str = envelope["$id"]

    def resolve(self, node: Schema, base: str) -> tuple[Schema, str]:
        while "$ref" in node:
            uri, _, fragment = urljoin(base, node["$ref"]).partition("#")
            node, base = self.documents[uri], uri
            for step in fragment.split("/")[1:]:
                node = node["$defs"] if step == "$defs" else node[step]
        return node, base

    def required(self, node: Schema) -> set[str]:
        either = [option["required"][0] for option in node.get("anyOf", []) if "required" in option]
        return set(node.get("required", [])) | set(either[:1])

    def rows(self, name: str, node: Schema, base: str, required: bool) -> Iterator[Row]:
        alternatives = [a for a in node.get("anyOf", [node]) if not a.get("deprecated")]
        resolved = [self.resolve(a, base) for a in alternatives]
        kinds = ["redaction-marker" if s.get("$id") == MARKER else s["type"] for s, _ in resolved]
        schema, base = resolved[0]
        enum = ",".join(schema.get("enum", []))
        limits = " ".join(f"{k}={schema[k]}" for k in CONSTRAINTS if k in schema)
        yield name, " or ".join(kinds), "required" if required else "", enum, limits
        if len(kinds) == 1:
            yield from self.members(name, schema, base)

    def members(self, name: str, schema: Schema, base: str) -> Iterator[Row]:
        required = self.required(schema)
        for member, node in schema.get("properties", {}).items():
            if not node.get("deprecated"):
                yield from self.rows(f"{name}.{member}" if name else member, node, base, member in required)
        if isinstance(schema.get("additionalProperties"), dict):
            yield from self.rows(f"{name}.*", schema["additionalProperties"], base, False)
        if "items" in schema:
            yield from self.rows(f"{name}[]", schema["items"], base, False)

    def all_rows(self) -> Iterator[Row]:
        root = self.documents[self.root]
        yield "(envelope)", "object", "", "", "closed" if root["additionalProperties"] is False else ""
        yield from self.members("", root, self.root)
        for choice in root["allOf"]:
            event_type = choice["if"]["properties"]["event_type"]["const"]
            node = choice["then"]["properties"]["data"]
            yield from self.rows(f"{event_type}: data", node, self.root, "data" in choice["then"]["required"])
        marker = self.documents[MARKER]
        yield "redaction-marker", "object", "required", "", ""
        yield from self.members("redaction-marker", marker, MARKER)


def test_schemas_are_the_contract(envelope: Schema) -> None:
    ours = {row for row in Flat(envelope).all_rows() if not row[0].startswith("rag.retrieve")}
    theirs = {tuple(row.values()) for row in published.rows("fields.tsv")}
    assert len(theirs) > 600
    assert sorted(ours - theirs) == []
    assert sorted(theirs - ours) == []


def test_rag_retrieve_is_agent_rag_retrieve(envelope: Schema) -> None:
    rows = list(Flat(envelope).all_rows())
    new = [row for row in rows if row[0].startswith("rag.retrieve")]
    old = [row for row in rows if row[0].startswith("agent.rag_retrieve")]
    assert new
    assert [(f"agent.rag_retrieve{row[0].removeprefix('rag.retrieve')}", *row[1:]) for row in new] == old


def test_full_form_examples_are_valid_as_published(example: Path) -> None:
    """Each event type against its own published definition."""
    event = json.loads(example.read_text())
    event_type = {"rag.retrieve": "agent.rag_retrieve"}.get(event["event_type"], event["event_type"])
    validator = jsonschema.Draft202012Validator
    errors = [e.message for e in validator(published.envelope()).iter_errors(event)]
    errors += [e.message for e in validator(published.payload(event_type)).iter_errors(event["data"])]
    assert bool(errors) is (example.stem in SHORT), errors


@pytest.mark.parametrize("event_type", published.event_types())
def test_the_reference_rejects_what_it_should(event_type: str) -> None:
    """The oracle itself is no rubber stamp."""
    validator = jsonschema.Draft202012Validator(published.payload(event_type))
    members = published.payload(event_type)["properties"]
    assert members
    assert not any(validator.is_valid({name: None}) for name in members)
