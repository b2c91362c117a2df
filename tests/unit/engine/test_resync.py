# SPDX-License-Identifier: Apache-2.0
"""Framing that was lost: where reading goes on, and what a producer without offsets can still be told."""

from __future__ import annotations

import itertools
import random
from typing import Any

from oisp_core import Engine
from tests.reference.wire import START, TICK, Segment, answer, by_type, events_of, request, stream

COUNT = 12


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [e["data"].get("provider_request_id", "") for e in by_type(events, "ai.response")]


def test_three_messages_in_a_row_make_a_boundary() -> None:
    """A segment begins inside a body, after a hole: what follows is found, and counts from the first."""
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, b"".join(request(f"q{i}") for i in range(6)))
    first = answer("a0", ident="r0")
    engine.feed(1, "<", START + 1, first[:100])
    engine.gap(1, "<")
    rest = answer("a1", ident="r1")[120:] + b"".join(answer(f"a{i}", ident=f"r{i}") for i in range(2, 6))
    engine.feed(1, "<", START + 2, rest)
    engine.close(1)
    events = events_of(engine)
    assert set(ids(events)) >= {"r2", "r3", "r4", "r5"}
    assert engine.stats()["resync_bytes"] == len(answer("a1", ident="r1")[120:])


def test_a_head_inside_a_body_is_no_boundary() -> None:
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, request("q0") + request("q1"))
    engine.feed(1, "<", START + 1, answer("a0", ident="r0")[:90])
    engine.gap(1, "<")
    quoted = b"it quotes HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef, and goes on"
    engine.feed(1, "<", START + 2, quoted)
    engine.feed(1, "<", START + 3, answer("a1", ident="r1"))
    engine.close(1)
    assert "r1" in ids(events_of(engine))


def test_at_the_end_fewer_suffice_and_that_is_said() -> None:
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, request("q0") + request("q1"))
    engine.feed(1, "<", START + 1, answer("a0", ident="r0")[:90])
    engine.gap(1, "<")
    engine.feed(1, "<", START + 2, answer("a0", ident="r0")[130:] + answer("a1", ident="r1"))
    engine.close(1)
    (last,) = [e for e in by_type(events_of(engine), "ai.response") if e["data"].get("provider_request_id") == "r1"]
    assert "resync_unconfirmed" in last["confidence"]["reasons"]
    assert last["data"]["choices"][0]["message"]["content"] == "a1"


def test_a_long_stretch_without_a_boundary_is_given_up() -> None:
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, request("q"))
    engine.gap(1, "<")
    for index in range(64):
        engine.feed(1, "<", START + index, b"x" * 16384)
    assert engine.stats()["held_bytes"] < 1 << 18
    engine.feed(1, ">", START + 100, request("next"))
    engine.feed(1, "<", START + 101, answer("there", ident="r"))
    engine.close(1)
    assert "r" in ids(events_of(engine))


def conversation(seed: int) -> tuple[list[Segment], list[int]]:
    """Segments, and whose each is: question i has answer i, sent one after the other."""
    rng = random.Random(seed)
    segments: list[Segment] = []
    owners: list[int] = []
    for i in range(COUNT):
        text = f"answer {i} " + "y" * rng.randint(20, 400)
        reply = answer(text, ident=f"id-{i}") if rng.random() < 0.5 else stream([text[:9], text[9:]], ident=f"id-{i}")
        cuts = sorted({0, len(reply), *(rng.randrange(1, len(reply)) for _ in range(rng.randint(0, 4)))})
        pieces = [(">", request(f"question {i} " + "x" * rng.randint(10, 300)))]
        pieces += [("<", reply[a:b]) for a, b in itertools.pairwise(cuts)]
        segments += pieces
        owners += [i] * len(pieces)
    return segments, owners


def test_without_offsets(capsys: Any) -> None:
    """Nobody tells that segments are missing. No answer holds text of two; the rate of wrong pairs is measured."""
    pairs = wrong = mixed = disagree = 0
    for seed in range(200):
        rng = random.Random(seed)
        segments, _ = conversation(seed)
        dropped = set(rng.sample(range(len(segments)), rng.randint(1, 4)))
        engine = Engine(content="full", id_seed=1)
        for index, (way, data) in enumerate(segments):
            if index not in dropped:
                engine.feed(1, way, START + index * TICK, data)
        engine.close(1)
        events = events_of(engine)
        asked = {
            e["data"]["request_id"]: e["data"]["messages"][0]["content"].split()[1]
            for e in by_type(events, "ai.request")
            if e["data"].get("messages") and e["data"]["messages"][0].get("content")
        }
        for event in by_type(events, "ai.response"):
            text = "".join(c["message"].get("content", "") for c in event["data"].get("choices", []))
            mixed += text.count("answer") > 1 or text.count("HTTP/1.1") > 0
            ident = event["data"].get("provider_request_id")
            number = asked.get(event["data"]["request_id"])
            if ident and number:
                pairs += 1
                wrong += ident != f"id-{number}"
        disagree += any("loss_undetectable" in e["confidence"].get("limitations", []) for e in events)
    with capsys.disabled():
        print(
            f"\n  without offsets: {wrong} of {pairs} pairs wrong; {disagree} of 200 connections say loss_undetectable"
        )
    assert mixed == 0
    assert pairs > 1500
    assert wrong / pairs < 0.01
    assert disagree > 100


def test_a_connection_whose_counts_agree_says_nothing() -> None:
    segments, _ = conversation(1)
    engine = Engine(content="full", id_seed=1)
    for index, (way, data) in enumerate(segments):
        engine.feed(1, way, START + index * TICK, data)
    engine.close(1)
    events = events_of(engine)
    assert not [e for e in events if "limitations" in e["confidence"]]
    assert ids(events) == [f"id-{i}" for i in range(COUNT)]
