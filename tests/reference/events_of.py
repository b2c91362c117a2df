# SPDX-License-Identifier: Apache-2.0
"""What the events of one recorded exchange must say, from the truth beside it: its README as code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]
Pairs = dict[str, tuple[Any, Any]]

# Words that the contract has no role for: what they are. The wire's word stands in ext.oisp.raw.
ROLES = {
    "developer": "system",
    "model": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "function_call_output": "tool",
    "reasoning": "assistant",
    "web_search_call": "assistant",
    "code_interpreter_call": "assistant",
    "role_user": "user",
    "role_system": "system",
    "role_assistant": "assistant",
    "role_tool": "tool",
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


def as_text(value: Any) -> Any:
    """Truth has some JSON of the wire as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def scalar(text: str) -> str:
    """An unpaired surrogate as U+FFFD, as the contract counts and hashes it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def marker(text: str) -> dict[str, Any]:
    """What stands in place of a text under `metadata`."""
    return {
        "$redacted": {
            "reason": "policy",
            "original_length": len(scalar(text)),
            "hash": "sha256:" + hashlib.sha256(scalar(text).encode()).hexdigest()[:16],
        }
    }


def told(value: Any, true: Any) -> tuple[Any, Any]:
    """Text, or under `metadata` its marker, which is compared with the one computed from the truth. JSON of the wire is
    hashed without its blanks; truth does not say whether the wire escaped what is not ASCII."""
    if not (isinstance(value, dict) and "$redacted" in value and isinstance(true, str)):
        return value, true
    whole = value_of(true)
    if isinstance(whole, (dict, list)):
        for ascii_only in (True, False):
            compact = marker(json.dumps(whole, separators=(",", ":"), ensure_ascii=ascii_only))
            if compact == value:
                return value, compact
    return value, marker(true)


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


def request_pairs(event: Event, truth: dict[str, Any]) -> Pairs:
    data = event["data"]
    roles = [ROLES.get(r.lower(), r) for r in truth.get("roles", [])]
    tools = truth.get("tools")
    return {
        "provider": (data.get("provider", {}).get("name"), truth.get("provider")),
        "model_requested": (data.get("model", {}).get("id"), truth.get("model_requested")),
        "streaming": (data.get("streaming"), truth.get("streaming_requested")),
        "messages": (data.get("messages_count"), truth.get("messages")),
        "roles": (
            [m["role"] for m in data.get("messages", [])],
            [r for r in roles if r in CONTRACT_ROLES] if "roles" in truth else None,
        ),
        "has_system": (data.get("has_system_prompt"), truth.get("has_system")),
        "tools": ([t.get("name") for t in data.get("tools", [])], tools and [t["name"] for t in tools]),
        "images": (data.get("image_count"), truth.get("images")),
        "input_count": (oisp(event).get("input_count"), truth.get("input_count")),
    }


def response_pairs(event: Event, truth: dict[str, Any]) -> Pairs:
    data = event["data"]
    ext = oisp(event)
    usage = data.get("usage", {})
    found_usage = {f"usage.{k}": v for k, v in usage.items()}
    found_usage["usage.cache_write"] = (ext.get("usage") or {}).get("cache_write_tokens")
    error = data.get("error") or {}
    true_error = truth.get("error") or {}
    texts = truth.get("texts")
    found = [c["message"].get("content") or "" for c in data.get("choices", [])]
    if texts and len(found) == len(texts):
        both = [told(f, t) for f, t in zip(found, texts, strict=True)]
        found, texts = [f for f, _ in both], [t for _, t in both]
    redacted = "redaction_applied" in (event.get("confidence") or {}) or any(isinstance(f, dict) for f in found)
    raw_finish = (ext.get("raw") or {}).get("finish_reason") or data.get("finish_reason")
    pairs = {
        "status": (data.get("status_code"), truth.get("status")),
        "success": (data.get("success"), truth.get("success")),
        "response_id": (data.get("provider_request_id"), truth.get("response_id")),
        "model_answered": (data.get("model", {}).get("id"), truth.get("model_answered")),
        "streamed": (ext.get("streamed"), truth.get("streamed")),
        "texts": (found, texts),
        "finish": (data.get("finish_reason"), truth.get("finish")),
        "finish_raw": (raw_finish, truth.get("finish_raw") and str(truth["finish_raw"])),
    }
    if "reasoning" in ext or not redacted:
        pairs["reasoning"] = told(ext.get("reasoning"), truth.get("reasoning"))
    if "message" in error or "error.message" not in event["confidence"].get("missing", []):
        pairs["error.message"] = told(error.get("message"), true_error.get("message"))
    if "type" in true_error:
        pairs["error.type"] = (error.get("type"), true_error["type"])
    for name, true in usage_of(truth).items():
        pairs[name] = (found_usage.get(name), true)
    return pairs


def embedding_pairs(event: Event, truth: dict[str, Any]) -> Pairs:
    data = event["data"]
    usage = usage_of(truth)
    total = usage["usage.total_tokens"]  # the contract has one number here
    return {
        "embedding_count": (oisp(event).get("embedding_count"), truth.get("embedding_count")),
        "dimensions": (data.get("dimensions"), truth.get("dimensions")),
        "input_count": (data.get("input_count"), truth.get("input_count")),
        "total_tokens": (data.get("total_tokens"), usage["usage.prompt_tokens"] if total is None else total),
    }


def argument(event: Event) -> Any:
    value = value_of(event["data"].get("arguments"))
    # Free text of a custom tool stands under `input`; truth has what it means.
    return value_of(value["input"]) if oisp(event).get("type") == "custom" and list(value) == ["input"] else value


def hidden(event: Event, name: str) -> bool:
    """Left out by policy, and said."""
    return name not in event["data"] and name in event["confidence"].get("missing", [])


def call_pairs(events: list[Event], truth: dict[str, Any]) -> Pairs:
    server = [e for e in events if oisp(e).get("server_tool")]
    own = [e for e in events if e not in server]

    def seen(found: list[Event], like: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        said = len(found) == len(like) and [("arguments" in c) for c in like]
        return [
            (e["data"].get("call_id"), e["data"]["tool"].get("name"), argument(e) if not said or said[i] else {})
            for i, e in enumerate(found)
        ]

    def true(calls: list[dict[str, Any]], found: list[Event]) -> list[tuple[Any, ...]]:
        without = [i < len(found) and hidden(found[i], "arguments") for i in range(len(calls))]
        return [
            (c.get("id"), c.get("name"), {} if without[i] else value_of(c.get("arguments")))
            for i, c in enumerate(calls)
        ]

    return {
        "tool_calls": (seen(own, truth.get("tool_calls", [])), true(truth.get("tool_calls", []), own)),
        "server_tools": (
            seen(server, truth.get("server_tools", [])),
            true(truth["server_tools"], server) if "server_tools" in truth else None,
        ),
    }


def result_pairs(events: list[Event], truth: dict[str, Any]) -> Pairs:
    """Each result once, though a history may hold it twice."""
    true = []
    for result in truth.get("tool_results", []):
        row = (result.get("id"), as_text(result["text"] if "text" in result else result.get("value")) or "")
        if row not in true or row[0] is None:
            true.append(row)
    found = []
    for index, event in enumerate(events):
        text: Any = event["data"].get("result", "")
        if index < len(true) and isinstance(true[index][1], str):
            text, wanted = told(text, true[index][1])
            true[index] = (true[index][0], wanted)
            if hidden(event, "result"):
                text = wanted
            elif not isinstance(text, (str, dict)) or (isinstance(text, dict) and "$redacted" not in text):
                text = as_text(text)
        named = index >= len(true) or true[index][0] is not None  # an id of our own where the wire has none
        found.append((event["data"].get("call_id") if named else None, text))
    return {"tool_results": (found, true if "tool_results" in truth else None)}


def expected_types(truth: dict[str, Any]) -> dict[str, bool | None]:
    """Which events an exchange of that kind gives."""
    kind = truth["kind"]
    plain = kind not in ("none", "mcp", "rag")
    embedded = kind == "embedding" and bool(truth.get("success"))
    return {
        "ai.request": plain,
        "ai.response": plain and not embedded,
        "ai.embedding": embedded,
        "rag.retrieve": kind == "rag" or None,  # an answer may tell of what the provider retrieved
    }


def pairs_of(events: list[Event], truth: dict[str, Any]) -> Pairs:
    """field -> (what the events say, what is true); fields that truth does not name are left out."""
    request = one(events, "ai.request")
    response = one(events, "ai.response")
    embedding = one(events, "ai.embedding")
    types = {e["event_type"] for e in events}
    pairs: Pairs = {name: (name in types, wanted) for name, wanted in expected_types(truth).items()}
    said = request or one(events, "rag.retrieve")
    if said:
        pairs["dialect"] = (oisp(said).get("dialect"), truth["api"])
        pairs["kind"] = (oisp(said).get("kind"), truth["kind"])
    if request:
        pairs |= request_pairs(request, truth)
    if response:
        pairs |= response_pairs(response, truth)
    if embedding:
        pairs |= embedding_pairs(embedding, truth)
    pairs |= call_pairs([e for e in events if e["event_type"] == "agent.tool_call"], truth)
    pairs |= result_pairs([e for e in events if e["event_type"] == "agent.tool_result"], truth)
    return {k: v for k, v in pairs.items() if v[1] not in (None, "")}
