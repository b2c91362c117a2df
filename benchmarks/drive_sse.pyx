# SPDX-License-Identifier: Apache-2.0
"""Runs the reader of server-sent events over segments, and counts what it gives."""
from libc.stdint cimport uint64_t

from oisp_core.reassemble.sse cimport oisp_sse, sse_feed, sse_free, sse_init
from oisp_core.types cimport OISP_TOKEN_EVENT, oisp_status, oisp_token, oisp_tokens


include "segments.pxi"


cdef int run(Segments s, uint64_t* events, uint64_t* types, uint64_t* payload) noexcept nogil:
    cdef oisp_sse p
    cdef oisp_token space[64]
    cdef oisp_tokens out
    cdef oisp_status status
    cdef size_t i
    cdef size_t pos
    cdef size_t used
    cdef uint64_t k
    sse_init(&p, 1 << 24)
    out.at = space
    out.capacity = 64
    for i in range(s.count):
        pos = 0
        while pos < s.at[i].size:
            out.count = 0
            status = sse_feed(&p, s.at[i].data + pos, s.at[i].size - pos, &out, &used)
            for k in range(out.count):
                if out.at[k].kind == OISP_TOKEN_EVENT:
                    events[0] += 1
                    types[0] += out.at[k].name_size
                    payload[0] += out.at[k].size
            pos += used
            if status > 1:
                return status
    sse_free(&p)
    return 0


def count(Segments s):
    """(events, bytes of types, bytes of payloads)."""
    cdef uint64_t events = 0
    cdef uint64_t types = 0
    cdef uint64_t payload = 0
    with nogil:
        run(s, &events, &types, &payload)
    return events, types, payload
