# SPDX-License-Identifier: Apache-2.0
"""Server-sent events against the standard's algorithm written out, over anything, cut anywhere."""

from __future__ import annotations

import itertools

import httpx
from httpx_sse import EventSource
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.reassemble.sse import SseParser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from tests.reference.sse import events

LINES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: a",
        b"event",
        b"event:b",
        b": c",
        b"id: 1",
        b"retry: 2",
        b"x",
        b"",
        b"data: {}",
    ]
)
BODY = st.lists(st.one_of(LINES, st.binary(max_size=12)), max_size=14)
EOL = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])


@st.composite
def body(draw: st.DrawFn) -> bytes:
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]))
    parts = b"".join(line + draw(EOL) * draw(st.sampled_from([1, 1, 2])) for line in draw(BODY))
    return mark + parts + draw(st.sampled_from([b"", b"data: end", b"data: x\n"]))


def run(data: bytes, cuts: list[int]) -> list[Token]:
    parser = SseParser()
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    tokens = [t for b, e in itertools.pairwise(edges) for t in parser.feed(data[b:e])]
    return tokens + parser.finish()


@given(body(), st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=400, deadline=None)
def test_equals_the_standard_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    tokens = run(data, cuts)
    assert [(t.name, t.data, t.flags) for t in tokens] == events(data)
    assert tokens == run(data, []) == run(data, list(range(len(data))))
    for token in tokens:  # the offset is that of the first data line, as it came
        first = token.data.split(b"\n")[0]
        assert data[token.offset : token.offset + len(first)] == first


@given(body(), st.data())
@settings(max_examples=200, deadline=None)
def test_after_a_hole_every_event_was_sent_or_is_marked(data: bytes, drawn: st.DataObject) -> None:
    at = drawn.draw(st.integers(0, len(data)))
    size = drawn.draw(st.integers(1, 20))
    parser = SseParser()
    tokens = parser.feed(data[:at]) + parser.gap(size) + parser.feed(data[at + size :]) + parser.finish()
    sent = {(kind, payload) for kind, payload, _ in events(data)}
    assert sum(t.number for t in tokens if t.kind == TokenKind.GAP) == size
    gap = next(i for i, t in enumerate(tokens) if t.kind == TokenKind.GAP)
    assert tokens[:gap] == [t for t in run(data, []) if t in tokens[:gap]]
    if at + size <= len(data):
        assert all((t.name, t.data) in sent for t in tokens[gap + 1 :] if not t.flags & 4)


@given(st.binary(max_size=400), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_stay_within_bounds(data: bytes, event_max: int) -> None:
    parser = SseParser(event_max=event_max)
    for i in range(0, len(data), 5):
        parser.feed(data[i : i + 5])
        assert parser.held <= 4096
    parser.finish()
    assert parser.status in (Status.OK, Status.MORE, Status.LIMIT)


TEXT = st.lists(st.one_of(LINES, st.text("ab:é \u2028", max_size=8).map(str.encode)), max_size=14)


@given(TEXT, st.lists(EOL, min_size=14, max_size=14), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=250, deadline=None)
def test_agrees_with_httpx_sse(lines: list[bytes], ends: list[bytes], cuts: list[int]) -> None:
    """The decoder that the official SDKs of several providers go through: types and payloads of whole events."""
    data = b"".join(line + end for line, end in zip(lines, ends, strict=False)) + b"\n\n"
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=data)
    # It gives events without data lines too, which the standard drops; their data is empty, as that of `data:` is.
    theirs = [(event.event, event.data) for event in EventSource(response).iter_sse() if event.data]
    ours = [(t.name.decode(), t.data.decode()) for t in run(data, cuts) if t.data]
    assert [(kind or "message", text) for kind, text in ours] == theirs
