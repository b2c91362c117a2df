# SPDX-License-Identifier: Apache-2.0
"""Bodies and events of AI protocols -> oisp_exchange, by the tables of the dialects.

Two steps for each document: the scanner collects captures, then they are put into the exchange, record by record (fill_*),
the slots of a record before the records inside it, so that the order of keys on the wire does not matter. Not here: framing,
policy, output, any knowledge of one provider (semconv/dialects/ has that).

Contract: wire data never raises and is never trusted; a value that is not what its slot expects is left out. All functions
below `Dialects` run without the GIL and keep no pointer into their input.
"""
from libc.math cimport floor
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, realloc, strtod
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from oisp_core.decode.jsonscan cimport *
from oisp_core.types cimport *

from json import loads

from oisp_core.errors import ConfigError

cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_percent_decode(uint8_t* out, size_t room, const uint8_t* source, size_t size)

cdef extern from "oisp/dialect.h" nogil:
    enum:
        OISP_REC_REQUEST
        OISP_REC_RESPONSE
        OISP_REC_STREAM
        OISP_REC_MESSAGE
        OISP_REC_TOOL
        OISP_REC_CALL
        OISP_REC_ANSWER
        OISP_REC_CHOICE
        OISP_REC_HIT
        OISP_SLOT_NONE
        OISP_SLOT_MODEL
        OISP_SLOT_SYSTEM
        OISP_SLOT_TOOL_CHOICE
        OISP_SLOT_TEMPERATURE
        OISP_SLOT_TOP_P
        OISP_SLOT_MAX_TOKENS
        OISP_SLOT_FREQUENCY_PENALTY
        OISP_SLOT_PRESENCE_PENALTY
        OISP_SLOT_STOP
        OISP_SLOT_PREVIOUS_ID
        OISP_SLOT_CONVERSATION
        OISP_SLOT_USER
        OISP_SLOT_ID
        OISP_SLOT_ERROR_TYPE
        OISP_SLOT_ERROR_MESSAGE
        OISP_SLOT_ERROR_CODE
        OISP_SLOT_SERVICE_TIER
        OISP_SLOT_USAGE
        OISP_SLOT_CONTENT
        OISP_SLOT_REASONING
        OISP_SLOT_REFUSAL
        OISP_SLOT_CALL_ID
        OISP_SLOT_NAME
        OISP_SLOT_DESCRIPTION
        OISP_SLOT_TYPE
        OISP_SLOT_ARGUMENTS
        OISP_SLOT_SERVER_NAME
        OISP_SLOT_QUERY
        OISP_SLOT_SOURCE
        OISP_SLOT_SCORE
        OISP_SLOT_DISTANCE
        OISP_SLOT_CLIENT_NAME
        OISP_SLOT_CLIENT_VERSION
        OISP_SLOT_ROLE
        OISP_SLOT_FINISH
        OISP_SLOT_STREAM
        OISP_SLOT_INPUT_COUNT
        OISP_SLOT_IMAGES
        OISP_SLOT_INDEX
        OISP_SLOT_SERVER
        OISP_SLOT_CUSTOM
        OISP_SLOT_SUCCESS
        OISP_SLOT_ERROR
        OISP_SLOT_TERMINAL
        OISP_SLOT_RESTART
        OISP_SLOT_CACHED_ANSWER
        OISP_SLOT_EMBEDDING_COUNT
        OISP_SLOT_DIMENSIONS
        OISP_SLOT_PROMPT_TOKENS
        OISP_SLOT_COMPLETION_TOKENS
        OISP_SLOT_TOTAL_TOKENS
        OISP_SLOT_CACHED_TOKENS
        OISP_SLOT_CACHE_WRITE_TOKENS
        OISP_SLOT_REASONING_TOKENS
        OISP_SLOT_INNER
        OISP_SLOT_TOP_K
        OISP_SLOT_ASKS
        OISP_SLOT_BEGINS
        OISP_SLOT_DELTAS
        OISP_SLOT_COUNT
        OISP_OP_SET
        OISP_OP_ONCE
        OISP_OP_APPEND
        OISP_OP_MERGE
        OISP_OP_SUM
        OISP_OP_COUNT
        OISP_OP_LENGTH
        OISP_OP_PRESENT
        OISP_OP_COLLECT
        OISP_OP_MAX
        OISP_OP_GROW
        OISP_AS_WIRE
        OISP_AS_JSON
        OISP_AS_BASE64
        OISP_AS_EMBEDDED
        OISP_DIALECT_PROMPT_EXCLUDES_CACHE
        OISP_DIALECT_COMPLETION_EXCLUDES_REASONING
        OISP_DIALECT_CALLS_FINISH
        OISP_DIALECT_HAS_CHOICES
        OISP_DIALECT_STREAMS
        OISP_DIALECT_STREAMS_UNLESS_REFUSED
    ctypedef struct oisp_slot_leaf:
        uint16_t record
        uint16_t opens
        uint16_t map
        uint8_t slot
        uint8_t rank
        uint8_t op
        uint8_t as_ "as"
        uint16_t word
    ctypedef struct oisp_record_def:
        uint8_t kind
        uint8_t fresh
        uint16_t parent
        uint8_t role
        uint8_t server
        uint8_t custom
        uint8_t system
        uint16_t type
        uint16_t name
    ctypedef struct oisp_word:
        uint32_t at
        uint16_t size
        uint8_t value
    ctypedef struct oisp_map:
        uint32_t first
        uint16_t count
        uint8_t other
    ctypedef struct oisp_section:
        uint32_t root
        uint16_t record
        uint32_t event_node
    ctypedef struct oisp_inner:
        uint32_t at
        uint16_t size
        uint16_t dialect
    ctypedef struct oisp_dialect:
        uint32_t name
        uint16_t name_size
        uint8_t framing
        uint8_t hook
        uint32_t flags
        oisp_section request
        oisp_section response
        oisp_section stream
        uint32_t inner
        uint16_t inner_count
        uint16_t done_size
        uint32_t done
        uint32_t source
        uint32_t beside
        uint16_t source_size
        uint16_t beside_size
        uint8_t before
        uint16_t stream_path_size
        uint32_t stream_path
        uint16_t proto_request
        uint16_t proto_response
        uint16_t proto_stream
    ctypedef struct oisp_proto_message:
        uint32_t first
        uint32_t count
    ctypedef struct oisp_proto_field:
        uint32_t number
        uint32_t name
        uint16_t name_size
        uint16_t ref
        uint8_t type
        uint8_t flags
    ctypedef struct oisp_proto_enum:
        uint32_t first
        uint32_t count
    ctypedef struct oisp_proto_word:
        uint32_t number
        uint32_t at
        uint32_t size
    ctypedef struct oisp_protos:
        const oisp_proto_message* messages
        const oisp_proto_field* fields
        const oisp_proto_enum* enums
        const oisp_proto_word* words
        const uint8_t* pool
    oisp_status oisp_proto_json(const oisp_protos* t, uint32_t message, const uint8_t* data, size_t size, oisp_buffer* out, size_t out_max)
    ctypedef struct oisp_dialects_table "oisp_dialects":
        oisp_json_table json
        const oisp_slot_leaf* leaves
        const oisp_record_def* records
        const oisp_word* words
        const oisp_map* maps
        const oisp_inner* inners
        const oisp_dialect* dialects
        oisp_protos protos
        uint32_t count

cdef extern from "oisp/contract.h" nogil:
    enum:
        OISP_ROLE_SYSTEM
        OISP_ROLE_USER
        OISP_ROLE_ASSISTANT
        OISP_ROLE_TOOL
        OISP_FINISH_REASON_STOP
        OISP_FINISH_REASON_TOOL_CALLS
        OISP_TOOL_TYPE_FUNCTION

cdef enum:
    SLOTS = 64       # room for every slot of a record
    SHORT = 128      # words of the wire that are compared are shorter
    TEMPLATES = 4    # shapes of events that a stream takes turns with
    SINKS = 4        # texts that one event may extend
    LEARN_TRIES = 12  # pairs of events without a template between them: this stream has none
    SAMPLE_MAX = 4096

# Where a text of an event went: an item and a text of it, by number, since both move.
cdef struct sink:
    uint32_t at              # in the event
    uint16_t slot
    uint32_t item            # index into choices, or into calls for arguments

# A learned shape, and what each text of it extends.
cdef struct shape:
    uint8_t lines            # it stands in one line, and what stands before that in a server-sent stream is in the template
    uint8_t late             # it holds values of which only the last count: a counter, or what other shapes may say otherwise
    uint16_t sink_count
    uint32_t name_size
    sink sinks[SINKS]
    oisp_template template
    uint8_t name[64]         # of the event

# What decode keeps beside an exchange; the exchange is its first member.
cdef struct work:
    oisp_exchange x
    oisp_json json
    oisp_buffer scratch      # a merged object
    oisp_buffer spare
    oisp_buffer inner_text   # a decoded inner document, collected numbers
    oisp_buffer written      # a message of Protocol Buffers, as JSON
    uint32_t items_max
    uint16_t inner           # dialect of inner documents, 1-based, 0 unknown
    uint8_t streaming        # 0 a request, 1 a whole answer, 2 an event of a stream
    uint8_t says             # of the message in hand: enum oisp_says
    uint8_t turn             # of a session: 0 none, ASK asked for, BEGIN being answered
    uint8_t deltas           # the request asked for events that bring only what is new
    uint8_t restarted        # the event in hand repeats the whole answer: it brings nothing new
    uint32_t chunk_choice    # 1 + index into choices
    uint32_t chunk_start
    uint32_t arguments_start
    sink sinks[SINKS]        # of the event in hand
    uint32_t sink_count      # SINKS + 1: too many
    uint32_t item            # that fill_text works for
    uint16_t column          # record whose items are joined by place, and the place that comes next
    uint32_t place
    shape shapes[TEMPLATES]
    uint32_t shape_count
    uint32_t shape_last      # fitted last
    uint32_t shape_next      # is overwritten next
    int32_t tries            # left
    uint32_t late_ready      # 1 + shape: what the last full pass read is of it, so that those that follow may be late
    uint32_t late_shape      # 1 + shape of the last event, whose values are not in the exchange yet
    char late[OISP_TEMPLATE_SLOTS][16]  # and its counters
    uint8_t remade           # the document in hand is that event, made again: its texts are in the exchange
    uint8_t never_learns     # every event takes the full pass: for comparing
    oisp_buffer sample       # the event before, when it could be learned from
    oisp_buffer again        # the late event
    oisp_buffer later        # of a session: what the client said for the next turn, each with its size before it
    uint64_t fitted          # events that a template took
    int64_t slack            # between what the arena holds and what of it counts: a body that lies in it does not, texts do
    uint8_t inside           # the body in hand lies in the arena, which moves when it grows

# The document in hand.
cdef struct view:
    work* w
    const oisp_dialects_table* t
    const oisp_dialect* d
    const uint8_t* data      # where it lay at first: wire() knows where it lies
    size_t base              # in the arena
    bint inside
    const oisp_capture* caps
    uint32_t count

# Of each slot of a record: the capture that counts.
cdef struct picks:
    uint32_t at[SLOTS]       # 1 + index of the last capture, 0 none
    uint8_t rank[SLOTS]      # of the alternative that won; those with empty text come after all others
    uint32_t any             # how many captures the record has of its own
    uint32_t nested          # how many records stand in it

# --- texts ----------------------------------------------------------------------------------------------------------


cdef extern from *:
    """
    static inline void fetch(const void *at, size_t size) {
      for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch((const char *)at + i);
    }
    """
    void fetch(const void* at, size_t size) nogil


# Where the document in hand lies.
cdef inline const uint8_t* wire(const view* v) noexcept nogil:
    return v.w.x.arena.data + v.base if v.inside else v.data


# Where in the arena these bytes of the document in hand lie; -1: they lie elsewhere.
cdef inline int64_t place_of(const work* w, const uint8_t* data) noexcept nogil:
    if w.inside and w.x.arena.data <= data < w.x.arena.data + w.x.arena.size:
        return data - w.x.arena.data
    return -1


# The same bytes, when the arena may have moved.
cdef inline const uint8_t* at_place(const work* w, const uint8_t* data, int64_t place) noexcept nogil:
    return data if place < 0 else w.x.arena.data + place


# A text that lies in the arena with its body: nothing is copied, and nothing may be written over it (no capacity).
cdef int text_lies(work* w, oisp_text* t, int64_t place, size_t size) noexcept nogil:
    if <int64_t> (w.x.arena.size + size) + w.slack > w.x.arena_max:
        w.x.flags |= OISP_X_LIMIT
        t.flags |= OISP_TEXT_TRUNCATED
        return 0
    w.slack += size
    t.offset = <uint32_t> place
    t.size = <uint32_t> size
    t.capacity = 0
    return 1


# Room for `extra` bytes at the end of t, as the last run of the arena. 0: beyond the bound.
cdef int text_room(work* w, oisp_text* t, size_t extra) noexcept nogil:
    cdef oisp_exchange* x = &w.x
    cdef size_t need = t.size + extra
    cdef size_t more
    if need <= t.capacity:
        return 1
    if t.capacity and t.offset + t.capacity == x.arena.size:
        more = need - t.capacity
    else:
        more = need if t.size == 0 else need + need
    if <int64_t> (x.arena.size + more) + w.slack > x.arena_max or not oisp_buffer_reserve(&x.arena, more):
        x.flags |= OISP_X_LIMIT
        t.flags |= OISP_TEXT_TRUNCATED
        return 0
    if t.capacity and t.offset + t.capacity == x.arena.size:
        t.capacity += <uint32_t> more
    else:
        if t.size:
            memcpy(x.arena.data + x.arena.size, x.arena.data + t.offset, t.size)
        t.offset = x.arena.size
        t.capacity = <uint32_t> more
    x.arena.size += <uint32_t> more
    return 1


# Give back what a text reserved and did not use, when it is the last one.
cdef void text_trim(work* w, oisp_text* t) noexcept nogil:
    if t.offset + t.capacity == w.x.arena.size:
        w.x.arena.size = t.offset + t.size
        t.capacity = t.size


# The high surrogate at the end has waited in vain.
cdef void text_seal(work* w, oisp_text* t) noexcept nogil:
    if t.flags & OISP_TEXT_SURROGATE:
        t.size -= 6
        memcpy(w.x.arena.data + t.offset + t.size, b"\xef\xbf\xbd", 3)
        t.size += 3
        t.flags = <uint16_t> ((t.flags & ~OISP_TEXT_SURROGATE) | OISP_TEXT_REWRITTEN)
        w.x.flags |= OISP_X_REWRITTEN


# How much of it is final: a high surrogate at the end may become half of a character, an object gives way to pieces of text.
cdef uint32_t settled(const oisp_text* t) noexcept nogil:
    if t.form == OISP_TEXT_JSON:
        return 0
    return t.size - 6 if t.flags & OISP_TEXT_SURROGATE else t.size


cdef inline void text_clear(oisp_text* t) noexcept nogil:
    t.size = 0
    t.flags = 0
    t.form = OISP_TEXT_NONE


cdef void put_plain(work* w, oisp_text* t, int form, const uint8_t* data, size_t size) noexcept nogil:
    cdef int64_t place = place_of(w, data)
    if t.form == OISP_TEXT_NONE:
        t.form = <uint16_t> form
    if place >= 0 and t.size == 0:
        if size:
            text_lies(w, t, place, size)
        return
    if size and text_room(w, t, size):
        memcpy(w.x.arena.data + t.offset + t.size, at_place(w, data, place), size)
        t.size += <uint32_t> size


