# SPDX-License-Identifier: Apache-2.0
# Events of an exchange, in causal order, and the links between them.
from libc.stdint cimport uint64_t

from oisp_core.turn cimport oisp_shared, oisp_turn

cdef void emit_request(oisp_shared* s, oisp_turn* t) noexcept nogil
cdef void emit_chunk(oisp_shared* s, oisp_turn* t, uint64_t ts) noexcept nogil
cdef void emit_answer(oisp_shared* s, oisp_turn* t) noexcept nogil
