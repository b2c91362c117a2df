# SPDX-License-Identifier: Apache-2.0
"""The build form of an Aho-Corasick automaton: a trie of dictionaries, failure links, the dense table as numpy arrays.

This runs once per set of patterns and is written to be read; nothing here is touched by a scan. The search form is
`automaton.Automaton`, which checks these arrays again whoever made them.

A step of the search must be one load, so each row holds the transitions of its state *and* those of all its failure
links: the row of a state is the row of its failure link with its own children written over it (breadth first, so that
the link's row is complete by then). Bytes that no pattern tells apart share a class, which makes rows short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = ["AutomatonArrays", "build", "check"]

MAX_STATES = 1 << 20
"""A million states are 40 times what the largest known set of fingerprints needs; beyond it a table is a mistake."""


class AutomatonArrays(TypedDict):
    """What a table consists of, as it is stored and loaded. All uint32 but `classes` (256 of uint8)."""

    next: NDArray[np.uint32]
    classes: NDArray[np.uint8]
    out_start: NDArray[np.uint32]
    outputs: NDArray[np.uint32]
    lengths: NDArray[np.uint32]


def _classes(patterns: Sequence[bytes], ignore_case: bool) -> NDArray[np.uint8]:
    """Class 0 is every byte that occurs in no pattern; each other byte has its own, letters one for both cases."""
    used = bytearray(256)
    for pattern in patterns:
        for byte in pattern:
            used[byte] = 1
    classes = np.zeros(256, dtype=np.uint8)
    count = 0
    for byte in range(256):
        other = byte ^ 0x20 if ignore_case and 65 <= byte & ~0x20 <= 90 else byte
        if not (used[byte] or used[other]):
            continue
        if other < byte:
            classes[byte] = classes[other]
            continue
        count += 1
        if count > 255:  # every byte occurs: the last one shares the class of "none", which then stands for it alone
            continue
        classes[byte] = count
    return classes


def _trie(patterns: Sequence[bytes], classes: NDArray[np.uint8]) -> tuple[list[dict[int, int]], list[list[int]]]:
    folded = classes.tobytes()
    children: list[dict[int, int]] = [{}]
    ends: list[list[int]] = [[]]
    for number, pattern in enumerate(patterns):
        state = 0
        for byte in pattern:
            step = folded[byte]
            following = children[state].get(step)
            if following is None:
                following = len(children)
                children[state][step] = following
                children.append({})
                ends.append([])
            state = following
        ends[state].append(number)
    if len(children) > MAX_STATES:
        raise ValueError(f"the patterns need {len(children)} states; at most {MAX_STATES} are allowed")
    return children, ends


def _dense(children: list[dict[int, int]], ends: list[list[int]], width: int) -> NDArray[np.uint32]:
    """Rows of state numbers, failure links folded in; `ends` gains what its failure links end."""
    table = np.zeros((len(children), width), dtype=np.uint32)
    fail = [0] * len(children)
    for step, child in children[0].items():
        table[0, step] = child
    queue = deque(children[0].values())
    while queue:
        state = queue.popleft()
        table[state] = table[fail[state]]
        for step, child in children[state].items():
            fail[child] = int(table[state, step])
            table[state, step] = child
            queue.append(child)
        ends[state].extend(ends[fail[state]])
    return table


def build(patterns: Sequence[bytes], ignore_case: bool = True) -> AutomatonArrays:
    """Arrays of the automaton for `patterns` (none of them empty; equal ones are all reported)."""
    if any(not p for p in patterns):
        raise ValueError("an empty pattern would match everywhere")
    classes = _classes(patterns, ignore_case)
    width = int(classes.max()) + 1
    children, ends = _trie(patterns, classes)
    table = _dense(children, ends, width)
    # States in which something ends come last, so that the search needs one comparison to see them.
    order = sorted(range(len(children)), key=lambda s: bool(ends[s]))
    renumbered = np.empty(len(children), dtype=np.uint32)
    renumbered[order] = np.arange(len(children), dtype=np.uint32)
    rows = renumbered[table[order]] * np.uint32(width)
    lengths = np.array([len(p) for p in patterns], dtype=np.uint32)
    outputs: list[int] = []
    starts = [0]
    for state in order:
        if ends[state]:
            outputs.extend(sorted(ends[state], key=lambda p: (-len(patterns[p]), p)))
            starts.append(len(outputs))
    return AutomatonArrays(
        next=np.ascontiguousarray(rows.reshape(-1), dtype=np.uint32),
        classes=classes,
        out_start=np.array(starts, dtype=np.uint32),
        outputs=np.array(outputs, dtype=np.uint32),
        lengths=lengths,
    )


def check(arrays: AutomatonArrays, lengths: Sequence[int]) -> None:
    """ValueError unless every state and offset in `arrays` stays inside of them and fits patterns of `lengths`."""
    following, classes = arrays["next"], arrays["classes"]
    starts, outputs = arrays["out_start"], arrays["outputs"]
    if len(classes) != 256:
        raise ValueError(f"automaton: expected 256 byte classes, got {len(classes)}")
    width = int(classes.max()) + 1
    if len(following) == 0 or len(following) % width or len(following) > MAX_STATES * width:
        raise ValueError(f"automaton: expected rows of {width} transitions, got {len(following)} transitions")
    if int(following.max()) >= len(following) or (following % width).any():
        raise ValueError("automaton: a transition leads outside of the table")
    states = len(following) // width
    if not 1 <= len(starts) <= states or starts[0] != 0 or starts[-1] != len(outputs):
        raise ValueError("automaton: outputs do not cover the match states")
    if (np.diff(starts.astype(np.int64)) < 0).any():
        raise ValueError("automaton: outputs of a state end before they begin")
    if list(arrays["lengths"]) != list(lengths):
        raise ValueError("automaton: lengths are not those of the patterns")
    if len(outputs) and int(outputs.max()) >= len(lengths):
        raise ValueError("automaton: an output names a pattern that does not exist")
