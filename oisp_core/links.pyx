# SPDX-License-Identifier: Apache-2.0
"""What outlives its exchange: a ring of keys with a map over it. The oldest one makes room for a new one."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from oisp_core.turn cimport (
    oisp_link, oisp_links, oisp_table_free, oisp_table_get, oisp_table_put, oisp_table_remove,
)
from oisp_core.types cimport oisp_wipe


cdef int links_init(oisp_links* l, uint32_t size) noexcept nogil:
    memset(l, 0, sizeof(oisp_links))
    l.ring = <oisp_link*> calloc(size, sizeof(oisp_link))
    l.size = size
    return l.ring != NULL


cdef void links_free(oisp_links* l) noexcept nogil:
    oisp_table_free(&l.map)
    if l.ring != NULL:
        oisp_wipe(l.ring, l.size * sizeof(oisp_link))
    free(l.ring)
    l.ring = NULL


cdef oisp_link* links_put(oisp_links* l, uint64_t key) noexcept nogil:
    """The link of that key, new or overwritten; the oldest one makes room. NULL without memory."""
    cdef oisp_link* link = <oisp_link*> oisp_table_get(&l.map, key)
    if link != NULL:
        return link
    link = &l.ring[l.next]
    l.next = l.next + 1 if l.next + 1 < l.size else 0
    if link.used:
        oisp_table_remove(&l.map, link.key)
    memset(link, 0, sizeof(oisp_link))
    if not oisp_table_put(&l.map, key, link):
        return NULL
    link.key = key
    link.used = 1
    return link
