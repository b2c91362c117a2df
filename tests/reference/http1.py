# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 read the slow, obvious way: the whole stream at once, line by line. The oracle of the property tests.

It knows the same rules as the parser and none of its machinery: no states, no pieces, no gaps, no bounds.
"""

from __future__ import annotations

import re

from oisp_core.reassemble.tokens import BodyKind, EndFlags, Status, Token, TokenKind, Warning

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
REQUEST = re.compile(rb"(%s{1,32}) ([^\x00-\x20\x7f]+) HTTP/1\.([0-9])\r?\n" % TCHAR)
RESPONSE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?\r?\n")
VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
FIELD = re.compile(rb"(%s+)([ \t]*):" % TCHAR)
CHUNK = re.compile(rb"([0-9a-fA-F]+)[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?(\r?\n)")


class Bad(Exception):
    """Not HTTP/1, or without framing."""


class More(Exception):
    """The stream ends inside something."""


class Http1Reference:
    """Reads `stream`; `tokens` and `status` are what a parser fed with all of it must give, before finish."""

    def __init__(self, role: str, stream: bytes) -> None:
        self.role, self.stream, self.at = role, stream, 0
        self.tokens: list[Token] = []
        self.status = Status.OK
        try:
            while self.skip_blank_lines():
                self.message()
        except Bad:
            self.status = Status.BAD
        except More:
            self.status = Status.MORE

    def skip_blank_lines(self) -> bool:
        while self.at < len(self.stream) and self.stream[self.at] in b"\r\n":
            self.at += 1
        return self.at < len(self.stream)

    def give(self, kind: TokenKind, offset: int, data: bytes = b"", name: bytes = b"", **rest: int) -> None:
        self.tokens.append(Token(kind, offset, data, name, **rest))

    def warn(self, warning: Warning, offset: int) -> None:
        self.give(TokenKind.WARNING, offset, number=warning)

    def warn_bare_lf(self, start: int, end: int) -> None:
        """`start`: of the line, `end`: after its LF. Said once a message. What stands before the line is not looked at:
        it may be data that ends in CR."""
        if self.stream[max(start, end - 2) : end - 1] != b"\r" and not self.bare:
            self.bare = True
            self.warn(Warning.BARE_LF, end - 1)

    def message(self) -> None:
        self.bare, self.lengths, self.codings, self.broken = False, [], [], False
        count, at = len(self.tokens), self.at
        try:
            self.start_line()
            self.fields(TokenKind.FIELD)
        except More:
            del self.tokens[count:]
            self.at = at
            raise
        kind = self.body_kind()
        length = self.lengths[0] if kind == BodyKind.LENGTH else 0
        self.give(TokenKind.HEAD_END, self.at, flags=kind, number=length)
        if kind == BodyKind.LENGTH:
            self.data(length)
        elif kind == BodyKind.CHUNKED:
            self.chunks()
        elif kind == BodyKind.CLOSE:
            self.data(len(self.stream) - self.at)
            raise More
        self.give(TokenKind.END, self.at)
        if kind == BodyKind.TUNNEL and self.role == "response":
            self.give(TokenKind.UPGRADE, self.at)
            self.stream = self.stream[: self.at]

    def start_line(self) -> None:
        pattern = REQUEST if self.role == "request" else RESPONSE
        match = pattern.match(self.stream, self.at)
        if match is None:
            raise More if self.could_begin() else Bad
        if self.role == "request":
            self.method, self.code, self.minor = match[1], 0, int(match[3])
            self.give(TokenKind.REQUEST, match.start(2), match[2], match[1], number=self.minor)
        else:
            self.method, self.code, self.minor = b"", int(match[2]), int(match[1])
            at = match.start(3) if match[3] is not None else match.end(2)
            self.give(TokenKind.RESPONSE, at, match[3] or b"", number=self.code, flags=self.minor)
        self.at = match.end()
        self.warn_bare_lf(match.start(), self.at)

    def could_begin(self) -> bool:
        """Some continuation of what is left would be a start line."""
        left = self.stream[self.at :]
        if self.role == "request":
            tails = [b"G / HTTP/1.1\r\n", b" / HTTP/1.1\r\n", b"/ HTTP/1.1\r\n", b" HTTP/1.1\r\n"]
            tails += [b" HTTP/1.1\r\n"[i:] for i in range(11)]
        else:
            tails = [b"HTTP/1.1 200\r\n"[i:] for i in range(14)]
        pattern = REQUEST if self.role == "request" else RESPONSE
        return any(pattern.fullmatch(left + tail) for tail in tails)

    def line(self, at: int) -> int:
        """The end of the line at `at`, after its LF."""
        end = self.stream.find(b"\n", at)
        if end < 0:
            raise More
        return end + 1

    def fields(self, kind: TokenKind) -> None:
        while True:
            end = self.line(self.at)
            if self.stream[self.at : end] in (b"\r\n", b"\n"):
                self.warn_bare_lf(self.at, end)
                self.at = end
                return
            self.field(kind, end)

    def value_of(self, at: int) -> tuple[bytes, int, int] | None:
        """Text, its offset and the end of a value at `at` up to its line end; None if it is none."""
        while self.stream[at : at + 1] in (b" ", b"\t"):
            at += 1
        match = VALUE.match(self.stream, at)
        assert match is not None
        if self.stream[match.end() : match.end() + 1] == b"\n":
            return match[0].rstrip(b" \t"), at, match.end() + 1
        if self.stream[match.end() : match.end() + 2] == b"\r\n":
            return match[0].rstrip(b" \t"), at, match.end() + 2
        return None

    def field(self, kind: TokenKind, end: int) -> None:
        begin = self.at
        match = FIELD.match(self.stream, begin)
        first = self.value_of(match.end()) if match else None
        if match is None or first is None:
            return self.bad_line(end)
        text, offset, after = first
        parts, bare = [text], self.stream[after - 2 : after - 1] != b"\r"
        while True:
            if after == len(self.stream):
                raise More
            if self.stream[after] not in b" \t":
                break
            more = self.value_of(after)
            if more is None:
                self.line(after)
                if bare:
                    self.warn_bare_lf(begin, first[2])
                return self.bad_lines_from(begin, parts, after)
            parts.append(more[0])
            after = more[2]
        if bare:
            self.warn_bare_lf(begin, first[2])
        if len(parts) > 1:
            self.warn(Warning.OBS_FOLD, begin)
        if match[2]:
            self.warn(Warning.BLANK_BEFORE_COLON, begin)
        value = b" ".join(p for p in parts if p)
        if kind == TokenKind.FIELD:
            self.framing(match[1].lower(), value, offset)
        self.give(kind, offset, value, match[1])
        self.at = after

    def bad_lines_from(self, begin: int, parts: list[bytes], after: int) -> None:
        raise NotImplementedError("a fold that turns out bad: the property tests do not make one")

    def bad_line(self, end: int) -> None:
        self.warn(Warning.BAD_FIELD, self.at)
        match = re.compile(rb"[^\n]*?(%s+)" % TCHAR).match(self.stream, self.at, end)
        if match and match[1].lower() in (b"content-length", b"transfer-encoding"):
            self.broken = True
        self.at = end

    def framing(self, name: bytes, value: bytes, offset: int) -> None:
        if name == b"content-length":
            for part in value.split(b","):
                digits = part.strip(b" \t")
                good = re.fullmatch(rb"[0-9]+", digits) and int(digits) < 2**59
                self.lengths.append(int(digits) if good else -1)
                if not good:
                    return
                same = len(self.lengths) > 1 and self.lengths[-1] == self.lengths[0]
                said = any(t.number == Warning.DUPLICATE_LENGTH for t in self.head() if t.kind == TokenKind.WARNING)
                if same and not said:
                    self.warn(Warning.DUPLICATE_LENGTH, offset)
        elif name == b"transfer-encoding":
            codings = [re.split(rb"[ \t;]", part.strip(b" \t"))[0].lower() for part in value.split(b",")]
            self.codings += [c for c in codings if c not in (b"", b"identity")]

    def head(self) -> list[Token]:
        start = max(i for i, t in enumerate(self.tokens) if t.kind in (TokenKind.REQUEST, TokenKind.RESPONSE))
        return self.tokens[start:]

    def body_kind(self) -> BodyKind:
        request, codings = self.role == "request", self.codings
        wrong = len(set(self.lengths)) > 1 or -1 in self.lengths
        if self.broken or wrong or (codings and self.lengths):
            self.warn(Warning.CONFLICTING_LENGTH, self.at)
        if codings and (codings != [b"chunked"] or self.minor == 0):
            self.warn(Warning.TRANSFER_CODING, self.at)
        if not request and (self.code < 200 or self.code in (204, 304)):
            return BodyKind.TUNNEL if self.code == 101 else BodyKind.NONE
        if self.method == b"CONNECT":
            return BodyKind.TUNNEL
        if self.broken or (request and codings and codings[-1] != b"chunked") or (wrong and not codings):
            raise Bad
        if codings:
            return BodyKind.CHUNKED if codings[-1] == b"chunked" else BodyKind.CLOSE
        if self.lengths:
            return BodyKind.LENGTH
        return BodyKind.NONE if request else BodyKind.CLOSE

    def data(self, size: int) -> None:
        piece = self.stream[self.at : self.at + size]
        if piece:
            self.give(TokenKind.DATA, self.at, piece)
        self.at += len(piece)
        if len(piece) < size:
            raise More

    def chunks(self) -> None:
        while True:
            match = CHUNK.match(self.stream, self.at)
            if match is None or int(match[1], 16) >= 2**63:
                raise More if self.chunk_could_begin() else Bad
            self.at = match.end()
            self.warn_bare_lf(match.start(), self.at)
            size = int(match[1], 16)
            if size == 0:
                break
            self.data(size)
            left = self.stream[self.at : self.at + 2]
            if left == b"\r\n"[: len(left)] and len(left) < 2:
                raise More
            if left[:1] != b"\n" and left != b"\r\n":
                raise Bad
            end = self.at + (1 if left[:1] == b"\n" else 2)
            self.warn_bare_lf(self.at, end)
            self.at = end
        count = len(self.tokens)
        try:
            self.fields(TokenKind.TRAILER)
        except More:
            del self.tokens[count:]
            raise

    def chunk_could_begin(self) -> bool:
        left = self.stream[self.at :]
        digits = re.match(rb"[0-9a-fA-F]*", left)
        assert digits is not None
        if digits[0] and int(digits[0], 16) >= 2**63:
            return False
        return any(CHUNK.fullmatch(left + tail) for tail in (b"0\r\n", b"\r\n", b"\n"))


def finish(reference: Http1Reference) -> list[Token]:
    """What finish must add."""
    tokens = reference.tokens
    last = tokens[-1] if tokens else None
    if reference.status == Status.BAD or last is None or last.kind in (TokenKind.END, TokenKind.UPGRADE):
        return []
    flags = EndFlags.BY_CLOSE
    if not any(t.kind == TokenKind.HEAD_END and t.flags == BodyKind.CLOSE for t in reference.head()):
        flags |= EndFlags.CUT
    return [Token(TokenKind.END, len(reference.stream), flags=flags)]
