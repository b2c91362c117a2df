# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as an observer reads it: one direction of one connection, bytes in, tokens of its streams out (RFC 9113).

What it is not: an endpoint. It keeps no streams, no windows and no priorities, answers nothing, and does not judge what a
request must have. Frames that no endpoint would accept are BAD: on a connection that both sides still use they mean that
bytes are missing here.

A hole inside a payload is arithmetic. Fields of a header block that stand before a hole are given, the block is marked, and
the table is trusted only as far as it can be proved (hpack.pyx). A hole that may hide a frame head loses the framing; then
the caller says http2_resync(), and a boundary is looked for.

After BAD the parser keeps giving that answer until http2_resync() or http2_reset().
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from oisp_core.reassemble.face cimport tokens_as_objects
from oisp_core.reassemble.hpack cimport (
    hpack_allow, hpack_allow_any, hpack_begin, hpack_feed, hpack_free, hpack_init, hpack_lost,
    hpack_memory, hpack_release,
)
from oisp_core.reassemble.tokens import Status, Token
from oisp_core.types cimport (
    OISP_BAD, OISP_BODY_LENGTH, OISP_BODY_NONE, OISP_BODY_STREAM, OISP_FULL, OISP_MORE, OISP_OK, OISP_TOKEN_DATA,
    OISP_TOKEN_END, OISP_TOKEN_GAP, OISP_TOKEN_GOAWAY, OISP_TOKEN_HEAD_END, OISP_TOKEN_REQUEST,
    OISP_TOKEN_RESET, OISP_TOKEN_RESPONSE, OISP_TOKEN_SETTINGS, OISP_TOKEN_TRAILER, OISP_TOKEN_WARNING,
    OISP_WARNING_HEADER_BLOCK, oisp_buffer, oisp_buffer_append, oisp_buffer_free, oisp_status, oisp_token,
    oisp_tokens, oisp_tokens_push,
)


cdef enum:  # RFC 9113 section 6
    FRAME_DATA = 0
    FRAME_HEADERS = 1
    FRAME_PRIORITY = 2
    FRAME_RST_STREAM = 3
    FRAME_SETTINGS = 4
    FRAME_PUSH_PROMISE = 5
    FRAME_PING = 6
    FRAME_GOAWAY = 7
    FRAME_WINDOW_UPDATE = 8
    FRAME_CONTINUATION = 9

cdef enum:
    END_STREAM = 1
    ACK = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32

cdef enum:
    STATE_PREFACE = 0  # of the client
    STATE_FIRST = 1    # the first frame of either side is SETTINGS
    STATE_HEAD = 2     # of a frame: http2.h knows this one
    STATE_PAD = 3      # length of the padding of DATA
    STATE_DATA = 4
    STATE_HOLD = 5     # a payload that is read whole
    STATE_SKIP = 6     # a payload, or the rest of one, that is not read
    STATE_BLOCK = 7    # a whole header block, in `held`, of which tokens are still to be given
    STATE_SEEK = 8     # a boundary is looked for
    STATE_LOST = 9     # framing is lost: that is said when what stands before it was taken

cdef enum:
    BLOCK_OPEN = 1      # HEADERS or PUSH_PROMISE was read, END_HEADERS was not
    BLOCK_CUT = 2       # the block's end is missing: lost, or beyond head_max
    BLOCK_BEGUN = 4     # tokens of it were given
    BLOCK_PSEUDO = 8    # one of them was a pseudo field
    BLOCK_TRAILERS = 16  # they were given as trailers
    BLOCK_INTERIM = 32  # its status is 1xx
    BLOCK_ENDS = 64     # END_STREAM
    BLOCK_PUSH = 128

# What a function that takes one step of the machine answers.
cdef enum:
    STEP_ON = 0    # go on
    STEP_WAIT = 1  # the input is used up
    STEP_STOP = 2  # give control to the caller
    STEP_FAIL = 3

cdef enum:
    HEAD_SIZE = 9
    PREFACE_SIZE = 24
    ROOM = 8                    # tokens that one step may add, beside fields and settings
    FRAME_MAX = 16384           # before SETTINGS say otherwise (section 6.5.2)
    FRAME_LARGEST = (1 << 24) - 1
    SETTINGS_MAX = 6 * 32       # bytes of a SETTINGS frame that is read: seven identifiers are registered for browsers
    GOAWAY_SIZE = 8             # without debug data, which is not read
    REGION_MAX = 98304          # bytes in which a boundary is looked for: three frames of default size with their heads
    CHAIN = 3                   # frames in a row that prove a boundary
    STREAMS_AHEAD = 65536       # how far the stream of a frame may lie beyond those seen, to be believed at a boundary
    STREAMS_EVER = 1 << 24      # the same where none was seen yet: eight million requests on one connection

cdef const char* PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What is read: the caller's bytes, or the region.
ctypedef struct input:
    const uint8_t* data
    size_t size
    size_t pos
    uint64_t base  # offset of data[0] in the stream

ctypedef struct frame:
    uint32_t size
    uint32_t stream  # with its reserved bit
    uint8_t kind
    uint8_t flags


cdef inline uint32_t load32(const uint8_t* d) noexcept nogil:
    return <uint32_t> d[0] << 24 | <uint32_t> d[1] << 16 | <uint32_t> d[2] << 8 | d[3]


cdef inline void read_frame(const uint8_t* d, frame* f) noexcept nogil:
    f.size = <uint32_t> d[0] << 16 | <uint32_t> d[1] << 8 | d[2]
    f.kind = d[3]
    f.flags = d[4]
    f.stream = load32(d + 5)


cdef inline oisp_token* push(oisp_http2* p, oisp_tokens* out, uint16_t kind, uint32_t stream, uint64_t offset) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, kind)
    t.stream = stream
    t.offset = offset
    return t


