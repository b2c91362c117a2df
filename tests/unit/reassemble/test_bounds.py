# SPDX-License-Identifier: Apache-2.0
"""Input without end meets the bound of each parser: LIMIT, and memory stays below it."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from oisp_core.limits import LIMITS
from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.http1 import Http1Parser
from oisp_core.reassemble.multipart import MultipartParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.sse import SseParser
from oisp_core.reassemble.tokens import Status, TokenKind
from oisp_core.reassemble.websocket import WebSocketParser

BOUND = 10_000
FORM = "multipart/form-data; boundary=b"
REASONS = {row.name: row.reason for row in LIMITS}


class Case(NamedTuple):
    """`limit` is its row in limits.py; `before` comes once, then `again` without end."""

    limit: str
    make: Callable[[], Any]
    before: bytes
    again: bytes


CASES = {
    "http1: a field": Case(
        "head_bytes", lambda: Http1Parser("request", head_max=BOUND), b"GET / HTTP/1.1\r\nA: ", b"x"
    ),
    "http1: fields": Case(
        "head_bytes", lambda: Http1Parser("response", head_max=BOUND), b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"
    ),
    "http1: a target": Case("head_bytes", lambda: Http1Parser("request", head_max=BOUND), b"GET /", b"x"),
    "http1: number of fields": Case(
        "head_fields",
        lambda: Http1Parser("request", fields_max=100),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101,
        b"\r\n",
    ),
    "http1: trailers": Case(
        "head_bytes",
        lambda: Http1Parser("request", head_max=BOUND),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"A: b\r\n",
    ),
    "sse: a line": Case("event_bytes", lambda: SseParser(event_max=BOUND), b"data: ", b"x"),
    "sse: lines": Case("event_bytes", lambda: SseParser(event_max=BOUND), b"", b"data: x\n"),
    "ndjson: a string": Case("event_bytes", lambda: NdjsonParser(value_max=BOUND), b'"', b"x"),
    "ndjson: an object": Case("event_bytes", lambda: NdjsonParser(value_max=BOUND), b'{"a":', b"[1,\n"),
    "ndjson: an element": Case("event_bytes", lambda: NdjsonParser(array=True, value_max=BOUND), b"[[", b"1,"),
    "websocket: fragments": Case(
        "event_bytes", lambda: WebSocketParser(message_max=BOUND), b"\x01\x01a", b"\x00\x04abcd"
    ),
    "multipart: a head": Case("head_bytes", lambda: MultipartParser(FORM, head_max=BOUND), b"--b\r\n", b"A: b\r\n"),
}


def pieces(case: Case) -> Iterator[bytes]:
    yield case.before
    yield from itertools.repeat(case.again * 97, 40 * BOUND // len(case.again) // 97)


@pytest.mark.parametrize("name", CASES)
def test_input_without_end_meets_the_bound(name: str) -> None:
    case = CASES[name]
    assert REASONS[case.limit]
    parser = case.make()
    for piece in pieces(case):
        parser.feed(piece)
        assert parser.held <= 2 * BOUND + 4096
        if parser.status not in (Status.OK, Status.MORE):
            break
    assert parser.status == Status.LIMIT
    assert parser.feed(case.again) == []
    parser.reset()
    assert parser.held == 0


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (lambda: EventStreamParser(frame_max=BOUND), bytes.fromhex("7fffffff00000000") + bytes(4)),
        (lambda: WebSocketParser(message_max=BOUND), b"\x82\x7e" + (BOUND + 1).to_bytes(2)),
        (lambda: WebSocketParser(message_max=BOUND), b"\x82\x7f" + (2**63 - 1).to_bytes(8)),
        (lambda: GrpcParser(message_max=BOUND), b"\0\xff\xff\xff\xff"),
    ],
    ids=["eventstream", "websocket", "websocket: 2**63 - 1", "grpc"],
)
def test_a_length_beyond_the_bound_allocates_nothing(make: Callable[[], Any], head: bytes) -> None:
    """event_bytes. What is announced is refused when it is announced."""
    if head[:1] == b"\x7f":
        head = head[:8] + zlib.crc32(head[:8]).to_bytes(4)
    parser = make()
    parser.feed(head)
    assert parser.status == Status.LIMIT
    assert parser.held <= 64


def test_what_has_no_bound_holds_nothing() -> None:
    """Bodies, contents of files, comments and lines before a part pass through."""
    endless = {
        "body": (Http1Parser("response"), b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        "comments": (SseParser(event_max=BOUND), b"", b": comment\n"),
        "preamble": (MultipartParser(FORM), b"", b"-- x\r\n"),
        "value": (MultipartParser(FORM, value_max=BOUND), b"--b\r\n\r\n", b"\r\n--"),
        "blank lines": (NdjsonParser(value_max=BOUND), b"", b"\n"),
    }
    for name, (parser, before, again) in endless.items():
        parser.feed(before)
        for _ in range(50):
            parser.feed(again * 20_000)
            assert parser.held <= 2 * BOUND + 4096, name
            assert parser.status in (Status.OK, Status.MORE), name


def test_an_endless_chunk_line_is_limit() -> None:
    """A chunk's size and extensions have 16 KiB, whatever head_max says."""
    parser = Http1Parser("request")
    parser.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    for _ in range(20):
        tokens = parser.feed(b"x" * 1000)
        assert all(t.kind != TokenKind.DATA for t in tokens)
    assert parser.status == Status.LIMIT
    assert parser.held == 0
