# SPDX-License-Identifier: Apache-2.0
"""A gibibyte of zeros in every coding and in stacks of them: stopped by room and by ratio, in bounded memory."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest

from oisp_core.reassemble.codecs import zstd
from oisp_core.reassemble.content import Inflater
from oisp_core.reassemble.tokens import Status

MIB = 1 << 20
ZEROS = bytes(MIB)
MEMORY_MAX = 24 * MIB
"""Of what the codecs hold: brotli's window is 16 MiB, zstd's 8."""

needs_rss = pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("OISP_FLAVOUR") == "debug",
    reason="memory is measured by Linux, not under ASan",
)


def deflated(window: int) -> Iterator[bytes]:
    """Blocks that do not refer to one another: the same MiB a thousand times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    yield packer.compress(b"") + packer.compress(b"x") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(1024):
        yield block


def brotlied() -> Iterator[bytes]:
    packer = brotli.Compressor(quality=1, lgwin=24)
    for _ in range(1024):
        yield packer.process(ZEROS)
    yield packer.finish()


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


BOMBS: dict[str, tuple[list[str], Callable[[], Iterator[bytes]]]] = {
    "gzip": (["gzip"], lambda: deflated(31)),
    "zlib": (["deflate"], lambda: deflated(15)),
    "raw deflate": (["deflate"], lambda: deflated(-15)),
    "br": (["br"], brotlied),
    "zstd": (["zstd"], lambda: iter([zstd.compress(ZEROS)] * 1024)),
    "br in gzip": (["br", "gzip"], lambda: gzipped(brotlied())),
    "gzip in gzip in zstd": (["gzip", "gzip", "zstd"], lambda: iter([zstd.compress(b"".join(gzipped(deflated(31))))])),
}


def high_water() -> int:
    """The most memory that this process had since the last call, and starts the next measurement."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("bound", ["room", "ratio"])
@needs_rss
def test_a_bomb_of_a_gibibyte(name: str, bound: str) -> None:
    codings, make = BOMBS[name]
    coded = b"".join(make())
    assert len(coded) < MIB + 65536, "made of a thousandth at most"
    inflater = Inflater(codings, ratio=200 if bound == "ratio" else 1 << 40)
    room = 1 << 31 if bound == "ratio" else 4 * MIB
    high_water()
    before = high_water()
    out = 0
    for at in range(0, len(coded), 1000):
        out += len(inflater.decode(coded[at : at + 1000], max=room - out))
        if inflater.status != Status.OK:
            break
    grown = high_water() - before
    assert inflater.status == Status.LIMIT
    assert out <= max(room if bound == "room" else 0, 2 * MIB, 200 * len(coded) // 100)
    assert grown < MEMORY_MAX + 2 * out, f"{grown / MIB:.1f} MiB for {out / MIB:.1f} MiB of output"


def test_the_bombs_are_what_they_say() -> None:
    """The first 3 MiB of each come out as they should where no bound is met."""
    for name, (codings, make) in BOMBS.items():
        inflater = Inflater(codings, ratio=1 << 40)
        out = b""
        for piece in make():
            out += inflater.decode(piece[:200_000], max=3 * MIB - len(out))
            if inflater.status != Status.OK:
                break
        assert inflater.status == Status.LIMIT, name
        assert out.lstrip(b"x") in (bytes(3 * MIB), bytes(3 * MIB - 1)), name


def test_a_small_answer_of_blanks_is_no_bomb() -> None:
    """Below 1 MiB of output no ratio is too much."""
    inflater = Inflater("gzip", ratio=2)
    assert inflater.decode(gzip.compress(b" " * 900_000)) == b" " * 900_000
    assert inflater.status == Status.OK
