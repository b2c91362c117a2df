# SPDX-License-Identifier: Apache-2.0
"""Exchanges of every large dialect as bytes of HTTP, with what they say: requests, answers, streams of deltas.

Members, their order, paddings, counters and lengths are those of recorded traffic of 2024 to 2026. Not here:
connections and segments (corpora.py). All comes from the generator that is passed in: a seed gives the same bytes.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from oisp_bench.words import letters, text, tokens

CREATED = 1_759_436_804


@dataclass(slots=True)
class Exchange:
    """One request and its answer: the pieces in which each is sent, and what a right event must say."""

    request: list[bytes]
    response: list[bytes]
    truth: dict[str, Any] | None  # None: not AI
    deltas: int = 0
    woven: list[tuple[int, bytes]] | None = None  # of HTTP/2: a whole connection, (direction, segment) in order
    truths: list[dict[str, Any]] = field(default_factory=list)  # of the exchanges in `woven`, as they were asked


@dataclass(slots=True)
class Body:
    """A JSON body with the facts that it holds."""

    data: bytes
    truth: dict[str, Any] = field(default_factory=dict)


def dump(value: Any) -> bytes:
    """Compact, characters as UTF-8: as httpx and fetch send it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def head(first: str, fields: list[tuple[str, str]]) -> bytes:
    return (first + "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# --- requests ---


def stainless(host: str, length: int, agent: str, auth: list[tuple[str, str]], accept: str) -> list[tuple[str, str]]:
    """What the official Python SDKs of OpenAI and Anthropic send (httpx adds the first four)."""
    return [
        ("Host", host),
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "keep-alive"),
        ("Accept", accept),
        ("Content-Type", "application/json"),
        ("User-Agent", agent),
        ("X-Stainless-Lang", "python"),
        ("X-Stainless-Package-Version", agent.rpartition(" ")[2]),
        ("X-Stainless-OS", "Linux"),
        ("X-Stainless-Arch", "x64"),
        ("X-Stainless-Runtime", "CPython"),
        ("X-Stainless-Runtime-Version", "3.12.4"),
        *auth,
        ("X-Stainless-Async", "false"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-read-timeout", "600"),
        ("Content-Length", str(length)),
    ]


def openai_head(key: str, path: str, length: int) -> bytes:
    auth = [("Authorization", f"Bearer {key}")]
    return head(
        f"POST {path} HTTP/1.1",
        stainless("api.openai.com", length, "OpenAI/Python 1.109.1", auth, "application/json"),
    )


def anthropic_head(key: str, length: int) -> bytes:
    auth = [("X-Api-Key", key), ("anthropic-version", "2023-06-01")]
    fields = stainless("api.anthropic.com", length, "Anthropic/Python 0.69.0", auth, "application/json")
    return head("POST /v1/messages HTTP/1.1", fields)


def plain_head(host: str, path: str, length: int, fields: list[tuple[str, str]], agent: str) -> bytes:
    own = [("Host", host), ("User-Agent", agent), ("Accept", "*/*"), ("Content-Type", "application/json")]
    return head(f"POST {path} HTTP/1.1", [*own, *fields, ("Content-Length", str(length))])


def turns(rng: random.Random, size: int) -> list[tuple[str, str]]:
    """A conversation whose texts have about `size` bytes together: a question, or a history of turns and a question."""
    count = 1 if size < 4000 else 3 if size < 40000 else 15
    each = max(size // count, 16)
    return [("user" if i % 2 == 0 else "assistant", text(rng, each)) for i in range(count)]


SYSTEMS = (
    "You are a careful senior engineer. Answer in short sentences and show code where it helps.",
    "You are a support agent of a bank. Be polite, never ask for passwords, hand over when unsure.",
    "Translate what the user writes into German. Keep names, numbers and markup as they are.",
)


def openai_chat(rng: random.Random, key: str, size: int, *, stream: bool) -> Body:
    system, said = rng.choice(SYSTEMS), turns(rng, size)
    messages = [{"role": role, "content": content} for role, content in [("system", system), *said]]
    body: dict[str, Any] = {"messages": messages, "model": "gpt-4o", "max_tokens": 4096}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body["temperature"] = 0.7
    data = dump(body)
    truth = {"model": "gpt-4o", "messages": [t for _, t in [("system", system), *said]], "streaming": stream}
    return Body(openai_head(key, "/v1/chat/completions", len(data)) + data, truth)


def openai_responses(rng: random.Random, key: str, size: int) -> Body:
    said = turns(rng, size)
    data = dump(
        {
            "input": [{"role": role, "content": content} for role, content in said],
            "instructions": rng.choice(SYSTEMS),
            "model": "gpt-5.4",
            "stream": True,
        }
    )
    return Body(openai_head(key, "/v1/responses", len(data)) + data, {"model": "gpt-5.4", "streaming": True})


def anthropic_messages(rng: random.Random, key: str, size: int, *, stream: bool) -> Body:
    system, said = rng.choice(SYSTEMS), turns(rng, size)
    body: dict[str, Any] = {
        "max_tokens": 4096,
        "messages": [{"role": role, "content": content} for role, content in said],
        "model": "claude-sonnet-4-5",
        "system": system,
        "temperature": 0.7,
    }
    if stream:
        body["stream"] = True
    data = dump(body)
    truth = {"model": "claude-sonnet-4-5", "messages": [t for _, t in said], "streaming": stream}
    return Body(anthropic_head(key, len(data)) + data, truth)


# --- answers ---


def usage_of(rng: random.Random) -> tuple[int, int]:
    return rng.randrange(200, 4000), rng.randrange(50, 900)


def openai_usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def anthropic_usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": completion,
        "service_tier": "standard",
    }


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


def answer_head(rng: random.Random, kind: str, how: str) -> bytes:
    return head(
        "HTTP/1.1 200 OK",
        [
            ("Date", "Wed, 25 Nov 2026 03:40:24 GMT"),
            ("Content-Type", kind),
            *(_pair(line) for line in how.split("\r\n")),
            ("Connection", "keep-alive"),
            ("x-request-id", f"req_{letters(rng, 24)}"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("X-Content-Type-Options", "nosniff"),
            ("Server", "cloudflare"),
            ("CF-RAY", f"{letters(rng, 16)}-FRA"),
            ("alt-svc", 'h3=":443"; ma=86400'),
        ],
    )


def openai_answer(rng: random.Random, size: int) -> Body:
    said = text(rng, size)
    prompt, completion = usage_of(rng)
    data = dump(
        {
            "id": f"chatcmpl-{letters(rng, 29)}",
            "object": "chat.completion",
            "created": CREATED,
            "model": "gpt-4o-2024-08-06",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said, "refusal": None, "annotations": []},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": openai_usage(prompt, completion),
            "service_tier": "default",
            "system_fingerprint": "fp_cbf1785567",
        }
    )
    truth = {"text": said, "prompt": prompt, "completion": completion, "answered": "gpt-4o-2024-08-06"}
    return Body(answer_head(rng, "application/json", f"Content-Length: {len(data)}") + data, truth)


def anthropic_answer(rng: random.Random, size: int) -> Body:
    said = text(rng, size)
    prompt, completion = usage_of(rng)
    data = dump(
        {
            "model": "claude-sonnet-4-5-20250929",
            "id": f"msg_01{letters(rng, 22)}",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": said}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": anthropic_usage(prompt, completion),
        }
    )
    truth = {"text": said, "prompt": prompt, "completion": completion, "answered": "claude-sonnet-4-5-20250929"}
    return Body(answer_head(rng, "application/json", f"Content-Length: {len(data)}") + data, truth)


# --- streams: a list of events and what they add up to ---


def openai_stream(rng: random.Random, count: int, *, obfuscated: bool) -> tuple[list[bytes], dict[str, Any]]:
    same = {
        "id": f"chatcmpl-{letters(rng, 29)}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_cbf1785567",
    }

    def event(choices: list[Any], usage: Any = None) -> bytes:
        padding = {"obfuscation": letters(rng, rng.randrange(16))} if obfuscated else {}
        return b"data: " + dump({**same, "choices": choices, "usage": usage, **padding}) + b"\n\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    pieces = tokens(rng, count)
    prompt, completion = usage_of(rng)
    events = [event(choice({"role": "assistant", "content": "", "refusal": None}))]
    events += [event(choice({"content": piece})) for piece in pieces]
    events += [event(choice({}, "stop")), event([], openai_usage(prompt, completion)), b"data: [DONE]\n\n"]
    said = {"text": "".join(pieces), "prompt": prompt, "completion": completion, "answered": "gpt-4o-2024-08-06"}
    return events, said


def named(kind: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


def anthropic_stream(rng: random.Random, count: int, *, padded: bool = True) -> tuple[list[bytes], dict[str, Any]]:
    """A delta holds one to three tokens; blanks before the last brace hide its length, as the provider sends them."""

    def event(value: dict[str, Any]) -> bytes:
        blanks = b" " * rng.randrange(16) if padded else b""
        return named(value["type"], dump(value)[:-1] + blanks + b"}")

    pieces = ["".join(tokens(rng, rng.randrange(1, 4))) for _ in range(count)]
    prompt, completion = usage_of(rng)
    message: dict[str, Any] = {
        "model": "claude-sonnet-4-5-20250929",
        "id": f"msg_01{letters(rng, 22)}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": anthropic_usage(prompt, 1),
    }
    events = [event({"type": "message_start", "message": message})]
    events += [event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})]
    events += [named("ping", b'{"type": "ping"}')]
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        events.append(event({"type": "content_block_delta", "index": 0, "delta": delta}))
    events += [event({"type": "content_block_stop", "index": 0})]
    last = {"input_tokens": prompt, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    events += [event({"type": "message_delta", "delta": stop, "usage": {**last, "output_tokens": completion}})]
    events += [event({"type": "message_stop"})]
    said = {
        "text": "".join(pieces),
        "prompt": prompt,
        "completion": completion,
        "answered": "claude-sonnet-4-5-20250929",
    }
    return events, said


def responses_stream(rng: random.Random, count: int) -> tuple[list[bytes], dict[str, Any]]:
    number = iter(range(1 << 30))
    item = f"msg_{letters(rng, 50).lower()}"

    def event(kind: str, value: dict[str, Any]) -> bytes:
        return named(kind, dump({"type": kind, **value, "sequence_number": next(number)}))

    def whole(status: str, output: list[Any], usage: Any) -> dict[str, Any]:
        return {
            "id": answer, "object": "response", "created_at": CREATED, "status": status, "background": False,
            "error": None, "incomplete_details": None, "instructions": SYSTEMS[0], "max_output_tokens": None,
            "model": "gpt-5.4-2026-03-05", "output": output, "parallel_tool_calls": True, "temperature": 1.0,
            "previous_response_id": None, "reasoning": {"effort": "none", "summary": None}, "store": True,
            "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [],
            "service_tier": "default", "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": None,
            "metadata": {},
        }  # fmt: skip

    answer = f"resp_{letters(rng, 50).lower()}"
    place = {"content_index": 0, "item_id": item, "output_index": 0}
    pieces = tokens(rng, count)
    said = "".join(pieces)
    prompt, completion = usage_of(rng)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    done = {**part, "text": said}
    message: dict[str, Any] = {
        "id": item,
        "type": "message",
        "status": "in_progress",
        "content": [],
        "role": "assistant",
    }
    finished = {**message, "status": "completed", "content": [done]}
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }
    events = [event("response.created", {"response": whole("in_progress", [], None)})]
    events += [event("response.in_progress", {"response": whole("in_progress", [], None)})]
    events += [event("response.output_item.added", {"item": message, "output_index": 0})]
    events += [event("response.content_part.added", {**place, "part": part})]
    for piece in pieces:
        delta = {"delta": piece, "logprobs": [], "obfuscation": letters(rng, rng.randrange(16))}
        events.append(event("response.output_text.delta", {**place, **delta}))
    events += [event("response.output_text.done", {**place, "logprobs": [], "text": said})]
    events += [event("response.content_part.done", {**place, "part": done})]
    events += [event("response.output_item.done", {"item": finished, "output_index": 0})]
    events += [event("response.completed", {"response": whole("completed", [finished], usage)})]
    return events, {"text": said, "prompt": prompt, "completion": completion, "answered": "gpt-5.4-2026-03-05"}