# The inside of a JSON string to the end of t.
cdef void put_string(work* w, oisp_text* t, const uint8_t* data, size_t size, int flags) noexcept nogil:
    cdef int joins = 0
    if t.form == OISP_TEXT_JSON:
        text_clear(t)        # an object that stood there until pieces of text came
    if size and t.flags & OISP_TEXT_SURROGATE:
        joins = flags & OISP_CAPTURE_LOW
        if not joins:
            text_seal(w, t)
        t.flags &= <uint16_t> ~OISP_TEXT_SURROGATE
    if flags & OISP_CAPTURE_CUT:
        t.flags |= OISP_TEXT_TRUNCATED
    if not flags & (OISP_CAPTURE_DIRTY | OISP_CAPTURE_LOW | OISP_CAPTURE_HIGH):
        put_plain(w, t, OISP_TEXT_STRING, data, size)
        return
    cdef int64_t place = place_of(w, data)
    t.form = OISP_TEXT_STRING
    if not text_room(w, t, 3 * size):
        return
    t.size += <uint32_t> json_clean(
        w.x.arena.data + t.offset + t.size, at_place(w, data, place), size, joins | (flags & OISP_CAPTURE_HIGH)
    )
    text_trim(w, t)
    if flags & OISP_CAPTURE_HIGH:
        t.flags |= OISP_TEXT_SURROGATE
    if flags & OISP_CAPTURE_DIRTY or (flags & OISP_CAPTURE_LOW and not joins):
        t.flags |= OISP_TEXT_REWRITTEN
        w.x.flags |= OISP_X_REWRITTEN


# A JSON value that replaces t.
cdef void put_json(work* w, oisp_text* t, const uint8_t* data, size_t size, bint dirty) noexcept nogil:
    cdef int64_t place = place_of(w, data)
    text_clear(t)
    t.form = OISP_TEXT_JSON
    if place >= 0 and not dirty:
        if not text_lies(w, t, place, size):
            return
    elif not text_room(w, t, 3 * size if dirty else size):
        return
    elif dirty:
        t.flags |= OISP_TEXT_REWRITTEN
        w.x.flags |= OISP_X_REWRITTEN
        t.size = <uint32_t> json_clean_value(w.x.arena.data + t.offset, at_place(w, data, place), size)
        text_trim(w, t)
        return
    else:
        memcpy(w.x.arena.data + t.offset, data, size)
    t.size = <uint32_t> size
    cdef uint8_t* p = w.x.arena.data + t.offset
    cdef size_t i
    if memchr(p, 10, size) != NULL or memchr(p, 13, size) != NULL or memchr(p, 9, size) != NULL:
        for i in range(size):      # inside of strings there are none: they would have made it dirty
            if p[i] < 32:
                p[i] = 32


cdef int base64_value(uint8_t c) noexcept nogil:
    if 65 <= c <= 90:
        return c - 65
    if 97 <= c <= 122:
        return c - 71
    if 48 <= c <= 57:
        return c + 4
    if c == 43 or c == 45:
        return 62
    return 63 if c == 47 or c == 95 else -1


