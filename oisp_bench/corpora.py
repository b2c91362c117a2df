# SPDX-License-Identifier: Apache-2.0
"""Traffic for the cases: exchanges laid over connections, cut into segments, as calls and as packed ABI records.

A corpus is made from its parameters and a seed alone: the same parameters give the same bytes on every machine, and
`digest` names them. Recorded traffic comes in from a path (recorded.py) and is the same from here on.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import brotli  # type: ignore[import-untyped]

from oisp_bench import traffic
from oisp_bench.traffic import Exchange, chunk, pieces_of
from oisp_bench.words import letters
from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import load_dialects
from oisp_core.errors import ConfigError
from oisp_core.reassemble.codecs import zstd

__all__ = ["BATCH", "KINDS", "START_NS", "Call", "Corpus", "Segment", "hit_rate", "make"]

MIX_DELTAS = 60  # of each stream in the mix
START_NS = 1_764_042_024_000_000_000
STEP_NS = 250_000  # between two segments of a corpus
BATCH = 262_144  # bytes of records that are handed over at once: what a poll of the kernel's ring gives under load
_DATA = struct.Struct("<IHHQQQQQQQIIIIIHBB")
_CONTEXT = struct.Struct("<IHHQII")
_HEAD = struct.Struct("<IHH")

Segment = tuple[int, int, int, bytes]  # connection, direction (0 to the server, 1 back), time, bytes
Call = tuple[int, Literal[">", "<"], int, bytes, int]  # of Engine.feed


@dataclass(slots=True)
class Corpus:
    """What was sent, in order of time, and what it says."""

    name: str
    segments: list[Segment]
    contexts: dict[int, bytes]  # connection -> members for set_context()
    truth: dict[int, list[dict[str, Any]]]  # connection -> its AI exchanges in order
    exchanges: int = 0
    deltas: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    made: dict[int, list[bytes]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(len(data) for _, _, _, data in self.segments)

    @property
    def digest(self) -> str:
        """Names the traffic. Compressed, it is named by what was compressed: codecs differ from version to version."""
        plain = self.facts.get("plain")
        if plain is not None:
            return str(plain)
        whole = hashlib.sha256()
        for conn, way, ts, data in self.segments:
            whole.update(struct.pack("<QBQI", conn, way, ts, len(data)))
            whole.update(data)
        return whole.hexdigest()[:16]

    def call_batches(self) -> list[list[Call]]:
        """The same in lists of about BATCH bytes of payload each, as `packed` has them in buffers."""
        batches: list[list[Call]] = [[]]
        have = 0
        for call in self.calls():
            batches[-1].append(call)
            have += len(call[3])
            if have >= BATCH:
                batches.append([])
                have = 0
        return batches

    def calls(self) -> list[Call]:
        """Arguments of Engine.feed, one call a segment."""
        offsets: dict[tuple[int, int], int] = {}
        made: list[Call] = []
        for conn, way, ts, data in self.segments:
            at = offsets.get((conn, way), 0)
            offsets[conn, way] = at + len(data)
            made.append((conn, "<" if way else ">", ts, data, at))
        return made

    def packed(self, batch: int = BATCH) -> list[bytes]:
        """ABI records (oisp/record.h) in buffers of about `batch` bytes; contexts first where a connection begins.

        Made once: all that read records read the same ones, so that none finds them warmer in the caches than another.
        """
        if batch not in self.made:
            self.made[batch] = self._pack(batch)
        return self.made[batch]

    def _pack(self, batch: int) -> list[bytes]:
        buffers: list[bytes] = []
        now: list[bytes] = []
        have = 0
        offsets: dict[tuple[int, int], int] = {}
        for conn, way, ts, data in self.segments:
            records = (
                [] if (conn, 0) in offsets or (conn, 1) in offsets else [context_record(conn, self.contexts[conn])]
            )
            at = offsets.get((conn, way), 0)
            offsets[conn, way] = at + len(data)
            records.append(data_record(conn, way, ts, at, data))
            now += records
            have += sum(map(len, records))
            if have >= batch:
                buffers.append(b"".join(now))
                now, have = [], 0
        return [*buffers, b"".join(now)] if now else buffers

    def recording(self) -> bytes:
        """As a file that `oisp-sensor replay` reads."""
        info = json.dumps({"tool": f"oisp-bench corpus {self.name}", "digest": self.digest}).encode()
        size = -(-(32 + len(info)) // 8) * 8
        head = struct.pack("<8sIIQII", b"OISIOSP\x01", 1, size, 0, len(info), 0) + info
        return head.ljust(size, b"\0") + b"".join(self.packed())


def data_record(conn: int, way: int, ts: int, offset: int, data: bytes) -> bytes:
    size = _DATA.size + len(data)
    whole = -(-size // 8) * 8
    head = _DATA.pack(
        whole, 1, 0, conn, ts, ts, offset, len(data), 0, 0, 4242, 4242, 1000, len(data), 0, _DATA.size, way, 0
    )
    return head + data + bytes(whole - size)


def context_record(conn: int, members: bytes) -> bytes:
    size = _CONTEXT.size + len(members)
    whole = -(-size // 8) * 8
    return _CONTEXT.pack(whole, 7, 0, conn, len(members), 0) + members + bytes(whole - size)


def context_of(conn: int) -> bytes:
    """What the sensor knows of a process, as it gives it to the engine."""
    return (
        b'"host":{"hostname":"build-7","os":"linux","arch":"x86_64","kernel_version":"6.1.0"},"actor":{"uid":1000,'
        b'"user":"alice"},"process":{"pid":%d,"ppid":4100,"exe":"/usr/bin/python3.11","name":"python3","cmdline":'
        b'"python3 agent.py","cwd":"/home/alice/project","start_time":"2025-12-22T14:00:00.000000Z"},"source":'
        b'{"collector":"oisp-sensor","collector_version":"0.1.0","capture_method":"ebpf_uprobe"}' % (4000 + conn)
    )


# --- laying exchanges over connections ---


def lay(name: str, seed: int, connections: list[list[Exchange]], *, shuffled: bool, first: int = 1) -> Corpus:
    """Each connection's pieces stay in order; which connection is next is drawn (`shuffled`), or they take turns."""
    rng = random.Random(seed)
    queues = [_pieces(exchanges) for exchanges in connections]
    order = [i for _, i in sorted((turn, i) for i, queue in enumerate(queues) for turn in range(len(queue)))]
    if shuffled:
        rng.shuffle(order)
    places = [0] * len(queues)
    segments: list[Segment] = []
    for number, index in enumerate(order):
        way, data = queues[index][places[index]]
        places[index] += 1
        segments.append((first + index, way, START_NS + number * STEP_NS, data))
    truth = {
        first + i: [t for e in exchanges for t in [*e.truths, *([e.truth] if e.truth is not None else [])]]
        for i, exchanges in enumerate(connections)
    }
    return Corpus(
        name,
        segments,
        {first + i: context_of(first + i) for i in range(len(connections))},
        truth,
        sum(len(e.truths) or 1 for exchanges in connections for e in exchanges),
        sum(e.deltas for exchanges in connections for e in exchanges),
    )


