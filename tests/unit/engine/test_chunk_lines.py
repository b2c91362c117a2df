# SPDX-License-Identifier: Apache-2.0
"""The line of a chunk may be made of the one before it: it says what is true now all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oisp_core import Engine

BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}'
ASK = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SECOND = 1_000_000_000


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    event = b"data: " + json.dumps({"id": "c", "model": "gpt-4o", "choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def chunks(engine: Engine) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in engine.drain().splitlines()]
    return [event for event in events if event["event_type"] == "ai.streaming_chunk"]


@pytest.mark.parametrize("content", ["full", "redacted", "metadata"])
def test_each_line_is_its_own(content: Any) -> None:
    engine = Engine(content=content, chunks=True, id_seed=1)
    texts = [f"word{i} " * (1 + i % 4) for i in range(40)]
    engine.set_context(1, b'"host":{"hostname":"first"}')
    engine.feed(1, ">", SECOND, ASK, 0)
    engine.feed(1, "<", 2 * SECOND, HEAD, 0)
    offset = len(HEAD)
    for i, text in enumerate(texts):
        if i == 20:
            engine.set_context(1, b'"host":{"hostname":"other"}')
        engine.feed(1, "<", 2 * SECOND + i * 100_000_000 + 1000 * i, delta(text), offset)
        offset += len(delta(text))
    engine.feed(1, "<", 9 * SECOND, delta("", "stop"), offset)
    found = chunks(engine)
    assert [event["host"]["hostname"] for event in found] == ["first"] * 20 + ["other"] * 21
    assert [event["data"]["chunk_index"] for event in found] == list(range(41))
    assert len({event["event_id"] for event in found}) == 41
    assert [event["ts"] for event in found[:40]] == [
        f"1970-01-01T00:00:{2 + i // 10:02d}.{i % 10 * 100_000 + i:06d}Z" for i in range(40)
    ]
    if content == "full":
        assert [event["data"]["delta"]["content"] for event in found[:40]] == texts
    assert found[40]["data"]["finish_reason"] == "stop"
    assert all("finish_reason" not in event["data"] for event in found[:40])


def test_a_loss_is_said_from_then_on() -> None:
    """Of an answer that ends with its connection, so that a hole in it is arithmetic."""
    engine = Engine(content="full", chunks=True, id_seed=1)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    engine.feed(1, ">", SECOND, ASK, 0)
    engine.feed(1, "<", 2 * SECOND, head, 0)
    offset = len(head)
    for i in range(20):
        piece = delta(f"w{i}").split(b"\r\n")[1]
        if i != 10:
            engine.feed(1, "<", 2 * SECOND + i, piece, offset)
        offset += len(piece)
    found = chunks(engine)
    said = ["response_bytes_lost" in json.dumps(event["confidence"]) for event in found]
    assert said == [False] * 10 + [True] * (len(found) - 10)
    assert len(found) >= 18  # the one after the hole may be part of the one before
