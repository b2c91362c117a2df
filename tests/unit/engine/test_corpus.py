# SPDX-License-Identifier: Apache-2.0
"""Recorded exchanges as wire bytes over HTTP/1.1, cut in several ways: every field of their events."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from oisp_core import Engine
from oisp_core.decode.dialects import load_dialects
from tests.reference.events_of import pairs_of

START = 1_700_000_000_000_000_000
SEED = 7
HOST = re.compile(rb"(\r\n[Hh]ost: )[^\r]*")
Segments = list[tuple[str, bytes]]


def is_framed(row: dict[str, Any]) -> bool:
    """Of this transport: gRPC needs HTTP/2."""
    return not row.get("grpc") and not row.get("ws")


def rows_of(corpus: Any) -> list[dict[str, Any]]:
    """Rows that are AI traffic."""
    truth = corpus.truth()
    return [row for row in corpus.exchanges() if truth[row["id"]]["kind"] != "none" and is_framed(row)]


def events_of(
    render: ModuleType,
    row: dict[str, Any],
    cut: str,
    coding: str,
    content: str = "full",
    change: Callable[[Segments], Segments] | None = None,
) -> list[dict[str, Any]]:
    engine = Engine(content=content, id_seed=1)  # type: ignore[arg-type]
    segments = render.h1_connection([row], SEED, coding)
    for index, (direction, data) in enumerate(
        render.split_segments(change(segments) if change else segments, SEED, row["id"], cut)
    ):
        engine.feed(1, direction, START + index, data)
    engine.close(1)
    return [json.loads(line) for line in engine.drain().splitlines()]


class Tally:
    """Dialect by field: how many were right, which were not."""

    def __init__(self) -> None:
        self.right: Counter[tuple[str, str]] = Counter()
        self.wrong: dict[tuple[str, str], list[str]] = {}

    def count(self, row: dict[str, Any], truth: dict[str, Any], pairs: dict[str, tuple[Any, Any]]) -> None:
        for field, (found, true) in pairs.items():
            if found == true:
                self.right[truth["api"], field] += 1
            else:
                case = f"{row['id']}: {str(found)[:200]!r}, true is {str(true)[:200]!r}"
                self.wrong.setdefault((truth["api"], field), []).append(case)

    def check(self, least: int) -> None:
        for key in sorted({*self.right, *self.wrong}):
            print(f"{key[0]:38} {key[1]:24} {self.right[key]:5} right {len(self.wrong.get(key, ())):4} wrong")
        wrong = [f"{api} {field} {case}" for (api, field), cases in self.wrong.items() for case in cases]
        print(f"{self.right.total()} right, {len(wrong)} wrong")
        assert not wrong, "\n".join(wrong)
        assert self.right.total() > least


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.full)


@pytest.mark.parametrize(
    ("cut", "coding"),
    [
        ("whole", "recorded"),
        ("bytes", "none"),
        ("mixed", "gzip"),
        ("bytes", "br"),
        ("mixed", "zstd"),
        slow("mixed", "none"),
        slow("records", "none"),
        slow("bytes", "gzip"),
        slow("bytes", "zstd"),
        slow("mixed", "br"),
        slow("bytes", "deflate"),
    ],
)
def test_events_say_what_is_true(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    tally = Tally()
    rows = rows_of(corpus)
    assert len(rows) > 690
    for row in rows:
        truth = corpus.truth()[row["id"]]
        tally.count(row, truth, pairs_of(events_of(render, row, cut, coding), truth))
    tally.check(17_000)


@pytest.mark.parametrize(("cut", "coding"), [("mixed", "recorded"), slow("bytes", "br")])
def test_hashes_and_lengths_are_those_of_the_truth(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    """Under `metadata`; a text without a place for a marker is left out and named."""
    tally = Tally()
    for row in rows_of(corpus):
        truth = corpus.truth()[row["id"]]
        tally.count(row, truth, pairs_of(events_of(render, row, cut, coding, "metadata"), truth))
    tally.check(17_000)


def test_every_row_has_a_dialect(corpus: Any) -> None:
    names = set(load_dialects().names)
    apis = {corpus.truth()[row["id"]]["api"] for row in rows_of(corpus)}
    assert not apis - names


def gateway(segments: Segments) -> Segments:
    direction, head = segments[0]
    return [(direction, HOST.sub(rb"\1gateway.internal:8443", head, count=1)), *segments[1:]]


def test_behind_an_unknown_host(corpus: Any, render: ModuleType) -> None:
    """Path, shape and credentials have to say it all; whose they are, only where a credential tells."""
    tally = Tally()
    for row in rows_of(corpus):
        truth = corpus.truth()[row["id"]]
        if truth["api"] == "openai.other":  # files and batches: plain REST, which nothing but its host makes AI
            continue
        pairs = pairs_of(events_of(render, row, "mixed", "none", change=gateway), truth)
        pairs.pop("provider", None)
        tally.count(row, truth, pairs)
    tally.check(16_700)


def test_ordinary_traffic_gives_no_ai_event(corpus: Any, render: ModuleType) -> None:
    rows = [row for row in corpus.exchanges() if corpus.truth()[row["id"]]["kind"] == "none" and is_framed(row)]
    assert len(rows) > 50
    for row in rows:
        assert not [e for e in events_of(render, row, "mixed", "none") if e["event_type"].startswith("ai.")], row["id"]


def session_pairs(events: list[dict[str, Any]], truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Truth of a WebSocket row is of all its turns together, in order."""
    asked = [e for e in events if e["event_type"] == "ai.request"]
    answered = [e for e in events if e["event_type"] == "ai.response"]
    calls = [e["data"] for e in events if e["event_type"] == "agent.tool_call"]
    text = "".join(c["message"].get("content", "") for e in answered for c in e["data"].get("choices", []))
    pairs = {
        "turns": ([e["data"]["request_id"] for e in answered], [e["data"]["request_id"] for e in asked]),
        "text": (text, truth["text"]),
        "tool_calls": (
            [(c.get("call_id"), c["tool"]["name"], c.get("arguments")) for c in calls],
            [(c["id"], c["name"], c["arguments"]) for c in truth["tool_calls"]],
        ),
        "model_requested": ({e["data"]["model"]["id"] for e in asked}, {truth["model_requested"]}),
        "dialect": ({e["ext"]["oisp"]["dialect"] for e in events}, {truth["api"]}),
        "status": ({e["data"]["status_code"] for e in answered}, {truth["status"]}),
        "success": ({e["data"]["success"] for e in answered}, {truth["success"]}),
        "streaming": ({e["data"]["streaming"] for e in asked}, {truth["streaming_requested"]}),
        "streamed": ({e["ext"]["oisp"]["streamed"] for e in answered}, {truth["streamed"]}),
        "complete": ({e["confidence"]["completeness"] for e in events}, {"full"}),
    }
    if "provider" in truth:
        pairs["provider"] = ({e["data"]["provider"]["name"] for e in asked}, {truth["provider"]})
    if "usage_raw" in truth:
        pairs["usage"] = (
            [e["ext"]["oisp"]["raw"]["usage"] for e in answered if "usage" in e["ext"]["oisp"].get("raw", {})],
            truth["usage_raw"],
        )
    return pairs


@pytest.mark.parametrize("cut", ["whole", "mixed", "bytes"])
def test_sessions_over_a_websocket(corpus: Any, render: ModuleType, cut: str) -> None:
    tally = Tally()
    rows = [row for row in corpus.exchanges() if row.get("ws")]
    assert len(rows) == 11
    for row in rows:
        if not row["url"]:  # rendered without a host
            row = row | {"url": "wss://api.openai.com/v1/realtime"}
        engine = Engine(content="full", id_seed=1)
        segments = render.ws_connection(row, SEED)
        for index, (direction, data) in enumerate(render.split_segments(segments, SEED, row["id"], cut)):
            engine.feed(1, direction, START + index, data)
        engine.close(1)
        truth = corpus.truth()[row["id"]]
        tally.count(row, truth, session_pairs([json.loads(line) for line in engine.drain().splitlines()], truth))
    tally.check(120)
