# SPDX-License-Identifier: Apache-2.0
"""OpenAI chat completions, composed: request to `Asked`, `Answer` to one body or to the events of a stream."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from oisp_sensor.demo.double.answer import Answer, Asked, Usage, pieces

DATED = re.compile(r"-\d{4}-\d\d-\d\d$")
ERROR_BODIES = {
    401: {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    },
    429: {
        "message": "Rate limit reached for requests.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    },
    500: {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    },
    529: {"message": "The engine is currently overloaded.", "type": "server_error", "param": None, "code": None},
}
IN_STREAM_ERROR = {"message": "The server had an error while streaming.", "type": "server_error", "code": None}


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def asked(body: dict[str, Any]) -> Asked:
    messages = body.get("messages", [])
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, text_of(message.get("content")))
    users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    return Asked(
        prompt_text="".join(text_of(m.get("content")) for m in messages),
        tools=[tool["function"]["name"] for tool in body.get("tools", []) if "function" in tool],
        results=results,
        question=users[-1] if users else "",
    )


def usage(u: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": u.prompt,
        "completion_tokens": u.completion,
        "total_tokens": u.prompt + u.completion,
        "prompt_tokens_details": {"cached_tokens": u.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": u.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _head(kind: str, model: str, id_: str, now: int) -> dict[str, Any]:
    return {"id": id_, "object": kind, "created": now, "model": answered(model)}


def answered(model: str) -> str:
    """The dated name that the provider answers with."""
    return model if DATED.search(model) else f"{model}-2026-08-06"


def call_id(id_: str) -> str:
    return f"call_{id_}"


def whole(answer: Answer, model: str, id_: str, now: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls:
        message["tool_calls"] = [
            {"id": call_id(c.id), "type": "function", "function": {"name": c.name, "arguments": c.text}}
            for c in answer.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return {
        **_head("chat.completion", model, id_, now),
        "choices": [choice],
        "usage": usage(answer.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }


def stream(
    answer: Answer, body: dict[str, Any], id_: str, now: int, rng: random.Random, *, padding: bool, fail: bool
) -> Iterator[bytes]:
    """The events in order, one piece of bytes each."""
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    model = str(body.get("model", ""))

    def chunk(choices: list[dict[str, Any]], last_usage: dict[str, Any] | None = None) -> bytes:
        data: dict[str, Any] = {**_head("chat.completion.chunk", model, id_, now), "service_tier": "default"}
        data["system_fingerprint"] = "fp_0123456789"
        data["choices"] = choices
        if with_usage:
            data["usage"] = last_usage
        if padding:
            data["obfuscation"] = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(1, 16)))
        # Both spellings occur: escaped, and UTF-8 as it is.
        text = json.dumps(data, ensure_ascii=bool(rng.getrandbits(1)), separators=(",", ":"))
        return b"data: " + text.encode() + b"\n\n"

    def delta(fields: dict[str, Any], finish: str | None = None) -> bytes:
        return chunk([{"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}])

    yield delta({"role": "assistant", "content": None if answer.calls and not answer.text else "", "refusal": None})
    parts = pieces(answer.text, rng)
    for number, part in enumerate(parts):
        if fail and number == len(parts) // 2:
            yield b"data: " + json.dumps({"error": IN_STREAM_ERROR}).encode() + b"\n\n"
            return
        yield delta({"content": part})
    yield from _call_deltas(answer, delta, rng)
    yield delta({}, answer.finish)
    if with_usage:
        yield chunk([], usage(answer.usage))
    yield b"data: [DONE]\n\n"


def _call_deltas(answer: Answer, delta: Any, rng: random.Random) -> Iterator[bytes]:
    for index, call in enumerate(answer.calls):
        start = {"name": call.name, "arguments": ""}
        yield delta({"tool_calls": [{"index": index, "id": call_id(call.id), "type": "function", "function": start}]})
        for part in pieces(call.text, rng, 5):
            yield delta({"tool_calls": [{"index": index, "function": {"arguments": part}}]})


def error(status: int, request_id: str) -> dict[str, Any]:
    return {"error": ERROR_BODIES[status]}


def headers(request_id: str, rng: random.Random) -> list[tuple[str, str]]:
    return [
        ("x-request-id", request_id),
        ("openai-organization", "demo-organization"),
        ("openai-processing-ms", str(rng.randint(20, 900))),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
    ]