def _pieces(exchanges: list[Exchange]) -> list[tuple[int, bytes]]:
    return [
        piece for e in exchanges for piece in e.woven or [*((0, p) for p in e.request), *((1, p) for p in e.response)]
    ]


# --- the kinds of corpus ---


def key_of(rng: random.Random, provider: str) -> str:
    return ("sk-ant-api03-" if provider == "anthropic" else "sk-proj-") + letters(rng, 96)


def whole(request: traffic.Body, answer: traffic.Body) -> Exchange:
    return Exchange(pieces_of(request.data), pieces_of(answer.data), {**request.truth, **answer.truth})


def request_response(seed: int, provider: str, size: int, exchanges: int, connections: int) -> list[list[Exchange]]:
    """Keep-alive connections, requests of about `size` bytes, whole answers of 1.5 KB."""
    rng = random.Random(seed)
    keys = [key_of(rng, provider) for _ in range(4)]
    made: list[list[Exchange]] = [[] for _ in range(connections)]
    for number in range(exchanges):
        key = keys[number % connections % len(keys)]
        if provider == "anthropic":
            one = whole(
                traffic.anthropic_messages(rng, key, size - 300, stream=False), traffic.anthropic_answer(rng, 1100)
            )
        else:
            one = whole(traffic.openai_chat(rng, key, size - 300, stream=False), traffic.openai_answer(rng, 1000))
        made[number % connections].append(one)
    return made


