# SPDX-License-Identifier: Apache-2.0
"""Test vectors as Markdown: how they are read, how tokens are written down, how a parser is driven over any split.

A vector is a heading of level 2, a sentence or two, a ```bytes block and a ```log block.

The bytes block: its lines are joined without their line ends; `\\r`, `\\n`, `\\t`, `\\\\` and `\\xNN` are escapes.
Its info string gives the parser's options (`role=response head_max=64`). A line `<gap 5>` (or `<expect HEAD>`,
`<tunnel>`, `<no-finish>`) is not bytes but a call at that place; every vector ends with finish unless it says no.

The log block: one line a token, its offset first; `= MORE` is the status after all input, and what follows it the
answer to finish. Neighbouring DATA are joined, since only their number depends on the split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oisp_core.reassemble.tokens import BodyKind, EndFlags, HeadFlags, Token, TokenKind, Warning

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ESCAPE = re.compile(rb"\\(r|n|t|\\|x[0-9a-fA-F]{2})")
CALL = re.compile(r"<(\w[\w-]*)(?: (.*))?>$")


@dataclass
class Vector:
    """One case: the steps are bytes to feed and calls to make, the log is what must come out."""

    file: str
    name: str
    options: dict[str, str] = field(default_factory=dict)
    steps: list[bytes | tuple[str, str]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def unescape(text: str) -> bytes:
    """The bytes of one line of a bytes block."""
    plain = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}
    return ESCAPE.sub(lambda m: plain.get(m[1]) or bytes([int(m[1][1:], 16)]), text.encode())


def escape(data: bytes) -> str:
    """Bytes as printable ASCII in quotes."""
    plain = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t", 0x5C: "\\\\", 0x22: '\\"'}
    return '"' + "".join(plain.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}") for b in data) + '"'


def load(folder: str) -> list[Vector]:
    """Every vector of a folder. A folder without any is an error: vectors that are not there prove nothing."""
    vectors = [v for path in sorted((VECTORS / folder).glob("*.md")) for v in parse(path)]
    if not vectors:
        raise FileNotFoundError(f"no vectors in {VECTORS / folder}")
    return vectors


def parse(path: Path) -> Iterator[Vector]:
    """The vectors of one file, in order."""
    for part in re.split(r"^## ", path.read_text(), flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        vector = Vector(f"{path.parent.name}/{path.name}", name.strip())
        blocks = {kind: (info, text) for kind, info, text in re.findall(r"```(\w+) ?(.*?)\n(.*?)```", body, re.S)}
        if "bytes" not in blocks or "log" not in blocks:
            raise ValueError(f"{path.name}: {name}: needs a bytes block and a log block")
        info, text = blocks["bytes"]
        vector.options = dict(pair.split("=", 1) for pair in info.split())
        vector.steps = list(steps(text))
        vector.log = [line for line in blocks["log"][1].splitlines() if line]
        yield vector


def steps(text: str) -> Iterator[bytes | tuple[str, str]]:
    """Runs of bytes, and calls."""
    run = b""
    for line in text.splitlines():
        if match := CALL.match(line):
            if run:
                yield run
            run = b""
            yield match[1], match[2] or ""
        else:
            run += unescape(line)
    if run:
        yield run


def join_data(tokens: list[Token]) -> list[Token]:
    """Tokens with neighbouring DATA joined."""
    joined: list[Token] = []
    for token in tokens:
        last = joined[-1] if joined else None
        if (
            last is not None
            and token.kind == last.kind == TokenKind.DATA
            and (last.stream, last.flags) == (token.stream, token.flags)
            and last.offset + len(last.data) == token.offset
        ):
            joined[-1] = last._replace(data=last.data + token.data)
        else:
            joined.append(token)
    return joined


def line(token: Token) -> str:
    """One token as a line of a log."""
    kind, data, name = TokenKind(token.kind), escape(token.data), escape(token.name)
    words: list[object] = [token.offset, kind.name]
    if token.stream:
        words.append(f"stream={token.stream}")
    match kind:
        case TokenKind.REQUEST:
            words += [name, data, f"HTTP/1.{token.number}"]
        case TokenKind.RESPONSE:
            words += [token.number, data, f"HTTP/1.{token.flags}"]
        case TokenKind.HEAD_END:
            words.append(BodyKind(token.flags & 0xFF).name)
            words += [flag.name for flag in HeadFlags if flag & token.flags]
            words += [token.number] if token.number or token.flags & 0xFF == BodyKind.LENGTH else []
        case TokenKind.WARNING:
            words.append(Warning(token.number).name)
        case TokenKind.END:
            words += [flag.name for flag in EndFlags if flag & token.flags]
            words += [token.number, data] if token.number else []
        case TokenKind.FIELD | TokenKind.TRAILER:
            words += [name, data] + ([f"flags={token.flags}"] if token.flags else [])
        case TokenKind.UPGRADE:
            pass
        case _:
            words += [name] if token.name else []
            words += [data] if token.data or kind in (TokenKind.DATA, TokenKind.EVENT) else []
            words += [f"number={token.number}"] if token.number else []
            words += [f"flags={token.flags}"] if token.flags else []
    return " ".join(map(str, words))


def drive(parser: Any, vector: Vector, pieces: Callable[[bytes], list[bytes]]) -> list[str]:
    """The log that a parser gives for a vector whose runs of bytes are cut by `pieces`."""
    tokens: list[Token] = []
    finish = True
    for step in vector.steps:
        if isinstance(step, bytes):
            for piece in pieces(step):
                tokens += parser.feed(piece)
        elif step[0] == "gap":
            tokens += parser.gap(int(step[1]))
        elif step[0] == "expect":
            parser.expect(step[1].encode())
        elif step[0] == "tunnel":
            parser.tunnel()
        elif step[0] == "no-finish":
            finish = False
        else:
            raise ValueError(f"{vector}: no call {step[0]!r}")
    log = [line(t) for t in join_data(tokens)] + [f"= {parser.status.name}"]
    if finish:
        log += [line(t) for t in parser.finish()] + [f"= {parser.status.name}"]
    return log


def every_split(parser: Callable[[], Any], vector: Vector) -> Iterator[tuple[str, list[str]]]:
    """Logs of the vector whole, byte by byte, and cut in two at every place of every run."""
    yield "whole", drive(parser(), vector, lambda run: [run])
    yield "byte by byte", drive(parser(), vector, lambda run: [run[i : i + 1] for i in range(len(run))])
    longest = max((len(s) for s in vector.steps if isinstance(s, bytes)), default=0)
    for at in range(1, longest):
        yield f"cut at {at}", drive(parser(), vector, lambda run, at=at: [run[:at], run[at:]])
