# SPDX-License-Identifier: Apache-2.0
# HPACK (RFC 7541): header blocks of one direction, in their order. The quartet of token.h, with a block in place of a stream.
from libc.stdint cimport uint8_t, uint32_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/hpack.h" nogil:
    enum:
        OISP_FIELD_NEVER_INDEXED
        OISP_FIELD_NAME_UNKNOWN
    ctypedef struct oisp_hpack_entry:
        uint32_t offset
        uint32_t name_size
    # Private to hpack.pyx but for `unknown` and `over`, of the block that was read last, and `unsure`.
    ctypedef struct oisp_hpack:
        uint8_t* arena
        uint8_t* old
        oisp_hpack_entry* entries
        uint32_t arena_capacity
        uint32_t end
        uint32_t ring
        uint32_t newest
        uint32_t count
        uint32_t size
        uint32_t max
        uint32_t allowed
        uint32_t keep
        uint32_t fields_max
        uint32_t list_max
        uint32_t fields
        uint32_t list_size
        uint32_t unknown
        uint8_t unsure
        uint8_t max_known
        uint8_t begun
        uint8_t referenced
        uint8_t over
        uint8_t failed
        uint8_t settings_lost

# keep: bytes of entries that are kept at most; fields_max, list_max (bytes of names and values, 32 more for each): what is
# given out of one block. Beyond them the block is read all the same, since the table depends on it.
cdef void hpack_init(oisp_hpack* h, size_t keep, size_t fields_max, size_t list_max) noexcept nogil
# Says that a block begins, then hpack_feed reads it: FIELD tokens, whose offset is the place in the block. `size` is all the
# rest of the block, `used` how much was read.
#   OK: all of it. FULL: `out` is full; call again with the rest. MORE: the block ends inside a field. BAD: stays until reset.
# Tokens point into `data`, the table, or `work`, which is overwritten by each call; never into two generations of either.
cdef void hpack_begin(oisp_hpack* h) noexcept nogil
cdef oisp_status hpack_feed(oisp_hpack* h, const uint8_t* data, size_t size, oisp_buffer* work, oisp_tokens* out,
                            size_t* used) noexcept nogil
# Blocks were lost: from here on an entry is known only if it was inserted after them. Positions count from the newest entry,
# so that a reference to one of those is certain, and any other is not; it is counted in `unknown`, and no token is given.
cdef void hpack_lost(oisp_hpack* h) noexcept nogil
# SETTINGS_HEADER_TABLE_SIZE as the decoding peer announced it; it may be said late, or several times.
cdef void hpack_allow(oisp_hpack* h, uint32_t size) noexcept nogil
# SETTINGS of that peer were lost: any size may have been allowed.
cdef void hpack_allow_any(oisp_hpack* h) noexcept nogil
# Gives back what only tokens of the last call need.
cdef void hpack_release(oisp_hpack* h) noexcept nogil
cdef void hpack_reset(oisp_hpack* h) noexcept nogil
cdef void hpack_free(oisp_hpack* h) noexcept nogil
# Bytes allocated.
cdef size_t hpack_memory(const oisp_hpack* h) noexcept nogil
