# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 against httptools with Python callbacks, and against llhttp in C.

python benchmarks/bench_http1.py [--llhttp DIR] [--rounds N]

DIR is an unpacked vendor/llhttp of the httptools source distribution; without it that column is left out.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import httptools

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import TIMES, build, compare, repeated

REQUEST_FIELDS = [
    ("Host", "api.openai.com"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "OpenAI/Python 2.54.0"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "2.54.0"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Runtime-Version", "3.12.4"),
    ("Authorization", "Bearer sk-proj-" + "a1B2c3D4" * 18),
    ("X-Stainless-Async", "false"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
]
RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 03:40:24 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nopenai-processing-ms: 123\r\n"
    b"x-request-id: req_1234567890\r\n\r\n"
)


def heads(count: int) -> list[bytes]:
    """Requests with a small body, one a segment."""
    rng = random.Random(1)
    made = []
    for _ in range(count):
        body = b'{"model":"gpt-5","input":"' + b"x" * rng.randrange(20, 200) + b'"}'
        fields = "".join(f"{n}: {v}\r\n" for n, v in [*REQUEST_FIELDS, ("Content-Length", str(len(body)))])
        made.append(b"POST /v1/chat/completions HTTP/1.1\r\n" + fields.encode() + b"\r\n" + body)
    return made


def chunks(streams: int, deltas: int) -> list[bytes]:
    """Streamed answers: each delta its own chunk and its own segment."""
    rng = random.Random(2)
    made = []
    for _ in range(streams):
        made.append(RESPONSE_HEAD)
        for _ in range(deltas):
            text = b"y" * rng.randrange(180, 300)
            data = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%s"}}]}\n\n' % text
            made.append(b"%x\r\n%s\r\n" % (len(data), data))
        made.append(b"0\r\n\r\n")
    return made


def joined(segments: list[bytes], size: int) -> list[bytes]:
    """The same stream in segments of one size."""
    stream = b"".join(segments)
    return [stream[i : i + size] for i in range(0, len(stream), size)]


class Callbacks:
    """What a Python user of httptools does: a message gathers its target, its fields and the pieces of its body."""

    __slots__ = ("body", "done", "fields", "target")

    def __init__(self) -> None:
        self.done: list[tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]] = []

    def on_message_begin(self) -> None:
        self.target, self.fields, self.body = b"", [], []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.done.append((self.target, self.fields, self.body))


def with_httptools(segments: list[bytes], role: str) -> list[tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]]:
    callbacks = Callbacks()
    parser = (httptools.HttpRequestParser if role == "request" else httptools.HttpResponseParser)(callbacks)
    for segment in segments:
        parser.feed_data(segment)
    return callbacks.done


def counts(messages: list[tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]]) -> tuple[int, int, int, int]:
    """Messages, fields, bytes of targets, names and values, bytes of bodies."""
    fields = [f for _, fields, _ in messages for f in fields]
    text = sum(len(target) for target, _, _ in messages) + sum(len(name) + len(value) for name, value in fields)
    return len(messages), len(fields), text, sum(len(piece) for _, _, body in messages for piece in body)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--llhttp", type=Path)
    options.add_argument("--rounds", type=int, default=11)
    args = options.parse_args()
    ours = build("drive_http1")
    llhttp = None
    if args.llhttp:
        sources = [args.llhttp / "src" / name for name in ("api.c", "http.c", "llhttp.c")]
        llhttp = build("drive_llhttp", sources, [args.llhttp / "include"])
    tables = [
        ("request heads, one a segment", heads(4096), "request"),
        ("request heads, 16 KiB segments", joined(heads(4096), 16384), "request"),
        ("chunked stream, a chunk a segment", chunks(20, 500), "response"),
        ("chunked stream, 16 KiB segments", joined(chunks(20, 500), 16384), "response"),
    ]
    for title, segments, role in tables:
        candidates = {"httptools": repeated(lambda s=segments, r=role: with_httptools(s, r))}
        answers = {"httptools": counts}
        if llhttp:
            theirs = llhttp.Segments(segments)
            candidates["llhttp (C)"] = repeated(lambda s=theirs, r=role: llhttp.count(s, r))
        mine = ours.Segments(segments)
        candidates["oisp"] = repeated(lambda s=mine, r=role: ours.count(s, r))
        size = sum(map(len, segments)) * TIMES
        unit = ("message", 4096 * TIMES) if role == "request" else ("delta", 10_000 * TIMES)
        compare(title, candidates, size, answers=answers, rounds=args.rounds, units=unit)


if __name__ == "__main__":
    main()
