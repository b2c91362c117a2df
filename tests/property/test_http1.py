# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 against a slow twin, h11 and httptools, over streams made of valid and broken parts, cut anywhere."""

from __future__ import annotations

import itertools
from typing import Any

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oisp_core.reassemble.http1 import Http1Parser
from oisp_core.reassemble.tokens import BodyKind, Status, Token, TokenKind
from tests.reference.http1 import Http1Reference, finish
from tests.reference.vectors import join_data

VALUES = st.sampled_from([b"", b"a", b"a b", b"text/event-stream", b"caf\xc3\xa9", b"x" * 40, b'a,b;c="d"'])
NAMES = st.sampled_from([b"Host", b"X-A", b"content-type", b"Authorization", b"a", b"X-Very-Long-Name-Of-A-Field"])
BODY = st.binary(max_size=60)
BREAKS = st.sampled_from([b"", b"\r", b"\n", b"\x00", b"5", b";", b"Content-Length: 3\r\n"])
EOL = st.sampled_from([b"\r\n"] * 9 + [b"\n"])


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    out = b""
    for _ in range(draw(st.integers(0, 4))):
        out += draw(NAMES) + draw(st.sampled_from([b":", b": ", b":\t", b" : "])) + draw(VALUES) + draw(EOL)
    return out


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    out = b""
    for body in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(body)
        out += size + draw(st.sampled_from([b"", b";a=b", b" ;x"])) + draw(EOL) + body + draw(EOL)
    return out + b"0" + draw(EOL) + draw(st.sampled_from([b"", b"T: v\r\n"])) + draw(EOL)


