# SPDX-License-Identifier: Apache-2.0
# Content codings of bodies, undone together: the one stage that takes the GIL.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from oisp_core.turn cimport oisp_shared, oisp_turn
from oisp_core.types cimport oisp_head, oisp_status

cdef bint find_codings(oisp_turn* t, const oisp_head* head, int side) noexcept nogil
cdef bint park(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil
cdef uint32_t inflate_parked(oisp_shared* s, uint32_t at) noexcept with gil
cdef oisp_status inflate_message(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size) noexcept with gil
cdef void give_inflater(oisp_turn* t, int side) noexcept with gil
