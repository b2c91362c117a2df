# SPDX-License-Identifier: Apache-2.0
"""The same bytes give the same lines, however they are cut and whichever direction comes first."""

from __future__ import annotations

import pytest

from oisp_core import Engine
from tests.reference.wire import (
    START,
    Segment,
    answer,
    by_type,
    bytewise,
    cut_at_random,
    events_of,
    feed_all,
    play,
    request,
    stream,
)

TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}]
CONVERSATION: list[Segment] = [
    (">", request("first é \U0001f600", tools=TOOLS)),
    ("<", answer('one \\ " \n two')),
    (">", request("second", stream=True)),
    ("<", b"HTTP/1.1 100 Continue\r\n\r\n" + stream(["a", "b\U0001f600", "c"])),
    (">", request("third")),
    ("<", answer("", status="429 Too Many Requests")),
]


def test_byte_by_byte() -> None:
    whole = feed_all(CONVERSATION, chunks=True)
    assert len(by_type(whole, "ai.request")) == len(by_type(whole, "ai.response")) == 3
    assert feed_all(CONVERSATION, bytewise, chunks=True) == whole


@pytest.mark.parametrize("seed", range(20))
def test_cut_at_random(seed: int) -> None:
    assert feed_all(CONVERSATION, cut_at_random(seed), chunks=True) == feed_all(CONVERSATION, chunks=True)


def test_at_every_place_of_a_short_exchange() -> None:
    exchange: list[Segment] = [(">", request("x")), ("<", stream(["y", "z"]))]
    whole = feed_all(exchange)
    for place in range(1, max(len(d) for _, d in exchange)):
        assert feed_all(exchange, lambda s, p=place: [s[1][:p], s[1][p:]] if len(s[1]) > p else [s[1]]) == whole, place


def test_answer_arrives_before_its_request() -> None:
    """Two threads of a process: the pieces come out of order, their times are right."""

    def told(order: list[int]) -> list[str]:
        engine = Engine(content="full", id_seed=1)
        for index in order:
            direction, data = CONVERSATION[index]
            engine.feed(1, direction, START + index * 1000, data)
        engine.close(1)
        events = events_of(engine)
        prompts = {e["data"]["request_id"]: e["data"]["messages"] for e in by_type(events, "ai.request")}
        answers = by_type(events, "ai.response")
        return sorted(repr((prompts.get(e["data"]["request_id"]), e["data"].get("choices"), e["ts"])) for e in answers)

    ordered = told([0, 1, 2, 3, 4, 5])
    assert len(ordered) == 3
    assert told([1, 0, 3, 2, 5, 4]) == ordered


def test_pipelined_requests_pair_in_order() -> None:
    requests = request("1") + request("2") + request("3")
    events = play([(">", requests), ("<", answer("a", ident="r1") + answer("b", ident="r2") + answer("c", ident="r3"))])
    pairs = {e["data"]["request_id"]: e["data"]["messages"][0]["content"] for e in by_type(events, "ai.request")}
    answered = [
        (pairs[e["data"]["request_id"]], e["data"]["provider_request_id"]) for e in by_type(events, "ai.response")
    ]
    assert answered == [("1", "r1"), ("2", "r2"), ("3", "r3")]
