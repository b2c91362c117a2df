# SPDX-License-Identifier: Apache-2.0
# The streams of an HTTP/2 connection: from tokens to exchanges. `which`: OISP_STREAM_REQUEST or OISP_STREAM_RESPONSE.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.message cimport oisp_origin, oisp_shared, oisp_turn
from oisp_core.reassemble.http2 cimport oisp_http2
from oisp_core.session cimport oisp_session
from oisp_core.types cimport oisp_buffer, oisp_field, oisp_token, oisp_verdict


cdef extern from "oisp/streams.h" nogil:
    enum:
        OISP_STREAM_REQUEST
        OISP_STREAM_RESPONSE
        OISP_STREAM_UNSEEN
        OISP_STREAM_ASKED
        OISP_STREAM_ANSWERED
        OISP_STREAM_DOUBT_REQUEST
        OISP_STREAM_DOUBT_RESPONSE
        OISP_STREAM_LATE_END
        OISP_STREAM_TOUCHED
        OISP_STREAM_OPEN_REQUEST
        OISP_STREAM_OPEN_RESPONSE
        OISP_STREAM_SOCKET
        OISP_LATE_HEAD
        OISP_LATE_DATA
        OISP_LATE_GAP
        OISP_LATE_DOUBT
        OISP_LATE_END
        OISP_STREAM_BUCKETS
        OISP_STREAM_RANGES
    ctypedef struct oisp_late:
        uint64_t ts
        uint64_t number
        uint32_t size
        uint16_t status
        uint8_t kind
        uint8_t partial
    ctypedef struct oisp_stream:
        oisp_stream* bucket
        oisp_stream* newer
        oisp_stream* older
        oisp_turn* turn
        oisp_session* session
        oisp_buffer late
        oisp_buffer held[2]
        uint64_t length[2]
        uint64_t seen[2]
        uint64_t waiting[2]
        uint64_t doubt[2]
        uint64_t since
        uint32_t tail[2]
        uint32_t id
        uint32_t flags
    ctypedef struct oisp_stream_range:
        uint32_t low
        uint32_t high
    ctypedef struct oisp_streams:
        oisp_http2 side[2]
        oisp_shared* shared
        const oisp_origin* origin
        oisp_token* tokens
        oisp_field* fields
        uint32_t tokens_capacity
        uint32_t open
        oisp_stream* buckets[16]
        oisp_stream* oldest
        oisp_stream* newest
        oisp_stream_range lost[4]
        uint64_t lost_bytes[2]
        uint64_t skipped[2]
        uint64_t fed[2]
        uint32_t highest
        uint8_t lost_next
        uint8_t lossy
        uint8_t losing[2]
        uint8_t unconfirmed[2]
        oisp_verdict usual
        uint8_t mixed
        uint8_t dismissed


# tokens: room for tokens_capacity of them, at least head_fields + 32; fields: for head_fields. They, work and origin are the
# caller's and outlive the streams. NULL without memory.
cdef oisp_streams* streams_new(oisp_shared* shared, const oisp_origin* origin, oisp_buffer* work, oisp_token* tokens,
                               uint32_t tokens_capacity, oisp_field* fields) noexcept nogil
# Exchanges that are open are dropped: say streams_finish() before.
cdef void streams_free(oisp_streams* st) noexcept nogil
# That direction is read from its middle on.
cdef void streams_join(oisp_streams* st, int which) noexcept nogil
# A request of HTTP/1 that asked for `Upgrade: h2c` is stream 1 from now on (RFC 7540 section 3.2); the turn is taken over.
cdef void streams_upgrade(oisp_streams* st, oisp_turn* turn) noexcept nogil
# After it, `dismissed` may be set: nothing of this connection needs to be read any further.
cdef void streams_feed(oisp_streams* st, int which, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil
# `size` bytes are missing; UINT64_MAX: an unknown number.
cdef void streams_gap(oisp_streams* st, int which, uint64_t size, uint64_t ts) noexcept nogil
# What was answered to requests that never showed up is not waited for beyond `before`.
cdef void streams_advance(oisp_streams* st, uint64_t before) noexcept nogil
# The connection is over: what is open is given out as cut (ends: enum oisp_end_flags).
cdef void streams_finish(oisp_streams* st, uint64_t ts, int ends) noexcept nogil
