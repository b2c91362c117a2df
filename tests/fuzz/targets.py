# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: bytes in, and an AssertionError where the invariant does not hold.

Parsers: any bytes, any split, any holes give OK, MORE, BAD or LIMIT, the same tokens however they were cut, memory
within the bound. The first three bytes of an input choose the parser's options, the cuts and the holes; the rest is
data.

The engine: any connections, any interleaving, any holes, any records. Every line that comes out is an event that json,
msgspec and orjson read alike, and the lines are the same however the segments were cut.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import brotli
import msgspec
import orjson
from hpack import Encoder

from oisp_core import Engine, validate
from oisp_core.errors import RecordingError
from oisp_core.limits import Limits
from oisp_core.reassemble.codecs import zstd
from oisp_core.reassemble.content import Inflater
from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.hpack import HpackDecoder
from oisp_core.reassemble.http1 import Http1Parser, probe
from oisp_core.reassemble.http2 import Http2Parser, role_of
from oisp_core.reassemble.multipart import MultipartParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.sniff import sniff_bytes
from oisp_core.reassemble.sse import SseParser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from oisp_core.reassemble.websocket import WebSocketParser
from tests.reference.h2wire import JSON, SSE, Talk, goaway, reset, streamed
from tests.reference.h2wire import data as data_frame
from tests.reference.hpack import Bad, Decoder
from tests.reference.vectors import VECTORS, join_data, parse
from tests.reference.wire import START, TICK, answer, request, stream

INPUT_MAX = 4000
BOUND = 200
"""What half of the options bound a parser by: head_max, event_max and so on."""

HELD_MAX = 4 * 4096
"""What a parser may have allocated after so much input: a buffer doubles, and a type may stand behind its event."""

# The quartet of each parser, under several options.
PARSERS: dict[str, list[Callable[[], Any]]] = {
    "http1": [
        lambda: Http1Parser("request"),
        lambda: Http1Parser("response"),
        lambda: Http1Parser("request", head_max=BOUND, fields_max=3),
        lambda: Http1Parser("response", head_max=BOUND, fields_max=3),
    ],
    "http2": [
        lambda: Http2Parser("request"),
        lambda: Http2Parser("response"),
        lambda: Http2Parser("request", head_max=BOUND, fields_max=3, table_max=64),
        lambda: Http2Parser("response", head_max=BOUND, fields_max=3, table_max=64),
    ],
    "sse": [SseParser, lambda: SseParser(event_max=BOUND)],
    "ndjson": [
        NdjsonParser,
        lambda: NdjsonParser(array=True),
        lambda: NdjsonParser(value_max=BOUND),
        lambda: NdjsonParser(array=True, value_max=BOUND),
    ],
    "eventstream": [EventStreamParser, lambda: EventStreamParser(frame_max=BOUND)],
    "websocket": [WebSocketParser, lambda: WebSocketParser(message_max=BOUND)],
    "grpc": [GrpcParser, lambda: GrpcParser(message_max=BOUND)],
    "multipart": [
        lambda: MultipartParser("multipart/form-data; boundary=b"),
        lambda: MultipartParser("multipart/form-data; boundary=b", head_max=BOUND, value_max=9),
    ],
}


class Target(NamedTuple):
    """`one` takes any bytes; `seeds` are inputs that reach far."""

    one: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


# --- parsers ----------------------------------------------------------------------------------------------------------

Cut = Callable[[int], list[int]]


def steps(rng: random.Random, data: bytes) -> list[bytes | int]:
    """The data in runs, with holes (numbers) in place of some of it."""
    if not data or rng.random() < 0.5:
        return [data]
    at = rng.randrange(len(data))
    size = rng.choice([1, 2, rng.randrange(1, 40), 2**40])
    return [data[:at], size, data[at + size :]]


def run(make: Callable[[], Any], plan: list[bytes | int], cut: Cut) -> tuple[list[Token], Status]:
    parser = make()
    tokens: list[Token] = []
    for step in plan:
        if isinstance(step, int):
            tokens += parser.gap(step)
            continue
        edges = [0, *sorted(cut(len(step))), len(step)]
        for begin, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007
            tokens += parser.feed(step[begin:end])
            assert parser.status in (Status.OK, Status.MORE, Status.BAD, Status.LIMIT)
            assert parser.held <= HELD_MAX, f"{parser.held} bytes are held"
    status = parser.status
    tokens += parser.finish()
    parser.reset()
    assert parser.held == 0, "reset keeps memory"
    return join_data(tokens), status


