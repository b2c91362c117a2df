# SPDX-License-Identifier: Apache-2.0
# The parts of a multipart body (RFC 2046, RFC 7578). The quartet of token.h. A part gives, when it is whole: a FIELD "filename"
# and a FIELD "content-type" where it has them, then EVENT: name = its name (empty for none), data = its value, number = the
# length of its content. A file (what has a filename) has no data: its content is counted and not kept. feed stops after each
# part (OK, perhaps with input left), since tokens point into the parser's own buffer, and needs room for three. MORE: all was taken and the last
# delimiter has not come.
# EVENT flags: bit 0 the stream ended inside the part, bit 1 a hole cut it, bit 2 longer than value_max: data is its start,
# bit 3 a file.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/multipart.h" nogil:
    enum:
        OISP_BOUNDARY_MAX
    # Private to multipart.pyx.
    ctypedef struct oisp_multipart_span:
        uint32_t at
        uint32_t size
    ctypedef struct oisp_multipart:
        oisp_buffer held
        uint64_t offset
        uint64_t head
        uint64_t start
        uint64_t length
        oisp_multipart_span name
        oisp_multipart_span filename
        oisp_multipart_span type
        uint32_t head_size
        uint32_t line
        uint32_t head_max
        uint32_t value_max
        uint8_t delimiter[74]
        uint8_t delimiter_size
        uint8_t lead
        uint8_t matched
        uint8_t before
        uint8_t state
        uint8_t inside
        uint8_t file
        uint8_t given
        uint8_t failed

# `content_type` is that of the body, with its boundary. 0 where it has none: the body cannot be read, each call answers BAD.
cdef bint multipart_init(oisp_multipart* p, const uint8_t* content_type, size_t size, size_t head_max,
                         size_t value_max) noexcept nogil
cdef oisp_status multipart_feed(oisp_multipart* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# The part in progress is given out as far as it came (EVENT flags bit 1; not one whose head is cut), then GAP: number = `size`,
# flags bit 0 says that a part was in progress. Reading goes on at the next delimiter. Needs room for four tokens, else FULL.
cdef oisp_status multipart_gap(oisp_multipart* p, uint64_t size, oisp_tokens* out) noexcept nogil
# A part without its delimiter is given out and marked (flags bit 0). MORE: the last delimiter did not come.
cdef oisp_status multipart_finish(oisp_multipart* p, oisp_tokens* out) noexcept nogil
cdef void multipart_reset(oisp_multipart* p) noexcept nogil
cdef void multipart_free(oisp_multipart* p) noexcept nogil
