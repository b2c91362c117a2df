# SPDX-License-Identifier: Apache-2.0
"""One event as readable lines: pieces of text with the role that each plays, so that a printer may colour them.

No text of an event reaches a terminal as it is: what a terminal could act upon is shown escaped.
"""

from __future__ import annotations

from typing import Any

import msgspec

from oisp_sensor.view.activity import DESCRIBE_ACTIVITY
from oisp_sensor.view.pieces import SHOWN, Describe, Line, Piece, at, duration, joined, number, plural, text

__all__ = ["describe", "model_of", "provider_of", "who"]


def provider_of(event: dict[str, Any]) -> str:
    """The provider's own id where the contract's list has none."""
    own = at(event, "ext", "oisp", "provider")
    name = at(event, "data", "provider")
    name = name if isinstance(name, str) else at(name, "name")
    if isinstance(own, str) and name in (None, "other"):
        return own
    return name if isinstance(name, str) else ""


def model_of(event: dict[str, Any]) -> str:
    model = at(event, "data", "model")
    if isinstance(model, str):
        return model
    found = at(model, "id") or at(model, "name")
    return found if isinstance(found, str) else ""


def who(event: dict[str, Any]) -> str:
    """`name[pid] user`."""
    exe = at(event, "process", "exe")
    name = at(event, "app", "name") or at(event, "process", "name") or (isinstance(exe, str) and exe.rpartition("/")[2])
    pid = at(event, "process", "pid")
    process = text(name, 24) + (f"[{pid}]" if isinstance(pid, int) else "")
    return joined((process, text(at(event, "actor", "user"), 24)), " ")


def _marker(value: Any, limit: int | None) -> str:
    """A text, or what stands in place of it."""
    if isinstance(value, str):
        return f'"{text(value, limit)}"'
    redacted = at(value, "$redacted")
    if isinstance(redacted, dict):
        length = number(redacted.get("original_length"))
        return f"<{length or 'unknown number of'} characters, {text(redacted.get('reason')) or 'redacted'}>"
    if isinstance(value, (dict, list)):
        return text(msgspec.json.encode(value).decode("utf-8", "replace"), limit)
    return ""


def _content(message: dict[str, Any], limit: int | None) -> str:
    shown = _marker(message.get("content"), limit)
    if not shown and isinstance(message.get("content_length"), int):
        shown = f"<{message['content_length']:,} characters>"
    return joined((shown, plural(message.get("image_count"), "image")))


