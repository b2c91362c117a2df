# SPDX-License-Identifier: Apache-2.0
"""Server-sent events, NDJSON, AWS event streams and WebSocket: beside bytes.split, httpx-sse, botocore and wsproto."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from zlib import crc32

import pytest

from benchmarks import bench_sse as sse

Drivers = Callable[[str], ModuleType]
COUNT = 4000
EVENTS = {
    "sse, OpenAI, an event a segment": (sse.openai(COUNT), sse.split_data),
    "sse, OpenAI in 16 KB segments": (sse.joined(sse.openai(COUNT), 16384), sse.split_data),
    "sse, Anthropic, an event a segment": (sse.anthropic(COUNT), sse.split_pairs),
    "sse, Anthropic in 16 KB segments": (sse.joined(sse.anthropic(COUNT), 16384), sse.split_pairs),
}


def totals(found: list[Any]) -> tuple[int, int, int]:
    """Events, bytes of types, bytes of payloads."""
    pairs = [one if isinstance(one, tuple) else (b"", one) for one in found]
    return len(pairs), sum(len(kind) for kind, _ in pairs), sum(len(data) for _, data in pairs)


class Answer:
    """What httpx-sse reads from: lines of a response."""

    def __init__(self, segments: list[bytes]) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self.segments = segments

    def iter_text(self) -> Iterator[str]:
        return (segment.decode() for segment in self.segments)

    def iter_lines(self) -> Iterator[str]:
        rest = ""
        for segment in self.segments:
            lines = (rest + segment.decode()).split("\n")
            rest = lines.pop()
            yield from lines


def with_httpx_sse(segments: list[bytes]) -> list[tuple[str, str]]:
    from httpx_sse import EventSource

    return [(event.event, event.data) for event in EventSource(Answer(segments)).iter_sse()]  # type: ignore[arg-type]


@pytest.mark.parametrize("who", ["httpx-sse", "bytes.split", "oisp"])
@pytest.mark.parametrize("title", EVENTS)
def test_sse(stage: Callable[..., None], drivers: Drivers, title: str, who: str) -> None:
    segments, split = EVENTS[title]
    wanted = totals(split(segments))
    about: dict[str, Any] = {"size": sum(map(len, segments)), "unit": "event", "count": COUNT, "wanted": wanted}
    if who == "httpx-sse":
        pytest.importorskip("httpx_sse")
        named = wanted[1]  # where no type is given it says "message"
        about["answer"] = lambda found: (len(found), named, sum(len(data) for _, data in found))
        stage(title, who, lambda: with_httpx_sse(segments), **about)
    elif who == "bytes.split":
        stage(title, who, lambda: split(segments), answer=totals, **about)
    else:
        driver = drivers("drive_sse")
        held = driver.Segments(segments)
        stage(title, who, lambda: driver.count(held), **about)


def lines() -> list[bytes]:
    """As Ollama answers: a line a piece."""
    rng = random.Random(3)
    head = {"model": "llama3.2", "created_at": "2026-11-25T03:40:24.123456789Z"}
    return [
        json.dumps(
            {**head, "message": {"role": "assistant", "content": "w" * rng.randrange(1, 9)}, "done": False}
        ).encode()
        + b"\n"
        for _ in range(COUNT)
    ]


def split_lines(segments: list[bytes]) -> tuple[int, int]:
    found: list[bytes] = []
    rest = b""
    for segment in segments:
        pieces = (rest + segment if rest else segment).split(b"\n")
        rest = pieces.pop()
        found += pieces
    return len(found), sum(map(len, found))


def framed(kind: bytes, payload: bytes) -> bytes:
    """A message of an AWS event stream."""
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":event-type", kind),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def frames() -> list[bytes]:
    rng = random.Random(4)
    form = b'{"contentBlockIndex":0,"delta":{"text":"%s"},"p":"%s"}'
    return [
        framed(b"contentBlockDelta", form % (b"w" * rng.randrange(1, 9), b"abcdefghij"[: rng.randrange(10)]))
        for _ in range(COUNT)
    ]


def split_frames(segments: list[bytes]) -> tuple[int, int]:
    """As the Python pipeline does it: sizes, and one checksum a message."""
    count = payload = 0
    rest = b""
    for segment in segments:
        data = rest + segment if rest else segment
        at, have = 0, len(data)
        while have - at >= 16:
            size, head = struct.unpack_from(">II", data, at)
            if have - at < size:
                break
            if crc32(data[at : at + size - 4]) != struct.unpack_from(">I", data, at + size - 4)[0]:
                raise ValueError("a message is broken")
            count += 1
            payload += size - head - 16
            at += size
        rest = data[at:]
    return count, payload


def with_botocore(segments: list[bytes]) -> tuple[int, int]:
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    count = payload = 0
    for segment in segments:
        buffer.add_data(segment)
        for message in buffer:
            count += 1
            payload += len(message.payload)
    return count, payload


def masked() -> list[bytes]:
    """Text messages of a client, each a frame."""
    rng = random.Random(5)
    made = []
    for _ in range(COUNT):
        text = b'{"type":"input_audio_buffer.append","audio":"%s"}' % (b"QUJD" * rng.randrange(10, 60))
        key = rng.randbytes(4)
        body = bytes(a ^ b for a, b in zip(text, key * (len(text) // 4 + 1), strict=False))
        size = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
        made.append(b"\x81" + size + key + body)
    return made


def with_wsproto(segments: list[bytes]) -> tuple[int, int]:
    from wsproto.frame_protocol import FrameProtocol

    protocol = FrameProtocol(client=False, extensions=[])
    count = payload = 0
    for segment in segments:
        protocol.receive_bytes(segment)
        for frame in protocol.received_frames():
            count += frame.message_finished
            payload += len(frame.payload)
    return count, payload


STREAMS: dict[str, tuple[str, Callable[[], list[bytes]], dict[str, Callable[[list[bytes]], tuple[int, int]]]]] = {
    "ndjson, a line a segment": ("ndjson", lines, {"bytes.split": split_lines}),
    "eventstream, a message a segment": (
        "eventstream",
        frames,
        {"botocore": with_botocore, "struct and crc32": split_frames},
    ),
    "websocket, a masked message a segment": ("websocket", masked, {"wsproto": with_wsproto}),
}


@pytest.mark.parametrize(("title", "who"), [(title, who) for title in STREAMS for who in [*STREAMS[title][2], "oisp"]])
def test_streams(stage: Callable[..., None], drivers: Drivers, title: str, who: str) -> None:
    kind, make, rivals = STREAMS[title]
    if who in {"botocore", "wsproto"}:
        pytest.importorskip(who)
    segments = make()
    about: dict[str, Any] = {"size": sum(map(len, segments)), "unit": "message", "count": COUNT}
    about["wanted"] = next(iter(rivals.values()))(segments)
    if who == "oisp":
        driver = drivers("drive_parsers")
        held = driver.Segments(segments)
        stage(title, who, lambda: driver.count(held, kind), **about)
    else:
        stage(title, who, lambda: rivals[who](segments), **about)
