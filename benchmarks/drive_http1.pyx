# SPDX-License-Identifier: Apache-2.0
# distutils: language = c
"""Runs the HTTP/1 parser over segments, and counts what it gives: no Python object per token."""
from libc.stdint cimport uint64_t

from oisp_core.reassemble.http1 cimport http1_feed, http1_free, http1_init, oisp_http1
from oisp_core.types cimport (
    OISP_OK,
    OISP_TOKEN_DATA,
    OISP_TOKEN_END,
    OISP_TOKEN_FIELD,
    OISP_TOKEN_REQUEST,
    OISP_TOKEN_RESPONSE,
    oisp_status,
    oisp_token,
    oisp_tokens,
)

ctypedef struct counts:
    uint64_t messages
    uint64_t fields
    uint64_t text
    uint64_t body
    uint64_t pieces


include "segments.pxi"


cdef inline void count_token(const oisp_token* t, counts* c) noexcept nogil:
    if t.kind == OISP_TOKEN_FIELD:
        c.fields += 1
        c.text += t.size + t.name_size
    elif t.kind == OISP_TOKEN_DATA:
        c.body += t.size
        c.pieces += 1
    elif t.kind == OISP_TOKEN_REQUEST:
        c.text += t.size
    elif t.kind == OISP_TOKEN_END:
        c.messages += 1


cdef int run(Segments s, int role, counts* c) noexcept nogil:
    cdef oisp_http1 p
    cdef oisp_token space[64]
    cdef oisp_tokens out
    cdef oisp_status status
    cdef size_t i
    cdef size_t pos
    cdef size_t used
    cdef uint64_t k
    http1_init(&p, role, 65536, 256)
    out.at = space
    out.capacity = 64
    for i in range(s.count):
        pos = 0
        while True:
            out.count = 0
            status = http1_feed(&p, s.at[i].data + pos, s.at[i].size - pos, &out, &used)
            for k in range(out.count):
                count_token(&out.at[k], c)
            pos += used
            if status != OISP_OK or (pos == s.at[i].size and out.count == 0):
                break
    http1_free(&p)
    return p.failed


def count(Segments s, role):
    """(messages, fields, bytes of targets, names and values, bytes of bodies)."""
    cdef counts c = counts(0, 0, 0, 0, 0)
    cdef int number = OISP_TOKEN_REQUEST if role == "request" else OISP_TOKEN_RESPONSE
    with nogil:
        run(s, number, &c)
    return c.messages, c.fields, c.text, c.body
