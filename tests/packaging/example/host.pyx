# SPDX-License-Identifier: Apache-2.0
"""A program that embeds the engine at C level: bytes go in without the GIL, no Python object on the way."""

from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t

from oisp_core.capi cimport OISP_OK, Engine, engine_feed_span, oisp_status


def feed(Engine engine, list segments) -> bytes:
    """Feed (direction, timestamp, bytes) segments of one connection and return what comes out."""
    cdef uint64_t ts
    cdef int direction
    cdef bytes data
    cdef const uint8_t* at
    cdef size_t size
    cdef oisp_status status
    for direction, ts, data in segments:
        at = data
        size = len(data)
        with nogil:
            status = engine_feed_span(engine, 1, direction, ts, at, size, UINT64_MAX)
        if status != OISP_OK:
            raise RuntimeError(f"status {status}")
    engine.close(1)
    return engine.drain()
