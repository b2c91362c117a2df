# SPDX-License-Identifier: Apache-2.0
"""WebSocket sessions on a stream of HTTP/2: an extended CONNECT (RFC 8441), beside ordinary streams."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.h2wire import Fields, Talk, data, reset
from tests.reference.wire import Event, Segment, by_type, events_of, feed_all, play
from tests.unit.engine.test_corpus import SEED, START, Tally, session_pairs
from tests.unit.engine.test_upgrades import DEFLATE, Deflater, check_two_turns, talk

ON = 5


def connect(
    *more: tuple[str, str], host: str = "api.openai.com", path: str = "/v1/realtime?model=gpt-realtime"
) -> Fields:
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", path),
        (":authority", host),
        ("sec-websocket-version", "13"),
        ("authorization", "Bearer sk-proj-0123456789abcdef"),
        *more,
    ]


def carried(frames: list[Segment], *more: tuple[str, str], status: str = "200", early: bool = False) -> list[Segment]:
    """Frames of a WebSocket on one stream, with an ordinary exchange around and beside them. early: the client's first
    frames are seen before the answer that lets them pass."""
    extensions = [("sec-websocket-extensions", DEFLATE.partition(": ")[2])] if more else []
    conversation = Talk()
    conversation.ask(1, "before")
    conversation.answer(1, "whole")
    conversation.send(conversation.client.head(ON, connect(*more)))
    accepts = conversation.server.head(ON, [(":status", status), *extensions])
    if not early:
        conversation.reply(accepts)
    conversation.ask(ON + 2, "beside")
    for direction, frame in frames:
        if direction == "<" and early:
            conversation.reply(accepts)
            early = False
        (conversation.send if direction == ">" else conversation.reply)(data(ON, frame))
    conversation.answer(ON + 2, "whole")
    conversation.send(data(ON, b"", end=True))
    conversation.reply(data(ON, b"", end=True))
    return conversation.segments


def of_session(events: list[Event]) -> list[Event]:
    texts = ("before", "beside")
    others = {
        e["data"]["request_id"]
        for e in by_type(events, "ai.request")
        if (e["data"].get("messages") or [{}])[-1].get("content") in texts
    }
    assert len(others) == 2
    answers = [e for e in by_type(events, "ai.response") if e["data"]["request_id"] in others]
    assert [e["data"]["choices"][0]["message"]["content"] for e in answers] == ["whole", "whole"]
    assert {e["confidence"]["completeness"] for e in answers} == {"full"}
    return [e for e in events if e["data"].get("request_id") not in others]


def test_turns_of_a_session() -> None:
    """However it is cut: `play` compares whole segments, bytes and random pieces."""
    check_two_turns(of_session(play(carried(talk()), chunks=False, limits={"linked_calls": 64})))


def test_permessage_deflate() -> None:
    segments = carried(talk(Deflater(), Deflater()), ("sec-websocket-extensions", "permessage-deflate"))
    check_two_turns(of_session(play(segments, chunks=False, limits={"linked_calls": 64})))


def test_messages_that_are_seen_before_the_answer_wait_for_it() -> None:
    events = of_session(feed_all(carried(talk()[1:], early=True)))
    assert [e["data"]["messages"][-1]["content"] for e in by_type(events, "ai.request")] == ["one", "two"]
    assert [e["data"]["choices"][0]["message"]["content"] for e in by_type(events, "ai.response")] == [
        "first answer",
        "second answer",
    ]


def test_one_that_is_refused_is_an_exchange() -> None:
    conversation = Talk()
    conversation.send(conversation.client.head(1, connect()))
    conversation.reply(conversation.server.head(1, [(":status", "401"), ("content-type", "application/json")]))
    conversation.reply(data(1, b'{"error":{"message":"no","type":"invalid_request_error"}}', end=True))
    events = play(conversation.segments, limits={"linked_calls": 64})
    (answer,) = by_type(events, "ai.response")
    assert answer["data"]["status_code"] == 401
    assert len(by_type(events, "ai.request")) == 1


def test_one_that_is_reset_gives_what_there_was() -> None:
    segments = [*carried(talk()[:5])[:-3], ("<", reset(ON))]
    (cut,) = [e for e in by_type(feed_all(segments), "ai.response") if e["data"].get("provider_request_id") == "resp_1"]
    assert cut["data"]["choices"][0]["message"]["content"] == "fir"
    assert cut["confidence"]["completeness"] == "partial"
    assert "response_truncated" in cut["confidence"]["reasons"]


def test_a_hole_in_it_is_said_and_the_other_streams_go_on() -> None:
    segments = carried(talk())
    index = next(i for i, (_, s) in enumerate(segments) if b"first answer" in s)
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    for i, (direction, segment) in enumerate(segments):
        if i != index:
            engine.feed(1, direction, START + i, segment, at[direction])
        at[direction] += len(segment)
    engine.close(1)
    answers = by_type(events_of(engine), "ai.response")
    beside = [e for e in answers if e["data"].get("choices", [{}])[0].get("message", {}).get("content") == "whole"]
    assert len(beside) == 2
    session = [e for e in answers if e not in beside]
    assert session
    assert session[0]["confidence"]["completeness"] == "partial"


@pytest.mark.parametrize("cut", ["whole", "mixed", "bytes"])
def test_recorded_sessions(corpus: Any, render: ModuleType, cut: str) -> None:
    """The sessions of the corpus, their frames on a stream."""
    tally = Tally()
    for row in (row for row in corpus.exchanges() if row.get("ws")):
        url = row["url"] or "wss://api.openai.com/v1/realtime"
        host, _, path = url.partition("://")[2].partition("/")
        conversation = Talk()
        conversation.send(conversation.client.head(1, connect(host=host, path="/" + path)))
        conversation.reply(conversation.server.head(1, [(":status", "200")]))
        for direction, frame in render.ws_connection(row | {"url": url}, SEED)[2:]:
            for at in range(0, len(frame), 16384):
                piece = data(1, frame[at : at + 16384])
                (conversation.send if direction == ">" else conversation.reply)(piece)
        engine = Engine(content="full", id_seed=1)
        pieces = render.split_segments(conversation.segments, SEED, row["id"], cut)
        for index, (direction, piece) in enumerate(pieces):
            engine.feed(1, direction, START + index, piece)
        engine.close(1)
        truth = corpus.truth()[row["id"]]
        pairs = session_pairs([json.loads(line) for line in engine.drain().splitlines()], truth)
        pairs["status"] = (pairs["status"][0], {200})  # RFC 8441: 200 is what 101 was
        tally.count(row, truth, pairs)
    tally.check(120)
