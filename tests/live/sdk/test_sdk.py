# SPDX-License-Identifier: Apache-2.0
"""The official SDKs, captured live: what the events say is what the double sent, field by field."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.sdk import expected
from tests.live.sdk.support import Captured, sensor

pytestmark = pytest.mark.live
CLIENT = Path(__file__).resolve().parent / "clients" / "python_sdk.py"
CALLS = [
    {"words": "text", "tools": False, "exchanges": 1},
    {"words": "", "tools": True, "exchanges": 2},  # answered with results
    {"words": "parallel odd-chunks", "tools": True, "exchanges": 2},
    {"words": "unicode odd-chunks", "tools": False, "exchanges": 1},
    {"words": "thinking cached", "tools": False, "exchanges": 1},
    {"words": "length length-framed", "tools": False, "exchanges": 1},
    {"words": "refusal no-padding", "tools": False, "exchanges": 1},
    {"words": "401", "tools": False, "exchanges": 1},
    {"words": "429", "tools": False, "exchanges": 1},
    {"words": "500", "tools": False, "exchanges": 1},
    {"words": "close", "tools": False, "exchanges": 1},
    {"words": "slow text", "tools": False, "exchanges": 1},  # long enough for its latency to mean something
]
CASES = [
    (sdk, mode, stream) for sdk in ("openai", "anthropic") for mode in ("sync", "async") for stream in (False, True)
]


@pytest.fixture(scope="module", params=CASES, ids=["-".join((s, m, "stream" if f else "whole")) for s, m, f in CASES])
def captured(request: pytest.FixtureRequest, capture: Callable[..., Captured]) -> Captured:
    sdk, mode, stream = request.param
    calls = [{"words": c["words"], "tools": c["tools"], "stream": stream} for c in CALLS]
    command = [sys.executable, str(CLIENT), sdk, mode, json.dumps(calls)]
    result = capture(command, exchanges=sum(int(c["exchanges"]) for c in CALLS))
    assert result.returncode == 0, result.stderr
    return result


def compare(events: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(events) == len(wanted)
    wrong = [
        f"{want['event_type']} {number}: {line}"
        for number, (event, want) in enumerate(zip(events, wanted, strict=True))
        for line in expected.differences(event, want)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_sdk_understood_the_double(captured: Captured) -> None:
    """The target's own account agrees with the log, so that a difference below is the sensor's."""
    understood = [json.loads(line) for line in captured.stdout.splitlines() if line.startswith("{")]
    assert len(understood) == len(captured.rows)
    for said, row in zip(understood, captured.rows, strict=True):
        if "error" in said:
            assert row["error"]
        else:
            assert said["text"] == row["answer"]["text"]
            assert [call[:2] for call in said["calls"]] == [[c["id"], c["name"]] for c in row["answer"]["tool_calls"]]


def test_requests(captured: Captured) -> None:
    compare(captured.of_type("ai.request"), [expected.request(row) for row in captured.rows])


def test_responses(captured: Captured) -> None:
    compare(captured.of_type("ai.response"), [expected.response(row) for row in captured.rows])


def test_tool_calls(captured: Captured) -> None:
    compare(captured.of_type("agent.tool_call"), [call for row in captured.rows for call in expected.calls(row)])


def test_tool_results(captured: Captured) -> None:
    compare(captured.of_type("agent.tool_result"), [r for row in captured.rows for r in expected.results(row)])


def test_events_are_linked(captured: Captured) -> None:
    by_id = {event["event_id"]: event for event in captured.events}
    assert len(by_id) == len(captured.events)
    requests = {event["data"]["request_id"]: event for event in captured.of_type("ai.request")}
    assert len(requests) == len(captured.rows)
    wants = {"ai.response": "caused_by", "agent.tool_call": "caused_by", "agent.tool_result": "parent"}
    for event in captured.events:
        if event["event_type"] not in wants:
            continue
        link = event["related_events"][0]
        assert link["relationship"] == wants[event["event_type"]]
        target = by_id[link["event_id"]]
        if event["event_type"] == "ai.response":
            assert target is requests[event["data"]["request_id"]]
        elif event["event_type"] == "agent.tool_call":
            assert event["data"]["call_id"] in {call["id"] for call in target["data"]["tool_calls"]}
        else:
            assert target["data"]["call_id"] == event["data"]["call_id"]


def test_events_come_in_causal_order(captured: Captured) -> None:
    seen: set[str] = set()
    for event in captured.events:
        assert {link["event_id"] for link in event.get("related_events", [])} <= seen
        seen.add(event["event_id"])


def test_times_are_those_of_the_wire(captured: Captured) -> None:
    for event, row in zip(captured.of_type("ai.response"), captured.rows, strict=True):
        times = row["times_ns"]
        took = (times["response_end"] - times["request_end"]) / 1e6
        assert event["data"]["latency_ms"] == pytest.approx(took, rel=0.25, abs=60)  # the wire and the ends differ
        if row["streamed"] and row["answer"]["text"]:
            assert 0 <= event["data"]["time_to_first_token_ms"] <= event["data"]["latency_ms"]


def test_the_process_is_named(captured: Captured) -> None:
    for event in captured.events:
        if event["event_type"].startswith(("ai.", "agent.")):
            assert event["process"]["name"].startswith("python")
            assert "python_sdk.py" in event["process"]["cmdline"]
            assert event["actor"]["uid"] == 0
            assert event["host"]["hostname"]
            assert event["source"]["collector"] == "oisp-sensor"


def test_no_key_leaves(captured: Captured) -> None:
    text = captured.path.read_text(encoding="utf-8")
    assert "invented-for-this-test" not in text


def test_every_event_is_valid(captured: Captured) -> None:
    done = subprocess.run(sensor("validate", str(captured.path)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (captured.path.stat().st_mode & 0o777) == 0o600
