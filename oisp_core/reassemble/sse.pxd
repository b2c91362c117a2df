# SPDX-License-Identifier: Apache-2.0
# Server-sent events as the WHATWG standard reads them. The quartet of token.h; EVENT tokens: name = type (empty for none given),
# data = payload. A token may point into the parser's own buffer, then feed stops after it.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.types cimport oisp_status, oisp_tokens

cdef extern from "oisp/sse.h" nogil:
    ctypedef struct oisp_sse:
        pass

cdef void sse_init(oisp_sse* p, size_t event_max) noexcept nogil
cdef oisp_status sse_feed(oisp_sse* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Bytes are missing: the event in progress is dropped (a GAP token counts it), reading goes on at the next line end.
cdef oisp_status sse_gap(oisp_sse* p, uint64_t size, oisp_tokens* out) noexcept nogil
# The last event may lack its blank line: it is given all the same (flags bit 0).
cdef oisp_status sse_finish(oisp_sse* p, oisp_tokens* out) noexcept nogil
cdef void sse_reset(oisp_sse* p) noexcept nogil
cdef void sse_free(oisp_sse* p) noexcept nogil
