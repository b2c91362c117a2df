# SPDX-License-Identifier: Apache-2.0
"""Exchanges written down beside the events that they give: tests/vectors/dialects, under every policy."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from oisp_core import Engine, validate
from oisp_core.engine import Request, Response
from tests.reference.streams import aws_frame

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "dialects"
START = 1_700_000_000_000_000_000
MS = 1_000_000
ABSENT = object()


def cases() -> list[Any]:
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text()):
            found.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    if not found:
        raise FileNotFoundError(f"no vectors in {FOLDER}")
    return found


def answer_of(case: dict[str, Any]) -> tuple[str, bytes]:
    """Content type and body."""
    if "frames" not in case:
        return case.get("type", "application/json"), case["response"].encode()
    body = b""
    for name, document in case["frames"]:
        if case.get("chunk"):
            document = json.dumps({"bytes": base64.b64encode(document.encode()).decode()})
        body += aws_frame(name, document.encode())
    return "application/vnd.amazon.eventstream", body


def run(case: dict[str, Any], content: str) -> list[dict[str, Any]]:
    engine = Engine(content=content, id_seed=1)  # type: ignore[arg-type]
    headers = [("Content-Type", "application/json"), *(case.get("headers") or {}).items()]
    request = Request(
        method=case.get("method", "POST"),
        url=case["url"],
        headers=headers,
        body=case["request"].encode(),
        ts_ns=START,
        ts_end_ns=START + 50 * MS,
    )
    kind, body = answer_of(case)
    response = Response(
        status=case.get("status", 200),
        headers=[("Content-Type", kind)],
        body=body,
        ts_ns=START + 200 * MS,
        ts_end_ns=START + 250 * MS,
        complete=not case.get("cut", False),
    )
    engine.exchange(request, response)
    lines = engine.drain().splitlines()
    for line in lines:
        assert validate.problems(line) == []
    return [json.loads(line) for line in lines]


def at(event: Any, path: str) -> Any:
    """The value at `a.b[0].c`; None where there is none."""
    for part in path.replace("[", ".[").split("."):
        if part.startswith("[") and isinstance(event, list) and int(part[1:-1]) < len(event):
            event = event[int(part[1:-1])]
        elif isinstance(event, dict) and not part.startswith("["):
            event = event.get(part)
        else:
            return None
    return event


def differences(events: list[dict[str, Any]], number: int, expected: dict[str, Any]) -> list[str]:
    event, out = events[number], []
    for path, value in expected.items():
        if path == "related":
            ids = [r["event_id"] for r in event.get("related_events", [])]
            found: Any = next((e["event_type"] for e in events[:number] if e["event_id"] in ids), None)
        elif path == "missing":
            found = value if value in event["confidence"].get("missing", []) else event["confidence"].get("missing")
        elif path == "reason":
            found = value if value in event["confidence"].get("reasons", []) else event["confidence"].get("reasons")
        else:
            found = at(event, path)
        if found != value:
            out.append(f"event {number}, {path}: {found!r}, expected {value!r}")
    return out


@pytest.mark.parametrize("case", cases())
def test_the_events_of_a_vector(case: dict[str, Any]) -> None:
    events = run(case, "full")
    assert [e["event_type"] for e in events] == [e["event_type"] for e in case["gives"]]
    wrong = [d for i, expected in enumerate(case["gives"]) for d in differences(events, i, expected)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", cases())
def test_no_content_leaves_without_leave(case: dict[str, Any]) -> None:
    events = run(case, "metadata")
    assert [e["event_type"] for e in events] == [e["event_type"] for e in case["gives"]]
    assert "zebra" not in json.dumps(events)
