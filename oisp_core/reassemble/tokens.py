# SPDX-License-Identifier: Apache-2.0
"""What the parsers give out, as Python objects: the enums of oisp/token.h and oisp/status.h, and the token."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple


class Status(IntEnum):
    """What a parser answers; BAD and LIMIT stay until it is reset."""

    OK = 0
    """Done, between messages."""
    MORE = 1
    """The input ended inside something."""
    BAD = 2
    """Not this protocol, or not valid in it."""
    LIMIT = 3
    """Beyond a bound."""
    FULL = 4
    """The output is full."""


class TokenKind(IntEnum):
    """The kinds of token; which members of Token a kind uses is said in oisp/token.h."""

    REQUEST = 1
    RESPONSE = 2
    FIELD = 3
    HEAD_END = 4
    DATA = 5
    TRAILER = 6
    GAP = 7
    END = 8
    UPGRADE = 9
    EVENT = 10
    WARNING = 11
    SETTINGS = 12
    RESET = 13
    GOAWAY = 14


class BodyKind(IntEnum):
    """How the end of a body is found: the flags of HEAD_END."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3
    TUNNEL = 4
    STREAM = 5


class Warning(IntEnum):
    """What was read leniently: the number of a WARNING."""

    OBS_FOLD = 1
    BARE_LF = 2
    DUPLICATE_LENGTH = 3
    CONFLICTING_LENGTH = 4
    BLANK_BEFORE_COLON = 5
    BAD_FIELD = 6
    TRANSFER_CODING = 7
    HEADER_BLOCK = 8


class EndFlags(IntFlag):
    """The flags of END (and bit 0 of the last EVENT of a stream that ended without a blank line)."""

    BY_CLOSE = 1
    CUT = 2


class Token(NamedTuple):
    """One token: a copy, where the C structure points into the input."""

    kind: TokenKind
    offset: int
    """Of data[0] in the stream of bytes that the parser reads."""
    data: bytes = b""
    name: bytes = b""
    number: int = 0
    flags: int = 0
    stream: int = 0

    @classmethod
    def make(cls, kind: int, offset: int, data: bytes, name: bytes, number: int, flags: int, stream: int) -> Token:
        """A token from the members of the C structure."""
        return cls(TokenKind(kind), offset, data, name, number, flags, stream)


class HeadFlags(IntFlag):
    """What stands beside a BodyKind (its low byte) in the flags of an HTTP/2 HEAD_END."""

    PARTIAL = 0x100
    """Fields of this block are not known."""
    PUSH = 0x200
    """The request that a PUSH_PROMISE stands for; number is the stream on which it came."""
    INTERIM = 0x400
    """A 1xx answer: another head follows."""
