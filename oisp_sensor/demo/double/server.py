# SPDX-License-Identifier: Apache-2.0
"""The double's HTTP/1.1 server: CONNECT, TLS, keep-alive, framing of every kind, and the log.

Loopback only. It believes nobody but its own tests: a request it cannot read ends the connection.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from types import ModuleType
from typing import Any, TextIO

from oisp_sensor.demo.double import anthropic_wire, openai_wire, other_wires
from oisp_sensor.demo.double.answer import Answer, choose, options

HEAD_LIMIT = 64 * 1024
BODY_LOGGED_WHOLE = 256 * 1024  # longer bodies are logged as length and hash
APIS: dict[str, ModuleType] = {
    "/v1/chat/completions": openai_wire,
    "/openai/v1/chat/completions": openai_wire,  # Groq
    "/v1/messages": anthropic_wire,
}

Headers = list[tuple[str, str]]


@dataclass
class Request:
    method: str
    target: str
    headers: Headers
    body: bytes = b""

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key.lower() == name), default)


@dataclass
class Reply:
    status: int
    headers: Headers
    parts: Iterator[bytes]  # what the body is made of, before content and transfer coding
    answer: dict[str, Any] | None = None
    model: str | None = None
    id: str | None = None
    error: dict[str, Any] | None = None
    streamed: bool = False
    cut: bool = False  # close in the middle
    type: str | None = None
    sent: list[bytes] = field(default_factory=list)


class Server:
    """One double: certificate, log, and the numbering of its exchanges."""

    def __init__(self, context: ssl.SSLContext, log: TextIO, seed: int = 0) -> None:
        self._context = context
        self._log = log
        self._seed = seed
        self._exchanges = 0
        self._connections = 0

    async def serve(self) -> tuple[asyncio.Server, int]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=HEAD_LIMIT)
        return server, server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            host = await self._tunnel(reader, writer)
            await self._conversation(reader, writer, host, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError, ValueError):
            pass  # the client left, or is none of ours
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        request = await read_head(reader)
        if request.method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            raise ValueError("only CONNECT is served in the clear")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self._context)
        return request.target.rpartition(":")[0]

    async def _conversation(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, connection: int
    ) -> None:
        while True:
            try:
                request = await read_head(reader)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    raise
                return
            await read_body(request, reader, writer)
            arrived = time.time_ns()
            self._exchanges += 1
            rng = random.Random(f"{self._seed}/{self._exchanges}")
            reply, words = self._reply(request, rng)
            keep = request.get("connection").lower() != "close" and "close" not in words and not reply.cut
            first = time.time_ns()
            try:
                await send(reply, writer, words, keep=keep, rng=rng)
            finally:  # a client that has what it wants may leave before the last byte
                times = (arrived, first, time.time_ns())
                self._write_log(request, reply, host=host, connection=connection, times=times)
            if not keep:
                return

    def _reply(self, request: Request, rng: random.Random) -> tuple[Reply, frozenset[str]]:
        path = request.target.partition("?")[0]
        request_id = f"req_{rng.getrandbits(96):024x}"
        words = options(request.get("x-double"))
        if request.method == "GET" and path == "/v1/models":
            listed = {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]}
            return Reply(200, [("x-request-id", request_id)], one_part(listed)), words
        other = other_wires.find(path, request.body, words, rng) if request.method == "POST" else None
        if other is not None:
            return of_wire(other), words
        api = APIS.get(path)
        if api is None or request.method != "POST":
            missing = {"error": {"message": f"Unknown request URL: {request.method} {path}", "type": "not_found"}}
            return Reply(404, [("x-request-id", request_id)], one_part(missing), error=missing["error"]), words
        headers = api.headers(request_id, rng)
        for word in sorted(words):
            if word.isdigit():
                body = api.error(int(word), request_id)
                extra = [("retry-after", "1")] if word == "429" else []
                return Reply(int(word), headers + extra, one_part(body), error=body["error"]), words
        return self._answer(api, request, headers, words, rng), words

    def _answer(
        self, api: ModuleType, request: Request, headers: Headers, words: frozenset[str], rng: random.Random
    ) -> Reply:
        body = json.loads(request.body)
        answer = choose(api.asked(body), words, rng)
        id_ = ("msg_" if api is anthropic_wire else "chatcmpl-") + f"{rng.getrandbits(120):030x}"
        now = int(time.time())
        reply = Reply(200, headers, iter(()), answer=described(answer, api), id=id_)
        reply.model = api.answered(str(body.get("model", "")))
        reply.cut = "cut" in words
        if body.get("stream"):
            reply.streamed = True
            fail = "error-in-stream" in words
            if fail:
                kind, message = anthropic_wire.ERRORS[529]
                reply.error = openai_wire.IN_STREAM_ERROR if api is openai_wire else {"type": kind, "message": message}
            padding = "no-padding" not in words
            reply.parts = api.stream(answer, body, id_, now, rng, padding=padding, fail=fail)
        else:
            reply.parts = one_part(api.whole(answer, str(body.get("model", "")), id_, now))
        return reply

    def _write_log(
        self, request: Request, reply: Reply, *, host: str, connection: int, times: tuple[int, int, int]
    ) -> None:
        sent = b"".join(reply.sent)
        row = {
            "exchange": self._exchanges,
            "connection": connection,
            "host": host,
            "method": request.method,
            "target": request.target,
            "request_headers": request.headers,
            "request": logged(request.body),
            "status": reply.status,
            "response_headers": reply.headers,
            "response": logged(sent),
            "streamed": reply.streamed,
            "cut": reply.cut,
            "id": reply.id,
            "model": reply.model,
            "error": reply.error,
            "answer": reply.answer,
            "times_ns": dict(zip(("request_end", "response_start", "response_end"), times, strict=True)),
        }
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def of_wire(wire: other_wires.Wire) -> Reply:
    reply = Reply(wire.status, wire.headers, wire.parts, model=wire.model, id=wire.id, streamed=wire.streamed)
    reply.type = wire.type
    if wire.answer is not None:
        reply.answer = described(wire.answer, wire)
    return reply


def described(answer: Answer, api: Any) -> dict[str, Any]:
    return {
        "text": answer.text,
        "thinking": answer.thinking,
        "tool_calls": [
            {"id": api.call_id(call.id), "name": call.name, "arguments": call.arguments, "text": call.text}
            for call in answer.calls
        ],
        "finish": answer.finish,
        "usage": vars(answer.usage),
    }


def logged(body: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    if len(body) <= BODY_LOGGED_WHOLE:
        out["base64"] = base64.b64encode(body).decode()
    return out


def one_part(body: dict[str, Any]) -> Iterator[bytes]:
    return iter((json.dumps(body).encode(),))


# --- HTTP/1.1 ---------------------------------------------------------------------------------------------------------


async def read_head(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise ValueError(f"not HTTP/1: {version!r}")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Request(method, target, headers)


async def read_body(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if request.get("expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if request.get("transfer-encoding").lower() == "chunked":
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        request.body = b"".join(parts)
    elif length := int(request.get("content-length", "0")):
        request.body = await reader.readexactly(length)


REASONS = {
    200: "OK",
    202: "Accepted",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


async def send(
    reply: Reply, writer: asyncio.StreamWriter, words: frozenset[str], *, keep: bool, rng: random.Random
) -> None:
    """Write head and body. Each write is a TLS record of its own, so borders fall where a real server's might not."""
    framing = "length" if "length-framed" in words or not reply.streamed else "chunked"
    if "close" in words and reply.streamed:
        framing = "close"
    parts: Iterable[bytes] = reply.parts
    kind = reply.type or ("text/event-stream; charset=utf-8" if reply.streamed else "application/json")
    headers = [("Date", formatdate(usegmt=True)), ("Content-Type", kind), *reply.headers, ("Server", "cloudflare")]
    if "gzip" in words:
        headers.append(("Content-Encoding", "gzip"))
    parts = kept(parts, reply.sent)
    if "gzip" in words:
        parts = zipped(parts)
    if framing == "length":
        parts = [b"".join(parts)]
        headers.append(("Content-Length", str(len(parts[0]))))
        if reply.cut:
            parts = [parts[0][: len(parts[0]) // 2]]
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    headers.append(("Connection", "keep-alive" if keep else "close"))
    reply.headers = headers
    head = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Overloaded')}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(head.encode("latin-1") + b"\r\n")
    pause = 0.02 if "slow" in words else 0.001 if reply.streamed else 0.0
    if "odd-chunks" in words:
        parts = recut(parts, rng)
    for number, part in enumerate(parts, 1):
        framed = b"%x\r\n%b\r\n" % (len(part), part) if framing == "chunked" else part
        for piece in recut([framed], rng) if "odd-chunks" in words else [framed]:
            writer.write(piece)
            await writer.drain()
        if reply.cut and (number == 4 or framing == "length"):
            return
        if pause:
            await asyncio.sleep(pause)
    if framing == "chunked":
        writer.write(b"0\r\n\r\n")
    await writer.drain()


def kept(parts: Iterable[bytes], into: list[bytes]) -> Iterator[bytes]:
    for part in parts:
        into.append(part)
        yield part


def zipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """gzip with a flush after each part, as servers of streams do it."""
    packer = zlib.compressobj(wbits=31)
    for part in parts:
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def recut(parts: Iterable[bytes], rng: random.Random) -> Iterator[bytes]:
    """The same bytes in pieces that respect nothing: not events, not characters, not line ends."""
    for part in parts:
        at = 0
        while at < len(part):
            size = rng.choice((1, 2, 3, 7, 40, 200, 1400))
            yield part[at : at + size]
            at += size


# --- certificate ------------------------------------------------------------------------------------------------------


def make_certificate(folder: str, hosts: list[str]) -> ssl.SSLContext:
    """An authority for this run only; `folder/ca.pem` is all of it that is written down."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(os.path.join(folder, "ca.pem"))  # noqa: PTH118 (trustme takes strings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    return context
