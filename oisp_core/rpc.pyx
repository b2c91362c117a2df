# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC 2.0 in lines: MCP over the standard streams of a server process.

The specification (2025-11-25, transports, stdio): one message a line, UTF-8, no newline inside; the client writes to the
server's standard input, the server to its standard output. A request and the answer with its id are one exchange, read by
the same dialect as over HTTP. Only what a dialect reads is held: `initialize`, which names both sides, and `tools/call`;
every other request is counted. A batch (an array, 2025-03-26) is read message by message.

Bounds: a line of at most body_bytes, `pipeline` calls that wait for an answer.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memset

from oisp_core.message cimport (
    OISP_END_CUT, oisp_hash, oisp_origin, oisp_shared, oisp_turn, turn_free, turn_new, turn_request_data, turn_request_end,
    turn_request_head, turn_response_data, turn_response_end, turn_response_gap, turn_response_head,
)
from oisp_core.types cimport (
    OISP_EVIDENCE_HEADER, OISP_EVIDENCE_PATH, oisp_buffer, oisp_buffer_append, oisp_buffer_free, oisp_buffer_wipe, oisp_field,
    oisp_head, oisp_slice,
)

cdef enum:
    SENT = 0
    RECEIVED = 1
    DEPTH_MAX = 512  # of a document that is walked over
    NOT_JSON = -1


# What is looked at in a message, before anybody decodes it.
cdef struct envelope:
    oisp_slice id
    oisp_slice method
    bint answers  # it has a result or an error


# --- walking over JSON: where values end, not what they are ---


cdef inline size_t blanks(const uint8_t* d, size_t at, size_t size) noexcept nogil:
    while at < size and (d[at] == c" " or d[at] == c"\t" or d[at] == c"\r" or d[at] == c"\n"):
        at += 1
    return at


cdef Py_ssize_t after_string(const uint8_t* d, size_t at, size_t size) noexcept nogil:
    """d[at] is the opening quote. Behind the closing one, or NOT_JSON."""
    at += 1
    while at < size:
        if d[at] == c"\\":
            at += 1
        elif d[at] == c'"':
            return at + 1
        at += 1
    return NOT_JSON


cdef Py_ssize_t after_value(const uint8_t* d, size_t at, size_t size) noexcept nogil:
    cdef uint32_t depth = 0
    cdef Py_ssize_t end
    cdef uint8_t c
    while at < size:
        c = d[at]
        if c == c'"':
            end = after_string(d, at, size)
            if end < 0:
                return NOT_JSON
            at = <size_t> end
            if depth == 0:
                return at
            continue
        if c == c"{" or c == c"[":
            depth += 1
            if depth > DEPTH_MAX:
                return NOT_JSON
        elif c == c"}" or c == c"]":
            if depth == 0:
                return at
            depth -= 1
            if depth == 0:
                return at + 1
        elif depth == 0 and (c == c"," or c == c" " or c == c"\t" or c == c"\r" or c == c"\n"):
            return at
        at += 1
    return NOT_JSON


cdef inline bint is_text(oisp_slice s, const char* word, uint32_t size) noexcept nogil:
    return s.size == size and memcmp(s.data, word, size) == 0


cdef inline oisp_slice slice_of(const uint8_t* d, size_t start, size_t end) noexcept nogil:
    cdef oisp_slice s
    s.data, s.size = d + start, <uint32_t> (end - start)
    return s


