# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 connections through the engine: which exchanges come out, in which order, and what they say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.h2wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    JSON,
    PING,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
    SSE,
    WINDOW_UPDATE,
    Talk,
    answered,
    asked,
    data,
    frame,
    goaway,
    request_fields,
    reset,
    settings,
    streamed,
)
from tests.reference.wire import START, TICK, Event, by_type, bytewise, events_of, feed_all, play, request


def text_of(event: Event) -> str:
    return event["data"]["choices"][0]["message"]["content"]


def reasons(event: Event) -> list[str]:
    return event["confidence"]["reasons"]


def pairs(events: list[Event]) -> dict[str, str]:
    """Question to answer, of the exchanges that have both."""
    asked_by = {e["data"]["request_id"]: e["data"]["messages"][0]["content"] for e in by_type(events, "ai.request")}
    return {
        asked_by[e["data"]["request_id"]]: text_of(e)
        for e in by_type(events, "ai.response")
        if "choices" in e["data"] and e["data"]["request_id"] in asked_by
    }


def test_an_exchange() -> None:
    talk = Talk()
    talk.ask(1, "hi")
    talk.answer(1, "hello")
    first, second = play(talk.segments)
    assert (first["event_type"], second["event_type"]) == ("ai.request", "ai.response")
    assert first["data"]["provider"]["name"] == "openai"
    assert first["data"]["messages"][0]["content"] == "hi"
    assert first["data"]["auth"]["type"] == "api_key"
    assert text_of(second) == "hello"
    assert second["data"]["status_code"] == 200
    assert second["confidence"]["level"] == "high"
    assert second["confidence"]["completeness"] == "full"


def test_six_interleaved_streams() -> None:
    talk = Talk()
    ids = range(1, 13, 2)
    for i in ids:
        talk.ask(i, f"question {i}", stream=True)
    events = {i: streamed([f"answer {i} ", "and ", "more"], f"id-{i}") for i in ids}
    for i in ids:
        talk.reply(talk.server.head(i, SSE))
    for n in range(5):
        for i in reversed(ids):
            talk.reply(data(i, events[i][n], end=n == 4))
    assert pairs(play(talk.segments)) == {f"question {i}": f"answer {i} and more" for i in ids}


def test_fifty_ordinary_requests_then_one_chat() -> None:
    talk = Talk()
    for i in range(1, 101, 2):
        talk.send(
            talk.client.head(i, [(":method", "GET"), *request_fields(f"/assets/{i}.png", "www.example.com")[1:]], True)
        )
        talk.reply(
            talk.server.head(i, [(":status", "200"), ("content-type", "image/png")]), data(i, b"\x89PNG" * 20, True)
        )
    talk.ask(101, "hi", fields=request_fields(host="llm.example.com"))
    talk.answer(101, "hello")
    events = play(talk.segments)
    assert [e["event_type"] for e in events] == ["ai.request", "ai.response"]
    assert pairs(events) == {"hi": "hello"}


def test_a_head_in_many_frames_and_padding() -> None:
    talk = Talk()
    body = asked("hi")
    fields = request_fields("/v1/chat/completions", "api.openai.com", *((f"x-{i}", "v" * 30) for i in range(20)))
    talk.send(*talk.client.continued(1, fields, 25))
    talk.send(data(1, body[:10], pad=0), data(1, body[10:], end=True, pad=200))
    talk.reply(talk.server.head(1, JSON), data(1, answered("hello"), pad=7), data(1, b"", end=True))
    assert pairs(play(talk.segments)) == {"hi": "hello"}


def test_control_frames_are_passed_over() -> None:
    talk = Talk()
    noise = frame(PING, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, b"\0\0\1\0") + frame(0xB, 0, 0, b"whatever")
    talk.send(noise)
    talk.ask(1, "hi")
    talk.reply(noise, frame(PING, ACK, 0, bytes(8)))
    talk.answer(1, "hello")
    assert pairs(play(talk.segments)) == {"hi": "hello"}


def test_interim_answer_and_trailers() -> None:
    talk = Talk()
    body = asked("hi")
    talk.send(
        talk.client.head(1, request_fields()), data(1, body), talk.client.head(1, [("x-checksum", "1")], end=True)
    )
    talk.reply(talk.server.head(1, [(":status", "103"), ("link", "</a>")]))
    talk.reply(talk.server.head(1, JSON), data(1, answered("hello")), talk.server.head(1, [("x-took", "9")], end=True))
    events = play(talk.segments)
    assert pairs(events) == {"hi": "hello"}
    assert by_type(events, "ai.response")[0]["confidence"]["completeness"] == "full"