# Base64 (either alphabet; what is no digit of it ends it) into b. 0: no memory.
cdef int decode_base64(oisp_buffer* b, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t bits = 0
    cdef int count = 0, value
    cdef size_t i
    oisp_buffer_wipe(b)
    if not oisp_buffer_reserve(b, size // 4 * 3 + 3):
        return 0
    for i in range(size):
        value = base64_value(data[i])
        if value < 0:
            if data[i] == 92:        # an escaped solidus
                continue
            break
        bits = bits << 6 | <uint32_t> value
        count += 6
        if count >= 8:
            count -= 8
            b.data[b.size] = <uint8_t> (bits >> count)
            b.size += 1
    return 1


# Text in base64: it is escaped, so that it is the inside of a JSON string like all other text.
cdef void put_base64(work* w, oisp_text* t, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_buffer* b = &w.inner_text
    cdef uint8_t* out
    cdef uint8_t c
    cdef size_t i, room = 0
    if not decode_base64(b, data, size):
        return
    for i in range(b.size):
        c = b.data[i]
        room += 6 if c < 32 else 2 if c == 34 or c == 92 else 1
    if not oisp_buffer_reserve(b, room):
        return
    out = b.data + b.size
    room = 0
    for i in range(b.size):
        c = b.data[i]
        if c < 32:
            memcpy(out + room, b"\\u00", 4)
            out[room + 4] = <uint8_t> (48 + (c >> 4))
            out[room + 5] = <uint8_t> ((c & 15) + (48 if (c & 15) < 10 else 87))
            room += 6
            continue
        if c == 34 or c == 92:
            out[room] = 92
            room += 1
        out[room] = c
        room += 1
    put_string(w, t, out, room, OISP_CAPTURE_DIRTY)
    oisp_wipe(out, room)
    oisp_buffer_wipe(b)


cdef bint text_equal(work* w, const oisp_text* t, const uint8_t* data, size_t size) noexcept nogil:
    return t.size == size and memcmp(w.x.arena.data + t.offset, data, size) == 0


# --- captures -------------------------------------------------------------------------------------------------------


# Text that is worth having although its end is missing.
cdef bint slot_may_be_cut(int slot) noexcept nogil:
    return slot in (
        OISP_SLOT_CONTENT, OISP_SLOT_REASONING, OISP_SLOT_REFUSAL, OISP_SLOT_SYSTEM, OISP_SLOT_DESCRIPTION,
        OISP_SLOT_ARGUMENTS, OISP_SLOT_ERROR_MESSAGE, OISP_SLOT_QUERY,
    )


cdef void pick(picks* k, const oisp_slot_leaf* leaf, const oisp_capture* c, uint32_t index) noexcept nogil:
    cdef uint8_t rank = leaf.rank
    if c.flags & OISP_CAPTURE_CUT and not slot_may_be_cut(leaf.slot):
        if leaf.op != OISP_OP_PRESENT and leaf.op != OISP_OP_COUNT and leaf.op != OISP_OP_LENGTH:
            return
    if c.kind == OISP_JSON_STRING and c.size == 0:
        rank += 64
    if k.at[leaf.slot] and k.rank[leaf.slot] < rank:
        return
    k.at[leaf.slot] = index + 1
    k.rank[leaf.slot] = rank
    k.any += 1


# The slots of one record: of the captures [low, high) those that are its own.
cdef void collect(const view* v, uint16_t record, uint32_t low, uint32_t high, picks* k) noexcept nogil:
    cdef uint32_t i = low, alive, after
    cdef const oisp_capture* c
    cdef const oisp_slot_leaf* leaf
    memset(k, 0, sizeof(picks))
    while i < high:
        c = v.caps + i
        alive = c.alive
        after = i + 1
        leaf = v.t.leaves + v.t.json.nodes[c.node].leaves
        while alive:
            if alive & 1 and leaf.record == record:
                if leaf.opens:
                    k.nested += 1
                    if leaf.map and c.next > after:
                        after = c.next       # nothing inside it is this record's
                else:
                    pick(k, leaf, c, i)
            alive >>= 1
            leaf += 1
        i = after


# The leaf of capture c that fills `slot` of `record`, if its alternative won.
cdef const oisp_slot_leaf* leaf_of(const view* v, const oisp_capture* c, uint16_t record, int slot, const picks* k) noexcept nogil:
    cdef const oisp_slot_leaf* leaf = v.t.leaves + v.t.json.nodes[c.node].leaves
    cdef uint32_t alive = c.alive
    while alive:
        if alive & 1 and leaf.record == record and leaf.slot == slot and not leaf.opens and leaf.rank == (k.rank[slot] & 63):
            return leaf
        alive >>= 1
        leaf += 1
    return NULL


cdef void note_sink(work* w, uint32_t at, uint16_t slot) noexcept nogil:
    if w.sink_count < SINKS:
        w.sinks[w.sink_count].at = at
        w.sinks[w.sink_count].slot = slot
        w.sinks[w.sink_count].item = w.item
        w.sink_count += 1
    else:
        w.sink_count = SINKS + 1


# An event that says again what was said before, with more behind it.
cdef bint repeats(const view* v, const oisp_text* t, const oisp_capture* c) noexcept nogil:
    if v.w.deltas or t.size > c.size or t.form != OISP_TEXT_STRING:
        return False
    return memcmp(oisp_text_data(&v.w.x, t), wire(v) + c.at, t.size) == 0


# One capture into one text, as its leaf says.
cdef void put_capture(const view* v, oisp_text* t, const oisp_slot_leaf* leaf, const oisp_capture* c) noexcept nogil:
    cdef const uint8_t* data = wire(v) + c.at
    cdef bint container = c.kind >= OISP_JSON_ARRAY
    cdef bint as_json = leaf.as_ == OISP_AS_JSON
    if leaf.op == OISP_OP_ONCE and t.size:
        return
    if container and c.flags & OISP_CAPTURE_CUT:
        t.flags |= OISP_TEXT_TRUNCATED
        return                    # half an object is no JSON
    if as_json and c.kind == OISP_JSON_STRING:
        if c.flags & OISP_CAPTURE_CUT:
            t.flags |= OISP_TEXT_TRUNCATED
            return
        put_json(v.w, t, data - 1, c.size + 2, (c.flags & (OISP_CAPTURE_DIRTY | OISP_CAPTURE_LOW | OISP_CAPTURE_HIGH)) != 0)
    elif container and leaf.op == OISP_OP_MERGE and t.form == OISP_TEXT_JSON:
        merge_json(v.w, t, data, c.size, c.flags & OISP_CAPTURE_DIRTY)
    elif container or as_json:
        put_json(v.w, t, data, c.size, c.flags & OISP_CAPTURE_DIRTY)
    elif c.kind == OISP_JSON_STRING:
        if leaf.op != OISP_OP_APPEND and leaf.op != OISP_OP_GROW:
            text_clear(t)
        elif v.w.streaming == 2:
            note_sink(v.w, c.at, leaf.slot)
        if leaf.op == OISP_OP_GROW and repeats(v, t, c):
            put_string(v.w, t, data + t.size, c.size - t.size, c.flags)
            return
        if leaf.word:
            put_constant(v, t, leaf.word)
            data = wire(v) + c.at
        if leaf.as_ == OISP_AS_BASE64:
            put_base64(v.w, t, data, c.size)
        else:
            put_string(v.w, t, data, c.size, c.flags)
    else:
        put_json(v.w, t, data, c.size, False)


# All captures of a text slot, in the order of the document. Pieces of a stream stay open for the next one.
cdef void fill_text(const view* v, oisp_text* t, uint16_t record, int slot, const picks* k, uint32_t low, uint32_t high) noexcept nogil:
    cdef const oisp_slot_leaf* leaf
    cdef uint32_t i
    if k.at[slot] == 0:
        return
    i = k.at[slot] - 1
    leaf = leaf_of(v, v.caps + i, record, slot, k)
    if leaf == NULL:
        return
    if leaf.op == OISP_OP_COLLECT:
        collect_numbers(v, t, record, slot, k, low)
    elif leaf.op != OISP_OP_APPEND:
        put_capture(v, t, leaf, v.caps + i)
        if leaf.op == OISP_OP_GROW and v.w.streaming == 2:
            return
    else:
        if not v.w.remade:
            append_captures(v, t, record, slot, k, low)
        if v.w.streaming == 2:
            return
    text_seal(v.w, t)


cdef void append_captures(const view* v, oisp_text* t, uint16_t record, int slot, const picks* k, uint32_t low) noexcept nogil:
    cdef const oisp_slot_leaf* leaf
    cdef uint32_t i
    for i in range(low, k.at[slot]):
        if v.caps[i].alive:
            leaf = leaf_of(v, v.caps + i, record, slot, k)
            if leaf != NULL:
                put_capture(v, t, leaf, v.caps + i)


# Numbers that stand apart on the wire, as one object: {"eval_count":7}.
cdef void collect_numbers(const view* v, oisp_text* t, uint16_t record, int slot, const picks* k, uint32_t low) noexcept nogil:
    cdef const oisp_slot_leaf* leaf
    cdef const oisp_word* word
    cdef uint32_t i
    cdef oisp_buffer* b = &v.w.inner_text
    oisp_buffer_wipe(b)
    oisp_buffer_append(b, b"{", 1)
    for i in range(low, k.at[slot]):
        leaf = leaf_of(v, v.caps + i, record, slot, k) if v.caps[i].alive else NULL
        if leaf == NULL or leaf.word == 0:
            continue
        word = v.t.words + leaf.word - 1
        if b.size > 1:
            oisp_buffer_append(b, b",", 1)
        oisp_buffer_append(b, b"\"", 1)
        oisp_buffer_append(b, v.t.json.pool + word.at, word.size)
        oisp_buffer_append(b, b"\":", 2)
        oisp_buffer_append(b, wire(v) + v.caps[i].at, v.caps[i].size)
    oisp_buffer_append(b, b"}", 1)
    if t.form == OISP_TEXT_JSON:
        merge_json(v.w, t, b.data, b.size, False)
    else:
        put_json(v.w, t, b.data, b.size, False)
    oisp_buffer_wipe(b)


# A JSON number, or OISP_ABSENT. Some providers write whole numbers with a fraction.
cdef int64_t number_of(const uint8_t* data, size_t size) noexcept nogil:
    cdef char text[SHORT]
    cdef int64_t n = 0
    cdef size_t i
    cdef double d
    if size < 18:
        for i in range(size):
            if not 48 <= data[i] <= 57:
                break
            n = n * 10 + (data[i] - 48)
        else:
            return n if size else OISP_ABSENT
    if size >= SHORT:
        return OISP_ABSENT
    memcpy(text, data, size)
    text[size] = 0
    d = strtod(text, NULL)
    if d != floor(d) or d > 9007199254740992.0 or d < -9007199254740992.0:
        return OISP_ABSENT
    return <int64_t> d


cdef int64_t capture_number(const view* v, const picks* k, int slot, int64_t otherwise) noexcept nogil:
    if k.at[slot] == 0:
        return otherwise
    cdef const oisp_capture* c = v.caps + k.at[slot] - 1
    cdef int64_t n = number_of(wire(v) + c.at, c.size) if c.kind == OISP_JSON_NUMBER else OISP_ABSENT
    return otherwise if n == OISP_ABSENT else n


# A number slot: the last one, a sum, a count or a length. `otherwise` where the document says nothing.
cdef int64_t fill_number(const view* v, uint16_t record, int slot, const picks* k, uint32_t low, int64_t otherwise) noexcept nogil:
    cdef const oisp_slot_leaf* leaf
    cdef const oisp_capture* c
    cdef int64_t total = 0, n
    cdef uint32_t i
    if k.at[slot] == 0:
        return otherwise
    c = v.caps + k.at[slot] - 1
    leaf = leaf_of(v, c, record, slot, k)
    if leaf == NULL:
        return otherwise
    if leaf.op == OISP_OP_LENGTH:
        # base64 of 32-bit floats; the wire's padding may be left out
        if c.kind == OISP_JSON_STRING:
            n = c.size
            while n and wire(v)[c.at + n - 1] == 61:
                n -= 1
            return n * 3 / 16
        return c.count
    if leaf.op == OISP_OP_MAX:
        n = capture_number(v, k, slot, otherwise)
        return n if otherwise == OISP_ABSENT or n > otherwise else otherwise
    if leaf.op != OISP_OP_SUM and leaf.op != OISP_OP_COUNT:
        return capture_number(v, k, slot, otherwise)
    for i in range(low, k.at[slot]):
        if v.caps[i].alive and leaf_of(v, v.caps + i, record, slot, k) != NULL:
            if leaf.op == OISP_OP_COUNT:
                total += 1
                continue
            n = number_of(wire(v) + v.caps[i].at, v.caps[i].size)
            total += 0 if n == OISP_ABSENT else n
    return total


# The word of a slot through its map. 0: the slot is empty.
cdef int fill_word(const view* v, uint16_t record, int slot, const picks* k) noexcept nogil:
    cdef uint8_t plain[SHORT]
    cdef const oisp_slot_leaf* leaf
    cdef const oisp_capture* c
    cdef const oisp_word* word
    cdef const oisp_map* m
    cdef const uint8_t* p
    cdef uint32_t i, size
    if k.at[slot] == 0:
        return 0
    c = v.caps + k.at[slot] - 1
    leaf = leaf_of(v, c, record, slot, k)
    if leaf == NULL or leaf.map == 0 or c.size == 0:
        return 0
    p = wire(v) + c.at
    size = c.size
    m = v.t.maps + leaf.map - 1
    if size > SHORT:
        return m.other
    if c.flags & OISP_CAPTURE_ESCAPED:
        size = <uint32_t> json_unescape(plain, p, size)
        p = plain
    for i in range(m.count):
        word = v.t.words + m.first + i
        if word.size == size and memcmp(v.t.json.pool + word.at, p, size) == 0:
            return word.value
        # `computer_*` in the file: everything that begins so
        if word.size and word.size <= size + 1 and v.t.json.pool[word.at + word.size - 1] == 42:
            if memcmp(v.t.json.pool + word.at, p, word.size - 1) == 0:
                return word.value
    return m.other


cdef bint present(const picks* k, int slot) noexcept nogil:
    return k.at[slot] != 0


# A flag whose capture may be a JSON bool or a word: any but "false" and the empty one (a form has nothing else).
cdef int flag_of(const view* v, const picks* k, int slot) noexcept nogil:
    if k.at[slot] == 0:
        return -1
    cdef const oisp_capture* c = v.caps + k.at[slot] - 1
    if c.kind == OISP_JSON_STRING:
        return c.size != 0 and not (c.size == 5 and memcmp(wire(v) + c.at, b"false", 5) == 0)
    return c.kind != OISP_JSON_FALSE


# Members of `data` that are not null replace those of the object in t; both are valid JSON objects.
cdef const uint8_t* skip_blanks(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and p[0] <= 32:
        p += 1
    return p


cdef const uint8_t* skip_string(const uint8_t* p, const uint8_t* end) noexcept nogil:
    p += 1
    while p < end and p[0] != 34:
        p += 2 if p[0] == 92 else 1
    return p + 1


# One past the value at p, of valid JSON.
cdef const uint8_t* skip_value(const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef int depth = 0
    while p < end:
        if p[0] == 34:
            p = skip_string(p, end)
        elif p[0] == 123 or p[0] == 91:
            depth += 1
            p += 1
        elif p[0] == 125 or p[0] == 93:
            if depth == 0:
                return p
            depth -= 1
            p += 1
        elif depth == 0 and (p[0] == 44 or p[0] <= 32):
            return p
        else:
            p += 1
            continue
        if depth == 0:
            return p
    return p if p < end else end


# The next member of an object: key (with its quotes) and value. p stands after '{' or a value; NULL: no more.
cdef const uint8_t* next_member(const uint8_t* p, const uint8_t* end, oisp_slice* key, oisp_slice* value) noexcept nogil:
    while p < end and (p[0] <= 32 or p[0] == 44):
        p += 1
    if p >= end or p[0] != 34:
        return NULL
    key.data = p
    p = skip_string(p, end)
    key.size = <uint32_t> (p - key.data)
    p = skip_blanks(p, end)
    p = skip_blanks(p + 1, end)
    value.data = p
    p = skip_value(p, end)
    value.size = <uint32_t> (p - value.data)
    return p


cdef bint find_member(const uint8_t* data, size_t size, const oisp_slice* key, oisp_slice* value) noexcept nogil:
    cdef const uint8_t* end = data + size
    cdef const uint8_t* p = data + 1
    cdef oisp_slice name
    cdef bint found = False
    cdef oisp_slice got
    while True:
        p = next_member(p, end, &name, &got)
        if p == NULL:
            return found
        if name.size == key.size and memcmp(name.data, key.data, key.size) == 0:
            value[0] = got
            found = True


cdef bint is_null(const oisp_slice* value) noexcept nogil:
    return value.size == 4 and memcmp(value.data, b"null", 4) == 0


cdef void add_member(oisp_buffer* b, const oisp_slice* key, const oisp_slice* value) noexcept nogil:
    oisp_buffer_append(b, b"," if b.size > 1 else b"", 1 if b.size > 1 else 0)
    oisp_buffer_append(b, key.data, key.size)
    oisp_buffer_append(b, b":", 1)
    oisp_buffer_append(b, value.data, value.size)


cdef inline bint in_number(uint8_t c) noexcept nogil:
    return <uint8_t> (c - c"0") < 10 or c == c"-" or c == c"+" or c == c"." or c == c"e" or c == c"E"


# Two documents that are equal but for the numbers outside of strings: counters of a stream.
cdef bint numbers_differ(const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size) noexcept nogil:
    cdef size_t i = 0, j = 0
    cdef bint inside = False
    while i < a_size and j < b_size:
        if not inside and (<uint8_t> (a[i] - c"0") < 10 or a[i] == c"-"):
            if <uint8_t> (b[j] - c"0") > 9 and b[j] != c"-":
                return False
            while i < a_size and in_number(a[i]):
                i += 1
            while j < b_size and in_number(b[j]):
                j += 1
            continue
        if a[i] != b[j]:
            return False
        if a[i] == c"\\" and inside and i + 1 < a_size and j + 1 < b_size:
            i += 1
            j += 1
            if a[i] != b[j]:
                return False
        elif a[i] == c'"':
            inside = not inside
        i += 1
        j += 1
    return i == a_size and j == b_size


cdef void merge_json(work* w, oisp_text* t, const uint8_t* data, size_t size, bint dirty) noexcept nogil:
    cdef const uint8_t* old = w.x.arena.data + t.offset
    cdef const uint8_t* old_end = old + t.size
    cdef const uint8_t* p = old + 1
    cdef oisp_slice key, value, other
    if numbers_differ(old, t.size, data, size):
        put_json(w, t, data, size, dirty)
        return
    oisp_buffer_wipe(&w.scratch)
    oisp_buffer_append(&w.scratch, b"{", 1)
    while True:
        p = next_member(p, old_end, &key, &value)
        if p == NULL:
            break
        if find_member(data, size, &key, &other) and not is_null(&other):
            value = other
        add_member(&w.scratch, &key, &value)
    p = data + 1
    while True:
        p = next_member(p, data + size, &key, &value)
        if p == NULL:
            break
        if not find_member(old, old_end - old, &key, &other):
            add_member(&w.scratch, &key, &value)
    oisp_buffer_append(&w.scratch, b"}", 1)
    put_json(w, t, w.scratch.data, w.scratch.size, dirty)
    oisp_buffer_wipe(&w.scratch)


# --- items ----------------------------------------------------------------------------------------------------------


# One more zeroed item; NULL beyond the bound.
cdef void* grow(work* w, void** items, uint32_t* count, uint32_t* capacity, size_t size) noexcept nogil:
    cdef uint32_t room
    cdef void* moved
    if count[0] >= w.items_max:
        w.x.flags |= OISP_X_LIMIT
        return NULL
    if count[0] == capacity[0]:
        room = capacity[0] * 2 if capacity[0] else 8
        moved = realloc(items[0], room * size)
        if moved == NULL:
            w.x.flags |= OISP_X_LIMIT
            return NULL
        items[0] = moved
        capacity[0] = room
    moved = <uint8_t*> items[0] + count[0] * size
    memset(moved, 0, size)
    count[0] += 1
    return moved


cdef oisp_message_part* add_message(work* w) noexcept nogil:
    return <oisp_message_part*> grow(
        w, <void**> &w.x.messages, &w.x.messages_count, &w.x.messages_capacity, sizeof(oisp_message_part)
    )


cdef oisp_call* add_call(work* w, bint history) noexcept nogil:
    cdef oisp_call* call
    if history:
        call = <oisp_call*> grow(w, <void**> &w.x.history, &w.x.history_count, &w.x.history_capacity, sizeof(oisp_call))
    else:
        call = <oisp_call*> grow(w, <void**> &w.x.calls, &w.x.calls_count, &w.x.calls_capacity, sizeof(oisp_call))
    if call != NULL:
        call.key = OISP_ABSENT
    return call


cdef oisp_choice* add_choice(work* w, int64_t index) noexcept nogil:
    cdef oisp_choice* choice = <oisp_choice*> grow(
        w, <void**> &w.x.choices, &w.x.choices_count, &w.x.choices_capacity, sizeof(oisp_choice)
    )
    if choice != NULL:
        choice.index = index
    return choice


# --- records --------------------------------------------------------------------------------------------------------

# `parent`: index of the message or choice that a record stands in, -1 none.


# The records inside `record`, in the order of the document.
cdef void fill_nested(const view* v, uint16_t record, uint32_t low, uint32_t high, int64_t parent) noexcept nogil:
    cdef const oisp_slot_leaf* leaf
    cdef const oisp_capture* c
    cdef uint32_t i = low, alive, end, after
    while i < high:
        c = v.caps + i
        alive = c.alive
        after = i + 1
        leaf = v.t.leaves + v.t.json.nodes[c.node].leaves
        while alive:
            if alive & 1 and leaf.opens and leaf.record == record:
                end = c.next if c.next < high else high
                fill_record(v, leaf.opens, i, end if end > i else i + 1, parent)
                if leaf.map and c.next > after:
                    after = c.next
            alive >>= 1
            leaf += 1
        i = after


cdef void fill_message(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high) noexcept nogil:
    cdef const oisp_record_def* r = v.t.records + record
    cdef oisp_message_part* m = add_message(v.w)
    cdef uint32_t index = v.w.x.messages_count - 1
    cdef const oisp_capture* c
    if m == NULL:
        return
    m.role = <uint8_t> fill_word(v, record, OISP_SLOT_ROLE, k)
    if m.role == 0 and not present(k, OISP_SLOT_ROLE):
        m.role = r.role
    if r.system:
        m.flags |= OISP_PART_SYSTEM
    if present(k, OISP_SLOT_ROLE):
        c = v.caps + k.at[OISP_SLOT_ROLE] - 1
        if not is_role_word(wire(v) + c.at, c.size, m.role):
            m.raw = 1
            fill_text(v, &m.raw_role, record, OISP_SLOT_ROLE, k, low, high)
    fill_text(v, &m.content, record, OISP_SLOT_CONTENT, k, low, high)
    if m.content.flags & OISP_TEXT_TRUNCATED:
        m.flags |= OISP_PART_PARTIAL
    fill_text(v, &m.call_id, record, OISP_SLOT_CALL_ID, k, low, high)
    fill_text(v, &m.name, record, OISP_SLOT_NAME, k, low, high)
    m.images = <uint16_t> fill_number(v, record, OISP_SLOT_IMAGES, k, low, 0)
    v.w.x.images += m.images
    if k.nested:
        fill_nested(v, record, low, high, index)


cdef bint is_role_word(const uint8_t* p, size_t size, int role) noexcept nogil:
    if role == OISP_ROLE_SYSTEM:
        return size == 6 and memcmp(p, b"system", 6) == 0
    if role == OISP_ROLE_USER:
        return size == 4 and memcmp(p, b"user", 4) == 0
    if role == OISP_ROLE_ASSISTANT:
        return size == 9 and memcmp(p, b"assistant", 9) == 0
    if role == OISP_ROLE_TOOL:
        return size == 4 and memcmp(p, b"tool", 4) == 0
    return role != 0


cdef void put_constant(const view* v, oisp_text* t, uint16_t word) noexcept nogil:
    if word and t.size == 0:
        text_clear(t)
        put_plain(v.w, t, OISP_TEXT_STRING, v.t.json.pool + v.t.words[word - 1].at, v.t.words[word - 1].size)


cdef void fill_tool(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high) noexcept nogil:
    cdef const oisp_record_def* r = v.t.records + record
    cdef oisp_tool_def* tool = <oisp_tool_def*> grow(
        v.w, <void**> &v.w.x.tools, &v.w.x.tools_count, &v.w.x.tools_capacity, sizeof(oisp_tool_def)
    )
    if tool == NULL:
        return
    fill_text(v, &tool.name, record, OISP_SLOT_NAME, k, low, high)
    put_constant(v, &tool.name, r.name)
    fill_text(v, &tool.description, record, OISP_SLOT_DESCRIPTION, k, low, high)
    fill_text(v, &tool.raw_type, record, OISP_SLOT_TYPE, k, low, high)
    put_constant(v, &tool.raw_type, r.type)
    tool.type = <uint8_t> fill_word(v, record, OISP_SLOT_TYPE, k)
    if tool.type == 0:
        tool.type = OISP_TOOL_TYPE_FUNCTION
    if r.server or present(k, OISP_SLOT_SERVER):
        tool.server = 1


# The call of a stream that this piece belongs to, or NULL: by index, unless another id stands under that index; without an
# index by id; without either the last one of the choice.
cdef oisp_call* find_call(const view* v, int32_t choice, const picks* k) noexcept nogil:
    cdef int64_t key = capture_number(v, k, OISP_SLOT_INDEX, OISP_ABSENT)
    cdef const oisp_capture* id = NULL
    cdef oisp_call* call
    cdef uint32_t i
    if k.at[OISP_SLOT_ID] and v.caps[k.at[OISP_SLOT_ID] - 1].size:
        id = v.caps + k.at[OISP_SLOT_ID] - 1
    i = v.w.x.calls_count
    while i:
        i -= 1
        call = v.w.x.calls + i
        if call.choice != choice or (key != OISP_ABSENT and call.key != OISP_ABSENT and call.key != key):
            continue
        if id != NULL and call.id.size:
            if text_equal(v.w, &call.id, wire(v) + id.at, id.size):
                return call
            if key != OISP_ABSENT:
                return NULL
            continue
        if id == NULL or key != OISP_ABSENT:
            return call
    return NULL


cdef void fill_call(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high, int64_t parent) noexcept nogil:
    cdef const oisp_record_def* r = v.t.records + record
    cdef bint history = v.w.streaming == 0
    cdef int32_t choice = 0
    cdef oisp_call* call = NULL
    cdef bint fresh = False
    cdef uint32_t before, sinks
    if k.any == 0:
        return
    if v.w.streaming and parent >= 0:
        choice = <int32_t> v.w.x.choices[parent].index
    elif history and parent >= 0:
        choice = <int32_t> parent
    if v.w.streaming == 2 and not r.fresh:
        call = find_call(v, choice, k)
    if call == NULL:
        if not slot_has_text(v, k, OISP_SLOT_ID) and not slot_has_text(v, k, OISP_SLOT_NAME) and r.name == 0:
            if not slot_has_text(v, k, OISP_SLOT_ARGUMENTS):
                return           # a function_call that is not used
        call = add_call(v.w, history)
        if call == NULL:
            return
        fresh = True
        forget_shapes(v.w)
        call.choice = choice
        call.key = capture_number(v, k, OISP_SLOT_INDEX, OISP_ABSENT)
    if r.server or present(k, OISP_SLOT_SERVER):
        call.server = 1
    if r.custom or present(k, OISP_SLOT_CUSTOM):
        call.custom = 1
    fill_text(v, &call.name, record, OISP_SLOT_NAME, k, low, high)
    put_constant(v, &call.name, r.name)
    fill_text(v, &call.type, record, OISP_SLOT_TYPE, k, low, high)
    put_constant(v, &call.type, r.type)
    fill_text(v, &call.server_name, record, OISP_SLOT_SERVER_NAME, k, low, high)
    before = call.id.size
    fill_text(v, &call.id, record, OISP_SLOT_ID, k, low, high)
    if call.id.size != before:
        forget_shapes(v.w)       # pieces without an index may belong to another call from now on
    before = settled(&call.arguments)
    sinks = v.w.sink_count
    v.w.item = <uint32_t> (call - v.w.x.calls)
    fill_text(v, &call.arguments, record, OISP_SLOT_ARGUMENTS, k, low, high)
    if v.w.streaming == 2 and (fresh or slot_has_text(v, k, OISP_SLOT_ID) or (
        v.w.sink_count > sinks and slot_has_text(v, k, OISP_SLOT_ARGUMENTS)
    )):
        v.w.x.chunk_call = <uint32_t> (call - v.w.x.calls) + 1
        v.w.arguments_start = before
        v.w.x.first_content = 1


cdef bint slot_has_text(const view* v, const picks* k, int slot) noexcept nogil:
    return k.at[slot] != 0 and v.caps[k.at[slot] - 1].size != 0


cdef void fill_answer(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high, int64_t parent) noexcept nogil:
    cdef const oisp_record_def* r = v.t.records + record
    cdef oisp_tool_answer* a = <oisp_tool_answer*> grow(
        v.w, <void**> &v.w.x.answers, &v.w.x.answers_count, &v.w.x.answers_capacity, sizeof(oisp_tool_answer)
    )
    if a == NULL:
        return
    fill_text(v, &a.call_id, record, OISP_SLOT_CALL_ID, k, low, high)
    fill_text(v, &a.name, record, OISP_SLOT_NAME, k, low, high)
    fill_text(v, &a.content, record, OISP_SLOT_CONTENT, k, low, high)
    a.success = -1
    if present(k, OISP_SLOT_SUCCESS):
        a.success = <int8_t> (0 if fill_word(v, record, OISP_SLOT_SUCCESS, k) == 0 else 1)
    if r.server or present(k, OISP_SLOT_SERVER):
        a.server = 1
    a.message = <uint16_t> (parent if 0 <= parent < 65535 else 65535)
    if present(k, OISP_SLOT_ERROR):
        a.success = 0
    fill_text(v, &a.error_type, record, OISP_SLOT_ERROR_TYPE, k, low, high)
    fill_text(v, &a.error_message, record, OISP_SLOT_ERROR_MESSAGE, k, low, high)


# The item of a record that is joined by place: the n-th of each of these records is one item, for stores that answer
# column by column (all ids, then all texts).
cdef oisp_hit* hit_at_place(work* w, uint16_t record) noexcept nogil:
    if w.column != record:
        w.column = record
        w.place = 0
    w.place += 1
    if w.place <= w.x.hits_count:
        return w.x.hits + w.place - 1
    return <oisp_hit*> grow(w, <void**> &w.x.hits, &w.x.hits_count, &w.x.hits_capacity, sizeof(oisp_hit))


cdef void fill_hit(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high) noexcept nogil:
    cdef oisp_hit* h
    if v.t.records[record].fresh == 2:
        h = hit_at_place(v.w, record)
    else:
        h = <oisp_hit*> grow(v.w, <void**> &v.w.x.hits, &v.w.x.hits_count, &v.w.x.hits_capacity, sizeof(oisp_hit))
    if h == NULL:
        return
    fill_text(v, &h.source, record, OISP_SLOT_SOURCE, k, low, high)
    fill_text(v, &h.content, record, OISP_SLOT_CONTENT, k, low, high)
    fill_text(v, &h.score, record, OISP_SLOT_SCORE, k, low, high)
    fill_text(v, &h.distance, record, OISP_SLOT_DISTANCE, k, low, high)


cdef oisp_choice* find_choice(work* w, int64_t index) noexcept nogil:
    cdef uint32_t i
    for i in range(w.x.choices_count):
        if w.x.choices[i].index == index:
            return w.x.choices + i
    return NULL


cdef void fill_choice(const view* v, uint16_t record, const picks* k, uint32_t low, uint32_t high) noexcept nogil:
    cdef work* w = v.w
    cdef const oisp_record_def* r = v.t.records + record
    cdef int64_t index = capture_number(v, k, OISP_SLOT_INDEX, OISP_ABSENT)
    cdef oisp_choice* choice
    cdef uint32_t at
    if k.any == 0 and k.nested == 0:
        return
    if index == OISP_ABSENT:
        index = w.x.choices_count if r.fresh else 0
    choice = find_choice(w, index)
    if choice == NULL:
        choice = add_choice(w, index)
        if choice == NULL:
            return
        choice.role = r.role
    at = <uint32_t> (choice - w.x.choices)
    if present(k, OISP_SLOT_ROLE):
        choice.role = <uint8_t> fill_word(v, record, OISP_SLOT_ROLE, k)
    if slot_has_text(v, k, OISP_SLOT_FINISH):
        fill_text(v, &choice.finish_raw, record, OISP_SLOT_FINISH, k, low, high)
        choice.finish = <uint8_t> fill_word(v, record, OISP_SLOT_FINISH, k)
        w.x.chunk_finish = choice.finish
    if w.streaming == 2 and present(k, OISP_SLOT_CONTENT) and w.chunk_choice == 0:
        w.chunk_choice = at + 1
        w.chunk_start = settled(&choice.content)
    w.item = at
    fill_text(v, &choice.content, record, OISP_SLOT_CONTENT, k, low, high)
    fill_text(v, &choice.reasoning, record, OISP_SLOT_REASONING, k, low, high)
    fill_text(v, &choice.refusal, record, OISP_SLOT_REFUSAL, k, low, high)
    if slot_has_text(v, k, OISP_SLOT_CONTENT) or slot_has_text(v, k, OISP_SLOT_REASONING) or slot_has_text(v, k, OISP_SLOT_REFUSAL):
        w.x.first_content = 1
    choice.images += <uint16_t> fill_number(v, record, OISP_SLOT_IMAGES, k, low, 0)
    if k.nested:
        fill_nested(v, record, low, high, at)


cdef void fill_request(const view* v, uint16_t record, const picks* k, uint32_t high) noexcept nogil:
    cdef oisp_exchange* x = &v.w.x
    cdef int flag
    if slot_has_text(v, k, OISP_SLOT_MODEL):
        fill_text(v, &x.model_requested, record, OISP_SLOT_MODEL, k, 0, high)
    if present(k, OISP_SLOT_SYSTEM):
        text_clear(&x.system)     # of a session, it may have been said before
    fill_text(v, &x.system, record, OISP_SLOT_SYSTEM, k, 0, high)
    if present(k, OISP_SLOT_ASKS):
        v.w.says |= OISP_SAYS_ASK
    v.w.deltas |= <uint8_t> (flag_of(v, k, OISP_SLOT_DELTAS) > 0)
    fill_text(v, &x.tool_choice, record, OISP_SLOT_TOOL_CHOICE, k, 0, high)
    fill_text(v, &x.temperature, record, OISP_SLOT_TEMPERATURE, k, 0, high)
    fill_text(v, &x.top_p, record, OISP_SLOT_TOP_P, k, 0, high)
    fill_text(v, &x.max_tokens, record, OISP_SLOT_MAX_TOKENS, k, 0, high)
    fill_text(v, &x.frequency_penalty, record, OISP_SLOT_FREQUENCY_PENALTY, k, 0, high)
    fill_text(v, &x.presence_penalty, record, OISP_SLOT_PRESENCE_PENALTY, k, 0, high)
    fill_text(v, &x.previous_id, record, OISP_SLOT_PREVIOUS_ID, k, 0, high)
    fill_text(v, &x.conversation, record, OISP_SLOT_CONVERSATION, k, 0, high)
    fill_text(v, &x.user, record, OISP_SLOT_USER, k, 0, high)
    if present(k, OISP_SLOT_STOP):
        fill_stop(v, k)
    flag = flag_of(v, k, OISP_SLOT_STREAM)
    if flag >= 0:
        x.flags |= OISP_X_STREAM_ASKED if flag else OISP_X_STREAM_NOT_ASKED
    x.input_count = fill_number(v, record, OISP_SLOT_INPUT_COUNT, k, 0, x.input_count)
    fill_text(v, &x.query, record, OISP_SLOT_QUERY, k, 0, high)
    fill_text(v, &x.source, record, OISP_SLOT_SOURCE, k, 0, high)
    fill_text(v, &x.client_name, record, OISP_SLOT_CLIENT_NAME, k, 0, high)
    fill_text(v, &x.client_version, record, OISP_SLOT_CLIENT_VERSION, k, 0, high)
    x.top_k = fill_number(v, record, OISP_SLOT_TOP_K, k, 0, x.top_k)
    x.dimensions = fill_number(v, record, OISP_SLOT_DIMENSIONS, k, 0, x.dimensions)
    x.images += <uint32_t> fill_number(v, record, OISP_SLOT_IMAGES, k, 0, 0)


# The contract's `stop` is JSON: a string keeps its quotes.
cdef void fill_stop(const view* v, const picks* k) noexcept nogil:
    cdef const oisp_capture* c = v.caps + k.at[OISP_SLOT_STOP] - 1
    cdef bint string = c.kind == OISP_JSON_STRING
    put_json(
        v.w, &v.w.x.stop, wire(v) + c.at - string, c.size + 2 * string,
        (c.flags & (OISP_CAPTURE_DIRTY | OISP_CAPTURE_LOW | OISP_CAPTURE_HIGH)) != 0,
    )


cdef void fill_usage(const view* v, uint16_t record, const picks* k, uint32_t high) noexcept nogil:
    cdef oisp_usage* u = &v.w.x.usage
    fill_text(v, &u.raw, record, OISP_SLOT_USAGE, k, 0, high)
    u.prompt = fill_number(v, record, OISP_SLOT_PROMPT_TOKENS, k, 0, u.prompt)
    u.completion = fill_number(v, record, OISP_SLOT_COMPLETION_TOKENS, k, 0, u.completion)
    u.total = fill_number(v, record, OISP_SLOT_TOTAL_TOKENS, k, 0, u.total)
    u.cached = fill_number(v, record, OISP_SLOT_CACHED_TOKENS, k, 0, u.cached)
    u.cache_write = fill_number(v, record, OISP_SLOT_CACHE_WRITE_TOKENS, k, 0, u.cache_write)
    u.reasoning = fill_number(v, record, OISP_SLOT_REASONING_TOKENS, k, 0, u.reasoning)


cdef void fill_error(const view* v, uint16_t record, const picks* k, uint32_t high) noexcept nogil:
    cdef oisp_exchange* x = &v.w.x
    if present(k, OISP_SLOT_ERROR):
        x.flags |= OISP_X_ERROR
    fill_text(v, &x.error_type, record, OISP_SLOT_ERROR_TYPE, k, 0, high)
    fill_text(v, &x.error_message, record, OISP_SLOT_ERROR_MESSAGE, k, 0, high)
    fill_text(v, &x.error_code, record, OISP_SLOT_ERROR_CODE, k, 0, high)


# What a document says of the whole answer.
cdef void fill_answered(const view* v, uint16_t record, const picks* k, uint32_t high) noexcept nogil:
    cdef oisp_exchange* x = &v.w.x
    if present(k, OISP_SLOT_RESTART):
        x.choices_count = 0
        x.calls_count = 0
        v.w.restarted = 1
        forget_shapes(v.w)
    if present(k, OISP_SLOT_BEGINS):
        v.w.says |= OISP_SAYS_BEGIN
    if present(k, OISP_SLOT_TERMINAL):
        x.flags |= OISP_X_TERMINAL
    if present(k, OISP_SLOT_CACHED_ANSWER):
        x.flags |= OISP_X_CACHED_ANSWER
    if slot_has_text(v, k, OISP_SLOT_ID):
        fill_text(v, &x.response_id, record, OISP_SLOT_ID, k, 0, high)
    if slot_has_text(v, k, OISP_SLOT_MODEL):
        fill_text(v, &x.model_answered, record, OISP_SLOT_MODEL, k, 0, high)
    fill_text(v, &x.service_tier, record, OISP_SLOT_SERVICE_TIER, k, 0, high)
    if slot_has_text(v, k, OISP_SLOT_FINISH):
        fill_text(v, &x.finish_raw, record, OISP_SLOT_FINISH, k, 0, high)
        x.finish = <uint8_t> fill_word(v, record, OISP_SLOT_FINISH, k)
        x.chunk_finish = x.finish
    fill_text(v, &x.server_name, record, OISP_SLOT_SERVER_NAME, k, 0, high)
    fill_text(v, &x.query, record, OISP_SLOT_QUERY, k, 0, high)
    x.embedding_count = fill_number(v, record, OISP_SLOT_EMBEDDING_COUNT, k, 0, x.embedding_count)
    x.dimensions = fill_number(v, record, OISP_SLOT_DIMENSIONS, k, 0, x.dimensions)
    fill_usage(v, record, k, high)
    fill_error(v, record, k, high)


cdef void fill_record(const view* v, uint16_t record, uint32_t low, uint32_t high, int64_t parent) noexcept nogil:
    cdef picks k
    cdef int kind = v.t.records[record].kind
    collect(v, record, low, high, &k)
    if kind == OISP_REC_MESSAGE:
        fill_message(v, record, &k, low, high)
    elif kind == OISP_REC_TOOL:
        fill_tool(v, record, &k, low, high)
    elif kind == OISP_REC_CALL:
        fill_call(v, record, &k, low, high, parent)
    elif kind == OISP_REC_ANSWER:
        fill_answer(v, record, &k, low, high, parent)
    elif kind == OISP_REC_CHOICE:
        fill_choice(v, record, &k, low, high)
    elif kind == OISP_REC_HIT:
        fill_hit(v, record, &k, low, high)
    else:
        if k.any:
            if kind == OISP_REC_REQUEST:
                fill_request(v, record, &k, high)
            else:
                fill_answered(v, record, &k, high)
        if k.nested:
            fill_nested(v, record, low, high, -1)


# --- documents ------------------------------------------------------------------------------------------------------


cdef oisp_status decode_document(
    const oisp_dialects_table* t, work* w, const oisp_dialect* d, const oisp_section* s, const uint8_t* data, size_t size,
    uint32_t bits,
) noexcept nogil:
    cdef view v
    cdef oisp_status status
    if s.root == 0:
        return OISP_OK
    status = json_scan(&w.json, &t.json, s.root, data, size, bits)
    if w.json.count:
        v.w = w
        v.t = t
        v.d = d
        v.data = data
        v.inside = place_of(w, data) >= 0
        v.base = data - w.x.arena.data if v.inside else 0
        v.caps = w.json.captures
        v.count = w.json.count
        w.column = 0
        fill_record(&v, s.record, 0, v.count, -1)
    return status


# A message of Protocol Buffers as the document that the dialect's paths name; data and size are those of the document.
# What the message lacks, the document lacks: the status is that of the message.
cdef oisp_status write_message(const oisp_dialects_table* t, work* w, uint32_t message, const uint8_t** data, size_t* size) noexcept nogil:
    cdef size_t most = 8 * size[0] + 65536
    oisp_buffer_wipe(&w.written)
    cdef oisp_status status = oisp_proto_json(&t.protos, message, data[0], size[0], &w.written, most)
    data[0] = w.written.data
    size[0] = w.written.size
    return status


cdef const oisp_dialect* dialect_at(const oisp_dialects_table* t, uint16_t dialect) noexcept nogil:
    return t.dialects + dialect - 1 if 0 < dialect <= t.count else NULL


cdef void system_part(work* w) noexcept nogil:
    """The system prompt as one text, and as a part of its own where the wire has a place of its own for it."""
    cdef oisp_exchange* x = &w.x
    cdef oisp_message_part* m
    cdef uint32_t i
    if x.system.form != OISP_TEXT_NONE and x.system.size:
        x.flags |= OISP_X_SYSTEM
        m = add_message(w)
        if m == NULL:
            return
        memmove(x.messages + 1, x.messages, (x.messages_count - 1) * sizeof(oisp_message_part))
        m = x.messages
        memset(m, 0, sizeof(oisp_message_part))
        m.role = OISP_ROLE_SYSTEM
        m.flags = OISP_PART_SYSTEM
        m.content = x.system
        for i in range(x.answers_count):
            if x.answers[i].message < 65534:
                x.answers[i].message += 1
        for i in range(x.history_count):
            x.history[i].choice += 1
        return
    for i in range(x.messages_count):
        m = x.messages + i
        if m.role != OISP_ROLE_SYSTEM:
            continue
        x.flags |= OISP_X_SYSTEM
        if x.system.form == OISP_TEXT_NONE:
            x.system = m.content
            x.system.capacity = x.system.size
        elif m.content.size:
            append_text(w, &x.system, &m.content)


cdef void append_text(work* w, oisp_text* t, const oisp_text* more) noexcept nogil:
    if text_room(w, t, more.size):
        memcpy(w.x.arena.data + t.offset + t.size, w.x.arena.data + more.offset, more.size)
        t.size += more.size
        t.flags |= more.flags


# How a request or response ended, into the flags of the exchange.
cdef void note_status(oisp_exchange* x, oisp_status status, bint complete, uint32_t bad, uint32_t cut) noexcept nogil:
    if status == OISP_MORE:
        x.flags |= cut | (bad if complete else 0)
    elif status == OISP_BAD:
        x.flags |= bad
    elif status == OISP_LIMIT:
        x.flags |= bad | OISP_X_LIMIT


# The dialect of the documents inside those of d, by the model. d itself where it has none.
cdef const oisp_dialect* inner_dialect(const oisp_dialects_table* t, work* w, const oisp_dialect* d) noexcept nogil:
    cdef const oisp_inner* inner
    cdef oisp_slice model
    cdef uint32_t i
    if d.inner_count == 0:
        return d
    if w.inner == 0:
        model.data = oisp_text_data(&w.x, &w.x.model_requested)
        model.size = w.x.model_requested.size
        for i in range(d.inner_count):
            inner = t.inners + d.inner + i
            if holds(model, <const char*> t.json.pool + inner.at, inner.size):
                w.inner = inner.dialect
                break
        else:
            return d
    return t.dialects + w.inner - 1


# An event that carries a document of another dialect.
cdef void decode_inner_event(const oisp_dialects_table* t, work* w, const oisp_dialect* d, const uint8_t* data) noexcept nogil:
    cdef const oisp_dialect* inner = inner_dialect(t, w, d)
    cdef const oisp_capture* c
    cdef const oisp_slot_leaf* leaf
    cdef uint32_t i
    if inner == d:
        return
    for i in range(w.json.count):
        c = w.json.captures + i
        leaf = t.leaves + t.json.nodes[c.node].leaves
        if not c.alive & 1 or leaf.slot != OISP_SLOT_INNER or c.flags & OISP_CAPTURE_CUT:
            continue
        # The captures of the outer document are overwritten by the pass over the inner one, so there is one per event.
        if leaf.as_ == OISP_AS_EMBEDDED:
            decode_document(t, w, inner, &inner.stream, data + c.at, c.size, 0)
        elif decode_base64(&w.inner_text, data + c.at, c.size):
            decode_held(t, w, inner)
        return


# The document in inner_text; collecting needs that buffer too, so it is moved aside.
cdef void decode_held(const oisp_dialects_table* t, work* w, const oisp_dialect* inner) noexcept nogil:
    cdef oisp_buffer held = w.inner_text
    w.inner_text = w.spare
    decode_document(t, w, inner, &inner.stream, held.data, held.size, 0)
    oisp_buffer_wipe(&held)
    w.spare = w.inner_text
    w.inner_text = held


cdef oisp_status decode_request(const oisp_dialects* table, oisp_exchange* x, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef work* w = <work*> x
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef const oisp_dialect* inner
    cdef oisp_status status, written = OISP_OK
    if d == NULL:
        return OISP_BAD
    w.streaming = 0
    if d.flags & OISP_DIALECT_STREAMS:
        x.flags |= OISP_X_STREAM_ASKED
    if size == 0:
        return OISP_OK
    inner = inner_dialect(t, w, d)
    if d.proto_request:
        written = write_message(t, w, d.proto_request, &data, &size)
    # A body that lies in the arena is not copied: its texts are parts of it.
    w.inside = x.arena.data <= data < x.arena.data + x.arena.size
    if w.inside:
        w.slack = -<int64_t> size
    elif x.arena.size + size < x.arena_max:
        # Most of a request is text: room for all of it at once spares growing, which copies and wipes.
        oisp_buffer_reserve(&x.arena, size)
    status = decode_document(t, w, inner, &inner.request, data, size, 0)
    w.inside = 0
    if d.flags & OISP_DIALECT_STREAMS_UNLESS_REFUSED and not x.flags & OISP_X_STREAM_NOT_ASKED:
        x.flags |= OISP_X_STREAM_ASKED
    system_part(w)
    if d.proto_request:
        status = written
        oisp_buffer_wipe(&w.written)
    note_status(x, status, complete, OISP_X_REQUEST_BAD, OISP_X_REQUEST_CUT)
    return status


cdef oisp_status decode_response(const oisp_dialects* table, oisp_exchange* x, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef work* w = <work*> x
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef const oisp_dialect* inner
    cdef oisp_status status, written = OISP_OK
    if d == NULL:
        return OISP_BAD
    w.streaming = 1
    inner = inner_dialect(t, w, d)
    if d.proto_response:
        written = write_message(t, w, d.proto_response, &data, &size)
    status = decode_document(t, w, inner, &inner.response, data, size, 0)
    if inner != d and x.choices_count == 0 and x.calls_count == 0:
        decode_document(t, w, d, &d.response, data, size, 0)     # the host's own answer: an error
    if d.proto_response:
        status = written
        oisp_buffer_wipe(&w.written)
    note_status(x, status, complete, OISP_X_RESPONSE_BAD, OISP_X_RESPONSE_CUT)
    return status


# What the event brought, for ai.streaming_chunk.
cdef void note_chunk(work* w) noexcept nogil:
    cdef oisp_exchange* x = &w.x
    cdef oisp_choice* choice
    cdef oisp_call* call
    if w.restarted:
        w.chunk_choice = 0
        x.chunk_call = 0
    if w.chunk_choice:
        choice = x.choices + w.chunk_choice - 1
        if settled(&choice.content) > w.chunk_start:
            x.chunk_content = choice.content
            x.chunk_content.offset += w.chunk_start
            x.chunk_content.size = settled(&choice.content) - w.chunk_start
            x.chunk_role = choice.role
            x.chunk_kind = 1
    if x.chunk_call:
        call = x.calls + x.chunk_call - 1
        x.chunk_kind = 1
        if settled(&call.arguments) > w.arguments_start and call.arguments.form == OISP_TEXT_STRING:
            x.chunk_arguments = call.arguments
            x.chunk_arguments.offset += w.arguments_start
            x.chunk_arguments.size = settled(&call.arguments) - w.arguments_start
    if x.chunk_finish:
        x.chunk_kind = 1
    if x.chunk_kind:
        x.chunk_index += 1


# --- the steady state of a stream -----------------------------------------------------------------------------------


cdef void forget_shapes(work* w) noexcept nogil:
    cdef uint32_t i
    for i in range(TEMPLATES):
        oisp_template_wipe(&w.shapes[i].template)
    w.shape_count = w.shape_last = w.shape_next = 0
    w.late_ready = w.late_shape = 0
    w.tries = LEARN_TRIES
    oisp_buffer_wipe(&w.sample)


# Slots that say the same each time, or are appended: an event of nothing else may be learned. The id of a call is none of
# them: it begins a call.
cdef bint steady_slot(const oisp_dialects_table* t, const oisp_slot_leaf* leaf, const oisp_capture* c) noexcept nogil:
    if leaf.slot in (OISP_SLOT_CONTENT, OISP_SLOT_REASONING, OISP_SLOT_REFUSAL, OISP_SLOT_ARGUMENTS):
        return leaf.op == OISP_OP_APPEND and leaf.as_ == OISP_AS_WIRE and c.kind == OISP_JSON_STRING and leaf.word == 0
    if leaf.slot == OISP_SLOT_ID:
        return t.records[leaf.record].kind == OISP_REC_STREAM
    return leaf.slot in (
        OISP_SLOT_MODEL, OISP_SLOT_SERVICE_TIER, OISP_SLOT_INDEX, OISP_SLOT_ROLE, OISP_SLOT_NAME, OISP_SLOT_TYPE,
    )


# Running usage: only what the last event says counts, so it may be read late. Not where it would be merged with what earlier
# ones said (then the exchange holds something else than this event).
cdef bint late_usage(const work* w, const oisp_slot_leaf* leaf, const oisp_capture* c, const uint8_t* data) noexcept nogil:
    cdef const oisp_text* raw = &w.x.usage.raw
    return leaf.slot == OISP_SLOT_USAGE and (leaf.op == OISP_OP_SET or leaf.op == OISP_OP_MERGE) and c.kind == OISP_JSON_OBJECT and \
        raw.size == c.size and memcmp(oisp_text_data(&w.x, raw), data + c.at, c.size) == 0


cdef bint late_number(const oisp_slot_leaf* leaf, const oisp_capture* c) noexcept nogil:
    return c.kind == OISP_JSON_NUMBER and (leaf.op == OISP_OP_SET or leaf.op == OISP_OP_SUM) and leaf.slot in (
        OISP_SLOT_PROMPT_TOKENS, OISP_SLOT_COMPLETION_TOKENS, OISP_SLOT_TOTAL_TOKENS, OISP_SLOT_CACHED_TOKENS,
        OISP_SLOT_CACHE_WRITE_TOKENS, OISP_SLOT_REASONING_TOKENS,
    )


# Whether the event just scanned is one that a template can stand for; where its counters are.
cdef bint steady(const oisp_dialects_table* t, work* w, const uint8_t* data, oisp_template_facts* f) noexcept nogil:
    cdef const oisp_capture* c
    cdef const oisp_slot_leaf* leaf
    cdef uint32_t i, alive
    if w.sink_count == 0 or w.sink_count > SINKS or w.json.dirty or w.json.tested_count > 16:
        return False
    for i in range(w.json.count):
        c = w.json.captures + i
        leaf = t.leaves + t.json.nodes[c.node].leaves
        alive = c.alive
        while alive:
            if alive & 1:
                if leaf.opens:
                    if t.records[leaf.opens].fresh:
                        return False
                elif f.counted_end == 0 and late_usage(w, leaf, c, data):
                    f.counted, f.counted_end = c.at, c.at + c.size
                elif not steady_slot(t, leaf, c) and not (f.counted <= c.at < f.counted_end and late_number(leaf, c)):
                    return False
            alive >>= 1
            leaf += 1
    return True


# What stands before the event: `event: NAME` if it has one, and `data: `. 0: it stands in more than one line.
cdef uint32_t lines_before(uint8_t* lines, oisp_slice name, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t n = 0
    if memchr(data, c"\n", size) != NULL or memchr(data, c"\r", size) != NULL:
        return 0
    if name.size:
        memcpy(lines, b"event: ", 7)
        memcpy(lines + 7, name.data, name.size)
        lines[7 + name.size] = c"\n"
        n = 8 + name.size
    memcpy(lines + n, b"data: ", 6)
    return n + 6


# The event just scanned and the one before it: a shape, if they have one.
cdef void learn(const oisp_dialects_table* t, work* w, oisp_slice name, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_template_facts f
    cdef shape* s = &w.shapes[w.shape_next]
    memset(&f, 0, sizeof(f))
    if w.tries <= 0 or w.never_learns or size > SAMPLE_MAX or name.size > sizeof(s.name) or not steady(t, w, data, &f):
        oisp_buffer_wipe(&w.sample)
        return
    if w.sample.size and w.json.count + 16 <= 64:
        w.tries -= 1
        if learn_shape(w, s, &f, name, data, size):
            s.late = f.counted_end != 0
            if s.late:
                w.late_ready = w.shape_next + 1
            w.shape_last = w.shape_next
            w.shape_next = (w.shape_next + 1) % TEMPLATES
            if w.shape_count < TEMPLATES:
                w.shape_count += 1
    oisp_buffer_wipe(&w.sample)
    oisp_buffer_append(&w.sample, data, size)


cdef bint learn_shape(work* w, shape* s, oisp_template_facts* f, oisp_slice name, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t texts[SINKS]
    cdef uint32_t fixed[64]
    cdef uint8_t lines[80]
    cdef uint32_t i
    for i in range(w.sink_count):
        texts[i] = w.sinks[i].at
    for i in range(w.json.count):
        fixed[f.fixed_count] = w.json.captures[i].at
        f.fixed_count += 1
    for i in range(w.json.tested_count):
        fixed[f.fixed_count] = w.json.tested[i]
        f.fixed_count += 1
    f.texts, f.text_count, f.fixed = texts, w.sink_count, fixed
    f.before, f.before_size = lines, lines_before(lines, name, data, size)
    s.lines = f.before_size != 0
    if not template_learn(&s.template, w.json.scan, w.sample.data, w.sample.size, data, size, f):
        return False
    for i in range(w.sink_count):
        s.sinks[i] = w.sinks[i]
    s.sink_count = <uint16_t> w.sink_count
    if name.size:
        memcpy(s.name, name.data, name.size)
    s.name_size = name.size
    return True


# The late event is made again and read, but for its texts.
cdef void read_late(const oisp_dialects_table* t, work* w, const oisp_dialect* d) noexcept nogil:
    cdef const shape* s = &w.shapes[w.late_shape - 1]
    cdef uint32_t bits = 0
    w.late_shape = 0
    if s.name_size and d.stream.event_node:
        bits = json_tests(&t.json, d.stream.event_node, s.name, s.name_size)
    if not template_remake(&s.template, w.late, &w.again):
        w.x.flags |= OISP_X_LIMIT
        return
    w.remade = 1
    w.streaming = 2
    decode_document(t, w, d, &d.stream, w.again.data, w.again.size, bits)
    w.remade = 0
    oisp_buffer_wipe(&w.again)


cdef oisp_text* sink_text(oisp_exchange* x, const sink* s) noexcept nogil:
    if s.slot == OISP_SLOT_ARGUMENTS:
        return &x.calls[s.item].arguments
    if s.slot == OISP_SLOT_CONTENT:
        return &x.choices[s.item].content
    return &x.choices[s.item].reasoning if s.slot == OISP_SLOT_REASONING else &x.choices[s.item].refusal


# A plain piece to the end of a text, as put_string does it.
cdef inline void put_piece(work* w, oisp_text* t, const uint8_t* data, const oisp_span* piece, size_t readable) noexcept nogil:
    cdef oisp_buffer* arena = &w.x.arena
    cdef bint short = piece.size <= OISP_TEMPLATE_SHORT and readable - piece.at >= OISP_TEMPLATE_SHORT and \
        t.form == OISP_TEXT_STRING and not t.flags & OISP_TEXT_SURROGATE
    if short and t.size + OISP_TEMPLATE_SHORT <= t.capacity:
        template_store(arena.data + t.offset + t.size, data + piece.at, piece.size)
        t.size += piece.size
    elif short and t.size == t.capacity and t.offset + t.size == arena.size and \
            arena.capacity - arena.size >= OISP_TEMPLATE_SHORT and \
            <int64_t> (arena.size + piece.size) + w.slack <= w.x.arena_max:
        template_store(arena.data + arena.size, data + piece.at, piece.size)
        arena.size += piece.size
        t.size += piece.size
        t.capacity = t.size
    else:
        put_string(w, t, data + piece.at, piece.size, piece.flags)


# One piece to the end of the text that its shape names.
cdef inline void extend(work* w, const sink* s, const uint8_t* data, const oisp_span* piece, size_t readable) noexcept nogil:
    cdef oisp_exchange* x = &w.x
    cdef oisp_text* t = sink_text(x, s)
    if s.slot == OISP_SLOT_ARGUMENTS:
        if piece.size:
            x.chunk_call = s.item + 1
            w.arguments_start = settled(t)
    elif s.slot == OISP_SLOT_CONTENT and w.chunk_choice == 0:
        w.chunk_choice = s.item + 1
        w.chunk_start = settled(t)
    if piece.size:
        x.first_content = 1
    put_piece(w, t, data, piece, readable)


# The usual event: it extends the text of one choice, and brings nothing else. As take_any, in few steps.
cdef inline bint take_content(work* w, const shape* s, const uint8_t* data, size_t readable, const oisp_span* piece) noexcept nogil:
    cdef oisp_exchange* x = &w.x
    cdef oisp_choice* choice = &x.choices[s.sinks[0].item]
    cdef oisp_text* t = &choice.content
    cdef uint32_t start = t.size
    if t.form != OISP_TEXT_STRING or t.flags & OISP_TEXT_SURROGATE:
        return False
    put_piece(w, t, data, piece, readable)
    x.chunk_call = 0
    text_clear(&x.chunk_arguments)
    x.chunk_kind = x.chunk_role = x.chunk_finish = 0
    if piece.size:
        x.first_content = 1
    x.chunk_content.offset = t.offset + start
    x.chunk_content.size = t.size - start
    x.chunk_content.capacity = t.capacity
    x.chunk_content.form, x.chunk_content.flags = t.form, t.flags
    if t.size > start:
        x.chunk_role = choice.role
        x.chunk_kind = 1
        x.chunk_index += 1
    else:
        text_clear(&x.chunk_content)
    return True


# A template fits: its texts are extended, its counters kept.
cdef inline void take_fit(work* w, uint32_t at, const uint8_t* data, size_t readable, const oisp_span* pieces) noexcept nogil:
    cdef const shape* s = &w.shapes[at]
    w.shape_last = at
    w.tries = LEARN_TRIES
    w.fitted += 1
    if s.late or s.sink_count != 1 or s.sinks[0].slot != OISP_SLOT_CONTENT or not take_content(w, s, data, readable, pieces):
        take_any(w, at, data, readable, pieces)


cdef void take_any(work* w, uint32_t at, const uint8_t* data, size_t readable, const oisp_span* pieces) noexcept nogil:
    cdef const shape* s = &w.shapes[at]
    cdef const oisp_span* counter
    cdef uint32_t i
    begin_event(w)
    for i in range(s.sink_count):
        extend(w, &s.sinks[i], data, &pieces[i], readable)
    if s.late:
        w.late_shape = at + 1
        for i in range(s.template.counters):
            counter = &pieces[s.sink_count + i]
            memcpy(w.late[i], data + counter.at, counter.size)
            w.late[i][counter.size] = 0
    note_chunk(w)


cdef inline bint may_fit(const work* w, uint32_t at) noexcept nogil:
    return w.shapes[at].template.slot_count and (not w.shapes[at].late or w.late_ready == at + 1)


# How many bytes the event has that begins at `data`, if a template fits (whole: and ends there); its texts were extended
# then. 0: none does.
cdef size_t fits(work* w, oisp_slice name, const uint8_t* data, size_t size, bint whole) noexcept nogil:
    cdef oisp_span pieces[OISP_TEMPLATE_SLOTS]
    cdef uint32_t _, at = w.shape_last
    cdef const shape* s
    cdef size_t used
    for _ in range(w.shape_count):
        s = &w.shapes[at]
        if s.name_size == name.size and may_fit(w, at) and (name.size == 0 or memcmp(s.name, name.data, name.size) == 0):
            used = template_prefix(&s.template, w.json.scan, data, size, False, False, pieces)
            if used and (used == size or not whole):
                take_fit(w, at, data, size, pieces)
                return used
        at = at + 1 if at + 1 < w.shape_count else 0
    return 0


cdef size_t decode_fitting(oisp_exchange* x, oisp_slice name, const uint8_t* data, size_t size, bint whole) noexcept nogil:
    return fits(<work*> x, name, data, size, whole)


cdef void begin_event(work* w) noexcept nogil:
    w.x.flags |= OISP_X_STREAMED
    w.x.chunk_kind = w.x.chunk_role = w.x.chunk_finish = 0
    w.x.chunk_call = 0
    text_clear(&w.x.chunk_content)
    text_clear(&w.x.chunk_arguments)
    w.chunk_choice = 0
    w.restarted = 0
    w.sink_count = 0
    w.streaming = 2


# The blank line after an event: how many bytes the ends of both lines have.
cdef inline size_t blank_line(const uint8_t* data, size_t size) noexcept nogil:
    if size >= 2 and data[0] == c"\n" and data[1] == c"\n":
        return 2
    return 4 if size >= 4 and memcmp(data, b"\r\n\r\n", 4) == 0 else 0


cdef void exchange_fetch(const oisp_exchange* x, int step) noexcept nogil:
    cdef const work* w = <const work*> x
    cdef const shape* s
    cdef const oisp_text* t
    if step == 0:
        fetch(x, sizeof(oisp_exchange))
        fetch(&w.chunk_choice, sizeof(shape) + 192)
        fetch(&w.shape_count, 64)
    elif w.shape_count:
        s = &w.shapes[w.shape_last]
        fetch(s.template.literals.data, 384)
        if x.choices_count:
            t = &x.choices[0].content
            fetch(x.arena.data + t.offset + t.size, 64)


cdef inline size_t known_at(work* w, uint32_t at, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_span pieces[OISP_TEMPLATE_SLOTS]
    cdef size_t used, end
    if not w.shapes[at].lines or not may_fit(w, at):
        return 0
    used = template_prefix(&w.shapes[at].template, w.json.scan, data, size, True, True, pieces)
    if used == 0:
        return 0
    end = blank_line(data + used, size - used)
    if end == 0:
        return 0
    take_fit(w, at, data, size, pieces)
    return used + end


cdef size_t decode_known(oisp_exchange* x, const uint8_t* data, size_t size) noexcept nogil:
    cdef work* w = <work*> x
    cdef uint32_t _, at = w.shape_last
    cdef size_t used
    for _ in range(w.shape_count):
        used = known_at(w, at, data, size)
        if used:
            return used
        at = at + 1 if at + 1 < w.shape_count else 0
    return 0


cdef oisp_status decode_event(const oisp_dialects* table, oisp_exchange* x, oisp_slice name, const uint8_t* data, size_t size) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef work* w = <work*> x
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef oisp_status status, written = OISP_OK
    cdef uint32_t bits = 0
    if d == NULL:
        return OISP_BAD
    if d.proto_stream:
        written = write_message(t, w, d.proto_stream, &data, &size)
    if w.shape_count and fits(w, name, data, size, True):
        return OISP_OK
    if w.late_shape:
        read_late(t, w, d)
    w.late_ready = 0
    begin_event(w)
    if d.done_size and d.done_size == size and memcmp(t.json.pool + d.done, data, size) == 0:
        x.flags |= OISP_X_TERMINAL
        return OISP_OK
    if name.size and d.stream.event_node:
        bits = json_tests(&t.json, d.stream.event_node, name.data, name.size)
    status = decode_document(t, w, d, &d.stream, data, size, bits)
    if d.inner_count:
        decode_inner_event(t, w, d, data)
    elif status == OISP_OK and not d.proto_stream:
        learn(t, w, name, data, size)
    if d.proto_stream:
        status = written
        oisp_buffer_wipe(&w.written)
    note_status(x, status, True, OISP_X_RESPONSE_BAD, OISP_X_RESPONSE_CUT)
    note_chunk(w)
    return status


# --- sessions: many turns over one WebSocket --------------------------------------------------------------------------


# Tools are told as a whole: those of this message take the place of the earlier ones.
cdef void replace_tools(oisp_exchange* x, uint32_t before) noexcept nogil:
    if before and x.tools_count > before:
        memmove(x.tools, x.tools + before, (x.tools_count - before) * sizeof(oisp_tool_def))
        x.tools_count -= before


# What a message says of the session or asks for: the request grows with each.
cdef oisp_status decode_asking(const oisp_dialects_table* t, work* w, const oisp_dialect* d, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t before = w.x.tools_count
    w.streaming = 0
    cdef oisp_status status = decode_document(t, w, d, &d.request, data, size, 0)
    replace_tools(&w.x, before)
    return status


# Said while an answer comes: it belongs to the next turn. What holds nothing that is asked for (audio) is not kept.
cdef void keep_for_later(const oisp_dialects_table* t, work* w, const oisp_dialect* d, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t i, n = <uint32_t> size
    if d.request.root == 0:
        return
    json_scan(&w.json, &t.json, d.request.root, data, size, 0)
    for i in range(w.json.count):
        if w.json.captures[i].alive:
            break
    else:
        return
    if w.later.size + size > w.x.arena_max or not oisp_buffer_reserve(&w.later, size + 4):
        w.x.flags |= OISP_X_LIMIT
        return
    oisp_buffer_append(&w.later, &n, 4)
    oisp_buffer_append(&w.later, data, size)


cdef int decode_message(const oisp_dialects* table, oisp_exchange* x, bint sent, const uint8_t* data, size_t size, oisp_status* status) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef work* w = <work*> x
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef oisp_slice none
    cdef uint32_t flags = x.flags
    none.data = NULL
    none.size = 0
    status[0] = OISP_BAD
    w.says = 0
    if d == NULL:
        return 0
    if sent and w.turn == OISP_SAYS_BEGIN:
        status[0] = OISP_OK
        keep_for_later(t, w, d, data, size)
        return 0
    if sent or w.turn != OISP_SAYS_BEGIN:
        status[0] = decode_asking(t, w, d, data, size)
        if sent:
            note_status(x, status[0], True, OISP_X_REQUEST_BAD, OISP_X_REQUEST_CUT)
        else:
            w.says = 0
    if not sent:
        status[0] = decode_event(table, x, none, data, size)
        if x.chunk_kind and w.turn != OISP_SAYS_BEGIN:
            w.says |= OISP_SAYS_BEGIN
        if x.flags & ~flags & OISP_X_TERMINAL or (x.flags & ~flags & OISP_X_ERROR and w.turn == OISP_SAYS_ASK):
            w.says |= OISP_SAYS_END
    if w.says & OISP_SAYS_ASK and w.turn == 0:
        w.turn = OISP_SAYS_ASK
        x.flags |= OISP_X_STREAM_ASKED
        system_part(w)
    if w.says & OISP_SAYS_BEGIN and w.turn != OISP_SAYS_BEGIN:
        if w.turn == 0:              # nobody asked: the server heard the end of speech
            x.flags |= OISP_X_STREAM_ASKED
            system_part(w)
        w.turn = OISP_SAYS_BEGIN
    return w.says


# Keep a text over the reset: it is copied aside first.
cdef void put_aside(work* w, const oisp_text* t) noexcept nogil:
    oisp_buffer_append(&w.scratch, oisp_text_data(&w.x, t), t.size)


cdef void take_back(work* w, oisp_text* t, uint32_t* at) noexcept nogil:
    cdef uint32_t size = t.size
    cdef uint16_t form = t.form
    memset(t, 0, sizeof(oisp_text))
    put_plain(w, t, form, w.scratch.data + at[0], size)
    t.form = form
    at[0] += size


cdef int exchange_next_turn(const oisp_dialects* table, oisp_exchange* x) noexcept nogil:
    cdef work* w = <work*> x
    cdef oisp_text model = x.model_requested, system = x.system
    cdef uint32_t i, count = x.tools_count, at = 0
    cdef uint16_t dialect = x.dialect
    cdef oisp_buffer held, later = w.later
    oisp_buffer_wipe(&w.scratch)
    put_aside(w, &model)
    put_aside(w, &system)
    for i in range(count):
        put_aside(w, &x.tools[i].name)
        put_aside(w, &x.tools[i].description)
        put_aside(w, &x.tools[i].raw_type)
    held = w.scratch
    memset(&w.scratch, 0, sizeof(oisp_buffer))
    memset(&w.later, 0, sizeof(oisp_buffer))
    exchange_reset(x)
    w.scratch = held
    x.dialect = dialect
    take_back(w, &model, &at)
    take_back(w, &system, &at)
    x.model_requested = model
    x.system = system
    x.tools_count = count
    for i in range(count):
        take_back(w, &x.tools[i].name, &at)
        take_back(w, &x.tools[i].description, &at)
        take_back(w, &x.tools[i].raw_type, &at)
    oisp_buffer_wipe(&w.scratch)
    return say_again(table, x, &later)


# What was kept for this turn. Messages after the one that asks wait for their own turn.
cdef int say_again(const oisp_dialects* table, oisp_exchange* x, oisp_buffer* later) noexcept nogil:
    cdef oisp_status status
    cdef uint32_t at = 0, size
    cdef int says = 0
    while at < later.size:
        memcpy(&size, later.data + at, 4)
        if says & OISP_SAYS_ASK:
            (<work*> x).turn = OISP_SAYS_BEGIN
            decode_message(table, x, True, later.data + at + 4, size, &status)
            (<work*> x).turn = OISP_SAYS_ASK
        else:
            says |= decode_message(table, x, True, later.data + at + 4, size, &status)
        at += 4 + size
    oisp_buffer_free(later)
    return says


# --- the end --------------------------------------------------------------------------------------------------------


cdef int64_t plus(int64_t a, int64_t b) noexcept nogil:
    return a if b == OISP_ABSENT else b if a == OISP_ABSENT else a + b


# prompt includes what was cached and written to the cache, completion includes reasoning: whatever the provider counts.
cdef void normalise_usage(const oisp_dialect* d, oisp_usage* u) noexcept nogil:
    cdef bint excludes = d.flags & OISP_DIALECT_PROMPT_EXCLUDES_CACHE
    if not excludes and u.cached != OISP_ABSENT and u.prompt != OISP_ABSENT and u.cached > u.prompt:
        excludes = True          # more cached than all: this provider counts them apart
    if excludes and u.prompt != OISP_ABSENT and (u.cached != OISP_ABSENT or u.cache_write != OISP_ABSENT):
        u.prompt = plus(plus(u.prompt, u.cached), u.cache_write)
        u.conventions |= OISP_PROMPT_EXCLUDES_CACHE
    excludes = d.flags & OISP_DIALECT_COMPLETION_EXCLUDES_REASONING
    if not excludes and u.reasoning != OISP_ABSENT and u.total != OISP_ABSENT and u.reasoning > 0:
        # the gap says it, without knowing the host
        if u.prompt != OISP_ABSENT and u.completion != OISP_ABSENT and u.prompt + u.completion + u.reasoning == u.total:
            excludes = True
    if excludes and u.reasoning != OISP_ABSENT:
        u.completion = plus(u.completion, u.reasoning)
        u.conventions |= OISP_COMPLETION_EXCLUDES_REASONING


cdef void sort_choices(oisp_exchange* x) noexcept nogil:
    cdef oisp_choice held
    cdef uint32_t i, j
    for i in range(1, x.choices_count):
        held = x.choices[i]
        j = i
        while j and x.choices[j - 1].index > held.index:
            x.choices[j] = x.choices[j - 1]
            j -= 1
        x.choices[j] = held


cdef bint client_calls(const oisp_exchange* x, int64_t choice) noexcept nogil:
    cdef uint32_t i
    for i in range(x.calls_count):
        if not x.calls[i].server and (choice < 0 or x.calls[i].choice == choice):
            return True
    return False


cdef void derive_finish(const oisp_dialect* d, oisp_exchange* x) noexcept nogil:
    cdef uint32_t i
    cdef oisp_choice* choice
    if d.flags & OISP_DIALECT_CALLS_FINISH:
        for i in range(x.choices_count):
            choice = x.choices + i
            if choice.finish == OISP_FINISH_REASON_STOP and client_calls(x, choice.index):
                choice.finish = OISP_FINISH_REASON_TOOL_CALLS
        if x.finish == OISP_FINISH_REASON_STOP and client_calls(x, -1):
            x.finish = OISP_FINISH_REASON_TOOL_CALLS
    for i in range(x.choices_count):
        if x.finish_raw.size == 0 and x.choices[i].finish_raw.size:
            x.finish = x.choices[i].finish
            x.finish_raw = x.choices[i].finish_raw


cdef void exchange_settle(const oisp_dialects* table, oisp_exchange* x) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    if d != NULL and (<work*> x).late_shape:
        read_late(t, <work*> x, d)


cdef void decode_finish(const oisp_dialects* table, oisp_exchange* x, int status) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef work* w = <work*> x
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef uint32_t i
    exchange_settle(table, x)
    for i in range(x.choices_count):
        text_seal(w, &x.choices[i].content)
        text_seal(w, &x.choices[i].reasoning)
        text_seal(w, &x.choices[i].refusal)
    for i in range(x.calls_count):
        text_seal(w, &x.calls[i].arguments)
        x.calls[i].done = 1
    if d != NULL:
        d = inner_dialect(t, w, d)
        if w.streaming and d.flags & OISP_DIALECT_HAS_CHOICES and x.choices_count == 0:
            if not x.flags & (OISP_X_ERROR | OISP_X_RESPONSE_BAD) and status < 400:
                add_choice(w, 0)
    forget_shapes(w)             # they hold pieces of content
    sort_choices(x)
    if d != NULL:
        derive_finish(d, x)
        normalise_usage(d, &x.usage)
        x.has_calls_word = (d.flags & OISP_DIALECT_CALLS_FINISH) == 0
    if status >= 400:
        x.flags |= OISP_X_ERROR
    x.success = (x.flags & OISP_X_ERROR) == 0


# --- memory ---------------------------------------------------------------------------------------------------------


cdef oisp_exchange* exchange_new(const oisp_limits* limits) noexcept nogil:
    cdef work* w = <work*> calloc(1, sizeof(work))
    if w == NULL:
        return NULL
    w.x.arena_max = limits.arena_bytes
    w.items_max = limits.items
    json_init(&w.json, limits.json_depth, 16 * limits.items)
    exchange_reset(&w.x)
    return &w.x


cdef void exchange_reset(oisp_exchange* x) noexcept nogil:
    cdef work* w = <work*> x
    cdef oisp_exchange kept = x[0]
    oisp_buffer_wipe(&kept.arena)
    oisp_buffer_wipe(&w.scratch)
    oisp_buffer_wipe(&w.inner_text)
    oisp_buffer_wipe(&w.spare)
    oisp_buffer_wipe(&w.later)
    memset(x, 0, sizeof(oisp_exchange))
    x.arena = kept.arena
    x.arena_max = kept.arena_max
    x.messages = kept.messages
    x.messages_capacity = kept.messages_capacity
    x.tools = kept.tools
    x.tools_capacity = kept.tools_capacity
    x.history = kept.history
    x.history_capacity = kept.history_capacity
    x.answers = kept.answers
    x.answers_capacity = kept.answers_capacity
    x.choices = kept.choices
    x.choices_capacity = kept.choices_capacity
    x.calls = kept.calls
    x.calls_capacity = kept.calls_capacity
    x.hits = kept.hits
    x.hits_capacity = kept.hits_capacity
    x.input_count = x.embedding_count = x.dimensions = x.top_k = OISP_ABSENT
    x.usage.prompt = x.usage.completion = x.usage.total = OISP_ABSENT
    x.usage.cached = x.usage.cache_write = x.usage.reasoning = OISP_ABSENT
    w.inner = 0
    w.slack = 0
    forget_shapes(w)
    w.chunk_choice = 0
    w.streaming = 0
    w.says = w.turn = w.deltas = 0


cdef void exchange_free(oisp_exchange* x) noexcept nogil:
    cdef work* w = <work*> x
    cdef uint32_t i
    if x == NULL:
        return
    oisp_buffer_free(&x.arena)
    oisp_buffer_free(&w.scratch)
    oisp_buffer_free(&w.inner_text)
    oisp_buffer_free(&w.spare)
    oisp_buffer_free(&w.written)
    oisp_buffer_free(&w.sample)
    oisp_buffer_free(&w.again)
    oisp_buffer_free(&w.later)
    for i in range(TEMPLATES):
        template_free(&w.shapes[i].template)
    json_free(&w.json)
    free(x.messages)
    free(x.tools)
    free(x.history)
    free(x.answers)
    free(x.choices)
    free(x.calls)
    free(x.hits)
    free(w)


# The model that the path names, before decode_request: a body that names one wins.
cdef void exchange_path_model(oisp_exchange* x, const uint8_t* model, size_t size) noexcept nogil:
    text_clear(&x.model_requested)
    put_plain(<work*> x, &x.model_requested, OISP_TEXT_PLAIN, model, size)


# What the request's target says besides the model: that an answer is asked for as a stream.
cdef void exchange_target(const oisp_dialects* table, oisp_exchange* x, oisp_slice target) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef const oisp_dialect* d = dialect_at(t, x.dialect)
    cdef const uint8_t* ends
    cdef uint32_t size = 0, at = 0, end
    if d == NULL or d.stream_path_size == 0:
        return
    ends = t.json.pool + d.stream_path
    while size < target.size and target.data[size] != c"?":
        size += 1
    while at < d.stream_path_size:           # ends, with bars between
        end = at
        while end < d.stream_path_size and ends[end] != c"|":
            end += 1
        if size >= end - at and memcmp(target.data + size - (end - at), ends + at, end - at) == 0:
            x.flags |= OISP_X_STREAM_ASKED
            return
        at = end + 1
    x.flags |= OISP_X_STREAM_NOT_ASKED


# The framing itself says that what came is an error, and of what type; the document may say more.
cdef void exchange_error(oisp_exchange* x, const uint8_t* type, size_t size) noexcept nogil:
    x.flags |= OISP_X_ERROR
    if x.error_type.size == 0:
        put_plain(<work*> x, &x.error_type, OISP_TEXT_PLAIN, type, size)


cdef void exchange_error_message(oisp_exchange* x, const uint8_t* text, size_t size) noexcept nogil:
    cdef work* w = <work*> x
    cdef oisp_buffer* b = &w.inner_text
    if x.error_message.size:
        return
    oisp_buffer_wipe(b)
    if not oisp_buffer_reserve(b, size):
        return
    b.size = <uint32_t> oisp_percent_decode(b.data, size, text, size)
    put_plain(w, &x.error_message, OISP_TEXT_PLAIN, b.data, b.size)
    oisp_buffer_wipe(b)


# --- questions ------------------------------------------------------------------------------------------------------


cdef bint holds(oisp_slice hay, const char* needle, size_t size) noexcept nogil:
    cdef size_t i, j
    for i in range(hay.size - size + 1 if hay.size >= size else 0):
        j = 0
        while j < size and (hay.data[i + j] | 32 if 65 <= hay.data[i + j] <= 90 else hay.data[i + j]) == <uint8_t> needle[j]:
            j += 1
        if j == size:
            return True
    return False


cdef bint begins(const uint8_t* p, size_t size, const char* word, size_t length) noexcept nogil:
    return size >= length and memcmp(p, word, length) == 0


# The first line is an object by itself.
cdef bint whole_line(const uint8_t* first, size_t size) noexcept nogil:
    cdef const uint8_t* end = <const uint8_t*> memchr(first, 10, size) if size else NULL
    if end != NULL and end > first and end[-1] == 13:
        end -= 1
    return end != NULL and end > first and first[0] == 123 and end[-1] == 125


cdef int dialect_framing(const oisp_dialects* table, uint16_t dialect, oisp_slice content_type, const uint8_t* first, size_t size) noexcept nogil:
    cdef const oisp_dialect* d = dialect_at(<const oisp_dialects_table*> table, dialect)
    cdef int streams = d.framing if d != NULL else OISP_FRAMING_NONE
    if holds(content_type, b"text/event-stream", 17):
        return OISP_FRAMING_SSE
    if holds(content_type, b"vnd.amazon.eventstream", 22):
        return OISP_FRAMING_EVENTSTREAM
    if begins(content_type.data, content_type.size, b"application/grpc", 16):
        return OISP_FRAMING_GRPC
    if holds(content_type, b"ndjson", 6) or holds(content_type, b"stream+json", 11) or holds(content_type, b"jsonl", 5):
        return OISP_FRAMING_NDJSON
    if size > 13 and first[0] == 0 and first[13] == 58 and streams == OISP_FRAMING_EVENTSTREAM:
        return OISP_FRAMING_EVENTSTREAM       # lengths below 16 MiB, then a header's name: `:event-type`
    while size and (first[0] == 32 or 9 <= first[0] <= 13):
        first += 1
        size -= 1
    if begins(first, size, b"data:", 5) or begins(first, size, b"event:", 6) or begins(first, size, b"id:", 3):
        return OISP_FRAMING_SSE
    if streams == OISP_FRAMING_SSE and size and first[0] == 58:
        return OISP_FRAMING_SSE
    if streams == OISP_FRAMING_NDJSON and whole_line(first, size):
        return OISP_FRAMING_NDJSON
    if size and first[0] == 91 and streams == OISP_FRAMING_JSON_ARRAY:
        return OISP_FRAMING_JSON_ARRAY
    return OISP_FRAMING_NONE


cdef oisp_slice dialect_name(const oisp_dialects* table, uint16_t dialect) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef const oisp_dialect* d = dialect_at(t, dialect)
    cdef oisp_slice name
    name.data = NULL
    name.size = 0
    if d != NULL:
        name.data = t.json.pool + d.name
        name.size = d.name_size
    return name


# What a retrieval asks: the contract's word for it, and its name where the path has it (the target is not kept).
cdef void dialect_source(const oisp_dialects* table, uint16_t dialect, oisp_slice target, oisp_slice* kind, oisp_slice* name) noexcept nogil:
    cdef const oisp_dialects_table* t = <const oisp_dialects_table*> table
    cdef const oisp_dialect* d = dialect_at(t, dialect)
    cdef oisp_slice last
    cdef uint32_t i = 0, start
    cdef bint found = False
    last.data = kind.data = name.data = NULL
    last.size = kind.size = name.size = 0
    if d == NULL or d.source_size == 0:
        return
    kind.data = t.json.pool + d.source
    kind.size = d.source_size
    while i < target.size and target.data[i] != 63 and d.beside_size:
        start = i + 1
        i = start
        while i < target.size and target.data[i] != 47 and target.data[i] != 63:
            i += 1
        if found:
            last.data = target.data + start
            last.size = i - start
            break
        if i - start == d.beside_size and memcmp(target.data + start, t.json.pool + d.beside, d.beside_size) == 0:
            found = True
            if d.before:
                break
        elif d.before:
            last.data = target.data + start
            last.size = i - start
    if not found:
        return
    name[0] = last
    for i in range(last.size):
        if last.data[i] == 58:  # the verb of `docs:query`
            name.size = i
            return


# --- Python ---------------------------------------------------------------------------------------------------------


cdef void* table_of(list rows, size_t size) except NULL:
    cdef void* table = calloc(len(rows) + 1, size)
    if table == NULL:
        raise MemoryError
    return table


cdef class Dialects:
    """Compiled dialects. Immutable; made by dialects.load_dialects()."""

    def __cinit__(self, compiled):
        cdef oisp_dialects_table* t = <oisp_dialects_table*> calloc(1, sizeof(oisp_dialects_table))
        if t == NULL:
            raise MemoryError
        self.table = <const oisp_dialects*> t
        self.names = tuple(compiled.names)
        fill_scanner(&t.json, compiled)
        fill_slots(t, compiled)
        fill_dialects(t, compiled)
        fill_protos(&t.protos, compiled)
        t.protos.pool = t.json.pool

    def __dealloc__(self):
        cdef oisp_dialects_table* t = <oisp_dialects_table*> self.table
        if t == NULL:
            return
        free(<void*> t.json.nodes)
        free(<void*> t.json.edges)
        free(<void*> t.json.leaves)
        free(<void*> t.json.conds)
        free(<void*> t.json.tests)
        free(<void*> t.json.pool)
        free(<void*> t.leaves)
        free(<void*> t.records)
        free(<void*> t.words)
        free(<void*> t.maps)
        free(<void*> t.inners)
        free(<void*> t.dialects)
        free(<void*> t.protos.messages)
        free(<void*> t.protos.fields)
        free(<void*> t.protos.enums)
        free(<void*> t.protos.words)
        free(t)

    def document(self, name: str, section: str, bytes data not None):
        """A message of Protocol Buffers as the JSON that the paths of this section name: (status, text)."""
        cdef oisp_dialects_table* t = <oisp_dialects_table*> self.table
        cdef const oisp_dialect* d = dialect_at(t, <uint16_t> self.index(name))
        cdef oisp_buffer out
        if d == NULL:
            raise ConfigError(key="dialect", expected=self.names, got=name)
        roots = {"request": d.proto_request, "response": d.proto_response, "stream": d.proto_stream}
        if not roots.get(section):
            raise ConfigError(key=section, expected=[key for key in roots if roots[key]], got=name)
        memset(&out, 0, sizeof(out))
        try:
            status = oisp_proto_json(
                &t.protos, roots[section], <const uint8_t*> <const char*> data, len(data), &out, 8 * len(data) + 65536
            )
            return status, (<const char*> out.data)[: out.size]
        finally:
            oisp_buffer_free(&out)

    def index(self, name: str) -> int:
        """The number of a dialect as verdicts hold it; 0 for a name that is not known."""
        return self.names.index(name) + 1 if name in self.names else 0


cdef void fill_scanner(oisp_json_table* t, compiled) except *:
    cdef oisp_json_node* nodes = <oisp_json_node*> table_of(compiled.nodes, sizeof(oisp_json_node))
    t.nodes = nodes
    for i, row in enumerate(compiled.nodes):
        (nodes[i].end, nodes[i].edges, nodes[i].element, nodes[i].member, nodes[i].leaves, nodes[i].tests,
         nodes[i].edge_mask, nodes[i].kinds, nodes[i].test_count, nodes[i].leaf_count, nodes[i].selects,
         nodes[i].test_bits) = row
    cdef oisp_json_edge* edges = <oisp_json_edge*> table_of(compiled.edges, sizeof(oisp_json_edge))
    t.edges = edges
    for i, row in enumerate(compiled.edges):
        edges[i].name, edges[i].size, edges[i].ordinal, edges[i].node = row
    cdef oisp_json_leaf* leaves = <oisp_json_leaf*> table_of(compiled.leaves, sizeof(oisp_json_leaf))
    t.leaves = leaves
    for i, row in enumerate(compiled.leaves):
        leaves[i].kinds, leaves[i].cond_count, leaves[i].conds = row
    cdef oisp_json_cond* conds = <oisp_json_cond*> table_of(compiled.conds, sizeof(oisp_json_cond))
    t.conds = conds
    for i, row in enumerate(compiled.conds):
        conds[i].node, conds[i].all, conds[i].none = row
    cdef oisp_json_test* tests = <oisp_json_test*> table_of(compiled.tests, sizeof(oisp_json_test))
    t.tests = tests
    for i, row in enumerate(compiled.tests):
        tests[i].value, tests[i].size, tests[i].kind, tests[i].bit = row
    pool = bytes(compiled.pool)
    t.pool = <const uint8_t*> table_of([None] * len(pool), 1)
    memcpy(<void*> t.pool, <const char*> pool, len(pool))


cdef void fill_slots(oisp_dialects_table* t, compiled) except *:
    cdef oisp_slot_leaf* leaves = <oisp_slot_leaf*> table_of(compiled.slots, sizeof(oisp_slot_leaf))
    t.leaves = leaves
    for i, row in enumerate(compiled.slots):
        (leaves[i].record, leaves[i].opens, leaves[i].map, leaves[i].slot, leaves[i].rank, leaves[i].op,
         leaves[i].as_, leaves[i].word) = row
    cdef oisp_record_def* records = <oisp_record_def*> table_of(compiled.records, sizeof(oisp_record_def))
    t.records = records
    for i, row in enumerate(compiled.records):
        (records[i].kind, records[i].fresh, records[i].parent, records[i].role, records[i].server, records[i].custom,
         records[i].system, records[i].type, records[i].name) = row
    cdef oisp_word* words = <oisp_word*> table_of(compiled.words, sizeof(oisp_word))
    t.words = words
    for i, row in enumerate(compiled.words):
        words[i].at, words[i].size, words[i].value = row
    cdef oisp_map* maps = <oisp_map*> table_of(compiled.maps, sizeof(oisp_map))
    t.maps = maps
    for i, row in enumerate(compiled.maps):
        maps[i].first, maps[i].count, maps[i].other = row


cdef void fill_protos(oisp_protos* t, compiled) except *:
    cdef oisp_proto_message* messages = <oisp_proto_message*> table_of(compiled.proto_messages, sizeof(oisp_proto_message))
    t.messages = messages
    for i, row in enumerate(compiled.proto_messages):
        messages[i].first, messages[i].count = row
    cdef oisp_proto_field* fields = <oisp_proto_field*> table_of(compiled.proto_fields, sizeof(oisp_proto_field))
    t.fields = fields
    for i, row in enumerate(compiled.proto_fields):
        (fields[i].number, fields[i].name, fields[i].name_size, fields[i].ref, fields[i].type, fields[i].flags) = row
    cdef oisp_proto_enum* enums = <oisp_proto_enum*> table_of(compiled.proto_enums, sizeof(oisp_proto_enum))
    t.enums = enums
    for i, row in enumerate(compiled.proto_enums):
        enums[i].first, enums[i].count = row
    cdef oisp_proto_word* words = <oisp_proto_word*> table_of(compiled.proto_words, sizeof(oisp_proto_word))
    t.words = words
    for i, row in enumerate(compiled.proto_words):
        words[i].number, words[i].at, words[i].size = row


cdef void fill_section(oisp_section* s, row) except *:
    s.root, s.record, s.event_node = row


cdef void fill_dialects(oisp_dialects_table* t, compiled) except *:
    cdef oisp_inner* inners = <oisp_inner*> table_of(compiled.inners, sizeof(oisp_inner))
    t.inners = inners
    for i, row in enumerate(compiled.inners):
        inners[i].at, inners[i].size, inners[i].dialect = row
    cdef oisp_dialect* d = <oisp_dialect*> table_of(compiled.dialects, sizeof(oisp_dialect))
    t.dialects = d
    t.count = len(compiled.dialects)
    for i, row in enumerate(compiled.dialects):
        name, framing, hook, flags, request, response, stream, inner, done, source, stream_path, protos = row
        d[i].name, d[i].name_size = name
        d[i].framing, d[i].hook, d[i].flags = framing, hook, flags
        fill_section(&d[i].request, request)
        fill_section(&d[i].response, response)
        fill_section(&d[i].stream, stream)
        d[i].inner, d[i].inner_count = inner
        d[i].done, d[i].done_size = done
        d[i].source, d[i].source_size, d[i].beside, d[i].beside_size, d[i].before = source
        d[i].stream_path, d[i].stream_path_size = stream_path
        d[i].proto_request, d[i].proto_response, d[i].proto_stream = protos


cdef object text_value(const oisp_exchange* x, const oisp_text* t):
    if t.form == OISP_TEXT_NONE:
        return None
    raw = oisp_text_data(x, t)[: t.size]
    if t.form == OISP_TEXT_JSON:
        return loads(raw)
    return loads(b'"' + raw + b'"') if t.form == OISP_TEXT_STRING else raw.decode()


cdef object number_value(int64_t n):
    return None if n == OISP_ABSENT else n


cdef class Decoder:
    """One exchange of one dialect, for tests and for those who have bodies in hand: request, response or events, finish.

    Texts of the result are unescaped, JSON is parsed, what is absent is None or left out of lists.
    """

    cdef Dialects dialects
    cdef oisp_exchange* x
    cdef readonly str dialect

    def __cinit__(self, Dialects dialects not None, str dialect not None, *, model=None, **bounds):
        cdef oisp_limits limits
        memset(&limits, 0, sizeof(limits))
        limits.arena_bytes = bounds.get("arena_bytes", 64 << 20)
        limits.items = bounds.get("items", 65536)
        limits.json_depth = bounds.get("json_depth", 20000)
        number = dialects.index(dialect)
        if not number:
            raise ConfigError(key="dialect", expected=dialects.names, got=dialect)
        if bounds.keys() - {"arena_bytes", "items", "json_depth", "learn"}:
            raise TypeError(f"unknown bound: {', '.join(bounds)}")
        self.dialects, self.dialect = dialects, dialect
        self.x = exchange_new(&limits)
        if self.x == NULL:
            raise MemoryError
        (<work*> self.x).never_learns = not bounds.get("learn", True)
        self.reset(model)

    def __dealloc__(self):
        exchange_free(self.x)

    def reset(self, model=None, bytes target=b""):
        """Forget everything. `model`: the one that the path names. `target`: the path itself."""
        cdef oisp_slice path
        exchange_reset(self.x)
        self.x.dialect = self.dialects.index(self.dialect)
        if model is not None:
            raw = model.encode()
            exchange_path_model(self.x, <const uint8_t*> <const char*> raw, len(raw))
        if target:
            path.data, path.size = <const uint8_t*> <const char*> target, <uint32_t> len(target)
            exchange_target(self.dialects.table, self.x, path)

    def request(self, const unsigned char[::1] body, bint complete=True):
        """Status (0 ok, 1 cut, 2 bad, 3 beyond a limit) of a request body."""
        return decode_request(self.dialects.table, self.x, &body[0] if body.shape[0] else NULL, body.shape[0], complete)

    def response(self, const unsigned char[::1] body, bint complete=True):
        return decode_response(self.dialects.table, self.x, &body[0] if body.shape[0] else NULL, body.shape[0], complete)

    def event(self, const unsigned char[::1] data, bytes name=b""):
        cdef oisp_slice n
        n.data = name
        n.size = len(name)
        return decode_event(self.dialects.table, self.x, n, &data[0] if data.shape[0] else NULL, data.shape[0])

    def message(self, const unsigned char[::1] data, bint sent):
        """One message of a session; the bits of enum oisp_says."""
        cdef oisp_status status
        return decode_message(self.dialects.table, self.x, sent, &data[0] if data.shape[0] else NULL, data.shape[0], &status)

    def next_turn(self):
        return exchange_next_turn(self.dialects.table, self.x)

    @property
    def fitted(self):
        """Events that a learned template took, since the decoder was made."""
        return (<work*> self.x).fitted

    def events(self, list pairs):
        """Many (name, data) at once, the objects of Python left behind as early as can be: for benchmarks."""
        cdef oisp_slice n
        cdef bytes name, data
        for name, data in pairs:
            n.data = <const uint8_t*> <const char*> name
            n.size = <uint32_t> len(name)
            decode_event(self.dialects.table, self.x, n, <const uint8_t*> <const char*> data, len(data))

    def finish(self, int status=0):
        """The exchange as plain data."""
        decode_finish(self.dialects.table, self.x, status)
        return self.value()

    def framing(self, bytes content_type, bytes first=b""):
        cdef oisp_slice c
        c.data = content_type
        c.size = len(content_type)
        return dialect_framing(self.dialects.table, self.x.dialect, c, first, len(first))

    def chunk(self):
        """What the last event brought, or None."""
        if not self.x.chunk_kind:
            return None
        return {
            "index": self.x.chunk_index,
            "content": text_value(self.x, &self.x.chunk_content),
            "call": self.x.chunk_call,
            "arguments": text_value(self.x, &self.x.chunk_arguments),
            "finish": self.x.chunk_finish,
        }

    def value(self):
        cdef oisp_exchange* x = self.x
        exchange_settle(self.dialects.table, x)
        return {
            "flags": x.flags,
            "model_requested": text_value(x, &x.model_requested),
            "stream": True if x.flags & OISP_X_STREAM_ASKED else False if x.flags & OISP_X_STREAM_NOT_ASKED else None,
            "system": text_value(x, &x.system),
            "has_system": bool(x.flags & OISP_X_SYSTEM),
            "tool_choice": text_value(x, &x.tool_choice),
            "temperature": text_value(x, &x.temperature),
            "top_p": text_value(x, &x.top_p),
            "max_tokens": text_value(x, &x.max_tokens),
            "frequency_penalty": text_value(x, &x.frequency_penalty),
            "presence_penalty": text_value(x, &x.presence_penalty),
            "stop": text_value(x, &x.stop),
            "previous_id": text_value(x, &x.previous_id),
            "conversation": text_value(x, &x.conversation),
            "user": text_value(x, &x.user),
            "input_count": number_value(x.input_count),
            "query": text_value(x, &x.query),
            "source": text_value(x, &x.source),
            "top_k": number_value(x.top_k),
            "client": [text_value(x, &x.client_name), text_value(x, &x.client_version)],
            "server_name": text_value(x, &x.server_name),
            "hits": [self.hit(i) for i in range(x.hits_count)],
            "images": x.images,
            "messages": [self.message_part(i) for i in range(x.messages_count)],
            "tools": [self.tool(i) for i in range(x.tools_count)],
            "history": [self.call(x.history + i, "message") for i in range(x.history_count)],
            "answers": [self.answer(i) for i in range(x.answers_count)],
            "response_id": text_value(x, &x.response_id),
            "model_answered": text_value(x, &x.model_answered),
            "finish": x.finish,
            "finish_raw": text_value(x, &x.finish_raw),
            "error": {
                "type": text_value(x, &x.error_type),
                "message": text_value(x, &x.error_message),
                "code": text_value(x, &x.error_code),
            } if x.flags & OISP_X_ERROR else None,
            "service_tier": text_value(x, &x.service_tier),
            "success": bool(x.success),
            "embedding_count": number_value(x.embedding_count),
            "dimensions": number_value(x.dimensions),
            "usage": self.usage(),
            "choices": [self.choice(i) for i in range(x.choices_count)],
            "calls": [self.call(x.calls + i, "choice") for i in range(x.calls_count)],
        }

    cdef object usage(self):
        cdef oisp_usage* u = &self.x.usage
        return {
            "prompt": number_value(u.prompt),
            "completion": number_value(u.completion),
            "total": number_value(u.total),
            "cached": number_value(u.cached),
            "cache_write": number_value(u.cache_write),
            "reasoning": number_value(u.reasoning),
            "raw": text_value(self.x, &u.raw),
        }

    cdef object message_part(self, uint32_t i):
        cdef oisp_message_part* m = self.x.messages + i
        return {
            "role": m.role,
            "raw_role": text_value(self.x, &m.raw_role),
            "flags": m.flags,
            "images": m.images,
            "content": text_value(self.x, &m.content),
            "text_flags": m.content.flags,
            "call_id": text_value(self.x, &m.call_id),
            "name": text_value(self.x, &m.name),
        }

    cdef object tool(self, uint32_t i):
        cdef oisp_tool_def* t = self.x.tools + i
        return {
            "name": text_value(self.x, &t.name),
            "description": text_value(self.x, &t.description),
            "raw_type": text_value(self.x, &t.raw_type),
            "type": t.type,
            "server": bool(t.server),
        }

    cdef object call(self, const oisp_call* c, str holder):
        return {
            holder: c.choice,
            "server": bool(c.server),
            "custom": bool(c.custom),
            "id": text_value(self.x, &c.id),
            "name": text_value(self.x, &c.name),
            "type": text_value(self.x, &c.type),
            "arguments": text_value(self.x, &c.arguments),
            "server_name": text_value(self.x, &c.server_name),
        }

    cdef object answer(self, uint32_t i):
        cdef oisp_tool_answer* a = self.x.answers + i
        return {
            "call_id": text_value(self.x, &a.call_id),
            "name": text_value(self.x, &a.name),
            "content": text_value(self.x, &a.content),
            "success": a.success,
            "message": a.message,
            "server": bool(a.server),
            "error_type": text_value(self.x, &a.error_type),
            "error_message": text_value(self.x, &a.error_message),
        }

    cdef object hit(self, uint32_t i):
        cdef oisp_hit* h = self.x.hits + i
        return {
            "source": text_value(self.x, &h.source),
            "content": text_value(self.x, &h.content),
            "score": text_value(self.x, &h.score),
            "distance": text_value(self.x, &h.distance),
        }

    cdef object choice(self, uint32_t i):
        cdef oisp_choice* c = self.x.choices + i
        return {
            "index": c.index,
            "role": c.role,
            "finish": c.finish,
            "finish_raw": text_value(self.x, &c.finish_raw),
            "content": text_value(self.x, &c.content),
            "text_flags": c.content.flags,
            "reasoning": text_value(self.x, &c.reasoning),
            "refusal": text_value(self.x, &c.refusal),
            "images": c.images,
        }
