# SPDX-License-Identifier: Apache-2.0
"""A document, each time with one thing broken, in every place and in every way that we could think of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Path = tuple[str | int, ...]

OTHER_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.0,
    1.5,
    256,
    65536,
    2**64,
    "",
    "nonsense",
    "x" * 300,
    "2026-13-01T00:00:00Z",
    "2026-03-02T09:15:02+01:00",
    [],
    [None],
    ["x"],
    {},
    {"$redacted": {"reason": "policy"}},
    {"$redacted": {}},
)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, member in value.items():
            yield from paths(member, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))


def mutations(document: dict[str, Any]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """What is done, and how to make the document with it done."""
    for path in paths(document):
        if path:
            yield f"{path} removed", partial(_without, document, path)
            for value in OTHER_VALUES:
                yield f"{path} = {value!r:.40}", partial(_with, document, path, value)
        if isinstance(_at(document, path), dict):
            yield f"{path} and an unknown member", partial(_with, document, (*path, "unknown_member"), {"a": [1]})
    for event_type in ("unknown.type", "process.exec", "agent.tool_call", "Bad", "a..b"):
        yield f"event_type = {event_type}", partial(_with, document, ("event_type",), event_type)


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _with(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    out = copy.deepcopy(document)
    _at(out, path[:-1])[path[-1]] = copy.deepcopy(value)
    return out


def _without(document: dict[str, Any], path: Path) -> dict[str, Any]:
    out = copy.deepcopy(document)
    del _at(out, path[:-1])[path[-1]]
    return out
