# SPDX-License-Identifier: Apache-2.0
"""The middle verdict: of a long body that is not AI the beginning of each call is enough. A kernel of the test's own
applies what the engine says, some calls late."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from oisp_core.engine import Engine

CONN = 9
CALL, HEAD = 1 << 20, 1024
MIB = 1 << 20
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
ANSWER = (
    b'{"id":"x","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"'
    + b"y" * 3000
    + b'"}}]}'
)


class Kernel:
    """Calls become records. A verdict takes effect `late` calls after it was given."""

    def __init__(self, late: int = 0) -> None:
        self.engine = Engine(content="full")
        self.engine.feed_packed(struct.pack("<IHHQQQQIIIIQQQQ", 88, 2, 0, CONN, 1, 0, 1, 2, 2, 0, 0, 0, 0, 0, 0))
        self.offset = [0, 0]
        self.now = 0
        self.level = ["all"] * (late + 1)
        self.levels: list[str] = []
        self.spared = 0

    def call(self, way: int, size: int, payload: bytes | None = None) -> None:
        """`payload` None: zeros, which only the rest of a body is."""
        self.now += 1000
        level = self.level.pop(0)
        kept = min(size, HEAD) if level == "head" else size
        for at in range(0, kept, 16384):
            piece = bytes(min(16384, kept - at)) if payload is None else payload[at : min(at + 16384, kept)]
            short = 4 if kept < size else 0
            self.engine.feed_packed(self._data(way, piece, self.offset[way] + at, size, short))
        self.offset[way] += size
        self.spared += size - kept
        for conn, told, _ in self.engine.verdicts():
            assert conn == CONN
            self.levels.append(told)
        self.level.append(self.levels[-1] if self.levels else "all")

    def _data(self, way: int, piece: bytes, offset: int, size: int, flags: int) -> bytes:
        head = struct.pack(
            "<IHHQQQQQQQIIIIIHBB",
            *(88 + -(-len(piece) // 8) * 8, 1, flags, CONN, self.now, self.now + 1, offset, size, 0, 1, 2, 2, 0),
            *(len(piece), 0, 88, way, 0),
        )
        return head + piece + bytes(-len(piece) % 8)

    def download(self, size: int) -> None:
        self.call(0, 1, b"G")
        self.call(0, 39, b"ET /models/x HTTP/1.1\r\nHost: a.example\r\n\r\n"[:39])
        head = b"GET /models/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
        self.call(0, len(head) - 40, head[40:])
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        self.call(1, len(response), response)
        while size:
            self.call(1, min(size, CALL))
            size -= min(size, CALL)

    def upload(self, size: int) -> None:
        head = b"PUT /blob HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % size
        self.call(0, len(head), head)
        while size:
            self.call(0, min(size, CALL))
            size -= min(size, CALL)
        self.call(1, 38, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def ask(self) -> None:
        request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: %d\r\n\r\n" % len(
            BODY
        )
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
        self.call(0, len(request + BODY), request + BODY)
        self.call(1, len(response + ANSWER), response + ANSWER)

    def end(self) -> list[dict[str, Any]]:
        self.engine.close()
        return [json.loads(line) for line in self.engine.drain().splitlines()]


def check_whole(events: list[dict[str, Any]]) -> None:
    assert [event["event_type"] for event in events] == ["ai.request", "ai.response"]
    assert {event["confidence"]["completeness"] for event in events} == {"full"}


@pytest.mark.parametrize("late", [0, 1, 20])
@pytest.mark.parametrize("way", ["download", "upload"])
def test_a_long_body_is_spared_and_the_next_exchange_is_whole(way, late):
    kernel = Kernel(late)
    getattr(kernel, way)(200 * MIB)
    kernel.ask()
    assert kernel.levels == ["head", "all"]
    assert kernel.spared > (200 - 64 - 32 - 2 * late - 2) * MIB // 2
    check_whole(kernel.end())
    stats = kernel.engine.stats()
    assert stats["lost_bytes"] == 0
    assert stats["dismissed_bytes"] == kernel.spared


@pytest.mark.parametrize("size", [0, 1000, 60 * MIB])
def test_a_body_that_is_not_long_is_not(size):
    kernel = Kernel()
    kernel.download(size)
    kernel.ask()
    assert kernel.levels == []
    check_whole(kernel.end())


def test_a_verdict_that_comes_too_late_is_said_by_the_event_that_it_cut():
    """40 MiB late: the next exchange is copied only at its beginning."""
    kernel = Kernel(40)
    kernel.download(110 * MIB)
    kernel.ask()
    assert kernel.levels == ["head", "all"]
    [asked, answered] = kernel.end()
    assert asked["confidence"]["completeness"] == "full"  # it is shorter than what is copied
    assert answered["confidence"]["completeness"] == "partial"
    told = " ".join(answered["confidence"]["limitations"])
    missing = len(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)) + len(ANSWER) - HEAD
    assert f"response_bytes_spared={missing}" in told
    assert "bytes_lost" not in told


def test_ai_is_never_spared():
    kernel = Kernel()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: %d\r\n\r\n" % (100 * MIB)
    kernel.call(0, len(request), request)
    for _ in range(100):
        kernel.call(0, CALL)
    assert kernel.levels == []


def test_what_is_not_of_known_length_is_not_spared():
    kernel = Kernel()
    head = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
    kernel.call(0, len(head), head)
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (100 * MIB)
    kernel.call(1, len(response), response)
    for _ in range(100):
        kernel.call(1, CALL)
    assert kernel.levels == []
