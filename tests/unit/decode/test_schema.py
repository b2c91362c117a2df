# SPDX-License-Identifier: Apache-2.0
"""The published schema of dialect files accepts ours and refuses what the compiler refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


@pytest.fixture(scope="module")
def validator(repo_root: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads((repo_root / "schema/v0.1/semconv/dialect.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_our_files_are_valid(repo_root: Path, validator: jsonschema.Draft202012Validator) -> None:
    files = sorted((repo_root / "semconv/dialects").glob("*.yaml"))
    assert len(files) > 40
    for file in files:
        doc = yaml.load(file.read_text(), yaml.BaseLoader)
        assert doc["dialect"] == file.stem
        assert [error.message for error in validator.iter_errors(doc)] == [], file.name


@pytest.mark.parametrize(
    "doc",
    [
        {},
        {"dialect": "x", "framing": "smoke"},
        {"dialect": "x", "request": {"modle": "model"}},
        {"dialect": "x", "request": {"messages": {"role": "role"}}},
        {"dialect": "x", "response": {"id": {"path": "a", "json": "b"}}},
        {"dialect": "x", "maps": {"finish": {"end": "halt"}}},
    ],
)
def test_mistakes_are_refused(validator: jsonschema.Draft202012Validator, doc: dict[str, Any]) -> None:
    assert not validator.is_valid(doc)