def _request(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    kind = at(event, "ext", "oisp", "kind") or at(data, "request_type")
    system = "system prompt" if at(data, "has_system_prompt") is True else ""
    stream = "stream" if at(data, "streaming") is True else ""
    about = joined(
        (
            text(kind),
            plural(at(data, "messages_count"), "message"),
            system,
            plural(at(data, "tools_count"), "tool"),
            plural(at(data, "image_count"), "image"),
            stream,
        )
    )
    first = [
        Piece("request", f"\N{RIGHTWARDS ARROW} {joined((text(provider_of(event)), text(model_of(event))), ' ')}"),
        Piece("dim", f"  {about}"),
    ]
    lines = [first]
    messages = at(data, "messages") or at(data, "request", "messages")
    asked = (
        [m for m in messages if isinstance(m, dict) and m.get("role") != "system"] if isinstance(messages, list) else []
    )
    # A message without a text of its own carries tool results or calls: those are events, and shown as such.
    texts = [(text(m.get("role")), content) for m in asked if (content := _content(m, limit))]
    shown = texts if limit is None else texts[-1:] if asked and _content(asked[-1], limit) else []
    lines += [[Piece("dim", f"{role}: "), Piece("text", content)] for role, content in shown]
    return lines


def _usage(data: Any) -> str:
    usage = at(data, "usage")
    more = joined(
        (
            f"{number(at(usage, 'cached_tokens'))} cached" if at(usage, "cached_tokens") else "",
            f"{number(at(usage, 'reasoning_tokens'))} reasoning" if at(usage, "reasoning_tokens") else "",
        )
    )
    counts = joined(
        (
            f"{number(at(usage, 'prompt_tokens'))} in" if number(at(usage, "prompt_tokens")) else "",
            f"{number(at(usage, 'completion_tokens'))} out" if number(at(usage, "completion_tokens")) else "",
        ),
        " + ",
    )
    return (f"{counts} tokens" + (f" ({more})" if more else "")) if counts else ""


def _response(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    first_token = duration(at(data, "time_to_first_token_ms"))
    facts = joined(
        (
            duration(at(data, "latency_ms")),
            f"first token {first_token}" if first_token else "",
            _usage(data),
            text(at(data, "finish_reason")),
        )
    )
    first = [Piece("response", f"\N{LEFTWARDS ARROW} {text(model_of(event))}"), Piece("dim", f"  {facts}")]
    lines = [first]
    if at(data, "success") is False or at(data, "error"):
        status = at(data, "status_code")
        words = joined(
            (
                str(status) if isinstance(status, int) else "",
                text(at(data, "error", "type")),
                text(at(data, "error", "message"), limit),
            ),
            " ",
        )
        lines.append([Piece("error", f"error {words}")])
    choices = at(data, "choices")
    for choice in choices if isinstance(choices, list) else []:
        message = at(choice, "message")
        if isinstance(message, dict) and _content(message, limit):
            lines.append([Piece("dim", f"{text(message.get('role'))}: "), Piece("text", _content(message, limit))])
    return lines


def _tool_call(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    name = text(at(data, "tool", "name") or at(data, "tool_name"))
    arguments = _marker(at(data, "arguments"), limit)
    return [[Piece("tool", f"\N{GEAR} {name}"), Piece("text", f" {arguments}" if arguments else "")]]


def _tool_result(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    failed = at(data, "success") is False
    name = text(at(data, "tool", "name")) or text(at(data, "call_id"))
    size = at(data, "result_size_bytes")
    result = _marker(at(data, "result"), limit) or (f"<{size:,} bytes>" if isinstance(size, int) else "")
    sign = "\N{BALLOT X}" if failed else "\N{CHECK MARK}"
    return [[Piece("error" if failed else "tool", f"{sign} {name}"), Piece("text", f" {result}" if result else "")]]


def _chunk(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    return [
        [
            Piece("dim", f"\N{MIDDLE DOT} {at(data, 'chunk_index')} "),
            Piece("text", _marker(at(data, "delta", "content"), limit)),
        ]
    ]


def _other(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    named = ("query", "input_count", "total_tokens")
    facts = [f"{name}={text(str(at(data, name)), limit)}" for name in named if at(data, name) is not None]
    return [[Piece("plain", f"{text(event.get('event_type'))} "), Piece("text", joined(facts, " "))]]


_DESCRIBE: dict[str, Describe] = {
    "ai.request": _request,
    "ai.response": _response,
    "agent.tool_call": _tool_call,
    "agent.tool_result": _tool_result,
    "ai.streaming_chunk": _chunk,
    **DESCRIBE_ACTIVITY,
}


def _doubts(event: dict[str, Any]) -> list[Line]:
    """What was lost or only guessed is never hidden."""
    confidence = event.get("confidence")
    completeness, level = at(confidence, "completeness"), at(confidence, "level")
    if completeness not in ("partial", "sampled") and level not in ("low", "inferred"):
        return []
    words = [text(completeness)] if completeness in ("partial", "sampled") else []
    words += [f"confidence {text(level)}"] if level in ("low", "inferred") else []
    limitations = at(confidence, "limitations")
    words += [text(str(item)) for item in limitations[:6]] if isinstance(limitations, list) else []
    reasons = at(confidence, "reasons")
    usual = {"tls_boundary_capture", "host_match", "path_match", "model_in_payload", "content_by_policy", "key_shape"}
    if isinstance(reasons, list):
        words += [text(item) for item in reasons if isinstance(item, str) and item not in usual]
    return [[Piece("warning", "! " + joined(words))]]


def describe(event: dict[str, Any], limit: int | None = SHOWN) -> list[Line]:
    """The lines of one event; the first begins with time and process. `limit`: characters of a text, None for all."""
    kind = event.get("event_type")
    lines = _DESCRIBE.get(kind if isinstance(kind, str) else "", _other)(event, limit) + _doubts(event)
    stamp = text(event.get("ts"), 40)
    moment = f"{stamp[11:23]}" if len(stamp) >= 23 else stamp
    head = [Piece("time", f"{moment:<12} "), Piece("who", f"{who(event):<28} ")]
    indent = [Piece("plain", " " * 15)]
    return [head + lines[0], *(indent + line for line in lines[1:])]
