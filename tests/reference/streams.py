# SPDX-License-Identifier: Apache-2.0
"""Streams cut into events the slow way: server-sent events (WHATWG), NDJSON, a JSON array, the AWS event stream."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator


def sse(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(event type, data) of each event; a last event without its blank line counts."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    name, data = b"", []
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                yield name, b"\n".join(data)
            name, data = b"", []
            continue
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"event":
            name = value
        elif key == b"data":
            data.append(value)


def ndjson(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in body.split(b"\n"):
        if line.strip():
            yield b"", line.strip()


def json_array(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The elements as they stand in the array."""
    decoder = json.JSONDecoder(strict=False)
    text = body.decode("utf-8", "surrogateescape").strip()[1:]
    while True:
        text = text.lstrip(" \r\n\t,")
        if not text or text[0] == "]":
            return
        _, end = decoder.raw_decode(text)
        yield b"", text[:end].encode("utf-8", "surrogateescape")
        text = text[end:]


def eventstream(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(event type, or exception type, payload) of each frame of application/vnd.amazon.eventstream."""
    while len(body) >= 16:
        total, headers, _ = struct.unpack(">III", body[:12])
        found = dict(_headers(body[12 : 12 + headers]))
        name = found.get(b":event-type") or found.get(b":exception-type") or found.get(b":error-code") or b""
        yield name, body[12 + headers : total - 4]
        body = body[total:]


def _headers(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    at = 0
    while at < len(raw):
        name = raw[at + 1 : at + 1 + raw[at]]
        at += 1 + raw[at]
        kind, at = raw[at], at + 1
        size = sizes.get(kind)
        if size is None:
            size = int.from_bytes(raw[at : at + 2], "big")
            at += 2
        yield name, raw[at : at + size]
        at += size


def aws_frame(name: str, payload: bytes) -> bytes:
    """A message of an AWS event stream: lengths, headers, payload, checksums; `!NAME` is an exception."""

    def header(key: str, value: str) -> bytes:
        return bytes([len(key)]) + key.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()

    kind = "exception" if name.startswith("!") else "event"
    headers = header(f":{kind}-type", name.lstrip("!")) + header(":content-type", "application/json")
    headers += header(":message-type", kind)
    prelude = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    prelude += zlib.crc32(prelude).to_bytes(4, "big")
    whole = prelude + headers + payload
    return whole + zlib.crc32(whole).to_bytes(4, "big")


FRAMINGS = {0: None, 1: sse, 2: ndjson, 3: json_array, 4: eventstream}
