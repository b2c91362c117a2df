# SPDX-License-Identifier: Apache-2.0
"""Fuzzing without a compiler's help: the seeds of a target, mutated; the same inputs for the same seed.

What it is not: guided. The guided form is guided.py, which needs clang; what it finds worth keeping stands in corpus/,
and these runs begin there.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.targets import INPUT_MAX, TARGETS

CORPUS = Path(__file__).resolve().parent / "corpus"
WORDS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b":",
    b"\xff",
    b'"',
    b"{",
    b"0",
    b" ",
    b"\x7f\xff",
    b"\xfe<",
    b"\xfe>",
    b"\r\n\r\n",
]


def corpus(name: str) -> list[bytes]:
    """The seeds of a target, and what guided runs kept: one input a line, in base64."""
    kept = CORPUS / f"{name}.txt"
    lines = kept.read_text().split() if kept.exists() else []
    return TARGETS[name].seeds() + [base64.b64decode(line) for line in lines]


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(rng.choice(seeds))
    if rng.random() < 0.3:
        data += rng.choice(seeds)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.choice(WORDS)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 12)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(1, 60)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(data[:INPUT_MAX])


def inputs(name: str, seed: int) -> Iterator[bytes]:
    """Every seed as it is, then mutations without end."""
    seeds = corpus(name)
    yield from seeds
    rng = random.Random(seed)
    while True:
        yield mutate(rng, seeds)


def run(name: str, *, seed: int = 1, count: int | None = None, seconds: float | None = None) -> int:
    """So many inputs, and all seeds at least, or for so long. Raises AssertionError with the input that fails."""
    deadline = time.monotonic() + (seconds or 0)
    least = len(corpus(name))
    runs = 0
    for data in inputs(name, seed):
        if (seconds is None and runs >= max(least, count or 0)) or (
            seconds is not None and time.monotonic() > deadline
        ):
            break
        try:
            TARGETS[name].one(data)
        except Exception as error:
            raise AssertionError(f"TARGETS[{name!r}].one({data!r}): {error!r}") from error
        runs += 1
    return runs
