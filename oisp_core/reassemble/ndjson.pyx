# SPDX-License-Identifier: Apache-2.0
"""JSON values one after the other: NDJSON, and JSON arrays that stream.

What it is not: a JSON parser. It finds where values begin and end, by brackets and strings; whether a value is valid is for
what reads it. It asks for white space between values, not for line ends, so that values printed over several lines are read
as well; a line end inside a string, which JSON does not allow, ends a broken value so that the next line is read again.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from oisp_core.reassemble.face cimport Parser
from oisp_core.simd.scan cimport scan_best
from oisp_core.types cimport (
    OISP_BAD,
    OISP_FULL,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    OISP_TOKEN_EVENT,
    OISP_TOKEN_GAP,
    oisp_buffer,
    oisp_buffer_append,
    oisp_buffer_free,
    oisp_buffer_wipe,
    oisp_scan,
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_push,
)

cdef const oisp_scan* scan = scan_best()

cdef enum:
    PLACE_START = 0    # before anything (array: before its bracket)
    PLACE_VALUE = 1    # a value may begin: ndjson.h knows these two
    PLACE_INSIDE = 2   # inside a value
    PLACE_AFTER = 3    # array: after a value, before its comma
    PLACE_CLOSED = 4   # array: after its bracket; white space only

cdef enum:
    INSIDE_NESTED = 0  # an object or array
    INSIDE_STRING = 1
    INSIDE_SCALAR = 2  # number, true, false, null

cdef enum:
    EVENT_UNENDED = 1
    EVENT_CUT = 2
    EVENT_BROKEN = 8
    KEEP = 4096        # a buffer up to this size is kept for the next value


cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == c' ' or c == c'\n' or c == c'\r' or c == c'\t'


cdef oisp_status fail(oisp_ndjson* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    return status


# What the tokens of the last call pointed to.
cdef inline void release(oisp_ndjson* p) noexcept nogil:
    if not p.given:
        return
    p.given = 0
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


# What stands between values. OISP_OK: at `pos` a value begins; OISP_MORE: the input is used up.
cdef oisp_status between(oisp_ndjson* p, const uint8_t* d, size_t size, size_t* pos) noexcept nogil:
    cdef size_t i = pos[0]
    cdef uint8_t c
    while i < size:
        c = d[i]
        if is_space(c):
            i += 1
            continue
        pos[0] = i
        if p.place == PLACE_VALUE and c != c',' and c != c']' and c != c'}':
            return OISP_OK
        if not p.array:
            if p.place != PLACE_START or c == c',' or c == c']' or c == c'}':
                return fail(p, OISP_BAD)
            p.place = PLACE_VALUE
            continue
        if p.place == PLACE_START and c == c'[':
            p.place = PLACE_VALUE
        elif p.place == PLACE_AFTER and c == c',':
            p.place = PLACE_VALUE
        elif (p.place == PLACE_AFTER or p.place == PLACE_VALUE) and c == c']':
            p.place = PLACE_CLOSED
        else:
            return fail(p, OISP_BAD)
        i += 1
    pos[0] = i
    return OISP_MORE


cdef inline void begin_value(oisp_ndjson* p, uint8_t c, uint64_t offset) noexcept nogil:
    p.place = PLACE_INSIDE
    p.depth = 0
    p.escaped = 0
    p.start = offset
    p.inside = INSIDE_SCALAR
    if c == c'"':
        p.inside = INSIDE_STRING
    elif c == c'{' or c == c'[':
        p.inside = INSIDE_NESTED


# From `i` (for a string: after its quote) to the end of the value: the index after it, or size + 1 where the input ends first.
cdef size_t value_end(oisp_ndjson* p, const uint8_t* d, size_t size, size_t i, int* flags) noexcept nogil:
    cdef uint8_t c
    while i < size:
        if p.inside == INSIDE_SCALAR:
            if is_space(d[i]) or (p.array and (d[i] == c',' or d[i] == c']')):
                return i
            i += 1
        elif p.inside == INSIDE_STRING:
            if p.escaped:
                p.escaped = 0
                i += 1
                continue
            i += scan.find_quote(d + i, size - i)
            if i == size:
                return size + 1
            c = d[i]
            if c == c'\n' and not p.array:
                flags[0] |= EVENT_BROKEN
                return i
            i += 1
            if c == c'\\':
                p.escaped = 1
            elif c == c'"':
                if p.depth == 0:
                    return i
                p.inside = INSIDE_NESTED
        else:
            i += scan.find_structure(d + i, size - i)
            if i == size:
                return size + 1
            c = d[i]
            i += 1
            if c == c'"':
                p.inside = INSIDE_STRING
            elif c == c'{' or c == c'[':
                p.depth += 1
            else:
                p.depth -= 1
                if p.depth == 0:
                    return i
    return size + 1


cdef inline void push_value(oisp_ndjson* p, const uint8_t* data, size_t size, int flags, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_EVENT)
    t.data = data
    t.size = <uint32_t>size
    t.offset = p.start
    t.flags = <uint16_t>flags
    p.place = PLACE_AFTER if p.array else PLACE_VALUE


# Inside a value at `pos`. OISP_OK: it was given out.
cdef oisp_status read_value(oisp_ndjson* p, const uint8_t* d, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t begin = pos[0]
    cdef bint fresh = p.held.size == 0
    cdef int flags = 0
    cdef size_t end = value_end(p, d, size, begin + (1 if fresh and p.inside == INSIDE_STRING else 0), &flags)
    cdef bint ended = end <= size
    cdef size_t taken = (end if ended else size) - begin
    if p.held.size + taken > p.value_max:
        return fail(p, OISP_LIMIT)
    if fresh and ended:
        push_value(p, d + begin, taken, flags, out)
        pos[0] = end
        return OISP_OK
    if not oisp_buffer_append(&p.held, d + begin, taken):
        return fail(p, OISP_LIMIT)
    pos[0] = begin + taken
    if not ended:
        return OISP_MORE
    push_value(p, p.held.data, p.held.size, flags, out)
    p.given = 1
    return OISP_OK


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void ndjson_init(oisp_ndjson* p, size_t value_max, bint array) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.value_max = <uint32_t>(value_max if value_max < 0x7FFFFFFF else 0x7FFFFFFF)
    p.array = array


cdef oisp_status ndjson_feed(oisp_ndjson* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef oisp_status status = OISP_OK
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    while status == OISP_OK and pos < size and not p.given and out.count < out.capacity:
        if p.skipping:
            pos += scan.find(data + pos, size - pos, c'\n')
            if pos < size:
                p.skipping = 0
            continue
        if p.place != PLACE_INSIDE:
            status = between(p, data, size, &pos)
            if status == OISP_OK:
                begin_value(p, data[pos], p.offset + pos)
        if status == OISP_OK:
            status = read_value(p, data, size, &pos, out)
    p.offset += pos
    used[0] = pos
    if p.failed or (status == OISP_OK and pos < size):
        return status
    if p.place == PLACE_INSIDE or p.skipping or (p.array and p.place != PLACE_CLOSED):
        return OISP_MORE
    return OISP_OK


cdef oisp_status ndjson_gap(oisp_ndjson* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if size == 0:
        return OISP_OK
    t = oisp_tokens_push(out, OISP_TOKEN_GAP)
    if t is NULL:
        return OISP_FULL
    t.offset = p.offset
    t.number = size
    t.flags = p.place == PLACE_INSIDE
    p.offset += size
    p.given = 1
    release(p)
    if p.array and p.place != PLACE_CLOSED:
        return fail(p, OISP_BAD)
    p.place = PLACE_VALUE
    p.skipping = 1
    return OISP_OK


cdef oisp_status ndjson_finish(oisp_ndjson* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if p.place == PLACE_INSIDE:
        if out.count == out.capacity:
            return OISP_FULL
        push_value(p, p.held.data, p.held.size, EVENT_UNENDED | (0 if p.inside == INSIDE_SCALAR else EVENT_CUT), out)
        p.given = 1
    return OISP_MORE if p.array and p.place != PLACE_CLOSED else OISP_OK


cdef void ndjson_reset(oisp_ndjson* p) noexcept nogil:
    cdef size_t value_max = p.value_max
    cdef bint array = p.array
    oisp_buffer_free(&p.held)
    ndjson_init(p, value_max, array)


cdef void ndjson_free(oisp_ndjson* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class NdjsonParser(Parser):
    cdef oisp_ndjson p

    def __cinit__(self, *, bint array=False, size_t value_max=16777216):
        ndjson_init(&self.p, value_max, array)

    def __dealloc__(self):
        ndjson_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return ndjson_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return ndjson_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return ndjson_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        ndjson_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
