# SPDX-License-Identifier: Apache-2.0
"""The JSON documents in a file: one per line (JSONL, NDJSON), one event, or an array of events; gzip or not.

Lines are streamed; a single document is read whole. A file is taken as lines when its name says so, or when its first
line is a whole JSON object.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

import msgspec

from oisp_core.validate import json_path

LINE_MAX = 256 << 20  # bytes of one document; the largest requests that providers take are far below
_LINES = {".jsonl", ".ndjson"}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


class Document(NamedTuple):
    """The text of one JSON document, or `fault` where there is none. `whole`: the text is that of the file."""

    line: int
    text: bytes
    path: str = "$"
    whole: bytes | None = None
    fault: str | None = None


def documents(raw: BinaryIO, name: str) -> Iterator[Document]:
    """The documents in `raw`, which must be able to peek; `name` is looked at for its suffix only."""
    stream: BinaryIO = raw
    if raw.peek(2)[:2] == b"\x1f\x8b":  # type: ignore[attr-defined]
        stream = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        name = name.removesuffix(".gz")
    line = 1
    try:
        for document in _split(stream, name):
            line = document.line
            yield document
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield Document(line, b"", fault=f"broken gzip data after here: {error}")


def _split(stream: BinaryIO, name: str) -> Iterator[Document]:
    first = stream.readline(LINE_MAX + 1)
    if PurePath(name).suffix.lower() in _LINES or _is_object(first):
        yield from _lines(first, stream)
        return
    text = first + stream.read(LINE_MAX + 1 - min(len(first), LINE_MAX))
    if len(text) > LINE_MAX:
        yield Document(1, b"", fault=f"longer than {LINE_MAX} bytes")
        return
    yield from _whole(text)


def _is_object(text: bytes) -> bool:
    if not text.lstrip().startswith(b"{"):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _lines(text: bytes, stream: BinaryIO) -> Iterator[Document]:
    number = 0
    while text:
        number += 1
        if len(text) > LINE_MAX:
            yield Document(number, b"", fault=f"line longer than {LINE_MAX} bytes")
            while text and not text.endswith(b"\n"):
                text = stream.readline(1 << 20)
        elif text.strip():
            yield Document(number, text)
        text = stream.readline(LINE_MAX + 1)


def _whole(text: bytes) -> Iterator[Document]:
    if text.lstrip().startswith(b"["):
        try:
            items = msgspec.json.decode(text, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            items = []
        if items:
            for index, item in enumerate(items):
                yield Document(1, bytes(item), f"$[{index}]", text)
            return
    yield Document(1, text, "$", text)


def line_of(text: bytes, path: str) -> int:
    """The line, from 1, in which the value at `path` of a JSON document begins; 1 if there is no such value."""
    source = text.decode("utf-8", "replace")
    if path == "$":
        return source.count("\n", 0, len(source) - len(source.lstrip())) + 1
    trail: list[str | int] = []
    key = False  # the next string is the name of a member
    for match in _TOKEN.finditer(source):
        piece = match[0]
        if piece in "}]":
            trail.pop()
        elif piece == ",":
            key = isinstance(trail[-1], str)
            if not key:
                trail[-1] += 1  # type: ignore[operator]
        elif piece == ":":
            key = False
        elif key:
            trail[-1] = msgspec.json.decode(piece)
        else:
            if json_path(tuple(trail)) == path:
                return source.count("\n", 0, match.start()) + 1
            if piece in "{[":
                trail.append("" if piece == "{" else 0)
                key = piece == "{"
    return 1


def line_of_fault(text: bytes, reason: str) -> int:
    """The line in which a document stops being JSON, where the parser says at which byte."""
    found = re.search(r"\(byte (\d+)\)\Z", reason)
    return text.count(b"\n", 0, int(found[1]) if found else len(text.rstrip())) + 1
