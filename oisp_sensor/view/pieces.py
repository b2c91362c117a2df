# SPDX-License-Identifier: Apache-2.0
"""What lines are made of: pieces of text with the role that each plays, and values of events made fit to be read.

No text of an event reaches a terminal as it is: what a terminal could act upon is shown escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from oisp_core.errors import printable

SHOWN = 160  # characters of a text, unless all of it is asked for
ROLES = ("time", "who", "request", "response", "tool", "error", "warning", "text", "dim", "plain")


class Piece(NamedTuple):
    role: str
    text: str


Line = list[Piece]
Describe = Callable[[dict[str, Any], int | None], list[Line]]


def at(event: Any, *path: str) -> Any:
    """The value at a path of members, or None."""
    for name in path:
        if not isinstance(event, dict):
            return None
        event = event.get(name)
    return event


def text(value: Any, limit: int | None = 60) -> str:
    """A string that may stand on a terminal; empty where there is none."""
    if not isinstance(value, str):
        return ""
    shown = value if limit is None or len(value) <= limit else value[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return printable(shown)


def number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""


def duration(ms: Any) -> str:
    if not isinstance(ms, (int, float)) or isinstance(ms, bool) or ms < 0:
        return ""
    if isinstance(ms, float) and ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms / 1000:.1f} s" if ms >= 10_000 else f"{ms:,.0f} ms"


def plural(count: Any, word: str) -> str:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return ""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def joined(parts: Iterable[str], separator: str = ", ") -> str:
    return separator.join(part for part in parts if part)