def test_an_answer_before_the_end_of_the_request_waits_for_it() -> None:
    talk = Talk()
    body = asked("hi")
    talk.send(talk.client.head(1, request_fields()), data(1, body[:20]))
    talk.reply(talk.server.head(1, JSON), data(1, answered("hello"), end=True))
    talk.send(data(1, body[20:], end=True))
    events = play(talk.segments)
    assert [e["event_type"] for e in events] == ["ai.request", "ai.response"]
    assert pairs(events) == {"hi": "hello"}
    assert events[1]["ts"] < events[0]["ts"] or "latency_ms" not in events[1]["data"]


def test_an_answer_that_is_seen_before_its_request() -> None:
    """Two threads of a program: the record of the read may come before that of the write."""
    talk = Talk()
    talk.ask(1, "hi")
    talk.answer(1, "hello")
    talk.segments[-1], talk.segments[-2] = talk.segments[-2], talk.segments[-1]
    assert pairs(play(talk.segments)) == {"hi": "hello"}


def test_a_server_that_needs_no_more_of_the_request() -> None:
    talk = Talk()
    body = asked("hi")
    talk.send(talk.client.head(1, request_fields()), data(1, body[:40]))
    talk.reply(talk.server.head(1, [(":status", "413"), ("content-type", "application/json")]))
    talk.reply(data(1, b'{"error":{"message":"too large","type":"invalid_request_error"}}', end=True), reset(1, 0))
    first, second = play(talk.segments)
    assert "request_truncated" in reasons(first)
    assert second["data"]["status_code"] == 413
    assert "response_truncated" not in reasons(second)


@pytest.mark.parametrize("side", ["client", "server"])
def test_reset_in_the_middle_of_an_answer(side: str) -> None:
    talk = Talk()
    talk.ask(1, "hi", stream=True)
    talk.reply(talk.server.head(1, SSE), data(1, streamed(["part one", "never"])[0]))
    (talk.send if side == "client" else talk.reply)(reset(1))
    talk.ask(3, "more")
    talk.answer(3, "fine")
    events = play(talk.segments)
    cut = by_type(events, "ai.response")[0]
    assert text_of(cut) == "part one"
    assert cut["confidence"]["completeness"] == "partial"
    assert "response_truncated" in reasons(cut)
    assert pairs(events) == {"hi": "part one", "more": "fine"}


def test_a_refused_stream_and_one_beyond_goaway() -> None:
    talk = Talk()
    talk.ask(1, "first")
    talk.ask(3, "refused")
    talk.ask(5, "too late")
    talk.reply(reset(3, 7), goaway(1, 0, b"shutting down"))
    talk.answer(1, "fine")
    events = play(talk.segments)
    assert pairs(events) == {"first": "fine"}
    lost = [e for e in by_type(events, "ai.response") if "unpaired_request" in reasons(e)]
    assert len(lost) == 2


def test_a_server_push_is_an_exchange_of_its_own() -> None:
    talk = Talk()
    talk.ask(1, "hi")
    promised = [(":method", "GET"), (":scheme", "https"), (":authority", "api.openai.com"), (":path", "/logo.png")]
    talk.reply(frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + talk.server.block(promised)))
    talk.reply(talk.server.head(2, [(":status", "200"), ("content-type", "image/png")]), data(2, b"\x89PNG", end=True))
    talk.answer(1, "hello")
    assert pairs(play(talk.segments)) == {"hi": "hello"}


def test_a_table_size_that_both_agree_on() -> None:
    talk = Talk()
    talk.segments[0] = (">", PREFACE + settings(table_size=65536))
    talk.segments[1] = ("<", settings(table_size=0, frame_size=32768) + frame(SETTINGS, ACK, 0))
    talk.client.encoder.header_table_size = 0
    talk.server.encoder.header_table_size = 65536
    prompt = "x" * 20000
    for i in (1, 3, 5):
        talk.ask(i, f"{i}" + prompt)
        talk.answer(i, f"hello {i}")
    assert pairs(play(talk.segments)) == {f"{i}{prompt}": f"hello {i}" for i in (1, 3, 5)}


