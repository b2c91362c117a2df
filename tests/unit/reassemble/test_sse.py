# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: every vector whole, byte by byte and at every split; bounds and memory of the parser."""

from __future__ import annotations

import pytest

from oisp_core.reassemble.sse import SseParser
from oisp_core.reassemble.tokens import Status, TokenKind
from tests.reference.vectors import Vector, every_split, load


@pytest.mark.parametrize("vector", load("sse"), ids=str)
def test_vector(vector: Vector) -> None:
    options = {k: int(v) for k, v in vector.options.items()}
    for split, log in every_split(lambda: SseParser(**options), vector):
        assert log == vector.log, split


def test_more_events_than_tokens_in_the_array() -> None:
    parser = SseParser()
    events = parser.feed(b"".join(b"data: %d\n\n" % i for i in range(200)))
    assert [e.data for e in events] == [b"%d" % i for i in range(200)]
    assert parser.held == 0


def test_a_large_buffer_is_given_back() -> None:
    parser = SseParser()
    parser.feed(b"data: " + b"x" * 100_000)
    assert parser.held >= 100_000
    assert [len(e.data) for e in parser.feed(b"\n\ndata: y\n\n")] == [100_000, 1]
    assert parser.held <= 4096


def test_limit_is_sticky_until_reset() -> None:
    parser = SseParser(event_max=10)
    assert parser.feed(b"data: 12345678\n\n") == []
    assert parser.status == Status.LIMIT
    assert parser.feed(b"data: 1\n\n") == []
    parser.reset()
    assert [e.data for e in parser.feed(b"data: 1\n\n")] == [b"1"]


def test_comments_do_not_count_against_an_event() -> None:
    parser = SseParser(event_max=20)
    assert parser.feed(b": keep alive\n" * 100 + b"data: 1\n\n")[0].data == b"1"


@pytest.mark.parametrize("lost", range(1, 12))
def test_gap_gives_no_event_that_mixes_two(lost: int) -> None:
    """Whatever `lost` bytes from the middle are missing, each event is one that was sent, or marked."""
    stream = b"event: a\ndata: 11\n\nevent: b\ndata: 22\n\nevent: c\ndata: 33\n\n"
    sent = {(b"a", b"11"), (b"b", b"22"), (b"c", b"33")}
    for at in range(len(stream) - lost):
        parser = SseParser()
        tokens = parser.feed(stream[:at]) + parser.gap(lost) + parser.feed(stream[at + lost :]) + parser.finish()
        events = [t for t in tokens if t.kind == TokenKind.EVENT]
        assert all((e.name, e.data) in sent for e in events if not e.flags & 4)
        assert all(e.data in (b"11", b"22", b"33") for e in events)
