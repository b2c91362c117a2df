# SPDX-License-Identifier: Apache-2.0
"""Seven more official SDKs in one captured process: their events against the double's log and the SDKs' own account."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.live.sdk.expected import at, digest
from tests.live.sdk.support import Captured

pytestmark = pytest.mark.live
CLIENT = Path(__file__).resolve().parent / "clients" / "other_sdks.py"


class Sdk(NamedTuple):
    host: str
    provider: str
    dialect: str
    streamed_dialect: str
    client: str | None


SDKS = {
    "google_genai": Sdk(
        "generativelanguage.googleapis.com", "google", "gemini.generate", "gemini.stream", "google-genai"
    ),
    "cohere": Sdk("api.cohere.com", "cohere", "cohere.v2.chat", "cohere.v2.chat", "cohere"),
    "mistralai": Sdk("api.mistral.ai", "mistral", "openai.chat", "openai.chat", "mistralai-python"),
    "groq": Sdk("api.groq.com", "groq", "openai.chat", "openai.chat", "groq-python"),
    "ollama": Sdk("ollama.com", "ollama", "ollama.chat", "ollama.chat", "ollama-python"),
    "boto3": Sdk(
        "bedrock-runtime.eu-west-1.amazonaws.com",
        "aws_bedrock",
        "bedrock.converse",
        "bedrock.converse-stream",
        "boto3",
    ),
}
EXCHANGES = 4 * len(SDKS) + 6  # MCP: initialize, its notification, the stream that is refused, list, call, delete


@pytest.fixture(scope="module")
def captured(capture: Callable[..., Captured], double: Any) -> Captured:
    command = [sys.executable, str(CLIENT), *SDKS, "mcp"]
    extra = {"AWS_CA_BUNDLE": double.env["SSL_CERT_FILE"], "AWS_EC2_METADATA_DISABLED": "true"}
    result = capture(command, exchanges=EXCHANGES, extra=extra)
    assert result.returncode == 0, result.stderr + result.stdout
    return result


def of_host(captured: Captured, kind: str, host: str) -> list[dict[str, Any]]:
    ids = {
        e["data"]["request_id"]
        for e in captured.of_type("ai.request")
        if e["data"]["provider"]["endpoint"].startswith(f"https://{host}/")
    }
    return [e for e in captured.of_type(kind) if (e["data"].get("request_id") or at(e, "ext.oisp.request_id")) in ids]


def rows(captured: Captured, host: str) -> list[dict[str, Any]]:
    return [row for row in captured.rows if row["host"] == host and row["answer"]]


@pytest.mark.parametrize("name", SDKS)
def test_the_sdk_understood_the_double(captured: Captured, name: str) -> None:
    said = [json.loads(line) for line in captured.stdout.splitlines() if line.startswith("{")]
    said = [row for row in said if row["sdk"].replace("-", "_") == name]
    log = rows(captured, SDKS[name].host)
    assert len(said) == len(log) == 4
    for understood, row in zip(said, log, strict=True):
        assert understood["text"] == row["answer"]["text"]
        assert understood["calls"] == [[c["name"], c["arguments"]] for c in row["answer"]["tool_calls"]]


@pytest.mark.parametrize("name", SDKS)
def test_requests(captured: Captured, name: str) -> None:
    sdk = SDKS[name]
    events = of_host(captured, "ai.request", sdk.host)
    assert len(events) == 4
    for event, row in zip(events, rows(captured, sdk.host), strict=True):
        data, oisp = event["data"], event["ext"]["oisp"]
        assert data["provider"]["name"] == sdk.provider
        assert oisp["dialect"] == (sdk.streamed_dialect if row["streamed"] else sdk.dialect)
        assert event["confidence"]["level"] == "high"
        assert event["confidence"]["completeness"] == "full"
        assert data["streaming"] is row["streamed"]
        assert data["model"]["id"]
        assert data["messages"][0]["role"] == "user"
        assert data["messages"][0]["content"].startswith("What does it say? (é, 東京, 🧭)")
        assert oisp["client"]["sdk"] == sdk.client
        assert oisp["client"]["sdk_version"]
    assert [e["data"]["tools_count"] for e in events] == [0, 0, 1, 1]
    assert [t["name"] for t in events[2]["data"]["tools"]] == ["get_weather"]


@pytest.mark.parametrize("name", SDKS)
def test_responses_and_their_calls(captured: Captured, name: str) -> None:
    sdk = SDKS[name]
    events = of_host(captured, "ai.response", sdk.host)
    calls = of_host(captured, "agent.tool_call", sdk.host)
    log = rows(captured, sdk.host)
    assert len(events) == 4
    for event, row in zip(events, log, strict=True):
        data, answer = event["data"], row["answer"]
        assert event["confidence"]["completeness"] == "full"
        assert (data["success"], data["status_code"]) == (True, 200)
        assert data["choices"][0]["message"].get("content", "") == answer["text"]
        wire_says_stop = name == "ollama" and answer["finish"] == "tool_calls"
        assert data["finish_reason"] == ("stop" if wire_says_stop else answer["finish"])
        assert data["tool_calls_count"] == len(answer["tool_calls"])
        assert event["ext"]["oisp"]["streamed"] is row["streamed"]
        if row["id"]:
            assert data["provider_request_id"] == row["id"]
        if not (row["streamed"] and sdk.dialect == "openai.chat"):  # no usage without stream_options
            assert data["usage"]["prompt_tokens"] == answer["usage"]["prompt"]
            assert data["usage"]["completion_tokens"] == answer["usage"]["completion"]
    wanted = [call for row in log for call in row["answer"]["tool_calls"]]
    assert [(c["data"]["tool"]["name"], c["data"]["arguments"]) for c in calls] == [
        (call["name"], call["arguments"]) for call in wanted
    ]
    for call, true in zip(calls, wanted, strict=True):
        if not name.startswith(("google", "ollama")):  # these give calls no id
            assert call["data"]["call_id"] == true["id"]


@pytest.mark.parametrize("name", SDKS)
def test_results_of_tools_are_linked_to_their_calls(captured: Captured, name: str) -> None:
    calls = of_host(captured, "agent.tool_call", SDKS[name].host)
    results = [
        e
        for e in captured.of_type("agent.tool_result")
        if e.get("related_events") and e["related_events"][0]["event_id"] in {c["event_id"] for c in calls}
    ]
    assert len(calls) == len(results) == 1
    assert results[0]["data"]["tool"]["name"] == "get_weather"
    text = results[0]["data"]["result"]
    assert (text if isinstance(text, dict) else json.loads(text)) == {"celsius": 7}


@pytest.mark.parametrize("name", SDKS)
def test_the_tool_result_goes_on_with_its_conversation(captured: Captured, name: str) -> None:
    whole, streamed, asked, told = (
        e["data"]["conversation_id"] for e in of_host(captured, "ai.request", SDKS[name].host)
    )
    assert asked == told
    assert len({whole, streamed, asked}) == 3


def test_mcp(captured: Captured) -> None:
    (call,) = [e for e in captured.of_type("agent.tool_call") if e["ext"]["oisp"]["dialect"] == "mcp"]
    (result,) = [e for e in captured.of_type("agent.tool_result") if e["ext"]["oisp"]["dialect"] == "mcp"]
    tool = call["data"]["tool"]
    assert (tool["name"], tool["provider"], tool["server"]) == ("look_up", "mcp", "double-tools")
    assert call["data"]["arguments"] == {"what": "東京"}
    assert call["data"]["agent"]["name"] == "mcp"
    assert call["data"]["agent"]["session_id"] == "session-of-the-double"
    assert result["data"]["result"] == 'looked up: {"what": "東京"}'
    assert result["data"]["result_hash"] == digest('looked up: {"what": "東京"}')
    assert result["data"]["success"] is True
    assert result["related_events"] == [{"event_id": call["event_id"], "relationship": "parent"}]


def test_no_key_leaves(captured: Captured) -> None:
    text = captured.path.read_text(encoding="utf-8")
    assert "invented-for-this-test" not in text
    assert "AKIAINVENTED01234567" not in text
