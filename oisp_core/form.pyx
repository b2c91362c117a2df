# SPDX-License-Identifier: Apache-2.0
"""Forms (multipart/form-data) as one flat object of JSON: what transcriptions and image edits are asked with.

A field is a member of its name (without the `[]` that marks a list); a file is {"file":{"type":...,"size":N}}: neither what
it holds nor what it is called. A value that is `true`, `false` or a number is one, but for fields that are text by nature:
a prompt of `42` is text. Bytes are not judged here: whoever reads the object checks UTF-8.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from oisp_core.reassemble.multipart cimport (
    multipart_feed, multipart_finish, multipart_free, multipart_gap, multipart_init,
)
from oisp_core.types cimport (
    OISP_MORE, OISP_OK, OISP_TOKEN_EVENT, OISP_TOKEN_FIELD, OISP_TOKEN_GAP, oisp_buffer, oisp_buffer_append,
    oisp_buffer_free, oisp_slice, oisp_status, oisp_token, oisp_tokens,
)

cdef enum:
    HEAD_MAX = 16384
    ROOM = 8
    INCOMPLETE = 7  # of the flags of a part: it ended, a hole cut it, it is longer than its bound
    IS_FILE = 8
    TEXTS = 7

cdef const char** TEXT_FIELDS = [b"prompt", b"input", b"text", b"user", b"model", b"instructions", b"language"]


cdef oisp_form* form_new(oisp_slice content_type, size_t json_max) noexcept nogil:
    cdef oisp_form* f = <oisp_form*> calloc(1, sizeof(oisp_form))
    if f == NULL:
        return NULL
    if not multipart_init(&f.parser, content_type.data, content_type.size, HEAD_MAX, json_max):
        free(f)
        return NULL
    f.json_max = <uint32_t> (json_max if json_max < 0x7FFFFFFF else 0x7FFFFFFF)
    return f


cdef void form_free(oisp_form* f) noexcept nogil:
    if f != NULL:
        multipart_free(&f.parser)
        oisp_buffer_free(&f.json)
        free(f)


cdef void put_string(oisp_buffer* b, const uint8_t* data, size_t size) noexcept nogil:
    """With quotes; only what JSON cannot hold is escaped."""
    cdef char code[8]
    cdef size_t i = 0, begin = 0
    oisp_buffer_append(b, b'"', 1)
    while i < size:
        if data[i] >= 32 and data[i] != c'"' and data[i] != c"\\":
            i += 1
            continue
        oisp_buffer_append(b, data + begin, i - begin)
        if data[i] < 32:
            snprintf(code, 8, b"\\u%04x", <int> data[i])
            oisp_buffer_append(b, code, 6)
        else:
            oisp_buffer_append(b, b"\\", 1)
            oisp_buffer_append(b, data + i, 1)
        i += 1
        begin = i
    oisp_buffer_append(b, data + begin, i - begin)
    oisp_buffer_append(b, b'"', 1)


cdef bint is_number(const uint8_t* d, size_t size) noexcept nogil:
    """Digits with at most one point, as JSON writes them."""
    cdef size_t i = 1 if size and d[0] == c"-" else 0
    cdef int points = 0
    if size - i > 18 or i == size or not 48 <= d[i] <= 57 or not 48 <= d[size - 1] <= 57:
        return False
    if d[i] == c"0" and i + 1 < size and d[i + 1] != c".":
        return False
    while i < size:
        if d[i] == c".":
            points += 1
        elif not 48 <= d[i] <= 57:
            return False
        i += 1
    return points <= 1


cdef bint is_text(const uint8_t* name, size_t size) noexcept nogil:
    cdef int i
    cdef size_t k
    for i in range(TEXTS):
        k = 0
        while k < size and TEXT_FIELDS[i][k] and name[k] == <uint8_t> TEXT_FIELDS[i][k]:
            k += 1
        if k == size and TEXT_FIELDS[i][k] == 0:
            return True
    return False


cdef bint is_literal(const oisp_token* t) noexcept nogil:
    if is_text(t.name, t.name_size):
        return False
    return (t.size == 4 and memcmp(t.data, b"true", 4) == 0) or (t.size == 5 and memcmp(t.data, b"false", 5) == 0) \
        or is_number(t.data, t.size)


cdef void put_part(oisp_form* f, const oisp_token* t, const oisp_token* type) noexcept nogil:
    cdef char size[24]
    cdef uint32_t name = t.name_size
    if f.json.size + 2 * (<uint64_t> t.size + name) > f.json_max:
        f.cut = 1
        return
    if name > 2 and memcmp(t.name + name - 2, b"[]", 2) == 0:
        name -= 2
    oisp_buffer_append(&f.json, b"," if f.json.size else b"{", 1)
    put_string(&f.json, t.name, name)
    oisp_buffer_append(&f.json, b":", 1)
    if t.flags & IS_FILE:
        oisp_buffer_append(&f.json, b'{"file":{"type":', 16)
        put_string(&f.json, type.data if type != NULL else NULL, type.size if type != NULL else 0)
        oisp_buffer_append(&f.json, b',"size":', 8)
        oisp_buffer_append(&f.json, size, snprintf(size, 24, b"%llu", <unsigned long long> t.number))
        oisp_buffer_append(&f.json, b"}}", 2)
    elif is_literal(t):
        oisp_buffer_append(&f.json, t.data, t.size)
    else:
        put_string(&f.json, t.data, t.size)
    if t.flags & INCOMPLETE and not t.flags & IS_FILE:
        f.cut = 1


cdef void take(oisp_form* f, const oisp_tokens* tokens) noexcept nogil:
    cdef const oisp_token* type = NULL
    cdef const oisp_token* t
    cdef uint32_t i
    for i in range(tokens.count):
        t = &tokens.at[i]
        if t.kind == OISP_TOKEN_FIELD and t.name_size == 12:  # content-type
            type = t
        elif t.kind == OISP_TOKEN_EVENT:
            if t.name_size:
                put_part(f, t, type)
            type = NULL
        elif t.kind == OISP_TOKEN_GAP:
            f.cut = 1


cdef void form_feed(oisp_form* f, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_token room[ROOM]
    cdef oisp_tokens tokens
    cdef oisp_status status = OISP_OK
    cdef size_t used = 0
    tokens.at = room
    tokens.capacity = ROOM
    while status == OISP_OK:
        tokens.count = 0
        status = multipart_feed(&f.parser, data, size, &tokens, &used)
        take(f, &tokens)
        data += used
        size -= used
        if size == 0 and tokens.count == 0:
            break
    if status != OISP_OK and status != OISP_MORE:
        f.cut = 1


cdef void form_gap(oisp_form* f, uint64_t size) noexcept nogil:
    cdef oisp_token room[ROOM]
    cdef oisp_tokens tokens
    tokens.at = room
    tokens.capacity = ROOM
    tokens.count = 0
    if multipart_gap(&f.parser, size, &tokens) != OISP_OK:
        f.cut = 1
    take(f, &tokens)


cdef oisp_slice form_finish(oisp_form* f) noexcept nogil:
    cdef oisp_token room[ROOM]
    cdef oisp_tokens tokens
    cdef oisp_slice whole
    tokens.at = room
    tokens.capacity = ROOM
    tokens.count = 0
    if multipart_finish(&f.parser, &tokens) != OISP_OK:
        f.cut = 1
    take(f, &tokens)
    oisp_buffer_append(&f.json, b"}" if f.json.size else b"{}", 1 if f.json.size else 2)
    whole.data, whole.size = f.json.data, f.json.size
    return whole
