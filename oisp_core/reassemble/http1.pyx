# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.0 and 1.1 as an observer reads it: one direction of one connection, bytes in, tokens out (RFC 9112).

What it is not: a client or a server. It takes no side, answers nothing, and reads on where a peer may have refused; what it
forgave is said by a WARNING token, and what two peers could frame differently is BAD rather than guessed.

A head is given out when it is whole, all of it in one call where the array has room. Where it lies in one segment its tokens
point there; otherwise it is held (bounded by head_max), and the tokens point into `held` until the next call. Trailer
sections are read the same way. Nothing about the tokens depends on where the input was cut, but for the number of DATA.

After BAD or LIMIT the parser keeps giving that answer until it is reset.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memmove, memset

from oisp_core.reassemble.face cimport Parser
from oisp_core.types cimport (
    OISP_BAD,
    OISP_BODY_CHUNKED,
    OISP_BODY_CLOSE,
    OISP_BODY_LENGTH,
    OISP_BODY_NONE,
    OISP_BODY_TUNNEL,
    OISP_FULL,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    OISP_TOKEN_DATA,
    OISP_TOKEN_END,
    OISP_TOKEN_FIELD,
    OISP_TOKEN_GAP,
    OISP_TOKEN_HEAD_END,
    OISP_TOKEN_REQUEST,
    OISP_TOKEN_RESPONSE,
    OISP_TOKEN_TRAILER,
    OISP_TOKEN_UPGRADE,
    OISP_TOKEN_WARNING,
    OISP_WARNING_BAD_FIELD,
    OISP_WARNING_BARE_LF,
    OISP_WARNING_BLANK_BEFORE_COLON,
    OISP_WARNING_CONFLICTING_LENGTH,
    OISP_WARNING_DUPLICATE_LENGTH,
    OISP_WARNING_OBS_FOLD,
    OISP_WARNING_TRANSFER_CODING,
    oisp_buffer,
    oisp_buffer_append,
    oisp_buffer_free,
    oisp_status,
    oisp_token,
    oisp_tokens,
    oisp_tokens_add,
    oisp_tokens_push,
)


from oisp_core.reassemble.tokens import Status


cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_token_run(const uint8_t* data, size_t size)
    size_t oisp_value_run(const uint8_t* data, size_t size)
    size_t oisp_target_run(const uint8_t* data, size_t size)
    size_t oisp_find_lf(const uint8_t* data, size_t size)
    int oisp_is_token(uint8_t c)
    int oisp_equal_nocase(const uint8_t* data, const char* lower, size_t size)
    int oisp_hex(uint8_t c)
    void oisp_prefetch(const void* at)


cdef enum:
    STATE_IDLE = 0         # between messages: CR and LF are skipped
    STATE_HEAD = 1         # start line and fields
    STATE_DECIDE = 2       # after HEAD_END: the caller may say that there is no body, or that a tunnel begins
    STATE_LENGTH = OISP_HTTP1_LENGTH  # body of known length
    STATE_CLOSE = 4        # body until the stream ends
    STATE_CHUNK_SIZE = OISP_HTTP1_CHUNK_SIZE  # digits of the chunk size
    STATE_CHUNK_BLANK = 6  # blanks after the digits
    STATE_CHUNK_EXT = 7    # chunk extension
    STATE_CHUNK_LF = 8     # CR of the chunk-size line was read
    STATE_CHUNK_DATA = OISP_HTTP1_CHUNK_DATA
    STATE_DATA_CR = 10     # after the data of a chunk
    STATE_DATA_LF = 11
    STATE_TRAILERS = 12
    STATE_END = 13         # the END token waits for room
    STATE_UPGRADE = 14     # the UPGRADE token waits for room
    STATE_TUNNEL = 15      # another protocol: feed takes nothing

cdef enum:
    HOLD_NONE = 0
    HOLD_GATHER = 1  # the end of the head is not held yet
    HOLD_WHOLE = 2   # the held head is whole and being read

cdef enum:
    HEAD_LENGTH = 1        # a Content-Length was read
    HEAD_LENGTH_BAD = 2    # not a number, or two that differ
    HEAD_CODING = 4        # a Transfer-Encoding other than identity
    HEAD_CHUNKED = 8       # whose last coding is chunked
    HEAD_CODED = 16        # with others beside it
    HEAD_FRAMING_BAD = 32  # a field that frames the message could not be read
    HEAD_CONNECT = 64
    HEAD_LENGTH_TWICE = 128
    HEAD_TUNNEL = 256      # the caller said so

# What a function that takes one step of the machine answers.
cdef enum:
    STEP_ON = 0    # go on
    STEP_WAIT = 1  # the input is used up
    STEP_STOP = 2  # give control to the caller
    STEP_FAIL = 3  # p.failed says why

# What a function that reads lines of a head answers.
cdef enum:
    LINE_READ = 0
    LINE_END = 1    # the blank line
    LINE_NEED = 2   # the input ends inside the line
    LINE_FULL = 3   # no room for its tokens
    LINE_LIMIT = 4  # too many fields
    LINE_BAD = 5
    LINE_COPY = 6   # it must be rewritten (obs-fold), which input is not ours to do