def test_limits_on_streams_are_counted_and_do_not_disturb_others() -> None:
    talk = Talk()
    for i in range(1, 21, 2):
        talk.ask(i, f"q{i}")
    for i in range(1, 21, 2):
        talk.answer(i, f"a{i}")
    talk.ask(21, "q21")
    talk.answer(21, "a21")
    engine = Engine(content="full", id_seed=1, limits={"streams": 4})
    for n, (direction, segment) in enumerate(talk.segments):
        engine.feed(1, direction, START + n * TICK, segment)
    assert pairs(events_of(engine)) == {f"q{i}": f"a{i}" for i in (1, 3, 5, 7, 21)}
    assert engine.stats()["limits"] >= 6


def test_a_head_beyond_its_limit_does_not_harm_the_table() -> None:
    talk = Talk()
    talk.ask(1, "small", fields=request_fields("/v1/chat/completions", "api.openai.com", ("x-kept", "yes")))
    talk.answer(1, "one")
    many = [(f"x-{i}", "v" * 100) for i in range(40)]
    talk.ask(3, "large", fields=request_fields("/v1/chat/completions", "api.openai.com", *many))
    talk.answer(3, "two")
    talk.ask(5, "small again", fields=request_fields("/v1/chat/completions", "api.openai.com", ("x-kept", "yes")))
    talk.answer(5, "three")
    events = play(talk.segments, limits={"head_fields": 16})
    assert pairs(events) == {"small": "one", "large": "two", "small again": "three"}
    found = {e["data"]["messages"][0]["content"]: "headers_lost" in reasons(e) for e in by_type(events, "ai.request")}
    assert found == {"small": False, "large": True, "small again": False}


# ---- who asks, and where it begins ----


def test_roles_are_found_from_the_bytes() -> None:
    for server_first in (False, True):
        talk = Talk()
        talk.ask(1, "hi")
        talk.answer(1, "hello")
        if server_first:
            talk.segments[0], talk.segments[1] = talk.segments[1], talk.segments[0]
        engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
        for n, (direction, segment) in enumerate(talk.segments):  # seen by the server: its writes are the answers
            engine.feed(1, "read" if direction == ">" else "write", START + n * TICK, segment)
        assert pairs(events_of(engine)) == {"hi": "hello"}


def middle() -> list[tuple[str, bytes]]:
    """Segments of a long connection from where the tables are in use; the first exchange is not among them."""
    talk = Talk()
    for i in (1, 3):
        talk.ask(i, f"before {i}")
        talk.answer(i, f"old {i}")
    begin = len(talk.segments)
    for i in (5, 7):
        talk.ask(i, f"question {i}")
        talk.answer(i, f"answer {i}")
    return talk.segments[begin:]


@pytest.mark.parametrize("directions", [(">", "<"), ("write", "read")])
def test_joined_in_the_middle(directions: tuple[str, str]) -> None:
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    if directions[0] == ">":
        engine.gap(1, ">")
    else:
        engine.gap(1, "write")
    for n, (direction, segment) in enumerate(middle()):
        engine.feed(1, directions[direction == "<"], START + n * TICK, segment)
    engine.close(1)
    events = events_of(engine)
    assert pairs(events) == {"question 5": "answer 5", "question 7": "answer 7"}
    for event in by_type(events, "ai.request"):
        assert {"joined_midway", "headers_lost"} <= set(reasons(event))
        assert event["data"]["model"]["id"] == "gpt-4o"
        assert "provider" not in event["data"] or event["data"]["provider"]["name"] != "anthropic"


def test_joined_inside_a_frame() -> None:
    segments = middle()
    segments[0] = (">", segments[0][1][20:])
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    engine.gap(1, ">")
    for n, (direction, segment) in enumerate(segments):
        engine.feed(1, direction, START + n * TICK, segment)
    engine.close(1)
    events = events_of(engine)
    found = pairs(events)
    assert found["question 7"] == "answer 7"
    assert set(found) <= {"question 5", "question 7"}


