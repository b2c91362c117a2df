# SPDX-License-Identifier: Apache-2.0
"""Recorded exchanges as wire bytes over HTTP/2: alone, six interleaved on a connection, and with gRPC in it."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.events_of import pairs_of
from tests.reference.wire import TICK
from tests.unit.engine.test_corpus import SEED, START, Tally, is_framed, rows_of, slow

LIMITS = {"linked_calls": 256}
Event = dict[str, Any]


def events_of(render: ModuleType, rows: list[dict[str, Any]], cut: str, coding: str) -> list[Event]:
    """Of one connection; the rows are its streams 1, 3, 5 and so on."""
    engine = Engine(content="full", id_seed=1, limits=LIMITS)
    segments = render.h2_connection(rows, SEED, coding)
    for index, (direction, data) in enumerate(render.split_segments(segments, SEED, rows[0]["id"], cut)):
        engine.feed(1, direction, START + index * TICK, data)
    engine.close(1)
    return [json.loads(line) for line in engine.drain().splitlines()]


def usable(row: dict[str, Any]) -> bool:
    return is_framed(row) and bool(row["url"]) and bool(row["status"])


@pytest.mark.parametrize(
    ("cut", "coding"),
    [("mixed", "recorded"), slow("whole", "none"), slow("bytes", "br"), slow("mixed", "zstd"), slow("bytes", "gzip")],
)
def test_events_say_what_is_true(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    tally = Tally()
    for row in rows_of(corpus):
        truth = corpus.truth()[row["id"]]
        tally.count(row, truth, pairs_of(events_of(render, [row], cut, coding), truth))
    tally.check(17_000)


def by_exchange(events: list[Event]) -> dict[str, list[Event]]:
    """Events by the exchange that they belong to."""
    found: dict[str, list[Event]] = {}
    for event in events:
        key = event["data"].get("request_id") or event["ext"]["oisp"].get("request_id") or event["event_id"]
        found.setdefault(key, []).append(event)
    return found


def six_at_a_time(corpus: Any) -> list[list[dict[str, Any]]]:
    """Rows that give exactly one request and one answer, six to a connection, none of them twice."""
    truth = corpus.truth()
    kinds = ("chat", "completion", "image", "audio", "moderation", "rerank")
    rows = [row for row in corpus.exchanges() if usable(row) and truth[row["id"]]["kind"] in kinds]
    return [rows[i : i + 6] for i in range(0, len(rows), 6)]


@pytest.mark.parametrize(
    ("cut", "coding"), [("mixed", "recorded"), slow("bytes", "none"), slow("whole", "gzip"), slow("mixed", "br")]
)
def test_six_interleaved_streams(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    """Each stream's events are those of its own row: by the time of their requests, which are sent in order."""
    tally = Tally()
    for group in six_at_a_time(corpus):
        found = by_exchange(events_of(render, group, cut, coding))
        exchanges = [events for events in found.values() if any(e["event_type"] == "ai.request" for e in events)]
        exchanges.sort(key=lambda events: next(e["ts"] for e in events if e["event_type"] == "ai.request"))
        assert len(exchanges) == len(group), [row["id"] for row in group]
        for row, events in zip(group, exchanges, strict=True):
            truth = corpus.truth()[row["id"]]
            pairs = pairs_of(events, truth)
            results, all_results = pairs.pop("tool_results", ([], []))
            assert set(results) <= set(all_results)  # those that an earlier row of the group has are told there
            tally.count(row, truth, pairs)
    tally.check(14_000)


def test_ordinary_traffic_gives_no_ai_event(corpus: Any, render: ModuleType) -> None:
    truth = corpus.truth()
    rows = [row for row in corpus.exchanges() if truth[row["id"]]["kind"] == "none" and usable(row)]
    assert len(rows) > 50
    for first in range(0, len(rows), 6):
        events = events_of(render, rows[first : first + 6], "mixed", "none")
        assert not [e for e in events if e["event_type"].startswith("ai.")], rows[first]["id"]


def grpc_events(
    render: ModuleType, row: dict[str, Any], cut: str, content: str = "full", host: str = ""
) -> list[Event]:
    engine = Engine(content=content, id_seed=1, limits=LIMITS)  # type: ignore[arg-type]
    segments = render.grpc_connection(row if not host else row | {"url": row["url"].replace("api.x.ai", host)}, SEED)
    for index, (direction, data) in enumerate(render.split_segments(segments, SEED, row["id"], cut)):
        engine.feed(1, direction, START + index * TICK, data)
    engine.close(1)
    stats = engine.stats()
    assert (stats["requests"], stats["responses"], stats["bad"], stats["resyncs"]) == (1, 1, 0, 0)
    return [json.loads(line) for line in engine.drain().splitlines()]


@pytest.mark.parametrize(
    ("cut", "content", "host"),
    [
        ("mixed", "full", ""),
        ("bytes", "metadata", ""),
        ("whole", "full", "gateway.internal:8443"),
        slow("bytes", "full", ""),
        slow("mixed", "metadata", ""),
    ],
)
def test_grpc(corpus: Any, render: ModuleType, cut: str, content: str, host: str) -> None:
    """Messages of Protocol Buffers, each behind its length."""
    rows = [row for row in corpus.exchanges() if row.get("grpc")]
    assert len(rows) > 20
    tally = Tally()
    for row in rows:
        truth = corpus.truth()[row["id"]]
        pairs = pairs_of(grpc_events(render, row, cut, content, host), truth)
        if host:
            pairs.pop("provider")
        tally.count(row, truth, pairs)
    tally.check(500)
