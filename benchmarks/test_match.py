# SPDX-License-Identifier: Apache-2.0
"""The automaton beside ahocorasick_rs, pyahocorasick and hyperscan; what a verdict costs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from benchmarks import bench_match as match
from oisp_core.match.automaton import Automaton
from oisp_core.match.rules import load_registry

Search = Callable[[bytes], Any]
DATA = {
    "automaton, heads of 200 bytes": match.heads(2000, 200),
    "automaton, bodies of 20 KB": match.bodies(20, 20_000),
}


def with_ahocorasick_rs(patterns: list[bytes]) -> Search:
    rs = pytest.importorskip("ahocorasick_rs")
    words = rs.BytesAhoCorasick(patterns, rs.MatchKind.LeftmostLongest, rs.Implementation.DFA)
    search: Search = words.find_matches_as_indexes
    return search


def with_pyahocorasick(patterns: list[bytes]) -> Search:
    """It knows str alone: decoding is part of its price."""
    py = pytest.importorskip("ahocorasick")
    words = py.Automaton()
    for index, pattern in enumerate(patterns):
        words.add_word(pattern.decode("latin-1"), index)
    words.make_automaton()
    return lambda data: list(words.iter_long(data.decode("latin-1")))


def with_hyperscan(patterns: list[bytes]) -> Search:
    """All matches, without their beginnings: less than the others give."""
    hyperscan = pytest.importorskip("hyperscan")
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=patterns, ids=list(range(len(patterns))), elements=len(patterns), literal=True)

    def search(data: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        database.scan(data, match_event_handler=lambda id, at, end, flags, context: found.append((id, end)))
        return found

    return search


def with_ours(patterns: list[bytes]) -> Search:
    return Automaton(patterns, matches="leftmost").scan


MAKERS = {
    "pyahocorasick": with_pyahocorasick,
    "hyperscan": with_hyperscan,
    "ahocorasick_rs (DFA)": with_ahocorasick_rs,
    "oisp": with_ours,
}


@pytest.mark.parametrize("who", MAKERS)
@pytest.mark.parametrize("title", DATA)
def test_automaton(stage: Callable[..., None], title: str, who: str) -> None:
    """The answer that is compared is which pieces hold a pattern: not all rivals give the same lists of matches."""
    data, patterns = DATA[title], match.patterns()
    search = MAKERS[who](patterns)
    wanted = [any(pattern in one for pattern in patterns) for one in data]
    stage(
        title,
        who,
        lambda: [search(one) for one in data],
        size=sum(map(len, data)),
        unit="call",
        count=len(data),
        wanted=wanted,
        answer=lambda lists: [bool(found) for found in lists],
    )


QUESTIONS = match.questions(1000)


@pytest.mark.parametrize("title", QUESTIONS)
def test_rules(stage: Callable[..., None], drivers: Callable[[str], ModuleType], title: str) -> None:
    driver = drivers("drive_match")
    registry = load_registry(["openai.chat"])
    rows = QUESTIONS[title]
    asked = driver.Heads(rows)
    wanted = len(rows) if "not AI" not in title and "ordinary" not in title else 0
    size = sum(len(target) + len(host) for _, target, host, _, _ in rows)
    stage(
        f"rules, {title}",
        "oisp",
        lambda: driver.count_ai(registry, asked, True),
        size=size,
        unit="message",
        count=len(rows),
        wanted=wanted,
    )
