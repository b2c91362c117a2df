# SPDX-License-Identifier: Apache-2.0
"""What events must say about one exchange, read from the double's log. Written from the contract, not from the engine.

An expectation is a flat table: path in the event to value. Only what is listed is compared, and all that is listed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

PROVIDERS = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
DIALECTS = {"openai": "openai.chat", "anthropic": "anthropic.messages"}


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def at(event: dict[str, Any], path: str) -> Any:
    """The value at `a.b[0].c`; None where there is none."""
    value: Any = event
    for part in path.replace("[", ".[").split("."):
        if value is None:
            return None
        if part.startswith("["):
            index = int(part[1:-1])
            value = value[index] if index < len(value) else None
        else:
            value = value.get(part)
    return value


def differences(event: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    found = ((path, value, at(event, path)) for path, value in expected.items())
    return [f"{path}: expected {value!r}, got {got!r}" for path, value, got in found if got != value]


def header(row: dict[str, Any], side: str, name: str) -> str | None:
    return next((value for key, value in row[side] if key.lower() == name), None)


def body_of(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(base64.b64decode(row["request"]["base64"]))


def text_of(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    parts = [part["text"] for part in content or [] if part.get("type") == "text"]
    return "".join(parts) if parts else None


def request(row: dict[str, Any]) -> dict[str, Any]:
    body = body_of(row)
    provider = PROVIDERS[row["host"]]
    system = text_of(body["system"]) if provider == "anthropic" else text_of(body["messages"][0]["content"])
    key = header(row, "request_headers", "x-api-key") or str(header(row, "request_headers", "authorization"))
    key = key.removeprefix("Bearer ")
    out: dict[str, Any] = {
        "event_type": "ai.request",
        "confidence.level": "high",
        "confidence.completeness": "full",
        "data.provider.name": provider,
        "data.provider.endpoint": f"https://{row['host']}{row['target']}",
        "data.model.id": body["model"],
        "data.auth.type": "api_key",
        "data.auth.key_prefix": key[:8],
        "data.auth.key_hash": digest(key),
        "data.request_type": "chat",
        "data.streaming": body.get("stream", False),
        "data.messages_count": len(body["messages"]),
        "data.has_system_prompt": True,
        "data.system_prompt_hash": digest(str(system)),
        "data.parameters.max_tokens": body.get("max_completion_tokens", body.get("max_tokens")),
        "data.parameters.temperature": body.get("temperature"),
        "ext.oisp.dialect": DIALECTS[provider],
        "ext.oisp.kind": "chat",
    }
    for number, message in enumerate(body["messages"]):
        out[f"data.messages[{number}].role"] = message["role"]
        text = text_of(message.get("content"))
        if text is not None:
            out[f"data.messages[{number}].content"] = text
    for number, tool in enumerate(body.get("tools", [])):
        out[f"data.tools[{number}].name"] = tool.get("function", tool)["name"]
        out[f"data.tools[{number}].description"] = tool.get("function", tool)["description"]
        out[f"data.tools[{number}].type"] = "function"
    if "tools" in body:
        out["data.tools_count"] = len(body["tools"])
    return out


def response(row: dict[str, Any]) -> dict[str, Any]:
    """Of an exchange that ended as the provider meant it to."""
    answer = row["answer"]
    if answer is None:
        return failure(row)
    usage = answer["usage"]
    out: dict[str, Any] = {
        "event_type": "ai.response",
        "confidence.level": "high",
        "confidence.completeness": "full",
        "data.provider.name": PROVIDERS[row["host"]],
        "data.provider_request_id": row["id"],
        "data.model.id": row["model"],
        "data.status_code": 200,
        "data.success": True,
        "data.error": None,
        "data.finish_reason": answer["finish"],
        "data.choices[0].index": 0,
        "data.choices[0].message.role": "assistant",
        "data.choices[0].finish_reason": answer["finish"],
        "data.choices[1]": None,
        "data.tool_calls_count": len(answer["tool_calls"]),
        "data.usage.prompt_tokens": usage["prompt"],
        "data.usage.completion_tokens": usage["completion"],
        "data.usage.cached_tokens": usage["cached"],
        "ext.oisp.streamed": row["streamed"],
    }
    if answer["text"]:
        out["data.choices[0].message.content"] = answer["text"]
    if PROVIDERS[row["host"]] == "openai":
        out["data.usage.total_tokens"] = usage["prompt"] + usage["completion"]
        out["data.usage.reasoning_tokens"] = usage["reasoning"]
    elif usage["cache_write"]:
        out["ext.oisp.usage.cache_write_tokens"] = usage["cache_write"]
    if answer["thinking"] and PROVIDERS[row["host"]] == "anthropic":
        out["ext.oisp.reasoning"] = answer["thinking"]
    for number, call in enumerate(answer["tool_calls"]):
        out[f"data.tool_calls[{number}].id"] = call["id"]
        out[f"data.tool_calls[{number}].name"] = call["name"]
    return out


def failure(row: dict[str, Any]) -> dict[str, Any]:
    error = row["error"]
    return {
        "event_type": "ai.response",
        "data.provider.name": PROVIDERS[row["host"]],
        "data.status_code": row["status"],
        "data.success": False,
        "data.error.type": error["type"],
        "data.error.message": error["message"],
        "data.choices": None,
        "data.usage": None,
    }


def calls(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "event_type": "agent.tool_call",
            "data.call_id": call["id"],
            "data.tool.name": call["name"],
            "data.triggered_by": "llm_decision",
            "data.arguments": call["arguments"],
        }
        for call in (row["answer"] or {"tool_calls": []})["tool_calls"]
    ]


def results(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Results of tools that stand in the request, with the names that the calls before them had."""
    names: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for message in body_of(row)["messages"]:
        for call in message.get("tool_calls") or []:
            names[call["id"]] = call["function"]["name"]
        if message["role"] == "tool":
            found.append((message["tool_call_id"], message["content"]))
        for block in message["content"] if isinstance(message.get("content"), list) else []:
            if block["type"] == "tool_use":
                names[block["id"]] = block["name"]
            elif block["type"] == "tool_result":
                found.append((block["tool_use_id"], str(text_of(block["content"]))))
    return [
        {
            "event_type": "agent.tool_result",
            "data.call_id": id_,
            "data.tool.name": names[id_],
            "data.result": text,
            "data.result_hash": digest(text),
            "data.result_size_bytes": len(text.encode()),
        }
        for id_, text in found
    ]