@st.composite
def message(draw: st.DrawFn, role: str) -> bytes:
    if role == "request":
        method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"M-SEARCH"]))
        start = method + b" " + draw(st.sampled_from([b"/", b"/v1/chat?x=1", b"http://a/b"])) + b" HTTP/1.1"
    else:
        start = draw(st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 100 Continue"]))
    head = start + draw(EOL) + draw(fields())
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none" and role == "response":
        kind = "length"
    if b" 100 " in start:
        kind = "none"
    if kind == "length":
        body = draw(BODY)
        return head + b"Content-Length: %d" % len(body) + draw(EOL) + b"\r\n" + body
    if kind == "chunked":
        return head + b"Transfer-Encoding: chunked" + draw(EOL) + b"\r\n" + draw(chunked())
    return head + draw(EOL)


@st.composite
def stream(draw: st.DrawFn, role: str) -> bytes:
    """Messages one after the other, at times with something broken in them."""
    data = b"".join(draw(st.lists(message(role), max_size=4)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 3))
        data = data[:at] + draw(BREAKS) + data[at + cut :]
    return data


def run(role: str, data: bytes, cuts: list[int]) -> tuple[list[Token], Status, list[Token]]:
    parser = Http1Parser(role)
    tokens: list[Token] = []
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        tokens += parser.feed(data[begin:end])
    status = parser.status
    return join_data(tokens), status, parser.finish()


@pytest.mark.parametrize("role", ["request", "response"])
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_equals_the_twin_however_it_is_cut(role: str, data: st.DataObject) -> None:
    sent = data.draw(stream(role))
    cuts = data.draw(st.lists(st.integers(0, 500), max_size=6))
    try:
        twin = Http1Reference(role, sent)
    except NotImplementedError:
        return
    expected = (join_data(twin.tokens), twin.status, finish(twin))
    assert run(role, sent, cuts) == expected
    assert run(role, sent, list(range(len(sent)))) == expected


class Collector:
    """What httptools calls back, as messages."""

    def __init__(self, role: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self.role = role

    def on_message_begin(self) -> None:
        self.messages.append({"url": b"", "fields": [], "body": b"", "done": False})

    def on_url(self, url: bytes) -> None:
        self.messages[-1]["url"] += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1]["fields"].append((name, value))

    def on_body(self, body: bytes) -> None:
        self.messages[-1]["body"] += body

    def on_message_complete(self) -> None:
        self.messages[-1]["done"] = True


def messages(tokens: list[Token]) -> list[dict[str, Any]]:
    """Tokens as the messages of Collector."""
    made: list[dict[str, Any]] = []
    for token in tokens:
        if token.kind in (TokenKind.REQUEST, TokenKind.RESPONSE):
            url = token.data if token.kind == TokenKind.REQUEST else b""
            made.append({"url": url, "fields": [], "body": b"", "done": False})
        elif token.kind in (TokenKind.FIELD, TokenKind.TRAILER):
            made[-1]["fields"].append((token.name, token.data))
        elif token.kind == TokenKind.DATA:
            made[-1]["body"] += token.data
        elif token.kind == TokenKind.END:
            made[-1]["done"] = True
    return made


@pytest.mark.parametrize("role", ["request", "response"])
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_agrees_with_httptools_where_both_accept(role: str, data: st.DataObject) -> None:
    sent = data.draw(stream(role))
    tokens, status, _ = run(role, sent, [])
    warned = [t for t in tokens if t.kind == TokenKind.WARNING]
    collector = Collector(role)
    parser = (httptools.HttpRequestParser if role == "request" else httptools.HttpResponseParser)(collector)
    try:
        parser.feed_data(sent)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return
    if status in (Status.BAD, Status.LIMIT) or warned:
        return
    ours = [m for m in messages(tokens) if m["done"]]
    theirs = [m for m in collector.messages if m["done"]]
    assert ours == theirs[: len(ours)]
    assert len(theirs) - len(ours) <= 1  # httptools ends an answer without length where its input ends


def h11_messages(role: str, data: bytes) -> list[dict[str, Any]] | None:
    """What h11 reads as the peer of `role`; None where it refuses."""
    connection = h11.Connection(h11.SERVER if role == "request" else h11.CLIENT)
    made: list[dict[str, Any]] = []
    try:
        if role == "response":
            connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
                url = bytes(event.target) if isinstance(event, h11.Request) else b""
                raw = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
                made.append({"url": url, "fields": raw, "body": b""})
            elif isinstance(event, h11.Data):
                made[-1]["body"] += bytes(event.data)
            else:
                made[-1]["done"] = isinstance(event, h11.EndOfMessage)
                return made
    except (h11.ProtocolError, IndexError):
        return None


@pytest.mark.parametrize("role", ["request", "response"])
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_agrees_with_h11_where_both_accept(role: str, data: st.DataObject) -> None:
    sent = data.draw(stream(role))
    theirs = h11_messages(role, sent)
    tokens, status, _ = run(role, sent, [])
    if theirs is None or status == Status.BAD or any(t.kind == TokenKind.WARNING for t in tokens):
        return
    ours = messages([t for t in tokens if t.kind != TokenKind.TRAILER])
    if ours and theirs[-1]["done"]:
        last = len(theirs) - 1
        assert ours[last]["body"] == theirs[last]["body"]
        assert ours[last]["done"]
        assert [m["url"] for m in ours[: last + 1]] == [m["url"] for m in theirs]
        assert [m["fields"] for m in ours[: last + 1]] == [m["fields"] for m in theirs]


@given(st.lists(message("response"), min_size=1, max_size=3), st.data())
@settings(max_examples=150, deadline=None)
def test_a_hole_is_exact_or_framing_is_lost(parts: list[bytes], data: st.DataObject) -> None:
    """After any hole: the tokens before it as without it; all body bytes accounted for, or BAD."""
    sent = b"".join(parts)
    at = data.draw(st.integers(0, len(sent) - 1))
    size = data.draw(st.integers(1, len(sent) - at))
    whole, status, _ = run("response", sent, [])
    parser = Http1Parser("response")
    tokens = join_data(parser.feed(sent[:at]) + parser.gap(size) + parser.feed(sent[at + size :]))
    if parser.status == Status.BAD or status == Status.BAD:
        return
    lost = sum(t.number for t in tokens if t.kind == TokenKind.GAP)
    assert body_size(tokens) + lost == body_size(whole)
    assert [t for t in tokens if t.kind in HEADS] == [t for t in whole if t.kind in HEADS]
    assert lost <= size


HEADS = (TokenKind.RESPONSE, TokenKind.FIELD, TokenKind.HEAD_END, TokenKind.TRAILER, TokenKind.END)


def body_size(tokens: list[Token]) -> int:
    return sum(len(t.data) for t in tokens if t.kind == TokenKind.DATA)


@given(st.binary(max_size=300), st.sampled_from(["request", "response"]), st.integers(8, 64), st.integers(1, 4))
@example(b"GET / HTTP/1.1\r\nA: b\r\n\r\n", "request", 24, 1)
@settings(max_examples=150, deadline=None)
def test_any_bytes_stay_within_bounds(data: bytes, role: str, head_max: int, fields_max: int) -> None:
    parser = Http1Parser(role, head_max=head_max, fields_max=fields_max)
    for i in range(0, len(data), 7):
        parser.feed(data[i : i + 7])
        assert parser.held <= 2 * max(64, head_max + 1)
    parser.finish()
    assert parser.status in (Status.OK, Status.MORE, Status.BAD, Status.LIMIT)


def test_the_kinds_of_body_that_the_messages_have() -> None:
    """The strategies reach every kind that they are meant to reach."""
    seen: set[int] = set()

    @given(stream("request"))
    @settings(max_examples=100, deadline=None, database=None)
    def collect(data: bytes) -> None:
        seen.update(t.flags for t in run("request", data, [])[0] if t.kind == TokenKind.HEAD_END)

    collect()
    assert {BodyKind.NONE, BodyKind.LENGTH, BodyKind.CHUNKED} <= seen
