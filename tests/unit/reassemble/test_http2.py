# SPDX-License-Identifier: Apache-2.0
"""HTTP/2: every vector whole, byte by byte and at every split; boundaries found in the middle; bounds and memory."""

from __future__ import annotations

import random

import pytest

from oisp_core.reassemble.http2 import Http2Parser, role_of
from oisp_core.reassemble.tokens import HeadFlags, Status, TokenKind
from tests.reference.h2wire import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    WINDOW_UPDATE,
    Side,
    data,
    frame,
    settings,
)
from tests.reference.vectors import Vector, every_split, load

START = PREFACE + settings()
GET = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a.b")]


@pytest.mark.parametrize("vector", load("http2"), ids=str)
def test_vector(vector: Vector) -> None:
    options = dict(vector.options)
    role = options.pop("role", "request")
    for split, log in every_split(lambda: Http2Parser(role, **{k: int(v) for k, v in options.items()}), vector):
        assert log == vector.log, split


def kinds(tokens: list) -> list[tuple[str, int]]:
    return [(TokenKind(t.kind).name, t.stream) for t in tokens]


def test_failure_is_sticky_until_reset() -> None:
    parser = Http2Parser("request")
    parser.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert parser.status == Status.BAD
    assert parser.feed(START) == []
    assert parser.gap(3) == []
    parser.reset()
    assert parser.feed(START) == []
    assert parser.status == Status.OK


@pytest.mark.parametrize("fields", [1, 40, 63, 64, 65, 200])
def test_a_head_of_more_fields_than_tokens_in_the_array(fields: int) -> None:
    given = [*GET, *((f"n{i}", str(i)) for i in range(fields))]
    for size in (20, 1000, 16000):
        side, parser = Side(), Http2Parser("request")
        wire = START + data(1, b"x") + b"".join(side.continued(1, given, size, end=True))
        tokens = parser.feed(wire)
        assert [(t.name.decode(), t.data.decode()) for t in tokens if t.kind == TokenKind.FIELD] == given
        assert kinds(tokens[-2:]) == [("HEAD_END", 1), ("END", 1)]
        assert parser.held == 0 or parser.feed(b"") == []


def test_memory_is_held_only_inside_a_split_frame() -> None:
    parser, head = Http2Parser("request"), Side().head(1, GET)
    parser.feed(START + head[:-1])
    assert parser.held > 0
    parser.feed(head[-1:])
    assert parser.idle
    parser.feed(data(1, b"x"))
    assert parser.held == 0


def test_a_larger_frame_that_the_other_side_allows() -> None:
    body = data(1, b"x" * 20000)
    parser = Http2Parser("request")
    parser.feed(START + body)
    assert parser.status == Status.BAD
    parser.reset()
    parser.setting(5, 32768)
    assert sum(len(t.data) for t in parser.feed(START + body)) == 20000


def test_settings_of_the_other_side_that_were_lost_allow_anything() -> None:
    parser = Http2Parser("request")
    parser.setting(None)
    assert sum(len(t.data) for t in parser.feed(START + data(1, b"x" * 200000))) == 200000
    tokens = parser.feed(frame(HEADERS, END_HEADERS, 3, b"\x3f\xe1\xff\x03\x82"))
    assert kinds(tokens) == [("FIELD", 3), ("HEAD_END", 3)]


@pytest.mark.parametrize("numbers", [(-1, 0), (1 << 16, 0), (1, -1), (1, 1 << 32)])
def test_numbers_that_no_setting_has(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a setting has 16 bits"):
        Http2Parser("request").setting(*numbers)


def test_another_role_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="role must be 'request' or 'response', got 'client'"):
        Http2Parser("client")  # type: ignore[arg-type]


# ---- boundaries ----


def seeking(role: str = "response") -> Http2Parser:
    return Http2Parser(role, midway=True)  # type: ignore[arg-type]


def test_a_segment_that_begins_with_a_frame_is_a_boundary_at_once() -> None:
    parser = seeking()
    assert kinds(parser.feed(data(5, b"x" * 100)[:50])) == [("DATA", 5)]
    assert not parser.seeking
    assert parser.skipped == 0


def test_a_segment_that_does_not_is_passed_over() -> None:
    parser = seeking()
    assert parser.feed(b'"content":"some text of a body"}') == []
    assert parser.seeking
    assert kinds(parser.feed(data(7, b"y"))) == [("DATA", 7)]
    assert parser.skipped == 32


