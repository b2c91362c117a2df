# SPDX-License-Identifier: Apache-2.0
# Where does a message of HTTP/1 begin, in bytes whose framing was lost?
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_limits

cdef extern from "oisp/resync.h" nogil:
    ctypedef struct oisp_resync_mark:
        uint64_t ts
        uint32_t at
    ctypedef struct oisp_resync:
        oisp_buffer bytes
        oisp_buffer marks
        uint64_t passed
        uint32_t strong
        uint32_t searched

cdef oisp_resync* resync_new() noexcept nogil
cdef void resync_free(oisp_resync* r) noexcept nogil
# Takes a piece; begins: it is the beginning of a segment. The place in r.bytes where a message begins, or -1: not found yet.
# role: OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE.
cdef int64_t resync_take(oisp_resync* r, int role, const oisp_limits* limits, const uint8_t* data, size_t size, uint64_t ts,
                         bint begins) noexcept nogil
# Nothing more will come: a place that fewer messages confirm, or -1.
cdef int64_t resync_last(oisp_resync* r, int role, const oisp_limits* limits) noexcept nogil
