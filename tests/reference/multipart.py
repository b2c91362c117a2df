# SPDX-License-Identifier: Apache-2.0
"""Multipart bodies read the slow, obvious way: a whole body at once, by regular expressions. No holes, no bounds."""

from __future__ import annotations

import re
from typing import NamedTuple

from oisp_core.reassemble.tokens import Status

PARAMETER = re.compile(
    rb"""[; \t]*([^=; \t]*)[ \t]*(?:=[ \t]*(?:"((?:\\["\\]|[^"])*)"?[^;]*|([^;]*)))?""", re.VERBOSE | re.DOTALL
)


class Part(NamedTuple):
    name: bytes = b""
    filename: bytes | None = None
    type: bytes | None = None
    content: bytes = b""
    unended: bool = False


def read(body: bytes, boundary: bytes) -> tuple[list[Part], Status]:
    """The parts, and what a parser answers after all of the body and before its end."""
    parts: list[Part] = []
    dashes = b"--" + re.escape(boundary)
    real = rb"(?=--|[ \t\r\n])"
    found = re.search(rb"(?:\A|\n)" + dashes + real, body)
    while found:
        at = found.end()
        if body.startswith(b"--", at):
            return parts, Status.OK
        line = re.compile(rb"[ \t]*(\r?\n)").match(body, at)
        if line is None:
            return parts, Status.MORE if re.fullmatch(rb"[ \t]*\r?", body[at:]) else Status.BAD
        head = re.compile(rb"(?:[^\n]*[^\r\n][^\n]*\n|\r{2,}\n)*?\r?\n").match(body, line.end())
        if head is None:
            return parts, Status.MORE
        part = read_head(head[0])
        end = re.escape(line[1]) + dashes
        rest = line[1] + body[head.end() :]  # the end of the blank line may be a delimiter's
        found = re.search(end + real, rest)
        if found is None:
            cut = re.search(end + rb"-?\Z", rest)
            content = rest[len(line[1]) : cut.start()] if cut else rest[len(line[1]) :]
            return [*parts, part._replace(content=content, unended=True)], Status.MORE
        parts.append(part._replace(content=rest[len(line[1]) : found.start()]))
        found = re.compile(end).search(body, head.end() - len(line[1]) + found.start())
    return parts, Status.MORE


def read_head(head: bytes) -> Part:
    """Name, filename and type."""
    head = re.sub(rb"(?<!\A)\r?\n(?=[ \t])", lambda m: b" " * len(m[0]), head)
    part = Part()
    for line in head.split(b"\n"):
        name, colon, value = line.removesuffix(b"\r").partition(b":")
        name, value = name.rstrip(b" \t").lower(), value.strip(b" \t")
        if not colon:
            continue
        if name == b"content-type" and part.type is None:
            part = part._replace(type=value)
        elif name == b"content-disposition" and not part.name and part.filename is None:
            part = disposition(value)._replace(type=part.type)
    return part


def disposition(value: bytes) -> Part:
    """Name and filename."""
    found: dict[bytes, bytes] = {}
    rest = value[value.find(b";") :] if b";" in value else b""
    while rest:
        match = PARAMETER.match(rest)
        assert match is not None
        rest = rest[match.end() :]
        text = match[2] if match[2] is not None else (match[3] or b"").rstrip(b" \t")
        found.setdefault(match[1].lower(), text)
    filename = found.get(b"filename")
    if filename is not None:
        filename = unescaped(filename)
    elif b"filename*" in found:
        filename = extended(found[b"filename*"])
    return Part(unescaped(found.get(b"name", b"")), filename)


def unescaped(text: bytes) -> bytes:
    return re.sub(rb'\\(["\\])', rb"\1", text)


def extended(text: bytes) -> bytes:
    match = re.fullmatch(rb"[^']*'[^']*'(.*)", text, re.DOTALL)
    if match is None:
        return text
    return re.sub(rb"%([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), match[1])
