# SPDX-License-Identifier: Apache-2.0
"""A program that embeds the engine and a parser at C level: bytes go in without the GIL, no Python object on the way."""

from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t

from oisp_core.capi cimport (
    OISP_OK,
    OISP_TOKEN_EVENT,
    Engine,
    engine_feed_span,
    oisp_sse,
    oisp_status,
    oisp_token,
    oisp_tokens,
    sse_feed,
    sse_finish,
    sse_free,
    sse_init,
)


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


cdef uint64_t payload_of(const oisp_tokens* out) noexcept nogil:
    cdef uint64_t size = 0
    cdef uint64_t i
    for i in range(out.count):
        if out.at[i].kind == OISP_TOKEN_EVENT:
            size += out.at[i].size
    return size


def payload(list pieces) -> int:
    """Bytes of payload in a stream of server-sent events: the parser by itself."""
    cdef oisp_sse parser
    cdef oisp_token space[16]
    cdef oisp_tokens out
    cdef oisp_status status = OISP_OK
    cdef bytes data
    cdef const uint8_t* at
    cdef size_t size
    cdef size_t used
    cdef uint64_t total = 0
    out.at = space
    out.capacity = 16
    sse_init(&parser, 1 << 20)
    for data in pieces:
        at = data
        size = len(data)
        with nogil:
            while size:
                out.count = 0
                status = sse_feed(&parser, at, size, &out, &used)
                total += payload_of(&out)
                at += used
                size -= used
    out.count = 0
    sse_finish(&parser, &out)
    total += payload_of(&out)
    sse_free(&parser)
    return total
