# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: one body, bytes in, events out, as the WHATWG HTML standard (section 9.2) interprets a stream.

What it is not: an EventSource. `id` and `retry` steer reconnection, which an observer does not do; they are passed over, as
are comments. UTF-8 is not checked here: what reads the payload does.

It differs from the standard in one thing: an event that lacks its last blank line when the stream ends is given out and
marked, since providers end streams so and clients accept it.

Lines that add nothing (comments, `id`, blank ones outside an event) are dropped as they come. An event is the bytes from its
first line with content to its blank line; in one segment and with one data line, its token points there. Otherwise it is held
until it is whole, bounded by event_max, and the token points into `held` until the next call.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memmove, memset

from oisp_core.reassemble.face cimport Parser
from oisp_core.simd.scan cimport scan_best
from oisp_core.types cimport (
    OISP_FULL,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    OISP_TOKEN_EVENT,
    OISP_TOKEN_GAP,
    oisp_buffer,
    oisp_buffer_append,
    oisp_buffer_cut,
    oisp_buffer_free,
    oisp_buffer_reserve,
    oisp_buffer_wipe,
    oisp_scan,
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_add,
    oisp_tokens_push,
)


cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_line_run(const uint8_t* data, size_t size)
    int oisp_equal(const uint8_t* a, const uint8_t* b, size_t size)


cdef const oisp_scan* scan = scan_best()

cdef enum:
    EVENT_UNENDED = 1
    EVENT_CUT = 2
    EVENT_DOUBT = 4
    PIECE = 2048   # bytes held at once before the end of the event is looked for
    KEEP = 4096    # a buffer up to this size is kept for the next event

cdef enum:
    WALK_EVENT = 0  # a blank line ended an event; at `line` begins what follows
    WALK_NEED = 1   # the input ends inside a line or an event
    WALK_LIMIT = 2
    WALK_COPY = 3   # more than one data line: they must be joined, which input is not ours to do

cdef enum:
    CONTENT_TYPE = 1
    CONTENT_DATA = 2

# What to do about a second data line.
cdef enum:
    JOIN_REFUSE = 0
    JOIN_COUNT = 1
    JOIN_MOVE = 2

# A walk over the lines of some bytes.
ctypedef struct walk:
    const uint8_t* data
    size_t size
    size_t start      # first byte that is still needed
    size_t line       # start of the line in progress
    size_t scanned    # no line end before it
    int join
    int content       # of the lines between start and line
    bint cleared      # a blank line was read that ended no event
    const uint8_t* type
    size_t type_size
    const uint8_t* payload
    size_t payload_size
    size_t payloads


cdef inline void begin(walk* w, const uint8_t* data, size_t size, size_t start, int join) noexcept nogil:
    memset(w, 0, sizeof(w[0]))
    w.data = data
    w.size = size
    w.start = start
    w.line = start
    w.scanned = start
    w.join = join


# A line with content is `data` or `event`, alone or followed by a colon and one optional blank.
cdef inline int take_line(walk* w, size_t end) noexcept nogil:
    cdef const uint8_t* d = w.data + w.line
    cdef size_t n = end - w.line
    cdef size_t name = 0
    if n >= 4 and memcmp(d, b"data", 4) == 0:
        name = 4
    elif n >= 5 and memcmp(d, b"event", 5) == 0:
        name = 5
    if name == 0 or (n > name and d[name] != c':'):
        return 0
    d += name
    n -= name
    if n:
        d += 1
        n -= 1
        if n and d[0] == c' ':
            d += 1
            n -= 1
    if name == 5:
        w.content |= CONTENT_TYPE
        w.type = d
        w.type_size = n
        return 0
    w.content |= CONTENT_DATA
    w.payloads += 1
    if w.payloads > 1:
        return join(w, d, n)
    w.payload = d
    w.payload_size = n
    return 0


cdef int join(walk* w, const uint8_t* d, size_t n) noexcept nogil:
    cdef uint8_t* end
    if w.join == JOIN_REFUSE:
        return WALK_COPY
    if w.join == JOIN_MOVE:
        end = <uint8_t*>w.payload + w.payload_size
        end[0] = c'\n'
        memmove(end + 1, d, n)
        w.payload_size += n + 1
    return 0


# To the end of the next event, or of the input. Lines before an event are dropped: `start` moves over them.
cdef inline int walk_event(walk* w, size_t event_max) noexcept nogil:
    cdef size_t end
    cdef size_t after
    while True:
        end = w.scanned + scan.find_eol(w.data + w.scanned, w.size - w.scanned)
        w.scanned = end
        if end == w.size:
            return WALK_NEED
        after = end + 1
        if w.data[end] == c'\r':
            if after < w.size:
                after += w.data[after] == c'\n'
            elif end != w.line:
                return WALK_NEED  # a LF that follows belongs to this line; after a blank line it would be one more
        if end + 1 - w.start > event_max:  # without a LF after CR, which may come later
            return WALK_LIMIT
        if end != w.line:
            if take_line(w, end) == WALK_COPY:
                return WALK_COPY
        elif w.content & CONTENT_DATA:
            w.line = after
            w.scanned = after
            return WALK_EVENT
        else:
            w.content = 0
            w.type_size = 0
            w.cleared = True
        w.line = after
        w.scanned = after
        if not w.content:
            w.start = after


