# SPDX-License-Identifier: Apache-2.0
"""The strongest pipeline that Python parts give: httptools, bytes.split, a set of hosts before ahocorasick_rs, msgspec.

It is what a good engineer writes who wants these events and no C of his own: typed decoding of only what is needed,
`Raw` for what passes through, structs that the collector need not visit, xxhash to know conversations again, constants
encoded once, one reused output buffer. (Measured and not taken, as slower: `encode_lines` of a batch's events.)
It knows what the cases hold and not more (no loss, no resynchronisation, no bounds, no tools, no masking), which is in
its favour. Its events are held against the engine's field by field before anything is timed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import ahocorasick_rs
import httptools
from hpack import Decoder

from oisp_bench.corpora import Corpus
from oisp_bench.engines.base import Sink
from oisp_bench.engines.dialects import ROUTES, Maker, Reader, Route, host_patterns

__all__ = ["Pipeline"]

frame_of = struct.Struct(">BHBBI").unpack_from
POLITE = frozenset((b"host", b"authorization", b"x-api-key", b"x-goog-api-key", b"content-type", b"user-agent"))


class Turn:
    """One exchange in flight."""

    __slots__ = ("asked_at", "asked_last", "body", "head", "reader", "request_id", "route", "url")

    def __init__(self, at: int) -> None:
        self.asked_at = self.asked_last = at
        self.url = b""
        self.head: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.route: Route | None = None
        self.reader: Reader | None = None
        self.request_id = ""


class Asking:
    """Requests of a connection: httptools' callbacks."""

    __slots__ = ("conn", "turn")

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.turn = Turn(0)

    def on_message_begin(self) -> None:
        self.turn = Turn(self.conn.now)
        self.conn.turns.append(self.turn)

    def on_url(self, url: bytes) -> None:
        self.turn.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in POLITE:
            self.turn.head[name] = value

    def on_headers_complete(self) -> None:
        turn = self.turn
        host = turn.head.get(b"host", b"")
        turn.route = self.conn.pipeline.route(host, turn.url)

    def on_body(self, body: bytes) -> None:
        if self.turn.route is not None:
            self.turn.body.append(body)

    def on_message_complete(self) -> None:
        turn = self.turn
        turn.asked_last = self.conn.now
        route = turn.route
        if route is not None:
            body = turn.body[0] if len(turn.body) == 1 else b"".join(turn.body)
            turn.reader = route.ask(self.conn.maker, turn, body)


class Answering:
    """Responses of a connection."""

    __slots__ = ("conn", "kind", "parser", "reader", "since")

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.kind = b""
        self.since = 0
        self.reader: Reader | None = None
        self.parser: Any = None

    def on_message_begin(self) -> None:
        self.kind = b""
        self.since = self.conn.now

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.kind = value

    def on_headers_complete(self) -> None:
        turn = self.conn.turns.pop(0)
        self.reader = turn.reader
        if self.reader is not None:
            self.reader.begin(self.since, self.parser.get_status_code(), self.kind)

    def on_body(self, body: bytes) -> None:
        if self.reader is not None:
            self.reader.feed(body, self.conn.now)

    def on_message_complete(self) -> None:
        if self.reader is not None:
            self.reader.end(self.conn.now)
            self.reader = None


class Conn:
    __slots__ = ("maker", "now", "pipeline", "read", "turns", "write")

    def __init__(self, pipeline: Pipeline, context: bytes) -> None:
        self.pipeline = pipeline
        self.maker = pipeline.maker(pipeline.out, pipeline.ids, context, pipeline.conversations, chunks=pipeline.chunks)
        self.now = 0
        self.turns: list[Turn] = []
        self.write: Callable[[bytes], None] = httptools.HttpRequestParser(Asking(self)).feed_data
        answering = Answering(self)
        answering.parser = httptools.HttpResponseParser(answering)
        self.read: Callable[[bytes], None] = answering.parser.feed_data


class Stream2:
    """One stream of HTTP/2."""

    __slots__ = ("reader", "turn")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.reader: Reader | None = None


