# SPDX-License-Identifier: Apache-2.0
"""Multipart bodies: the fields of a form, and what its files are called (RFC 2046 section 5.1, RFC 7578).

What it is not: a receiver of uploads. The content of a file is counted and never held; transfer encodings of parts, which
RFC 7578 gave up and no HTTP client sends, are not undone.

Read as servers read it: LF alone ends lines where the first delimiter line does, blanks may follow a delimiter, a field
without colon is passed over. A delimiter that goes on with anything else ("--boundary1" in a body of "boundary") is content.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from oisp_core.reassemble.face cimport Parser
from oisp_core.types cimport (
    OISP_BAD,
    OISP_FULL,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    OISP_TOKEN_EVENT,
    OISP_TOKEN_FIELD,
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


cdef extern from "oisp/bytes.h" nogil:
    int oisp_equal_nocase(const uint8_t* data, const char* lower, size_t size)
    size_t oisp_percent_decode(uint8_t* out, size_t room, const uint8_t* source, size_t size)

cdef extern from "string.h" nogil:
    void* memmem(const void* data, size_t size, const void* what, size_t what_size)


cdef enum:
    STATE_SEARCH = 0     # for a delimiter: in the content of a part, or before any part
    STATE_HEAD = 1
    STATE_DELIMITER = 2  # after a delimiter, before the next byte
    STATE_DASH = 3       # and a '-'
    STATE_PADDING = 4    # blanks after it, to the end of its line
    STATE_LF = 5         # the CR of its line was read
    STATE_AFTER = 6      # after the last delimiter

cdef enum:
    EVENT_UNENDED = 1
    EVENT_CUT = 2
    EVENT_LONG = 4
    EVENT_FILE = 8
    PART_TOKENS = 3      # that one part can give
    KEEP = 4096          # a buffer up to this size is kept for the next part


cdef oisp_status fail(oisp_multipart* p, oisp_status status) noexcept nogil:
    p.failed = <uint8_t>status
    return status


# What the tokens of the last call pointed to.
cdef inline void release(oisp_multipart* p) noexcept nogil:
    if not p.given:
        return
    p.given = 0
    if p.held.capacity <= KEEP:
        oisp_buffer_wipe(&p.held)
    else:
        oisp_buffer_free(&p.held)


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c == c' ' or c == c'\t'


# ---- parameters of a field (RFC 9110 section 5.6.6) ----------------------------------------------------------------------

# The parameter that begins at `i` or behind the semicolons and blanks there: its name and its value, raw, without quotes.
# Gives the index after it, or `size` where there is none.
cdef size_t next_parameter(const uint8_t* d, size_t size, size_t i, oisp_multipart_span* name,
                           oisp_multipart_span* value) noexcept nogil:
    cdef size_t begin
    while i < size and (d[i] == c';' or is_blank(d[i])):
        i += 1
    begin = i
    while i < size and d[i] != c'=' and d[i] != c';' and not is_blank(d[i]):
        i += 1
    name.at = <uint32_t>begin
    name.size = <uint32_t>(i - begin)
    value.at = <uint32_t>i
    value.size = 0
    while i < size and is_blank(d[i]):
        i += 1
    if i == size or d[i] != c'=':
        return i
    i += 1
    while i < size and is_blank(d[i]):
        i += 1
    if i < size and d[i] == c'"':
        i += 1
        begin = i
        while i < size and d[i] != c'"':
            i += 2 if d[i] == c'\\' and i + 1 < size and (d[i + 1] == c'"' or d[i + 1] == c'\\') else 1
        value.at = <uint32_t>begin
        value.size = <uint32_t>(i - begin)
        while i < size and d[i] != c';':
            i += 1
        return i
    begin = i
    while i < size and d[i] != c';':
        i += 1
    value.at = <uint32_t>begin
    value.size = <uint32_t>(i - begin)
    while value.size and is_blank(d[value.at + value.size - 1]):
        value.size -= 1
    return i


cdef inline bint is_called(const uint8_t* d, const oisp_multipart_span* name, const char* lower, size_t size) noexcept nogil:
    return name.size == size and oisp_equal_nocase(d + name.at, lower, size)


# In place. Only quote and backslash are escaped: browsers write them as %22 and as they are, and a path keeps its own.
cdef void undo_escapes(uint8_t* d, oisp_multipart_span* s) noexcept nogil:
    cdef uint32_t i = s.at
    cdef uint32_t end = s.at + s.size
    cdef uint32_t to = s.at
    while i < end:
        if d[i] == c'\\' and i + 1 < end and (d[i + 1] == c'"' or d[i + 1] == c'\\'):
            i += 1
        d[to] = d[i]
        to += 1
        i += 1
    s.size = to - s.at


# charset'language'percent-encoded (RFC 8187), in place; what is not of this form stays.
cdef void undo_extended(uint8_t* d, oisp_multipart_span* s) noexcept nogil:
    cdef uint32_t end = s.at + s.size
    cdef uint32_t i = s.at
    cdef int quotes = 0
    while i < end and quotes < 2:
        quotes += d[i] == c"'"
        i += 1
    if quotes < 2:
        return
    s.at = i
    s.size = <uint32_t> oisp_percent_decode(d + i, end - i, d + i, end - i)


# Where a line begins a delimiter may stand at once: the line end that belongs to it was read already.
cdef inline void begin_search(oisp_multipart* p) noexcept nogil:
    p.state = STATE_SEARCH
    p.matched = 2 - p.lead
    p.before = p.matched


# ---- the head of a part --------------------------------------------------------------------------------------------------

# Of several parameters of one name the first counts; a plain filename goes before an extended one.
cdef void read_disposition(oisp_multipart* p, size_t at, size_t end) noexcept nogil:
    cdef uint8_t* d = p.held.data
    cdef oisp_multipart_span name
    cdef oisp_multipart_span value
    cdef oisp_multipart_span extended
    cdef bint named = False
    cdef bint plain = False
    memset(&extended, 0, sizeof(extended))
    while at < end and d[at] != c';':
        at += 1
    while at < end:
        at = next_parameter(d, end, at, &name, &value)
        if is_called(d, &name, b"name", 4) and not named:
            named = True
            p.name = value
        elif is_called(d, &name, b"filename", 8) and not plain:
            plain = True
            p.filename = value
        elif is_called(d, &name, b"filename*", 9) and not extended.at:
            extended = value
    if named:
        undo_escapes(d, &p.name)
    if plain:
        undo_escapes(d, &p.filename)
    elif extended.at:
        p.filename = extended
        undo_extended(d, &p.filename)
    p.file = plain or extended.at > 0


cdef void read_field(oisp_multipart* p, size_t at, size_t end) noexcept nogil:
    cdef const uint8_t* d = p.held.data
    cdef const uint8_t* colon = <const uint8_t*>memchr(d + at, c':', end - at)
    cdef size_t value
    cdef size_t n
    if colon is NULL:
        return
    n = <size_t>(colon - d) - at
    value = at + n + 1
    while n and is_blank(d[at + n - 1]):
        n -= 1
    while value < end and is_blank(d[value]):
        value += 1
    while end > value and is_blank(d[end - 1]):
        end -= 1
    if n == 19 and oisp_equal_nocase(d + at, b"content-disposition", 19):
        if not p.name.at and not p.file:
            read_disposition(p, value, end)
    elif n == 12 and oisp_equal_nocase(d + at, b"content-type", 12) and not p.type.at:
        p.type.at = <uint32_t>value
        p.type.size = <uint32_t>(end - value)


# The fields between held[0] and its blank line. A line that begins with a blank goes on from the one before it.
cdef void read_head(oisp_multipart* p) noexcept nogil:
    cdef uint8_t* d = p.held.data
    cdef size_t at = 0
    cdef size_t end
    cdef size_t i
    for i in range(1, p.held.size):
        if is_blank(d[i]) and d[i - 1] == c'\n' and i > 1:
            d[i - 1] = c' '
            if d[i - 2] == c'\r':
                d[i - 2] = c' '
    while at < p.held.size:
        end = <size_t>(<const uint8_t*>memchr(d + at, c'\n', p.held.size - at) - d)
        i = end + 1
        if end > at and d[end - 1] == c'\r':
            end -= 1
        read_field(p, at, end)
        at = i


cdef void begin_part(oisp_multipart* p, uint64_t offset) noexcept nogil:
    p.state = STATE_HEAD
    p.head = offset
    p.line = 0
    p.length = 0
    p.head_size = 0
    p.file = 0
    memset(&p.name, 0, sizeof(p.name))
    memset(&p.filename, 0, sizeof(p.filename))
    memset(&p.type, 0, sizeof(p.type))


# Lines into `held`, to the blank one.
cdef oisp_status gather_head(oisp_multipart* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    cdef const uint8_t* lf
    cdef size_t n
    cdef size_t line
    while pos[0] < size:
        lf = <const uint8_t*>memchr(data + pos[0], c'\n', size - pos[0])
        n = size - pos[0] if lf is NULL else <size_t>(lf - data) + 1 - pos[0]
        if n > p.head_max - p.held.size or not oisp_buffer_append(&p.held, data + pos[0], n):
            return fail(p, OISP_LIMIT)
        pos[0] += n
        if lf is NULL:
            return OISP_OK
        line = p.held.size - p.line
        if line == 1 or (line == 2 and p.held.data[p.line] == c'\r'):
            read_head(p)
            p.head_size = p.held.size
            p.start = p.offset + pos[0]
            p.inside = 1
            begin_search(p)
            return OISP_OK
        p.line = p.held.size
    return OISP_OK


# ---- content -------------------------------------------------------------------------------------------------------------

cdef oisp_status keep(oisp_multipart* p, const uint8_t* data, size_t size) noexcept nogil:
    cdef size_t room = p.value_max - (p.held.size - p.head_size)
    if not p.inside:
        return OISP_OK
    p.length += size
    if p.file or room == 0:
        return OISP_OK
    if not oisp_buffer_append(&p.held, data, size if size < room else room):
        return fail(p, OISP_LIMIT)
    return OISP_OK


cdef void push_field(oisp_multipart* p, const char* name, size_t size, const oisp_multipart_span* s, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t = oisp_tokens_push(out, OISP_TOKEN_FIELD)
    t.name = <const uint8_t*>name
    t.name_size = <uint32_t>size
    t.data = p.held.data + s.at
    t.size = s.size
    t.offset = p.head + s.at


# The part in progress, whose head was read.
cdef void push_part(oisp_multipart* p, int flags, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    if p.file:
        push_field(p, b"filename", 8, &p.filename, out)
    if p.type.at:
        push_field(p, b"content-type", 12, &p.type, out)
    t = oisp_tokens_push(out, OISP_TOKEN_EVENT)
    t.name = p.held.data + p.name.at
    t.name_size = p.name.size
    t.data = p.held.data + p.head_size
    t.size = p.held.size - p.head_size
    t.offset = p.start
    t.number = p.length
    if p.file:
        flags |= EVENT_FILE
    elif p.length > t.size:
        flags |= EVENT_LONG
    t.flags = <uint16_t>flags
    p.given = 1
    p.inside = 0


# What was matched is no delimiter, but content.
cdef oisp_status unmatch(oisp_multipart* p) noexcept nogil:
    cdef size_t n = p.matched - p.before
    cdef const uint8_t* at = p.delimiter + p.lead + p.before
    p.matched = 0
    p.before = 0
    return keep(p, at, n)


# Bytes at the end of the data that a delimiter may begin with.
cdef size_t tail_of(const uint8_t* data, size_t size, const uint8_t* delimiter, size_t whole) noexcept nogil:
    cdef size_t i = size - whole + 1 if size >= whole else 0
    cdef const uint8_t* at
    while i < size:
        at = <const uint8_t*>memchr(data + i, delimiter[0], size - i)
        if at is NULL:
            return 0
        i = <size_t>(at - data)
        if memcmp(at, delimiter, size - i) == 0:
            return size - i
        i += 1
    return 0


# To the next delimiter. Its first byte stands nowhere else in it: where a match breaks off, the next begins there or later.
cdef oisp_status search(oisp_multipart* p, const uint8_t* data, size_t size, size_t* pos) noexcept nogil:
    cdef const uint8_t* delimiter = p.delimiter + p.lead
    cdef size_t whole = p.delimiter_size - p.lead
    cdef size_t begin
    cdef const uint8_t* found
    cdef oisp_status status
    if p.matched:
        while pos[0] < size and p.matched < whole and data[pos[0]] == delimiter[p.matched]:
            p.matched += 1
            pos[0] += 1
        if p.matched == whole:
            p.state = STATE_DELIMITER
            return OISP_OK
        if pos[0] == size:
            return OISP_OK
        status = unmatch(p)
        if status != OISP_OK:
            return status
    begin = pos[0]
    found = <const uint8_t*>memmem(data + begin, size - begin, delimiter, whole)
    if found is NULL:
        p.matched = <uint8_t>tail_of(data + begin, size - begin, delimiter, whole)
        pos[0] = size
        return keep(p, data + begin, size - begin - p.matched)
    p.matched = <uint8_t>whole
    p.state = STATE_DELIMITER
    pos[0] = <size_t>(found - data) + whole
    return keep(p, data + begin, <size_t>(found - data) - begin)


# One byte after a delimiter, which says whether it is one. It may be left for what comes then.
cdef oisp_status read_delimiter(oisp_multipart* p, uint8_t c, uint64_t offset, size_t* pos, oisp_tokens* out) noexcept nogil:
    cdef oisp_status status
    cdef bint dashed = p.state == STATE_DASH
    if p.state <= STATE_DASH:
        if c == c'-' and not dashed:
            p.state = STATE_DASH
            pos[0] += 1
            return OISP_OK
        if not (c == c'-' if dashed else (is_blank(c) or c == c'\r' or c == c'\n')):
            p.state = STATE_SEARCH
            status = unmatch(p)
            if dashed and status == OISP_OK:
                status = keep(p, p.delimiter + 2, 1)  # the '-' that was taken
            return status
        if p.inside:
            push_part(p, 0, out)
    if dashed:
        p.state = STATE_AFTER
    elif c == c'\n':
        p.lead = p.state != STATE_LF
        begin_part(p, offset + 1)
    elif c == c'\r' and p.state != STATE_LF:
        p.state = STATE_LF
    elif is_blank(c) and p.state != STATE_LF:
        p.state = STATE_PADDING
    else:
        return fail(p, OISP_BAD)
    pos[0] += 1
    return OISP_OK


# ---- the quartet ---------------------------------------------------------------------------------------------------------

# The parameter `boundary` of a content type, into the delimiter.
cdef bint read_boundary(oisp_multipart* p, const uint8_t* d, size_t size) noexcept nogil:
    cdef oisp_multipart_span name
    cdef oisp_multipart_span value
    cdef size_t i = 0
    while i < size and d[i] != c';':
        i += 1
    while i < size:
        i = next_parameter(d, size, i, &name, &value)
        if is_called(d, &name, b"boundary", 8):
            break
    else:
        return False
    if value.size == 0 or value.size > OISP_BOUNDARY_MAX or d[value.at + value.size - 1] == c' ':
        return False
    for i in range(value.at, value.at + value.size):
        if d[i] < 0x20 or d[i] > 0x7E:
            return False
    memcpy(p.delimiter, b"\r\n--", 4)
    memcpy(p.delimiter + 4, d + value.at, value.size)
    p.delimiter_size = <uint8_t>(4 + value.size)
    return True


# Before the first part line ends are not known: a LF is enough.
cdef void start(oisp_multipart* p) noexcept nogil:
    p.lead = 1
    p.failed = OISP_OK if p.delimiter_size else OISP_BAD
    begin_search(p)


cdef bint multipart_init(oisp_multipart* p, const uint8_t* content_type, size_t size, size_t head_max,
                         size_t value_max) noexcept nogil:
    memset(p, 0, sizeof(p[0]))
    p.head_max = <uint32_t>(head_max if head_max < 0x3FFFFFFF else 0x3FFFFFFF)
    p.value_max = <uint32_t>(value_max if value_max < 0x3FFFFFFF else 0x3FFFFFFF)
    read_boundary(p, content_type, size)
    start(p)
    return p.failed == OISP_OK


cdef oisp_status multipart_feed(oisp_multipart* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    cdef size_t pos = 0
    cdef oisp_status status = OISP_OK
    release(p)
    used[0] = 0
    if p.failed:
        return <oisp_status>p.failed
    while status == OISP_OK and pos < size and not p.given and out.capacity - out.count >= PART_TOKENS:
        if p.state == STATE_SEARCH:
            status = search(p, data, size, &pos)
        elif p.state == STATE_HEAD:
            status = gather_head(p, data, size, &pos)
        elif p.state == STATE_AFTER:
            pos = size
        else:
            status = read_delimiter(p, data[pos], p.offset + pos, &pos, out)
    p.offset += pos
    used[0] = pos
    if p.failed:
        return <oisp_status>p.failed
    return OISP_OK if pos < size or p.given or p.state == STATE_AFTER else OISP_MORE


cdef oisp_status multipart_gap(oisp_multipart* p, uint64_t size, oisp_tokens* out) noexcept nogil:
    cdef oisp_token* t
    cdef bint inside = p.inside or p.state == STATE_HEAD
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if size == 0:
        return OISP_OK
    if out.capacity - out.count < PART_TOKENS + 1:
        return OISP_FULL
    if p.inside:
        push_part(p, EVENT_CUT, out)
    elif p.state == STATE_HEAD:
        p.given = 1
    t = oisp_tokens_push(out, OISP_TOKEN_GAP)
    t.offset = p.offset
    t.number = size
    t.flags = inside
    p.offset += size
    if p.state != STATE_AFTER:
        begin_search(p)
    return OISP_OK


cdef oisp_status multipart_finish(oisp_multipart* p, oisp_tokens* out) noexcept nogil:
    release(p)
    if p.failed:
        return <oisp_status>p.failed
    if p.inside:
        if out.capacity - out.count < PART_TOKENS:
            return OISP_FULL
        if p.state == STATE_SEARCH and unmatch(p) != OISP_OK:
            return <oisp_status>p.failed
        push_part(p, EVENT_UNENDED, out)
    return OISP_OK if p.state == STATE_AFTER else OISP_MORE


cdef void multipart_reset(oisp_multipart* p) noexcept nogil:
    oisp_buffer_free(&p.held)
    p.offset = 0
    p.inside = 0
    p.given = 0
    start(p)


cdef void multipart_free(oisp_multipart* p) noexcept nogil:
    oisp_buffer_free(&p.held)


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef class MultipartParser(Parser):
    cdef oisp_multipart p

    def __cinit__(self, content_type, *, size_t head_max=16384, size_t value_max=16777216):
        cdef bytes text = content_type.encode("latin-1", "replace")
        if not multipart_init(&self.p, text, len(text), head_max, value_max):
            raise ValueError(f"content_type must have a boundary of 1 to {OISP_BOUNDARY_MAX} characters, got {content_type!r}")

    def __dealloc__(self):
        multipart_free(&self.p)

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        return multipart_feed(&self.p, data, size, &self.out, used)

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return multipart_gap(&self.p, size, &self.out)

    cdef oisp_status finish_c(self) noexcept:
        return multipart_finish(&self.p, &self.out)

    cdef void reset_c(self) noexcept:
        multipart_reset(&self.p)

    cdef uint64_t offset_c(self) noexcept:
        return self.p.offset

    cdef const oisp_buffer* held_c(self) noexcept:
        return &self.p.held
