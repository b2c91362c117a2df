# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as bytes, written by hand over the `hpack` package's encoder: not by the code that reads them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
Fields = list[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame: table_size, push, streams, window, frame_size."""
    names = {"table_size": 1, "push": 2, "streams": 3, "window": 4, "frame_size": 5}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


def reset(stream: int, code: int = 8) -> bytes:
    """RST_STREAM; 8 is CANCEL."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


JSON: Fields = [(":status", "200"), ("content-type", "application/json")]
SSE: Fields = [(":status", "200"), ("content-type", "text/event-stream")]
"""Heads of answers."""


class Side:
    """What one side of a connection sends: frames with a header table of their own."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()

    def block(self, fields: Fields, huffman: bool = True) -> bytes:
        """Lengths are not put into the table: no encoder in use does that, for they hardly ever repeat."""
        apart = [hpack.NeverIndexedHeaderTuple(n, v) if n == "content-length" else (n, v) for n, v in fields]
        return bytes(self.encoder.encode(apart, huffman=huffman))

    def head(self, stream: int, fields: Fields, end: bool = False) -> bytes:
        """One HEADERS frame."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields))

    def continued(self, stream: int, fields: Fields, size: int, end: bool = False) -> list[bytes]:
        """The block in HEADERS and CONTINUATION frames of at most `size` bytes."""
        block = self.block(fields)
        parts = [block[i : i + size] for i in range(0, len(block), size)] or [b""]
        frames = []
        for index, part in enumerate(parts):
            flags = END_HEADERS if index == len(parts) - 1 else 0
            first = (HEADERS, flags | (END_STREAM if end else 0))
            kind, flags = first if index == 0 else (CONTINUATION, flags)
            frames.append(frame(kind, flags, stream, part))
        return frames


def data(stream: int, body: bytes, end: bool = False, pad: int | None = None) -> bytes:
    flags = END_STREAM if end else 0
    if pad is None:
        return frame(DATA, flags, stream, body)
    return frame(DATA, flags | PADDED, stream, bytes([pad]) + body + bytes(pad))


def request_fields(path: str = "/v1/chat/completions", host: str = "api.openai.com", *more: tuple[str, str]) -> Fields:
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", host),
        (":path", path),
        ("authorization", "Bearer sk-proj-0123456789abcdef"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.54.0"),
        *more,
    ]


def asked(prompt: str, *, model: str = "gpt-4o", **more: Any) -> bytes:
    """Body of a chat request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], **more}).encode()


def answered(text: str, ident: str = "chatcmpl-1") -> bytes:
    """Body of a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return json.dumps({"id": ident, "model": "gpt-4o-2024-08-06", "choices": [choice], "usage": usage}).encode()


def streamed(parts: Iterable[str], ident: str = "chatcmpl-2") -> list[bytes]:
    """Events of a streamed answer."""
    deltas: list[dict[str, Any]] = [{"index": 0, "delta": {"content": part}} for part in parts]
    deltas.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [{"id": ident, "model": "gpt-4o", "choices": [delta]} for delta in deltas]
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


class Talk:
    """A connection's segments, in the order in which they are sent."""

    def __init__(self) -> None:
        self.client, self.server = Side(), Side()
        self.segments: list[tuple[str, bytes]] = [
            (">", PREFACE + settings(push=0, streams=100)),
            ("<", settings(streams=128) + frame(SETTINGS, ACK, 0)),
            (">", frame(SETTINGS, ACK, 0)),
        ]

    def send(self, *frames: bytes) -> None:
        """From the client, as one segment."""
        self.segments.append((">", b"".join(frames)))

    def reply(self, *frames: bytes) -> None:
        """From the server, as one segment."""
        self.segments.append(("<", b"".join(frames)))

    def ask(self, on: int, prompt: str, *, fields: Fields | None = None, length: bool = True, **more: Any) -> None:
        body = asked(prompt, **more)
        fields = fields or request_fields()
        self.send(
            self.client.head(on, fields + ([("content-length", str(len(body)))] if length else [])),
            data(on, body, end=True),
        )

    def answer(self, on: int, text: str, ident: str = "chatcmpl-1", length: bool = True) -> None:
        body = answered(text, ident)
        fields = [(":status", "200"), ("content-type", "application/json"), ("x-request-id", ident)]
        self.reply(
            self.server.head(on, fields + ([("content-length", str(len(body)))] if length else [])),
            data(on, body, end=True),
        )