cdef enum:
    ROOM = 6             # tokens that one step may add
    METHOD_MAX = 32      # the longest registered method (UPDATEREDIRECTREF) has 17 bytes
    CHUNK_LINE_MAX = 16384  # size and extensions of one chunk; llhttp and hyper allow 16 KiB of extensions
    PROBE_FIELDS_MAX = 1024
    PIECE = 2048         # bytes held at once before the end of the head is looked for

# A head's lines, wherever they lie.
ctypedef struct lines:
    const uint8_t* data
    size_t size
    size_t at         # start of the next line
    uint64_t base     # stream offset of data[0]
    uint8_t* rewrite  # the same bytes where they are ours, else NULL


cdef inline int fail(oisp_http1* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    p.holding = HOLD_NONE
    return STEP_FAIL


cdef inline void warn(oisp_tokens* out, int warning, uint64_t offset) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_WARNING)
    if t is not NULL:
        t.number = <uint64_t>warning
        t.offset = offset


cdef inline void warn_bare_lf(oisp_http1* p, oisp_tokens* out, uint64_t offset) noexcept nogil:
    if not p.head.bare_lf:
        p.head.bare_lf = 1
        warn(out, OISP_WARNING_BARE_LF, offset)


# ---- start lines ---------------------------------------------------------------------------------------------------------

# Positions within a start line, from its first byte.
ctypedef struct start:
    size_t method_size
    size_t text       # target or reason
    size_t text_size
    size_t end        # after the line end
    uint16_t status
    uint8_t minor
    uint8_t bare_lf


# "HTTP/1." and a digit. LINE_READ, LINE_NEED while it could still be, LINE_BAD.
cdef inline int version(const uint8_t* d, size_t n, uint8_t* minor) noexcept nogil:
    if n < 8:
        return LINE_NEED if memcmp(d, b"HTTP/1.", n if n < 7 else 7) == 0 else LINE_BAD
    if memcmp(d, b"HTTP/1.", 7) != 0 or <uint8_t>(d[7] - c'0') > 9:
        return LINE_BAD
    minor[0] = d[7] - c'0'
    return LINE_READ


# RFC 9112 section 3. Strict: single blanks, no controls; leniency here would let body bytes pass for a head at resync.
# `scanned`: the target is known to hold no stop before it.
cdef int request_line(const uint8_t* d, size_t n, size_t* scanned, start* s) noexcept nogil:
    cdef size_t i = oisp_token_run(d, n if n <= METHOD_MAX else METHOD_MAX + 1)
    cdef int answer
    if i == n and n <= METHOD_MAX:
        return LINE_NEED
    if i == 0 or i > METHOD_MAX or d[i] != c' ':
        return LINE_BAD
    s.method_size = i
    s.text = i + 1
    i = scanned[0] if scanned[0] > s.text else s.text
    i += oisp_target_run(d + i, n - i)
    scanned[0] = i
    if i == n:
        return LINE_NEED
    s.text_size = i - s.text
    if s.text_size == 0 or d[i] != c' ':
        return LINE_BAD
    i += 1
    answer = version(d + i, n - i, &s.minor)
    if answer != LINE_READ:
        return answer
    return line_end(d, n, i + 8, s)


cdef inline int line_end(const uint8_t* d, size_t n, size_t i, start* s) noexcept nogil:
    if i == n:
        return LINE_NEED
    if d[i] == c'\n':
        s.bare_lf = 1
        s.end = i + 1
        return LINE_READ
    if d[i] != c'\r':
        return LINE_BAD
    if i + 1 == n:
        return LINE_NEED
    if d[i + 1] != c'\n':
        return LINE_BAD
    s.end = i + 2
    return LINE_READ


# RFC 9112 section 4. The reason and the blank before it may be missing, as some servers leave them out.
cdef int status_line(const uint8_t* d, size_t n, size_t* scanned, start* s) noexcept nogil:
    cdef size_t i
    cdef int answer = version(d, n, &s.minor)
    if answer != LINE_READ:
        return answer
    for i in range(8, 12):
        if i == n:
            return LINE_NEED
        if d[i] != c' ' if i == 8 else <uint8_t>(d[i] - c'0') > 9:
            return LINE_BAD
    if d[9] == c'0':
        return LINE_BAD
    s.status = (d[9] - c'0') * 100 + (d[10] - c'0') * 10 + (d[11] - c'0')
    s.text = 12
    if n == 12:
        return LINE_NEED
    if d[12] != c' ':
        return line_end(d, n, 12, s)
    s.text = 13
    i = scanned[0] if scanned[0] > 13 else 13
    i += oisp_value_run(d + i, n - i)
    scanned[0] = i
    s.text_size = i - 13
    return line_end(d, n, i, s)


cdef int start_line(oisp_http1* p, lines* head, oisp_tokens* out) noexcept nogil:
    cdef start s
    cdef oisp_token* t
    cdef size_t scanned = 0
    cdef const uint8_t* d = head.data + head.at
    cdef int answer
    memset(&s, 0, sizeof(s))
    if p.role == OISP_TOKEN_REQUEST:
        answer = request_line(d, head.size - head.at, &scanned, &s)
    else:
        answer = status_line(d, head.size - head.at, &scanned, &s)
    if answer != LINE_READ:
        return answer
    t = oisp_tokens_push(out, p.role)
    t.data = d + s.text
    t.size = <uint32_t>s.text_size
    t.offset = head.base + head.at + s.text
    p.head.minor = s.minor
    if p.role == OISP_TOKEN_REQUEST:
        t.name = d
        t.name_size = <uint32_t>s.method_size
        t.number = s.minor
        if s.method_size == 7 and memcmp(d, b"CONNECT", 7) == 0:
            p.head.flags |= HEAD_CONNECT
    else:
        t.number = s.status
        t.flags = s.minor
        p.head.status = s.status
    if s.bare_lf:
        warn_bare_lf(p, out, head.base + head.at + s.end - 1)
    p.head.started = 1
    head.at += s.end
    return LINE_READ


