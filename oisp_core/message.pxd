# SPDX-License-Identifier: Apache-2.0
# One exchange in flight: match, decode, encode. What reassembly (and whoever holds framed exchanges) says to it.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.turn cimport *
from oisp_core.types cimport oisp_head, oisp_slice

cdef int shared_init(oisp_shared* s) noexcept nogil     # limits, rules, dialects, hash_key are set; 0: no memory
cdef void shared_free(oisp_shared* s) noexcept nogil

cdef oisp_turn* turn_new(oisp_shared* s, const oisp_origin* origin) noexcept nogil
cdef void turn_free(oisp_shared* s, oisp_turn* t) noexcept nogil

cdef void turn_request_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil
cdef void turn_request_data(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil
cdef void turn_request_gap(oisp_shared* s, oisp_turn* t, uint64_t size) noexcept nogil
cdef void turn_request_end(oisp_shared* s, oisp_turn* t, uint64_t ts, int ends) noexcept nogil
cdef void turn_response_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil
cdef void turn_response_data(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil
cdef void turn_response_gap(oisp_shared* s, oisp_turn* t, uint64_t size) noexcept nogil
# A field behind the body (gRPC's status).
cdef void turn_response_trailer(oisp_shared* s, oisp_turn* t, oisp_slice name, oisp_slice value) noexcept nogil
# Up to `size` bytes may be missing here, all of them between two documents: that is said, and reading goes on.
cdef void turn_response_doubt(oisp_turn* t, uint64_t size) noexcept nogil
# Emits what is left to emit. The caller frees the turn then.
cdef void turn_response_end(oisp_shared* s, oisp_turn* t, uint64_t ts, int ends) noexcept nogil
# What waits to be inflated is read: at the end of a batch.
cdef void turn_flush(oisp_shared* s) noexcept nogil
# For those whose documents have no message around them (session.pyx): an exchange to decode into, and what the end of an
# answer says. False: no memory.
cdef bint turn_exchange(oisp_shared* s, oisp_turn* t) noexcept nogil
cdef void turn_note_answer(oisp_turn* t, int ends) noexcept nogil
# A warning of the parser (enum oisp_warning) about either message.
cdef void turn_warning(oisp_turn* t, uint64_t warning, bint response) noexcept nogil
