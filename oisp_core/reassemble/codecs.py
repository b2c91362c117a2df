# SPDX-License-Identifier: Apache-2.0
"""The codecs that can bound their output, as far as they are installed: what content.pyx builds its stages on.

zlib and not isal or zlib-ng: on a stream flushed after each event, the shape of a compressed answer, zlib takes 0.5 us
a piece, zlib-ng 0.6 and isal 1.4; on bulk isal is twice as fast, but bulk is rare here. brotli has an output
limit from 1.2 on. zstd is compression.zstd, or its backport before Python 3.14 (`zstandard` has no limit).
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from importlib import import_module
from typing import Any


def _first(*names: str) -> Any:
    """The first of these modules that is installed, or None."""
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    return None


brotli = _first("brotli")
zstd = _first("compression.zstd", "backports.zstd")

WINDOW_LOG_MAX = 23  # zstd: 8 MiB, what RFC 9659 allows for the web
CODINGS = {"gzip": 1, "x-gzip": 1, "deflate": 2, "br": 3, "zstd": 4, "deflate-raw": 5}
ERRORS: tuple[type[Exception], ...] = (
    zlib.error,
    *((brotli.error,) if brotli else ()),
    *((zstd.ZstdError,) if zstd else ()),
)


def new_zlib(window: int) -> Any:
    """A decompressor: window 31 for gzip, 15 for zlib, -15 for raw deflate."""
    return zlib.decompressobj(window)


def new_brotli() -> Any:
    """A decompressor; None where it is not installed, or has no output limit."""
    return brotli.Decompressor() if brotli and hasattr(brotli.Decompressor, "can_accept_more_data") else None


def new_zstd() -> Any:
    """A decompressor of one frame; None where none is installed."""
    if not zstd:
        return None
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})