class Conn2:
    """A connection of HTTP/2: a loop over frames, and the hpack library for heads."""

    __slots__ = ("answering", "asking", "maker", "now", "pipeline", "read", "rests", "streams", "write")

    def __init__(self, pipeline: Pipeline, context: bytes) -> None:
        self.pipeline = pipeline
        self.maker = pipeline.maker(pipeline.out, pipeline.ids, context, pipeline.conversations, chunks=pipeline.chunks)
        self.now = 0
        self.asking, self.answering = Decoder(), Decoder()
        self.rests = [b"", b""]
        self.streams: dict[int, Stream2] = {}
        self.write, self.read = self.first, self.answers

    def first(self, data: bytes) -> None:
        self.write = self.asks
        self.asks(data[24:])  # behind the preface

    def asks(self, data: bytes) -> None:
        if self.rests[0]:
            data = self.rests[0] + data
        at, have = 0, len(data)
        while have - at >= 9:
            high, low, kind, flags, number = frame_of(data, at)
            end = at + 9 + (high << 8 | low)
            if end > have:
                break
            if kind == 0:
                self.streams[number].turn.body.append(data[at + 9 : end])
            elif kind == 1:
                turn = Turn(self.now)
                for name, value in self.asking.decode(data[at + 9 : end], raw=True):
                    turn.head[name] = value
                turn.url = turn.head[b":path"]
                turn.route = self.pipeline.route(turn.head[b":authority"], turn.url)
                self.streams[number] = Stream2(turn)
            if flags & 1 and kind < 2:
                self.asked(self.streams[number])
            at = end
        self.rests[0] = data[at:]

    def asked(self, stream: Stream2) -> None:
        turn = stream.turn
        turn.asked_last = self.now
        if turn.route is not None:
            body = turn.body[0] if len(turn.body) == 1 else b"".join(turn.body)
            stream.reader = turn.route.ask(self.maker, turn, body)

    def answers(self, data: bytes) -> None:
        if self.rests[1]:
            data = self.rests[1] + data
        at, have = 0, len(data)
        while have - at >= 9:
            high, low, kind, flags, number = frame_of(data, at)
            end = at + 9 + (high << 8 | low)
            if end > have:
                break
            if kind < 2:
                reader = self.streams[number].reader
                if kind == 1:
                    head = dict(self.answering.decode(data[at + 9 : end], raw=True))
                    if reader is not None:
                        reader.begin(self.now, int(head[b":status"]), head.get(b"content-type", b""))
                elif reader is not None:
                    reader.feed(data[at + 9 : end], self.now)
                if flags & 1:
                    del self.streams[number]
                    if reader is not None:
                        reader.end(self.now)
            at = end
        self.rests[1] = data[at:]


class Pipeline:
    """One run over a corpus, one tuple a segment."""

    maker: type[Maker] = Maker
    routes: Mapping[tuple[bytes, bytes], Any] = ROUTES
    conn2: type[Any] = Conn2  # how HTTP/2 is framed

    def __init__(self, corpus: Corpus, *, content: str = "full", chunks: bool = False) -> None:
        assert content == "full", "the peer writes texts out"
        self.contexts = corpus.contexts
        self.chunks = chunks
        self.batches = corpus.call_batches()
        self.out = bytearray()
        self.ids = iter(range(1 << 62))
        self.conversations: dict[int, str] = {}
        self.words = ahocorasick_rs.BytesAhoCorasick(host_patterns(), implementation=ahocorasick_rs.Implementation.DFA)

    def route(self, host: bytes, url: bytes) -> Route | None:
        found = self.routes.get((host, url))
        return found if found is not None else self.search(host, url)

    def search(self, host: bytes, url: bytes) -> Route | None:
        """A host that is not known: does its name or path look like a provider's?"""
        if not self.words.find_matches_as_indexes(host + b" " + url):
            return None
        raise NotImplementedError(f"the peer has no dialect for {host!r} {url!r}")

    def prepare(self) -> None:
        """As at the start: nothing has been said yet."""
        self.conversations.clear()

    def run(self, sink: Sink) -> None:
        out = self.out
        conns: dict[int, Any] = {}
        contexts = self.contexts
        for batch in self.batches:
            for conn, way, ts, data, _ in batch:
                c = conns.get(conn)
                if c is None:
                    made = self.conn2 if data.startswith(b"PRI * HTTP/2") else Conn
                    c = conns[conn] = made(self, contexts[conn])
                c.now = ts
                if way == "<":
                    c.read(data)
                else:
                    c.write(data)
            sink(bytes(out))
            out.clear()
        sink(bytes(out))
        out.clear()
