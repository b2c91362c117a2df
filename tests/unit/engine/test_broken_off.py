# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between a client and its provider: tries again, leaves early, is cut off. Each try is an exchange."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.reference.h2wire import SSE, Talk, data, reset, streamed
from tests.reference.wire import Event, Segment, by_type, bytewise, feed_all

ASK = b'{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hi"}]}'


def request(tried: int) -> Segment:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n"
        "Authorization: Bearer sk-proj-0123456789abcdef\r\n"
        f"x-stainless-retry-count: {tried}\r\nContent-Type: application/json\r\nContent-Length: {len(ASK)}\r\n\r\n"
    )
    return ">", head.encode() + ASK


def refusal(status: str, kind: str) -> Segment:
    body = json.dumps({"error": {"message": "no", "type": kind, "code": None}}).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nretry-after: 0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return "<", head.encode() + body


def stream(events: list[bytes], *, ends: bool = True) -> Segment:
    chunks = b"".join(f"{len(e):x}\r\n".encode() + e + b"\r\n" for e in events) + (b"0\r\n\r\n" if ends else b"")
    return "<", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def both(segments: list[Segment]) -> list[Event]:
    events = feed_all(segments)
    assert feed_all(segments, bytewise) == events
    return events


def test_a_client_that_tries_three_times_asks_three_times() -> None:
    whole = stream(streamed(["Hel", "lo"]))
    tries = [
        refusal("500 Internal Server Error", "server_error"),
        refusal("429 Too Many Requests", "rate_limit_error"),
        whole,
    ]
    events = both([segment for number, answer in enumerate(tries) for segment in (request(number), answer)])
    asked, answered = by_type(events, "ai.request"), by_type(events, "ai.response")
    assert [e["event_type"] for e in events] == ["ai.request", "ai.response"] * 3
    assert len({e["data"]["request_id"] for e in asked}) == 3
    assert [e["data"]["request_id"] for e in answered] == [e["data"]["request_id"] for e in asked]
    assert [e["data"]["status_code"] for e in answered] == [500, 429, 200]
    assert [e["data"]["success"] for e in answered] == [False, False, True]
    assert [e["data"].get("error", {}).get("type") for e in answered] == ["server_error", "rate_limit_error", None]
    assert answered[2]["data"]["choices"][0]["message"]["content"] == "Hello"
    assert {e["confidence"]["completeness"] for e in events} == {"full"}
    # The same question once more, and the first had no answer: one conversation.
    assert len({e["data"]["conversation_id"] for e in events}) == 1


@pytest.mark.parametrize("done", [False, True])
def test_a_client_that_leaves_a_stream(done: bool) -> None:
    """Before the provider's own last event the answer is partial; after it nothing is missing, whatever the framing."""
    events = streamed(["Hel", "lo"])
    _, answer = both([request(0), stream(events if done else events[:2], ends=False)])
    assert answer["data"]["choices"][0]["message"]["content"] == "Hello"
    assert answer["data"]["success"] is True
    confidence: dict[str, Any] = answer["confidence"]
    assert confidence["completeness"] == ("full" if done else "partial")
    assert ("response_truncated" in confidence["reasons"]) is not done
    assert ("finish_reason" in answer["data"]) is done


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_stream_of_http2_that_is_reset(who: str) -> None:
    talk = Talk()
    talk.ask(1, "hi", stream=True)
    talk.reply(talk.server.head(1, [(":status", "200"), ("content-type", SSE)]))
    for event in streamed(["Hel", "lo"])[:2]:
        talk.reply(data(1, event))
    (talk.send if who == "client" else talk.reply)(reset(1))
    talk.ask(3, "again")
    talk.answer(3, "yes")
    events = both(talk.segments)
    first, second = by_type(events, "ai.response")
    assert first["data"]["choices"][0]["message"]["content"] == "Hello"
    assert first["confidence"]["completeness"] == "partial"
    assert second["confidence"]["completeness"] == "full"


def test_a_connection_that_ends_before_the_answer() -> None:
    events = both([request(0)])
    asked, answer = by_type(events, "ai.request") + by_type(events, "ai.response")
    assert asked["confidence"]["completeness"] == "full"
    assert "response" in answer["confidence"]["missing"]
    assert answer["confidence"]["completeness"] == "partial"
    assert "status_code" not in answer["data"]
