# SPDX-License-Identifier: Apache-2.0
"""Server-sent events against a tuned bytes.split in Python, which knows only what these streams need.

python benchmarks/bench_sse.py [--rounds N]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import build, compare


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
            "bytes.split": lambda s=segments, f=split: f(s),
            "oisp": lambda s=mine: ours.count(s),
        }
        data = {split_data: lambda e: (len(e), 0, sum(map(len, e)))}
        pairs = {split_pairs: lambda e: (len(e), sum(len(k) for k, _ in e), sum(len(d) for _, d in e))}
        answers = {"bytes.split": (data | pairs)[split]}
        size = sum(map(len, segments))
        compare(title, candidates, size, rounds=args.rounds, units=("event", count), answers=answers)


if __name__ == "__main__":
    main()