def parser_target(name: str) -> Target:
    """Whole, byte by byte and cut at random give the same; no token is larger than what came in."""

    def one(data: bytes) -> None:
        if len(data) < 3:
            return
        make = PARSERS[name][data[0] % len(PARSERS[name])]
        rng = random.Random(data[1:3])
        plan = steps(rng, data[3:INPUT_MAX])
        whole = run(make, plan, lambda n: [])
        assert run(make, plan, lambda n: list(range(n))) == whole, f"byte by byte: {plan}"
        assert run(make, plan, lambda n: [rng.randrange(n + 1) for _ in range(3)]) == whole, f"cut at random: {plan}"
        given = sum(len(t.data) for t in whole[0] if t.kind in (TokenKind.DATA, TokenKind.EVENT))
        assert given <= len(data) + 64

    def seeds() -> list[bytes]:
        """The runs of bytes of the vectors."""
        vectors = [v for path in sorted((VECTORS / name).glob("*.md")) for v in parse(path)]
        data = [b"".join(s for s in vector.steps if isinstance(s, bytes)) for vector in vectors]
        return [bytes([i % len(PARSERS[name]), i % 5, 0]) + d for i, d in enumerate(data)]

    return Target(one, seeds)


def sniff(data: bytes) -> None:
    sniff_bytes(data)
    assert probe("request", data) in (Status.OK, Status.MORE, Status.BAD)
    assert probe("response", data) in (Status.OK, Status.MORE, Status.BAD)


def sniff_seeds() -> list[bytes]:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    return [request(), answer(), preface, b"\x81\x05Hello", b"\x16\x03\x01\0\x05", b"SSH-2.0-x\r\n"]


# --- HTTP/2 -----------------------------------------------------------------------------------------------------------


def hpack(data: bytes) -> None:
    """Blocks, each after a byte of its size (255: blocks are lost here), as the twin reads them."""
    ours, twin = HpackDecoder(), Decoder()
    at = 0
    while at < len(data):
        size, at = data[at], at + 1
        if size == 255:
            ours.lost()
            twin.lost()
            continue
        block, at = data[at : at + size], at + size
        tokens = ours.decode(block)
        try:
            expected, status = twin.decode(block), Status.OK
        except Bad as error:
            expected, status = error.args[0], Status.BAD
        found = [(t.offset, None if t.flags & 2 else t.name, t.data, bool(t.flags & 1)) for t in tokens]
        assert (found, ours.status, ours.unknown) == (expected, status, twin.unknown)
        assert (ours.table, ours.certain) == (twin.table, not twin.unsure)
        assert ours.held <= 3 * 4096
        if status == Status.BAD:
            return


def hpack_seeds() -> list[bytes]:
    vectors = [v for path in sorted((VECTORS / "hpack").glob("*.md")) for v in parse(path)]
    return [
        b"".join(bytes([len(s)]) + s if isinstance(s, bytes) else b"\xff" * (s[0] == "lost") for s in vector.steps)
        for vector in vectors
    ]


def midway(data: bytes) -> None:
    """A connection joined in its middle, or read on after a hole: bounded, and never ahead of what came."""
    if not data:
        return
    role: Any = "request" if data[0] & 1 else "response"
    parser = Http2Parser(role, midway=True, table_max=4096)
    step = data[0] // 2 + 1
    for i in range(1, len(data), step):
        for token in parser.feed(data[i : i + step]):
            assert token.offset <= parser.offset
        assert parser.held <= 4 * 98304
        assert parser.memory <= 5 * 98304
        if parser.status == Status.BAD:
            parser.resync()
        if data[i] == 0xFD:
            parser.gap(data[i - 1])
    parser.finish()
    assert parser.skipped <= parser.offset
    assert role_of(data) in ("request", "response", None)


def midway_seeds() -> list[bytes]:
    return [bytes([i % 64]) + segment for dialog in talks() for i, (_, segment) in enumerate(dialog)]


def talks() -> list[list[tuple[str, bytes]]]:
    """Connections of HTTP/2."""
    plain, mixed, odd = Talk(), Talk(), Talk()
    plain.ask(1, "hi")
    plain.answer(1, "hello")
    plain.ask(3, "more")
    plain.answer(3, "fine", length=False)
    for stream_id in (1, 3):
        mixed.ask(stream_id, "q", stream=True)
        mixed.reply(mixed.server.head(stream_id, SSE))
    for n, event in enumerate(events := streamed(["a", "b"])):
        for stream_id in (3, 1):
            mixed.reply(data_frame(stream_id, event, end=n == len(events) - 1))
    odd.ask(1, "q")
    odd.reply(odd.server.head(1, JSON), reset(1), goaway(0))
    odd.segments.insert(5, ("!", b"<20"))
    return [plain.segments, mixed.segments, odd.segments]


