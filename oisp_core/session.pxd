# SPDX-License-Identifier: Apache-2.0
# A WebSocket session of an AI protocol: messages in, turns out. Whoever carries it (HTTP/1 after 101, HTTP/2 after an extended
# CONNECT) says the same few things.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.reader cimport oisp_reader
from oisp_core.turn cimport oisp_shared, oisp_turn
from oisp_core.types cimport oisp_head

cdef extern from "oisp/session.h" nogil:
    ctypedef struct oisp_session:
        oisp_turn* turn
        oisp_reader side[2]
        void* inflaters[2]
        uint64_t said
        uint8_t deflate
        uint8_t fresh[2]

# `turn` has the head of the request that asked for the upgrade; it belongs to the session from here on. `head`: of the answer.
# NULL: not a session that anybody here reads (not AI, no memory): the turn stays the caller's.
cdef oisp_session* session_open(oisp_shared* s, oisp_turn* turn, const oisp_head* head) noexcept nogil
# side: 0 what the client sends, 1 what it receives. False: this session is over, or cannot be read any more.
cdef bint session_data(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil
# A whole message, from those who have no frames.
cdef void session_message(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil
cdef bint session_gap(oisp_shared* s, oisp_session* q, int side, uint64_t size, uint64_t ts) noexcept nogil
# Gives out the turn that is open, and frees. ends: enum oisp_end_flags; 0: the peers closed it, an answer in progress is cut.
cdef void session_close(oisp_shared* s, oisp_session* q, int ends) noexcept nogil
cdef void session_free(oisp_shared* s, oisp_session* q) noexcept nogil