def coded(events: list[bytes], coding: str) -> list[bytes]:
    """The stream with its content coding, flushed after each event as servers do."""
    if coding == "gzip":
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        pieces = [packer.compress(e) + packer.flush(zlib.Z_SYNC_FLUSH) for e in events]
        return [*pieces, packer.flush()]
    if coding == "br":
        brotlier = brotli.Compressor(quality=4)
        return [*(brotlier.process(e) + brotlier.flush() for e in events), brotlier.finish()]
    zstder = zstd.ZstdCompressor()
    return [*(zstder.compress(e, zstder.FLUSH_BLOCK) for e in events), zstder.flush()]


class Dialect:
    """How a streamed exchange of one dialect is made."""

    def __init__(
        self,
        ask: Callable[[random.Random, str, int], traffic.Body],
        stream: Callable[[random.Random, int], tuple[list[bytes], dict[str, Any]]],
        content_type: str,
        provider: str,
        name: str,
    ) -> None:
        self.ask, self.stream, self.content_type, self.provider = ask, stream, content_type, provider
        self.name = name


EVENTS = "text/event-stream; charset=utf-8"
DIALECTS = {
    "openai": Dialect(
        lambda rng, key, size: traffic.openai_chat(rng, key, size, stream=True),
        lambda rng, count: traffic.openai_stream(rng, count, obfuscated=False),
        EVENTS,
        "openai",
        "openai.chat",
    ),
    "openai_obfuscated": Dialect(
        lambda rng, key, size: traffic.openai_chat(rng, key, size, stream=True),
        lambda rng, count: traffic.openai_stream(rng, count, obfuscated=True),
        EVENTS,
        "openai",
        "openai.chat",
    ),
    "anthropic": Dialect(
        lambda rng, key, size: traffic.anthropic_messages(rng, key, size, stream=True),
        traffic.anthropic_stream,
        EVENTS,
        "anthropic",
        "anthropic.messages",
    ),
    "responses": Dialect(traffic.openai_responses, traffic.responses_stream, EVENTS, "openai", "openai.responses"),
    "gemini": Dialect(traffic.gemini_request, traffic.gemini_stream, "text/event-stream", "google", "gemini.stream"),
    "bedrock": Dialect(
        traffic.bedrock_request,
        traffic.bedrock_stream,
        "application/vnd.amazon.eventstream",
        "aws_bedrock",
        "bedrock.converse-stream",
    ),
    "ollama": Dialect(traffic.ollama_request, traffic.ollama_stream, "application/x-ndjson", "ollama", "ollama.chat"),
}


def streamed(
    seed: int, dialect: str, streams: int, deltas: int, request: int = 2000, segment: int = 0, coding: str = ""
) -> list[list[Exchange]]:
    """One stream a connection. segment 0: each event its own HTTP chunk and its own segment; else bytes a segment."""
    rng = random.Random(seed)
    how = DIALECTS[dialect]
    keys = [key_of(rng, how.provider) for _ in range(4)]
    made = []
    for number in range(streams):
        asked = how.ask(rng, keys[number % len(keys)], request - 300)
        events, said = how.stream(rng, deltas)
        fields = "Transfer-Encoding: chunked" + (f"\r\nContent-Encoding: {coding}" if coding else "")
        start = traffic.answer_head(rng, how.content_type, fields)
        sent = [chunk(piece) for piece in (coded(events, coding) if coding else events) if piece]
        pieces = [start, *sent, b"0\r\n\r\n"]
        if segment:
            pieces = pieces_of(b"".join(pieces), segment)
        made.append([Exchange(pieces_of(asked.data), pieces, {**asked.truth, **said}, deltas)])
    return made


def noise(seed: int, exchanges: int, connections: int) -> list[list[Exchange]]:
    rng = random.Random(seed)
    made: list[list[Exchange]] = [[] for _ in range(connections)]
    for number in range(exchanges):
        made[number % connections].append(traffic.noise(rng))
    return made


