# SPDX-License-Identifier: Apache-2.0
"""Recordings made by hand, field by field as oisp/record.h has them: independent of the code that writes real ones."""

from __future__ import annotations

import json
import struct

BASE = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
START = 5_000_000_000
CONTEXT = (
    b'"host":{"hostname":"h"},"process":{"pid":7,"cmdline":"agent \'Tell me a secret\' --api-key [masked]",'
    b'"cmdline_args":["agent","Tell me a secret","--api-key","[masked]"]},"source":{"collector":"oisp-sensor"}'
)
QUESTION = "What is the answer?"
ANSWER = "It is forty-two."


def header(version: int = 1, magic: bytes = b"OISIOSP\x01", base: int = BASE) -> bytes:
    text = json.dumps({"tool": "test"}).encode()
    size = -(-(32 + len(text)) // 8) * 8
    return (struct.pack("<8sIIQII", magic, version, size, base, len(text), 0) + text).ljust(size, b"\0")


def padded(record: bytes) -> bytes:
    size = -(-len(record) // 8) * 8
    return struct.pack("<I", size) + record[4:] + bytes(size - len(record))


def connection(kind: int, conn: int, ts: int) -> bytes:
    return struct.pack("<IHHQQQQIIIIQQQQ", 88, kind, 0, conn, ts, 1, START, 7, 7, 1000, 1000, 0, 0, 0, 0)


def data(conn: int, direction: int, ts: int, offset: int, sequence: int, payload: bytes) -> bytes:
    size = len(payload)
    head = (0, 1, 0, conn, ts, ts, offset, size, 1, START, 7, 7, 1000, size, sequence, 88, direction, 0)
    return padded(struct.pack("<IHHQQQQQQQIIIIIHBB", *head) + payload)


def context(conn: int, members: bytes = CONTEXT) -> bytes:
    return padded(struct.pack("<IHHQII", 0, 7, 0, conn, len(members), 0) + members)


def request(stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Type: application/json\r\n"
    key = b"Authorization: Bearer sk-proj-invented-for-this-test-0123456789\r\n"
    return head + key + b"Content-Length: %d\r\n\r\n" % len(body) + body


def response() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-11-20"}
    body = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def exchange(conn: int = 1, at: int = 1_000_000_000, piece: int = 1 << 20) -> list[bytes]:
    """One connection with one exchange, each direction in pieces of so many bytes."""
    records = [connection(2, conn, at), context(conn)]
    for direction, text, ts in ((0, request(), at + 1_000_000), (1, response(), at + 301_000_000)):
        for number, offset in enumerate(range(0, len(text), piece)):
            records.append(data(conn, direction, ts + number, offset, number, text[offset : offset + piece]))
    return [*records, connection(3, conn, at + 400_000_000)]


def recording(count: int = 1, piece: int = 1 << 20) -> bytes:
    made = [exchange(conn, conn * 1_000_000_000, piece) for conn in range(1, count + 1)]
    return header() + b"".join(record for records in made for record in records)
