# SPDX-License-Identifier: Apache-2.0
"""Content codings of bodies: pieces are parked in C and undone together, with the GIL taken once.

What it is not: a judge of when. message.pyx asks for it before anything is told that may depend on what is parked, and at the
end of a batch.
"""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from oisp_core.reassemble.content cimport Inflater, content_codings
from oisp_core.turn cimport head_field, oisp_parked, oisp_shared, oisp_turn
from oisp_core.types cimport (
    OISP_BAD, OISP_OK, oisp_buffer_append, oisp_buffer_reserve, oisp_head, oisp_slice, oisp_status,
)

cdef enum:
    BATCH_MAX = 4 << 20  # of output: more is undone in the next round


cdef inline bint is_grpc(oisp_slice type) noexcept nogil:
    cdef const char* word = b"application/grpc"
    cdef uint32_t i
    if type.size < 16:
        return False
    for i in range(16):
        if type.data[i] | 32 != <uint8_t> word[i] | 32:
            return False
    return True


cdef bint find_codings(oisp_turn* t, const oisp_head* head, int side) noexcept nogil:
    """False: a coding that nobody here undoes. gRPC compresses each message by itself, and names that in a field of its own."""
    cdef oisp_slice v
    cdef int count = 0
    t.codings_count[side] = 0
    t.by_message[side] = is_grpc(head_field(head, b"content-type", 12))
    if t.by_message[side]:
        v = head_field(head, b"grpc-encoding", 13)
    else:
        v = head_field(head, b"content-encoding", 16)
    if v.size == 0:
        return True
    if content_codings(v.data, v.size, t.codings[side], &count) != OISP_OK:
        return t.by_message[side]
    t.codings_count[side] = <uint8_t> count
    return True


cdef Inflater inflater_of(oisp_shared* s, oisp_turn* t, int side):
    """None: no codec for one of its codings."""
    cdef Inflater inflater
    if t.inflaters[side] == NULL:
        inflater = Inflater()
        if inflater.begin(t.codings[side], t.codings_count[side], s.limits.inflate_ratio) != OISP_OK:
            return None
        Py_INCREF(inflater)
        t.inflaters[side] = <void*> inflater
    return <Inflater> t.inflaters[side]


cdef bint park(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """A copy of the piece waits for the next batch."""
    cdef oisp_parked entry
    cdef size_t padded = (size + 7) & ~(<size_t> 7)
    memset(&entry, 0, sizeof(entry))
    entry.turn = t
    entry.ts = ts
    entry.size = <uint32_t> size
    entry.side = <uint8_t> side
    if not oisp_buffer_reserve(&s.parked, sizeof(entry) + padded):
        return False
    oisp_buffer_append(&s.parked, &entry, sizeof(entry))
    oisp_buffer_append(&s.parked, data, size)
    s.parked.size += <uint32_t> (padded - size)
    s.held += sizeof(entry) + padded
    t.parked += 1
    return True


cdef void inflate_one(oisp_shared* s, oisp_parked* entry, const uint8_t* data):
    cdef Inflater inflater
    cdef uint32_t before = s.inflated.size
    entry.status = OISP_BAD
    try:
        inflater = inflater_of(s, entry.turn, entry.side)
        if inflater is not None:
            entry.status = <uint8_t> inflater.feed(data, entry.size, &s.inflated, s.limits.body_bytes)
    except Exception:  # a codec that raises what it should not: the data is unreadable, the engine goes on
        pass
    entry.made = s.inflated.size - before


cdef uint32_t inflate_parked(oisp_shared* s, uint32_t at) noexcept with gil:
    """Entries from `at` on to s.inflated, one after the other, with what each gave noted in it. Answers where the next
    round begins."""
    cdef oisp_parked* entry
    while at < s.parked.size and s.inflated.size < BATCH_MAX:
        entry = <oisp_parked*> (s.parked.data + at)
        inflate_one(s, entry, s.parked.data + at + sizeof(oisp_parked))
        at += <uint32_t> sizeof(oisp_parked) + ((entry.size + 7) & ~(<uint32_t> 7))
    return at


cdef oisp_status inflate_message(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size) noexcept with gil:
    """One message that is compressed by itself, to s.inflated."""
    cdef Inflater inflater
    cdef oisp_status status = OISP_BAD
    try:
        inflater = inflater_of(s, t, side) if t.codings_count[side] else None
        if inflater is not None:
            status = inflater.feed(data, size, &s.inflated, s.limits.body_bytes)
    except Exception:  # as above
        status = OISP_BAD
    if t.inflaters[side] != NULL:
        give_inflater(t, side)
    return status


cdef void give_inflater(oisp_turn* t, int side) noexcept with gil:
    Py_DECREF(<object> t.inflaters[side])
    t.inflaters[side] = NULL