# --- content codings --------------------------------------------------------------------------------------------------

CODINGS = [["gzip"], ["deflate"], ["br"], ["zstd"], ["gzip", "br"], ["deflate-raw"], ["zstd", "zstd", "gzip"]]
OUT_MAX = 3000


def inflate(coding: list[str], pieces: Iterator[bytes]) -> tuple[bytes, Status]:
    inflater = Inflater(coding, ratio=100)
    out = b""
    for piece in pieces:
        out += inflater.decode(piece, max=OUT_MAX - len(out))
        assert inflater.status in (Status.OK, Status.BAD, Status.LIMIT)
    return out, inflater.end()


def content(data: bytes) -> None:
    """Bounded output, a status, never an exception, the same however it was cut.

    Of a piece that is corrupt a codec gives nothing, not even what came before the fault: there the shorter answer is
    the start of the longer one.
    """
    if len(data) < 2:
        return
    coding, step, coded = CODINGS[data[0] % len(CODINGS)], data[1] % 16 + 1, data[2:]
    whole, status = inflate(coding, iter([coded]))
    assert len(whole) <= OUT_MAX
    cut, cut_status = inflate(coding, (coded[i : i + step] for i in range(0, len(coded), step)))
    if Status.BAD in (status, cut_status):
        assert whole.startswith(cut) or cut.startswith(whole)
    else:
        assert (cut, cut_status) == (whole, status)


def content_seeds() -> list[bytes]:
    text = b"data: some words, some more words\n\n" * 20
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstd.compress,
        "deflate-raw": lambda d: zlib.compress(d)[2:-4],
    }
    found = []
    for number, coding in enumerate(CODINGS):
        for plain in (text, b"", bytes(4000)):
            for name in coding:
                plain = pack[name](plain)
            found.append(bytes([number, number]) + plain)
    return found


# --- the engine -------------------------------------------------------------------------------------------------------

# An input is four bytes of options, then segments: 0xFE, a letter that says whose, and bytes. No text has a 0xFE.
MARK = b"\xfe"
SPEAKERS: dict[int, tuple[int, Any]] = {
    ord(">"): (1, ">"),
    ord("<"): (1, "<"),
    ord(")"): (2, ">"),
    ord("("): (2, "<"),
    ord("w"): (3, "write"),
    ord("r"): (3, "read"),
}
SMALL = Limits(
    head_bytes=1024, head_fields=16, body_bytes=1024, event_bytes=1024, arena_bytes=1024, items=16, json_depth=16,
    connections=2, streams=2, pipeline=2, table_bytes=4096, inflate_ratio=2, linked_calls=16, total_bytes=1 << 20,
)  # fmt: skip
USUAL = Limits(linked_calls=16)  # a smaller table is sooner made
ULID = re.compile(rb'"[0-9A-HJKMNP-TV-Z]{26}"')
VALIDATOR = validate.Validator()
POLICIES: list[Any] = ["metadata", "redacted", "full"]


class Scene(NamedTuple):
    """What an input means: options of the engine, whether offsets are told, cuts, and the segments."""

    options: dict[str, Any]
    offsets: bool
    seed: int
    segments: list[tuple[int, bytes]]


def scene(data: bytes) -> Scene | None:
    head, *parts = data.split(MARK)
    if len(head) < 4:
        return None
    limits = SMALL if head[1] & 2 else USUAL
    options = {"content": POLICIES[head[0] % 3], "chunks": bool(head[1] & 1), "id_seed": 1, "limits": limits}
    segments = [(part[0], part[1:]) for part in parts if part]
    return Scene(options, bool(head[1] & 4), head[2] | head[3] << 8, segments)


