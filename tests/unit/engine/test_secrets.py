# SPDX-License-Identifier: Apache-2.0
"""The secret test: under `metadata` neither output nor, once a message is done, the memory of the engine holds content.

The engine runs in a process of its own that gets the traffic through a pipe into one buffer, which it overwrites after
each call; this process, which invented the secrets, reads the other's memory. Excluded, as docs/PRIVACY.md says: that
input buffer, and the windows of decompression codecs.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from oisp_core import Engine

ENGINE = """
import io, struct, sys
from oisp_core import Engine

def whole(stream, view):
    at = 0
    while at < len(view):
        got = stream.readinto(view[at:])
        if not got:
            raise SystemExit
        at += got

stream, engine = io.FileIO(0), Engine(content="metadata", id_seed=1)
head, room = bytearray(13), bytearray(1 << 20)
while True:
    whole(stream, memoryview(head))
    conn, way, size = struct.unpack("<QBI", head)
    if way == 2:
        sys.stdout.write(engine.drain().decode().replace("\\n", "\\x1e") + "\\n")
        sys.stdout.flush()
        continue
    if way == 3:
        engine.close(conn)
        continue
    view = memoryview(room)[:size]
    whole(stream, view)
    engine.feed(conn, ">" if way == 0 else "<", conn, view)
    view[:] = bytes(size)
