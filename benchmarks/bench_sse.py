# SPDX-License-Identifier: Apache-2.0
"""Server-sent events against a tuned bytes.split in Python, which knows only what these streams need.

python benchmarks/bench_sse.py [--rounds N]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import TIMES, build, compare, repeated


def openai(count: int) -> list[bytes]:
    """Chat completion chunks, one a segment."""
    rng = random.Random(1)
    start = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"'
    return [start + b"y" * rng.randrange(100, 220) + b'"}}]}\n\n' for _ in range(count)]


def anthropic(count: int) -> list[bytes]:
    """Pairs of event and data lines, one event a segment."""
    rng = random.Random(2)
    start = b"event: content_block_delta\n"
    start += b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
    return [start + b"z" * rng.randrange(2, 40) + b'"}}\n\n' for _ in range(count)]


def joined(segments: list[bytes], size: int) -> list[bytes]:
    """The same stream in segments of one size."""
    stream = b"".join(segments)
    return [stream[i : i + size] for i in range(0, len(stream), size)]


def split_data(segments: list[bytes]) -> list[bytes]:
    """Payloads of a stream of `data: ` lines with LF."""
    found: list[bytes] = []
    rest = b""
    for segment in segments:
        blocks = (rest + segment if rest else segment).split(b"\n\n")
        rest = blocks.pop()
        found += [block[6:] for block in blocks if block.startswith(b"data: ")]
    return found


def split_pairs(segments: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Types and payloads of a stream of `event: ` and `data: ` lines with LF."""
    found: list[tuple[bytes, bytes]] = []
    rest = b""
    for segment in segments:
        blocks = (rest + segment if rest else segment).split(b"\n\n")
        rest = blocks.pop()
        for block in blocks:
            kind, _, data = block.partition(b"\n")
            found.append((kind[7:], data[6:]))
    return found


def of_payloads(payloads: list[bytes]) -> tuple[int, int, int]:
    """Events, bytes of types, bytes of payloads."""
    return len(payloads), 0, sum(map(len, payloads))


def of_pairs(pairs: list[tuple[bytes, bytes]]) -> tuple[int, int, int]:
    return len(pairs), sum(len(kind) for kind, _ in pairs), sum(len(data) for _, data in pairs)


COUNTS: dict[Any, Callable[[Any], tuple[int, int, int]]] = {split_data: of_payloads, split_pairs: of_pairs}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=11)
    args = options.parse_args()
    ours = build("drive_sse")
    count = 20_000
    tables = [
        ("OpenAI, an event a segment", openai(count), split_data),
        ("OpenAI, 16 KiB segments", joined(openai(count), 16384), split_data),
        ("Anthropic, an event a segment", anthropic(count), split_pairs),
        ("Anthropic, 16 KiB segments", joined(anthropic(count), 16384), split_pairs),
    ]
    for title, segments, split in tables:
        mine = ours.Segments(segments)
        candidates = {
            "bytes.split": repeated(lambda s=segments, f=split: f(s)),
            "oisp": repeated(lambda s=mine: ours.count(s)),
        }
        answers = {"bytes.split": COUNTS[split]}
        size = sum(map(len, segments)) * TIMES
        compare(title, candidates, size, rounds=args.rounds, units=("event", count * TIMES), answers=answers)


if __name__ == "__main__":
    main()