def play(told: Scene, cut: Callable[[bytes], list[bytes]]) -> tuple[bytes, bool]:
    """The lines, and whether they may depend on the cuts: a boundary was looked for. That a program writes a message's
    head in a call of its own is what makes a segment's first byte one at once (elsewhere three messages in a row are
    asked for), so that cuts which no program made are other evidence. Bytes alone would be the same however they are
    cut, and would leave every message after a loss unread until three more came.

    A hole is `!`, then whose, then its size in decimal or nothing; `x` closes connection 1."""
    engine = Engine(**told.options)
    at: dict[int, int] = {}
    for index, (kind, data) in enumerate(told.segments):
        now = START + index * TICK
        if kind in SPEAKERS:
            conn, direction = SPEAKERS[kind]
            for piece in cut(data):
                offset = at.get(kind, 0)
                assert engine.feed(conn, direction, now, piece, offset if told.offsets else None) == Status.OK
                at[kind] = offset + len(piece)
        elif kind == ord("!") and data and data[0] in SPEAKERS:
            size = int(data[1:10]) if data[1:10].isdigit() else None
            engine.gap(*SPEAKERS[data[0]], size)
            at[data[0]] = at.get(data[0], 0) + (size or 0)
        elif kind == ord("x"):
            engine.close(1, now)
        elif kind == ord("t"):
            engine.advance(now + 3600 * 1000 * TICK)
    engine.verdicts()
    engine.close(None, START + len(told.segments) * TICK)
    counts = engine.stats()
    return engine.drain(), counts["resyncs"] + counts["resync_bytes"] > 0


def check_lines(lines: bytes) -> None:
    assert not lines or lines.endswith(b"\n")
    for line in lines.splitlines():
        event = json.loads(line)
        assert msgspec.json.decode(line) == event
        assert orjson.loads(line) == event
        assert VALIDATOR.problems(line) == []


def same(lines: bytes, others: bytes) -> bool:
    """Equal, but for one thing: of a compressed piece that is corrupt its codec gives nothing, not even what came
    before the fault, so that it depends on the cuts how much of it is known. No codec can be asked for less, or set
    back (but zlib's, whose copy costs more than the piece); TLS lets nothing corrupt pass that was not sent so; and
    the event says that its encoding could not be read. What else happened is the same."""
    if lines == others:
        return True
    return b'"encoding_unreadable"' in lines + others and readable(lines) == readable(others)


def readable(lines: bytes) -> list[bytes]:
    """Lines of exchanges whose encoding could be read, without ids: these are counted."""
    events = [(line, json.loads(line)) for line in lines.splitlines()]
    gone = {e["data"].get("request_id") for _, e in events if "encoding_unreadable" in e["confidence"]["reasons"]}
    return [ULID.sub(b"", line) for line, e in events if e["data"].get("request_id") not in gone]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def engine(data: bytes) -> None:
    told = scene(data[:INPUT_MAX])
    if told is None:
        return
    whole = play(told, lambda d: [d])
    check_lines(whole[0])
    rng = random.Random(told.seed)

    def at_random(data: bytes) -> list[bytes]:
        edges = [0, *sorted(rng.randrange(len(data) + 1) for _ in range(3)), len(data)]
        return [data[b:e] for b, e in zip(edges, edges[1:], strict=False) if e > b]  # noqa: RUF007

    for name, cut in {"cut at random": at_random, "byte by byte": bytewise}.items():
        lines, searched = play(told, cut)
        check_lines(lines)
        assert searched or whole[1] or same(lines, whole[0]), name
    check_lines(play(told._replace(segments=interleaved(told.segments, rng)), lambda d: [d])[0])


def interleaved(segments: list[tuple[int, bytes]], rng: random.Random) -> list[tuple[int, bytes]]:
    """Cut in pieces, and these in another order; each direction keeps its own."""
    queues: dict[int, list[bytes]] = {}
    for kind, data in segments:
        middle = rng.randrange(len(data) + 1)
        queues.setdefault(kind, []).extend([data[:middle], data[middle:]] if kind in SPEAKERS else [data])
    order = [kind for kind, pieces in queues.items() for _ in pieces]
    rng.shuffle(order)
    return [(kind, queues[kind].pop(0)) for kind in order]


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join([first, *fields, "", ""]).encode()


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Of HTTP/2, of stream 1 where it is not of the connection."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + (0 if kind == 4 else 1).to_bytes(4) + payload


