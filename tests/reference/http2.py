# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames, slow and obvious (RFC 9113): the twin of oisp_core/reassemble/http2.pyx, over bytes without holes."""

from __future__ import annotations

from collections.abc import Iterator

from oisp_core.reassemble.tokens import BodyKind, HeadFlags, Token, TokenKind, Warning
from tests.reference.h2wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from tests.reference.hpack import Bad, Decoder, Short

FRAME_MAX = 16384
SETTINGS_READ = 32


class NoFrame(Exception):
    """What stands there is no frame that this side may send."""


class Reader:
    """All bytes of one direction, in one call."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.table = Decoder()
        self.open: tuple[int, int, int, int, bytes] | None = None
        """Header block in progress: kind, flags, stream, offset of its first frame, fragment so far."""
        self.promised = 0

    def tokens(self, data: bytes) -> tuple[list[Token], bool]:
        """The tokens, and whether all of it was HTTP/2 (what is cut at the end is)."""
        out: list[Token] = []
        at = 0
        if self.role == "request":
            if data[: len(PREFACE)] != PREFACE[: len(data)]:
                return out, False
            at = min(len(PREFACE), len(data))
        first = True
        try:
            while len(data) - at >= 9:
                size = int.from_bytes(data[at : at + 3], "big")
                kind, flags = data[at + 3], data[at + 4]
                stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
                self.check(size, kind, flags, stream, first)
                payload = data[at + 9 : at + 9 + size]
                first = False
                out += self.frame(at, kind, flags, stream, size, payload)
                if len(payload) < size:
                    return out, True
                at += 9 + size
        except NoFrame:
            return out + (list(self.block(cut=True, end=0)) if self.open else []), False
        return out, True

    def check(self, size: int, kind: int, flags: int, stream: int, first: bool) -> None:
        pad = flags & PADDED and kind in (DATA, HEADERS, PUSH_PROMISE)
        least = {
            DATA: bool(pad),
            HEADERS: bool(pad) + (5 if flags & PRIORITIZED else 0),
            PUSH_PROMISE: bool(pad) + 4,
            GOAWAY: 8,
        }
        exact = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
        wrong = (
            size > FRAME_MAX
            or size < least.get(kind, 0)
            or size != exact.get(kind, size)
            or (kind in (SETTINGS, PING, GOAWAY) and stream != 0)
            or (kind in (DATA, HEADERS, 2, RST_STREAM, PUSH_PROMISE, CONTINUATION) and stream == 0)
            or (kind == SETTINGS and (size % 6 or (flags & ACK and size)))
            or (kind in (DATA, HEADERS) and self.role == "request" and stream % 2 == 0)
            or (kind == PUSH_PROMISE and (self.role == "request" or stream % 2 == 0))
            or (first and (kind != SETTINGS or flags & ACK))
        )
        if wrong:
            raise NoFrame
        if self.open is None and kind == CONTINUATION:
            raise NoFrame
        if self.open is not None and (kind != CONTINUATION or stream != self.open[2]):
            raise NoFrame

    def frame(self, at: int, kind: int, flags: int, stream: int, size: int, payload: bytes) -> Iterator[Token]:
        end = at + 9 + size
        whole = len(payload) == size
        if kind == DATA:
            yield from self.data(at, flags, stream, size, payload)
        elif kind == RST_STREAM and whole:
            yield Token(TokenKind.RESET, at + 9, number=int.from_bytes(payload, "big"), stream=stream)
        elif kind == GOAWAY and len(payload) >= 8:
            last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
            yield Token(TokenKind.GOAWAY, at + 9, number=int.from_bytes(payload[4:8], "big"), stream=last)
        elif kind == SETTINGS and whole:
            yield from self.settings(at + 9, flags, payload)
        elif kind in (HEADERS, PUSH_PROMISE, CONTINUATION) and whole:
            yield from self.head(at, kind, flags, stream, payload, end)

    def data(self, at: int, flags: int, stream: int, size: int, payload: bytes) -> Iterator[Token]:
        begin, last = 0, size
        if flags & PADDED:
            if not payload:
                return
            begin, last = 1, size - payload[0]
            if last < 1:
                raise NoFrame
        if payload[begin:last]:
            yield Token(TokenKind.DATA, at + 9 + begin, payload[begin:last], stream=stream)
        if flags & END_STREAM and len(payload) == size:
            yield Token(TokenKind.END, at + 9 + size, stream=stream)

    def settings(self, at: int, flags: int, payload: bytes) -> Iterator[Token]:
        if flags & ACK:
            yield Token(TokenKind.SETTINGS, at, flags=0xFFFF)
        elif len(payload) > 6 * SETTINGS_READ:
            yield Token(TokenKind.SETTINGS, at, flags=0xFFFE)
        else:
            for i in range(0, len(payload), 6):
                identifier, value = payload[i : i + 2], payload[i + 2 : i + 6]
                yield Token(
                    TokenKind.SETTINGS,
                    at + i,
                    number=int.from_bytes(value, "big"),
                    flags=int.from_bytes(identifier, "big"),
                )

    def head(self, at: int, kind: int, flags: int, stream: int, payload: bytes, end: int) -> Iterator[Token]:
        if kind == CONTINUATION:
            assert self.open is not None
            self.open = (*self.open[:4], self.open[4] + payload)
        else:
            begin = pad = 0
            if flags & PADDED:
                begin, pad = 1, payload[0]
            if kind == HEADERS and flags & PRIORITIZED:
                begin += 5
            if kind == PUSH_PROMISE:
                self.promised = int.from_bytes(payload[begin : begin + 4], "big") & 0x7FFFFFFF
                begin += 4
            if begin + pad > len(payload):
                self.open = (kind, flags, stream, at, b"")
                raise NoFrame
            self.open = (kind, flags, stream, at, payload[begin : len(payload) - pad])
        if flags & END_HEADERS:
            yield from self.block(cut=False, end=end)

    def block(self, cut: bool, end: int) -> Iterator[Token]:
        """The tokens of a block. `end` is where its last frame ends; of a block that is cut that is not known."""
        assert self.open is not None
        kind, flags, carrier, at, fragment = self.open
        self.open = None
        stream = self.promised if kind == PUSH_PROMISE else carrier
        bad = short = False
        try:
            fields = self.table.decode(fragment)
        except Bad as error:
            fields, bad, short = error.args[0], True, isinstance(error, Short)
        partial = cut or bad or self.table.unknown > 0
        pseudo = any(name and name[:1] == b":" for _, name, _, _ in fields)
        trailers = not pseudo and not partial
        token = TokenKind.TRAILER if trailers else TokenKind.FIELD
        for _, name, value, secret in fields:
            yield Token(token, at, value, name or b"", flags=(2 if name is None else 0) | secret, stream=stream)
        if bad and not (cut and short):  # that a block which was cut ends too early is no mistake of its own
            yield Token(TokenKind.WARNING, at, number=Warning.HEADER_BLOCK, stream=carrier)
        if cut or bad:
            self.table.lost()
        ends = kind == HEADERS and flags & END_STREAM
        if not trailers:
            yield self.head_end(kind, carrier, stream, at, fields, bool(ends), partial)
        if ends:
            yield Token(TokenKind.END, at + 9 if cut else end, stream=carrier)

    @staticmethod
    def head_end(
        kind: int,
        carrier: int,
        stream: int,
        at: int,
        fields: list[tuple[int, bytes | None, bytes, bool]],
        ends: bool,
        partial: bool,
    ) -> Token:
        lengths = [v for _, n, v, _ in fields if n == b"content-length" and v.isdigit()]
        interim = any(n == b":status" and len(v) == 3 and v[:1] == b"1" for _, n, v, _ in fields)
        body = BodyKind.LENGTH if lengths else BodyKind.STREAM
        if ends or interim or kind == PUSH_PROMISE:
            body = BodyKind.NONE
        flags = int(body) | (HeadFlags.PARTIAL if partial else 0)
        flags |= HeadFlags.PUSH if kind == PUSH_PROMISE else 0
        flags |= HeadFlags.INTERIM if interim and not ends else 0
        number = int(lengths[-1]) if body == BodyKind.LENGTH else 0
        return Token(
            TokenKind.HEAD_END, at, number=carrier if kind == PUSH_PROMISE else number, flags=flags, stream=stream
        )
