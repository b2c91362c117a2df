# SPDX-License-Identifier: Apache-2.0
# The exchange in flight and what the exchanges of one engine share: declarations of message.h, nothing to run.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.form cimport oisp_form
from oisp_core.reader cimport oisp_reader
from oisp_core.types cimport (
    oisp_asker, oisp_buffer, oisp_clients, oisp_confidence, oisp_exchange, oisp_head, oisp_limits, oisp_slice, oisp_ulid, oisp_verdict, oisp_writer,
)


cdef extern from "oisp/message.h" nogil:
    enum:
        OISP_TURN_REQUEST_HEAD
        OISP_TURN_REQUEST_DONE
        OISP_TURN_REQUEST_DECODED
        OISP_TURN_REQUEST_EMITTED
        OISP_TURN_RESPONSE_HEAD
        OISP_TURN_RESPONSE_DONE
        OISP_TURN_RESPONSE_DECODED
        OISP_TURN_NO_BODY
        OISP_TURN_CONNECT
        OISP_TURN_HOLE
        OISP_TURN_ORPHAN
        OISP_TURN_REQUEST_CODED
        OISP_TURN_RESPONSE_CODED
        OISP_TURN_STREAM
        OISP_TURN_STREAM_LOST
        OISP_TURN_UPGRADE
        OISP_TURN_H2C
        OISP_END_CLOSE
        OISP_END_CUT
        OISP_END_FLIGHT
        OISP_PLAIN_STDIO
    ctypedef struct oisp_peer "struct oisp_peer":
        pass
    ctypedef struct oisp_origin:
        oisp_buffer context
        uint8_t context_has_source
        uint8_t content_source
        uint8_t attribution
        uint8_t plaintext
        uint8_t midway
        uint8_t no_offsets
        uint16_t port
        uint64_t process
        oisp_peer* peer
    ctypedef struct oisp_chunk_key:
        oisp_confidence answered
        oisp_verdict verdict
        oisp_ulid request_event
        oisp_ulid response_event
        uint64_t told
        uint32_t flags
        uint16_t text_flags
        uint16_t status
        uint8_t role
        uint8_t context_has_source
        uint8_t content_source
        uint8_t attribution
        uint8_t plaintext
        uint8_t midway
        uint8_t no_offsets
    ctypedef struct oisp_turn:
        oisp_turn* next
        const oisp_origin* origin
        oisp_exchange* x
        oisp_reader reader
        oisp_form* form
        void* inflaters[2]
        uint8_t codings[2][4]
        uint8_t codings_count[2]
        uint8_t by_message[2]
        uint32_t parked
        oisp_buffer coded
        oisp_buffer strings
        oisp_buffer requests
        oisp_buffer responses
        oisp_verdict verdict
        oisp_slice method
        oisp_slice target
        oisp_slice authority
        oisp_slice sni
        oisp_slice session
        oisp_buffer type
        oisp_buffer chunk
        oisp_confidence asked
        oisp_confidence answered
        oisp_ulid request_event
        oisp_ulid response_event
        uint64_t request_first
        uint64_t request_last
        uint64_t response_first
        uint64_t response_last
        uint64_t token_first
        uint64_t request_length
        uint64_t response_length
        uint64_t request_seen
        uint64_t response_seen
        uint32_t flags
        uint16_t status
        uint8_t framing
        uint8_t framed
        uint8_t thread_size
        oisp_asker asker
        char thread[64]
        uint64_t thread_key
    ctypedef struct oisp_table:
        uint32_t count
    uint64_t oisp_hash(const uint64_t* key, const uint8_t* data, size_t size)
    void* oisp_table_get(const oisp_table* m, uint64_t key)
    int oisp_table_put(oisp_table* m, uint64_t key, void* value)
    void oisp_table_remove(oisp_table* m, uint64_t key)
    void oisp_table_free(oisp_table* m)
    ctypedef struct oisp_link:
        uint64_t key
        oisp_ulid event
        char name[64]
        uint8_t name_size
        uint8_t used
        uint8_t failed
    ctypedef struct oisp_links:
        oisp_table map
        oisp_link* ring
        uint32_t size
        uint32_t next
    ctypedef struct oisp_counters:
        uint64_t bytes[2]
        uint64_t segments
        uint64_t records
        uint64_t records_unknown
        uint64_t lost_bytes
        uint64_t repeated_bytes
        uint64_t dismissed_bytes
        uint64_t resync_bytes
        uint64_t over_limit_bytes
        uint64_t connections
        uint64_t connections_closed
        uint64_t connections_evicted
        uint64_t connections_dismissed
        uint64_t requests
        uint64_t responses
        uint64_t not_ai
        uint64_t undecided
        uint64_t unpaired_requests
        uint64_t unpaired_responses
        uint64_t resyncs
        uint64_t bad
        uint64_t limits
        uint64_t events
        uint64_t events_lost
        uint64_t chunks
        uint64_t tool_results_repeated
        uint64_t kernel_lost_bytes
        uint64_t kernel_lost_records
    ctypedef struct oisp_parked:
        oisp_turn* turn
        uint64_t ts
        uint32_t size
        uint32_t made
        uint8_t side
        uint8_t status
    ctypedef struct oisp_shared:
        const void* rules
        const void* dialects
        const oisp_clients* clients
        oisp_writer writer
        oisp_limits limits
        oisp_counters count
        oisp_links calls
        oisp_links results
        oisp_links threads
        uint64_t hash_key[2]
        oisp_buffer parked
        oisp_buffer inflated
        uint64_t held
        uint64_t turns_open
        uint64_t origins_told
        oisp_turn* turns
        oisp_exchange* exchanges[16]
        uint8_t exchanges_free
        uint8_t chunks
        uint8_t delivering
        uint8_t sparing


cdef inline oisp_slice head_field(const oisp_head* head, const char* name, uint32_t size) noexcept nogil:
    """The first field of that name (given in lower case), or an empty slice."""
    cdef uint32_t i, k
    cdef oisp_slice none
    cdef uint8_t c
    none.data, none.size = NULL, 0
    for i in range(head.fields_count):
        if head.fields[i].name.size != size:
            continue
        k = 0
        while k < size:
            c = head.fields[i].name.data[k]
            if c - 65 < 26 and c >= 65:
                c |= 32
            if c != <uint8_t> name[k]:
                break
            k += 1
        if k == size:
            return head.fields[i].value
    return none
