# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from oisp_core.match.automaton import Automaton
from tests.reference.match import find_all, find_leftmost

ROWS = [
    # patterns, data, all matches
    ([b"he", b"she", b"his", b"hers"], b"ushers", [(1, 1, 4), (0, 2, 4), (3, 2, 6)]),
    ([b"a"], b"", []),
    ([b"abc"], b"ab", []),
    ([b"aa"], b"aaaa", [(0, 0, 2), (0, 1, 3), (0, 2, 4)]),
    ([b"a", b"a"], b"xa", [(0, 1, 2), (1, 1, 2)]),
    ([b"api.OpenAI.com"], b"Host: API.openai.COM", [(0, 6, 20)]),
    ([b"\xc3\xa9"], b"caf\xc3\xa9 \xe3\xa9", [(0, 3, 5)]),
    ([b"[", b"{"], b"[{", [(0, 0, 1), (1, 1, 2)]),
]


@pytest.mark.parametrize(("patterns", "data", "found"), ROWS)
def test_finds_all(patterns: list[bytes], data: bytes, found: list[tuple[int, int, int]]) -> None:
    assert Automaton(patterns).scan(data) == found
    assert find_all(patterns, data) == found


def test_case_matters_when_asked() -> None:
    assert Automaton([b"Ab"], ignore_case=False).scan(b"ab AB Ab aB") == [(0, 6, 8)]


def test_leftmost_takes_the_longest_and_goes_on_from_its_end() -> None:
    automaton = Automaton([b"ab", b"abcd", b"cd", b"bcde"], matches="leftmost")
    assert automaton.scan(b"xabcdecd") == [(1, 1, 5), (2, 6, 8)]


@pytest.mark.parametrize("size", [383, 384, 385, 4095, 4096, 4097, 8192, 20001])
def test_lanes_find_what_one_scan_finds(size: int) -> None:
    """A pattern over every border between lanes, and one at every place where a lane ends."""
    patterns = [b"abcdefgh", b"gh", b"hab", b"a"]
    data = (b"abcdefgh" * (size // 8 + 1))[:size]
    assert Automaton(patterns).scan(data) == find_all(patterns, data)
    assert Automaton(patterns, matches="leftmost").scan(data) == find_leftmost(patterns, data)


def test_a_match_at_every_byte_of_every_lane() -> None:
    assert len(Automaton([b"a", b"aa"]).scan(b"a" * 10000)) == 10000 + 9999


def test_patterns_longer_than_a_lane_allows() -> None:
    long = bytes(range(97, 123)) * 20
    data = b"z" * 5000 + long + b"z" * 5000
    assert Automaton([long, b"zz"]).scan(data)[0] == (1, 0, 2)
    assert (0, 5000, 5000 + len(long)) in Automaton([long]).scan(data)


def test_every_byte_in_use() -> None:
    patterns = [bytes([b]) for b in range(256)]
    data = bytes(range(256)) * 3
    assert Automaton(patterns, ignore_case=False).scan(data) == find_all(patterns, data, ignore_case=False)


@pytest.mark.parametrize("data", [bytearray(b"xabx"), memoryview(b"xabx"), np.frombuffer(b"xabx", dtype=np.uint8)])
def test_any_buffer(data: bytes) -> None:
    assert Automaton([b"ab"]).scan(data) == [(0, 1, 3)]


def test_text_is_no_buffer() -> None:
    with pytest.raises(TypeError):
        Automaton([b"ab"]).scan("ab")  # type: ignore[arg-type]


def test_no_patterns() -> None:
    assert Automaton([]).scan(b"abc") == []
    assert len(Automaton([])) == 0


def test_an_empty_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="empty pattern"):
        Automaton([b"a", b""])


def test_arrays_make_the_same_automaton() -> None:
    first = Automaton([b"he", b"she", b"hers"], matches="leftmost")
    second = Automaton.from_arrays(first.patterns, first.to_arrays(), matches="leftmost")
    assert second.scan(b"ushers") == first.scan(b"ushers") == [(1, 1, 4)]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("next", lambda a: np.full_like(a, 1 << 20), "leads outside"),
        ("next", lambda a: a + 1, "leads outside"),
        ("next", lambda a: a[:-1], "rows of"),
        ("next", lambda a: a[:0], "rows of"),
        ("classes", lambda a: a[:255], "byte classes"),
        ("out_start", lambda a: a[:-1], "do not cover"),
        ("out_start", lambda a: np.zeros(1000, dtype=np.uint32), "do not cover"),
        ("out_start", lambda a: np.array([0, 3, 2, *a[3:]], dtype=np.uint32), "end before they begin"),
        ("outputs", lambda a: a + 50, "does not exist"),
        ("lengths", lambda a: a + 1, "not those of the patterns"),
    ],
)
def test_bad_arrays_are_refused(name: str, change: object, message: str) -> None:
    automaton = Automaton([b"he", b"she", b"hers"])
    arrays = automaton.to_arrays()
    arrays[name] = change(arrays[name])  # type: ignore[literal-required, operator]
    with pytest.raises(ValueError, match=message):
        Automaton.from_arrays(automaton.patterns, arrays)
