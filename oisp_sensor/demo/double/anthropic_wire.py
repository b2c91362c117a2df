# SPDX-License-Identifier: Apache-2.0
"""Anthropic messages, composed: request to `Asked`, `Answer` to one body or to the events of a stream."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from oisp_sensor.demo.double.answer import Answer, Asked, Usage, pieces

DATED = re.compile(r"-\d{8}$")
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
ERRORS = {
    401: ("authentication_error", "invalid x-api-key"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content or [] if isinstance(block, dict))


def asked(body: dict[str, Any]) -> Asked:
    messages = body.get("messages", [])
    last = messages[-1].get("content") if messages else ""
    blocks = last if isinstance(last, list) else []
    results = [text_of(b.get("content")) for b in blocks if b.get("type") == "tool_result"]
    users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    return Asked(
        prompt_text=text_of(body.get("system"))
        + "".join(text_of(m.get("content")) for m in messages)
        + "".join(results),
        tools=[tool["name"] for tool in body.get("tools", [])],
        results=results,
        question=next((text for text in reversed(users) if text), ""),
    )


def input_usage(u: Usage) -> dict[str, Any]:
    """Anthropic counts the input without what the cache served or took in."""
    return {
        "input_tokens": u.prompt - u.cached - u.cache_write,
        "cache_creation_input_tokens": u.cache_write,
        "cache_read_input_tokens": u.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": u.cache_write, "ephemeral_1h_input_tokens": 0},
    }


def usage(u: Usage) -> dict[str, Any]:
    return {**input_usage(u), "output_tokens": u.completion, "service_tier": "standard"}


def answered(model: str) -> str:
    return model if DATED.search(model) else f"{model}-20260801"


def call_id(id_: str) -> str:
    return f"toolu_{id_}"


def _message(model: str, id_: str) -> dict[str, Any]:
    return {"id": id_, "type": "message", "role": "assistant", "model": answered(model)}


def blocks(answer: Answer) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if answer.thinking:
        out.append({"type": "thinking", "thinking": answer.thinking, "signature": "c2lnbmF0dXJlIG9mIHRoZSBkb3VibGU="})
    if answer.text:
        out.append({"type": "text", "text": answer.text})
    out += [{"type": "tool_use", "id": call_id(c.id), "name": c.name, "input": c.arguments} for c in answer.calls]
    return out


def whole(answer: Answer, model: str, id_: str, now: int) -> dict[str, Any]:
    return {
        **_message(model, id_),
        "content": blocks(answer),
        "stop_reason": STOP_REASONS[answer.finish],
        "stop_sequence": None,
        "usage": usage(answer.usage),
    }


def stream(
    answer: Answer, body: dict[str, Any], id_: str, now: int, rng: random.Random, *, padding: bool, fail: bool
) -> Iterator[bytes]:
    """The events in order, one piece of bytes each."""

    def event(data: dict[str, Any]) -> bytes:
        text = json.dumps(data, ensure_ascii=bool(rng.getrandbits(1)), separators=(",", ":"))
        if padding and data["type"] != "message_start":
            text = text[:-1] + " " * rng.randint(0, 12) + "}"
        return f"event: {data['type']}\ndata: {text}\n\n".encode()

    start = {**_message(str(body.get("model", "")), id_), "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**input_usage(answer.usage), "output_tokens": 1, "service_tier": "standard"}
    yield event({"type": "message_start", "message": start})
    for index, block in enumerate(blocks(answer)):
        yield from _block_events(index, block, event, rng)
        if index == 0:
            yield event({"type": "ping"})
            if fail:
                kind, message = ERRORS[529]
                yield event({"type": "error", "error": {"type": kind, "message": message}})
                return
    stop = {"stop_reason": STOP_REASONS[answer.finish], "stop_sequence": None}
    last = {**input_usage(answer.usage), "output_tokens": answer.usage.completion}
    last.pop("cache_creation")
    yield event({"type": "message_delta", "delta": stop, "usage": last})
    yield event({"type": "message_stop"})


def _block_events(index: int, block: dict[str, Any], event: Any, rng: random.Random) -> Iterator[bytes]:
    """One content block: its empty start, its deltas, its end."""
    kind = block["type"]
    if kind == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in pieces(block["text"], rng)]
    elif kind == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"], rng)]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        empty = {**block, "input": {}}
        written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *pieces(written, rng, 5)]]
    yield event({"type": "content_block_start", "index": index, "content_block": empty})
    for delta in deltas:
        yield event({"type": "content_block_delta", "index": index, "delta": delta})
    yield event({"type": "content_block_stop", "index": index})


def error(status: int, request_id: str) -> dict[str, Any]:
    kind, message = ERRORS[status]
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def headers(request_id: str, rng: random.Random) -> list[tuple[str, str]]:
    return [
        ("request-id", request_id),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
    ]