# ---- frame heads ---------------------------------------------------------------------------------------------------------

cdef bint fits_stream(int role, const frame* f) noexcept nogil:
    """Is the stream one that such a frame may be on, coming from that side? Clients have the odd ones (section 5.1.1)."""
    cdef uint32_t stream = f.stream & 0x7FFFFFFF
    if f.kind == FRAME_SETTINGS or f.kind == FRAME_PING or f.kind == FRAME_GOAWAY:
        return stream == 0
    if f.kind == FRAME_WINDOW_UPDATE or f.kind > FRAME_CONTINUATION:
        return True
    if stream == 0:
        return False
    if f.kind == FRAME_PUSH_PROMISE:
        return role == OISP_TOKEN_RESPONSE and stream & 1
    if f.kind == FRAME_DATA or f.kind == FRAME_HEADERS:
        return role == OISP_TOKEN_RESPONSE or stream & 1
    return True


cdef bint fits_size(const frame* f) noexcept nogil:
    cdef uint32_t least = 1 if f.flags & PADDED else 0
    if f.kind == FRAME_DATA:
        return f.size >= least
    if f.kind == FRAME_HEADERS:
        return f.size >= least + (5 if f.flags & PRIORITY else 0)
    if f.kind == FRAME_PUSH_PROMISE:
        return f.size >= least + 4
    if f.kind == FRAME_SETTINGS:
        return f.size == 0 if f.flags & ACK else f.size % 6 == 0
    if f.kind == FRAME_PING:
        return f.size == 8
    if f.kind == FRAME_GOAWAY:
        return f.size >= 8
    if f.kind == FRAME_RST_STREAM or f.kind == FRAME_WINDOW_UPDATE:
        return f.size == 4
    return True  # PRIORITY of another size is an error of its stream alone (section 6.3)


cdef bint fits_flags(const frame* f) noexcept nogil:
    """No flags but those that are defined: what a boundary is asked for, though a receiver has to ignore others."""
    if f.kind == FRAME_DATA:
        return f.flags & ~(END_STREAM | PADDED) == 0 and (f.size > 0 or f.flags & END_STREAM)
    if f.kind == FRAME_HEADERS:
        return f.flags & ~(END_STREAM | END_HEADERS | PADDED | PRIORITY) == 0 and f.size > 0
    if f.kind == FRAME_SETTINGS or f.kind == FRAME_PING:
        return f.flags & ~ACK == 0
    if f.kind == FRAME_PUSH_PROMISE:
        return f.flags & ~(END_HEADERS | PADDED) == 0
    if f.kind == FRAME_CONTINUATION:
        return f.flags & ~END_HEADERS == 0
    if f.kind == FRAME_PRIORITY:
        return f.flags == 0 and f.size == 5
    return f.flags == 0


cdef bint is_boundary(const oisp_http2* p, const uint8_t* d) noexcept nogil:
    """Could d[0..8] be the head of a frame that this side sends? Strict in everything that an honest sender keeps to."""
    cdef frame f
    read_frame(d, &f)
    if f.kind > FRAME_CONTINUATION or f.size > p.frame_max or f.stream >> 31:
        return False
    if f.stream > p.highest and f.stream - p.highest > (STREAMS_AHEAD if p.highest else STREAMS_EVER):
        return False
    return fits_stream(p.role, &f) and fits_size(&f) and fits_flags(&f)


cdef inline size_t frame_size(const uint8_t* d) noexcept nogil:
    """Of the payload."""
    return <size_t> d[0] << 16 | <size_t> d[1] << 8 | d[2]


cdef int chain(const oisp_http2* p, const uint8_t* d, size_t size, bint* refuted) noexcept nogil:
    """Frame heads in a row from d[0], up to CHAIN. refuted: where the next one should be is something else."""
    cdef size_t at = 0
    cdef int count = 0
    refuted[0] = False
    while count < CHAIN and at + HEAD_SIZE <= size:
        if not is_boundary(p, d + at):
            refuted[0] = True
            return count
        at += HEAD_SIZE + frame_size(d + at)
        count += 1
    return count


