# SPDX-License-Identifier: Apache-2.0
"""The double in the wire formats of others, composed from their documentation: Gemini, Cohere, Ollama, Bedrock, MCP.

Each takes a request's path and body and gives a `Wire`: what is answered, and the bytes that say so.
"""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from oisp_sensor.demo.double.answer import Answer, Asked, choose, pieces

JSON = "application/json"
SSE = "text/event-stream"


@dataclass
class Wire:
    type: str
    parts: Iterator[bytes]
    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    answer: Answer | None = None
    call_id: Callable[[str], str | None] = lambda _: None
    model: str | None = None
    id: str | None = None
    streamed: bool = False


def find(path: str, raw: bytes, words: frozenset[str], rng: random.Random) -> Wire | None:
    for pattern, wire in WIRES:
        match = pattern.fullmatch(path)
        if match:
            return wire(match, json.loads(raw or b"{}"), words, rng)
    return None


def dumped(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def texts(parts: list[dict[str, Any]], key: str = "text") -> str:
    return "".join(str(part[key]) for part in parts if key in part)


# --- Gemini -----------------------------------------------------------------------------------------------------------

GEMINI_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def gemini_asked(body: dict[str, Any]) -> Asked:
    contents = body.get("contents", [])
    last = contents[-1]["parts"] if contents else []
    declared = [d["name"] for tool in body.get("tools", []) for d in tool.get("functionDeclarations", [])]
    results = [json.dumps(p["functionResponse"]["response"]) for p in last if "functionResponse" in p]
    users = [texts(c["parts"]) for c in contents if c.get("role", "user") == "user"]
    question = next((t for t in reversed(users) if t), "")
    return Asked("".join(texts(c["parts"]) for c in contents), declared, results, question)


def gemini_document(parts: list[dict[str, Any]], head: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0, **more}], **head}


def gemini(match: re.Match[str], body: dict[str, Any], words: frozenset[str], rng: random.Random) -> Wire:
    answer = choose(gemini_asked(body), words, rng)
    used = answer.usage
    counts = {"promptTokenCount": used.prompt, "candidatesTokenCount": used.completion - used.reasoning}
    counts |= {"totalTokenCount": used.prompt + used.completion}
    if used.reasoning:
        counts["thoughtsTokenCount"] = used.reasoning
    id_ = f"g{rng.getrandbits(64):x}"
    head = {"usageMetadata": counts, "modelVersion": match[1], "responseId": id_}
    calls = [{"functionCall": {"name": c.name, "args": c.arguments}} for c in answer.calls]
    end = {"finishReason": GEMINI_FINISH[answer.finish]}
    wire = Wire(JSON, iter(()), [("Server-Timing", "gfet4t7; dur=9")], answer=answer, model=match[1], id=id_)
    if match[2] == "generateContent":
        said = [{"text": answer.text}] if answer.text else []
        wire.parts = iter((dumped(gemini_document(said + calls, head, end)),))
        return wire
    documents = [gemini_document([{"text": piece}], head, {}) for piece in pieces(answer.text, rng)]
    documents.append(gemini_document(calls or [{"text": ""}], head, end))
    wire.type, wire.streamed = SSE, True
    wire.parts = (b"data: " + dumped(document) + b"\r\n\r\n" for document in documents)
    return wire


# --- Cohere v2 --------------------------------------------------------------------------------------------------------

COHERE_FINISH = {"stop": "COMPLETE", "tool_calls": "TOOL_CALL", "length": "MAX_TOKENS", "content_filter": "ERROR_TOXIC"}


def plain_asked(body: dict[str, Any]) -> Asked:
    """Messages as OpenAI, Cohere and Ollama write them."""

    def text(message: dict[str, Any]) -> str:
        content = message.get("content") or ""
        return content if isinstance(content, str) else texts(content)

    messages = body.get("messages", [])
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, text(message))
    users = [text(m) for m in messages if m["role"] == "user"]
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    return Asked("".join(text(m) for m in messages), tools, results, users[-1] if users else "")