# ---- field lines ---------------------------------------------------------------------------------------------------------

cdef inline int is_blank(uint8_t c) noexcept nogil:
    return c == c' ' or c == c'\t'


cdef inline bint is_framing_name(const uint8_t* name, size_t size) noexcept nogil:
    return ((size == 14 and oisp_equal_nocase(name, b"content-length", 14))
            or (size == 17 and oisp_equal_nocase(name, b"transfer-encoding", 17)))


# Content-Length: one number, or a list of equal ones (RFC 9112 section 6.3, 5).
cdef void read_length(oisp_http1* p, const uint8_t* v, size_t n, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef size_t i = 0
    cdef size_t digits
    cdef uint64_t value
    while True:
        while i < n and is_blank(v[i]):
            i += 1
        value = 0
        digits = 0
        while i < n and <uint8_t>(v[i] - c'0') < 10 and value < (<uint64_t>1 << 59):
            value = value * 10 + (v[i] - c'0')
            digits += 1
            i += 1
        while i < n and is_blank(v[i]):
            i += 1
        if digits == 0 or (i < n and v[i] != c','):
            p.head.flags |= HEAD_LENGTH_BAD
            return
        if not p.head.flags & HEAD_LENGTH:
            p.head.flags |= HEAD_LENGTH
            p.head.length = value
        elif p.head.length != value:
            p.head.flags |= HEAD_LENGTH_BAD
        elif not p.head.flags & HEAD_LENGTH_TWICE:
            p.head.flags |= HEAD_LENGTH_TWICE
            warn(out, OISP_WARNING_DUPLICATE_LENGTH, offset)
        if i == n:
            return
        i += 1


# Transfer-Encoding: a list over all its fields; only its last coding frames (RFC 9112 section 6.1).
cdef void read_coding(oisp_http1* p, const uint8_t* v, size_t n) noexcept nogil:
    cdef size_t i = 0
    cdef size_t begin
    cdef size_t size
    while i < n:
        while i < n and (is_blank(v[i]) or v[i] == c','):
            i += 1
        begin = i
        while i < n and v[i] != c',' and v[i] != c';' and not is_blank(v[i]):
            i += 1
        size = i - begin
        while i < n and v[i] != c',':
            i += 1
        if size == 0 or (size == 8 and oisp_equal_nocase(v + begin, b"identity", 8)):
            continue
        if size == 7 and oisp_equal_nocase(v + begin, b"chunked", 7):
            if p.head.flags & HEAD_CHUNKED:
                p.head.flags |= HEAD_CODED
            p.head.flags |= HEAD_CODING | HEAD_CHUNKED
        else:
            p.head.flags = (p.head.flags | HEAD_CODING | HEAD_CODED) & ~HEAD_CHUNKED


# A line that is no field is passed over and said; if it may have framed the message, the message has no framing.
cdef int bad_line(oisp_http1* p, lines* head, oisp_tokens* out) noexcept nogil:
    cdef const uint8_t* d = head.data
    cdef size_t begin = head.at
    cdef size_t end = begin + oisp_find_lf(d + begin, head.size - begin)
    if end == head.size:
        return LINE_NEED
    warn(out, OISP_WARNING_BAD_FIELD, head.base + begin)
    head.at = end + 1
    while begin < end and not oisp_is_token(d[begin]):
        begin += 1
    if is_framing_name(d + begin, oisp_token_run(d + begin, end - begin)):
        p.head.flags |= HEAD_FRAMING_BAD
    p.head.fields += 1
    return LINE_READ


# The end of the line at `i`, which stopped a run of value bytes: the index after it; 0 where it is no line end; size + 1
# where the input ends before that is known.
cdef inline size_t after_line(const uint8_t* d, size_t n, size_t i) noexcept nogil:
    if i == n:
        return n + 1
    if d[i] == c'\n':
        return i + 1
    if d[i] != c'\r':
        return 0
    if i + 1 == n:
        return n + 1
    return i + 2 if d[i + 1] == c'\n' else 0


# Continuation lines (RFC 9112 section 5.2): each is joined to the value by one blank, in place. Gives the end of the value.
cdef size_t unfold(lines* head, size_t value, size_t end, size_t* next_line) noexcept nogil:
    cdef const uint8_t* d = head.data
    cdef size_t i = next_line[0]
    cdef size_t stop
    cdef size_t size
    while i < head.size and is_blank(d[i]):
        while i < head.size and is_blank(d[i]):
            i += 1
        size = oisp_value_run(d + i, head.size - i)
        stop = after_line(d, head.size, i + size)
        if stop == 0 or stop > head.size:
            return 0
        while size and is_blank(d[i + size - 1]):
            size -= 1
        if size:
            if end > value:
                head.rewrite[end] = c' '
                end += 1
            memmove(head.rewrite + end, d + i, size)
            end += size
        i = stop
    next_line[0] = i
    return end


cdef int field_line(oisp_http1* p, lines* head, int kind, oisp_tokens* out) noexcept nogil:
    cdef const uint8_t* d = head.data
    cdef size_t n = head.size
    cdef size_t begin = head.at
    cdef size_t name_size = oisp_token_run(d + begin, n - begin)
    cdef size_t i = begin + name_size
    cdef size_t value
    cdef size_t end
    cdef size_t next_line
    while i < n and is_blank(d[i]):
        i += 1
    if i == n:
        return LINE_NEED
    if name_size == 0 or d[i] != c':':
        return bad_line(p, head, out)
    value = i + 1
    while value < n and is_blank(d[value]):
        value += 1
    end = value + oisp_value_run(d + value, n - value)
    next_line = after_line(d, n, end)
    if next_line == 0:
        return bad_line(p, head, out)
    if next_line >= n:  # a line is whole when the byte after it tells that it is not continued
        return LINE_NEED
    if d[next_line - 2] != c'\r':
        warn_bare_lf(p, out, head.base + next_line - 1)
    while end > value and is_blank(d[end - 1]):
        end -= 1
    if is_blank(d[next_line]):
        if head.rewrite is NULL:
            return LINE_COPY
        end = unfold(head, value, end, &next_line)
        if end == 0:
            return bad_line(p, head, out)
        warn(out, OISP_WARNING_OBS_FOLD, head.base + begin)
    if d[begin + name_size] != c':':
        warn(out, OISP_WARNING_BLANK_BEFORE_COLON, head.base + begin)
    if kind == OISP_TOKEN_FIELD:
        if name_size == 14 and oisp_equal_nocase(d + begin, b"content-length", 14):
            read_length(p, d + value, end - value, head.base + value, out)
        elif name_size == 17 and oisp_equal_nocase(d + begin, b"transfer-encoding", 17):
            read_coding(p, d + value, end - value)
    oisp_tokens_add(out, <uint16_t>kind, head.base + value, d + begin, <uint32_t>name_size, d + value, <uint32_t>(end - value))
    p.head.fields += 1
    head.at = next_line
    return LINE_READ


# Lines until the blank one.
cdef int head_lines(oisp_http1* p, lines* head, int kind, oisp_tokens* out) noexcept nogil:
    cdef int answer
    cdef size_t end
    if not p.head.started:
        answer = start_line(p, head, out)
        if answer != LINE_READ:
            return answer
    while True:
        if out.capacity - out.count < ROOM:
            return LINE_FULL
        if head.at == head.size:
            return LINE_NEED
        if head.data[head.at] == c'\r' or head.data[head.at] == c'\n':
            end = after_line(head.data, head.size, head.at)
            if end > head.size:
                return LINE_NEED
            if end:
                if end == head.at + 1:
                    warn_bare_lf(p, out, head.base + head.at)
                head.at = end
                return LINE_END
        if p.head.fields >= p.fields_max:
            return LINE_LIMIT
        answer = field_line(p, head, kind, out)
        if answer != LINE_READ:
            return answer


# ---- heads: whole in the segment, or held --------------------------------------------------------------------------------

# Index after the blank line that ends the head, 0 if it is not there yet. data[0] is the start of a line.
cdef size_t find_head_end(const uint8_t* d, size_t n, uint32_t* scanned) noexcept nogil:
    cdef size_t i = scanned[0]
    if n == 0:
        return 0
    if d[0] == c'\n':
        return 1
    if d[0] == c'\r' and n > 1 and d[1] == c'\n':
        return 2
    while True:
        i += oisp_find_lf(d + i, n - i)
        scanned[0] = <uint32_t>i
        if i + 1 >= n:
            return 0
        if d[i + 1] == c'\n':
            return i + 2
        if d[i + 1] == c'\r':
            if i + 2 == n:
                return 0
            if d[i + 2] == c'\n':
                return i + 3
        i += 1


# The start line is looked at as soon as it is there, so that what is no HTTP is refused without waiting for a blank line.
cdef bint held_start_is_bad(oisp_http1* p) noexcept nogil:
    cdef start s
    cdef size_t scanned = p.at
    cdef int answer
    if p.head.started or p.at == <uint32_t>-1:
        return False
    memset(&s, 0, sizeof(s))
    if p.role == OISP_TOKEN_REQUEST:
        answer = request_line(p.held.data, p.held.size, &scanned, &s)
    else:
        answer = status_line(p.held.data, p.held.size, &scanned, &s)
    p.at = <uint32_t>-1 if answer == LINE_READ else <uint32_t>scanned
    return answer == LINE_BAD


cdef int gather(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    cdef size_t room
    cdef size_t n
    cdef size_t end
    while pos[0] < size:
        room = p.head_max + 1 - p.head_size - p.held.size
        n = size - pos[0]
        n = PIECE if n > PIECE else n
        n = room if n > room else n
        if not oisp_buffer_append(&p.held, data + pos[0], n):
            return fail(p, OISP_LIMIT)
        pos[0] += n
        if held_start_is_bad(p):
            return fail(p, OISP_BAD)
        end = find_head_end(p.held.data, p.held.size, &p.scanned)
        if end:
            pos[0] -= p.held.size - end
            p.held.size = <uint32_t>end
        if <size_t>p.head_size + p.held.size > p.head_max:
            return fail(p, OISP_LIMIT)
        if end:
            p.holding = HOLD_WHOLE
            p.at = 0
            return STEP_ON
    return STEP_WAIT


cdef int held_head(oisp_http1* p, int kind, uint64_t after, oisp_tokens* out) noexcept nogil:
    cdef lines head
    cdef int answer
    if p.at == 0 and out.count:
        return STEP_STOP  # the whole head in one array, if it fits at all
    head.data = p.held.data
    head.rewrite = p.held.data
    head.size = p.held.size
    head.at = p.at
    head.base = after - p.held.size
    answer = head_lines(p, &head, kind, out)
    p.at = <uint32_t>head.at
    if answer == LINE_FULL:
        return STEP_STOP
    p.holding = HOLD_NONE
    if answer == LINE_END:
        return head_end(p, kind, after, out, True)
    return fail(p, OISP_LIMIT if answer == LINE_LIMIT else OISP_BAD)


cdef int read_head(oisp_http1* p, int kind, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef lines head
    cdef oisp_http1_head saved
    cdef uint32_t count = out.count
    cdef uint32_t scanned = 0
    cdef size_t room
    cdef int answer
    if p.holding == HOLD_GATHER:
        answer = gather(p, data, size, pos)
        if answer != STEP_ON:
            return answer
    if p.holding == HOLD_WHOLE:
        return held_head(p, kind, p.offset + pos[0], out)
    if pos[0] == size:
        return STEP_WAIT
    saved = p.head
    room = p.head_max - p.head_size
    head.data = data
    head.rewrite = NULL
    head.at = pos[0]
    head.size = size if size - pos[0] <= room else pos[0] + room
    head.base = p.offset
    answer = head_lines(p, &head, kind, out)
    if answer == LINE_END:
        pos[0] = head.at
        return head_end(p, kind, p.offset + pos[0], out, False)
    if answer == LINE_BAD:
        return fail(p, OISP_BAD)
    if answer == LINE_FULL and count:
        p.head = saved
        out.count = count
        return STEP_STOP
    if answer == LINE_FULL or answer == LINE_LIMIT:
        if find_head_end(data + head.at, head.size - head.at, &scanned):
            p.head_size += <uint32_t>(head.at - pos[0])
            pos[0] = head.at
            return STEP_STOP if answer == LINE_FULL else fail(p, OISP_LIMIT)
    p.head = saved
    out.count = count
    p.holding = HOLD_GATHER
    p.scanned = 0
    p.at = 0
    return STEP_ON


# The blank line was read: how does the body end (RFC 9112 section 6.3)?
cdef int head_end(oisp_http1* p, int kind, uint64_t offset, oisp_tokens* out, bint held) noexcept nogil:
    cdef oisp_token* t
    cdef int body
    p.head_size = 0
    if kind == OISP_TOKEN_TRAILER:
        p.state = STATE_END
        p.end_flags = 0
        if held:  # its tokens point into what the next head may need
            push_end(p, offset, out)
            return STEP_STOP
        return STEP_ON
    body = body_kind(p, offset, out)
    if body < 0:
        return fail(p, OISP_BAD)
    p.body = <uint8_t>body
    p.state = STATE_DECIDE
    t = oisp_tokens_push(out, OISP_TOKEN_HEAD_END)
    t.offset = offset
    t.flags = <uint16_t>body
    if body == OISP_BODY_LENGTH:
        t.number = p.head.length
    return STEP_STOP


cdef int body_kind(oisp_http1* p, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef int flags = p.head.flags
    cdef bint request = p.role == OISP_TOKEN_REQUEST
    if flags & HEAD_FRAMING_BAD or (flags & HEAD_LENGTH_BAD) or (flags & HEAD_CODING and flags & HEAD_LENGTH):
        warn(out, OISP_WARNING_CONFLICTING_LENGTH, offset)
    if flags & HEAD_CODED or (flags & HEAD_CODING and p.head.minor == 0):
        warn(out, OISP_WARNING_TRANSFER_CODING, offset)
    if not request and (p.head.status < 200 or p.head.status == 204 or p.head.status == 304):
        return OISP_BODY_TUNNEL if p.head.status == 101 else OISP_BODY_NONE
    if flags & HEAD_CONNECT:
        return OISP_BODY_TUNNEL
    if flags & HEAD_FRAMING_BAD:
        return -1
    if flags & HEAD_CODING:  # wins over a length (6.3, 3)
        if flags & HEAD_CHUNKED:
            return OISP_BODY_CHUNKED
        return -1 if request else OISP_BODY_CLOSE
    if flags & HEAD_LENGTH_BAD:
        return -1
    if flags & HEAD_LENGTH:
        return OISP_BODY_LENGTH
    return OISP_BODY_NONE if request else OISP_BODY_CLOSE


# ---- bodies --------------------------------------------------------------------------------------------------------------

cdef inline void push_end(oisp_http1* p, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_END)
    t.offset = offset
    t.flags = p.end_flags
    p.state = STATE_UPGRADE if p.body == OISP_BODY_TUNNEL else STATE_IDLE
    p.body = OISP_BODY_NONE
    p.end_flags = 0
    memset(&p.head, 0, sizeof(p.head))


cdef inline void push_upgrade(oisp_http1* p, uint64_t offset, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_UPGRADE)
    t.offset = offset
    p.state = STATE_TUNNEL


# What follows the head, when the caller has had its say.
cdef inline void begin_body(oisp_http1* p) noexcept nogil:
    p.end_flags = 0
    if p.body == OISP_BODY_LENGTH and p.head.length:
        p.left = p.head.length
        p.state = STATE_LENGTH
    elif p.body == OISP_BODY_CHUNKED:
        begin_chunk_line(p)
    elif p.body == OISP_BODY_CLOSE:
        p.state = STATE_CLOSE
    else:
        if p.body == OISP_BODY_TUNNEL and p.role == OISP_TOKEN_REQUEST and not p.head.flags & HEAD_TUNNEL:
            p.body = OISP_BODY_NONE  # CONNECT: a tunnel only if the answer says so, http1_tunnel()
        p.state = STATE_END


cdef inline void begin_chunk_line(oisp_http1* p) noexcept nogil:
    p.state = STATE_CHUNK_SIZE
    p.left = 0
    p.line = 0


# The chunk-size line was read.
cdef inline int begin_chunk(oisp_http1* p) noexcept nogil:
    if p.left:
        p.state = STATE_CHUNK_DATA
    else:
        p.state = STATE_TRAILERS
        p.head.fields = 0
        p.head.started = 1
        p.head_size = 0
    return STEP_ON


cdef inline int body_data(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t n = size - pos[0]
    if n == 0:
        return STEP_WAIT
    if n > 0x7FFFFFFF:
        n = 0x7FFFFFFF
    if p.state != STATE_CLOSE:
        if n > p.left:
            n = <size_t>p.left
        p.left -= n
    oisp_tokens_add(out, OISP_TOKEN_DATA, p.offset + pos[0], NULL, 0, data + pos[0], <uint32_t>n)
    pos[0] += n
    if p.state != STATE_CLOSE and p.left == 0:
        p.state = STATE_END if p.state == STATE_LENGTH else STATE_DATA_CR
    return STEP_ON


# The usual case, in one loop: chunks that lie whole in the input, without extension. Stops, with nothing changed, before
# anything else.
cdef inline void whole_chunks(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef const uint8_t* at = data + pos[0]
    cdef const uint8_t* end = data + size
    cdef size_t length = 0
    cdef size_t start
    while out.capacity - out.count >= ROOM:
        start = oisp_http1_whole_chunk(at, end - at, &length)
        if start == 0:
            break
        at += start
        # Where the next chunk begins is known, where the one after it begins is guessed: about as far again.
        oisp_prefetch(at + 2 * length)
        oisp_prefetch(at + 2 * length + 64)
        oisp_tokens_add(out, OISP_TOKEN_DATA, p.offset + <size_t>(at - data), NULL, 0, at, <uint32_t>length)
        at += length + 2
    pos[0] = at - data


# Digits, and in the usual case the line end with them (RFC 9112 section 7.1).
cdef inline int chunk_size(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t i = pos[0]
    cdef uint64_t value = p.left
    cdef uint32_t line = p.line
    cdef int digit = 0
    if line == 0:
        whole_chunks(p, data, size, pos, out)
        if out.capacity - out.count < ROOM:
            return STEP_STOP
        i = pos[0]
    while i < size:
        digit = oisp_hex(data[i])
        if digit < 0:
            break
        if value >> 59:
            return fail(p, OISP_BAD)
        if line == CHUNK_LINE_MAX:
            return fail(p, OISP_LIMIT)
        value = value << 4 | <uint64_t>digit
        line += 1
        i += 1
    p.left = value
    p.line = line
    pos[0] = i
    if i == size:
        return STEP_WAIT
    if line == 0:
        return fail(p, OISP_BAD)
    if data[i] == c'\r' and i + 1 < size and data[i + 1] == c'\n':
        pos[0] = i + 2
        return begin_chunk(p)
    p.state = STATE_CHUNK_BLANK
    return STEP_ON


# After the digits: blanks, then an extension or the end of the line.
cdef int chunk_line_rest(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t i = pos[0]
    cdef size_t n = 0
    if p.state == STATE_CHUNK_BLANK:
        while i + n < size and is_blank(data[i + n]):
            n += 1
    elif p.state == STATE_CHUNK_EXT:
        n = oisp_value_run(data + i, size - i)
    if n > CHUNK_LINE_MAX - p.line:
        return fail(p, OISP_LIMIT)
    p.line += <uint32_t>n
    i += n
    pos[0] = i
    if i == size:
        return STEP_WAIT
    if p.state == STATE_CHUNK_LF:
        if data[i] != c'\n':
            return fail(p, OISP_BAD)
        pos[0] = i + 1
        return begin_chunk(p)
    if data[i] == c';' and p.state == STATE_CHUNK_BLANK:
        p.state = STATE_CHUNK_EXT
        return STEP_ON
    pos[0] = i + 1
    if data[i] == c'\r':
        p.state = STATE_CHUNK_LF
        return STEP_ON
    if data[i] != c'\n':
        pos[0] = i
        return fail(p, OISP_BAD)
    warn_bare_lf(p, out, p.offset + i)
    return begin_chunk(p)


cdef inline int after_chunk(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef size_t i = pos[0]
    if i == size:
        return STEP_WAIT
    if data[i] == c'\r' and p.state == STATE_DATA_CR:
        pos[0] = i + 1
        p.state = STATE_DATA_LF
        if i + 1 == size:
            return STEP_WAIT
        i += 1
    if data[i] != c'\n':
        return fail(p, OISP_BAD)
    if p.state == STATE_DATA_CR:
        warn_bare_lf(p, out, p.offset + i)
    pos[0] = i + 1
    begin_chunk_line(p)
    return STEP_ON


cdef inline int idle(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    # Blank lines before a head are skipped (RFC 9112 section 2.2): old clients sent one after a body.
    cdef size_t i = pos[0]
    while i < size and (data[i] == c'\r' or data[i] == c'\n'):
        i += 1
    pos[0] = i
    if i == size:
        return STEP_WAIT
    p.state = STATE_HEAD
    p.head_size = 0
    return STEP_ON


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef int step(oisp_http1* p, const uint8_t* data, size_t size, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef int state = p.state
    if state == STATE_CHUNK_DATA or state == STATE_LENGTH or state == STATE_CLOSE:
        return body_data(p, data, size, pos, out)
    if state == STATE_CHUNK_SIZE:
        return chunk_size(p, data, size, pos, out)
    if state == STATE_DATA_CR or state == STATE_DATA_LF:
        return after_chunk(p, data, size, pos, out)
    if state == STATE_IDLE:
        return idle(p, data, size, pos)
    if state == STATE_HEAD:
        return read_head(p, OISP_TOKEN_FIELD, data, size, pos, out)
    if state == STATE_DECIDE:
        begin_body(p)
        return STEP_ON
    if state == STATE_TRAILERS:
        return read_head(p, OISP_TOKEN_TRAILER, data, size, pos, out)
    if state == STATE_END:
        push_end(p, p.offset + pos[0], out)
        return STEP_STOP if p.role == OISP_TOKEN_RESPONSE and p.state == STATE_IDLE else STEP_ON
    if state == STATE_UPGRADE:
        push_upgrade(p, p.offset + pos[0], out)
        return STEP_STOP
    if state == STATE_TUNNEL:
        return STEP_STOP
    return chunk_line_rest(p, data, size, pos, out)


cdef inline void release(oisp_http1* p) noexcept nogil:
    # What the tokens of the last call pointed to.
    if p.held.data is not NULL and p.holding == HOLD_NONE:
        oisp_buffer_free(&p.held)


cdef void http1_init(oisp_http1* p, int role, size_t head_max, size_t fields_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.role = <uint8_t>role
    p.head_max = <uint32_t>(head_max if head_max < 0x7FFFFFFF else 0x7FFFFFFF)
    p.fields_max = <uint32_t>(fields_max if fields_max < 0x7FFFFFFF else 0x7FFFFFFF)


cdef oisp_status http1_feed(oisp_http1* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef int answer = STEP_ON
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    if p.state == STATE_CHUNK_SIZE and p.line == 0:  # a stream that gives its chunks as they come
        whole_chunks(p, data, size, &pos, out)
        answer = STEP_WAIT if pos == size else STEP_ON
    while answer == STEP_ON:
        if out.capacity - out.count < ROOM:
            answer = STEP_STOP
        else:
            answer = step(p, data, size, &pos, out)
    p.offset += pos
    used[0] = pos
    if answer == STEP_FAIL:
        return <oisp_status>p.failed
    if answer == STEP_STOP or p.state == STATE_IDLE:
        return OISP_OK
    return OISP_MORE


cdef void http1_no_body(oisp_http1* p) noexcept nogil:
    if p.state == STATE_DECIDE:
        p.body = OISP_BODY_NONE


cdef void http1_tunnel(oisp_http1* p) noexcept nogil:
    if p.state == STATE_DECIDE:
        p.body = OISP_BODY_TUNNEL
        p.head.flags |= HEAD_TUNNEL
    elif p.state == STATE_IDLE:
        p.state = STATE_UPGRADE


cdef oisp_status http1_gap(oisp_http1* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if out.capacity - out.count < ROOM:
        return OISP_FULL
    if size == 0:
        return OISP_OK
    if p.state == STATE_DECIDE:
        begin_body(p)
    if p.state == STATE_END:
        push_end(p, p.offset, out)
    if p.state == STATE_UPGRADE:
        push_upgrade(p, p.offset, out)
    if p.state == STATE_TUNNEL:
        p.offset += size
        return OISP_OK
    return gap_in_body(p, size, out)


# Arithmetic as far as it carries. The line end after a chunk may be missing too, where it is known to be CR LF: a peer that
# sent a bare LF before may do so again, and then the hole's last byte would be a digit of the next chunk size.
cdef oisp_status gap_in_body(oisp_http1* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef uint64_t line_end = 0 if p.head.bare_lf else 2
    cdef uint64_t missing = 0
    cdef uint64_t rest = size
    if p.state == STATE_CLOSE:
        missing = size
    elif p.state == STATE_LENGTH or p.state == STATE_CHUNK_DATA:
        missing = size if size < p.left else p.left
    rest -= missing
    if missing:
        push_gap(p, missing, out)
    if p.state == STATE_LENGTH:
        p.left -= missing
        if p.left == 0:
            push_end(p, p.offset, out)
    elif p.state == STATE_CHUNK_DATA:
        p.left -= missing
        if p.left == 0:
            p.state = STATE_DATA_CR
    if rest and (p.state == STATE_DATA_CR or p.state == STATE_DATA_LF):
        line_end = line_end if p.state == STATE_DATA_CR else 1
        if rest <= line_end:
            p.offset += rest
            p.state = STATE_DATA_LF
            if rest == line_end:
                begin_chunk_line(p)
            rest = 0
    if rest:
        p.offset += rest
        fail(p, OISP_BAD)
        return OISP_BAD
    return OISP_OK


cdef void push_gap(oisp_http1* p, uint64_t missing, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_GAP)
    if t is not NULL:
        t.offset = p.offset
        t.number = missing
    p.offset += missing


cdef oisp_status http1_finish(oisp_http1* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if out.capacity - out.count < ROOM:
        return OISP_FULL
    if p.state == STATE_DECIDE:
        begin_body(p)
    if p.state == STATE_HEAD:
        return OISP_MORE
    if p.state == STATE_CLOSE:
        p.end_flags = 1
    elif p.state != STATE_IDLE and p.state < STATE_END:
        p.end_flags = 3
    if p.state != STATE_IDLE and p.state <= STATE_END:
        push_end(p, p.offset, out)
    if p.state == STATE_UPGRADE:
        push_upgrade(p, p.offset, out)
    return OISP_OK


cdef void http1_reset(oisp_http1* p) noexcept nogil:
    cdef int role = p.role
    cdef size_t head_max = p.head_max
    cdef size_t fields_max = p.fields_max
    oisp_buffer_free(&p.held)
    http1_init(p, role, head_max, fields_max)


cdef void http1_free(oisp_http1* p) noexcept nogil:
    oisp_buffer_free(&p.held)


cdef int http1_idle(const oisp_http1* p) noexcept nogil:
    return p.state == STATE_IDLE and not p.failed


# A head that resync may trust: whole, and nothing in it had to be forgiven.
cdef oisp_status http1_probe(int role, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_http1 p
    cdef oisp_token space[16]
    cdef oisp_tokens out
    cdef lines head
    cdef int answer = LINE_FULL
    http1_init(&p, role, size, PROBE_FIELDS_MAX)
    out.at = space
    out.capacity = 16
    head.data = data
    head.rewrite = NULL
    head.size = size
    head.at = 0
    head.base = 0
    while answer == LINE_FULL:
        out.count = 0
        answer = head_lines(&p, &head, OISP_TOKEN_FIELD, &out)
        if was_forgiven(&out):
            return OISP_BAD
    if answer == LINE_NEED:
        return OISP_MORE
    out.count = 0
    if answer != LINE_END or body_kind(&p, 0, &out) < 0:
        return OISP_BAD
    return OISP_OK


cdef bint was_forgiven(const oisp_tokens* out) noexcept nogil:
    cdef uint32_t i
    for i in range(out.count):
        if out.at[i].kind == OISP_TOKEN_WARNING and out.at[i].number != OISP_WARNING_DUPLICATE_LENGTH:
            return True
    return False


# ---- the Python face -----------------------------------------------------------------------------------------------------

ROLES = {"request": OISP_TOKEN_REQUEST, "response": OISP_TOKEN_RESPONSE}


def role_number(role):
    if role not in ROLES:
        raise ValueError(f"role must be 'request' or 'response', got {role!r}")
    return ROLES[role]


cdef class Http1Parser(Parser):
    cdef oisp_http1 p
    cdef list methods
    cdef readonly bytes unused

    def __cinit__(self, role, *, size_t head_max=65536, size_t fields_max=256):
        http1_init(&self.p, role_number(role), head_max, fields_max)
        self.methods = []
        self.unused = b""

    def __dealloc__(self):
        http1_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        cdef oisp_status status = http1_feed(&self.p, data, size, &self.out, used)
        self.decide()
        return status

    # The head of a final response was read: what its request was says whether a body follows.
    cdef void decide(self) noexcept:
        cdef const oisp_token* last
        if self.out.count == 0 or self.p.role != OISP_TOKEN_RESPONSE:
            return
        last = &self.out.at[self.out.count - 1]
        if last.kind != OISP_TOKEN_HEAD_END or self.p.head.status < 200 or not self.methods:
            return
        method = self.methods.pop(0)
        if method == b"HEAD":
            http1_no_body(&self.p)
        elif method == b"CONNECT" and self.p.head.status < 300:
            http1_tunnel(&self.p)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return http1_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return http1_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        http1_reset(&self.p)
        self.methods.clear()
        self.unused = b""

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held

    @property
    def idle(self):
        return http1_idle(&self.p) == 1

    def expect(self, method):
        self.methods.append(bytes(method))

    def feed(self, data):
        tokens = Parser.feed(self, data)
        if self.p.state == STATE_TUNNEL:
            self.unused = bytes(memoryview(data)[self.taken:])
        return tokens

    def tunnel(self):
        http1_tunnel(&self.p)


def probe(role, data):
    cdef Py_buffer view
    cdef oisp_status status
    cdef int number = role_number(role)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    status = http1_probe(number, <const uint8_t*>view.buf, <size_t>view.len)
    PyBuffer_Release(&view)
    return Status(status)
