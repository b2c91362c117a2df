# SPDX-License-Identifier: Apache-2.0
"""Boundaries of HTTP/1 messages in bytes whose framing was lost.

A segment that begins with a whole valid head is one at once: programs write a message's head in a call of its own, or with
its body behind it. Elsewhere three messages, each of which ends where the next one begins, are needed: a body may quote a
head. What was kept counts from the first of them. At the end of the connection fewer do, and the caller says so.

Bounds: HELD_MAX bytes are kept, a longer stretch without a boundary is given up from its start.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memmove, memset

from oisp_core.reassemble.http1 cimport http1_feed, http1_free, http1_init, http1_probe, oisp_http1
from oisp_core.types cimport (
    OISP_MORE, OISP_OK, OISP_TOKEN_HEAD_END, OISP_TOKEN_RESPONSE, oisp_buffer_append, oisp_buffer_free,
    oisp_limits, oisp_status, oisp_token, oisp_tokens,
)

cdef enum:
    CONSISTENT = 3         # messages that confirm a place which no segment begins with
    HELD_MAX = 1 << 17
    METHODS = 8
    ROOM = 64

cdef const char** METHOD_WORDS = [b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"CONNECT "]


cdef oisp_resync* resync_new() noexcept nogil:
    return <oisp_resync*> calloc(1, sizeof(oisp_resync))


cdef void resync_free(oisp_resync* r) noexcept nogil:
    if r != NULL:
        oisp_buffer_free(&r.bytes)
        oisp_buffer_free(&r.marks)
        free(r)


cdef bint is_word(const uint8_t* d, size_t size, const char* word) noexcept nogil:
    cdef size_t i = 0
    while word[i]:
        if i >= size or d[i] != <uint8_t> word[i]:
            return False
        i += 1
    return True


cdef bint may_begin(int role, const uint8_t* d, size_t size) noexcept nogil:
    """A start line's first word, as far as it is there."""
    cdef int i
    if role == OISP_TOKEN_RESPONSE:
        return memcmp(d, b"HTTP/1.", size if size < 7 else 7) == 0
    for i in range(METHODS):
        if is_word(d, size, METHOD_WORDS[i]):
            return True
    return False


cdef uint32_t candidate(int role, const uint8_t* d, uint32_t size, uint32_t at) noexcept nogil:
    """The next place at or after `at` where a head may begin, or `size`."""
    cdef uint8_t c
    while at < size:
        c = d[at]
        if (c == c"H" or (role != OISP_TOKEN_RESPONSE and 65 <= c <= 90)) and may_begin(role, d + at, size - at) \
                and http1_probe(role, d + at, size - at) in (OISP_OK, OISP_MORE):
            return at
        at += 1
    return size


cdef int heads_from(int role, const oisp_limits* limits, const uint8_t* data, size_t size) noexcept nogil:
    """Messages in a row from data[0]: how many heads were whole, or -1: it is none, or the row breaks off before the third."""
    cdef oisp_http1 parser
    cdef oisp_token room[ROOM]
    cdef oisp_tokens tokens
    cdef oisp_status status = OISP_OK
    cdef size_t used = 0
    cdef uint32_t i
    cdef int heads = 0
    memset(&parser, 0, sizeof(parser))
    http1_init(&parser, role, limits.head_bytes, limits.head_fields)
    tokens.at = room
    tokens.capacity = ROOM
    while status == OISP_OK and heads < CONSISTENT:
        tokens.count = 0
        status = http1_feed(&parser, data, size, &tokens, &used)
        for i in range(tokens.count):
            heads += room[i].kind == OISP_TOKEN_HEAD_END
        data += used
        size -= used
        if size == 0 and tokens.count == 0:
            break
    http1_free(&parser)
    if heads < CONSISTENT and status != OISP_OK and status != OISP_MORE:
        return -1
    return heads


cdef int64_t weak(oisp_resync* r, int role, const oisp_limits* limits, int least) noexcept nogil:
    """A place that `least` messages in a row confirm. `searched` stops at the first that still may be one."""
    cdef uint32_t at = r.searched
    cdef bint waits = False
    cdef int heads
    while True:
        at = candidate(role, r.bytes.data, r.bytes.size, at)
        if at >= r.bytes.size:
            break
        heads = heads_from(role, limits, r.bytes.data + at, r.bytes.size - at)
        if heads >= least:
            return at
        if heads >= 0 and not waits:
            waits = True
            r.searched = at
        at += 1
    if not waits:  # a start line may begin with the last bytes
        r.searched = r.bytes.size - 7 if r.bytes.size > r.searched + 7 else r.searched
    return -1


cdef void give_up(oisp_resync* r, uint32_t size) noexcept nogil:
    """The first `size` bytes are passed over."""
    cdef oisp_resync_mark* marks = <oisp_resync_mark*> r.marks.data
    cdef uint32_t count = r.marks.size // sizeof(oisp_resync_mark)
    cdef uint32_t i, kept = 0
    for i in range(count):
        if i + 1 < count and marks[i + 1].at <= size:
            continue
        marks[kept] = marks[i]
        marks[kept].at = marks[i].at - size if marks[i].at > size else 0
        kept += 1
    r.marks.size = kept * <uint32_t> sizeof(oisp_resync_mark)
    memmove(r.bytes.data, r.bytes.data + size, r.bytes.size - size)
    r.bytes.size -= size
    r.passed += size
    r.strong = r.strong - size if r.strong > size else 0
    r.searched = r.searched - size if r.searched > size else 0


cdef int64_t resync_take(oisp_resync* r, int role, const oisp_limits* limits, const uint8_t* data, size_t size, uint64_t ts,
                         bint begins) noexcept nogil:
    cdef oisp_resync_mark mark
    cdef oisp_status status
    cdef uint32_t at = r.bytes.size
    memset(&mark, 0, sizeof(mark))
    mark.ts = ts
    mark.at = at
    if not oisp_buffer_append(&r.bytes, data, size) or not oisp_buffer_append(&r.marks, &mark, sizeof(mark)):
        return -1
    if r.strong:
        status = http1_probe(role, r.bytes.data + r.strong - 1, r.bytes.size - r.strong + 1)
        if status == OISP_OK:
            return r.strong - 1
        if status != OISP_MORE:
            r.strong = 0
    if begins and r.strong == 0:
        status = http1_probe(role, r.bytes.data + at, r.bytes.size - at)
        if status == OISP_OK:
            return at
        if status == OISP_MORE:
            r.strong = at + 1
    if r.bytes.size - r.searched > 7:
        found = weak(r, role, limits, CONSISTENT)
        if found >= 0:
            return found
    if r.bytes.size > HELD_MAX:
        give_up(r, keep_from(r))
    return -1


cdef uint32_t keep_from(const oisp_resync* r) noexcept nogil:
    """What is before this cannot be a boundary, or has waited too long to become one."""
    cdef uint32_t at = r.searched
    if r.strong and r.strong - 1 < at:
        at = r.strong - 1
    return at if at > r.bytes.size // 2 else r.bytes.size // 2


cdef int64_t resync_last(oisp_resync* r, int role, const oisp_limits* limits) noexcept nogil:
    return weak(r, role, limits, 1)
