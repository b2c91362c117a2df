# SPDX-License-Identifier: Apache-2.0
# JSON values one after the other: lines (NDJSON), or the elements of one array that streams (Gemini without SSE). The quartet
# of token.h; EVENT: data = the text of one value. It may point into the parser's own buffer, then feed stops after it (OK,
# perhaps with input left). MORE: all was taken and a value (or the array) is in progress.
# EVENT flags: bit 0 the stream ended inside the value, bit 1 and it is cut, bit 3 a line end stands inside a string of it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/ndjson.h" nogil:
    # Private to ndjson.pyx.
    ctypedef struct oisp_ndjson:
        oisp_buffer held
        uint64_t offset
        uint64_t start
        uint32_t value_max
        uint32_t depth
        uint8_t array
        uint8_t place
        uint8_t inside
        uint8_t escaped
        uint8_t given
        uint8_t skipping
        uint8_t failed
    enum:
        OISP_NDJSON_VALUE
    bint oisp_ndjson_between(const oisp_ndjson* p)
    size_t oisp_ndjson_begin(oisp_ndjson* p, const uint8_t* data, size_t size)
    void oisp_ndjson_took(oisp_ndjson* p)

cdef void ndjson_init(oisp_ndjson* p, size_t value_max, bint array) noexcept nogil
cdef oisp_status ndjson_feed(oisp_ndjson* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Lines: the value in progress is dropped (GAP, flags bit 0), reading goes on at the next line end. Array: depth is lost, BAD.
cdef oisp_status ndjson_gap(oisp_ndjson* p, uint64_t size, oisp_tokens* out) noexcept nogil
# The last line may lack its end. MORE: an array that was not closed.
cdef oisp_status ndjson_finish(oisp_ndjson* p, oisp_tokens* out) noexcept nogil
cdef void ndjson_reset(oisp_ndjson* p) noexcept nogil
cdef void ndjson_free(oisp_ndjson* p) noexcept nogil
