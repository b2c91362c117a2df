# SPDX-License-Identifier: Apache-2.0
"""Every recorded exchange through the parsers alone: each body and each message comes back byte for byte."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

from oisp_core.reassemble.content import Inflater, parse_codings
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.http1 import Http1Parser
from oisp_core.reassemble.http2 import Http2Parser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from oisp_core.reassemble.websocket import WebSocketParser

SEED = 11
KEEP_ALIVE = 40
"""Exchanges on a connection of HTTP/1."""
ROWS = 796
Body = tuple[bytes, bytes]
"""Of a request, and of its answer, with its content coding undone."""


class Message:
    def __init__(self) -> None:
        self.first = b""
        self.codings: list[str] = []
        self.pieces: list[bytes] = []
        self.ended = False

    def take(self, token: Token) -> None:
        if token.kind == TokenKind.REQUEST:
            self.first = token.name
        elif token.kind == TokenKind.FIELD and token.name.lower() == b"content-encoding":
            self.codings = parse_codings(token.data) or []
        elif token.kind == TokenKind.DATA:
            self.pieces.append(token.data)
        elif token.kind == TokenKind.END:
            self.ended = True

    def body(self) -> bytes:
        assert self.ended
        inflater = Inflater(self.codings)
        made = b"".join(inflater.decode(piece) for piece in self.pieces)
        assert inflater.end() == Status.OK
        return made


def over_http1(segments: Iterable[tuple[str, bytes]]) -> Iterator[Body]:
    """Messages of a connection in their order; an answer is read when its request was."""
    parsers = {">": Http1Parser("request"), "<": Http1Parser("response")}
    messages: dict[str, list[Message]] = {">": [], "<": []}
    for direction, data in segments:
        for token in parsers[direction].feed(data):
            if token.kind in (TokenKind.REQUEST, TokenKind.RESPONSE):
                messages[direction].append(Message())
            messages[direction][-1].take(token)
            if token.kind == TokenKind.REQUEST:
                parsers["<"].expect(token.name)
            assert token.kind not in (TokenKind.GAP, TokenKind.WARNING)
    assert all(parser.finish() == [] and parser.status == Status.OK for parser in parsers.values())
    yield from ((a.body(), b.body()) for a, b in zip(messages[">"], messages["<"], strict=True))


def over_http2(segments: Iterable[tuple[str, bytes]]) -> Iterator[Body]:
    """Streams of a connection, by their numbers."""
    parsers = {">": Http2Parser("request"), "<": Http2Parser("response")}
    messages: dict[str, dict[int, Message]] = {">": defaultdict(Message), "<": defaultdict(Message)}
    for direction, data in segments:
        for token in parsers[direction].feed(data):
            assert token.kind not in (TokenKind.GAP, TokenKind.WARNING)
            if token.stream:
                messages[direction][token.stream].take(token)
    assert all(parser.status == Status.OK for parser in parsers.values())
    assert sorted(messages[">"]) == sorted(messages["<"])
    yield from ((messages[">"][n].body(), messages["<"][n].body()) for n in sorted(messages[">"]))


def body_of(row: dict[str, Any]) -> Body:
    no_body = row["method"] == "HEAD" or row["status"] in (204, 304) or 100 <= row["status"] < 200
    return base64.b64decode(row["request_body"]), b"" if no_body else base64.b64decode(row["response_body"])


def framed(corpus: Any) -> list[dict[str, Any]]:
    return [row for row in corpus.exchanges() if "ws" not in row and "grpc" not in row]


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.full)


CUTS = [
    ("mixed", "recorded"),
    slow("bytes", "recorded"),
    slow("bytes", "gzip"),
    slow("mixed", "gzip"),
    slow("bytes", "br"),
    slow("mixed", "br"),
    slow("bytes", "zstd"),
    slow("mixed", "zstd"),
    slow("mixed", "deflate"),
]


@pytest.mark.parametrize(("cut", "coding"), CUTS)
def test_over_http1(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    rows = framed(corpus)
    for first in range(0, len(rows), KEEP_ALIVE):
        group = rows[first : first + KEEP_ALIVE]
        segments = render.split_segments(render.h1_connection(group, SEED, coding), SEED, group[0]["id"], cut)
        for row, body in zip(group, over_http1(segments), strict=True):
            assert body == body_of(row), row["id"]


@pytest.mark.parametrize(("cut", "coding"), CUTS)
def test_six_streams_of_http2(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    rows = framed(corpus)
    for first in range(0, len(rows), 6):
        group = rows[first : first + 6]
        segments = render.split_segments(render.h2_connection(group, SEED, coding), SEED, group[0]["id"], cut)
        for row, body in zip(group, over_http2(segments), strict=True):
            assert body == body_of(row), row["id"]


@pytest.mark.parametrize("cut", ["mixed", "bytes"])
def test_messages_of_sessions_and_calls(corpus: Any, render: ModuleType, cut: str) -> None:
    """What the corpus holds beside: WebSocket messages, and gRPC's."""
    others = [row for row in corpus.exchanges() if "ws" in row or "grpc" in row]
    assert len(others) + len(framed(corpus)) == ROWS
    for row in others:
        segments = render.split_segments(render.render_row(row, "h1", SEED)[1], SEED, row["id"], cut)
        if "ws" in row:
            found = messages_of_session(segments)
            said = [m for m in row["ws"] if "text" in m]
            true = {d: [m["text"].encode("utf-8", "surrogatepass") for m in said if m["direction"] == d] for d in "<>"}
        else:
            found = messages_of_call(segments)
            both = {">": row["grpc"]["request"], "<": row["grpc"]["response"]}
            true = {d: [base64.b64decode(m) for m in messages] for d, messages in both.items()}
        assert found == true, row["id"]


def messages_of_session(segments: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    heads = {">": Http1Parser("request"), "<": Http1Parser("response")}
    parsers = {">": WebSocketParser(), "<": WebSocketParser()}
    found: dict[str, list[bytes]] = {">": [], "<": []}
    upgraded = {">": False, "<": False}
    for direction, segment in segments:
        rest = segment
        if not upgraded[direction]:
            tokens = heads[direction].feed(segment)
            if direction == ">" and heads[">"].idle:
                heads[">"].tunnel()
                tokens += heads[">"].feed(b"")
            if not any(token.kind == TokenKind.UPGRADE for token in tokens):
                continue
            upgraded[direction], rest = True, heads[direction].unused
        found[direction] += [t.data for t in parsers[direction].feed(rest) if t.kind == TokenKind.EVENT]
    return found


def messages_of_call(segments: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    parsers = {">": Http2Parser("request"), "<": Http2Parser("response")}
    calls = {">": GrpcParser(), "<": GrpcParser()}
    found: dict[str, list[bytes]] = {">": [], "<": []}
    for direction, segment in segments:
        for token in parsers[direction].feed(segment):
            if token.kind == TokenKind.DATA:
                found[direction] += [t.data for t in calls[direction].feed(token.data) if t.kind == TokenKind.EVENT]
    return found
