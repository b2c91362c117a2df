# SPDX-License-Identifier: Apache-2.0
"""Wire bytes for the engine's tests, written here and not by the code that reads them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from oisp_core import Engine

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TICK = 1_000_000
Segment = tuple[str, bytes]
Event = dict[str, Any]


def request(prompt: str = "hi", *, model: str = "gpt-4o", path: str = "/v1/chat/completions", **more: Any) -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], **more}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-proj-0123456789abcdef\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer(text: str = "hello", *, ident: str = "chatcmpl-1", status: str = "200 OK") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    body = json.dumps({"id": ident, "model": "gpt-4o-2024-08-06", "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream(parts: Iterable[str], *, ident: str = "chatcmpl-2", done: bool = True) -> bytes:
    events = []
    for part in parts:
        delta = {"id": ident, "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": part}}]}
        events.append(b"data: " + json.dumps(delta).encode() + b"\n\n")
    last = {"id": ident, "model": "gpt-4o", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events += [b"data: " + json.dumps(last).encode() + b"\n\n", b"data: [DONE]\n\n"] if done else []
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in events) + (b"0\r\n\r\n" if done else b"")
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def events_of(engine: Engine) -> list[Event]:
    return [json.loads(line) for line in engine.drain().splitlines()]


def bytewise(segment: Segment) -> list[bytes]:
    """One byte a piece."""
    return [segment[1][i : i + 1] for i in range(len(segment[1]))]


def cut_at_random(seed: int) -> Callable[[Segment], list[bytes]]:
    """Pieces of 1 to 500 bytes, the same for the same seed."""
    rng = random.Random(seed)

    def cut(segment: Segment) -> list[bytes]:
        data, pieces = segment[1], []
        while data:
            size = rng.choice((1, 2, 7, 64, 500))
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    return cut


def feed_all(
    segments: Iterable[Segment],
    cut: Callable[[Segment], list[bytes]] | None = None,
    *,
    offsets: bool = False,
    drop: frozenset[int] = frozenset(),
    close: bool = True,
    **options: Any,
) -> list[Event]:
    """Feed one connection; each segment has its own time, its pieces share it."""
    engine = Engine(**({"content": "full", "id_seed": 1} | options))
    at = {">": 0, "<": 0}
    for index, (direction, data) in enumerate(segments):
        for piece in cut((direction, data)) if cut else [data]:
            if index not in drop:
                engine.feed(1, direction, START + index * TICK, piece, at[direction] if offsets else None)
            at[direction] += len(piece)
    if close:
        engine.close(1)
    return events_of(engine)


def play(segments: list[Segment], **options: Any) -> list[Event]:
    """The events of one connection: the same whole, byte by byte and cut at random, or this fails."""
    whole = feed_all(segments, **options)
    assert feed_all(segments, bytewise, **options) == whole, "byte by byte"
    for seed in range(2):
        assert feed_all(segments, cut_at_random(seed), **options) == whole, f"cut at random, seed {seed}"
    return whole


def by_type(events: list[Event], kind: str) -> list[Event]:
    return [e for e in events if e["event_type"] == kind]
