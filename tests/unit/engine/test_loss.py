# SPDX-License-Identifier: Apache-2.0
"""Pieces that never came: never a wrong pair, every untouched message exact, every touched one says what is missing."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.wire import START, Segment, answer, by_type, events_of, feed_all, request, stream

COUNT = 12


def conversation() -> list[Segment]:
    """Long keep-alive: question i has answer i; heads and bodies lie in segments of their own, streams in many."""
    segments: list[Segment] = []
    for i in range(COUNT):
        asked = request(f"question {i} " + "x" * 40)
        head, _, body = asked.partition(b"\r\n\r\n")
        segments += [(">", asked)] if i % 3 else [(">", head + b"\r\n\r\n"), (">", body)]
        if i % 2:
            reply = answer(f"answer {i} " + "y" * 40, ident=f"id-{i}")
            segments += [("<", reply[:90]), ("<", reply[90:200]), ("<", reply[200:])]
        else:
            reply = stream([f"answer {i} ", "y" * 20, "y" * 20], ident=f"id-{i}")
            at = [0, *(m for m in range(60, len(reply), 130)), len(reply)]
            segments += [("<", reply[a:b]) for a, b in itertools.pairwise(at)]
    return segments


SEGMENTS = conversation()


def owner(index: int) -> tuple[int, str]:
    """Which exchange a segment belongs to."""
    exchange = -1
    last = "<"
    for direction, _ in SEGMENTS[: index + 1]:
        if direction == ">" and last == "<":
            exchange += 1
        last = direction
    return exchange, SEGMENTS[index][0]


def check(dropped: frozenset[int]) -> None:
    events = feed_all(SEGMENTS, offsets=True, drop=dropped)
    touched = {owner(i) for i in dropped}
    asked = {}
    for event in by_type(events, "ai.request"):
        messages = event["data"].get("messages") or [{}]
        text = messages[0].get("content", "")
        if text:
            asked[event["data"]["request_id"]] = int(text.split()[1])
    exact = set()
    for event in by_type(events, "ai.response"):
        number = asked.get(event["data"]["request_id"])
        ident = event["data"].get("provider_request_id")
        if ident is not None and number is not None:
            assert ident == f"id-{number}", (dropped, ident, number)
        choices = event["data"].get("choices") or [{}]
        said = number if ident is None else int(ident.removeprefix("id-"))
        if choices[0].get("message", {}).get("content") == f"answer {said} " + "y" * 40:
            exact.add(said)
            whole = event["confidence"]["completeness"] == "full"
            assert (said, "<") in touched or number is None or whole, (dropped, event["confidence"])
            assert "related_events" in event or "unpaired_response" in event["confidence"]["reasons"]
    for number in range(COUNT):
        if (number, ">") not in touched:
            assert number in asked.values(), (dropped, number, "request is gone")
    for number in range(COUNT):
        if (number, "<") not in touched and (number, ">") not in touched:
            assert number in exact, (dropped, number, "answer is not exact")


@pytest.mark.parametrize("index", range(len(SEGMENTS)))
def test_one_segment_lost(index: int) -> None:
    check(frozenset({index}))


def test_segments_lost_at_random() -> None:
    rng = random.Random(3)
    for _ in range(300):
        check(frozenset(rng.sample(range(len(SEGMENTS)), rng.randint(2, 12))))


def limitation(event: dict[str, Any], name: str) -> int:
    for word in event["confidence"].get("limitations", []):
        key, _, value = word.partition("=")
        if key == name:
            return int(value)
    return 0


def test_a_hole_in_a_body_is_counted_to_the_byte() -> None:
    reply = answer("z" * 4000)
    engine = Engine(content="full", id_seed=1)
    asked = request("q")
    engine.feed(1, ">", START, asked, 0)
    engine.feed(1, "<", START + 1, reply[:1000], 0)
    engine.feed(1, "<", START + 2, reply[1777:], 1777)
    engine.feed(1, ">", START + 3, request("next"), len(asked))
    engine.feed(1, "<", START + 4, answer("whole"), len(reply))
    first, second = by_type(events_of(engine), "ai.response")
    assert limitation(first, "response_bytes_lost") == 777
    assert first["confidence"]["completeness"] == "partial"
    assert first["confidence"]["level"] != "high"
    assert second["confidence"]["completeness"] == "full"
    assert second["data"]["choices"][0]["message"]["content"] == "whole"


def test_told_of_a_gap() -> None:
    engine = Engine(content="full", id_seed=1)
    asked = request("w" * 100)
    engine.feed(1, ">", START, asked[:-50])
    engine.gap(1, ">", 50)
    engine.feed(1, "<", START + 1, answer())
    events = events_of(engine)
    assert limitation(by_type(events, "ai.request")[0], "request_bytes_lost") == 50
    assert by_type(events, "ai.response")[0]["confidence"]["completeness"] == "full"


def test_joined_in_the_middle_of_an_answer() -> None:
    engine = Engine(content="full", id_seed=1)
    engine.gap(1, "<")
    engine.feed(1, "<", START, b"e rest of an answer that began before\r\n0\r\n\r\n")
    engine.feed(1, ">", START + 1, request("new"))
    engine.feed(1, "<", START + 2, answer("reply"))
    events = events_of(engine)
    (response,) = by_type(events, "ai.response")
    assert response["data"]["choices"][0]["message"]["content"] == "reply"
    assert "joined_midway" in response["confidence"]["reasons"]


def test_an_answer_that_began_before_the_request_is_not_its_answer() -> None:
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, "<", START, answer("to somebody else"))
    engine.feed(1, ">", START + 10, request("mine"))
    engine.feed(1, "<", START + 20, answer("to me"))
    engine.close(1)
    events = events_of(engine)
    paired = [e for e in by_type(events, "ai.response") if "related_events" in e]
    assert [e["data"]["choices"][0]["message"]["content"] for e in paired] == ["to me"]


def test_repeated_bytes_are_taken_once() -> None:
    engine = Engine(content="full", id_seed=1)
    asked = request("q")
    engine.feed(1, ">", START, asked[:100], 0)
    engine.feed(1, ">", START, asked[50:], 50)
    engine.feed(1, "<", START, answer(), 0)
    assert len(by_type(events_of(engine), "ai.response")) == 1
    assert engine.stats()["repeated_bytes"] == 50
