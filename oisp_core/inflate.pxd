# SPDX-License-Identifier: Apache-2.0
# Content codings of a body, undone as it comes: the one stage that takes the GIL.
from libc.stdint cimport uint32_t, uint8_t

from oisp_core.turn cimport oisp_shared, oisp_turn
from oisp_core.types cimport oisp_confidence, oisp_head, oisp_slice, oisp_status

cdef bint find_codings(oisp_turn* t, const oisp_head* head, int side) noexcept nogil
cdef void give_inflater(oisp_turn* t, int side) noexcept with gil
cdef oisp_status inflate_piece(oisp_shared* s, oisp_turn* t, int side, oisp_confidence* c, const uint8_t* data,
                               size_t size) noexcept nogil