def gemini_stream(rng: random.Random, count: int) -> tuple[list[bytes], dict[str, Any]]:
    """Events of some words each, with CRLF and blanks after colons, and the running usage in each."""
    answer = letters(rng, 23)
    pieces = ["".join(tokens(rng, rng.randrange(6, 20))) for _ in range(count)]
    prompt, completion = usage_of(rng)
    events = []
    for index, piece in enumerate(pieces):
        last = index + 1 == count
        used = completion if last else (index + 1) * completion // count
        candidate: dict[str, Any] = {"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        value = {
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "candidatesTokenCount": used,
                "totalTokenCount": prompt + used,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            },
            "modelVersion": "gemini-2.5-flash",
            "responseId": answer,
        }
        spaced = json.dumps(value, ensure_ascii=False, separators=(",", ": "))
        events.append(b"data: " + spaced.encode() + b"\r\n\r\n")
    said = {"text": "".join(pieces), "prompt": prompt, "completion": completion, "answered": "gemini-2.5-flash"}
    return events, said


def gemini_request(rng: random.Random, key: str, size: int) -> Body:
    contents = [
        {"role": "model" if role == "assistant" else role, "parts": [{"text": content}]}
        for role, content in turns(rng, size)
    ]
    system = {"parts": [{"text": rng.choice(SYSTEMS)}]}
    data = dump({"contents": contents, "systemInstruction": system, "generationConfig": {"temperature": 0.7}})
    path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    fields = [("x-goog-api-key", key), ("x-goog-api-client", "google-genai-sdk/1.38.0 gl-python/3.12.4")]
    start = plain_head("generativelanguage.googleapis.com", path, len(data), fields, "google-genai-sdk/1.38.0")
    return Body(start + data, {"model": "gemini-2.5-flash", "streaming": True})