"""


class Invented:
    """What must not be found again. The parts of a key beyond its first eight characters are secret too."""

    def __init__(self) -> None:
        self.prompt, self.answer, self.arguments, self.result, self.system = (
            f"{word}-{secrets.token_hex(12)}" for word in ("ask", "say", "arg", "res", "sys")
        )
        self.key = f"sk-proj-{secrets.token_hex(16)}"
        self.query = secrets.token_hex(12)

    def all(self) -> list[str]:
        return [self.prompt, self.answer, self.arguments, self.result, self.system, self.key[8:], self.query]


def chat_request(s: Invented) -> bytes:
    history = [
        {"role": "system", "content": s.system},
        {"role": "user", "content": s.prompt * 3},
        {"role": "assistant", "tool_calls": [{"id": "c0", "function": {"name": "f", "arguments": s.arguments}}]},
        {"role": "tool", "tool_call_id": "c0", "content": s.result},
    ]
    tool = {"type": "function", "function": {"name": "f", "description": s.system}}
    return json.dumps({"model": "gpt-5", "messages": history, "tools": [tool], "stop": [s.prompt]}).encode()


def chat_answer(s: Invented) -> bytes:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"x": s.arguments})}}
    message = {"role": "assistant", "content": s.answer, "reasoning_content": s.answer, "tool_calls": [call]}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()


def chat_stream(s: Invented) -> bytes:
    def event(delta: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"

    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": s.arguments}}
    pieces = [event({"content": s.answer}) for _ in range(6)]
    return b"".join([*pieces, event({"tool_calls": [call]}), event({"reasoning": s.answer}), b"data: [DONE]\n\n"])


def http1(s: Invented, reply: bytes, kind: str, coding: str = "") -> list[tuple[int, bytes]]:
    body = chat_request(s)
    if coding:
        body, reply = code(body, coding), code(reply, coding)
    coded = f"Content-Encoding: {coding}\r\n" if coding else ""
    head = f"POST /v1/chat/completions?key={s.query} HTTP/1.1\r\nHost: api.openai.com\r\n{coded}"
    head += f"Authorization: Bearer {s.key}\r\nCookie: a={s.query}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{coded}Content-Length: {len(reply)}\r\n\r\n"
    return [(0, head.encode() + body), (1, answer.encode() + reply)]


def code(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(body)
    if coding == "deflate":
        return zlib.compress(body)
    import zstandard

    return zstandard.compress(body)


def http2(s: Invented, reply: bytes, kind: str) -> list[tuple[int, bytes]]:
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    names = [(":method", "POST"), (":scheme", "https"), (":authority", "api.openai.com")]
    names += [(":path", f"/v1/chat/completions?key={s.query}"), ("authorization", f"Bearer {s.key}")]
    client.send_headers(1, names)
    client.send_data(1, chat_request(s), end_stream=True)
    asked = client.data_to_send()
    server.receive_data(asked)
    server.send_headers(1, [(":status", "200"), ("content-type", kind)])
    server.send_data(1, reply, end_stream=True)
    return [(0, asked), (1, server.data_to_send())]


def cut(segments: list[tuple[int, bytes]], size: int) -> list[tuple[int, bytes]]:
    return [(way, data[at : at + size]) for way, data in segments for at in range(0, len(data), size)]


JSON, SSE = "application/json", "text/event-stream"
CASES = {
    "http1 whole": lambda s: http1(s, chat_answer(s), JSON),
    "http1 in pieces": lambda s: cut(http1(s, chat_answer(s), JSON), 7),
    "http1 stream": lambda s: http1(s, chat_stream(s), SSE),
    "http1 stream in pieces": lambda s: cut(http1(s, chat_stream(s), SSE), 11),
    "http1 not json": lambda s: http1(s, b"{" + s.answer.encode(), JSON),
    "http2 whole": lambda s: http2(s, chat_answer(s), JSON),
    "http2 stream": lambda s: cut(http2(s, chat_stream(s), SSE), 300),
}
CODED = {
    f"http1 {coding} {name}": (lambda s, c=coding, r=reply, k=kind: http1(s, r(s), k, c))
    for coding in ("gzip", "deflate", "zstd")
    for name, reply, kind in (("whole", chat_answer, JSON), ("stream", chat_stream, SSE))
}


@pytest.mark.parametrize("name", [*CASES, *CODED])
def test_the_output_holds_no_secret(name: str) -> None:
    s = Invented()
    engine = Engine(content="metadata", chunks=True, id_seed=1)
    for number, (way, data) in enumerate({**CASES, **CODED}[name](s)):
        engine.feed(1, "<" if way else ">", number, data)
    engine.close(1)
    lines = engine.drain().decode()
    assert lines.count('"event_type":"ai.') >= 2
    assert [secret for secret in s.all() if secret in lines] == []


class Other:
    """The engine in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", ENGINE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, conn: int, way: int, data: bytes = b"") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack("<QBI", conn, way, len(data)) + data)
        self.process.stdin.flush()

    def drain(self) -> str:
        assert self.process.stdout is not None
        self.tell(0, 2)
        return self.process.stdout.readline().decode()

    def memory(self) -> bytes:
        """All that the process can read and write of itself."""
        found = []
        with Path(f"/proc/{self.process.pid}/mem").open("rb", buffering=0) as mem:
            for line in Path(f"/proc/{self.process.pid}/maps").read_text().splitlines():
                low, high, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
                if mode.startswith("rw") and "[v" not in line:
                    mem.seek(int(low, 16))
                    try:
                        found.append(mem.read(int(high, 16) - int(low, 16)))
                    except OSError:
                        continue
        return b"\0".join(found)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc to read another process's memory in")
@pytest.mark.skipif(os.environ.get("OISP_FLAVOUR") == "debug", reason="ASan maps terabytes, and keeps what was freed")
def test_memory_holds_no_secret_once_a_message_is_done() -> None:
    other = Other()
    kept: dict[str, list[str]] = {}
    try:
        probe = secrets.token_hex(12)  # the reading works: what stays in the input buffer is found
        marker = b"GET /%b HTTP/1.1\r\nHost: api.openai.com\r\n" % probe.encode()  # a head that does not end is held
        other.tell(99, 0, marker)
        other.drain()
        assert probe.encode() in other.memory()
        other.tell(99, 3)
        for conn, (name, case) in enumerate(CASES.items(), 1):
            s = Invented()
            for way, data in case(s):
                other.tell(conn, way, data)
            other.tell(conn, 3)
            assert other.drain().count('"event_type":"ai.') == 2, name
            memory = other.memory()
            found = [field for field, secret in vars(s).items() if secret[8:].encode() in memory]
            if found:
                kept[name] = found
    finally:
        other.close()
    assert kept == {}