cdef bint open_envelope(const uint8_t* d, size_t size, envelope* m) noexcept nogil:
    """The members of a message that say what it is. False: no object."""
    cdef size_t at = blanks(d, 0, size), start
    cdef Py_ssize_t end
    cdef oisp_slice key, value
    memset(m, 0, sizeof(envelope))
    if at >= size or d[at] != c"{":
        return False
    at = blanks(d, at + 1, size)
    while at < size and d[at] == c'"':
        end = after_string(d, at, size)
        if end < 0:
            return False
        key = slice_of(d, at, end)
        at = blanks(d, end, size)
        if at >= size or d[at] != c":":
            return False
        start = blanks(d, at + 1, size)
        end = after_value(d, start, size)
        if end < 0 or <size_t> end == start:
            return False
        value = slice_of(d, start, end)
        if is_text(key, b'"id"', 4):
            m.id = value
        elif is_text(key, b'"method"', 8):
            m.method = value
        elif is_text(key, b'"result"', 8) or is_text(key, b'"error"', 7):
            m.answers = True
        at = blanks(d, end, size)
        if at < size and d[at] == c",":
            at = blanks(d, at + 1, size)
    return at < size and d[at] == c"}"


# --- calls that wait ---


cdef void unlink(oisp_rpc* q, oisp_turn* before, oisp_turn* t) noexcept nogil:
    if before == NULL:
        q.first = t.next
    else:
        before.next = t.next
    if q.last == t:
        q.last = before
    t.next = NULL
    q.waiting -= 1


cdef void give_up(oisp_shared* s, oisp_rpc* q, uint64_t ts, int ends) noexcept nogil:
    """The oldest call gets no answer any more."""
    cdef oisp_turn* t = q.first
    unlink(q, NULL, t)
    turn_response_end(s, t, ts, ends)
    turn_free(s, t)


cdef uint64_t id_hash(const oisp_shared* s, oisp_slice id) noexcept nogil:
    return oisp_hash(s.hash_key, id.data, id.size)


cdef void asked(oisp_shared* s, oisp_rpc* q, const oisp_origin* origin, const envelope* m, const uint8_t* data, size_t size,
                uint64_t ts) noexcept nogil:
    """Streamable HTTP would post this message to /mcp: so it is matched, and what no head said here is taken back."""
    cdef oisp_turn* t
    cdef oisp_head head
    cdef oisp_field accepts
    if not is_text(m.method, b'"tools/call"', 12) and not is_text(m.method, b'"initialize"', 12):
        s.count.requests += 1
        return
    if q.waiting >= s.limits.pipeline:
        s.count.limits += 1
        give_up(s, q, ts, OISP_END_CUT)
    t = turn_new(s, origin)
    if t == NULL:
        s.count.events_lost += 1
        return
    memset(&head, 0, sizeof(head))
    accepts.name.data, accepts.name.size = b"accept", 6
    accepts.value.data, accepts.value.size = b"text/event-stream", 17
    head.method.data, head.method.size = b"POST", 4
    head.target.data, head.target.size = b"/mcp", 4
    head.fields, head.fields_count = &accepts, 1
    head.plaintext = 1
    turn_request_head(s, t, &head, size, ts)
    turn_request_data(s, t, data, size, ts)
    t.verdict.evidence &= ~(OISP_EVIDENCE_PATH | OISP_EVIDENCE_HEADER)
    turn_request_end(s, t, ts, 0)
    t.thread_key = id_hash(s, m.id)
    if q.last != NULL:
        q.last.next = t
    else:
        q.first = t
    q.last = t
    q.waiting += 1


