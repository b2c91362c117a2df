# SPDX-License-Identifier: Apache-2.0
"""Every bound of the engine: its default, its unit, its reason. `include/oisp/limits.h` has the same names, in
the same order.

Reaching a bound is counted, said in the confidence of the event that it touched, and never ends the engine. What is
bounded is what a peer on the wire can make grow; what a program that embeds the engine chooses (how many engines, how
often it drains) is its own business.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from oisp_core.errors import ConfigError, LimitError

__all__ = ["LIMITS", "Limit", "Limits"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20


class Limit(NamedTuple):
    """One row of the table. `least` and `most` bound what may be set; `effect` is what happens at the bound."""

    name: str
    default: int
    least: int
    most: int
    unit: str
    reason: str
    effect: str


# A buffer counts its bytes in 32 bits, and a line can be six times its text (every byte escaped): 512 MiB stays below.
_BYTES = 512 * MIB

LIMITS: Final[tuple[Limit, ...]] = (
    Limit(
        "head_bytes", 256 * KIB, KIB, 16 * MIB, "bytes",
        "Servers take 8 to 64 KiB (nginx 8 KiB a line, Apache 8 KiB a field, Node 16 KiB, h11 64 KiB); a watcher must "
        "read what any of them takes, cookies and JWTs included.",
        "HTTP/1.1: the direction resynchronises; HTTP/2: the fields are unknown, and the head counts as partial",
    ),
    Limit(
        "head_fields", 256, 16, 65535, "fields",
        "Apache stops at 100, Go and Node have no bound but bytes; browsers behind proxies send 30 to 60.",
        "further fields are read over and not kept; the head counts as partial",
    ),
    Limit(
        "body_bytes", 32 * MIB, KIB, _BYTES, "bytes",
        "Anthropic refuses requests above 32 MB, Gemini above 20 MB, Bedrock above 25 MB; OpenAI's chat above 50 MB, "
        "nearly all of it images, which are counted and not kept.",
        "the rest of the body is counted in bytes_over_limit, framing goes on, the event is partial",
    ),
    Limit(
        "event_bytes", 4 * MIB, KIB, _BYTES, "bytes",
        "A delta is below 1 KiB, but the last event of a Responses stream repeats the whole answer, and an image comes "
        "as one event of 1 to 3 MiB of base64.",
        "the event is skipped and counted, the stream goes on",
    ),
    Limit(
        "arena_bytes", 64 * MIB, KIB, _BYTES, "bytes",
        "Request and response of one exchange, twice body_bytes: both can be at their bound.",
        "the rest of the texts is left out, the event is partial and says limit_reached",
    ),
    Limit(
        "items", 65535, 16, 1 << 20, "messages, tools, calls or choices",
        "OpenAI takes 2,048 messages in a batch and 128 tools; agents reach some thousand messages in one history.",
        "further items are left out, the event is partial and says limit_reached",
    ),
    Limit(
        "json_depth", 128, 16, 200, "levels",
        "Real bodies stay below 30; tool schemas are the deepest. Python's json, msgspec and orjson stop near 1,000, "
        "and an event adds levels of its own.",
        "the body is unreadable from there, and the event says so",
    ),
    Limit(
        "connections", 65536, 1, 1 << 22, "connections",
        "One process may hold 65,535 ports to one server; a busy gateway has 10,000 to 30,000.",
        "the connection that was silent longest is closed, its exchanges end as partial",
    ),
    Limit(
        "streams", 1024, 1, 65535, "streams of a connection",
        "SETTINGS_MAX_CONCURRENT_STREAMS is 100 to 256 at the large providers (RFC 9113 asks for at least 100).",
        "further streams are framed and counted, not decoded",
    ),
    Limit(
        "pipeline", 64, 1, 4096, "requests of a connection",
        "HTTP/1.1 clients do not pipeline in practice; some load generators do, up to 16 deep.",
        "requests beyond it are emitted unpaired, and say so",
    ),
    Limit(
        "table_bytes", 64 * KIB, 4 * KIB, MIB, "bytes of a connection and direction",
        "SETTINGS_HEADER_TABLE_SIZE is 4 KiB by default (RFC 7541), Chrome asks for 64 KiB.",
        "older entries are not kept: fields that refer to them are unknown, never guessed",
    ),
    Limit(
        "inflate_ratio", 200, 2, 100000, "bytes out for a byte in",
        "DEFLATE reaches 1,032:1 on zeros; JSON of language models 3:1 to 12:1. It counts from 1 MiB of output.",
        "decompression stops there, what was read stands, the event is partial",
    ),
    Limit(
        "output_bytes", 16 * MIB, 64 * KIB, _BYTES, "bytes of NDJSON",
        "A soft bound for whoever drains: at 2 KiB an event about 8,000 events.",
        "feed answers FULL: that input was taken whole, nothing is dropped, drain before the next call",
    ),
    Limit(
        "linked_calls", 65536, 16, 1 << 22, "tool calls",
        "A result comes in the next request of its conversation; the longest agent sessions have some thousand calls.",
        "the oldest call is forgotten: its result is emitted with missing parent",
    ),
    Limit(
        "total_bytes", 256 * MIB, MIB, 1 << 40, "bytes of all connections",
        "What a sensor may take from a server that has other work: eight bodies at their bound, or 16,000 streams of "
        "16 KiB.",
        "bodies that begin beyond it are framed and counted, not held; their events are partial",
    ),
)  # fmt: skip

_BY_NAME: Final = {row.name: row for row in LIMITS}


def _default(name: str) -> int:
    return _BY_NAME[name].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one engine, checked when they are given. Raises `LimitError` for a value outside its range."""

    head_bytes: int = _default("head_bytes")
    head_fields: int = _default("head_fields")
    body_bytes: int = _default("body_bytes")
    event_bytes: int = _default("event_bytes")
    arena_bytes: int = _default("arena_bytes")
    items: int = _default("items")
    json_depth: int = _default("json_depth")
    connections: int = _default("connections")
    streams: int = _default("streams")
    pipeline: int = _default("pipeline")
    table_bytes: int = _default("table_bytes")
    inflate_ratio: int = _default("inflate_ratio")
    output_bytes: int = _default("output_bytes")
    linked_calls: int = _default("linked_calls")
    total_bytes: int = _default("total_bytes")

    def __post_init__(self) -> None:
        for field in fields(self):
            value, row = getattr(self, field.name), _BY_NAME[field.name]
            if not isinstance(value, int) or isinstance(value, bool) or not row.least <= value <= row.most:
                raise LimitError(field.name, value, row.least, row.most)

    @classmethod
    def of(cls, settings: Limits | dict[str, Any] | None) -> Limits:
        """Limits from what a user gives: nothing, a mapping of some of the names, or Limits."""
        if settings is None:
            return cls()
        if isinstance(settings, Limits):
            return settings
        unknown = [name for name in settings if name not in _BY_NAME]
        if unknown:
            raise ConfigError(key=f"limits.{unknown[0]}", message="unknown limit", expected=_BY_NAME)
        return cls(**settings)


def markdown() -> str:
    """The table as `docs/LIMITS.md` shows it."""
    lines = [
        "# Limits",
        "",
        "<!-- GENERATED by tools/gen_privacy.py from oisp_core/limits.py; do not edit. -->",
        "",
        "Every table, buffer and count of the engine has a bound. Reaching one is counted in `stats()` and said in the",
        "confidence of the event that it touched; it never ends the engine. `Engine(limits={...})` sets them; a value",
        "outside its range is refused.",
        "",
        "| limit | default | range | unit | reason | at the bound |",
        "|---|---:|---|---|---|---|",
    ]
    for row in LIMITS:
        span = f"{_amount(row.least)} to {_amount(row.most)}"
        lines.append(f"| `{row.name}` | {_amount(row.default)} | {span} | {row.unit} | {row.reason} | {row.effect} |")
    return "\n".join(lines) + "\n"


def _amount(value: int) -> str:
    for size, unit in ((1 << 30, "Gi"), (MIB, "Mi"), (KIB, "Ki")):
        if value >= size and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,}"
