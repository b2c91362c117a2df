# SPDX-License-Identifier: Apache-2.0
# What an event says besides its exchange: who, where, how sure.
from libc.stdint cimport int64_t, uint64_t

from oisp_core.turn cimport oisp_shared, oisp_turn
from oisp_core.types cimport oisp_confidence, oisp_facts, oisp_status

cdef void set_facts(oisp_shared* s, oisp_turn* t, const oisp_confidence* confidence, oisp_facts* f,
                    uint64_t ts) noexcept nogil
cdef void set_confidence(oisp_turn* t, oisp_facts* f) noexcept nogil
cdef void written(oisp_shared* s, oisp_status status) noexcept nogil
cdef int64_t latency(oisp_turn* t, uint64_t end) noexcept nogil
