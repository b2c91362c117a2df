# SPDX-License-Identifier: Apache-2.0
"""Content decoding against the bare codec, fed with the same pieces: what bounding, copying and wiping cost.

python benchmarks/bench_content.py [--rounds N]
"""

from __future__ import annotations

import argparse
import random
import sys
import zlib
from pathlib import Path
from typing import Any

import brotli

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import build, compare
from oisp_core.reassemble.codecs import zstd


def events(count: int) -> list[bytes]:
    """Chat completion chunks of random words."""
    rng = random.Random(1)
    words = [f"word{i}" for i in range(500)]
    form = 'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%s"}}]}\n\n'
    return [(form % " ".join(rng.choices(words, k=4))).encode() for _ in range(count)]


def flushed(coding: str, pieces: list[bytes]) -> list[bytes]:
    """The stream, flushed after each piece."""
    if coding == "gzip":
        packer = zlib.compressobj(6, 8, 31)
        return [packer.compress(p) + packer.flush(zlib.Z_SYNC_FLUSH) for p in pieces] + [packer.flush()]
    if coding == "br":
        brotlier = brotli.Compressor(quality=5)
        return [brotlier.process(p) + brotlier.flush() for p in pieces] + [brotlier.finish()]
    packer = zstd.ZstdCompressor()
    return [packer.compress(p, packer.FLUSH_BLOCK) for p in pieces] + [packer.flush()]


def bare(coding: str, pieces: list[bytes]) -> tuple[int, int]:
    """The codec alone."""
    codec: Any
    if coding == "br":
        codec = brotli.Decompressor()
        return sum([len(codec.process(p)) for p in pieces]), 0
    codec = zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()
    return sum([len(codec.decompress(p)) for p in pieces]), 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=11)
    args = options.parse_args()
    ours = build("drive_content")
    plain = events(5000)
    size = sum(map(len, plain))
    for coding in ("gzip", "br", "zstd"):
        pieces = flushed(coding, plain)
        whole = b"".join(flushed(coding, [b"".join(plain)]))
        tables = {
            "flushed after each event, each by itself": pieces,
            "flushed after each event, 16 a batch": [b"".join(pieces[i : i + 16]) for i in range(0, len(pieces), 16)],
            "not flushed, 4 KiB pieces": [whole[i : i + 4096] for i in range(0, len(whole), 4096)],
        }
        for title, batches in tables.items():
            same = pieces if "batch" in title else batches
            candidates = {
                "bare codec": lambda p=same, c=coding: bare(c, p),
                "oisp": lambda p=batches, c=coding: ours.count(c, p),
            }
            compare(f"{coding}: {title}", candidates, size, rounds=args.rounds, units=("piece", len(same)))


if __name__ == "__main__":
    main()
