# SPDX-License-Identifier: Apache-2.0
"""The published files do what the specification promises of them, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

Schema = dict[str, Any]
VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "contract"

# No socket may be made: the schema must resolve by itself.
OFFLINE = "import socket\nsocket.socket = socket.create_connection = socket.getaddrinfo = None\n"

MINIMAL: Schema = {
    "oisp_version": "0.1",
    "event_id": "01HQXYZ123ABC...",
    "event_type": "ai.request",
    "ts": "2025-12-22T20:15:05.123456Z",
    "host": {"hostname": "dev-laptop", "os": "darwin"},
    "actor": {"uid": 501, "user": "alice"},
    "process": {"pid": 1234, "exe": "/usr/bin/curl"},
    "source": {"collector": "oisp-sensor", "capture_method": "ebpf_uprobe"},
    "confidence": {"level": "high", "completeness": "full"},
    "data": {},
}
CONFIDENCE: Schema = {
    "confidence": {
        "level": "high",
        "completeness": "partial",
        "reasons": ["tls_boundary_capture", "response_truncated"],
    }
}
PROMPT: Schema = {
    "prompt": {"$redacted": {"reason": "pii_detected", "original_length": 1547, "hash": "sha256:abc123..."}}
}


@pytest.mark.parametrize("prelude", ["", OFFLINE], ids=["as it is", "without network"])
def test_quick_start_prints_valid(root: Path, prelude: str) -> None:
    snippet = (VECTORS / "quick-start.py.txt").read_text()
    run = subprocess.run(
        [sys.executable, "-c", prelude + snippet], cwd=root, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "Valid!\n", "")


@pytest.fixture(scope="module")
def validator(envelope: Schema) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(envelope)


def test_every_example_is_valid(example: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(json.loads(example.read_text()))


def test_the_envelope_example_of_the_specification_is_valid(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(MINIMAL)


def test_fragments_of_the_specification_are_valid_for_their_member(envelope: Schema, root: Path) -> None:
    member = {"$ref": "https://oisp.dev/schema/v0.1/common/confidence.schema.json", "$defs": envelope["$defs"]}
    jsonschema.validate(CONFIDENCE["confidence"], {**member, "$id": envelope["$id"]})
    redaction = json.loads((root / "schema/v0.1/common/redaction.schema.json").read_text())
    jsonschema.validate(PROMPT["prompt"], redaction)


def test_the_bundle_is_its_parts(root: Path, envelope: Schema) -> None:
    top = root / "schema/v0.1"
    files = [*top.glob("common/*.schema.json"), *top.glob("events/*.schema.json")]
    parts = {p.relative_to(top).as_posix().removesuffix(".schema.json"): json.loads(p.read_text()) for p in files}
    embedded = {key: schema for key, schema in envelope["$defs"].items() if "$id" in schema}
    assert embedded == parts
    assert len(parts) == 15


def test_every_part_is_a_valid_schema(root: Path) -> None:
    for path in (root / "schema").rglob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_one_event_type_selects_one_definition(envelope: Schema) -> None:
    chosen = [choice["if"]["properties"]["event_type"]["const"] for choice in envelope["allOf"]]
    assert len(chosen) == len(set(chosen)) == 22
    assert {"rag.retrieve", "agent.rag_retrieve"} <= set(chosen)


def test_unknown_event_types_pass_with_any_object(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate({**MINIMAL, "event_type": "robot.moved", "data": {"provider": 7, "x": [None]}})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**MINIMAL, "event_type": "robot.moved", "data": 7})


def test_the_envelope_alone_is_closed(validator: jsonschema.Draft202012Validator) -> None:
    with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
        validator.validate({**MINIMAL, "color": "red"})
    validator.validate({**MINIMAL, "host": {"color": "red"}, "data": {"color": "red"}})


def test_data_of_another_type_is_rejected(validator: jsonschema.Draft202012Validator) -> None:
    exit_data = {"exit_code": 0}
    validator.validate({**MINIMAL, "event_type": "process.exit", "data": exit_data})
    with pytest.raises(jsonschema.ValidationError, match="'exe' is a required property"):
        validator.validate({**MINIMAL, "event_type": "process.exec", "data": exit_data})
