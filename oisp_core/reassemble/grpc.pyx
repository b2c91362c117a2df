# SPDX-License-Identifier: Apache-2.0
"""gRPC's length-prefixed messages: a byte of flags, four of length, the message (gRPC over HTTP/2, "Length-Prefixed-Message").

What it is not: a reader of protobuf, of grpc-status (a trailer of the HTTP/2 stream) or of grpc-encoding. Compressed messages
are given out as they are and marked; each is compressed by itself.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

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
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_push,
)

cdef enum:
    PREFIX = 5
    FLAG_COMPRESSED = 0x10
    FLAG_TRAILERS = 0x80
    KEEP = 4096  # a buffer up to this size is kept for the next message


cdef oisp_status fail(oisp_grpc* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    return status


# What the tokens of the last call pointed to.
cdef inline void release(oisp_grpc* p) noexcept nogil:
    if not p.given:
        return
    p.given = 0
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


cdef oisp_status read_prefix(oisp_grpc* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    while pos[0] < size and p.head_size < PREFIX:
        p.head[p.head_size] = data[pos[0]]
        p.head_size += 1
        pos[0] += 1
        if p.head_size == 1 and p.head[0] & ~0x81:  # reserved bits
            return fail(p, OISP_BAD)
    if p.head_size == PREFIX:
        p.left = <uint32_t>p.head[1] << 24 | <uint32_t>p.head[2] << 16 | <uint32_t>p.head[3] << 8 | p.head[4]
        p.damaged = 0
        if p.left > p.message_max:
            return fail(p, OISP_LIMIT)
    return OISP_OK


cdef inline void push_message(oisp_grpc* p, const uint8_t* data, size_t size, uint64_t after, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_EVENT)
    t.data = data
    t.size = <uint32_t>size
    t.offset = after - size
    t.flags = (FLAG_COMPRESSED if p.head[0] & 1 else 0) | (p.head[0] & FLAG_TRAILERS)
    p.head_size = 0


cdef oisp_status read_message(oisp_grpc* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t n = size - pos[0]
    n = p.left if n > p.left else n
    pos[0] += n
    if n == p.left and p.held.size == 0 and not p.damaged:
        p.left = 0
        push_message(p, data + pos[0] - n, n, p.offset + pos[0], out)
        return OISP_OK
    if not p.damaged and not oisp_buffer_append(&p.held, data + pos[0] - n, n):
        return fail(p, OISP_LIMIT)
    p.left -= <uint32_t>n
    if p.left == 0:
        if p.damaged:
            p.head_size = 0
        else:
            push_message(p, p.held.data, p.held.size, p.offset + pos[0], out)
            p.given = 1
    return OISP_OK


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void grpc_init(oisp_grpc* p, size_t message_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.message_max = <uint32_t>(message_max if message_max < 0x7FFFFFFF else 0x7FFFFFFF)


cdef oisp_status grpc_feed(oisp_grpc* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef oisp_status status = OISP_OK
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    while status == OISP_OK and not p.given and out.count < out.capacity:
        if p.head_size < PREFIX:
            if pos == size:
                break
            status = read_prefix(p, data, size, &pos)
        elif pos < size or p.left == 0:
            status = read_message(p, data, size, &pos, out)
        else:
            break
    p.offset += pos
    used[0] = pos
    if p.failed:
        return <oisp_status>p.failed
    return OISP_MORE if pos == size and not p.given and p.head_size else OISP_OK


cdef oisp_status grpc_gap(oisp_grpc* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    cdef uint64_t inside = 0
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if size == 0:
        return OISP_OK
    if out.count == out.capacity:
        return OISP_FULL
    if p.head_size == PREFIX:
        inside = size if size < p.left else p.left
    p.offset += size
    if inside:
        t = oisp_tokens_push(out, OISP_TOKEN_GAP)
        t.offset = p.offset - size
        t.number = inside
        p.damaged = 1
        oisp_buffer_wipe(&p.held)
        p.left -= <uint32_t>inside
        if p.left == 0:
            p.head_size = 0
    return OISP_OK if inside == size else fail(p, OISP_BAD)


cdef oisp_status grpc_finish(oisp_grpc* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    return OISP_MORE if p.head_size else OISP_OK


cdef void grpc_reset(oisp_grpc* p) noexcept nogil:
    cdef size_t message_max = p.message_max
    oisp_buffer_free(&p.held)
    grpc_init(p, message_max)


cdef void grpc_free(oisp_grpc* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class GrpcParser(Parser):
    cdef oisp_grpc p

    def __cinit__(self, *, size_t message_max=16777216):
        grpc_init(&self.p, message_max)

    def __dealloc__(self):
        grpc_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return grpc_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return grpc_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return grpc_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        grpc_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
