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
import io, json, struct, sys
from oisp_core import Engine

def whole(stream, view):
    at = 0
    while at < len(view):
        got = stream.readinto(view[at:])
        if not got:
            raise SystemExit
        at += got

stream, engine = io.FileIO(0), Engine(content="metadata", id_seed=1, limits=json.loads(sys.argv[1]))
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


def grpc(s: Invented, packed: bool = True) -> list[tuple[int, bytes]]:
    """A stream of messages of Protocol Buffers."""
    from tests.reference.h2wire import Talk, data
    from tests.reference.protobuf import encode

    def framed(message: bytes) -> bytes:
        body = gzip.compress(message) if packed else message
        return bytes([packed]) + len(body).to_bytes(4, "big") + body

    tool = encode((1, encode((1, "f"), (2, s.system))))
    history = encode((2, 2), (4, encode((1, "c0"), (2, 1), (10, encode((1, "f"), (2, s.arguments))))))
    result = encode((1, encode((1, s.result))), (2, 5), (7, "c0"))
    ask = encode(
        (1, encode((1, encode((1, s.prompt * 3))), (2, 1))), (1, history), (1, result), (2, "grok-4"), (17, tool)
    )
    call = encode((1, "c1"), (2, 1), (10, encode((1, "f"), (2, json.dumps({"x": s.arguments})))))
    delta = encode((1, s.answer), (2, 2), (3, call), (4, s.answer))
    head = [(":method", "POST"), (":scheme", "https"), (":path", f"/xai_api.Chat/GetCompletionChunk?key={s.query}")]
    head += [(":authority", "api.x.ai"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]
    talk = Talk()
    talk.send(talk.client.head(1, [*head, ("authorization", f"Bearer {s.key}")]), data(1, framed(ask), end=True))
    talk.reply(
        talk.server.head(1, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")])
    )
    for _ in range(3):
        talk.reply(data(1, framed(encode((1, "id"), (2, encode((1, delta)))))))
    talk.reply(talk.server.head(1, [("grpc-status", "0")], end=True))
    return [(0 if way == ">" else 1, data_) for way, data_ in talk.segments]


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
    if coding == "br":
        import brotli

        packed: bytes = brotli.compress(body)
        return packed
    import zstandard

    return zstandard.compress(body)


def http2(s: Invented, reply: bytes, kind: str, coding: str = "") -> list[tuple[int, bytes]]:
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    names = [(":method", "POST"), (":scheme", "https"), (":authority", "api.openai.com")]
    names += [(":path", f"/v1/chat/completions?key={s.query}"), ("authorization", f"Bearer {s.key}")]
    coded = [("content-encoding", coding)] if coding else []
    reply = code(reply, coding) if coding else reply
    client.send_headers(1, names + coded)
    client.send_data(1, code(chat_request(s), coding) if coding else chat_request(s), end_stream=True)
    asked = client.data_to_send()
    server.receive_data(asked)
    server.send_headers(1, [(":status", "200"), ("content-type", kind), *coded])
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
    f"{wire.__name__} {coding} {name}": (lambda s, w=wire, c=coding, r=reply, k=kind: w(s, r(s), k, c))
    for wire in (http1, http2)
    for coding in ("gzip", "deflate", "br", "zstd")
    for name, reply, kind in (("whole", chat_answer, JSON), ("stream", chat_stream, SSE))
}
CODED["grpc"] = grpc


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


# What people do with secrets on command lines; `{key}` and `{prompt}` stand for what must not be found again.
COMMANDS = [
    ["agent", "--api-key", "{key}"],
    ["agent", "--api-key={key}", "-p", "{prompt} please"],
    ["env", "TOKEN={key}", "agent", "--prompt", "{prompt} in some words"],
    ["sh", "-c", "OPENAI_API_KEY={key} agent --ask '{prompt}'"],
    [
        "curl",
        "-H",
        "Authorization: Bearer {key}",
        "-d",
        '{{"prompt": "{prompt}"}}',
        "https://u:{key}@host/v1?key={key}",
    ],
    ["python", "-c", "ask('{prompt}')" * 10, "--token", "{key}"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_line_tells_a_secret(command: list[str]) -> None:
    """As the sensor knows the process behind a connection: in every event of it, in what a recording keeps (but for its
    prompts, which are its content), and in `process.exec`."""
    from oisp_sensor.enrich.enricher import ArgumentPolicy, Enricher
    from oisp_sensor.enrich.procfs import ProcessFacts

    s = Invented()
    # No shape of a known key: what hides it is where it stands.
    key, prompt = s.query, s.prompt
    arguments = [word.format(key=key, prompt=f"{prompt} {prompt}") for word in command]
    for content in ("metadata", "full"):
        facts = ProcessFacts(7, 1000, exe="/usr/bin/agent", arguments=arguments)
        enricher = Enricher(ArgumentPolicy(content), host={"hostname": "h"}, reader=lambda pid, start, f=facts: f)
        members = enricher.members(7, 1000)
        engine = Engine(content=content, id_seed=1)  # type: ignore[arg-type]
        engine.set_context(1, members.allowed)
        for number, (way, data) in enumerate(http1(s, chat_answer(s), JSON)):
            engine.feed(1, "<" if way else ">", number, data)
        engine.close(1)
        told = engine.drain().decode() + enricher.activity_members(7, 1000).decode()
        assert told.count("cmdline") >= 3
        assert key not in told
        assert key not in members.whole.decode()
        if content == "metadata":
            assert prompt not in told


class Other:
    """The engine in a process of its own."""

    def __init__(self, **limits: int) -> None:
        command = [sys.executable, "-c", ENGINE, json.dumps(limits)]
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
        for conn, (name, case) in enumerate({**CASES, "grpc": lambda s: grpc(s, packed=False)}.items(), 1):
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


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc to read another process's memory in")
@pytest.mark.skipif(os.environ.get("OISP_FLAVOUR") == "debug", reason="ASan maps terabytes, and keeps what was freed")
def test_in_mid_stream_no_more_than_the_bounded_window_is_held() -> None:
    """Half a megabyte of an answer that has not ended: what is kept of it is the arena, which has a bound."""
    window = 64 << 10
    mark = secrets.token_hex(8)  # one search finds all pieces, each of 64 characters
    pieces = [f"{mark}{number:048d}" for number in range(8000)]
    whole = re.compile(mark.encode() + rb"\d{48}")
    other = Other(arena_bytes=window)
    try:
        s = Invented()
        asked, head = http1(s, b"", SSE)
        other.tell(1, 0, asked[1])
        other.tell(1, 1, head[1].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        for piece in pieces:
            event = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}).encode() + b"\n\n"
            other.tell(1, 1, f"{len(event):x}\r\n".encode() + event + b"\r\n")
        other.drain()
        held = 64 * len(whole.findall(other.memory()))
        assert window // 4 < held <= window + 4096
        other.tell(1, 1, b"0\r\n\r\n")
        other.tell(1, 3)
        assert other.drain().count('"event_type":"ai.') == 1
        assert whole.findall(other.memory()) == []
    finally:
        other.close()
