# SPDX-License-Identifier: Apache-2.0
"""Slow, obvious twins of match/: a search that looks everywhere, and a body reader that parses the whole JSON."""

from __future__ import annotations

import json
from typing import Any


def fold(data: bytes, ignore_case: bool) -> bytes:
    return bytes(b | 0x20 if 65 <= b <= 90 else b for b in data) if ignore_case else data


def find_all(patterns: list[bytes], data: bytes, ignore_case: bool = True) -> list[tuple[int, int, int]]:
    """(pattern, start, end) of every occurrence, by end, then the longer first, then by number."""
    text = fold(data, ignore_case)
    found = []
    for number, pattern in enumerate(patterns):
        wanted = fold(pattern, ignore_case)
        found += [
            (number, at, at + len(wanted))
            for at in range(len(text) - len(wanted) + 1)
            if text[at : at + len(wanted)] == wanted
        ]
    return sorted(found, key=lambda m: (m[2], m[1], m[0]))


def find_leftmost(patterns: list[bytes], data: bytes, ignore_case: bool = True) -> list[tuple[int, int, int]]:
    """The first that begins, of those the longest, then on from its end."""
    kept: list[tuple[int, int, int]] = []
    end = 0
    for match in sorted(find_all(patterns, data, ignore_case), key=lambda m: (m[1], -m[2], m[0])):
        if match[1] >= end:
            kept.append(match)
            end = match[2]
    return kept


def json_type(value: Any) -> str:
    names = {str: "string", bool: "bool", type(None): "null", dict: "object", list: "array"}
    return names.get(type(value), "number")


def _values(value: Any, steps: list[str]) -> list[Any]:
    if not steps:
        return [value]
    if steps[0] == "[]":
        return [v for item in value for v in _values(item, steps[1:])] if isinstance(value, list) else []
    return _values(value[steps[0]], steps[1:]) if isinstance(value, dict) and steps[0] in value else []


def term_holds(term: str, document: Any) -> bool:
    """`messages[].role`, `prompt:string|array`, `type^=session.`, `query*=near`, `jsonrpc=2.0`."""
    for mark, test in (("^=", str.startswith), ("*=", str.__contains__), ("=", str.__eq__)):
        if mark in term:
            path, _, wanted = term.partition(mark)
            return any(isinstance(v, str) and test(v, wanted) for v in _values(document, _steps(path)))
    path, _, types = term.partition(":")
    return any(not types or json_type(v) in types.split("|") for v in _values(document, _steps(path)))


def _steps(path: str) -> list[str]:
    return [step for step in path.replace("[]", ".[].").split(".") if step]


def shape_fits(shape: dict[str, Any], body: bytes) -> bool:
    """Whether a whole JSON body has a shape (of registry.yaml)."""
    document = json.loads(body)
    return (
        all(term_holds(t, document) for t in shape.get("all", []))
        and (not shape.get("any") or any(term_holds(t, document) for t in shape["any"]))
        and not any(term_holds(t, document) for t in shape.get("none", []))
    )
