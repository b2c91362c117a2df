# SPDX-License-Identifier: Apache-2.0
"""HPACK as an observer reads it (RFC 7541): header blocks of one direction in, FIELD tokens out.

What it is not: an encoder, nor a judge of fields (what a request must have is its reader's business).

It never guesses. When a block was lost, nobody knows what it inserted; but an index of the dynamic table counts from its
newest entry, so that whatever is inserted afterwards is known by place and content, and everything older is not. References
to what is not known are counted, and so said, instead of being answered from a table that may be another one.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport SIZE_MAX, UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset

from oisp_core.reassemble.face cimport tokens_as_objects
from oisp_core.reassemble.tokens import Status, Token
from oisp_core.types cimport (
    OISP_BAD, OISP_FULL, OISP_MORE, OISP_OK, OISP_TOKEN_FIELD, oisp_buffer, oisp_buffer_free, oisp_buffer_reserve,
    oisp_status, oisp_token, oisp_tokens, oisp_tokens_push, oisp_wipe,
)


cdef extern from "oisp/hpack_tables.h" nogil:
    enum:
        OISP_HPACK_STATIC
    ctypedef struct oisp_hpack_static:
        const char* name
        const char* value
        uint8_t name_size
        uint8_t value_size
    const oisp_hpack_static* oisp_hpack_statics
    void oisp_copy_short(uint8_t* to, const uint8_t* source, size_t size)
    void oisp_huffman_build()
    size_t oisp_huffman_room(size_t size)
    size_t oisp_huffman_decode(const uint8_t* data, size_t size, uint8_t* to)


cdef enum:
    OVERHEAD = 32         # of an entry: RFC 7541 section 4.1
    FIRST_MAX = 4096      # of a table before anybody said otherwise: RFC 9113 section 6.5.2
    FIRST_ARENA = 512     # and what larger ones are a multiple of
    SPARE = 512
    FIRST_RING = 16
    LINK = 16             # before an arena: where the one before it lies, and its own size
    NUMBER_MAX = 1 << 28  # of any integer in a block
    NAMES = 2048          # bytes of names that are copied out of the table in one call

cdef uint32_t NAME_UNKNOWN = UINT32_MAX       # in name_size of an entry: its value is known
cdef uint32_t ENTRY_UNKNOWN = UINT32_MAX - 1  # nothing of it is

# How reading an integer or a string ends.
cdef enum:
    READ = 0
    NEED = 1
    WRONG = 2

ctypedef struct text:
    const uint8_t* data
    uint32_t size

# A block being read.
ctypedef struct block:
    const uint8_t* at
    const uint8_t* end
    uint8_t* work   # room for everything that is Huffman-coded in the rest of the block, and for `names` bytes
    uint32_t names


# ---- the table -----------------------------------------------------------------------------------------------------------

cdef inline uint32_t bound(const oisp_hpack* h) noexcept nogil:
    return h.max if h.max < h.keep else h.keep


cdef inline oisp_hpack_entry* entry_at(const oisp_hpack* h, uint32_t age) noexcept nogil:
    """0 is the newest."""
    return &h.entries[(h.newest - age) & (h.ring - 1)]


cdef inline uint32_t entry_end(const oisp_hpack* h, uint32_t age) noexcept nogil:
    return h.end if age == 0 else entry_at(h, age - 1).offset


cdef inline uint32_t name_size(const oisp_hpack_entry* entry) noexcept nogil:
    return 0 if entry.name_size >= ENTRY_UNKNOWN else entry.name_size


cdef inline void evict(oisp_hpack* h) noexcept nogil:
    h.count -= 1
    h.size -= OVERHEAD + entry_end(h, h.count) - entry_at(h, h.count).offset
    if h.count == 0:
        h.size = 0


cdef inline void shrink(oisp_hpack* h, uint32_t most) noexcept nogil:
    while h.count and h.size > most:
        evict(h)


cdef inline void settle(oisp_hpack* h) noexcept nogil:
    """Where no entry fits beside those that are known, there is none that is not. Sizes of entries with unknown parts are
    counted too low, never too high, so that this holds for them too."""
    if h.unsure and h.max_known and h.max <= h.keep and h.size + OVERHEAD > h.max:
        h.unsure = 0


cdef void forget(oisp_hpack* h) noexcept nogil:
    h.count = 0
    h.size = 0
    if not h.referenced:
        h.end = 0


cdef bint grow_ring(oisp_hpack* h) noexcept nogil:
    cdef uint32_t ring = h.ring * 2 if h.ring else FIRST_RING
    cdef uint32_t age
    cdef oisp_hpack_entry* entries = <oisp_hpack_entry*> malloc(ring * sizeof(oisp_hpack_entry))
    if entries == NULL:
        return False
    for age in range(h.count):
        entries[h.count - 1 - age] = entry_at(h, age)[0]
    free(h.entries)
    h.entries = entries
    h.ring = ring
    h.newest = h.count - 1
    return True


cdef inline uint32_t spare(uint32_t need) noexcept nogil:
    """An eighth; more of a small table."""
    cdef uint32_t small = need // 2 if need < 2 * SPARE else SPARE
    return small if small > need // 8 else need // 8


cdef bint make_room(oisp_hpack* h, uint32_t extra) noexcept nogil:
    """For the bytes of a new entry after `end`. Bytes that tokens of this call point to stay where they are. Some room is left
    after it, so that a full table is not moved for each entry."""
    cdef uint32_t begin = entry_at(h, h.count - 1).offset if h.count else h.end
    cdef uint32_t live = h.end - begin
    cdef uint32_t need = live + extra
    cdef uint32_t capacity = h.arena_capacity
    cdef uint32_t age
    cdef uint8_t* arena = h.arena
    if need + spare(need) // 2 > h.arena_capacity or h.referenced:
        if capacity < need + spare(need):
            capacity = (need + spare(need) + FIRST_ARENA - 1) & ~<uint32_t> (FIRST_ARENA - 1)
        arena = <uint8_t*> malloc(capacity + LINK)
        if arena == NULL:
            return False
        (<uint8_t**> arena)[0] = NULL
        (<uint64_t*> arena)[1] = capacity
        arena += LINK
    if live:
        memmove(arena, h.arena + begin, live)
    if arena != h.arena and h.arena != NULL:
        (<uint8_t**> (h.arena - LINK))[0] = h.old
        h.old = h.arena
    h.arena = arena
    h.arena_capacity = capacity
    for age in range(h.count):
        entry_at(h, age).offset -= begin
    h.end = live
    return True


cdef inline void insert(oisp_hpack* h, text name, text value, uint32_t known) noexcept nogil:
    """known: 0, NAME_UNKNOWN or ENTRY_UNKNOWN (then both are empty)."""
    cdef size_t need = <size_t> name.size + value.size + OVERHEAD
    cdef uint32_t most = bound(h)
    cdef oisp_hpack_entry* entry
    if need > h.max:  # RFC 7541 section 4.4: it empties the table
        forget(h)
        h.unsure = h.unsure and not h.max_known
        return
    if need > most:  # it is there, but not kept by us
        name.size = value.size = 0
        known = ENTRY_UNKNOWN
        need = OVERHEAD
        shrink(h, 0)
    shrink(h, most - <uint32_t> need)
    if (h.count == h.ring and not grow_ring(h)) or \
            (h.arena_capacity - h.end < need - OVERHEAD and not make_room(h, <uint32_t> need - OVERHEAD)):
        hpack_lost(h)
        return
    h.newest = (h.newest + 1) & (h.ring - 1)
    entry = &h.entries[h.newest]
    entry.offset = h.end
    entry.name_size = known if known else name.size
    oisp_copy_short(h.arena + h.end, name.data, name.size)
    oisp_copy_short(h.arena + h.end + name.size, value.data, value.size)
    h.end += name.size + value.size
    h.count += 1
    h.size += <uint32_t> need
    settle(h)


cdef void hpack_lost(oisp_hpack* h) noexcept nogil:
    forget(h)
    h.unsure = 1
    h.max_known = 0
    if h.max < h.allowed:  # a lost block may have raised it
        h.max = h.allowed


# ---- integers and strings ------------------------------------------------------------------------------------------------

cdef int long_number(block* b, uint32_t prefix, uint32_t* value) noexcept nogil:
    """RFC 7541 section 5.1, after a prefix of ones."""
    cdef uint32_t shift = 0
    cdef uint32_t number = prefix
    cdef uint8_t byte
    while b.at < b.end:
        byte = b.at[0]
        b.at += 1
        if shift > 28 or (shift == 28 and byte & 0x7F):
            return WRONG
        number += <uint32_t> (byte & 0x7F) << shift
        if number > NUMBER_MAX:
            return WRONG
        if not byte & 0x80:
            value[0] = number
            return READ
        shift += 7
    return NEED


cdef inline int read_number(block* b, uint32_t prefix, uint32_t* value) noexcept nogil:
    """The bits of `prefix` in the byte at hand, and further bytes."""
    cdef uint32_t number = b.at[0] & prefix
    b.at += 1
    if number != prefix:
        value[0] = number
        return READ
    return long_number(b, prefix, value)


cdef inline int read_text(block* b, text* t) noexcept nogil:
    cdef uint32_t size = 0
    cdef uint8_t coded
    cdef size_t decoded
    cdef int answer
    if b.at == b.end:
        return NEED
    coded = b.at[0] & 0x80
    answer = read_number(b, 0x7F, &size)
    if answer != READ:
        return answer
    if size > <size_t> (b.end - b.at):
        return NEED
    t.data, t.size = b.at, size
    if coded:
        decoded = oisp_huffman_decode(b.at, size, b.work)
        if decoded == SIZE_MAX:
            return WRONG
        t.data, t.size = b.work, <uint32_t> decoded
        b.work += decoded
    b.at += size
    return READ


# ---- fields --------------------------------------------------------------------------------------------------------------

cdef inline void give(oisp_hpack* h, oisp_tokens* out, size_t offset, text name, text value, uint16_t flags) noexcept nogil:
    cdef oisp_token* t
    h.list_size += name.size + value.size + OVERHEAD
    if h.fields >= h.fields_max or h.list_size > h.list_max:
        h.over = 1
        h.list_size = h.list_max
        return
    h.fields += 1
    t = oisp_tokens_push(out, OISP_TOKEN_FIELD)
    t.flags = flags
    t.offset = offset
    t.data, t.size = value.data, value.size
    t.name, t.name_size = name.data, name.size


cdef inline bint may_be_older(const oisp_hpack* h) noexcept nogil:
    return h.unsure or h.max > h.keep


cdef inline oisp_hpack_entry* dynamic_entry(oisp_hpack* h, uint32_t index, text* name, text* value) noexcept nogil:
    cdef uint32_t age = index - OISP_HPACK_STATIC - 1
    cdef oisp_hpack_entry* entry
    cdef uint32_t size
    if age >= h.count:
        return NULL
    entry = entry_at(h, age)
    size = name_size(entry)
    name.data, name.size = h.arena + entry.offset, size
    value.data = name.data + size
    value.size = entry_end(h, age) - entry.offset - size
    h.referenced = 1
    return entry


cdef inline void static_name(uint32_t index, text* name) noexcept nogil:
    name.data, name.size = <const uint8_t*> oisp_hpack_statics[index].name, oisp_hpack_statics[index].name_size


cdef inline int indexed(oisp_hpack* h, block* b, oisp_tokens* out, size_t offset) noexcept nogil:
    """RFC 7541 section 6.1."""
    cdef uint32_t index = 0
    cdef text name, value
    cdef oisp_hpack_entry* entry
    cdef int answer = read_number(b, 0x7F, &index)
    if answer != READ:
        return answer
    if index == 0:
        return WRONG
    if index <= OISP_HPACK_STATIC:
        static_name(index, &name)
        value.data, value.size = <const uint8_t*> oisp_hpack_statics[index].value, oisp_hpack_statics[index].value_size
        give(h, out, offset, name, value, 0)
        return READ
    entry = dynamic_entry(h, index, &name, &value)
    if entry != NULL and entry.name_size < ENTRY_UNKNOWN:
        give(h, out, offset, name, value, 0)
        return READ
    if entry == NULL and not may_be_older(h):
        return WRONG
    h.unknown += 1
    if entry != NULL and entry.name_size == NAME_UNKNOWN:
        give(h, out, offset, name, value, OISP_FIELD_NAME_UNKNOWN)
    return READ


cdef inline int literal(oisp_hpack* h, block* b, oisp_tokens* out, size_t offset) noexcept nogil:
    """RFC 7541 section 6.2: with incremental indexing, without, and never indexed."""
    cdef uint8_t first = b.at[0]
    cdef uint32_t index = 0
    cdef uint16_t flags = 0
    cdef text name, value, ignored
    cdef uint8_t referenced
    cdef oisp_hpack_entry* entry
    cdef int answer = read_number(b, 0x3F if first & 0x40 else 0x0F, &index)
    if answer == READ and index == 0:
        answer = read_text(b, &name)
    if answer != READ:
        return answer
    if index > OISP_HPACK_STATIC:
        name.data, name.size = b.at, 0
        referenced = h.referenced
        entry = dynamic_entry(h, index, &name, &ignored)
        if entry == NULL and not may_be_older(h):
            return WRONG
        if entry == NULL or entry.name_size >= ENTRY_UNKNOWN:
            flags = OISP_FIELD_NAME_UNKNOWN
            name.size = 0
        elif name.size <= b.names:  # so that the table may be moved in place when the entry is inserted
            oisp_copy_short(b.work, name.data, name.size)
            name.data = b.work
            b.work += name.size
            b.names -= name.size
            h.referenced = referenced
    elif index:
        static_name(index, &name)
    answer = read_text(b, &value)
    if answer != READ:
        return answer
    if flags:
        h.unknown += 1
    if first & 0x40:
        insert(h, name, value, NAME_UNKNOWN if flags else 0)
    elif first & 0x10:
        flags |= OISP_FIELD_NEVER_INDEXED
    give(h, out, offset, name, value, flags)
    return READ


cdef int resize(oisp_hpack* h, block* b) noexcept nogil:
    """RFC 7541 section 6.3: only before the fields of a block, and within what the peer allows."""
    cdef uint32_t size = 0
    cdef int answer = read_number(b, 0x1F, &size)
    if answer != READ:
        return answer
    if h.begun or (size > h.allowed and not h.settings_lost):
        return WRONG
    h.max = size
    h.max_known = 1
    shrink(h, bound(h))
    settle(h)
    return READ


cdef int read_field(oisp_hpack* h, block* b, oisp_tokens* out, size_t offset) noexcept nogil:
    cdef uint8_t first = b.at[0]
    if first & 0x80:
        h.begun = 1
        return indexed(h, b, out, offset)
    if first & 0xE0 == 0x20:
        return resize(h, b)
    h.begun = 1
    return literal(h, b, out, offset)


# ---- the quartet ---------------------------------------------------------------------------------------------------------

cdef void hpack_init(oisp_hpack* h, size_t keep, size_t fields_max, size_t list_max) noexcept nogil:
    memset(h, 0, sizeof(h[0]))
    h.keep = <uint32_t> (keep if keep < NUMBER_MAX else NUMBER_MAX)
    h.fields_max = <uint32_t> (fields_max if fields_max < NUMBER_MAX else NUMBER_MAX)
    h.list_max = <uint32_t> (list_max if list_max < NUMBER_MAX else NUMBER_MAX)
    h.max = h.allowed = FIRST_MAX
    h.max_known = 1


cdef void hpack_begin(oisp_hpack* h) noexcept nogil:
    h.begun = 0
    h.over = 0
    h.fields = 0
    h.list_size = 0
    h.unknown = 0


cdef void hpack_release(oisp_hpack* h) noexcept nogil:
    cdef uint8_t* arena
    h.referenced = 0
    if h.count == 0:
        h.end = 0
    while h.old != NULL:
        arena = h.old - LINK
        h.old = (<uint8_t**> arena)[0]
        oisp_wipe(arena + LINK, (<uint64_t*> arena)[1])  # credentials stood in it
        free(arena)


cdef bint room_for(oisp_buffer* work, size_t size) noexcept nogil:
    return size <= work.capacity or oisp_buffer_reserve(work, size)


cdef oisp_status hpack_feed(oisp_hpack* h, const uint8_t* data, size_t size, oisp_buffer* work, oisp_tokens* out,
                            size_t* used) noexcept nogil:
    cdef block b
    cdef const uint8_t* begin
    cdef int answer = READ
    used[0] = 0
    hpack_release(h)
    if h.failed:
        return <oisp_status> h.failed
    if size > NUMBER_MAX or not room_for(work, oisp_huffman_room(size) + NAMES):
        h.failed = OISP_BAD
        return OISP_BAD
    b.at = begin = data
    b.end = data + size
    b.work = work.data
    b.names = NAMES
    while b.at < b.end:
        if out.count >= out.capacity:
            used[0] = b.at - data
            return OISP_FULL
        begin = b.at
        answer = read_field(h, &b, out, begin - data)
        if answer != READ:
            break
    if b.work - work.data > work.size:
        work.size = <uint32_t> (b.work - work.data)  # for whoever wipes it
    if answer == WRONG:
        h.failed = OISP_BAD
        return OISP_BAD
    used[0] = (begin if answer == NEED else b.at) - data
    return OISP_MORE if answer == NEED else OISP_OK


cdef void hpack_allow(oisp_hpack* h, uint32_t size) noexcept nogil:
    # Which of two announcements was in force when a block was made is the peers' knowledge; a table that is smaller than
    # allowed is no error.
    if size > h.allowed:
        h.allowed = size


cdef void hpack_allow_any(oisp_hpack* h) noexcept nogil:
    h.settings_lost = 1


cdef void hpack_free(oisp_hpack* h) noexcept nogil:
    hpack_release(h)
    if h.arena != NULL:
        oisp_wipe(h.arena, h.arena_capacity)
        free(h.arena - LINK)
    free(h.entries)
    h.arena = NULL
    h.entries = NULL
    h.arena_capacity = h.ring = h.count = h.end = h.size = 0


cdef void hpack_reset(oisp_hpack* h) noexcept nogil:
    cdef size_t keep = h.keep
    cdef size_t fields_max = h.fields_max
    cdef size_t list_max = h.list_max
    hpack_free(h)
    hpack_init(h, keep, fields_max, list_max)


cdef size_t hpack_memory(const oisp_hpack* h) noexcept nogil:
    return (h.arena_capacity + LINK if h.arena != NULL else 0) + h.ring * sizeof(oisp_hpack_entry)


oisp_huffman_build()


# ---- the Python face -----------------------------------------------------------------------------------------------------

cdef enum:
    FACE_TOKENS = 64


cdef class HpackDecoder:
    cdef oisp_hpack h
    cdef oisp_buffer work
    cdef oisp_token space[FACE_TOKENS]
    cdef oisp_tokens out
    cdef readonly object status

    def __cinit__(self, *, size_t table_max=65536, size_t fields_max=256, size_t list_max=262144):
        hpack_init(&self.h, table_max, fields_max, list_max)
        self.out.at = self.space
        self.out.capacity = FACE_TOKENS
        self.status = Status.OK

    def __dealloc__(self):
        hpack_free(&self.h)
        oisp_buffer_free(&self.work)

    @property
    def certain(self):
        return not self.h.unsure

    @property
    def unknown(self):
        return self.h.unknown

    @property
    def limited(self):
        return bool(self.h.over)

    @property
    def table_size(self):
        return self.h.size

    @property
    def table_max(self):
        return self.h.max

    @property
    def held(self):
        return hpack_memory(&self.h)

    @property
    def table(self):
        cdef text name, value
        cdef list entries = []
        cdef const oisp_hpack_entry* entry
        cdef uint32_t age
        for age in range(self.h.count):
            entry = dynamic_entry(&self.h, age + OISP_HPACK_STATIC + 1, &name, &value)
            entries.append((
                (<const char*> name.data)[:name.size] if entry.name_size < ENTRY_UNKNOWN else None,
                (<const char*> value.data)[:value.size] if entry.name_size != ENTRY_UNKNOWN else None,
            ))
        return entries

    def decode(self, data):
        cdef Py_buffer view
        cdef size_t used = 0
        cdef size_t pos = 0
        cdef oisp_status status = OISP_FULL
        cdef list tokens = []
        cdef uint32_t i
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        hpack_begin(&self.h)
        while status == OISP_FULL:
            self.out.count = 0
            status = hpack_feed(&self.h, <const uint8_t*> view.buf + pos, <size_t> view.len - pos, &self.work, &self.out, &used)
            for i in range(self.out.count):
                self.out.at[i].offset += pos
            tokens += tokens_as_objects(Token.make, &self.out)
            pos += used
        PyBuffer_Release(&view)
        hpack_release(&self.h)
        if status == OISP_MORE:  # a block that ends inside a field
            self.h.failed = status = OISP_BAD
        self.status = Status(status)
        return tokens

    def lost(self):
        hpack_lost(&self.h)

    def allow(self, size):
        if size is None:
            hpack_allow_any(&self.h)
        elif not 0 <= size <= UINT32_MAX:
            raise ValueError(f"a table size has 32 bits, got {size}")
        else:
            hpack_allow(&self.h, size)

    def reset(self):
        hpack_reset(&self.h)
        self.status = Status.OK


def huffman_decode(data):
    cdef Py_buffer view
    cdef oisp_buffer work
    cdef size_t size
    memset(&work, 0, sizeof(work))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if not oisp_buffer_reserve(&work, oisp_huffman_room(view.len)):
            raise MemoryError
        size = oisp_huffman_decode(<const uint8_t*> view.buf, view.len, work.data)
        return None if size == SIZE_MAX else (<const char*> work.data)[:size]
    finally:
        PyBuffer_Release(&view)
        oisp_buffer_free(&work)
