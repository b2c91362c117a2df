# SPDX-License-Identifier: Apache-2.0
"""Is the answer right? Events against what the traffic says, and every engine's events against the first one's.

Identifiers are each engine's own: they are replaced by the place of the event that bears them, so that links must still
lead to the same event. Money is compared to a billionth of a cent. Everything else must be equal, member by member.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from oisp_bench.corpora import Corpus
from oisp_core.errors import OispError

__all__ = [
    "WrongAnswer",
    "collect",
    "events_of",
    "fields",
    "same_events",
    "true_digests",
    "true_events",
    "without_origin",
]


class WrongAnswer(OispError):
    """An engine's events are not what they must be: nothing is timed."""


def collect(runner: Any) -> bytes:
    """All that one run gives."""
    pieces: list[bytes] = []
    runner.prepare()
    runner.run(pieces.append)
    return b"".join(pieces)


def events_of(output: bytes) -> list[dict[str, Any]]:
    """In an order of their own, identifiers replaced."""
    events = [json.loads(line) for line in output.splitlines()]
    events.sort(key=_place)
    places = {event["event_id"]: f"#{number}" for number, event in enumerate(events)}
    if len(places) != len(events):
        raise WrongAnswer("two events have one id")
    return [_plain(event, places) for event in events]


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    order = {"ai.request": 0, "ai.streaming_chunk": 1}.get(event["event_type"], 2)
    pid = event.get("process", {}).get("pid", 0)
    return pid, event["ts"] if order != 1 else "", order, event["data"].get("chunk_index", 0), event["ts"]


def _plain(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, places) for inner in value]
    if isinstance(value, float):
        return round(value, 11)
    if isinstance(value, str):
        return places.get(value, value)
    return value


def fields(events: list[dict[str, Any]]) -> set[str]:
    """Every path that occurs, `data.usage.total_tokens`."""
    found: set[str] = set()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else key)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, path + "[]")
        else:
            found.add(path)

    for event in events:
        walk(event, event["event_type"])
    return found


def without_origin(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Less what only records say, and `Engine.feed` cannot know: that a TLS library gave the bytes to this process."""
    rest = []
    for event in events:
        c = event["confidence"]
        kept = {k: v for k, v in c.items() if k not in {"content_source", "process_attribution"}}
        kept["reasons"] = [word for word in c["reasons"] if word not in {"tls_boundary_capture", "plaintext_capture"}]
        rest.append({**event, "confidence": kept})
    return rest


def same_events(name: str, events: list[dict[str, Any]], first: str, wanted: list[dict[str, Any]]) -> None:
    """Raises WrongAnswer with the first difference."""
    if len(events) != len(wanted):
        counts = [dict(Counter(e["event_type"] for e in some)) for some in (events, wanted)]
        raise WrongAnswer(f"{name} gives {counts[0]}, {first} {counts[1]}")
    for one, other in zip(events, wanted, strict=True):
        if one != other:
            where, mine, theirs = _difference(one, other, one["event_type"])
            raise WrongAnswer(f"{name} and {first} differ at {where}: {mine!r:.200} and {theirs!r:.200}")


def _difference(one: Any, other: Any, path: str) -> tuple[str, Any, Any]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *other]:
            if one.get(key) != other.get(key) or (key in one) != (key in other):
                return _difference(one.get(key), other.get(key), f"{path}.{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return _difference(a, b, f"{path}[{index}]")
    return path, one, other


def true_events(events: list[dict[str, Any]], corpus: Corpus) -> None:
    """Against the generator's own knowledge, exchange by exchange."""
    by_connection: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        by_connection.setdefault(event["process"]["pid"] - 4000, []).append(event)
    for conn, exchanges in corpus.truth.items():
        asked = [e for e in by_connection.get(conn, []) if e["event_type"] == "ai.request"]
        answered = [e for e in by_connection.get(conn, []) if e["event_type"] == "ai.response"]
        if (len(asked), len(answered)) != (len(exchanges), len(exchanges)):
            raise WrongAnswer(
                f"connection {conn} held {len(exchanges)} exchanges; the events are {len(asked)} requests and "
                f"{len(answered)} responses"
            )
        for truth, request, response in zip(exchanges, asked, answered, strict=True):
            for what, wanted, got in _statements(truth, request["data"], response["data"]):
                if wanted != got:
                    raise WrongAnswer(f"connection {conn}: {what} is {got!r:.200}, sent was {wanted!r:.200}")
    extra = set(by_connection) - {conn for conn, exchanges in corpus.truth.items() if exchanges}
    if extra:
        raise WrongAnswer(f"events of connections that held nothing to report: {sorted(extra)[:5]}")


def true_digests(events: list[dict[str, Any]], corpus: Corpus) -> None:
    """Under `metadata`: the hash and the length of each text, made from the text that was sent."""
    wanted = Counter(
        (len(text), "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16])
        for rows in corpus.truth.values()
        for exchange in rows
        for text in [*exchange.get("messages", []), exchange["text"]]
    )
    found: Counter[tuple[int, str]] = Counter()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$redacted" in value:
                found[value["$redacted"]["original_length"], value["$redacted"]["hash"]] += 1
            else:
                for inner in value.values():
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for event in events:
        walk(event)
    if wanted - found:
        raise WrongAnswer(f"{sum((wanted - found).values())} texts have no right hash in the events")


def _statements(truth: dict[str, Any], asked: dict[str, Any], said: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    rows = [
        ("the model asked for", truth["model"], asked["model"]["id"]),
        ("streaming", truth["streaming"], asked["streaming"]),
        ("the answer's text", truth["text"], said.get("choices", [{}])[0].get("message", {}).get("content")),
        ("prompt tokens", truth["prompt"], said.get("usage", {}).get("prompt_tokens")),
        ("completion tokens", truth["completion"], said.get("usage", {}).get("completion_tokens")),
    ]
    if "answered" in truth:
        rows.append(("the model that answered", truth["answered"], said.get("model", {}).get("id")))
    if "messages" in truth:
        rows.append(("messages", truth["messages"], [m["content"] for m in asked.get("messages", [])]))
    return rows
