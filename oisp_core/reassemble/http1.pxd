# SPDX-License-Identifier: Apache-2.0
# HTTP/1.x, one direction of one connection. The quartet of token.h.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.types cimport oisp_status, oisp_tokens

cdef extern from "oisp/http1.h" nogil:
    ctypedef struct oisp_http1:
        pass

# role: OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE
cdef void http1_init(oisp_http1* p, int role, size_t head_max, size_t fields_max) noexcept nogil
# Stops after HEAD_END and after UPGRADE. Before going on after a response's HEAD_END the caller may say http1_no_body()
# (answer to HEAD, 2xx to CONNECT is a tunnel: http1_tunnel()).
cdef oisp_status http1_feed(oisp_http1* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
cdef void http1_no_body(oisp_http1* p) noexcept nogil
cdef void http1_tunnel(oisp_http1* p) noexcept nogil
cdef oisp_status http1_gap(oisp_http1* p, uint64_t size, oisp_tokens* out) noexcept nogil
cdef oisp_status http1_finish(oisp_http1* p, oisp_tokens* out) noexcept nogil
cdef void http1_reset(oisp_http1* p) noexcept nogil
cdef void http1_free(oisp_http1* p) noexcept nogil
# Does `data` begin with a whole valid head (what resync asks)? OK yes, MORE could be, BAD no. role as above.
cdef oisp_status http1_probe(int role, const uint8_t* data, size_t size) noexcept nogil
# 1 while the parser is between messages (idle), 0 inside one.
cdef int http1_idle(const oisp_http1* p) noexcept nogil