cdef inline bint whole_data(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    """The usual case, in one loop: DATA that lies whole in the input, without padding. Stops, with nothing changed, before
    anything else. True: there was some."""
    cdef const uint8_t* d
    cdef uint32_t size, stream
    cdef oisp_token* t
    cdef size_t begin = i.pos
    while i.size - i.pos >= HEAD_SIZE and out.capacity - out.count >= ROOM:
        d = i.data + i.pos
        size = <uint32_t> d[0] << 16 | <uint32_t> d[1] << 8 | d[2]
        stream = load32(d + 5) & 0x7FFFFFFF
        if d[3] != FRAME_DATA or d[4] & PADDED or stream == 0 or i.size - i.pos - HEAD_SIZE < size \
                or (p.role == OISP_TOKEN_REQUEST and stream & 1 == 0) or (size > p.frame_max and not p.settings_lost):
            break
        p.frame = i.base + i.pos
        p.kind = FRAME_DATA
        p.flags = d[4]
        p.stream = stream
        p.size = size
        if size:
            t = push(p, out, OISP_TOKEN_DATA, stream, p.frame + HEAD_SIZE)
            t.data = d + HEAD_SIZE
            t.size = size
        if p.flags & END_STREAM:
            push(p, out, OISP_TOKEN_END, stream, p.frame + HEAD_SIZE + size)
        if stream > p.highest:
            p.highest = stream
        i.pos += HEAD_SIZE + size
    if i.pos == begin:
        return False
    p.block_flags = 0
    p.left = p.pad = 0
    return True


cdef inline int take_head(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    cdef frame f
    cdef const uint8_t* d = i.data + i.pos
    cdef size_t n
    if p.head_size == 0 and p.state == STATE_HEAD and not p.block_flags & BLOCK_OPEN and whole_data(p, i, out):
        return STEP_ON
    if p.head_size == 0 and i.size - i.pos >= HEAD_SIZE:
        p.frame = i.base + i.pos
        i.pos += HEAD_SIZE
    else:
        n = i.size - i.pos
        if n > <size_t> (HEAD_SIZE - p.head_size):
            n = HEAD_SIZE - p.head_size
        if n == 0:
            return STEP_WAIT
        if p.head_size == 0:
            p.frame = i.base + i.pos
        memcpy(p.head + p.head_size, d, n)
        p.head_size += <uint8_t> n
        i.pos += n
        if p.head_size < HEAD_SIZE:
            return STEP_WAIT
        p.head_size = 0
        d = p.head
    read_frame(d, &f)
    return begin_frame(p, &f, out)


cdef int begin_frame(oisp_http2* p, const frame* f, oisp_tokens* out) noexcept nogil:
    cdef bint first = p.state == STATE_FIRST
    if not fits_stream(p.role, f) or not fits_size(f) or (f.size > p.frame_max and not p.settings_lost):
        return STEP_FAIL
    if first and (f.kind != FRAME_SETTINGS or f.flags & ACK):
        return STEP_FAIL
    p.kind = f.kind
    p.flags = f.flags
    p.stream = f.stream & 0x7FFFFFFF
    p.size = p.left = f.size
    p.pad = 0
    if p.block_flags & BLOCK_OPEN and (f.kind != FRAME_CONTINUATION or p.stream != p.carrier):
        return STEP_FAIL
    if p.stream > p.highest and f.kind != FRAME_WINDOW_UPDATE and f.kind <= FRAME_CONTINUATION:
        p.highest = p.stream
    if f.kind == FRAME_DATA:
        p.block_flags = 0
        p.state = STATE_PAD if f.flags & PADDED else STATE_DATA
        if f.size == 0:
            end_data(p, out)
        return STEP_ON
    if f.kind == FRAME_CONTINUATION and not p.block_flags & BLOCK_OPEN:
        if p.block_flags & BLOCK_CUT:  # the rest of a block whose beginning was lost before a boundary
            return skip_frame(p)
        return STEP_FAIL
    begin_held(p)
    return STEP_ON


cdef inline int skip_frame(oisp_http2* p) noexcept nogil:
    p.state = STATE_SKIP if p.left else STATE_HEAD
    return STEP_ON


cdef inline void begin_held(oisp_http2* p) noexcept nogil:
    if p.kind == FRAME_HEADERS or p.kind == FRAME_PUSH_PROMISE:
        p.block = p.frame
        p.carrier = p.stream
        p.block_flags = BLOCK_OPEN
        if p.kind == FRAME_PUSH_PROMISE:
            p.block_flags |= BLOCK_PUSH
        elif p.flags & END_STREAM:
            p.block_flags |= BLOCK_ENDS
    elif p.kind != FRAME_CONTINUATION:
        p.block_flags = 0
        if p.kind == FRAME_GOAWAY:
            p.left = GOAWAY_SIZE
        elif p.kind != FRAME_SETTINGS and p.kind != FRAME_RST_STREAM:
            skip_frame(p)
            return
    p.at = p.held.size
    # What follows a hole in a block cannot be read.
    p.state = STATE_SKIP if p.block_flags & BLOCK_CUT else STATE_HOLD


# ---- DATA ----------------------------------------------------------------------------------------------------------------

cdef inline void end_data(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    p.state = STATE_HEAD
    if p.flags & END_STREAM:
        push(p, out, OISP_TOKEN_END, p.stream, p.frame + HEAD_SIZE + p.size)


cdef int take_pad(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    if i.pos == i.size:
        return STEP_WAIT
    p.pad = i.data[i.pos]
    i.pos += 1
    p.left -= 1
    if p.pad > p.left:  # section 6.1
        return STEP_FAIL
    p.state = STATE_DATA
    if p.left == 0:
        end_data(p, out)
    return STEP_ON


cdef inline int take_data(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    cdef size_t rest = i.size - i.pos
    cdef uint32_t n = p.left - p.pad if p.left > p.pad else 0
    if rest == 0:
        return STEP_WAIT
    if n > rest:
        n = <uint32_t> rest
    if n:
        t = push(p, out, OISP_TOKEN_DATA, p.stream, i.base + i.pos)
        t.data = i.data + i.pos
        t.size = n
        p.left -= n
        i.pos += n
        rest -= n
    if p.left and p.left <= p.pad:
        n = p.left if p.left < rest else <uint32_t> rest
        p.left -= n
        i.pos += n
    if p.left == 0:
        end_data(p, out)
        return STEP_ON
    return STEP_WAIT


# ---- frames that are read whole ------------------------------------------------------------------------------------------

cdef inline bint is_block(const oisp_http2* p) noexcept nogil:
    return p.kind == FRAME_HEADERS or p.kind == FRAME_CONTINUATION or p.kind == FRAME_PUSH_PROMISE


cdef int take_whole(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    """The payload where it lies, if all of it is in the input; else it is held."""
    cdef size_t rest = i.size - i.pos
    cdef const uint8_t* d = i.data + i.pos
    cdef uint32_t n = p.left
    if p.held.size == p.at and rest >= n:
        i.pos += n
        p.left = 0
        return whole_frame(p, d, n, out)
    if rest < n:
        n = <uint32_t> rest
    if p.held.size + <size_t> n > (p.head_max if is_block(p) else SETTINGS_MAX) or not oisp_buffer_append(&p.held, d, n):
        return too_large(p, out)
    i.pos += n
    p.left -= n
    if p.left:
        return STEP_WAIT
    n = p.held.size - p.at
    if not is_block(p):
        other_frame(p, p.held.data, n, out)
        oisp_buffer_free(&p.held)
        return STEP_ON
    return held_block_frame(p, out)


cdef int whole_frame(oisp_http2* p, const uint8_t* d, uint32_t size, oisp_tokens* out) noexcept nogil:
    cdef uint32_t begin = 0
    if not is_block(p):
        return other_frame(p, d, size, out)
    if not strip(p, d, size, &begin, &size):
        return STEP_FAIL
    if p.held.size == 0 and p.flags & END_HEADERS:
        return give_block(p, d + begin, size, False, out)
    if p.held.size + <size_t> size > p.head_max or not oisp_buffer_append(&p.held, d + begin, size):
        return too_large(p, out)
    return end_block_frame(p, out)


cdef int held_block_frame(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    """A frame of a header block, whose payload is held from `at` on as far as it came: what is not of the block is removed."""
    cdef uint32_t begin = 0
    cdef uint32_t size = p.held.size - p.at
    if not strip(p, p.held.data + p.at, size, &begin, &size):
        return STEP_FAIL
    if begin:
        memmove(p.held.data + p.at, p.held.data + p.at + begin, size)
    p.held.size = p.at + size
    return end_block_frame(p, out)


cdef bint strip(oisp_http2* p, const uint8_t* d, uint32_t got, uint32_t* begin, uint32_t* size) noexcept nogil:
    """Where in a payload, of which `got` bytes came, the fragment of the block lies. False: it has more padding than room."""
    cdef uint32_t at = 0
    cdef uint32_t pad = 0
    if p.kind != FRAME_CONTINUATION and p.flags & PADDED:
        pad = d[0] if got else 0
        at = 1
    if p.kind == FRAME_HEADERS and p.flags & PRIORITY:
        at += 5
    elif p.kind == FRAME_PUSH_PROMISE:
        p.promised = load32(d + at) & 0x7FFFFFFF if got >= at + 4 else 0
        at += 4
    if at + pad > p.size:
        return False
    begin[0] = at if at < got else got
    size[0] = (got if got < p.size - pad else p.size - pad) - begin[0]
    if got >= p.size - pad and p.kind != FRAME_CONTINUATION:
        p.block_flags &= ~BLOCK_CUT  # only padding is missing
    return True


cdef int end_block_frame(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    """The fragment is in `held`."""
    p.at = p.held.size
    p.state = STATE_HEAD
    if not p.flags & END_HEADERS:
        return STEP_ON
    p.at = 0
    return give_block(p, p.held.data, p.held.size, True, out)


cdef int too_large(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    """The rest is passed over; what is held of a block is given at its end."""
    if is_block(p):
        p.block_flags |= BLOCK_CUT
    else:
        lose_control(p, out)
    p.state = STATE_SKIP
    return STEP_ON


cdef int other_frame(oisp_http2* p, const uint8_t* d, uint32_t size, oisp_tokens* out) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint64_t offset = p.frame + HEAD_SIZE
    cdef oisp_token* t
    p.state = STATE_HEAD
    if p.kind == FRAME_RST_STREAM:
        push(p, out, OISP_TOKEN_RESET, p.stream, offset).number = load32(d)
    elif p.kind == FRAME_GOAWAY:
        push(p, out, OISP_TOKEN_GOAWAY, load32(d) & 0x7FFFFFFF, offset).number = load32(d + 4)
        p.left = p.size - GOAWAY_SIZE
        return skip_frame(p)
    elif p.flags & ACK:
        push(p, out, OISP_TOKEN_SETTINGS, 0, offset).flags = OISP_SETTING_ACK
    elif size > SETTINGS_MAX:
        lose_control(p, out)
    else:
        while at < size:
            t = push(p, out, OISP_TOKEN_SETTINGS, 0, offset + at)
            t.flags = <uint16_t> (<uint32_t> d[at] << 8 | d[at + 1])
            t.number = load32(d + at + 2)
            at += 6
    return STEP_ON


cdef void lose_control(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    """A frame that is none of a header block, whose payload is missing or too large."""
    oisp_buffer_free(&p.held)
    if p.kind == FRAME_GOAWAY and p.state == STATE_HOLD:
        p.left += p.size - GOAWAY_SIZE
    if p.kind == FRAME_SETTINGS:
        push(p, out, OISP_TOKEN_SETTINGS, 0, p.frame + HEAD_SIZE).flags = OISP_SETTING_LOST
    elif p.kind == FRAME_RST_STREAM:
        push(p, out, OISP_TOKEN_RESET, p.stream, p.frame + HEAD_SIZE).number = UINT32_MAX


# ---- header blocks -------------------------------------------------------------------------------------------------------

cdef inline bint is_name(const oisp_token* t, const char* name, uint32_t size) noexcept nogil:
    return t.name_size == size and memcmp(t.name, name, size) == 0


cdef void read_length(oisp_http2* p, const oisp_token* t) noexcept nogil:
    cdef uint32_t k
    cdef uint64_t value = 0
    for k in range(t.size):
        if <uint8_t> (t.data[k] - c'0') > 9 or value >> 59:
            return
        value = value * 10 + (t.data[k] - c'0')
    if t.size:
        p.length = value


cdef void name_tokens(oisp_http2* p, oisp_tokens* out, uint32_t begin) noexcept nogil:
    """What hpack does not know of its tokens: where they came from; and what frames the message."""
    cdef uint32_t k
    cdef oisp_token* t
    cdef uint32_t stream = p.promised if p.block_flags & BLOCK_PUSH else p.carrier
    for k in range(begin, out.count):
        t = &out.at[k]
        t.stream = stream
        t.offset = p.block
        if t.name_size == 0:
            continue
        if t.name[0] == c':':
            p.block_flags |= BLOCK_PSEUDO
            if is_name(t, b":status", 7) and t.size == 3 and t.data[0] == c'1':
                p.block_flags |= BLOCK_INTERIM
        elif is_name(t, b"content-length", 14):
            read_length(p, t)


cdef void choose_kind(oisp_http2* p, oisp_tokens* out, uint32_t begin, bint partial) noexcept nogil:
    """Head or trailers? Heads have pseudo fields, and they come first (section 8.3). A block of which none is known is a
    head if the stream goes on, since trailers end it; else that is for the caller to say, who knows the stream."""
    cdef uint32_t k
    if p.block_flags & (BLOCK_BEGUN | BLOCK_PSEUDO) or partial:
        return
    p.block_flags |= BLOCK_TRAILERS
    for k in range(begin, out.count):
        out.at[k].kind = OISP_TOKEN_TRAILER


cdef int give_block(oisp_http2* p, const uint8_t* d, uint32_t size, bint held, oisp_tokens* out) noexcept nogil:
    """Tokens of the whole block d, or of what is left of it; it lies in `held`, or in the input."""
    cdef uint32_t begin = out.count
    cdef uint32_t k
    cdef size_t used = 0
    cdef oisp_status status
    if not p.block_flags & BLOCK_BEGUN:
        hpack_begin(&p.table)
        p.length = UINT64_MAX
    out.capacity -= ROOM
    status = hpack_feed(&p.table, d, size, p.work, out, &used)
    out.capacity += ROOM
    name_tokens(p, out, begin)
    choose_kind(p, out, begin, p.table.unknown or p.table.over or p.block_flags & BLOCK_CUT
                or (status != OISP_OK and status != OISP_FULL))
    if p.block_flags & BLOCK_TRAILERS:
        for k in range(begin, out.count):
            out.at[k].kind = OISP_TOKEN_TRAILER
    if status == OISP_FULL:
        p.block_flags |= BLOCK_BEGUN
        p.state = STATE_BLOCK
        if held:
            p.at += <uint32_t> used
        elif not oisp_buffer_append(&p.held, d + used, size - used):
            return STEP_FAIL
        return STEP_STOP
    if status == OISP_BAD or (status == OISP_MORE and not p.block_flags & BLOCK_CUT):
        p.block_flags |= BLOCK_CUT
        push(p, out, OISP_TOKEN_WARNING, p.carrier, p.block).number = OISP_WARNING_HEADER_BLOCK
    end_block(p, out)
    return STEP_STOP  # text and table may be overwritten by the next block


cdef void end_block(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    cdef uint32_t stream = p.promised if p.block_flags & BLOCK_PUSH else p.carrier
    if p.block_flags & BLOCK_CUT:
        p.table.failed = 0
        hpack_lost(&p.table)
    if not p.block_flags & BLOCK_TRAILERS:
        t = push(p, out, OISP_TOKEN_HEAD_END, stream, p.block)
        t.flags = head_flags(p)
        t.number = p.carrier if p.block_flags & BLOCK_PUSH else p.length if t.flags & OISP_HEAD_KIND == OISP_BODY_LENGTH else 0
    if p.block_flags & BLOCK_ENDS:
        push(p, out, OISP_TOKEN_END, p.carrier, p.frame + HEAD_SIZE + p.size)
    p.block_flags = 0
    p.state = STATE_HEAD


cdef uint16_t head_flags(const oisp_http2* p) noexcept nogil:
    cdef uint16_t flags = OISP_BODY_STREAM if p.length == UINT64_MAX else OISP_BODY_LENGTH
    if p.block_flags & (BLOCK_ENDS | BLOCK_PUSH | BLOCK_INTERIM):
        flags = OISP_BODY_NONE
    if p.block_flags & BLOCK_CUT or p.table.unknown or p.table.over:
        flags |= OISP_HEAD_PARTIAL
    if p.block_flags & BLOCK_PUSH:
        flags |= OISP_HEAD_PUSH
    if p.block_flags & BLOCK_INTERIM and not p.block_flags & BLOCK_ENDS:
        flags |= OISP_HEAD_INTERIM
    return flags


cdef int go_on_block(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    return give_block(p, p.held.data + p.at, p.held.size - p.at, True, out)


cdef void lose_block(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    """Framing is lost while a block was open: what came of it is given."""
    cdef uint32_t begin = 0
    cdef uint32_t size = p.held.size - p.at if p.held.size > p.at else 0
    if not p.block_flags & BLOCK_OPEN:
        return
    if p.block_flags & BLOCK_BEGUN:  # it is whole, and being given
        size = 0
    elif size and p.kind != FRAME_CONTINUATION:
        if strip(p, p.held.data + p.at, size, &begin, &size):
            memmove(p.held.data + p.at, p.held.data + p.at + begin, size)
        else:
            size = 0
        p.held.size = p.at + size
    p.block_flags |= BLOCK_CUT
    p.frame = p.block  # where the block ends is not known
    p.size = 0
    if not p.block_flags & BLOCK_BEGUN:
        p.at = 0
    give_block(p, p.held.data + p.at, p.held.size - p.at, True, out)
    if p.state == STATE_BLOCK:
        end_block(p, out)


# ---- the start, and a start in the middle --------------------------------------------------------------------------------

cdef int take_preface(oisp_http2* p, input* i) noexcept nogil:
    cdef size_t n = i.size - i.pos
    if n > <size_t> (PREFACE_SIZE - p.head_size):
        n = PREFACE_SIZE - p.head_size
    if memcmp(PREFACE + p.head_size, i.data + i.pos, n) != 0:
        return STEP_FAIL
    p.head_size += <uint8_t> n
    i.pos += n
    if p.head_size < PREFACE_SIZE:
        return STEP_WAIT
    p.head_size = 0
    p.state = STATE_FIRST
    return STEP_ON


cdef void found(oisp_http2* p) noexcept nogil:
    p.state = STATE_HEAD
    p.block_flags = BLOCK_CUT  # CONTINUATION may be the first frame: of a block that was lost


cdef bint starts(oisp_http2* p, const uint8_t* d, size_t size) noexcept nogil:
    """A segment begins with a whole valid frame head, and so do the frames after it, as far as it shows them."""
    cdef bint refuted = False
    if chain(p, d, size, &refuted) == 0 or refuted:
        return False
    found(p)
    return True


cdef bint seek(oisp_http2* p, const uint8_t* data, size_t size) noexcept nogil:
    """A segment while a boundary is looked for. True: data[0] is one. Else the segment is in `region`, as far as it may hold
    one (if the state says that it was found, region_at is where)."""
    cdef bint refuted = False
    if (p.region.size == 0 or p.region_at) and starts(p, data, size):
        drop_region(p)
        return True
    if p.region.size == 0 and size >= HEAD_SIZE:
        p.region_at = 1  # 0: what is there may be the beginning of a head
    if not oisp_buffer_append(&p.region, data, size):
        drop_region(p)
        return False
    if p.region_at == 0:
        if p.region.size < HEAD_SIZE or starts(p, p.region.data, p.region.size):
            return False
        p.region_at = 1
    while p.region_at < p.region.size:
        if chain(p, p.region.data + p.region_at, p.region.size - p.region_at, &refuted) == CHAIN:
            p.skipped += p.region_at
            found(p)
            return False
        if not refuted and p.region.size - p.region_at < REGION_MAX and not_text(p):
            break
        p.region_at += 1
    trim_region(p)
    return False


cdef int http2_last(oisp_http2* p) noexcept nogil:
    """Two frame heads in a row, or one whose frame ends with the stream."""
    cdef bint refuted = False
    cdef int count
    cdef uint32_t at = p.region_at
    cdef const uint8_t* d
    if p.state != STATE_SEEK:
        return 0
    while at + HEAD_SIZE <= p.region.size:
        d = p.region.data + at
        count = chain(p, d, p.region.size - at, &refuted)
        if not refuted and (count > 1 or (count == 1 and p.region.size - at - HEAD_SIZE == frame_size(d))):
            p.skipped += at
            p.region_at = at
            found(p)
            return 1
        at += 1
    return 0


cdef bint not_text(const oisp_http2* p) noexcept nogil:
    """Whether the few bytes at the end of the region, too few for a head, could begin one."""
    cdef uint32_t rest = p.region.size - p.region_at
    return rest >= HEAD_SIZE or p.region.data[p.region_at] == 0 or p.frame_max > 65535


cdef void trim_region(oisp_http2* p) noexcept nogil:
    """Bytes that were proved to be no boundary are given up."""
    cdef uint32_t gone = p.region_at - 1 if p.region_at else 0
    if gone == 0:
        return
    p.skipped += gone
    memmove(p.region.data, p.region.data + gone, p.region.size - gone)
    p.region.size -= gone
    p.region_at = 1


cdef void drop_region(oisp_http2* p) noexcept nogil:
    p.skipped += p.region.size
    oisp_buffer_free(&p.region)
    p.region_at = 0


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef inline int step(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    cdef int state = p.state
    if state == STATE_HEAD or state == STATE_FIRST:
        return take_head(p, i, out)
    if state == STATE_DATA:
        return take_data(p, i, out)
    if state == STATE_HOLD:
        return take_whole(p, i, out)
    if state == STATE_BLOCK:
        return go_on_block(p, out)
    if state == STATE_PAD:
        return take_pad(p, i, out)
    if state == STATE_PREFACE:
        return take_preface(p, i)
    if state == STATE_LOST:
        return STEP_FAIL
    return take_skip(p, i, out)


cdef int take_skip(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    cdef size_t n = i.size - i.pos
    if n > p.left:
        n = p.left
    i.pos += n
    p.left -= <uint32_t> n
    if p.left:
        return STEP_WAIT
    return end_skipped(p, out)


cdef int end_skipped(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    p.state = STATE_HEAD
    if is_block(p) and p.block_flags & BLOCK_OPEN:
        return held_block_frame(p, out)
    return STEP_ON


cdef inline uint32_t room_for(const oisp_http2* p, const oisp_tokens* out) noexcept nogil:
    """Room that the next step wants: that of all fields of a head, where the array could have it."""
    cdef uint32_t most
    if out.count == 0 or (p.state != STATE_HOLD and not p.block_flags & BLOCK_OPEN):
        return ROOM
    most = (p.table.fields_max if is_block(p) else SETTINGS_MAX // 6) + 2 * ROOM
    return most if most < out.capacity else out.capacity


cdef int run(oisp_http2* p, input* i, oisp_tokens* out) noexcept nogil:
    cdef int answer = STEP_ON
    while answer == STEP_ON:
        if out.capacity - out.count < room_for(p, out):
            return STEP_STOP
        answer = step(p, i, out)
    return answer


cdef inline void release(oisp_http2* p) noexcept nogil:
    if p.table.referenced or p.table.old != NULL:
        hpack_release(&p.table)
    if p.held.data != NULL and p.state != STATE_HOLD and p.state != STATE_BLOCK and p.state != STATE_SKIP \
            and not p.block_flags & BLOCK_OPEN:
        oisp_buffer_free(&p.held)
    if p.region.data != NULL and p.state != STATE_SEEK and p.region_at >= p.region.size:
        oisp_buffer_free(&p.region)
        p.region_at = 0


cdef void http2_release(oisp_http2* p) noexcept nogil:
    release(p)


cdef void http2_init(oisp_http2* p, int role, oisp_buffer* work, size_t head_max, size_t fields_max, size_t table_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.role = <uint8_t> role
    p.work = work
    p.head_max = <uint32_t> (head_max if head_max < 0x7FFFFFFF else 0x7FFFFFFF)
    p.frame_max = FRAME_MAX
    p.state = STATE_PREFACE if role == OISP_TOKEN_REQUEST else STATE_FIRST
    hpack_init(&p.table, table_max, fields_max, head_max)


cdef oisp_status http2_feed(oisp_http2* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef input i
    cdef int answer = STEP_WAIT
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status> p.failed
    if p.state == STATE_SEEK and size:
        if not seek(p, data, size):
            p.offset += size
            used[0] = size
            if p.state == STATE_SEEK:
                return OISP_OK
            size = 0
    if p.region_at < p.region.size and p.state != STATE_SEEK:
        i.data, i.size, i.pos = p.region.data, p.region.size, p.region_at
        i.base = p.offset - p.region.size
        answer = run(p, &i, out)
        p.region_at = <uint32_t> i.pos
        if answer != STEP_WAIT or used[0]:
            return answered(p, answer, out)
    i.data, i.size, i.pos, i.base = data, size, 0, p.offset
    answer = run(p, &i, out)
    p.offset += i.pos
    used[0] += i.pos
    return answered(p, answer, out)


cdef oisp_status answered(oisp_http2* p, int answer, oisp_tokens* out) noexcept nogil:
    if answer == STEP_FAIL and p.block_flags & BLOCK_OPEN and out.count:
        p.state = STATE_LOST
        return OISP_FULL
    if answer == STEP_FAIL:
        lose_block(p, out)
        p.failed = OISP_BAD
        return OISP_BAD
    if answer == STEP_STOP:
        return OISP_FULL
    return OISP_OK if http2_idle(p) else OISP_MORE


cdef oisp_status http2_gap(oisp_http2* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef uint32_t n
    cdef int answer = STEP_ON
    release(p)
    if p.failed:
        return <oisp_status> p.failed
    if out.capacity - out.count < 2 * ROOM:
        return OISP_FULL
    if size == 0:
        return OISP_OK
    if p.state == STATE_SEEK:
        drop_region(p)
        p.offset += size
        return OISP_OK
    if p.state < STATE_PAD or p.state == STATE_BLOCK or p.state == STATE_LOST:
        return lose_framing(p, size, out)
    if p.state == STATE_HOLD and not is_block(p):
        lose_control(p, out)
        p.state = STATE_SKIP
    n = p.left if p.left < size else <uint32_t> size
    answer = gap_in_frame(p, n, out)
    p.offset += n
    if answer == STEP_FAIL or size > n:
        return lose_framing(p, size - n, out)
    return OISP_OK


cdef oisp_status lose_framing(oisp_http2* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    p.offset += size
    lose_block(p, out)
    p.failed = OISP_BAD
    return OISP_BAD


cdef int gap_in_frame(oisp_http2* p, uint32_t size, oisp_tokens* out) noexcept nogil:
    """`size` bytes of the payload in progress are missing."""
    cdef uint32_t missing = size
    if p.state == STATE_PAD or p.state == STATE_DATA:
        if p.state == STATE_PAD:  # how much of the rest is padding will not be known: it counts as data
            missing -= 1
            p.pad = 0
        elif missing > p.left - p.pad:
            missing = p.left - p.pad if p.left > p.pad else 0
        if missing:
            push(p, out, OISP_TOKEN_GAP, p.stream, p.offset).number = missing
        p.left -= size
        p.state = STATE_DATA
        if p.left == 0:
            end_data(p, out)
        return STEP_ON
    if p.state == STATE_HOLD and is_block(p):
        p.block_flags |= BLOCK_CUT
    p.left -= size
    p.state = STATE_SKIP
    if p.left == 0:
        return end_skipped(p, out)
    return STEP_ON


cdef oisp_status http2_finish(oisp_http2* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status> p.failed
    if out.capacity - out.count < 2 * ROOM:
        return OISP_FULL
    if p.state == STATE_SEEK:
        drop_region(p)
        return OISP_OK
    if http2_idle(p):
        return OISP_OK
    lose_block(p, out)
    return OISP_MORE


cdef void http2_resync(oisp_http2* p) noexcept nogil:
    if p.region_at < p.region.size:
        p.skipped += p.region.size - p.region_at
    oisp_buffer_free(&p.region)
    oisp_buffer_free(&p.held)
    p.region_at = 0
    p.at = 0
    p.head_size = 0
    p.block_flags = 0
    p.left = p.pad = 0
    p.failed = 0
    p.table.failed = 0
    hpack_lost(&p.table)
    p.state = STATE_SEEK


cdef void http2_setting(oisp_http2* p, uint32_t identifier, uint64_t value) noexcept nogil:
    if identifier == OISP_SETTING_TABLE_SIZE:
        hpack_allow(&p.table, <uint32_t> value)
    elif identifier == OISP_SETTING_FRAME_SIZE and value > p.frame_max:
        p.frame_max = <uint32_t> (value if value < FRAME_LARGEST else FRAME_LARGEST)
    elif identifier == OISP_SETTING_LOST:
        hpack_allow_any(&p.table)
        p.settings_lost = 1


cdef void http2_free(oisp_http2* p) noexcept nogil:
    hpack_free(&p.table)
    oisp_buffer_free(&p.held)
    oisp_buffer_free(&p.region)


cdef void http2_reset(oisp_http2* p) noexcept nogil:
    cdef int role = p.role
    cdef size_t head_max = p.head_max
    cdef size_t fields_max = p.table.fields_max
    cdef size_t table_max = p.table.keep
    cdef oisp_buffer* work = p.work
    http2_free(p)
    http2_init(p, role, work, head_max, fields_max, table_max)


cdef int http2_idle(const oisp_http2* p) noexcept nogil:
    return p.state == STATE_HEAD and p.head_size == 0 and not p.block_flags & BLOCK_OPEN and not p.failed \
        and p.region_at >= p.region.size


cdef int http2_seeking(const oisp_http2* p) noexcept nogil:
    return p.state == STATE_SEEK


cdef size_t http2_memory(const oisp_http2* p) noexcept nogil:
    return hpack_memory(&p.table) + p.held.capacity + p.region.capacity


cdef int http2_role(const uint8_t* data, size_t size) noexcept nogil:
    """By the first field of a HEADERS frame: pseudo fields come first, and those of requests and responses differ."""
    cdef size_t at = 0
    cdef size_t field
    cdef uint8_t first
    cdef frame f
    while at + HEAD_SIZE <= size:
        read_frame(data + at, &f)
        field = at + HEAD_SIZE
        if f.kind == FRAME_PUSH_PROMISE:
            return OISP_TOKEN_RESPONSE
        if f.kind == FRAME_HEADERS:
            field += (1 if f.flags & PADDED else 0) + (5 if f.flags & PRIORITY else 0)
            while field < size and data[field] & 0xE0 == 0x20 and data[field] & 0x1F != 0x1F:
                field += 1  # a size update of one byte
            first = data[field] if field < size else 0
            # Static indices 1 to 7 are fields of requests, 8 to 14 statuses; indexed, or as the name of a literal.
            if 0x81 <= first <= 0x87 or 0x41 <= first <= 0x47 or 1 <= first <= 7 or 0x11 <= first <= 0x17:
                return OISP_TOKEN_REQUEST
            if 0x88 <= first <= 0x8E or 0x48 <= first <= 0x4E or 8 <= first <= 14 or 0x18 <= first <= 0x1E:
                return OISP_TOKEN_RESPONSE
        at += HEAD_SIZE + f.size
    return 0


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef enum:
    FACE_TOKENS = 64

ROLES = {"request": OISP_TOKEN_REQUEST, "response": OISP_TOKEN_RESPONSE}


cdef class Http2Parser:
    cdef oisp_http2 p
    cdef oisp_buffer work
    cdef oisp_token space[FACE_TOKENS]
    cdef oisp_tokens out
    cdef readonly object status

    def __cinit__(self, role, *, bint midway=False, size_t head_max=262144, size_t fields_max=256, size_t table_max=65536):
        if role not in ROLES:
            raise ValueError(f"role must be 'request' or 'response', got {role!r}")
        http2_init(&self.p, ROLES[role], &self.work, head_max, fields_max, table_max)
        self.out.at = self.space
        self.out.capacity = FACE_TOKENS
        self.status = Status.OK
        if midway:
            http2_setting(&self.p, OISP_SETTING_LOST, 0)
            http2_resync(&self.p)

    def __dealloc__(self):
        http2_free(&self.p)
        oisp_buffer_free(&self.work)

    @property
    def idle(self):
        return http2_idle(&self.p) == 1

    @property
    def seeking(self):
        return http2_seeking(&self.p) == 1

    @property
    def offset(self):
        return self.p.offset

    @property
    def skipped(self):
        return self.p.skipped

    @property
    def held(self):
        return self.p.held.capacity + self.p.region.capacity

    @property
    def memory(self):
        return sizeof(oisp_http2) + http2_memory(&self.p)

    def feed(self, data):
        cdef Py_buffer view
        cdef size_t used = 0
        cdef size_t pos = 0
        cdef oisp_status status = OISP_OK
        cdef list tokens = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while True:
                self.out.count = 0
                status = http2_feed(&self.p, <const uint8_t*> view.buf + pos, <size_t> view.len - pos, &self.out, &used)
                tokens += tokens_as_objects(Token.make, &self.out)
                pos += used
                if status != OISP_FULL:
                    break
        finally:
            PyBuffer_Release(&view)
        http2_release(&self.p)
        self.status = Status(status)
        return tokens

    def gap(self, uint64_t size):
        self.out.count = 0
        self.status = Status(http2_gap(&self.p, size, &self.out))
        return tokens_as_objects(Token.make, &self.out)

    def finish(self):
        self.out.count = 0
        self.status = Status(http2_finish(&self.p, &self.out))
        return tokens_as_objects(Token.make, &self.out)

    def resync(self):
        http2_resync(&self.p)
        self.status = Status.OK

    def setting(self, identifier, value=0):
        if identifier is None:
            http2_setting(&self.p, OISP_SETTING_LOST, 0)
        elif not (0 <= identifier <= 0xFFFF and 0 <= value <= UINT32_MAX):
            raise ValueError(f"a setting has 16 bits of identifier and 32 of value, got {identifier} and {value}")
        else:
            http2_setting(&self.p, identifier, value)

    def reset(self):
        http2_reset(&self.p)
        self.status = Status.OK


def role_of(data):
    cdef Py_buffer view
    cdef int answer
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    answer = http2_role(<const uint8_t*> view.buf, <size_t> view.len)
    PyBuffer_Release(&view)
    return {OISP_TOKEN_REQUEST: "request", OISP_TOKEN_RESPONSE: "response"}.get(answer)
