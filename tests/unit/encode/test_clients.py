# SPDX-License-Identifier: Apache-2.0
"""Who asks, told from the head of a request: what is known to be sent, what looks like it, what events make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oisp_core import Engine, validate
from oisp_core.encode.clients import Clients
from oisp_core.engine import Request, Response
from oisp_core.errors import ConfigError

CLAUDE = ("User-Agent", "claude-cli/1.0.83 (external, cli)")


@pytest.fixture(scope="module")
def clients(repo_root: Path) -> Clients:
    return Clients((repo_root / "semconv/clients.yaml").read_bytes())


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([CLAUDE], {"app": ("claude-code", "1.0.83")}),
        (
            [CLAUDE, ("X-Claude-Code-Session-Id", "s1"), ("x-claude-code-agent-id", "a2")],
            {"app": ("claude-code", "1.0.83"), "session": ["s1", "a2"]},
        ),
        (
            [("user-agent", "codex_cli_rs/0.50.0 (Mac OS 15.0; arm64)"), ("session_id", "u-1")],
            {"app": ("codex-cli", "0.50.0"), "session": ["u-1"]},
        ),
        ([("User-Agent", "Mozilla/5.0 Cursor/1.2.3 Chrome/1")], {"app": ("cursor", "1.2.3")}),
        ([("User-Agent", "GitHubCopilotChat/0.29.1")], {"app": ("copilot-chat", "0.29.1")}),
        ([("Copilot-Integration-Id", "jetbrains")], {"app": ("copilot", "")}),
        (
            [("X-Title", "Aider"), ("User-Agent", "litellm/1.70.1")],
            {"app": ("aider", ""), "framework": ("litellm", "1.70.1")},
        ),
        ([("User-Agent", "langchainjs-openai/1.0.0 (x)")], {"framework": ("langchain", "1.0.0")}),
        ([("X-Client-Name", "langchain:partner")], {"framework": ("langchain", "")}),
        ([("User-Agent", "llama-index-llms/0.1")], {"framework": ("llama-index", "0.1")}),
        (
            [("User-Agent", "ai/5.0.22 ai-sdk/openai/2.0.1 runtime/node.js/22")],
            {"framework": ("vercel-ai-sdk", "5.0.22")},
        ),
        ([("User-Agent", "CrewAI/0.80")], {"framework": ("crewai", "0.80")}),
        ([("User-Agent", "OpenAI/Python 1.93.0")], {"sdk": ("openai-python", "1.93.0")}),
        ([("User-Agent", "AsyncAnthropic/Python 0.51.0")], {"sdk": ("anthropic-python", "0.51.0")}),
        ([("x-goog-api-client", "google-genai-sdk/1.2.0 gl-python/3.11")], {"sdk": ("google-genai", "1.2.0")}),
        ([("User-Agent", "Boto3/1.35.56 md/Botocore#1.35.56 ua/2.0")], {"sdk": ("boto3", "1.35.56")}),
        ([("User-Agent", "ollama-python/0.3.2 (arm64 darwin) Python/3.12.4")], {"sdk": ("ollama-python", "0.3.2")}),
        ([("User-Agent", "aider-like/1 openai/python 2")], {"sdk": ("openai-python", "2")}),
        ([("User-Agent", "email/1 said/2 OpenAIx/Python 3")], {}),
        ([("User-Agent", "")], {}),
        ([("X-Title", "Aiderx"), ("X-Not-User-Agent", "claude-cli/1")], {}),
        ([], {}),
    ],
)
def test_what_a_head_says(clients: Clients, headers: list[tuple[str, str]], found: dict[str, Any]) -> None:
    assert clients.find(headers) == found


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"apps: []",
        b"apps: [{id: x, name: X}]\nframeworks: []\nsdks: []",
        b"apps: [{id: x, name: X, user_agent: x, type: boat}]\nframeworks: []\nsdks: []",
        b"apps: [{id: x, name: X, headers: {_x: y}}]\nframeworks: []\nsdks: []",
        b"apps: [{id: x\nframeworks",
    ],
)
def test_mistakes_of_a_file_are_told(text: bytes) -> None:
    with pytest.raises(ConfigError):
        Clients(text)


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}]}


def events(headers: list[tuple[str, str]], context: bytes | None = None) -> list[dict[str, Any]]:
    engine = Engine(content="full", id_seed=1)
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}).encode()
    reply = json.dumps(ANSWER).encode()
    if context is None:
        kind = ("Content-Type", "application/json")
        asked = Request(method="POST", url="https://api.openai.com/v1/chat/completions", headers=headers, body=body)
        engine.exchange(asked, Response(status=200, headers=[kind], body=reply))
    else:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
        start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n" + lines
        engine.set_context(7, context)
        engine.feed(7, ">", 1, start + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply)
        engine.feed(7, "<", 2, head + reply)
        engine.close(7)
    lines_out = engine.drain().splitlines()
    assert [validate.problems(line) for line in lines_out] == [[], [], []]
    return [json.loads(line) for line in lines_out]


def test_events_name_the_program_the_agent_and_the_sdk() -> None:
    request, response, call = events([CLAUDE, ("X-Claude-Code-Session-Id", "s-9"), ("X-Title", "CrewAI")])
    app = {"app_id": "claude-code", "name": "Claude Code", "vendor": "Anthropic", "version": "1.0.83"}
    assert app.items() <= request["app"].items()
    assert request["app"] == response["app"] == call["app"]
    assert request["ext"]["oisp"]["client"] == {"app": "claude-code", "app_version": "1.0.83", "framework": "crewai"}
    agent = {"name": "Claude Code", "version": "1.0.83", "type": "cli", "framework": "CrewAI", "session_id": "s-9"}
    assert call["data"]["agent"] == agent
    assert request["data"]["conversation_id"] == response["data"]["conversation_id"] == "s-9"


def test_what_capture_knows_of_the_program_wins() -> None:
    context = b'"process":{"pid":1,"name":"\\"app\\":"},"app":{"name":"mine","tier":"identified"}'
    request, _, _ = events([CLAUDE], context)
    assert request["app"] == {"name": "mine", "tier": "identified"}
    assert request["ext"]["oisp"]["client"] == {"app": "claude-code", "app_version": "1.0.83"}
    request, _, _ = events([CLAUDE], b'"process":{"pid":1,"name":"x","parent":{"pid":2}}')
    assert request["app"]["name"] == "Claude Code"


def test_an_unknown_head_adds_nothing() -> None:
    request, _, call = events([("User-Agent", "my-thing/1")])
    assert "app" not in request
    assert "client" not in request["ext"]["oisp"]
    assert "agent" not in call["data"]
