# SPDX-License-Identifier: Apache-2.0
"""What the events of one recorded exchange must say, from the truth beside it: its README as code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]

# Words that the contract has no role for: what they are, while the wire's word stands in ext.oisp.raw.
ROLES = {
    "developer": "system",
    "model": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "function_call_output": "tool",
}
CONTRACT_ROLES = {"system", "user", "assistant", "tool", "function"}


def value_of(text: Any) -> Any:
    """Arguments and results are compared as what they mean."""
    if text in (None, ""):
        return {}
    if isinstance(text, str):
        try:
            return json.loads(text, strict=False)
        except ValueError:
            return text
    return text


def one(events: Iterable[Event], kind: str) -> Event | None:
    found = [e for e in events if e["event_type"] == kind]
    assert len(found) <= 1, f"{len(found)} {kind} events of one exchange"
    return found[0] if found else None


def oisp(event: Event | None) -> dict[str, Any]:
    return ((event or {}).get("ext") or {}).get("oisp") or {}


def usage_of(truth: dict[str, Any]) -> dict[str, Any]:
    usage = truth.get("usage") or {}
    return {
        "usage.prompt_tokens": usage.get("prompt_all"),
        "usage.completion_tokens": usage.get("completion_all"),
        "usage.cached_tokens": usage.get("cached"),
        "usage.reasoning_tokens": usage.get("reasoning"),
        "usage.total_tokens": usage.get("total"),
        "usage.cache_write": usage.get("cache_write"),
    }


def request_pairs(event: Event, truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    data = event["data"]
    roles = [ROLES.get(r, r) for r in truth.get("roles", [])]
    roles = [r for r in roles if r in CONTRACT_ROLES]
    return {
        "provider": (data.get("provider", {}).get("name"), truth.get("provider")),
        "model_requested": (data.get("model", {}).get("id"), truth.get("model_requested")),
        "streaming": (data.get("streaming"), truth.get("streaming_requested")),
        "messages": (data.get("messages_count"), truth.get("messages")),
        "roles": ([m["role"] for m in data.get("messages", [])], roles),
        "has_system": (data.get("has_system_prompt"), truth.get("has_system")),
        "tools": ([t.get("name") for t in data.get("tools", [])], [t["name"] for t in truth.get("tools", [])]),
        "images": (data.get("image_count"), truth.get("images")),
    }


def response_pairs(event: Event, truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    data = event["data"]
    ext = oisp(event)
    usage = data.get("usage", {})
    found_usage = {f"usage.{k}": v for k, v in usage.items()}
    found_usage["usage.cache_write"] = (ext.get("usage") or {}).get("cache_write_tokens")
    error = data.get("error") or {}
    pairs = {
        "status": (data.get("status_code"), truth.get("status")),
        "success": (data.get("success"), truth.get("success")),
        "response_id": (data.get("provider_request_id"), truth.get("response_id")),
        "model_answered": (data.get("model", {}).get("id"), truth.get("model_answered")),
        "streamed": (ext.get("streamed"), truth.get("streamed")),
        "texts": ([c["message"].get("content") or "" for c in data.get("choices", [])], truth.get("texts")),
        "reasoning": (ext.get("reasoning"), truth.get("reasoning")),
        "finish": (data.get("finish_reason"), truth.get("finish")),
        "error.message": (error.get("message"), (truth.get("error") or {}).get("message")),
    }
    for name, true in usage_of(truth).items():
        pairs[name] = (found_usage.get(name), true)
    return pairs


def call_pairs(events: list[Event], truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    server = [e for e in events if oisp(e).get("server_tool")]
    own = [e for e in events if e not in server]

    def argument(event: Event) -> Any:
        value = value_of(event["data"].get("arguments"))
        # Free text of a custom tool stands under `input`; truth has what it means.
        return value_of(value["input"]) if oisp(event).get("type") == "custom" and list(value) == ["input"] else value

    def seen(found: list[Event], like: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        told = len(found) == len(like) and [("arguments" in c) for c in like]
        return [
            (e["data"].get("call_id"), e["data"]["tool"].get("name"), argument(e) if not told or told[i] else {})
            for i, e in enumerate(found)
        ]

    def true(calls: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(c.get("id"), c.get("name"), value_of(c.get("arguments"))) for c in calls]

    return {
        "tool_calls": (seen(own, truth.get("tool_calls", [])), true(truth.get("tool_calls", []))),
        "server_tools": (
            seen(server, truth.get("server_tools", [])),
            true(truth["server_tools"]) if "server_tools" in truth else None,
        ),
    }


def pairs_of(events: list[Event], truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """field -> (what the events say, what is true); fields that truth does not name are left out."""
    request = one(events, "ai.request")
    response = one(events, "ai.response") or one(events, "ai.embedding")
    pairs: dict[str, tuple[Any, Any]] = {
        "ai.request": (request is not None, True),
        "answer": (response is not None, True),
    }
    if request:
        pairs |= request_pairs(request, truth)
        pairs["dialect"] = (oisp(request).get("dialect"), truth["api"])
        pairs["kind"] = (oisp(request).get("kind"), truth["kind"])
    if response and response["event_type"] == "ai.response":
        pairs |= response_pairs(response, truth)
    pairs |= call_pairs([e for e in events if e["event_type"] == "agent.tool_call"], truth)
    return {k: v for k, v in pairs.items() if v[1] not in (None, "")}