def test_upgrade_from_http1() -> None:
    body = asked("hi")
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        f"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    talk = Talk()
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    talk.segments = [(">", head + body), ("<", switched + settings(streams=100)), (">", PREFACE + settings())]
    talk.answer(1, "hello")
    talk.ask(3, "more")
    talk.answer(3, "fine")
    events = play(talk.segments)
    assert pairs(events) == {"hi": "hello", "more": "fine"}
    assert all(e["confidence"]["completeness"] == "full" for e in events)


def test_an_upgrade_that_is_refused() -> None:
    refused = request("hi").replace(b"\r\nHost", b"\r\nUpgrade: h2c\r\nHost", 1)
    body = answered("hello")
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert pairs(play([(">", refused), ("<", plain), (">", refused), ("<", plain)])) == {"hi": "hello"}


def test_hosts_that_are_never_ai_are_dismissed() -> None:
    talk = Talk()
    talk.send(talk.client.head(1, [(":method", "GET"), *request_fields("/", "eu.i.posthog.com")[1:]], True))
    talk.ask(3, "hi")
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    for n, (direction, segment) in enumerate(talk.segments):
        engine.feed(1, direction, START + n * TICK, segment)
    stats = engine.stats()
    assert events_of(engine) == []
    assert stats["connections_dismissed"] == 1
    assert stats["dismissed_bytes"] == len(talk.segments[-1][1])


# ---- bytes that are no HTTP/2 ----


def test_a_block_that_cannot_be_read_costs_only_its_fields() -> None:
    talk = Talk()
    talk.ask(1, "one")
    talk.answer(1, "a1")
    talk.send(frame(HEADERS, END_HEADERS, 3, b"\xff\xff\xff\xff\xff\xff"), data(3, asked("two"), end=True))
    talk.answer(3, "a2")
    talk.ask(5, "three")
    talk.answer(5, "a3")
    events = play(talk.segments)
    assert pairs(events) == {"one": "a1", "two": "a2", "three": "a3"}
    found = {e["data"]["messages"][0]["content"]: "headers_lost" in reasons(e) for e in by_type(events, "ai.request")}
    assert found["two"]
    assert not found["one"]


@pytest.mark.parametrize(
    "wrong",
    [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, END_HEADERS, 2, b"\x82"),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(PING, 0, 0, b"1234567"),
        frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        frame(DATA, 8, 1, b"\x09" + bytes(5)),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_frame_loses_the_framing_and_then_goes_on(wrong: bytes) -> None:
    talk = Talk()
    talk.ask(1, "one")
    talk.answer(1, "a1")
    talk.send(wrong)
    talk.ask(3, "two")
    talk.answer(3, "a2")
    events = feed_all(talk.segments)
    assert pairs(events) == {"one": "a1", "two": "a2"}
    engine = Engine()
    for n, (direction, segment) in enumerate(talk.segments):
        engine.feed(1, direction, START + n * TICK, segment)
    assert engine.stats()["resyncs"] == 1


def test_idle_connections_are_small() -> None:
    """Two full tables of 4 KiB, and no stream open."""
    from oisp_core.reassemble.http2 import Http2Parser

    total = 0
    for role in ("request", "response"):
        parser = Http2Parser(role)
        talk = Talk()
        parser.feed(talk.segments[0][1] if role == "request" else talk.segments[1][1])
        first = (":status", "200") if role == "response" else (":method", "GET")
        for n in range(1, 401, 2):
            fields = [first, *((f"x-{n}-{k}", "v" * (n * k % 40)) for k in range(6))]
            parser.feed(talk.client.head(n, fields, end=True))
        assert parser.held == 0
        total += parser.memory
    assert total <= 12288 - 1500  # what stands around the two parsers: connection, flow, streams


def test_bytewise_is_the_same_after_a_hole_too() -> None:
    talk = Talk()
    for i in (1, 3, 5):
        talk.ask(i, f"q{i}" + "x" * 300)
        talk.answer(i, f"a{i}" + "y" * 300)
    hole = 7  # the request on stream 3

    def played(cut: Any) -> list[Event]:
        engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
        at = {">": 0, "<": 0}
        for n, (direction, segment) in enumerate(talk.segments):
            for piece in cut((direction, segment)) if n < hole else [segment]:
                if n != hole:
                    engine.feed(1, direction, START + n * TICK, piece, at[direction])
                at[direction] += len(piece)
        engine.close(1)
        return events_of(engine)

    assert played(bytewise) == played(lambda segment: [segment[1]])
