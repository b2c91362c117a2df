# SPDX-License-Identifier: Apache-2.0
"""Content codings against their own encoders, flushed and cut anywhere; zstd against `zstandard`, another binding."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotli
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.reassemble.content import Inflater
from oisp_core.reassemble.tokens import Status

PIECES = st.lists(
    st.binary(max_size=40) | st.sampled_from([b"data: {}\n\n", b"x" * 5000, bytes(70_000), bytes(range(256)) * 40]),
    max_size=6,
)
CUTS = st.lists(st.integers(0, 5000), max_size=8)


def deflate(window: int) -> Callable[[list[bytes], list[bool]], bytes]:
    def pack(pieces: list[bytes], flushes: list[bool]) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, window)
        out = b""
        for piece, flush in zip(pieces, flushes, strict=True):
            out += packer.compress(piece) + (packer.flush(zlib.Z_SYNC_FLUSH) if flush else b"")
        return out + packer.flush()

    return pack


def with_brotli(pieces: list[bytes], flushes: list[bool]) -> bytes:
    packer = brotli.Compressor(quality=3)
    out = b""
    for piece, flush in zip(pieces, flushes, strict=True):
        out += packer.process(piece) + (packer.flush() if flush else b"")
    return out + packer.finish()


def with_zstandard(pieces: list[bytes], flushes: list[bool]) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    out = b""
    for piece, flush in zip(pieces, flushes, strict=True):
        out += packer.compress(piece) + (packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if flush else b"")
    return out + packer.flush()


CODECS: dict[str, tuple[str, Callable[[list[bytes], list[bool]], bytes]]] = {
    "gzip": ("gzip", deflate(31)),
    "zlib": ("deflate", deflate(15)),
    "raw deflate": ("deflate", deflate(-15)),
    "br": ("br", with_brotli),
    "zstd": ("zstd", with_zstandard),
}


def inflate(codings: list[str], coded: bytes, cuts: list[int], **options: Any) -> tuple[bytes, Status]:
    inflater = Inflater(codings)
    edges = [0, *sorted(c % (len(coded) + 1) for c in cuts), len(coded)]
    out = b"".join(inflater.decode(coded[b:e], **options) for b, e in zip(edges, edges[1:], strict=False))  # noqa: RUF007
    return out, inflater.end()


@given(st.sampled_from(sorted(CODECS)), PIECES, st.data(), CUTS)
@settings(max_examples=150, deadline=None)
def test_every_coding_however_it_is_flushed_and_cut(
    name: str, pieces: list[bytes], data: st.DataObject, cuts: list[int]
) -> None:
    coding, pack = CODECS[name]
    flushes = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    coded = pack(pieces, flushes)
    assert inflate([coding], coded, cuts) == (b"".join(pieces), Status.OK)
    for at in cuts[:2]:  # cut short: what came is the start, and MORE
        out, status = inflate([coding], coded[: at % len(coded)], [])
        assert b"".join(pieces).startswith(out)
        assert status == Status.MORE or (status == Status.OK and out in (b"", b"".join(pieces)))


@given(st.lists(st.sampled_from(sorted(CODECS)), min_size=2, max_size=4), PIECES, CUTS)
@settings(max_examples=60, deadline=None)
def test_stacks(names: list[str], pieces: list[bytes], cuts: list[int]) -> None:
    coded = b"".join(pieces)
    for name in names:
        coded = CODECS[name][1]([coded], [False])
    assert inflate([CODECS[name][0] for name in names], coded, cuts) == (b"".join(pieces), Status.OK)


@given(st.sampled_from(sorted(CODECS)), PIECES, st.integers(0, 3000))
@settings(max_examples=100, deadline=None)
def test_never_more_than_the_room(name: str, pieces: list[bytes], room: int) -> None:
    coding, pack = CODECS[name]
    plain = b"".join(pieces)
    out, status = inflate([coding], pack(pieces, [False] * len(pieces)), [], max=room)
    assert out == plain[:room]
    assert status == (Status.LIMIT if len(plain) > room else Status.OK)