def mix(seed: int, connections: int) -> list[list[Exchange]]:
    """Of each hundred connections: 40 that are not AI, 24 with whole answers, 18 OpenAI and 18 Anthropic streams."""
    few = max(connections // 50, 1)
    made = noise(seed, 20 * few * 2, 20 * few)
    made += request_response(seed + 1, "openai", 2000, 8 * few * 3, 8 * few)
    made += request_response(seed + 2, "anthropic", 2000, 4 * few * 3, 4 * few)
    made += streamed(seed + 3, "openai", 9 * few, MIX_DELTAS)
    made += streamed(seed + 4, "anthropic", 9 * few, MIX_DELTAS)
    return made


def http2(
    seed: int, connections: int, batches: int, streams: int, deltas: int, request: int = 2000
) -> list[list[Exchange]]:
    """Connections of HTTP/2 on which `streams` OpenAI streams run at once."""
    from oisp_bench.http2 import connection

    rng = random.Random(seed)
    return [[connection(rng, key_of(rng, "openai"), batches, streams, deltas, request)] for _ in range(connections)]


KINDS: dict[str, Callable[..., list[list[Exchange]]]] = {
    "request_response": request_response,
    "streamed": streamed,
    "noise": noise,
    "mix": mix,
    "http2": http2,
}


def hit_rate(corpus: Corpus) -> float | None:
    """Of the events of its streams, the share that a learned template takes. None where it streams nothing."""
    rng = random.Random(corpus.facts.get("parameters", {}).get("seed", 0))
    fitted = total = 0
    loaded = load_dialects()
    for dialect, streams, deltas in _streams_of(corpus.facts.get("parameters", {})):
        how = DIALECTS[dialect]
        for _ in range(streams):
            decoder = Decoder(loaded, how.name)
            pairs = [_pair(how, event) for event in how.stream(rng, deltas)[0]]
            decoder.events([pair for pair in pairs if pair[1] != b"[DONE]"])
            fitted += decoder.fitted
            total += len(pairs)
    return fitted / total if total else None


def _streams_of(parameters: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Dialect, number and length of streams as a corpus has them: some of each are enough."""
    kind = parameters.get("kind")
    if kind == "streamed":
        return [(parameters["dialect"], min(parameters["streams"], 8), parameters["deltas"])]
    if kind == "http2":
        return [("openai", 8, parameters["deltas"])]
    if kind == "mix":
        return [("openai", 4, MIX_DELTAS), ("anthropic", 4, MIX_DELTAS)]
    return []


def _pair(how: Dialect, event: bytes) -> tuple[bytes, bytes]:
    """Name and data of a piece of a stream: a line, a message of an event stream, or a server-sent event."""
    if how.content_type == "application/x-ndjson":
        return b"", event.strip()
    if how.content_type == "application/vnd.amazon.eventstream":
        size = int.from_bytes(event[4:8], "big")
        at = event.index(b":event-type") + 12  # behind the type of the value
        end = at + 2 + int.from_bytes(event[at : at + 2], "big")
        return event[at + 2 : end], event[12 + size : -4]
    name = data = b""
    for line in event.splitlines():
        if line.startswith(b"event: "):
            name = line[7:]
        elif line.startswith(b"data: "):
            data = line[6:]
    return name, data


def make(name: str, parameters: dict[str, Any], file: str = "") -> Corpus:
    """The corpus that a case names. Raises ConfigError where the parameters are not those of its kind."""
    rest = dict(parameters)
    kind = rest.pop("kind", None)
    if kind == "recorded":
        from oisp_bench.recorded import load

        return load(Path(rest.get("path", "")))
    if kind not in KINDS:
        raise ConfigError(file, key="corpus.kind", expected=(*KINDS, "recorded"), got=kind)
    shuffled = rest.pop("shuffled", kind != "request_response")
    seed = rest.get("seed", 0)
    try:
        connections = KINDS[kind](**rest)
    except (TypeError, KeyError) as error:
        raise ConfigError(file, key="corpus", expected=f"the parameters of {kind}", got=str(error)) from None
    corpus = lay(name, seed, connections, shuffled=shuffled)
    corpus.facts["parameters"] = dict(parameters)
    if rest.get("coding"):
        corpus.facts["plain"] = make(name, {**parameters, "coding": ""}, file).digest
    return corpus
