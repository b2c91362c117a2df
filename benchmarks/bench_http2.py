# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 against hyperframe with hpack, and header blocks against nghttp2's inflater.

python benchmarks/bench_http2.py [--nghttp2 LIBRARY] [--rounds N]

LIBRARY is the shared library of nghttp2 (libnghttp2.so.14); without it that table is left out.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import hpack
import hyperframe.frame

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import TIMES, build, compare, repeated

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
REQUEST = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "api.openai.com"),
    (":path", "/v1/chat/completions"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 2.54.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-package-version", "2.54.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "CPython"),
    ("x-stainless-runtime-version", "3.12.4"),
    ("x-stainless-async", "false"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
]
RESPONSE = [
    (":status", "200"),
    ("content-type", "text/event-stream; charset=utf-8"),
    ("openai-organization", "user-abcdef"),
    ("openai-version", "2020-10-01"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("server", "cloudflare"),
]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def secret(name: str, value: str) -> hpack.NeverIndexedHeaderTuple:
    return hpack.NeverIndexedHeaderTuple(name, value)


def request_blocks(count: int, lengths: Sequence[int] = ()) -> list[bytes]:
    """What a client's encoder makes of its heads: most of it in the table, a key and a length apart."""
    rng, encoder = random.Random(1), hpack.Encoder()
    key = "Bearer sk-proj-" + "a1B2c3D4" * 18
    sizes = lengths or [rng.randrange(200, 90000) for _ in range(count)]
    return [
        encoder.encode([*REQUEST, secret("authorization", key), secret("content-length", str(size))]) for size in sizes
    ]


def response_blocks(count: int) -> list[bytes]:
    """Heads of a server behind a proxy: ids, times and counters change with every answer, and go into the table."""
    rng, encoder = random.Random(2), hpack.Encoder()
    return [
        encoder.encode(
            [
                *RESPONSE,
                ("date", f"Wed, 25 Nov 2026 03:{rng.randrange(60):02}:{rng.randrange(60):02} GMT"),
                ("openai-processing-ms", str(rng.randrange(100, 9000))),
                ("x-request-id", f"req_{rng.getrandbits(128):032x}"),
                ("x-ratelimit-remaining-requests", str(rng.randrange(10000))),
                ("x-ratelimit-remaining-tokens", str(rng.randrange(1000000))),
                ("cf-ray", f"{rng.getrandbits(64):016x}-FRA"),
            ]
        )
        for _ in range(count)
    ]


def new_blocks(count: int) -> list[bytes]:
    """As the first head of a connection is: everything literal, Huffman-coded, and put into a table that is full."""
    rng = random.Random(3)
    encoder = hpack.Encoder()
    made = []
    for _ in range(count):
        fields = [(name, value + f"{rng.getrandbits(24):06x}") for name, value in REQUEST[2:]]
        made.append(encoder.encode([*REQUEST[:2], *fields]))
    return made


def streams(connections: int, at_once: int, deltas: int) -> list[bytes]:
    """Streamed answers, interleaved: each delta a DATA frame and a segment of its own."""
    rng = random.Random(4)
    made = [SETTINGS]
    blocks = iter(response_blocks(connections * at_once))
    for c in range(connections):
        ids = [2 * (c * at_once + k) + 1 for k in range(at_once)]
        made += [frame(1, 4, stream, next(blocks)) for stream in ids]
        for n in range(deltas):
            rng.shuffle(ids)
            for stream in ids:
                text = b"y" * rng.randrange(180, 300)
                data = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%s"}}]}\n\n' % text
                made.append(frame(0, n == deltas - 1, stream, data))
    return made


def requests(count: int) -> list[bytes]:
    """A head and a small body, one exchange a segment."""
    rng = random.Random(5)
    made = [PREFACE + SETTINGS]
    bodies = [b'{"model":"gpt-5","input":"' + b"x" * rng.randrange(20, 200) + b'"}' for _ in range(count)]
    for n, (block, body) in enumerate(zip(request_blocks(count, [*map(len, bodies)]), bodies, strict=True)):
        made.append(frame(1, 4, 2 * n + 1, block) + frame(0, 1, 2 * n + 1, body))
    return made


def joined(segments: list[bytes], size: int) -> list[bytes]:
    """The same stream in segments of one size."""
    stream = b"".join(segments)
    return [stream[i : i + size] for i in range(0, len(stream), size)]


def with_hyperframe(segments: list[bytes], role: str) -> tuple[int, int, int, int]:
    """What a Python user of hyperframe and hpack does: frames out of a buffer, heads decoded, bodies gathered."""
    decoder = hpack.Decoder()
    buffer = bytearray()
    skip = len(PREFACE) if role == "request" else 0
    bodies: dict[int, list[bytes]] = {}
    messages = fields = text = body = 0
    for segment in segments:
        buffer += segment
        if skip and len(buffer) >= skip:
            del buffer[:skip]
            skip = 0
        at = 0
        view = memoryview(bytes(buffer))
        while len(view) - at >= 9:
            one, size = hyperframe.frame.Frame.parse_frame_header(view[at : at + 9])
            if len(view) - at < 9 + size:
                break
            one.parse_body(view[at + 9 : at + 9 + size])
            at += 9 + size
            if isinstance(one, hyperframe.frame.HeadersFrame):
                found = decoder.decode(one.data, raw=True)
                fields += len(found)
                text += sum(len(name) + len(value) for name, value in found)
                bodies[one.stream_id] = []
            elif isinstance(one, hyperframe.frame.DataFrame):
                bodies[one.stream_id].append(one.data)
                body += len(one.data)
            if "END_STREAM" in one.flags:
                bodies.pop(one.stream_id)
                messages += 1
        del buffer[:at]
    return messages, fields, text, body


def with_hpack(blocks: list[bytes]) -> tuple[int, int]:
    decoder = hpack.Decoder()
    fields = text = 0
    for block in blocks:
        found = decoder.decode(block, raw=True)
        fields += len(found)
        text += sum(len(name) + len(value) for name, value in found)
    return fields, text


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--nghttp2", default="libnghttp2.so.14")
    options.add_argument("--rounds", type=int, default=11)
    args = options.parse_args()
    ours = build("drive_http2")
    tables = [
        ("interleaved streams, a frame a segment", streams(2, 20, 100), "response", ("delta", 4000 * TIMES)),
        (
            "interleaved streams, 16 KiB segments",
            joined(streams(2, 20, 100), 16384),
            "response",
            ("delta", 4000 * TIMES),
        ),
        ("requests, one a segment", requests(2000), "request", ("request", 2000 * TIMES)),
    ]
    for title, segments, role, units in tables:
        mine = ours.Segments(segments)
        compare(
            title,
            {
                "hyperframe + hpack": repeated(lambda s=segments, r=role: with_hyperframe(s, r)),
                "oisp": repeated(lambda s=mine, r=role: ours.count(s, r)),
            },
            sum(map(len, segments)) * TIMES,
            rounds=args.rounds,
            units=units,
        )
    found = ours.load_nghttp2(args.nghttp2)
    if not found:
        print(f"\n{args.nghttp2} is not there: header blocks are compared with hpack alone")
    for title, blocks in (
        ("header blocks of requests", request_blocks(1000)),
        ("header blocks of responses", response_blocks(1000)),
        ("header blocks of new fields", new_blocks(1000)),
    ):
        mine = ours.Segments(blocks)
        candidates = {"hpack": repeated(lambda b=blocks: with_hpack(b))}
        if found:
            candidates["nghttp2_hd_inflate (C)"] = repeated(lambda s=mine: ours.blocks_of_nghttp2(s))
        candidates["oisp"] = repeated(lambda s=mine: ours.blocks(s))
        size, count = sum(map(len, blocks)) * TIMES, len(blocks) * TIMES
        compare(title, candidates, size, rounds=args.rounds, units=("block", count))


if __name__ == "__main__":
    main()
