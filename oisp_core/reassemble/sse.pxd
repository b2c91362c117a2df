# SPDX-License-Identifier: Apache-2.0
# Server-sent events as the WHATWG standard reads them. The quartet of token.h; EVENT tokens: name = type (empty for none given),
# data = payload. A token may point into the parser's own buffer, then feed stops after it (OK, perhaps with input left; OK
# also where the array is full: call until all is taken). MORE: all was taken and an event is in progress.
# EVENT flags: bit 0 the stream ended without its blank line, bit 1 and without the end of its last line (it may be cut),
# bit 2 lines of it may have been lost in a gap before it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/sse.h" nogil:
    # Private to sse.pyx.
    ctypedef struct oisp_sse:
        oisp_buffer held
        uint64_t offset
        uint32_t event_max
        uint32_t line
        uint32_t scanned
        uint8_t holding
        uint8_t content
        uint8_t started
        uint8_t skipping
        uint8_t doubt
        uint8_t failed
    bint oisp_sse_between(const oisp_sse* p)

cdef void sse_init(oisp_sse* p, size_t event_max) noexcept nogil
cdef oisp_status sse_feed(oisp_sse* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Bytes are missing: the event in progress is dropped, reading goes on at the next line end. The GAP token's number is `size`,
# its flags bit 0 says that an event was in progress.
cdef oisp_status sse_gap(oisp_sse* p, uint64_t size, oisp_tokens* out) noexcept nogil
# The last event may lack its blank line: it is given all the same (flags bit 0).
cdef oisp_status sse_finish(oisp_sse* p, oisp_tokens* out) noexcept nogil
cdef void sse_reset(oisp_sse* p) noexcept nogil
cdef void sse_free(oisp_sse* p) noexcept nogil
