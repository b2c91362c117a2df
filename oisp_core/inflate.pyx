# SPDX-License-Identifier: Apache-2.0
"""Content codings of a body, undone as it comes: the one stage that takes the GIL."""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t

from oisp_core.reasons cimport OISP_COMPLETENESS_PARTIAL, REASON_ENCODING, REASON_LIMIT
from oisp_core.reassemble.content cimport Inflater, content_codings
from oisp_core.turn cimport OISP_TURN_REQUEST_CODED, OISP_TURN_RESPONSE_CODED, head_field, oisp_shared, oisp_turn
from oisp_core.types cimport (
    OISP_BAD, OISP_LIMIT, OISP_MORE, OISP_OK, oisp_confidence, oisp_head, oisp_slice, oisp_status,
)


cdef bint find_codings(oisp_turn* t, const oisp_head* head, int side) noexcept nogil:
    """False: a coding that nobody here undoes."""
    cdef oisp_slice v = head_field(head, b"content-encoding", 16)
    cdef int count = 0
    t.codings_count[side] = 0
    if v.size == 0:
        return True
    if content_codings(v.data, v.size, t.codings[side], &count) != OISP_OK:
        return False
    t.codings_count[side] = <uint8_t> count
    return True


cdef oisp_status inflate(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size) noexcept with gil:
    """What this piece gives by now goes to s.inflated. BAD: no codec, or the data is corrupt."""
    cdef Inflater inflater
    try:
        if t.inflaters[side] == NULL:
            inflater = Inflater()
            if inflater.begin(t.codings[side], t.codings_count[side], s.limits.inflate_ratio) != OISP_OK:
                return OISP_BAD
            Py_INCREF(inflater)
            t.inflaters[side] = <void*> inflater
        inflater = <Inflater> t.inflaters[side]
        return inflater.feed(data, size, &s.inflated, s.limits.body_bytes)
    except Exception:  # a codec that raises what it should not: the data is unreadable, the engine goes on
        return OISP_BAD


cdef void give_inflater(oisp_turn* t, int side) noexcept with gil:
    Py_DECREF(<object> t.inflaters[side])
    t.inflaters[side] = NULL


cdef oisp_status inflate_piece(oisp_shared* s, oisp_turn* t, int side, oisp_confidence* c, const uint8_t* data,
                               size_t size) noexcept nogil:
    """With what it says of the event when it fails: from there on the body stays coded."""
    cdef oisp_status status = inflate(s, t, side, data, size)
    if status != OISP_OK and status != OISP_MORE:
        t.flags |= OISP_TURN_RESPONSE_CODED if side else OISP_TURN_REQUEST_CODED
        c.reasons |= REASON_LIMIT if status == OISP_LIMIT else REASON_ENCODING
        c.completeness = OISP_COMPLETENESS_PARTIAL
        if status == OISP_LIMIT:
            s.count.limits += 1
            c.over_limit += size
    return status
