# SPDX-License-Identifier: Apache-2.0
# Tool calls, results and conversations that are remembered: bounded, wiped at the end.
from libc.stdint cimport uint32_t, uint64_t

from oisp_core.turn cimport oisp_link, oisp_links

cdef int links_init(oisp_links* l, uint32_t size) noexcept nogil
cdef void links_free(oisp_links* l) noexcept nogil
cdef oisp_link* links_put(oisp_links* l, uint64_t key) noexcept nogil
