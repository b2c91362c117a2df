# SPDX-License-Identifier: Apache-2.0
"""Recorded exchanges as wire bytes over HTTP/1.1, cut in several ways: every field of their events."""

from __future__ import annotations

import json
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

from oisp_core import Engine
from oisp_core.decode.dialects import load_dialects
from tests.reference.events_of import pairs_of

START = 1_700_000_000_000_000_000
SEED = 7


def rows_of(corpus: Any, dialects: set[str]) -> list[dict[str, Any]]:
    truth = corpus.truth()
    return [
        row
        for row in corpus.exchanges()
        if truth[row["id"]]["api"] in dialects and not row.get("ws") and not row.get("grpc")
    ]


def events_of(
    render: ModuleType, row: dict[str, Any], cut: str, coding: str, content: str = "full"
) -> list[dict[str, Any]]:
    engine = Engine(content=content, id_seed=1)  # type: ignore[arg-type]
    segments = render.h1_connection([row], SEED, coding)
    for index, (direction, data) in enumerate(render.split_segments(segments, SEED, row["id"], cut)):
        engine.feed(1, direction, START + index, data)
    engine.close(1)
    return [json.loads(line) for line in engine.drain().splitlines()]


def ready() -> set[str]:
    return set(load_dialects().names) & {"openai.chat", "anthropic.messages"}


@pytest.mark.parametrize(
    ("cut", "coding"),
    [("whole", "none"), ("mixed", "none"), ("bytes", "none"), ("mixed", "gzip"), ("bytes", "br"), ("mixed", "zstd")],
)
def test_events_say_what_is_true(corpus: Any, render: ModuleType, cut: str, coding: str) -> None:
    rows = rows_of(corpus, ready())
    assert len(rows) > 280
    right: Counter[tuple[str, str]] = Counter()
    wrong = []
    for row in rows:
        truth = corpus.truth()[row["id"]]
        for field, (found, true) in pairs_of(events_of(render, row, cut, coding), truth).items():
            if found == true:
                right[truth["api"], field] += 1
            else:
                wrong.append(f"{row['id']} {truth['api']} {field}: {str(found)[:200]!r}, true is {str(true)[:200]!r}")
    for (dialect, field), count in sorted(right.items()):
        print(f"{dialect:24} {field:24} {count:5} right")
    assert not wrong, "\n".join(wrong)


def test_ordinary_traffic_gives_no_ai_event(corpus: Any, render: ModuleType) -> None:
    rows = [row for row in corpus.exchanges() if corpus.truth()[row["id"]]["kind"] == "none" and not row.get("ws")]
    assert len(rows) > 50
    for row in rows:
        assert not [e for e in events_of(render, row, "mixed", "none") if e["event_type"].startswith("ai.")], row["id"]