def http2_dialog() -> list[tuple[str, bytes]]:
    """The usual exchange; heads without Huffman, so that no byte of them is the mark."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "api.openai.com")]
    fields += [
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-x"),
    ]
    asks, body = frame(1, 4, Encoder().encode(fields, huffman=False)), request().partition(b"\r\n\r\n")[2]
    told = [(":status", "200"), ("content-type", "application/json")]
    answers, text = frame(1, 4, Encoder().encode(told, huffman=False)), answer().partition(b"\r\n\r\n")[2]
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, b"")
    return [
        (">", preface + asks + frame(0, 1, body)),
        ("<", frame(4, 0, b"") + frame(4, 1, b"") + answers + frame(0, 0, text[:50])),
        ("<", frame(0, 1, text[50:])),
    ]


def engine_seeds() -> list[bytes]:
    event = b'data: {"model":"gpt-4o","choices":[]}\n\n'
    sse = head("HTTP/1.1 200 OK", "Content-Type: text/event-stream") + event
    upgrade = head("GET /v1/realtime?model=gpt-4o HTTP/1.1", "Host: api.openai.com", "Upgrade: websocket")
    switched = head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    coded = gzip.compress(answer().partition(b"\r\n\r\n")[2])
    fields = ("Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(coded)}")
    zipped = head("HTTP/1.1 200 OK", *fields) + coded
    chunked = head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + b"3\r\n{}\n\r\n0\r\nT: x\r\n\r\n"
    form = head("POST /v1/audio/transcriptions HTTP/1.1", "Host: api.openai.com", "Content-Length: 70",
                "Content-Type: multipart/form-data; boundary=b")  # fmt: skip
    form += b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    asked, told = (">", request()), ("<", answer())
    dialogs: list[list[tuple[str, bytes]]] = [
        [asked, told],
        [(">", request(stream=True)), ("<", stream(["a", "b \U0001f600", 'c\\"']))],
        [(">", request("1") + request("2")), ("<", answer("1") + answer("2"))],
        [asked, (")", request("2")), ("(", stream(["x"])), told],
        [("w", request()), ("r", answer()), ("w", request()), ("x", b""), ("t", b"")],
        [(">", request()[:200]), ("!", b">20"), (">", request()[220:]), told, asked, told],
        [asked, ("<", answer()[:30]), ("!", b"<"), told, asked, told],
        [asked, ("<", sse)],
        [asked, ("<", zipped)],
        [(">", upgrade), ("<", switched), (">", b'\x81\x0c{"type":"x"}'), ("<", b"\x81\x02{}\x88\x00")],
        http2_dialog(),
        [(">", chunked), ("<", head("HTTP/1.0 204 No"))],
        [(">", form), told],
        *talks(),
    ]
    return [
        bytes([i % 3, i % 8, i, 0]) + b"".join(MARK + kind.encode() + data for kind, data in dialog)
        for i, dialog in enumerate(dialogs)
    ]


# --- records ----------------------------------------------------------------------------------------------------------


def record(kind: int, body: bytes) -> bytes:
    """A record of the ABI: size, kind, flags, body, zeros to a multiple of eight."""
    size = 8 + len(body)
    padding = -size % 8
    return struct.pack("<IHH", size + padding, kind, 0) + body + bytes(padding)


def data_record(conn: int, direction: int, ts: int, offset: int, payload: bytes) -> bytes:
    fixed = struct.pack(
        "<QQQQQQQIIIIIHBB", conn, ts, ts, offset, len(payload), 0, 5, 7, 7, 0, len(payload), 0, 88, direction, 0
    )
    return record(1, fixed + payload)


def packed(data: bytes) -> None:
    """Any buffer: all of it is taken, or nothing and a RecordingError; the same lines where each record comes alone."""

    def new() -> Engine:
        return Engine(content="full", id_seed=1, clock_base_ns=START, limits=USUAL)

    whole = new()
    try:
        assert whole.feed_packed(data) == Status.OK
    except RecordingError:
        assert whole.stats()["records"] == 0
        return
    whole.close()
    lines = whole.drain()
    check_lines(lines)
    if data.startswith(b"OISIOSP\x01"):
        return  # its header belongs to all of it
    single = new()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        single.feed_packed(data[at : at + size])
        at += size
    single.close()
    assert single.drain() == lines


def packed_seeds() -> list[bytes]:
    exchange = data_record(5, 0, 1000, 0, request()) + data_record(5, 1, 2_001_000, 0, answer())
    header = struct.pack("<8sIIQII", b"OISIOSP\x01", 1, 32, START, 0, 0)
    others = b"".join(record(kind, struct.pack("<QQ", 5, 500) + bytes(104)) for kind in range(9))
    return [exchange, header + exchange, others, data_record(5, 0, 1000, 0, request()) + others]


TARGETS: dict[str, Target] = {
    **{name: parser_target(name) for name in PARSERS},
    "hpack": Target(hpack, hpack_seeds),
    "http2-midway": Target(midway, midway_seeds),
    "sniff": Target(sniff, sniff_seeds),
    "content": Target(content, content_seeds),
    "engine": Target(engine, engine_seeds),
    "packed": Target(packed, packed_seeds),
}
