# SPDX-License-Identifier: Apache-2.0
# HTTP/2, one direction of one connection: frames and header blocks to tokens of streams. The quartet of token.h.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.reassemble.hpack cimport oisp_hpack
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/http2.h" nogil:
    enum:
        OISP_HEAD_KIND
        OISP_HEAD_PARTIAL
        OISP_HEAD_PUSH
        OISP_HEAD_INTERIM
        OISP_SETTING_TABLE_SIZE
        OISP_SETTING_FRAME_SIZE
        OISP_SETTING_ACK
        OISP_SETTING_LOST
    # Private to http2.pyx but for `offset` and `skipped`, which a caller may read.
    ctypedef struct oisp_http2:
        oisp_hpack table
        oisp_buffer held
        oisp_buffer region
        oisp_buffer* work
        uint64_t offset
        uint64_t skipped
        uint64_t frame
        uint64_t block
        uint64_t length
        uint32_t region_at
        uint32_t at
        uint32_t size
        uint32_t left
        uint32_t pad
        uint32_t stream
        uint32_t carrier
        uint32_t promised
        uint32_t highest
        uint32_t frame_max
        uint32_t head_max
        uint8_t head[24]
        uint8_t head_size
        uint8_t kind
        uint8_t flags
        uint8_t role
        uint8_t state
        uint8_t block_flags
        uint8_t settings_lost
        uint8_t failed

    uint32_t oisp_http2_data(const oisp_http2* p, const uint8_t* data, size_t size, size_t* length)
    void oisp_http2_took(oisp_http2* p, uint32_t stream, size_t length)

# role: OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE. work: for the text of a header block; it may be shared by many parsers, since
# tokens are valid until the next call on any of them.
cdef void http2_init(oisp_http2* p, int role, oisp_buffer* work, size_t head_max, size_t fields_max, size_t table_max) noexcept nogil
# Tokens, each with its stream:
#   FIELD ... HEAD_END (flags: enum oisp_body_kind | enum oisp_head_flags, number: content-length), pseudo fields among the
#   fields; TRAILER ...; DATA; GAP; END; RESET; GOAWAY; SETTINGS (stream 0, flags: identifier or enum oisp_setting, number: value),
#   one for each; WARNING. The offset of the tokens of a header block is that of its HEADERS frame.
# FULL: it stopped, after a header block or since the array has no room; take the tokens and call again with the rest, which may
# be nothing. Give it room for at least 32 tokens, and fields_max + 32 to have every head whole in one call.
# BAD: what came is no frame; framing is lost.
cdef oisp_status http2_feed(oisp_http2* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
cdef oisp_status http2_gap(oisp_http2* p, uint64_t size, oisp_tokens* out) noexcept nogil
# MORE: the stream ended inside a frame.
cdef oisp_status http2_finish(oisp_http2* p, oisp_tokens* out) noexcept nogil
# After BAD, or before the first byte of a connection that was joined in its middle: header blocks count as lost, and feed looks
# for a boundary. A segment that begins with a whole valid frame head is one at once; elsewhere three frames in a row are.
cdef void http2_resync(oisp_http2* p) noexcept nogil
# Nothing more comes while a boundary is looked for: fewer frames confirm one. 1: it was found; http2_feed, of nothing, reads on
# from there.
cdef int http2_last(oisp_http2* p) noexcept nogil
# What the other direction said in SETTINGS: identifier and value as in its token.
cdef void http2_setting(oisp_http2* p, uint32_t identifier, uint64_t value) noexcept nogil
# Gives back what only the tokens of the last call need: for connections that may be idle for long.
cdef void http2_release(oisp_http2* p) noexcept nogil
cdef void http2_reset(oisp_http2* p) noexcept nogil
cdef void http2_free(oisp_http2* p) noexcept nogil
# 1 between frames and outside of a header block.
cdef int http2_idle(const oisp_http2* p) noexcept nogil
# 1 while a boundary is looked for.
cdef int http2_seeking(const oisp_http2* p) noexcept nogil
# Which role has the direction that this segment (frames, joined in the middle) belongs to? OISP_TOKEN_REQUEST, _RESPONSE, or 0:
# it cannot be told.
cdef int http2_role(const uint8_t* data, size_t size) noexcept nogil
# Bytes allocated.
cdef size_t http2_memory(const oisp_http2* p) noexcept nogil