def aws_message(kind: str, payload: bytes, content: str = "application/json") -> bytes:
    """One message of an AWS event stream: prelude, headers, payload, checksums."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", content), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def bedrock_stream(rng: random.Random, count: int) -> tuple[list[bytes], dict[str, Any]]:
    """ConverseStream; `p` pads each payload."""

    def event(kind: str, value: dict[str, Any]) -> bytes:
        return aws_message(kind, dump({**value, "p": letters(rng, rng.randrange(4, 40))}))

    pieces = ["".join(tokens(rng, rng.randrange(1, 4))) for _ in range(count)]
    prompt, completion = usage_of(rng)
    events = [event("messageStart", {"role": "assistant"})]
    events += [event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in pieces]
    events += [event("contentBlockStop", {"contentBlockIndex": 0}), event("messageStop", {"stopReason": "end_turn"})]
    usage = {"inputTokens": prompt, "outputTokens": completion, "totalTokens": prompt + completion}
    events += [event("metadata", {"metrics": {"latencyMs": 1234}, "usage": usage})]
    return events, {"text": "".join(pieces), "prompt": prompt, "completion": completion}


def bedrock_request(rng: random.Random, key: str, size: int) -> Body:
    messages = [{"role": role, "content": [{"text": content}]} for role, content in turns(rng, size)]
    body = {"messages": messages, "system": [{"text": rng.choice(SYSTEMS)}], "inferenceConfig": {"maxTokens": 4096}}
    data = dump(body)
    path = "/model/amazon.nova-pro-v1%3A0/converse-stream"
    signed = (
        f"AWS4-HMAC-SHA256 Credential={key}/20261125/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature="
    )
    fields = [("X-Amz-Date", "20261125T034024Z"), ("Authorization", signed + "0" * 64)]
    start = plain_head("bedrock-runtime.us-east-1.amazonaws.com", path, len(data), fields, "Boto3/1.40.45")
    return Body(start + data, {"model": "amazon.nova-pro-v1:0", "streaming": True})


def ollama_stream(rng: random.Random, count: int) -> tuple[list[bytes], dict[str, Any]]:
    """NDJSON; created_at changes in every line."""
    pieces = tokens(rng, count)
    prompt, completion = usage_of(rng)
    lines = []
    for index, piece in enumerate(pieces):
        when = f"2026-11-25T03:40:{index // 1000 % 60:02d}.{rng.randrange(10**9):09d}Z"
        value = {"model": "llama3.2", "created_at": when, "message": {"role": "assistant", "content": piece}}
        lines.append(dump({**value, "done": False}) + b"\n")
    last = {
        "model": "llama3.2", "created_at": "2026-11-25T03:41:00.000000001Z",
        "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
        "total_duration": 4883583458, "load_duration": 1334875, "prompt_eval_count": prompt,
        "prompt_eval_duration": 342546000, "eval_count": completion, "eval_duration": 4535599000,
    }  # fmt: skip
    lines.append(dump(last) + b"\n")
    return lines, {"text": "".join(pieces), "prompt": prompt, "completion": completion, "answered": "llama3.2"}


def ollama_request(rng: random.Random, key: str, size: int) -> Body:
    system, said = rng.choice(SYSTEMS), turns(rng, size)
    messages = [{"role": role, "content": content} for role, content in [("system", system), *said]]
    data = dump({"model": "llama3.2", "messages": messages, "stream": True, "options": {"temperature": 0.7}})
    start = plain_head("localhost:11434", "/api/chat", len(data), [], "ollama-python/0.6.0 (x86_64 linux)")
    return Body(start + data, {"model": "llama3.2", "streaming": True})


# --- not AI ---


def noise(rng: random.Random) -> Exchange:
    """An API's JSON, a page, an image or an archive: half with a length, half in chunks."""
    kind = rng.random()
    host = (
        f"{rng.choice(('api', 'www', 'cdn', 'assets', 'app'))}.{rng.choice(('shop', 'news', 'maps', 'mail'))}.example"
    )
    common = [
        ("Host", host),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Cookie", f"session={letters(rng, 40)}; theme=dark; consent=1"),
    ]
    path = f"/{rng.choice(('v2/orders', 'index.html', 'static/app.js', 'img/photo.webp'))}?id={rng.randrange(10**6)}"
    if kind < 0.3:
        sent = dump({"id": rng.randrange(10**6), "items": [{"sku": letters(rng, 8), "count": 2}] * rng.randrange(1, 9)})
        length = [("Content-Type", "application/json"), ("Content-Length", str(len(sent)))]
        request = [head(f"POST {path} HTTP/1.1", [*common, *length]) + sent]
    else:
        request = [head(f"GET {path} HTTP/1.1", [*common, ("Accept", "*/*")])]
    if kind < 0.5:
        mime, data = "application/json", dump({"rows": [{"id": i, "name": letters(rng, 12)} for i in range(30)]})
    elif kind < 0.8:
        page = "<html><body>" + "".join(f"<p class=row>{text(rng, 300)}</p>" for _ in range(12)) + "</body></html>"
        mime, data = "text/html; charset=utf-8", page.encode()
    else:
        mime, data = "application/octet-stream", rng.randbytes(65536)
    fields = [("Date", "Wed, 25 Nov 2026 03:40:24 GMT"), ("Content-Type", mime), ("Server", "nginx")]
    if rng.random() < 0.5:
        whole = head("HTTP/1.1 200 OK", [*fields, ("Content-Length", str(len(data)))]) + data
        return Exchange(request, pieces_of(whole), None)
    start = head("HTTP/1.1 200 OK", [*fields, ("Transfer-Encoding", "chunked")])
    parts = [chunk(data[i : i + 8192]) for i in range(0, len(data), 8192)]
    return Exchange(request, [start, *pieces_of(b"".join(parts) + b"0\r\n\r\n")], None)


SEGMENT = 16384


def pieces_of(data: bytes, size: int = SEGMENT) -> list[bytes]:
    """As TLS records carry it."""
    return [data[i : i + size] for i in range(0, len(data), size)]
