# SPDX-License-Identifier: Apache-2.0
# HTTP/1.x, one direction of one connection. The quartet of token.h.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/http1.h" nogil:
    ctypedef struct oisp_http1_head:
        uint64_t length
        uint32_t fields
        uint16_t status
        uint16_t flags
        uint8_t started
        uint8_t minor
        uint8_t bare_lf
    # Private to http1.pyx but for `head.status` and `offset`, which a caller may read.
    ctypedef struct oisp_http1:
        oisp_buffer held
        uint64_t offset
        uint64_t left
        oisp_http1_head head
        uint32_t head_max
        uint32_t fields_max
        uint32_t head_size
        uint32_t at
        uint32_t scanned
        uint32_t line
        uint8_t role
        uint8_t state
        uint8_t holding
        uint8_t body
        uint8_t failed
        uint8_t end_flags
    enum:
        OISP_HTTP1_LENGTH
        OISP_HTTP1_CHUNK_SIZE
        OISP_HTTP1_CHUNK_DATA
    size_t oisp_http1_whole_chunk(const uint8_t* data, size_t size, size_t* length)
    size_t oisp_http1_chunk(oisp_http1* p, const uint8_t* data, size_t size, size_t* start, size_t* length)
    size_t oisp_http1_chunk_rest(const oisp_http1* p, size_t size)

# role: OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE
cdef void http1_init(oisp_http1* p, int role, size_t head_max, size_t fields_max) noexcept nogil
# Stops (OK, perhaps with input left) after HEAD_END, after UPGRADE, after the END of a response (whose next head may have to
# wait for its request), after an END whose trailers were held, and where the
# array has no room for a step: give an array of at least 8, better 64. A whole head comes in one call where it fits. OK with
# all input taken can also mean "stopped": what follows a head (END, where there is no body) is given by the next call, with
# whatever input there is or none. So call until it answers other than OK, or takes all and gives no token. After UPGRADE
# nothing is taken any more.
# Before going on after a response's HEAD_END the caller may say http1_no_body() (answer to HEAD) or http1_tunnel() (2xx to
# CONNECT). http1_tunnel() may also be said between messages: to the request side, when the answer was 101 or 2xx to CONNECT.
cdef oisp_status http1_feed(oisp_http1* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
cdef void http1_no_body(oisp_http1* p) noexcept nogil
cdef void http1_tunnel(oisp_http1* p) noexcept nogil
cdef oisp_status http1_gap(oisp_http1* p, uint64_t size, oisp_tokens* out) noexcept nogil
# OK with the message's END if there was one; MORE if the stream ended inside a head (nothing of it was given out).
cdef oisp_status http1_finish(oisp_http1* p, oisp_tokens* out) noexcept nogil
cdef void http1_reset(oisp_http1* p) noexcept nogil
cdef void http1_free(oisp_http1* p) noexcept nogil
# Does `data` begin with a whole valid head (what resync asks)? OK yes, MORE could be, BAD no. role as above.
cdef oisp_status http1_probe(int role, const uint8_t* data, size_t size) noexcept nogil
# 1 while the parser is between messages (idle), 0 inside one.
cdef int http1_idle(const oisp_http1* p) noexcept nogil
