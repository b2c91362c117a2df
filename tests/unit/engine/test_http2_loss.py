# SPDX-License-Identifier: Apache-2.0
"""Pieces of HTTP/2 that never came: never a wrong pair, every untouched message exact, every touched one says so."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.h2wire import JSON, SSE, Talk, answered, asked, data, request_fields, streamed
from tests.reference.wire import START, TICK, Event, by_type, events_of

COUNT = 12
PAD = "y" * 40
Owner = tuple[int, str]
"""Number of the exchange, and the side of it."""


def conversation() -> tuple[list[tuple[str, bytes]], list[Owner | None]]:
    """Twelve exchanges, three at a time, whose frames interleave; each segment belongs to one side of one of them.
    Lengths are announced by most requests and by whole answers, not by streams."""
    talk = Talk()
    owners: list[Owner | None] = [None] * len(talk.segments)

    def own(number: int, side: str) -> None:
        owners.extend([(number, side)] * (len(talk.segments) - len(owners)))

    for first in range(0, COUNT, 3):
        group = range(first, first + 3)
        for n in group:
            body = asked(f"question {n} {PAD}", stream=n % 2 == 0)
            length = [] if n % 4 == 3 else [("content-length", str(len(body)))]
            talk.send(talk.client.head(2 * n + 1, request_fields() + length))
            own(n, ">")
        for n in group:
            body = asked(f"question {n} {PAD}", stream=n % 2 == 0)
            talk.send(data(2 * n + 1, body[:50]))
            talk.send(data(2 * n + 1, body[50:], end=True))
            own(n, ">")
        pieces: list[list[bytes]] = []
        for n in group:
            if n % 2:
                body = answered(f"answer {n} {PAD}", f"id-{n}")
                talk.reply(talk.server.head(2 * n + 1, [*JSON, ("content-length", str(len(body)))]))
                pieces.append([body[:70], body[70:150], body[150:]])
            else:
                talk.reply(talk.server.head(2 * n + 1, SSE))
                pieces.append(streamed([f"answer {n} ", PAD[:20], PAD[20:]], f"id-{n}"))
            own(n, "<")
        while any(pieces):
            for k, n in enumerate(group):
                if pieces[k]:
                    piece = pieces[k].pop(0)
                    talk.reply(data(2 * n + 1, piece, end=not pieces[k]))
                    own(n, "<")
    return talk.segments, owners


SEGMENTS, OWNERS = conversation()


def played(dropped: frozenset[int], *, offsets: bool = True) -> list[Event]:
    """The events of the connection without those segments."""
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    for index, (direction, segment) in enumerate(SEGMENTS):
        if index not in dropped:
            engine.feed(1, direction, START + index * TICK, segment, at[direction] if offsets else None)
        at[direction] += len(segment)
    engine.close(1)
    return events_of(engine)


def number_of(text: str) -> int:
    return int(text.split()[1])


def question_of(event: Event) -> str:
    return str((event["data"].get("messages") or [{}])[0].get("content", ""))


def marked(event: Event) -> bool:
    """It says that something is missing."""
    words = {"request_bytes_lost", "response_bytes_lost", "request_truncated", "response_truncated", "headers_lost"}
    return event["confidence"]["completeness"] != "full" or bool(words & set(event["confidence"]["reasons"]))


def check(dropped: frozenset[int], events: list[Event]) -> None:
    touched = {OWNERS[i] for i in dropped} - {None}
    questions: dict[str, int] = {}
    for event in by_type(events, "ai.request"):
        text = question_of(event)
        if not re.match(r"question \d+ ", text):
            assert marked(event), (dropped, event)
            continue
        number = number_of(text)
        questions[event["data"]["request_id"]] = number
        if (number, ">") in touched:
            assert marked(event), (dropped, number, event["confidence"])
        else:
            assert text == f"question {number} {PAD}", (dropped, number)
    exact = set()
    for event in by_type(events, "ai.response"):
        number = questions.get(event["data"]["request_id"])
        ident = event["data"].get("provider_request_id")
        if ident is not None and number is not None:
            assert ident == f"id-{number}", (dropped, ident, number)
        said = number if ident is None else int(ident.removeprefix("id-"))
        text = (event["data"].get("choices") or [{}])[0].get("message", {}).get("content", "")
        if (said, "<") in touched:
            assert marked(event), (dropped, said, event["confidence"])
        elif text == f"answer {said} {PAD}":
            exact.add(said)
    for number in range(COUNT):
        if (number, ">") not in touched:
            assert number in questions.values(), (dropped, number, "request is gone")
            if (number, "<") not in touched:
                assert number in exact, (dropped, number, "answer is not exact")


@pytest.mark.parametrize("index", range(len(SEGMENTS)))
def test_one_segment_lost(index: int) -> None:
    dropped = frozenset({index})
    check(dropped, played(dropped))


def test_segments_lost_at_random() -> None:
    rng = random.Random(3)
    for _ in range(250):
        dropped = frozenset(rng.sample(range(len(SEGMENTS)), rng.randint(2, 12)))
        check(dropped, played(dropped))


@pytest.mark.full
def test_two_segments_lost_of_all_pairs() -> None:
    for a in range(len(SEGMENTS)):
        for b in range(a):
            dropped = frozenset({a, b})
            check(dropped, played(dropped))


def test_nothing_lost() -> None:
    events = played(frozenset())
    check(frozenset(), events)
    assert not any(map(marked, events))
    assert len(by_type(events, "ai.response")) == COUNT


def test_lost_without_offsets_never_pairs_wrongly() -> None:
    rng = random.Random(5)
    for _ in range(100):
        dropped = frozenset(rng.sample(range(len(SEGMENTS)), rng.randint(1, 6)))
        check_pairs(played(dropped, offsets=False))


def check_pairs(events: list[Event]) -> None:
    questions = [e for e in by_type(events, "ai.request") if re.match(r"question \d+ ", question_of(e))]
    asked_by = {e["data"]["request_id"]: number_of(question_of(e)) for e in questions}
    for event in by_type(events, "ai.response"):
        number, ident = asked_by.get(event["data"]["request_id"]), event["data"].get("provider_request_id")
        assert number is None or ident is None or ident == f"id-{number}"


def limitation(event: dict[str, Any], name: str) -> int:
    for word in event["confidence"].get("limitations", []):
        key, _, value = word.partition("=")
        if key == name:
            return int(value)
    return 0


def one_exchange(cut: tuple[int, int], *, length: bool = True, which: str = "<", more: int = 40) -> tuple[Event, Event]:
    """Bytes [cut) of the body of the answer (or the request) never come; around it other streams go on."""
    talk = Talk()
    body = asked("q" * 2000)
    reply = answered("a" * 2000)
    announced = [("content-length", str(len(body)))] if length else []
    talk.send(talk.client.head(1, request_fields() + announced), data(1, body[:900]))
    talk.send(data(1, body[900:], end=True))
    talk.reply(
        talk.server.head(1, JSON + ([("content-length", str(len(reply)))] if length else [])), data(1, reply[:900])
    )
    talk.reply(data(1, reply[900:], end=True))
    talk.ask(3, "next")
    talk.answer(3, "fine")
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    start = {d: next(i for i, (s, _) in enumerate(talk.segments) if i > 2 and s == d) for d in "<>"}
    for index, (direction, segment) in enumerate(talk.segments):
        pieces = [(0, segment)]
        if direction == which and index in (start[which], start[which] + 1):
            first = sum(len(s) for d, s in talk.segments[:index] if d == which)
            low, high = max(cut[0] - first, 0), max(min(cut[1] - first, len(segment)), 0)
            pieces = [(0, segment[:low]), (high, segment[high:])] if low < high else pieces
        for offset, piece in pieces:
            if piece:
                engine.feed(1, direction, START + index * TICK, piece, at[direction] + offset)
        at[direction] += len(segment)
    engine.close(1)
    events = events_of(engine)
    first_answer = next(e for e in by_type(events, "ai.response") if "fine" not in str(e["data"].get("choices")))
    assert any("fine" in str(e["data"].get("choices")) for e in by_type(events, "ai.response"))
    return by_type(events, "ai.request")[0], first_answer


def place(which: str) -> int:
    """Offset of a byte well inside the first DATA frame of that side."""
    talk = Talk()
    talk.ask(1, "x")
    before = sum(len(s) for d, s in talk.segments[:3] if d == which)
    return before + 500


def test_a_hole_in_a_frame_is_counted_to_the_byte() -> None:
    at = place("<")
    _, answer = one_exchange((at, at + 123))
    assert limitation(answer, "response_bytes_lost") == 123
    assert answer["confidence"]["completeness"] == "partial"
    at = place(">")
    request, answer = one_exchange((at, at + 77), which=">")
    assert limitation(request, "request_bytes_lost") == 77
    assert answer["confidence"]["completeness"] == "full"


def test_a_hole_over_a_frame_head_is_counted_by_the_length() -> None:
    """From inside one DATA frame into the next: the announced length says how many bytes of the body are gone."""
    at = place("<")
    _, answer = one_exchange((at, at + 700))
    assert answer["confidence"]["completeness"] == "partial"
    lost = limitation(answer, "response_bytes_lost")
    body = len(answered("a" * 2000))
    assert 700 - 9 <= lost <= body


def test_a_lost_frame_of_another_stream_leaves_a_body_of_known_length_whole() -> None:
    talk = Talk()
    one, two = answered("one " * 50, "id-1"), answered("two " * 50, "id-2")
    talk.ask(1, "first")
    talk.ask(3, "second")
    for stream, body in ((1, one), (3, two)):
        talk.reply(talk.server.head(stream, [*JSON, ("content-length", str(len(body)))]))
    talk.reply(data(1, one[:100]))
    talk.reply(data(3, two[:100]))  # lost
    talk.reply(data(1, one[100:], end=True))
    talk.reply(data(3, two[100:], end=True))
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    lost = len(talk.segments) - 3
    for index, (direction, segment) in enumerate(talk.segments):
        if index != lost:
            engine.feed(1, direction, START + index * TICK, segment, at[direction])
        at[direction] += len(segment)
    first, second = by_type(events_of(engine), "ai.response")
    assert first["confidence"]["completeness"] == "full"
    assert first["data"]["choices"][0]["message"]["content"] == "one " * 50
    assert second["confidence"]["completeness"] == "partial"
    assert limitation(second, "response_bytes_lost") == 100


def test_a_lost_head_of_an_answer() -> None:
    talk = Talk()
    talk.ask(1, "first", stream=True)
    talk.reply(talk.server.head(1, SSE))  # lost
    for n, event in enumerate(events := streamed(["one", " two"])):
        talk.reply(data(1, event, end=n == len(events) - 1))
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    for index, (direction, segment) in enumerate(talk.segments):
        if index != 4:
            engine.feed(1, direction, START + index * TICK, segment, at[direction])
        at[direction] += len(segment)
    (answer,) = by_type(events_of(engine), "ai.response")
    assert answer["data"]["choices"][0]["message"]["content"] == "one two"
    assert "headers_lost" in answer["confidence"]["reasons"]
    assert answer["confidence"]["completeness"] == "partial"
    assert not answer["data"].get("status_code")


def test_a_lost_end_of_a_request_does_not_hold_its_answer_back() -> None:
    talk = Talk()
    body = asked("hi")
    talk.send(talk.client.head(1, [*request_fields(), ("content-length", str(len(body)))]))
    talk.send(data(1, body))
    talk.send(data(1, b"", end=True))  # lost
    talk.answer(1, "hello")
    talk.ask(3, "next")
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    at = {">": 0, "<": 0}
    for index, (direction, segment) in enumerate(talk.segments):
        if index != 5:
            engine.feed(1, direction, START + index * TICK, segment, at[direction])
        at[direction] += len(segment)
    events = events_of(engine)
    assert [e["data"]["messages"][0]["content"] for e in by_type(events, "ai.request")] == ["hi", "next"]
    assert by_type(events, "ai.response")[0]["data"]["choices"][0]["message"]["content"] == "hello"
    assert all(e["confidence"]["completeness"] == "full" for e in by_type(events, "ai.request"))


@pytest.mark.parametrize("which", ["<", ">"])
def test_at_the_end_fewer_frames_confirm_a_boundary_and_that_is_said(which: str) -> None:
    """Behind a hole, in the middle of a segment: two frames, and then nothing more."""
    talk = Talk()
    talk.ask(1, "first")
    talk.answer(1, "one")
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    body = asked("second") if which == ">" else answered("two", "id-3")
    if which == "<":
        talk.ask(3, "second")
    for index, (direction, segment) in enumerate(talk.segments):
        engine.feed(1, direction, START + index * TICK, segment)
    engine.gap(1, which)
    side, head = (talk.server, JSON) if which == "<" else (talk.client, request_fields())
    tail = b"the rest of a frame whose head was lost, " * 3
    engine.feed(1, which, START + 100 * TICK, tail + side.head(3, head) + data(3, body, end=True))
    engine.close(1, START + 200 * TICK)
    events = events_of(engine)
    event = by_type(events, "ai.response" if which == "<" else "ai.request")[-1]
    found = event["data"]["choices"][0]["message"] if which == "<" else event["data"]["messages"][0]
    assert found["content"] == ("two" if which == "<" else "second")
    assert "resync_unconfirmed" in event["confidence"]["reasons"]
    assert sum("resync_unconfirmed" in e["confidence"]["reasons"] for e in events) == 1
    if which == "<":
        assert event["ts"].endswith(":20.100000Z")  # when it came, not when the connection ended


def test_at_the_end_text_is_no_frame() -> None:
    talk = Talk()
    talk.ask(1, "first")
    engine = Engine(content="full", id_seed=1, limits={"linked_calls": 64})
    for index, (direction, segment) in enumerate(talk.segments):
        engine.feed(1, direction, START + index * TICK, segment)
    engine.gap(1, "<")
    engine.feed(1, "<", START + 100 * TICK, b"some text that was in a frame, and nothing else" * 20)
    engine.close(1)
    assert not any("resync_unconfirmed" in e["confidence"]["reasons"] for e in events_of(engine))
