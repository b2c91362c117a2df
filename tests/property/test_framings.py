# SPDX-License-Identifier: Apache-2.0
"""NDJSON, AWS event streams, WebSocket and gRPC: messages come back however cut; broken ones answer the same.

The oracles are the builders here, Python's json, botocore's event-stream parser and wsproto.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from oisp_core.reassemble.content import Inflater
from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from oisp_core.reassemble.websocket import WebSocketParser

CUTS = st.lists(st.integers(0, 400), max_size=6)
FLIPS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 7)), max_size=3)


def run(make: Callable[[], Any], data: bytes, cuts: list[int]) -> tuple[list[Token], Status, list[Token], Status]:
    parser = make()
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    tokens = [t for b, e in itertools.pairwise(edges) for t in parser.feed(data[b:e])]
    return tokens, parser.status, parser.finish(), parser.status


def same_however_cut(make: Callable[[], Any], data: bytes, cuts: list[int]) -> tuple[list[Token], Status]:
    whole = run(make, data, [])
    assert run(make, data, cuts) == whole
    assert run(make, data, list(range(len(data)))) == whole
    return whole[0] + whole[2], whole[3]


def flip(data: bytes, flips: list[tuple[int, int]]) -> bytes:
    broken = bytearray(data)
    for at, bit in flips:
        if broken:
            broken[at % len(broken)] ^= 1 << bit
    return bytes(broken)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n"]), st.sampled_from([None, 2]), CUTS, FLIPS)
@settings(max_examples=250, deadline=None)
def test_ndjson(values: list[Any], line_end: str, indent: int | None, cuts: list[int], flips: list[Any]) -> None:
    texts = [json.dumps(v, indent=indent, ensure_ascii=False) for v in values]
    tokens, status = same_however_cut(NdjsonParser, line_end.join(texts).encode("utf-8", "surrogatepass"), cuts)
    assert [t.data for t in tokens] == [t.encode("utf-8", "surrogatepass") for t in texts]
    assert status == Status.OK
    array = f"[{','.join(texts)}]{line_end}".encode("utf-8", "surrogatepass")
    tokens, status = same_however_cut(lambda: NdjsonParser(array=True), array, cuts)
    assert [t.data for t in tokens] == [t.encode("utf-8", "surrogatepass") for t in texts]
    assert status == Status.OK
    for make in (NdjsonParser, lambda: NdjsonParser(array=True), lambda: NdjsonParser(value_max=9)):
        same_however_cut(make, flip(array, flips), cuts)


def header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


def frame(headers: list[tuple[bytes, bytes]], payload: bytes) -> bytes:
    fields = b"".join(header(*h) for h in headers)
    prelude = struct.pack(">II", 16 + len(fields) + len(payload), len(fields))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + fields + payload
    return message + struct.pack(">I", zlib.crc32(message))


FRAMES = st.lists(
    st.tuples(st.sampled_from([b"chunk", b"messageStop", b"!throttlingException"]), st.binary(max_size=60)), max_size=5
).map(
    lambda items: [
        frame([(b":message-type", b"exception"), (b":exception-type", kind[1:])], payload)
        if kind.startswith(b"!")
        else frame([(b":message-type", b"event"), (b":event-type", kind), (b":content-type", b"x")], payload)
        for kind, payload in items
    ]
)


def with_botocore(data: bytes) -> list[tuple[bytes, bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    found = []
    for event in buffer:
        kind = event.headers.get(":event-type") or event.headers.get(":exception-type")
        found.append((kind.encode(), event.payload))
    return found


@given(FRAMES, CUTS, FLIPS)
@settings(max_examples=250, deadline=None)
def test_eventstream(frames: list[bytes], cuts: list[int], flips: list[Any]) -> None:
    data = b"".join(frames)
    tokens, status = same_however_cut(EventStreamParser, data, cuts)
    assert [(t.name, t.data) for t in tokens] == with_botocore(data)
    assert status == Status.OK
    tokens, _ = same_however_cut(EventStreamParser, flip(data, flips), cuts)
    sent = with_botocore(data)
    assert all((t.name, t.data) in sent for t in tokens if t.kind == TokenKind.EVENT)  # a checksum that holds, or none


@given(FRAMES.filter(bool), st.data())
@settings(max_examples=250, deadline=None)
def test_eventstream_hole_costs_only_the_frames_it_touches(frames: list[bytes], drawn: st.DataObject) -> None:
    data = b"".join(frames)
    at = drawn.draw(st.integers(0, len(data) - 1))
    size = drawn.draw(st.integers(1, len(data) - at))
    parser = EventStreamParser()
    tokens = parser.feed(data[:at]) + parser.gap(size) + parser.feed(data[at + size :]) + parser.finish()
    begins = [sum(map(len, frames[:i])) for i in range(len(frames))]
    untouched = [f for b, f in zip(begins, frames, strict=True) if b + len(f) <= at or b >= at + size]
    assert [(t.name, t.data) for t in tokens if t.kind == TokenKind.EVENT] == with_botocore(b"".join(untouched))
    assert sum(t.number for t in tokens if t.kind == TokenKind.GAP and not t.flags & 6) == size


@st.composite
def socket(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, int]]]:
    """Frames by wsproto, of a client (masked) or a server; and the messages in them."""
    protocol = FrameProtocol(client=draw(st.booleans()), extensions=[])
    wire, sent = b"", []
    for _ in range(draw(st.integers(0, 4))):
        pieces = draw(st.lists(st.binary(max_size=150), min_size=1, max_size=3))
        for i, piece in enumerate(pieces):
            wire += protocol.send_data(piece, fin=i == len(pieces) - 1)
            if draw(st.booleans()):
                wire += protocol.ping(draw(st.binary(max_size=20)))
        sent.append((b"".join(pieces), int(Opcode.BINARY)))
    return wire, sent


@given(socket(), CUTS, FLIPS)
@settings(max_examples=250, deadline=None)
def test_websocket(made: tuple[bytes, list[tuple[bytes, int]]], cuts: list[int], flips: list[Any]) -> None:
    wire, sent = made
    tokens, status = same_however_cut(WebSocketParser, wire, cuts)
    assert [(t.data, t.flags) for t in tokens] == sent
    assert status == Status.OK
    closed = wire + FrameProtocol(client=False, extensions=[]).close(1001, "bye")
    last = same_however_cut(WebSocketParser, closed, cuts)[0][-1]
    assert (last.kind, last.number, last.data) == (TokenKind.END, 1001, b"bye")
    for limit in (20, 1 << 20):
        same_however_cut(lambda limit=limit: WebSocketParser(message_max=limit), flip(closed, flips), cuts)


@given(st.lists(st.lists(st.text(max_size=60), min_size=1, max_size=3), max_size=4), st.booleans(), CUTS)
@settings(max_examples=100, deadline=None)
def test_websocket_with_permessage_deflate(messages: list[list[str]], client: bool, cuts: list[int]) -> None:
    """What wsproto compressed, the window going from message to message, comes back; empty ones too."""
    extension = PerMessageDeflate()
    extension.finalize("permessage-deflate")
    protocol = FrameProtocol(client=client, extensions=[extension])
    wire = b"".join(
        protocol.send_data(piece, fin=i == len(pieces) - 1) for pieces in messages for i, piece in enumerate(pieces)
    )
    tokens, status = same_however_cut(WebSocketParser, wire, cuts)
    inflater = Inflater("deflate-raw")
    assert [t.flags for t in tokens] == [0x11] * len(messages)
    assert [inflater.decode(t.data + b"\0\0\xff\xff").decode() for t in tokens] == ["".join(p) for p in messages]
    assert status == Status.OK


@given(st.lists(st.tuples(st.sampled_from([0, 1, 0x80]), st.binary(max_size=40)), max_size=5), CUTS, FLIPS)
@settings(max_examples=250, deadline=None)
def test_grpc(messages: list[tuple[int, bytes]], cuts: list[int], flips: list[Any]) -> None:
    data = b"".join(bytes([flags]) + struct.pack(">I", len(body)) + body for flags, body in messages)
    tokens, status = same_however_cut(GrpcParser, data, cuts)
    assert [(t.data, t.flags) for t in tokens] == [(b, f & 0x80 | (f & 1) << 4) for f, b in messages]
    assert status == Status.OK
    same_however_cut(lambda: GrpcParser(message_max=60), flip(data, flips), cuts)