# ---- giving out ----------------------------------------------------------------------------------------------------------

cdef inline void push_event(oisp_sse* p, const walk* w, uint64_t base, int flags, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_EVENT)
    t.name = w.type
    t.name_size = <uint32_t>w.type_size
    t.data = w.payload
    t.size = <uint32_t>w.payload_size
    t.offset = base + <size_t>(w.payload - w.data)
    t.flags = <uint16_t>(flags | (EVENT_DOUBT if p.doubt else 0))
    p.doubt = 0


# What the tokens of the last call pointed to.
cdef inline void release(oisp_sse* p) noexcept nogil:
    if p.holding or p.held.data is NULL:
        return
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


cdef oisp_status fail(oisp_sse* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    p.holding = 0
    return status


# The lines of the held event; its last one may lack its end.
cdef void walk_held(oisp_sse* p, walk* w, size_t start, size_t size, int join) noexcept nogil:
    begin(w, p.held.data, size, start, join)
    if walk_event(w, size) == WALK_NEED and w.line < size:
        take_line(w, w.scanned)


# The event that `held` holds from `start` on. Its data lines are joined in place; a type that stands after the first of them
# would be overwritten, so it is copied behind first.
cdef oisp_status give_held(oisp_sse* p, size_t start, uint64_t after, int flags, oisp_tokens* out) noexcept nogil:
    cdef walk w
    cdef size_t size = p.held.size
    p.holding = 0
    walk_held(p, &w, start, size, JOIN_COUNT)
    if w.payloads == 0:
        return OISP_OK
    if w.payloads > 1:
        if w.type_size:
            if not oisp_buffer_reserve(&p.held, w.type_size):
                return fail(p, OISP_LIMIT)
            walk_held(p, &w, start, size, JOIN_COUNT)
            oisp_buffer_append(&p.held, w.type, w.type_size)
        walk_held(p, &w, start, size, JOIN_MOVE)
        w.type = p.held.data + size
    push_event(p, &w, after - size, flags, out)
    return OISP_OK


# ---- reading -------------------------------------------------------------------------------------------------------------

# Takes input into `held` until an event is whole. OISP_FULL: one was given out, or nothing is in progress any more.
cdef oisp_status gather(oisp_sse* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef walk w
    cdef size_t n
    cdef int answer
    while pos[0] < size:
        n = size - pos[0]
        n = PIECE if n > PIECE else n
        if not oisp_buffer_append(&p.held, data + pos[0], n):
            return fail(p, OISP_LIMIT)
        pos[0] += n
        begin(&w, p.held.data, p.held.size, 0, JOIN_COUNT)
        w.line = p.line
        w.scanned = p.scanned
        w.content = p.content
        answer = WALK_NEED
        if p.started or pass_mark(p, &w):
            answer = walk_event(&w, p.event_max)
        if w.cleared:
            p.doubt = 0
        if answer == WALK_LIMIT:
            return fail(p, OISP_LIMIT)
        if answer == WALK_EVENT:
            pos[0] -= p.held.size - w.line
            oisp_buffer_cut(&p.held, <uint32_t>w.line)
            return give_held(p, w.start, p.offset + pos[0], 0, out)
        drop_front(p, &w)
        if p.held.size > p.event_max:
            return fail(p, OISP_LIMIT)
        if p.held.size == 0:
            p.holding = 0
            return OISP_OK
    return OISP_MORE


cdef void drop_front(oisp_sse* p, const walk* w) noexcept nogil:
    if w.start:
        memmove(p.held.data, p.held.data + w.start, p.held.size - w.start)
        oisp_buffer_cut(&p.held, p.held.size - <uint32_t>w.start)
    p.line = <uint32_t>(w.line - w.start)
    p.scanned = <uint32_t>(w.scanned - w.start)
    p.content = <uint8_t>w.content


# A byte order mark before everything. 0: the input ends inside what may be one.
cdef bint pass_mark(oisp_sse* p, walk* w) noexcept nogil:
    cdef size_t n = w.size - w.start
    if memcmp(w.data + w.start, b"\xef\xbb\xbf", n if n < 3 else 3) != 0:
        p.started = 1
        return True
    if n < 3:
        return False
    p.started = 1
    w.start += 3
    w.line = w.start
    w.scanned = w.start
    return True


# After a gap: to the end of a line of which the start is missing.
cdef bint skip_line(oisp_sse* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    cdef size_t i = pos[0]
    if p.skipping == 1:
        i += scan.find_eol(data + i, size - i)
        if i < size:
            p.skipping = 2 if data[i] == c'\r' else 0
            i += 1
    if p.skipping == 2 and i < size:
        i += data[i] == c'\n'
        p.skipping = 0
    pos[0] = i
    return p.skipping == 0


# The line `event: type` at the start of `d`, which has more bytes than eight; `last` is the line of the event before. Gives its
# size with the LF, or 0 where it is anything else (or not whole). That a stream repeats its type is tried first: where the next
# line begins is then known without looking for it.
cdef inline size_t type_line(const uint8_t* d, size_t size, const uint8_t* last, size_t last_size) noexcept nogil:
    cdef size_t n
    if last_size and last_size <= size and oisp_equal(d, last, last_size):
        return last_size
    if memcmp(d, b"event: ", 7) != 0:
        return 0
    n = 7 + oisp_line_run(d + 7, size - 7)
    return n + 1 if n < size and d[n] == c'\n' else 0


# The usual events, in one loop: `event: ` or not, one `data: `, a blank line, all with LF and all in the input. Gives the index
# after them; there is something else, or no room.
cdef inline size_t plain_events(oisp_sse* p, const uint8_t* d, size_t size, size_t at, oisp_tokens* out) noexcept nogil:
    cdef size_t i, n
    cdef size_t kind_size = 0  # with `event: ` and LF
    cdef const uint8_t* kind = NULL
    while size - at > 8 and out.count < out.capacity:
        i = at
        if d[i] == c'e':
            kind_size = type_line(d + i, size - i, kind, kind_size)
            if kind_size == 0:
                break
            kind = d + i
            i += kind_size
        if size - i < 8 or memcmp(d + i, b"data: ", 6) != 0:
            break
        i += 6
        n = scan.find_eol(d + i, size - i)
        if size - i < n + 2 or d[i + n] != c'\n' or d[i + n + 1] != c'\n' or i + n + 2 - at > p.event_max:
            break
        if d[at] == c'e':
            oisp_tokens_add(out, OISP_TOKEN_EVENT, p.offset + i, kind + 7, <uint32_t>kind_size - 8, d + i, <uint32_t>n)
        else:
            oisp_tokens_add(out, OISP_TOKEN_EVENT, p.offset + i, NULL, 0, d + i, <uint32_t>n)
        at = i + n + 2
    return at


# Events that lie whole in the input; what remains of it is held.
cdef oisp_status read_events(oisp_sse* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef walk w
    cdef int answer = WALK_NEED
    if p.started and not p.doubt:
        pos[0] = plain_events(p, data, size, pos[0], out)
    if pos[0] == size or out.count == out.capacity:
        return OISP_OK
    begin(&w, data, size, pos[0], JOIN_REFUSE)
    if p.started or pass_mark(p, &w):
        answer = walk_event(&w, p.event_max)
    while answer == WALK_EVENT:
        if w.cleared:
            p.doubt = 0
        push_event(p, &w, p.offset, 0, out)
        w.start = w.line
        w.content = 0
        w.payloads = 0
        w.type_size = 0
        w.cleared = False
        if out.count == out.capacity:
            pos[0] = w.start
            return OISP_OK
        answer = walk_event(&w, p.event_max)
    pos[0] = w.start
    if answer == WALK_LIMIT:
        return fail(p, OISP_LIMIT)
    if w.cleared:
        p.doubt = 0
    if w.start == size:
        return OISP_OK
    p.holding = 1
    p.line = 0
    p.scanned = 0
    p.content = 0
    return gather(p, data, size, pos, out)


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void sse_init(oisp_sse* p, size_t event_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.event_max = <uint32_t>(event_max if event_max < 0x7FFFFFFF else 0x7FFFFFFF)


cdef oisp_status sse_feed(oisp_sse* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef oisp_status status = OISP_OK
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    if out.count == out.capacity:
        return OISP_OK
    if p.skipping == 0 or skip_line(p, data, size, &pos):
        if p.holding:
            status = gather(p, data, size, &pos, out)
        if not p.failed and not p.holding and p.held.size == 0 and pos < size:
            status = read_events(p, data, size, &pos, out)
    p.offset += pos
    used[0] = pos
    if p.failed or pos < size:
        return status
    return OISP_MORE if p.holding or p.skipping else OISP_OK


cdef oisp_status sse_gap(oisp_sse* p, uint64_t size, oisp_tokens* out) noexcept nogil:
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
    t.flags = p.holding
    p.holding = 0
    release(p)
    p.offset += size
    p.started = 1
    p.skipping = 1
    p.doubt = 1
    return OISP_OK


cdef oisp_status sse_finish(oisp_sse* p, oisp_tokens* out) noexcept nogil:
    cdef int flags = EVENT_UNENDED
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if not p.holding:
        return OISP_OK
    if out.count == out.capacity:
        return OISP_FULL
    if p.line < p.held.size and p.held.data[p.held.size - 1] != c'\r':
        flags |= EVENT_CUT
    return give_held(p, 0, p.offset, flags, out)


cdef void sse_reset(oisp_sse* p) noexcept nogil:
    cdef size_t event_max = p.event_max
    oisp_buffer_free(&p.held)
    sse_init(p, event_max)


cdef void sse_free(oisp_sse* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class SseParser(Parser):
    cdef oisp_sse p

    def __cinit__(self, *, size_t event_max=16777216):
        sse_init(&self.p, event_max)

    def __dealloc__(self):
        sse_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return sse_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return sse_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return sse_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        sse_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
