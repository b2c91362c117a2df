# SPDX-License-Identifier: Apache-2.0
"""Aho-Corasick: any of many byte patterns, found in one pass."""

from collections.abc import Iterable
from typing import Literal, Self

from typing_extensions import Buffer

from oisp_core.match.trie import AutomatonArrays

__all__ = ["Automaton"]

class Automaton:
    """Immutable and safe to share between threads.

    `patterns` are bytes (str is encoded as UTF-8), none of them empty. With `ignore_case` ASCII letters match in both
    cases; other bytes always match exactly. `matches="all"` reports every match, also those that overlap;
    `matches="leftmost"` reports those that do not: the one that begins first, of those the longest; then on from its
    end.

    Raises ValueError if a pattern is empty or the patterns together need more than a million states.
    """

    ignore_case: bool
    leftmost: bool
    patterns: list[bytes]

    def __init__(
        self,
        patterns: Iterable[bytes | str],
        *,
        ignore_case: bool = True,
        matches: Literal["all", "leftmost"] = "all",
    ) -> None: ...
    @classmethod
    def from_arrays(
        cls,
        patterns: Iterable[bytes],
        arrays: AutomatonArrays,
        *,
        ignore_case: bool = True,
        matches: Literal["all", "leftmost"] = "all",
    ) -> Self:
        """The automaton that `to_arrays` described. Nothing in `arrays` is trusted: ValueError if any number leads
        outside of them. Whether they find what the patterns say is not checked here (hash what you store)."""

    def to_arrays(self) -> AutomatonArrays:
        """The tables, read-only: `next`, `out_start`, `outputs`, `lengths` of uint32 and `classes` of uint8."""

    def scan(self, data: Buffer) -> list[tuple[int, int, int]]:
        """(pattern, start, end) of each match in `data`: offsets in bytes, `end` one past the last.

        In order of their ends (of those that end together the longest first), or with `matches="leftmost"` of their
        starts. At most 4 GiB are looked at. From 64 KiB on other threads may run meanwhile: do not change the data.
        """

    def __len__(self) -> int:
        """How many patterns there are."""
