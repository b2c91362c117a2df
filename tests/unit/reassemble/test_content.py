# SPDX-License-Identifier: Apache-2.0
"""Content codings: each codec and stacks of them, cut anywhere, flushed, cut short, corrupt, and as bombs."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest

from oisp_core.reassemble.codecs import zstd
from oisp_core.reassemble.content import Inflater, parse_codings
from oisp_core.reassemble.tokens import Status

PLAIN = b"".join(b'data: {"n":%d,"text":"some words"}\n\n' % i for i in range(4000))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate (raw)": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstd.compress,
}


def inflate(coding: str | list[str], coded: bytes, step: int) -> tuple[bytes, Status]:
    inflater = Inflater(coding)
    out = b"".join(inflater.decode(coded[i : i + step]) for i in range(0, len(coded), step))
    return out, inflater.end()


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("step", [1, 2, 7, 1000, 1 << 20])
def test_every_coding_however_it_is_cut(name: str, step: int) -> None:
    plain = PLAIN if step > 7 else PLAIN[:3000]
    assert inflate(name.split()[0], PACK[name](plain), step) == (plain, Status.OK)


@pytest.mark.parametrize("name", PACK)
def test_output_larger_than_one_step_of_a_stage(name: str) -> None:
    """More than 64 KiB out of one piece in, incompressible and not."""
    noise = random.Random(3).randbytes(300_000)
    for plain in (noise, b"a" * 900_000, PLAIN * 20):
        assert inflate(name.split()[0], PACK[name](plain), 1 << 20) == (plain, Status.OK)


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_stacked(step: int) -> None:
    coded = brotli.compress(zstd.compress(gzip.compress(PLAIN)))
    assert inflate(["gzip", "zstd", "br"], coded, step) == (PLAIN, Status.OK)


def test_no_coding_passes_through() -> None:
    assert inflate([], b"plain", 2) == (b"plain", Status.OK)


def test_a_flushed_stream_gives_each_event_as_it_comes() -> None:
    events = [b"data: %d\n\n" % i for i in range(50)]
    gz = zlib.compressobj(6, zlib.DEFLATED, 31)
    br = brotli.Compressor()
    zs = zstd.ZstdCompressor()
    for coding, pieces in {
        "gzip": [gz.compress(e) + gz.flush(zlib.Z_SYNC_FLUSH) for e in events],
        "br": [br.process(e) + br.flush() for e in events],
        "zstd": [zs.compress(e, zs.FLUSH_BLOCK) for e in events],
    }.items():
        inflater = Inflater(coding)
        assert [inflater.decode(p) for p in pieces] == events
        assert inflater.end() == Status.MORE


@pytest.mark.parametrize("name", PACK)
def test_cut_short_is_said(name: str) -> None:
    out, status = inflate(name.split()[0], PACK[name](PLAIN)[:-6], 100)
    assert PLAIN.startswith(out)
    assert status == Status.MORE


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_garbage_is_bad_and_stays_so(coding: str) -> None:
    inflater = Inflater(coding)
    inflater.decode(b"\xff\xff" + b"this is not coded at all" * 10)
    assert inflater.status == Status.BAD
    assert inflater.decode(PACK[coding](PLAIN)) == b""
    assert inflater.status == Status.BAD


def test_what_came_before_corruption_is_kept() -> None:
    coded = bytearray(gzip.compress(PLAIN))
    coded[len(coded) // 2] ^= 0xFF
    out, status = inflate("gzip", bytes(coded), 64)
    assert status == Status.BAD
    assert out[:100] == PLAIN[:100]


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_stopped_by_the_room(name: str) -> None:
    inflater = Inflater(name.split()[0])
    assert inflater.decode(PACK[name](bytes(6_000_000)), max=1000) == bytes(1000)
    assert inflater.status == Status.LIMIT
    assert inflater.decode(b"x") == b""


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_stopped_by_its_ratio(name: str) -> None:
    coded = PACK[name](bytes(6_000_000))
    inflater = Inflater(name.split()[0], ratio=100)
    out = inflater.decode(coded, max=1 << 30)
    assert inflater.status == Status.LIMIT
    assert len(out) <= max(1 << 20, 100 * len(coded)) + (1 << 18)


def test_a_bomb_inside_a_stack_is_stopped() -> None:
    inflater = Inflater(["gzip", "gzip"], ratio=100)
    inflater.decode(gzip.compress(gzip.compress(b"x") + bytes(6_000_000)))
    assert inflater.status == Status.LIMIT


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_gzip_members_and_what_follows_them(step: int) -> None:
    coded = gzip.compress(b"one ") + gzip.compress(b"two")
    assert inflate("gzip", coded, step) == (b"one two", Status.OK)
    assert inflate("gzip", coded + b"\0\0\0", step) == (b"one two", Status.OK)
    assert inflate("gzip", coded + b"\x1f", step) == (b"one two", Status.OK)


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_zstd_frames_and_skippable_ones(step: int) -> None:
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    coded = zstd.compress(b"one ") + skippable + zstd.compress(b"two")
    assert inflate("zstd", coded, step) == (b"one two", Status.OK)


def test_a_zstd_window_beyond_what_the_web_allows_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    coded = packer.compress(random.Random(1).randbytes(1000), packer.FLUSH_BLOCK)
    inflater = Inflater("zstd")
    assert inflater.decode(coded) == b""
    assert inflater.status == Status.BAD


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        (b"gzip", ["gzip"]),
        (b"GZIP", ["gzip"]),
        (b"x-gzip", ["gzip"]),
        (b"gzip, br", ["gzip", "br"]),
        (b" zstd ;q=1 ,identity", ["zstd"]),
        (b"gzip, chunked", ["gzip"]),
        (b"", []),
        (b"sdch", None),
        (b"gzip, unknown", None),
        (b"gzip,gzip,gzip,gzip,gzip", None),
    ],
)
def test_parse_codings(value: bytes, codings: list[str] | None) -> None:
    assert parse_codings(value) == codings


def test_messages_of_permessage_deflate() -> None:
    """RFC 7692 section 7.2.3.2: the second message uses the window of the first."""
    inflater = Inflater("deflate-raw")
    assert inflater.decode(bytes.fromhex("f248cdc9c90700") + b"\0\0\xff\xff") == b"Hello"
    assert inflater.decode(bytes.fromhex("f200110000") + b"\0\0\xff\xff") == b"Hello"


def test_another_coding_is_a_clear_error() -> None:
    with pytest.raises(
        ValueError, match="coding must be one of gzip, x-gzip, deflate, br, zstd, deflate-raw, got 'sdch'"
    ):
        Inflater("sdch")