cdef void answered(oisp_shared* s, oisp_rpc* q, const envelope* m, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef oisp_turn* t = q.first
    cdef oisp_turn* before = NULL
    cdef uint64_t key = id_hash(s, m.id)
    cdef oisp_head head
    while t != NULL and t.thread_key != key:
        before = t
        t = t.next
    if t == NULL:  # nearly always of a request that is only counted
        s.count.unpaired_responses += q.lost
        return
    unlink(q, before, t)
    memset(&head, 0, sizeof(head))
    head.status = 200
    turn_response_head(s, t, &head, size, ts)
    turn_response_data(s, t, data, size, ts)
    turn_response_end(s, t, ts, 0)
    turn_free(s, t)


# --- lines ---


cdef void take_message(oisp_shared* s, oisp_rpc* q, const oisp_origin* origin, int side, const uint8_t* data, size_t size,
                       uint64_t ts) noexcept nogil:
    cdef envelope m
    if not open_envelope(data, size, &m):
        s.count.bad += 1
    elif m.id.size == 0:
        return  # a notification
    elif side == SENT and m.method.size:
        asked(s, q, origin, &m, data, size, ts)
    elif side == RECEIVED and m.answers:
        answered(s, q, &m, data, size, ts)


cdef void take_line(oisp_shared* s, oisp_rpc* q, const oisp_origin* origin, int side, const uint8_t* data, size_t size,
                    uint64_t ts) noexcept nogil:
    cdef size_t at = blanks(data, 0, size)
    cdef Py_ssize_t end
    if at >= size:
        return
    if data[at] != c"[":
        take_message(s, q, origin, side, data, size, ts)
        return
    at = blanks(data, at + 1, size)
    while at < size and data[at] != c"]":
        end = after_value(data, at, size)
        if end < 0 or <size_t> end == at:
            s.count.bad += 1
            return
        take_message(s, q, origin, side, data + at, end - at, ts)
        at = blanks(data, end, size)
        if at < size and data[at] == c",":
            at = blanks(data, at + 1, size)


cdef void keep(oisp_shared* s, oisp_rpc* q, int side, const uint8_t* data, size_t size) noexcept nogil:
    """A piece of a line that is not whole yet."""
    cdef oisp_buffer* b = &q.line[side]
    if size == 0 or q.skip[side]:
        return
    if b.size + size <= s.limits.body_bytes and s.held + size <= s.limits.total_bytes and oisp_buffer_append(b, data, size):
        s.held += size
        return
    s.count.limits += 1
    s.count.over_limit_bytes += b.size + size
    drop_line(s, q, side)
    q.skip[side] = 1


cdef void drop_line(oisp_shared* s, oisp_rpc* q, int side) noexcept nogil:
    s.held -= q.line[side].size
    oisp_buffer_wipe(&q.line[side])


cdef void rpc_data(oisp_shared* s, oisp_rpc* q, const oisp_origin* origin, int side, const uint8_t* data, size_t size,
                   uint64_t ts) noexcept nogil:
    cdef const uint8_t* found
    cdef size_t n
    while size:
        found = <const uint8_t*> memchr(data, c"\n", size)
        if found == NULL:
            keep(s, q, side, data, size)
            return
        n = found - data
        if q.line[side].size:
            keep(s, q, side, data, n)
        if q.skip[side]:
            q.skip[side] = 0
        elif q.line[side].size:
            take_line(s, q, origin, side, q.line[side].data, q.line[side].size, ts)
        else:
            take_line(s, q, origin, side, data, n, ts)
        drop_line(s, q, side)
        data += n + 1
        size -= n + 1


# --- the border ---


cdef oisp_rpc* rpc_new() noexcept nogil:
    return <oisp_rpc*> calloc(1, sizeof(oisp_rpc))


cdef void rpc_gap(oisp_shared* s, oisp_rpc* q, int side, uint64_t size) noexcept nogil:
    """Which messages were in the hole is not known: every call that waits may have had its answer there."""
    cdef oisp_turn* t = q.first
    drop_line(s, q, side)
    q.skip[side] = 1
    q.lost |= side == SENT
    while side == RECEIVED and t != NULL:
        turn_response_gap(s, t, size)
        size = 0
        t = t.next


cdef void rpc_finish(oisp_shared* s, oisp_rpc* q, uint64_t ts, int ends) noexcept nogil:
    while q.first != NULL:
        give_up(s, q, ts, ends)


cdef void rpc_free(oisp_shared* s, oisp_rpc* q) noexcept nogil:
    cdef oisp_turn* t
    cdef int side
    if q == NULL:
        return
    while q.first != NULL:
        t = q.first
        q.first = t.next
        turn_free(s, t)
    for side in range(2):
        drop_line(s, q, side)
        oisp_buffer_free(&q.line[side])
    free(q)
