# SPDX-License-Identifier: Apache-2.0
"""AWS event-stream frames: Bedrock's converse and invoke streams, agents.

Total length, headers length, CRC of those eight bytes; headers; payload; CRC of all before it. All big-endian.

What it is not: a reader of every header. The three that name the message are read; the others are checked for their bounds.
A frame whose checksum is wrong is dropped and counted, and the next prelude looked for: it is known by its own checksum.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memmove, memset

from oisp_core.reassemble.face cimport Parser
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
    oisp_slice,
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_push,
)


cdef extern from "oisp/crc32.h" nogil:
    void oisp_crc32_prepare()
    uint32_t oisp_crc32(uint32_t crc, const uint8_t* data, size_t size)


oisp_crc32_prepare()

cdef enum:
    PRELUDE = 12
    ENDS = 16              # prelude and last checksum
    HEADERS_MAX = 131072   # as the AWS SDKs have it
    FLAG_EXCEPTION = 1
    FLAG_ERROR = 2
    GAP_DROPPED = 1
    GAP_SKIPPED = 2
    GAP_CHECKSUM = 4
    KEEP = 4096            # a buffer up to this size is kept for the next frame

# What the headers of a frame say.
ctypedef struct names:
    oisp_slice message     # :message-type
    oisp_slice event       # :event-type
    oisp_slice exception   # :exception-type
    oisp_slice code        # :error-code
    oisp_slice text        # :error-message


cdef inline uint32_t u32(const uint8_t* d) noexcept nogil:
    return <uint32_t>d[0] << 24 | <uint32_t>d[1] << 16 | <uint32_t>d[2] << 8 | d[3]


cdef oisp_status fail(oisp_eventstream* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    return status


# What the tokens of the last call pointed to.
cdef inline void release(oisp_eventstream* p) noexcept nogil:
    if not p.given:
        return
    p.given = 0
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


# The size of the frame whose prelude stands at `d`; 0 if that is no prelude.
cdef inline uint32_t prelude_size(const uint8_t* d) noexcept nogil:
    cdef uint32_t total = u32(d)
    cdef uint32_t headers = u32(d + 4)
    if total < ENDS or headers > HEADERS_MAX or headers > total - ENDS or oisp_crc32(0, d, 8) != u32(d + 8):
        return 0
    return total


# Bytes of a header's value of this type; a string or bytes give their length field's place and size.
cdef inline size_t fixed_size(int kind) noexcept nogil:
    if kind <= 1:  # true, false
        return 0
    if kind <= 5:  # 8, 16, 32, 64 bits
        return <size_t>1 << (kind - 2)
    return 8 if kind == 8 else 16  # time, UUID


cdef inline bint is_name(const uint8_t* d, size_t n, const char* name, size_t size) noexcept nogil:
    return n == size and memcmp(d, name, size) == 0


cdef inline void keep_header(names* h, const uint8_t* name, size_t n, const uint8_t* value, size_t size) noexcept nogil:
    cdef oisp_slice* where = NULL
    if is_name(name, n, b":message-type", 13):
        where = &h.message
    elif is_name(name, n, b":event-type", 11):
        where = &h.event
    elif is_name(name, n, b":exception-type", 15):
        where = &h.exception
    elif is_name(name, n, b":error-code", 11):
        where = &h.code
    elif is_name(name, n, b":error-message", 14):
        where = &h.text
    if where is not NULL:
        where.data = value
        where.size = <uint32_t>size


# 0 where a header runs over the end, or is of no known type.
cdef bint read_headers(const uint8_t* d, size_t n, names* h) noexcept nogil:
    cdef size_t i = 0
    cdef size_t name
    cdef size_t size
    cdef int kind
    memset(h, 0, sizeof(h[0]))
    while i < n:
        name = d[i]
        i += 1
        if n - i < name + 1:
            return False
        kind = d[i + name]
        if kind > 9:
            return False
        i += name + 1
        if kind == 6 or kind == 7:
            if n - i < 2:
                return False
            size = <size_t>d[i] << 8 | d[i + 1]
            i += 2
        else:
            size = fixed_size(kind)
        if n - i < size:
            return False
        if kind == 7:
            keep_header(h, d + i - 3 - name, name, d + i, size)
        i += size
    return True


# A whole frame whose prelude was right. 0: its checksum or its headers are wrong.
cdef bint read_frame(const uint8_t* d, uint32_t total, uint64_t offset, oisp_token* t) noexcept nogil:
    cdef names h
    cdef uint32_t headers = u32(d + 4)
    if oisp_crc32(0, d, total - 4) != u32(d + total - 4) or not read_headers(d + PRELUDE, headers, &h):
        return False
    t.data = d + PRELUDE + headers
    t.size = total - ENDS - headers
    t.offset = offset + PRELUDE + headers
    t.name = h.event.data
    t.name_size = h.event.size
    t.flags = 0
    if is_name(h.message.data, h.message.size, b"exception", 9):
        t.flags = FLAG_EXCEPTION
        t.name = h.exception.data
        t.name_size = h.exception.size
    elif is_name(h.message.data, h.message.size, b"error", 5):
        t.flags = FLAG_ERROR
        t.name = h.code.data
        t.name_size = h.code.size
        if t.size == 0:
            t.data = h.text.data
            t.size = h.text.size
            t.offset = offset + (<size_t>(h.text.data - d) if h.text.size else PRELUDE + headers)
    return True


cdef bint push_frame(const uint8_t* d, uint32_t total, uint64_t offset, oisp_tokens* out) noexcept nogil:
    if not read_frame(d, total, offset, oisp_tokens_push(out, OISP_TOKEN_EVENT)):
        out.count -= 1
        return False
    return True


cdef void push_gap(oisp_eventstream* p, uint64_t offset, uint64_t number, int flags, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_GAP)
    if t is not NULL:
        t.offset = offset
        t.number = number
        t.flags = <uint16_t>flags


# A frame at `d`, whole or not. Gives its size if it was given out (or dropped for its checksum), else 0.
cdef size_t frame_at(oisp_eventstream* p, const uint8_t* d, size_t n, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef uint32_t total
    if n < PRELUDE:
        return 0
    total = prelude_size(d)
    if total == 0:
        fail(p, OISP_BAD)
        return 0
    if total > p.frame_max:
        fail(p, OISP_LIMIT)
        return 0
    if n < total:
        return 0
    if not push_frame(d, total, offset, out):
        push_gap(p, offset, total, GAP_CHECKSUM, out)
        p.searching = 1
        p.skipped = 0
    return total


# Takes what the frame in progress still needs, first its prelude.
cdef void gather(oisp_eventstream* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t want
    cdef size_t n
    while not p.failed and not p.given and pos[0] < size:
        want = PRELUDE if p.held.size < PRELUDE else u32(p.held.data)
        n = want - p.held.size
        n = size - pos[0] if n > size - pos[0] else n
        if not oisp_buffer_append(&p.held, data + pos[0], n):
            fail(p, OISP_LIMIT)
            return
        pos[0] += n
        if frame_at(p, p.held.data, p.held.size, p.offset + pos[0] - p.held.size, out):
            p.given = 1


# After a loss: bytes are put into `held` until a prelude stands at its start. They are few: at most a prelude's.
cdef void search(oisp_eventstream* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    while pos[0] < size:
        if not oisp_buffer_append(&p.held, data + pos[0], 1):
            fail(p, OISP_LIMIT)
            return
        pos[0] += 1
        if p.held.size < PRELUDE:
            continue
        if prelude_size(p.held.data):
            if p.skipped:
                push_gap(p, p.offset + pos[0] - PRELUDE - p.skipped, p.skipped, GAP_SKIPPED, out)
            p.searching = 0
            p.skipped = 0
            return
        memmove(p.held.data, p.held.data + 1, PRELUDE - 1)
        p.held.size = PRELUDE - 1
        p.skipped += 1


# Frames that lie whole in the input; the start of another is held.
cdef void read_frames(oisp_eventstream* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t n
    while pos[0] < size and out.capacity - out.count >= 2 and not p.searching:
        n = frame_at(p, data + pos[0], size - pos[0], p.offset + pos[0], out)
        if p.failed:
            return
        if n == 0:
            gather(p, data, size, pos, out)
            return
        pos[0] += n


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void eventstream_init(oisp_eventstream* p, size_t frame_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.frame_max = <uint32_t>(frame_max if frame_max < 0x7FFFFFFF else 0x7FFFFFFF)


cdef oisp_status eventstream_feed(oisp_eventstream* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef size_t n
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    while pos < size and not p.failed and not p.given and out.capacity - out.count >= 2:
        if p.passing:
            n = size - pos if p.passing > size - pos else <size_t>p.passing
            p.passing -= n
            pos += n
        elif p.searching:
            search(p, data, size, &pos, out)
        elif p.held.size:
            gather(p, data, size, &pos, out)
        else:
            read_frames(p, data, size, &pos, out)
    p.offset += pos
    used[0] = pos
    if p.failed:
        return <oisp_status>p.failed
    if pos < size or p.given:
        return OISP_OK
    return OISP_MORE if p.held.size or p.passing or p.searching else OISP_OK


cdef size_t eventstream_whole(const oisp_eventstream* p, const uint8_t* data, size_t size, oisp_token* token) noexcept nogil:
    cdef uint32_t total
    if size < PRELUDE or p.failed or p.given or p.searching or p.passing or p.held.size:
        return 0
    total = prelude_size(data)
    if total == 0 or total > p.frame_max or total > size or not read_frame(data, total, p.offset, token):
        return 0
    return total


cdef oisp_status eventstream_gap(oisp_eventstream* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef uint64_t left = p.passing
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if size == 0:
        return OISP_OK
    if out.capacity - out.count < 2:
        return OISP_FULL
    if p.searching:
        p.skipped += p.held.size
        if p.skipped:
            push_gap(p, p.offset - p.skipped, p.skipped, GAP_SKIPPED, out)
    elif p.held.size >= PRELUDE:
        left = u32(p.held.data) - p.held.size
    push_gap(p, p.offset, size, GAP_DROPPED if left or (p.held.size and not p.searching) else 0, out)
    p.offset += size
    p.given = 1
    release(p)
    p.skipped = 0
    p.searching = size > left
    p.passing = 0 if p.searching else left - size
    return OISP_OK


cdef oisp_status eventstream_finish(oisp_eventstream* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if p.searching:
        if out.count == out.capacity:
            return OISP_FULL
        p.skipped += p.held.size
        if p.skipped:
            push_gap(p, p.offset - p.skipped, p.skipped, GAP_SKIPPED, out)
        p.given = 1
        p.skipped = 0
        p.searching = 0
        return OISP_OK
    return OISP_MORE if p.held.size or p.passing else OISP_OK


cdef void eventstream_reset(oisp_eventstream* p) noexcept nogil:
    cdef size_t frame_max = p.frame_max
    oisp_buffer_free(&p.held)
    eventstream_init(p, frame_max)


cdef void eventstream_free(oisp_eventstream* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class EventStreamParser(Parser):
    cdef oisp_eventstream p

    def __cinit__(self, *, size_t frame_max=25296896):
        eventstream_init(&self.p, frame_max)

    def __dealloc__(self):
        eventstream_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return eventstream_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return eventstream_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return eventstream_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        eventstream_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
