# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 against `h2` and `hyperframe` and against its slow twin, over all splits, with frames that no side sends."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import hyperframe.frame
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.reassemble.http2 import Http2Parser
from oisp_core.reassemble.tokens import BodyKind, HeadFlags, Status, Token, TokenKind
from tests.reference.h2wire import PREFACE, Side, frame, settings
from tests.reference.http2 import Reader
from tests.reference.vectors import join_data

HEADERS = [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/v1/x")]
texts = st.text("abcdefgh-0123456789", min_size=1, max_size=12)
more = st.lists(st.tuples(texts.map(lambda t: "x-" + t), texts), max_size=5)
bodies = st.lists(st.binary(max_size=200), max_size=4)
exchanges = st.lists(st.tuples(more, bodies, more, bodies, st.booleans()), min_size=1, max_size=5)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]  # noqa: RUF007


def run(role: str, pieces: list[bytes], **options: Any) -> tuple[list[Token], Status]:
    parser = Http2Parser(role, **options)  # type: ignore[arg-type]
    tokens: list[Token] = []
    for piece in pieces:
        tokens += parser.feed(piece)
    return join_data(tokens), parser.status


def talked(plan: list) -> dict[str, bytes]:
    """Both directions of a connection between two endpoints of h2, whose streams interleave."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    sent = {"request": b"", "response": b""}

    def pump() -> None:
        while True:
            one = client.data_to_send()
            sent["request"] += one
            server.receive_data(one)
            two = server.data_to_send()
            sent["response"] += two
            client.receive_data(two)
            if not one and not two:
                return

    client.initiate_connection()
    server.initiate_connection()
    pump()
    for number, (fields, body, _, _, trailers) in enumerate(plan):
        stream = 2 * number + 1
        client.send_headers(stream, HEADERS + fields)
        for piece in body:
            client.send_data(stream, piece, pad_length=len(piece) % 5 or None)
        if trailers:
            client.send_headers(stream, [("x-trailer", "t")], end_stream=True)
        else:
            client.end_stream(stream)
    pump()
    for number, (_, _, fields, body, _) in enumerate(plan):
        server.send_headers(2 * number + 1, [(":status", "200"), *fields])
        for piece in body[:1]:
            server.send_data(2 * number + 1, piece)
    for number, (_, _, _, body, _) in reversed(list(enumerate(plan))):
        for piece in body[1:]:
            server.send_data(2 * number + 1, piece)
        server.end_stream(2 * number + 1)
    pump()
    return sent


@given(exchanges, st.lists(st.integers(0, 5000), max_size=6))
def test_messages_are_those_of_another_implementation(plan: list, places: list[int]) -> None:
    sent = talked(plan)
    for role, data in sent.items():
        tokens, status = run(role, cut(data, places))
        assert status == Status.OK
        assert tokens == run(role, [data])[0]
        heads, found, trailing, ended = defaultdict(list), defaultdict(bytes), {}, set()
        for token in tokens:
            if token.kind == TokenKind.FIELD:
                heads[token.stream].append((token.name.decode(), token.data.decode()))
            elif token.kind == TokenKind.DATA:
                found[token.stream] += token.data
            elif token.kind == TokenKind.TRAILER:
                trailing[token.stream] = (token.name, token.data)
            elif token.kind == TokenKind.END:
                ended.add(token.stream)
        for number, (asked, question, answered, reply, trailers) in enumerate(plan):
            stream, ours = 2 * number + 1, role == "request"
            assert heads[stream] == (HEADERS + asked if ours else [(":status", "200"), *answered])
            assert found[stream] == b"".join(question if ours else reply)
            assert (stream in trailing) == (ours and trailers)
        assert ended == {2 * n + 1 for n in range(len(plan))}


@given(exchanges)
def test_frames_are_those_of_another_implementation(plan: list) -> None:
    """Number and size of DATA frames, as hyperframe reads them."""
    for role, data in talked(plan).items():
        at = len(PREFACE) if role == "request" else 0
        expected = []
        while at < len(data):
            one, size = hyperframe.frame.Frame.parse_frame_header(memoryview(data[at : at + 9]))
            one.parse_body(memoryview(data[at + 9 : at + 9 + size]))
            if isinstance(one, hyperframe.frame.DataFrame) and one.data:
                expected.append((one.stream_id, bytes(one.data)))
            at += 9 + size
        parser = Http2Parser(role)  # type: ignore[arg-type]
        assert [(t.stream, t.data) for t in parser.feed(data) if t.kind == TokenKind.DATA] == expected


# ---- any frames ----

BLOCK = Side().block([*HEADERS, ("x-a", "b"), ("content-length", "12")])
payloads = st.sampled_from(
    [
        b"",
        b"hello",
        bytes(8),
        b"\0\0\0\2" + BLOCK,
        BLOCK,
        BLOCK[:9],
        b"\x02" + BLOCK + b"\0\0",
        b"\x88",
        b"\xbe\xbf",
        b"\0\1\0\0\x10\0",
        bytes(4),
        b"\x40\x01a\x01b",
    ]
) | st.binary(max_size=30)
flags = st.sampled_from([0, 1, 4, 5, 8, 12, 13, 32, 36, 44, 0xFF])
frames = st.builds(frame, st.integers(0, 10), flags, st.sampled_from([0, 1, 1, 1, 2, 3, 5]), payloads)
"""Most of them valid somewhere, few of them everywhere."""


@given(
    st.sampled_from(["request", "response"]),
    st.lists(frames, max_size=8),
    st.lists(st.integers(0, 600), max_size=5),
    st.booleans(),
)
def test_any_frames_are_read_as_the_twin_reads_them(role: str, given_frames: list, places: list, started: bool) -> None:
    data = (PREFACE if role == "request" else b"") + (settings() if started else b"") + b"".join(given_frames)
    expected, valid = Reader(role).tokens(data)
    for pieces in ([data], cut(data, places), [data[i : i + 1] for i in range(len(data))]):
        tokens, status = run(role, pieces)
        assert tokens == join_data(expected)
        assert (status != Status.BAD) == valid


@given(st.lists(frames, min_size=1, max_size=8), st.integers(0, 400), st.integers(1, 60))
def test_a_hole_changes_nothing_before_it_and_is_counted(given_frames: list, place: int, size: int) -> None:
    """Bytes of bodies and bytes said to be missing are together those that were sent, as far as framing goes on."""
    data = settings() + b"".join(given_frames)
    whole, valid = Reader("response").tokens(data)
    place %= len(data)
    size = min(size, len(data) - place)
    parser = Http2Parser("response")
    before = parser.feed(data[:place])
    if parser.status == Status.BAD:
        return
    at_hole = parser.gap(size)
    if parser.status == Status.BAD:
        assert sum(t.number for t in at_hole if t.kind == TokenKind.GAP) <= size
        return
    tokens = before + at_hole + parser.feed(data[place + size :])
    if not valid or parser.status == Status.BAD or any(t.kind == TokenKind.WARNING for t in tokens + whole):
        return
    padded = any(f[3] == 0 and f[4] & 8 for f in given_frames)
    for stream in {t.stream for t in whole if t.kind == TokenKind.DATA}:
        total = sum(len(t.data) for t in whole if t.kind == TokenKind.DATA and t.stream == stream)
        seen = sum(
            len(t.data) + t.number for t in tokens if t.kind in (TokenKind.DATA, TokenKind.GAP) and t.stream == stream
        )
        assert seen == total or padded
    ends = [t.stream for t in whole if t.kind == TokenKind.END]
    assert [t.stream for t in tokens if t.kind == TokenKind.END] == ends


@given(st.lists(frames, max_size=6), st.integers(0, 60), st.lists(st.integers(0, 400), max_size=5))
def test_a_start_in_the_middle_never_fails(given_frames: list, skip: int, places: list[int]) -> None:
    data = b"".join(given_frames)[skip:]
    parser = Http2Parser("response", midway=True)
    tokens = [token for piece in cut(data, places) for token in parser.feed(piece)]
    parser.finish()
    for token in tokens:
        if token.kind == TokenKind.HEAD_END:
            assert token.flags & 0xFF in (BodyKind.NONE, BodyKind.LENGTH, BodyKind.STREAM)
            assert token.flags & ~0xFF & ~(HeadFlags.PARTIAL | HeadFlags.PUSH | HeadFlags.INTERIM) == 0
    assert parser.skipped <= len(data)
