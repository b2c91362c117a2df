# SPDX-License-Identifier: Apache-2.0
"""Where the standard's files are, and the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
SHORT = {"ai-request-short-form", "agent-tool-call-short-form"}


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def envelope() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((ROOT / "schema/v0.1/envelope.schema.json").read_text())
    return schema


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path
