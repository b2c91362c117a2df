# SPDX-License-Identifier: Apache-2.0
# The connections of an engine, in C.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.message cimport oisp_table, oisp_origin, oisp_shared, oisp_turn
from oisp_core.reassemble.http1 cimport oisp_http1
from oisp_core.resync cimport oisp_resync
from oisp_core.rpc cimport oisp_rpc
from oisp_core.session cimport oisp_session
from oisp_core.streams cimport oisp_streams
from oisp_core.types cimport oisp_buffer, oisp_field, oisp_record, oisp_slice, oisp_status, oisp_token, oisp_verdict


cdef extern from "oisp/engine.h" nogil:
    enum:
        OISP_CONN_NEW
        OISP_CONN_OPEN
        OISP_CONN_DISMISSED
        OISP_DISMISSED_NOT
        OISP_DISMISSED_HOST
        OISP_DISMISSED_PROTOCOL
        OISP_DISMISSED_TUNNEL
        OISP_DISMISSED_LIMIT
        OISP_SIDE_NEW
        OISP_SIDE_HTTP1
        OISP_SIDE_RESYNC
        OISP_SIDE_CLOSED
        OISP_SIDE_HTTP2
        OISP_SIDE_WAIT
        OISP_SIDE_SOCKET
    ctypedef struct oisp_side:
        oisp_http1 http
        oisp_buffer held
        oisp_resync* lost
        uint64_t offset
        uint8_t state
        uint8_t role
        uint8_t unconfirmed
    ctypedef struct oisp_piece:
        uint64_t ts
        uint64_t gap
        uint32_t size
    ctypedef struct oisp_flow:
        oisp_side side[2]
        oisp_turn* first
        oisp_turn* last
        oisp_turn* answer
        uint32_t turns
        uint8_t receiving
        uint8_t ambiguous
        uint8_t pipelined
        uint8_t answered_dead
        uint8_t exchanged
        uint8_t sequential
        uint8_t mixed
        uint8_t tunnel
        uint8_t resume
        uint32_t owed
        oisp_verdict usual
        uint64_t owed_bytes
        oisp_streams* streams
        oisp_session* session
        oisp_rpc* rpc
    ctypedef struct oisp_conn:
        uint64_t id
        oisp_conn* newer
        oisp_conn* older
        oisp_flow* flow
        oisp_origin origin
        uint64_t ts_last
        uint64_t spared
        uint8_t state
        uint8_t requests
        uint8_t rule
        uint8_t told
        uint8_t counted
        uint8_t level
        uint8_t joined
        uint32_t skipped


cdef enum:
    REQUESTS_UNKNOWN = 2  # oisp_conn.requests before it is found


# What an engine is, in C.
cdef struct engine_core:
    oisp_shared shared
    oisp_table conns
    oisp_conn* newest
    oisp_conn* oldest
    oisp_origin framed        # of exchange()
    oisp_conn* current       # of the piece in hand: never evicted
    oisp_token* tokens
    oisp_field* fields
    oisp_buffer work         # text of the header block in hand
    uint32_t tokens_capacity
    uint32_t verdicts_new    # verdicts that verdicts() has not handed out yet
    uint64_t clock_base_ns
    uint64_t now             # the latest time that was said
    int32_t busy


cdef oisp_conn* find_conn(engine_core* e, uint64_t id) noexcept nogil
cdef oisp_conn* make_conn(engine_core* e, uint64_t id) noexcept nogil   # NULL: no memory
cdef oisp_flow* open_flow(engine_core* e, oisp_conn* c) noexcept nogil
cdef void drop_conn(engine_core* e, oisp_conn* c) noexcept nogil
cdef void end_conn(engine_core* e, oisp_conn* c, uint64_t ts, int ends) noexcept nogil
cdef bint put_context(engine_core* e, oisp_conn* c, const uint8_t* data, uint32_t size, int has_source) noexcept nogil
cdef void hole(engine_core* e, oisp_conn* c, int direction, uint64_t size, uint64_t ts) noexcept nogil
cdef void take_piece(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size,
                     uint64_t offset) noexcept nogil
cdef void take_record(engine_core* e, const oisp_record* r) noexcept nogil
cdef void take_records(engine_core* e, const uint8_t* data, uint64_t at, uint64_t size) noexcept nogil
cdef void advance_core(engine_core* e, uint64_t now) noexcept nogil
cdef bint core_is_full(engine_core* e) noexcept nogil
cdef void core_free(engine_core* e) noexcept nogil