def cohere(_: re.Match[str], body: dict[str, Any], words: frozenset[str], rng: random.Random) -> Wire:
    answer = choose(plain_asked(body), words, rng)
    id_ = f"{rng.getrandbits(128):032x}"
    tokens = {"input_tokens": answer.usage.prompt, "output_tokens": answer.usage.completion}
    usage = {"billed_units": tokens, "tokens": tokens}
    wire = Wire(JSON, iter(()), [("x-debug-trace-id", id_)], answer=answer, call_id=lambda i: f"tool_{i}", id=id_)
    if body.get("stream"):
        wire.type, wire.streamed, wire.parts = SSE, True, cohere_events(answer, id_, usage, rng)
        return wire
    message: dict[str, Any] = {"role": "assistant"}
    if answer.text:
        message["content"] = [{"type": "text", "text": answer.text}]
    if answer.calls:
        message["tool_calls"] = [
            {"id": f"tool_{c.id}", "type": "function", "function": {"name": c.name, "arguments": c.text}}
            for c in answer.calls
        ]
    whole = {"id": id_, "message": message, "finish_reason": COHERE_FINISH[answer.finish], "usage": usage}
    wire.parts = iter((dumped(whole),))
    return wire


def cohere_events(answer: Answer, id_: str, usage: dict[str, Any], rng: random.Random) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: ".encode() + dumped({"type": kind, **fields}) + b"\n\n"

    def delta(**message: Any) -> dict[str, Any]:
        return {"delta": {"message": message}}

    empty: list[Any] = []
    start = {"role": "assistant", "content": empty, "tool_plan": "", "tool_calls": empty, "citations": empty}
    yield event("message-start", id=id_, **delta(**start))
    if answer.text:
        yield event("content-start", index=0, **delta(content={"type": "text", "text": ""}))
        for piece in pieces(answer.text, rng):
            yield event("content-delta", index=0, **delta(content={"text": piece}))
        yield event("content-end", index=0)
    for index, c in enumerate(answer.calls):
        call = {"id": f"tool_{c.id}", "type": "function", "function": {"name": c.name, "arguments": ""}}
        yield event("tool-call-start", index=index, **delta(tool_calls=call))
        for piece in pieces(c.text, rng):
            yield event("tool-call-delta", index=index, **delta(tool_calls={"function": {"arguments": piece}}))
        yield event("tool-call-end", index=index)
    yield event("message-end", delta={"finish_reason": COHERE_FINISH[answer.finish], "usage": usage})
    yield b"data: [DONE]\n\n"


# --- Ollama -----------------------------------------------------------------------------------------------------------


def ollama(_: re.Match[str], body: dict[str, Any], words: frozenset[str], rng: random.Random) -> Wire:
    answer = choose(plain_asked(body), words, rng)
    head = {"model": body["model"], "created_at": "2026-11-25T07:00:00.123456Z"}
    used = {"prompt_eval_count": answer.usage.prompt, "eval_count": answer.usage.completion}
    end = {"done": True, "done_reason": "length" if answer.finish == "length" else "stop", "total_duration": 9, **used}
    calls = [{"function": {"name": c.name, "arguments": c.arguments}} for c in answer.calls]

    def message(text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": text}

    wire = Wire(JSON, iter(()), answer=answer, model=body["model"])
    said = {**message(answer.text), **({"tool_calls": calls} if calls else {})}
    if body.get("stream", True) is False:
        wire.parts = iter((dumped({**head, "message": said, **end}),))
        return wire
    lines = [{**head, "message": message(piece), "done": False} for piece in pieces(answer.text, rng)]
    if calls:
        lines.append({**head, "message": {**message(""), "tool_calls": calls}, "done": False})
    lines.append({**head, "message": message(""), **end})
    wire.type, wire.streamed = "application/x-ndjson", True
    wire.parts = (dumped(line) + b"\n" for line in lines)
    return wire


# --- Bedrock converse -------------------------------------------------------------------------------------------------

BEDROCK_STOP = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "content_filtered",
}


def bedrock_asked(body: dict[str, Any]) -> Asked:
    messages = body["messages"]
    last = messages[-1]["content"]
    results = [texts(b["toolResult"]["content"]) for b in last if "toolResult" in b]
    tools = [t["toolSpec"]["name"] for t in (body.get("toolConfig") or {}).get("tools", [])]
    users = [texts(m["content"]) for m in messages if m["role"] == "user"]
    question = next((t for t in reversed(users) if t), "")
    return Asked("".join(texts(m["content"]) for m in messages), tools, results, question)