def test_a_head_in_two_segments() -> None:
    parser, wire = seeking(), data(7, b"hello", end=True)
    assert parser.feed(wire[:4]) == []
    assert kinds(parser.feed(wire[4:])) == [("DATA", 7), ("END", 7)]


@pytest.mark.parametrize("junk", [b"rest of a body", b"\x00\x00", b"\xff" * 40, bytes(12)])
def test_three_frames_in_a_row_are_a_boundary_anywhere(junk: bytes) -> None:
    wire = junk + data(1, b"one") + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") + data(3, b"three") + data(5, b"five")
    parser = seeking()
    assert kinds(parser.feed(wire)) == [("DATA", 1), ("DATA", 3), ("DATA", 5)]
    assert parser.skipped == len(junk)


def test_three_frames_in_a_row_over_many_segments() -> None:
    wire = b"rest of a body" + data(1, b"one" * 30) + data(3, b"three" * 50) + data(5, b"five" * 5)
    for size in range(1, 60):
        parser, tokens = seeking(), []
        for i in range(0, len(wire), size):
            tokens += parser.feed(wire[i : i + size])
        found = b"".join(t.data for t in tokens if t.stream == 5)
        assert found == b"five" * 5, size
        # What counts begins with the first of them, unless a segment happened to begin with a later one.
        assert all(t.offset >= 14 for t in tokens)


def test_one_frame_in_the_middle_of_a_segment_proves_nothing() -> None:
    parser = seeking()
    assert parser.feed(b"some text" + data(1, b"one") + b"and more text that is no frame") == []
    assert parser.seeking


@pytest.mark.parametrize(
    "wrong",
    [
        data(0, b"x"),
        data(2, b"x"),
        frame(HEADERS, END_HEADERS, 4, b"\x82"),
        frame(HEADERS, 0x40, 1, b"\x82"),
        frame(HEADERS, END_HEADERS, 1, b""),
        frame(PING, 0, 0, bytes(7)),
        frame(0x0B, 0, 0, b"x"),
        frame(0, 0, 0x80000001, b"x"),
        b"\x00\x40\x01\x00\x00\x00\x00\x00\x01",
    ],
)
def test_what_is_no_boundary(wrong: bytes) -> None:
    parser = seeking("request")
    assert parser.feed(wrong) == []
    assert parser.seeking


def test_the_rest_of_a_lost_block_is_passed_over() -> None:
    parser = seeking("request")
    tokens = parser.feed(frame(CONTINUATION, END_HEADERS, 1, b"\xc5\xc6") + data(1, b"x", end=True))
    assert kinds(tokens) == [("DATA", 1), ("END", 1)]


def test_a_search_is_bounded() -> None:
    """A head that promises much and is never confirmed is given up."""
    parser = seeking()
    false = b"?" + b"\x00\x3f\xff\x00\x00\x00\x00\x00\x01"
    for _ in range(20):
        parser.feed(false + b"z" * 16374)
        assert parser.held <= 2 * 131072
    assert parser.skipped > 200000


def test_random_bytes_are_hardly_ever_taken_for_frames() -> None:
    rng = random.Random(1)
    taken = 0
    for _ in range(20000):
        parser = seeking()
        parser.feed(rng.randbytes(64))
        taken += not parser.seeking
    assert taken == 0


def test_fields_after_a_boundary_are_marked() -> None:
    side = Side()
    side.head(1, [*GET, ("x-key", "value")])
    parser = seeking("request")
    tokens = parser.feed(side.head(3, [*GET, ("x-key", "value"), ("x-new", "1")], end=True))
    assert [(t.name, t.data) for t in tokens if t.kind == TokenKind.FIELD] == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/"),
        (b"x-new", b"1"),
    ]
    (end,) = [t for t in tokens if t.kind == TokenKind.HEAD_END]
    assert end.flags & HeadFlags.PARTIAL
    tokens = parser.feed(side.head(5, [*GET[:3], ("x-new", "1")], end=True))
    (end,) = [t for t in tokens if t.kind == TokenKind.HEAD_END]
    assert not end.flags & HeadFlags.PARTIAL


@pytest.mark.parametrize(
    ("wire", "role"),
    [
        (Side().head(1, GET), "request"),
        (Side().head(1, [(":status", "200")]), "response"),
        (Side().head(1, [(":status", "418")]), "response"),
        (data(1, b"x") + Side().head(3, GET), "request"),
        (data(1, b"x"), None),
        (b"", None),
    ],
)
def test_who_sends_such_frames(wire: bytes, role: str | None) -> None:
    assert role_of(wire) == role
