# SPDX-License-Identifier: Apache-2.0
"""WebSocket frames to messages: one direction, after the upgrade (RFC 6455 section 5).

What it is not: an endpoint. Either direction may be masked or not, since which of them is the client's is the caller's to
know, and UTF-8 is for what reads the text. Compressed messages are given out as they are and marked: their window goes from
message to message, and inflating is the stage that takes the GIL.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from oisp_core.reassemble.face cimport Parser
from oisp_core.types cimport (
    OISP_BAD,
    OISP_FULL,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    OISP_TOKEN_END,
    OISP_TOKEN_EVENT,
    OISP_TOKEN_GAP,
    oisp_buffer,
    oisp_buffer_append,
    oisp_buffer_free,
    oisp_buffer_wipe,
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_push,
    oisp_wipe,
)

cdef enum:
    STATE_HEAD = 0
    STATE_PAYLOAD = 1
    STATE_CLOSED = 2   # a close frame was read: feed takes and gives nothing

cdef enum:
    OPCODE_CONTINUATION = 0
    OPCODE_TEXT = 1
    OPCODE_BINARY = 2
    OPCODE_CLOSE = 8
    FIN = 0x80
    RSV1 = 0x40
    MASKED = 0x80
    FLAG_COMPRESSED = 0x10
    CLOSE_NONE = 1005  # RFC 6455 section 7.4.1: no code was there
    KEEP = 4096        # a buffer up to this size is kept for the next message


cdef oisp_status fail(oisp_websocket* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    return status


# What the tokens of the last call pointed to.
cdef inline void release(oisp_websocket* p) noexcept nogil:
    if not p.given:
        return
    p.given = 0
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


# Bytes of the head whose first bytes are there.
cdef inline size_t head_size(const uint8_t* head, size_t n) noexcept nogil:
    cdef size_t size = 2
    if n < 2:
        return 2
    if head[1] & 0x7F == 126:
        size += 2
    elif head[1] & 0x7F == 127:
        size += 8
    return size + (4 if head[1] & MASKED else 0)


cdef inline bint is_control(const uint8_t* head) noexcept nogil:
    return head[0] & 0x08


# The first two bytes, as soon as they are there (sections 5.2, 5.4, 5.5).
cdef bint is_valid(const oisp_websocket* p, const uint8_t* head) noexcept nogil:
    cdef int opcode = head[0] & 0x0F
    if head[0] & 0x30 or (opcode > OPCODE_BINARY and opcode < OPCODE_CLOSE) or opcode > 10:
        return False
    if is_control(head):
        return head[0] & FIN and not head[0] & RSV1 and head[1] & 0x7F <= 125
    if opcode == OPCODE_CONTINUATION:
        return p.message != 0 and not head[0] & RSV1
    return p.message == 0


# The whole head: payload length, minimal as section 5.2 asks.
cdef bint read_length(oisp_websocket* p) noexcept nogil:
    cdef int form = p.head[1] & 0x7F
    cdef uint64_t length = 0
    cdef int i
    if form < 126:
        p.left = <uint64_t>form
        return True
    for i in range(2 if form == 126 else 8):
        length = length << 8 | p.head[2 + i]
    p.left = length
    return length > 125 if form == 126 else (length > 65535 and not length >> 63)


# The head was read.
cdef oisp_status begin_frame(oisp_websocket* p, uint64_t offset) noexcept nogil:
    if not read_length(p):
        return fail(p, OISP_BAD)
    p.state = STATE_PAYLOAD
    p.phase = 0
    if is_control(p.head):
        p.control = 0
        return OISP_OK
    if p.head[0] & 0x0F != OPCODE_CONTINUATION:
        p.message = p.head[0] & 0x0F
        p.flags = p.message | (FLAG_COMPRESSED if p.head[0] & RSV1 else 0)
        p.start = offset
        p.damaged = 0
    if not p.damaged and p.left > p.message_max - p.held.size:
        return fail(p, OISP_LIMIT)
    return OISP_OK


cdef oisp_status read_head(oisp_websocket* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    while pos[0] < size:
        p.head[p.head_size] = data[pos[0]]
        p.head_size += 1
        pos[0] += 1
        if p.head_size == 2 and not is_valid(p, p.head):
            return fail(p, OISP_BAD)
        if p.head_size >= 2 and p.head_size == head_size(p.head, p.head_size):
            return begin_frame(p, p.offset + pos[0])
    return OISP_OK


# Appends payload, unmasked (section 5.3) with the key that is the last four bytes of the head.
cdef bint hold(oisp_websocket* p, const uint8_t* data, size_t n) noexcept nogil:
    cdef uint8_t* at
    cdef const uint8_t* key
    cdef uint8_t turned[8]
    cdef uint64_t wide
    cdef uint64_t word
    cdef size_t i = 0
    if not oisp_buffer_append(&p.held, data, n):
        return False
    if not p.head[1] & MASKED:
        return True
    at = p.held.data + p.held.size - n
    key = p.head + p.head_size - 4
    for i in range(8):
        turned[i] = key[(p.phase + i) & 3]
    memcpy(&wide, turned, 8)
    i = 0
    while i + 8 <= n:
        memcpy(&word, at + i, 8)
        word ^= wide
        memcpy(at + i, &word, 8)
        i += 8
    while i < n:
        at[i] ^= turned[i & 7]
        i += 1
    p.phase = <uint8_t>((p.phase + n) & 3)
    return True


cdef inline void push_message(oisp_websocket* p, const uint8_t* data, size_t size, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_EVENT)
    t.data = data
    t.size = <uint32_t>size
    t.offset = p.start
    t.flags = p.flags


cdef void push_close(oisp_websocket* p, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef const uint8_t* d = p.held.data + p.held.size - p.control
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_END)
    t.offset = offset
    t.number = CLOSE_NONE
    if p.control >= 2:
        t.number = <uint64_t>d[0] << 8 | d[1]
        t.data = d + 2
        t.size = p.control - 2
    p.state = STATE_CLOSED
    p.message = 0
    p.given = 1


# All of the frame's payload was taken.
cdef void end_frame(oisp_websocket* p, uint64_t offset, oisp_tokens* out) noexcept nogil:
    p.state = STATE_HEAD
    if is_control(p.head):
        if p.head[0] & 0x0F == OPCODE_CLOSE:
            push_close(p, offset, out)
        elif p.control:
            oisp_wipe(p.held.data + p.held.size - p.control, p.control)
            p.held.size -= p.control
        p.control = 0
    elif p.head[0] & FIN:
        if not p.damaged:
            push_message(p, p.held.data, p.held.size, out)
        p.given = 1
        p.message = 0
    p.head_size = 0


cdef oisp_status read_payload(oisp_websocket* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t n = size - pos[0]
    cdef bint control = is_control(p.head)
    n = <size_t>p.left if n > p.left else n
    if n == p.left and not control and p.head[0] & FIN and p.held.size == 0 and not p.damaged and not p.head[1] & MASKED:
        push_message(p, data + pos[0], n, out)
        p.damaged = 1  # as far as end_frame is concerned, it was given
        pos[0] += n
        p.left = 0
        end_frame(p, p.offset + pos[0], out)
        p.given = 0
        return OISP_OK
    if n and (control or not p.damaged) and not hold(p, data + pos[0], n):
        return fail(p, OISP_LIMIT)
    if control:
        p.control += <uint32_t>n
    pos[0] += n
    p.left -= n
    if p.left == 0:
        end_frame(p, p.offset + pos[0], out)
    return OISP_OK


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void websocket_init(oisp_websocket* p, size_t message_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.message_max = <uint32_t>(message_max if message_max < 0x7FFFFFFF else 0x7FFFFFFF)


cdef oisp_status websocket_feed(oisp_websocket* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef oisp_status status = OISP_OK
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    while status == OISP_OK and not p.given and p.state != STATE_CLOSED and out.count < out.capacity:
        if p.state == STATE_PAYLOAD and (pos < size or p.left == 0):
            status = read_payload(p, data, size, &pos, out)
        elif p.state == STATE_HEAD and pos < size:
            status = read_head(p, data, size, &pos)
        else:
            break
    if p.state == STATE_CLOSED and not p.failed:
        pos = size
    p.offset += pos
    used[0] = pos
    if p.failed:
        return <oisp_status>p.failed
    if pos < size or p.given or p.state == STATE_CLOSED:
        return OISP_OK
    return OISP_MORE if p.message or p.head_size or p.state == STATE_PAYLOAD else OISP_OK


cdef oisp_status websocket_gap(oisp_websocket* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    cdef uint64_t inside
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if size == 0 or p.state == STATE_CLOSED:
        return OISP_OK
    if out.capacity - out.count < 2:
        return OISP_FULL
    inside = 0 if p.state == STATE_HEAD else (size if size < p.left else p.left)
    p.offset += size
    if inside:
        t = oisp_tokens_push(out, OISP_TOKEN_GAP)
        t.offset = p.offset - size
        t.number = inside
        lose(p, inside)
        if p.left == 0:
            end_frame(p, p.offset - size + inside, out)
    return OISP_OK if inside == size else fail(p, OISP_BAD)


# `n` bytes of the frame's payload are missing.
cdef void lose(oisp_websocket* p, uint64_t n) noexcept nogil:
    p.left -= n
    if is_control(p.head):
        # A close without its payload is a close all the same.
        p.held.size -= p.control
        p.control = 0
        p.phase = <uint8_t>((p.phase + n) & 3)
        return
    p.damaged = 1
    oisp_buffer_wipe(&p.held)


cdef oisp_status websocket_finish(oisp_websocket* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if p.state == STATE_CLOSED:
        return OISP_OK
    return OISP_MORE if p.message or p.head_size or p.state == STATE_PAYLOAD else OISP_OK


cdef void websocket_reset(oisp_websocket* p) noexcept nogil:
    cdef size_t message_max = p.message_max
    oisp_buffer_free(&p.held)
    websocket_init(p, message_max)


cdef void websocket_free(oisp_websocket* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class WebSocketParser(Parser):
    cdef oisp_websocket p

    def __cinit__(self, *, size_t message_max=16777216):
        websocket_init(&self.p, message_max)

    def __dealloc__(self):
        websocket_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return websocket_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return websocket_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return websocket_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        websocket_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