def bedrock(match: re.Match[str], body: dict[str, Any], words: frozenset[str], rng: random.Random) -> Wire:
    answer = choose(bedrock_asked(body), words, rng)
    u = answer.usage
    usage = {"inputTokens": u.prompt, "outputTokens": u.completion, "totalTokens": u.prompt + u.completion}
    wire = Wire(JSON, iter(()), [("x-amzn-RequestId", f"{rng.getrandbits(64):x}")], answer=answer)
    wire.call_id, wire.model = (lambda i: f"tooluse_{i}"), unquote(match[1])
    if match[2] == "converse-stream":
        wire.type, wire.streamed = "application/vnd.amazon.eventstream", True
        wire.parts = bedrock_frames(answer, usage, rng)
        return wire
    content: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
    content += [
        {"toolUse": {"toolUseId": f"tooluse_{c.id}", "name": c.name, "input": c.arguments}} for c in answer.calls
    ]
    output = {"message": {"role": "assistant", "content": content}}
    whole = {"output": output, "stopReason": BEDROCK_STOP[answer.finish], "usage": usage, "metrics": {"latencyMs": 5}}
    wire.parts = iter((dumped(whole),))
    return wire


def bedrock_frames(answer: Answer, usage: dict[str, Any], rng: random.Random) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant", "p": "abc"})
    index = 0
    for piece in pieces(answer.text, rng):
        yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcdefgh"})
    if answer.text:
        yield frame("contentBlockStop", {"contentBlockIndex": 0})
        index = 1
    for number, c in enumerate(answer.calls, index):
        use = {"toolUse": {"toolUseId": f"tooluse_{c.id}", "name": c.name}}
        yield frame("contentBlockStart", {"contentBlockIndex": number, "start": use})
        for piece in pieces(c.text, rng):
            yield frame("contentBlockDelta", {"contentBlockIndex": number, "delta": {"toolUse": {"input": piece}}})
        yield frame("contentBlockStop", {"contentBlockIndex": number})
    yield frame("messageStop", {"stopReason": BEDROCK_STOP[answer.finish]})
    yield frame("metadata", {"usage": usage, "metrics": {"latencyMs": 5}})


def frame(kind: str, body: dict[str, Any]) -> bytes:
    """One message of AWS's event stream: lengths, headers, payload and their two checksums."""
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":event-type", kind.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    payload = dumped(body)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


# --- MCP --------------------------------------------------------------------------------------------------------------

TOOL = {"name": "look_up", "description": "Looks something up", "inputSchema": {"type": "object", "properties": {}}}


def mcp(_: re.Match[str], body: dict[str, Any], words: frozenset[str], rng: random.Random) -> Wire:
    """A server with one tool, in the era of sessions; calls are answered as events."""
    method = body.get("method", "")
    if "id" not in body:
        return Wire(JSON, iter(()), status=202)
    result: dict[str, Any] = {}
    if method == "initialize":
        version = body["params"]["protocolVersion"]
        server = {"name": "double-tools", "version": "1.0"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        said = f"looked up: {json.dumps(body['params'].get('arguments'), ensure_ascii=False)}"
        result = {"content": [{"type": "text", "text": said}], "isError": False}
    else:
        return mcp_reply({"error": {"code": -32601, "message": "Method not found"}}, body, JSON)
    return mcp_reply({"result": result}, body, SSE if method == "tools/call" else JSON)


def mcp_reply(outcome: dict[str, Any], body: dict[str, Any], kind: str) -> Wire:
    document = dumped({"jsonrpc": "2.0", "id": body["id"], **outcome})
    said = b"event: message\r\ndata: " + document + b"\r\n\r\n" if kind == SSE else document
    return Wire(kind, iter((said,)), [("mcp-session-id", "session-of-the-double")], streamed=kind == SSE)


WIRES: list[tuple[re.Pattern[str], Callable[..., Wire]]] = [
    (re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent)"), gemini),
    (re.compile(r"/v2/chat"), cohere),
    (re.compile(r"/api/chat"), ollama),
    (re.compile(r"/model/([^/]+)/(converse|converse-stream)"), bedrock),
    (re.compile(r"/mcp"), mcp),
]
