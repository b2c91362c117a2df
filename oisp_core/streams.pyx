# SPDX-License-Identifier: Apache-2.0
"""The streams of an HTTP/2 connection: tokens of two directions in, exchanges out. C only: no GIL, no Python object.

Request and response have the same stream number, so that a pair cannot be wrong; what may be missing are its halves.

  * A response that comes before its request is complete waits for it (a server may answer early; the two directions may
    reach us in another order than they were sent), so that a request is always given out before its answer.
  * A request that was never seen is known to be lost as soon as the client opens a higher stream; its answer is then given
    out unpaired.
  * A hole inside a DATA frame is counted for its stream. A hole that may hide frames may have swallowed bytes of every stream
    that is open in that direction. Where a length was announced, what comes after the hole waits until it shows whether, and
    how much, is missing. Elsewhere the hole is counted for each of them, since none can be proved whole, but for a JSON body
    that begins after it (a document has one beginning); server-sent events go on where the hole lies between two of them.
  * An extended CONNECT (RFC 8441) is read as the GET with `Upgrade: websocket` that it stands for: once it is answered by 2xx,
    both bodies are the messages of a session, as after a 101.
  * Fields that the table of HPACK does not know are left out and said; the model, the dialect and the content are then found
    in the bodies.
"""
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from oisp_core.match.rules cimport match_keep_usual
from oisp_core.message cimport (
    OISP_END_CUT, OISP_TURN_CONNECT, OISP_TURN_ORPHAN, OISP_TURN_REQUEST_DONE, OISP_TURN_REQUEST_HEAD,
    oisp_origin, oisp_shared, oisp_turn, turn_free, turn_new, turn_request_data, turn_request_end, turn_request_gap,
    turn_request_head, turn_response_data, turn_response_doubt, turn_response_end, turn_response_gap, turn_response_head,
    turn_response_trailer,
)
from oisp_core.reassemble.http2 cimport (
    OISP_HEAD_INTERIM, OISP_HEAD_KIND, OISP_HEAD_PARTIAL, OISP_HEAD_PUSH, OISP_SETTING_LOST, http2_feed, http2_finish,
    http2_free, http2_gap, http2_init, http2_last, http2_release, http2_resync, http2_seeking, http2_setting, oisp_http2,
    oisp_http2_data, oisp_http2_took,
)
from oisp_core.reasons cimport REASON_RESYNC_UNCONFIRMED
from oisp_core.session cimport session_close, session_data, session_free, session_gap, session_open
from oisp_core.turn cimport head_field, oisp_peer
from oisp_core.types cimport (
    OISP_BAD, OISP_BODY_LENGTH, OISP_EVIDENCE_NEVER, OISP_EVIDENCE_PATHLESS, OISP_FULL, OISP_LIMIT, OISP_OK,
    OISP_TOKEN_DATA, OISP_TOKEN_END,
    OISP_TOKEN_FIELD, OISP_TOKEN_GAP, OISP_TOKEN_GOAWAY, OISP_TOKEN_HEAD_END, OISP_TOKEN_REQUEST, OISP_TOKEN_RESET,
    OISP_TOKEN_RESPONSE, OISP_TOKEN_SETTINGS, OISP_TOKEN_TRAILER, OISP_TOKEN_WARNING, oisp_buffer,
    oisp_buffer_append, oisp_buffer_free, oisp_field, oisp_head, oisp_slice, oisp_status, oisp_token, oisp_tokens,
)

cdef extern from "oisp/peer.h" nogil:
    const uint8_t* oisp_peer_name(const oisp_peer* peer, uint32_t* size)

cdef uint64_t ANY = UINT64_MAX  # a length, or a hole, of unknown size

cdef enum:
    HELD_MAX = 1 << 20  # of one body, in what waits: beyond it is read as it stands


# ---- the list of streams -------------------------------------------------------------------------------------------------

cdef inline uint32_t bucket_of(uint32_t id) noexcept nogil:
    return (id >> 1) & (OISP_STREAM_BUCKETS - 1)


cdef oisp_stream* find(const oisp_streams* st, uint32_t id) noexcept nogil:
    cdef oisp_stream* t = st.buckets[bucket_of(id)]
    while t != NULL and t.id != id:
        t = t.bucket
    return t


cdef oisp_stream* open_stream(oisp_streams* st, uint32_t id, uint64_t ts) noexcept nogil:
    """NULL: no memory, or too many; then nothing of that stream is read."""
    cdef oisp_stream* t
    if st.open >= st.shared.limits.streams:
        st.shared.count.limits += 1
        return NULL
    t = <oisp_stream*> calloc(1, sizeof(oisp_stream))
    if t == NULL:
        return NULL
    t.turn = turn_new(st.shared, st.origin)
    if t.turn == NULL:
        free(t)
        return NULL
    t.id = id
    t.since = ts
    t.length[0] = t.length[1] = ANY
    t.bucket = st.buckets[bucket_of(id)]
    st.buckets[bucket_of(id)] = t
    t.older = st.newest
    if st.newest != NULL:
        st.newest.newer = t
    else:
        st.oldest = t
    st.newest = t
    st.open += 1
    return t


cdef void drop_buffer(oisp_streams* st, oisp_buffer* b) noexcept nogil:
    st.shared.held -= b.size
    oisp_buffer_free(b)


cdef void close_stream(oisp_streams* st, oisp_stream* t) noexcept nogil:
    cdef oisp_stream** at = &st.buckets[bucket_of(t.id)]
    while at[0] != t:
        at = &at[0].bucket
    at[0] = t.bucket
    if t.older != NULL:
        t.older.newer = t.newer
    else:
        st.oldest = t.newer
    if t.newer != NULL:
        t.newer.older = t.older
    else:
        st.newest = t.older
    drop_buffer(st, &t.late)
    drop_buffer(st, &t.held[0])
    drop_buffer(st, &t.held[1])
    if t.session != NULL:
        session_free(st.shared, t.session)
    else:
        turn_free(st.shared, t.turn)
    st.open -= 1
    free(t)


cdef bint was_lost(const oisp_streams* st, uint32_t id) noexcept nogil:
    """Was a request on that stream lost, as far as the streams that the client opened tell?"""
    cdef int k
    for k in range(OISP_STREAM_RANGES):
        if st.lost[k].low <= id <= st.lost[k].high:
            return True
    return False


cdef void client_opens(oisp_streams* st, uint32_t id, uint64_t ts) noexcept nogil:
    """Streams are opened in order (RFC 9113 section 5.1.1): requests below that were not seen until now are lost."""
    cdef oisp_stream* t = st.oldest
    cdef oisp_stream* after
    if id <= st.highest:
        return
    if st.lossy and id > st.highest + 2:
        st.lost[st.lost_next].low = st.highest + 1
        st.lost[st.lost_next].high = id - 1
        st.lost_next = (st.lost_next + 1) % OISP_STREAM_RANGES
    st.lossy = 0
    st.highest = id
    while t != NULL:
        after = t.newer
        if t.flags & OISP_STREAM_UNSEEN and t.id < id:
            ask_in_vain(st, t)
        t = after


# ---- heads ---------------------------------------------------------------------------------------------------------------

cdef inline bint is_name(const oisp_token* t, const char* name, uint32_t size) noexcept nogil:
    return t.name_size == size and memcmp(t.name, name, size) == 0


cdef bint pseudo(oisp_head* head, const oisp_token* t) noexcept nogil:
    """RFC 9113 section 8.3."""
    cdef uint32_t k
    if t.name_size == 0 or t.name[0] != c":":
        return False
    if is_name(t, b":method", 7):
        head.method.data, head.method.size = t.data, t.size
    elif is_name(t, b":path", 5):
        head.target.data, head.target.size = t.data, t.size
    elif is_name(t, b":authority", 10):
        head.authority.data, head.authority.size = t.data, t.size
    elif is_name(t, b":protocol", 9):
        return False  # it stands for `Upgrade`: see read_head
    elif is_name(t, b":status", 7):
        for k in range(t.size if t.size < 4 else 0):
            if 48 <= t.data[k] <= 57:
                head.status = <uint16_t> (head.status * 10 + t.data[k] - 48)
    return True


cdef void read_head(oisp_streams* st, const oisp_token* tokens, uint32_t count, bint partial, oisp_head* head) noexcept nogil:
    """Of the FIELD tokens of one block."""
    cdef uint32_t i
    cdef const oisp_token* t
    cdef oisp_field* f
    memset(head, 0, sizeof(oisp_head))
    head.fields = st.fields
    head.plaintext = st.origin.plaintext
    head.port = st.origin.port
    head.sni.data = oisp_peer_name(st.origin.peer, &head.sni.size)
    head.partial = partial
    for i in range(count):
        t = &tokens[i]
        if t.kind != OISP_TOKEN_FIELD or t.name_size == 0 or pseudo(head, t):
            continue
        if head.fields_count >= st.shared.limits.head_fields:
            head.partial = 1
            break
        f = &st.fields[head.fields_count]
        f.name.data, f.name.size = t.name, t.name_size
        f.value.data, f.value.size = t.data, t.size
        if head.authority.size == 0 and is_name(t, b"host", 4):
            head.authority = f.value
        elif is_name(t, b":protocol", 9):
            f.name.data, f.name.size = b"upgrade", 7
        head.fields_count += 1


# ---- requests ------------------------------------------------------------------------------------------------------------

cdef void begin_request(oisp_streams* st, uint32_t id, oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    cdef oisp_stream* t = find(st, id)
    client_opens(st, id, ts)
    if t == NULL:
        t = open_stream(st, id, ts)
    elif t.session != NULL or t.turn.flags & (OISP_TURN_REQUEST_HEAD | OISP_TURN_ORPHAN):
        return  # a second head: trailers of which no field is known
    if t == NULL:
        return
    t.flags &= ~OISP_STREAM_UNSEEN
    t.length[0] = length
    if head.method.size == 7 and memcmp(head.method.data, b"CONNECT", 7) == 0:
        if head_field(head, b"upgrade", 7).size:
            head.method.data, head.method.size = b"GET", 3
            t.flags |= OISP_STREAM_SOCKET | OISP_STREAM_DOUBT_REQUEST  # what it sends waits for the answer
        else:
            t.turn.flags |= OISP_TURN_CONNECT
    turn_request_head(st.shared, t.turn, head, length, ts)
    if st.unconfirmed[0]:
        t.turn.asked.reasons |= REASON_RESYNC_UNCONFIRMED
    if t.turn.verdict.evidence & OISP_EVIDENCE_PATHLESS:
        t.turn.verdict.rule = st.usual.rule
    else:
        match_keep_usual(&st.usual, &st.mixed, &t.turn.verdict)
    if t.turn.verdict.evidence & OISP_EVIDENCE_NEVER and st.oldest == t and st.newest == t and not st.origin.plaintext:
        st.dismissed = 1


cdef oisp_stream* headless_request(oisp_streams* st, uint32_t id, uint64_t ts) noexcept nogil:
    """A body whose head was lost, or NULL: it is of a stream that is over, or was never read."""
    cdef oisp_head head
    if id <= st.highest and not was_lost(st, id):
        return NULL
    read_head(st, NULL, 0, True, &head)
    begin_request(st, id, &head, ANY, ts)
    return find(st, id)


cdef void end_request(oisp_streams* st, oisp_stream* t, uint64_t ts, int ends) noexcept nogil:
    """The stream may be over then, if its answer was complete."""
    if t.flags & OISP_STREAM_ASKED:
        return
    resolve(st, t, OISP_STREAM_REQUEST)
    t.flags |= OISP_STREAM_ASKED
    if t.session == NULL:
        turn_request_end(st.shared, t.turn, ts, ends)
    read_late(st, t)


cdef void ask_in_vain(oisp_streams* st, oisp_stream* t) noexcept nogil:
    """Its request will never be seen, in whole or from here on: what waits is read."""
    if t.flags & OISP_STREAM_UNSEEN:
        t.flags &= ~OISP_STREAM_UNSEEN
        t.flags |= OISP_STREAM_ASKED
        t.turn.flags |= OISP_TURN_ORPHAN
        t.turn.verdict = st.usual
        st.shared.count.unpaired_responses += 1
        read_late(st, t)
    else:
        end_request(st, t, t.turn.request_last, OISP_END_CUT)


# ---- what waits for the end of the request -------------------------------------------------------------------------------

cdef bint keep(oisp_streams* st, oisp_buffer* b, const oisp_late* late, const uint8_t* data) noexcept nogil:
    """False: no room."""
    if b.size + sizeof(oisp_late) + late.size > HELD_MAX or \
            st.shared.held + sizeof(oisp_late) + late.size > st.shared.limits.total_bytes:
        return False
    if not oisp_buffer_append(b, late, sizeof(oisp_late)):
        return False
    if not oisp_buffer_append(b, data, late.size):
        b.size -= sizeof(oisp_late)
        return False
    st.shared.held += sizeof(oisp_late) + late.size
    return True


cdef bint has_to_wait(oisp_streams* st, oisp_stream* t, int kind, uint64_t ts, uint64_t number, const uint8_t* data,
                      size_t size) noexcept nogil:
    """A part of a response. False: it can be given on now. True: it was taken; the stream may be over."""
    cdef oisp_late late
    if t.flags & OISP_STREAM_ASKED or t.session != NULL:
        return False
    if t.flags & OISP_STREAM_LATE_END:
        return True
    memset(&late, 0, sizeof(late))
    late.kind = <uint8_t> kind
    late.ts = ts
    late.number = number
    late.size = <uint32_t> size
    if not keep(st, &t.late, &late, data):
        st.shared.count.limits += 1
        ask_in_vain(st, t)
        return False
    if kind == OISP_LATE_END:
        t.flags |= OISP_STREAM_LATE_END
        if t.flags & OISP_STREAM_TOUCHED:  # a server that is done has what it needs: the request's end was lost
            ask_in_vain(st, t)
    return True


cdef bint head_has_to_wait(oisp_streams* st, oisp_stream* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    cdef oisp_late late
    cdef uint32_t k
    cdef uint32_t sizes[2]
    cdef uint32_t at = t.late.size
    cdef bint kept
    if opens(t, head):
        return False
    if t.turn.flags & OISP_TURN_CONNECT or t.flags & OISP_STREAM_SOCKET:
        end_request(st, t, ts, 0)  # a tunnel is open when it is answered, not when it ends; and so is one that is refused
    if t.flags & OISP_STREAM_ASKED:
        return False
    if t.flags & OISP_STREAM_LATE_END:
        return True
    memset(&late, 0, sizeof(late))
    late.kind = OISP_LATE_HEAD
    late.ts = ts
    late.number = length
    late.status = head.status
    late.partial = head.partial
    for k in range(head.fields_count):
        late.size += sizeof(sizes) + head.fields[k].name.size + head.fields[k].value.size
    kept = at + sizeof(late) + late.size <= HELD_MAX and oisp_buffer_append(&t.late, &late, sizeof(late))
    for k in range(head.fields_count):
        sizes[0], sizes[1] = head.fields[k].name.size, head.fields[k].value.size
        kept = kept and oisp_buffer_append(&t.late, sizes, sizeof(sizes)) \
            and oisp_buffer_append(&t.late, head.fields[k].name.data, sizes[0]) \
            and oisp_buffer_append(&t.late, head.fields[k].value.data, sizes[1])
    if kept:
        st.shared.held += t.late.size - at
        return True
    t.late.size = at
    st.shared.count.limits += 1
    ask_in_vain(st, t)
    return False


cdef void late_head(oisp_streams* st, oisp_stream* t, const oisp_late* late, const uint8_t* d) noexcept nogil:
    """Its fields stand in room of their own: what is read late is often read while another head is being taken."""
    cdef oisp_head head
    cdef uint32_t sizes[2]
    cdef uint32_t at = 0
    cdef oisp_field* f
    cdef size_t room = late.size // sizeof(sizes) + 1  # a field takes its two sizes at least
    cdef oisp_field* fields = <oisp_field*> malloc(room * sizeof(oisp_field))
    read_head(st, NULL, 0, late.partial or fields == NULL, &head)
    head.status = late.status
    head.fields = fields
    while at < late.size and fields != NULL:
        memcpy(sizes, d + at, sizeof(sizes))
        at += sizeof(sizes)
        f = &fields[head.fields_count]
        f.name.data, f.name.size = d + at, sizes[0]
        f.value.data, f.value.size = d + at + sizes[0], sizes[1]
        at += sizes[0] + sizes[1]
        head.fields_count += 1
    answer(st, t, &head, late.number, late.ts)
    free(fields)


cdef void read_late(oisp_streams* st, oisp_stream* t) noexcept nogil:
    """The stream may be over then."""
    cdef oisp_buffer late = t.late
    cdef oisp_late l
    cdef uint32_t at = 0
    cdef const uint8_t* d
    cdef bint over = False
    memset(&t.late, 0, sizeof(t.late))
    while at < late.size and not over:
        memcpy(&l, late.data + at, sizeof(l))
        at += sizeof(l)
        d = late.data + at
        at += l.size
        if l.kind == OISP_LATE_HEAD:
            late_head(st, t, &l, d)
        elif l.kind == OISP_LATE_DATA:
            answer_data(st, t, d, l.size, l.ts)
        elif l.kind == OISP_LATE_GAP:
            answer_gap(st, t, l.number, l.ts)
        elif l.kind == OISP_LATE_DOUBT:
            doubt(st, t, OISP_STREAM_RESPONSE, l.number, l.ts)
        else:
            end_answer(st, t, l.ts, 0)
            over = True
    drop_buffer(st, &late)


# ---- responses -----------------------------------------------------------------------------------------------------------

cdef oisp_stream* answered_stream(oisp_streams* st, uint32_t id, uint64_t ts) noexcept nogil:
    """The stream of a part of a response, new if its request was not seen. NULL: it is over, or was never read."""
    cdef oisp_stream* t = find(st, id)
    cdef bint lost
    if t != NULL:
        return t
    lost = was_lost(st, id)
    if id & 1 == 0 or (id <= st.highest and not lost):
        return NULL
    t = open_stream(st, id, ts)
    if t != NULL:
        t.flags |= OISP_STREAM_UNSEEN
        if lost:
            ask_in_vain(st, t)
    return t


cdef void answer(oisp_streams* st, oisp_stream* t, oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    if t.flags & OISP_STREAM_ANSWERED:
        return  # trailers of which no field is known
    t.flags |= OISP_STREAM_ANSWERED
    t.length[1] = length
    t.doubt[1] = 0  # it comes first: what was lost before it was of other streams, or an interim answer
    if opens(t, head):
        t.session = session_open(st.shared, t.turn, head)
        resolve(st, t, OISP_STREAM_REQUEST)
        if t.session != NULL:
            return
        head.status = 101  # a session that nobody here reads gives no event, as over HTTP/1
    turn_response_head(st.shared, t.turn, head, length, ts)


cdef inline bint opens(const oisp_stream* t, const oisp_head* head) noexcept nogil:
    """RFC 8441 section 5: 2xx to an extended CONNECT."""
    return t.flags & OISP_STREAM_SOCKET and 200 <= head.status < 300


cdef void headless_answer(oisp_streams* st, oisp_stream* t, uint64_t ts) noexcept nogil:
    """Its head was lost in a hole, and perhaps a part of its body."""
    cdef oisp_head head
    cdef uint64_t lost = t.doubt[1]
    read_head(st, NULL, 0, True, &head)
    answer(st, t, &head, ANY, ts)
    turn_response_gap(st.shared, t.turn, lost)


cdef void answer_data(oisp_streams* st, oisp_stream* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    if not t.flags & OISP_STREAM_ANSWERED:
        headless_answer(st, t, ts)
    body_data(st, t, OISP_STREAM_RESPONSE, data, size, ts)


cdef void answer_gap(oisp_streams* st, oisp_stream* t, uint64_t size, uint64_t ts) noexcept nogil:
    if not t.flags & OISP_STREAM_ANSWERED:
        headless_answer(st, t, ts)
    body_gap(st, t, OISP_STREAM_RESPONSE, size, ts)


cdef void end_answer(oisp_streams* st, oisp_stream* t, uint64_t ts, int ends) noexcept nogil:
    """The stream is over."""
    if not t.flags & OISP_STREAM_ANSWERED and not ends:
        headless_answer(st, t, ts)
    resolve(st, t, OISP_STREAM_RESPONSE)
    if t.session != NULL:
        session_close(st.shared, t.session, ends)
        t.session = NULL
        t.turn = NULL
    else:
        turn_response_end(st.shared, t.turn, ts, ends)
    close_stream(st, t)


cdef void abandon(oisp_streams* st, oisp_stream* t, uint64_t ts, int ends) noexcept nogil:
    """Nothing more comes on that stream. What waits is read first; it may hold the end of the answer (RFC 9113 section 8.1: a
    server that needs no more of the request resets the stream when it has answered)."""
    cdef uint32_t id = t.id
    if not t.flags & OISP_STREAM_ASKED:
        if t.flags & OISP_STREAM_UNSEEN:
            ask_in_vain(st, t)
        else:
            end_request(st, t, t.turn.request_last, ends)
        if find(st, id) != t:
            return
    if t.flags & OISP_STREAM_ANSWERED and t.length[1] <= t.seen[1] + t.waiting[1]:
        ends = 0  # only the frame that ends the stream is missing
    end_answer(st, t, ts, ends)


# ---- bodies, and holes that may have touched them ------------------------------------------------------------------------

cdef inline uint32_t doubt_flag(int which) noexcept nogil:
    return OISP_STREAM_DOUBT_RESPONSE if which else OISP_STREAM_DOUBT_REQUEST


cdef inline uint32_t open_flag(int which) noexcept nogil:
    return OISP_STREAM_OPEN_RESPONSE if which else OISP_STREAM_OPEN_REQUEST


cdef void give_data(oisp_streams* st, oisp_stream* t, int which, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef size_t k
    if size == 0:
        return
    t.seen[which] += size
    if t.session != NULL:
        session_data(st.shared, t.session, which, data, size, ts)
        return
    if size >= 4:
        t.tail[which] = <uint32_t> data[size - 4] << 24 | <uint32_t> data[size - 3] << 16 | <uint32_t> data[size - 2] << 8 | data[size - 1]
    else:
        for k in range(size):
            t.tail[which] = t.tail[which] << 8 | data[k]
    if which:
        turn_response_data(st.shared, t.turn, data, size, ts)
    else:
        turn_request_data(st.shared, t.turn, data, size, ts)


cdef void give_gap(oisp_streams* st, oisp_stream* t, int which, uint64_t size) noexcept nogil:
    t.seen[which] += size
    if t.session != NULL:
        session_gap(st.shared, t.session, which, size, 0)
    elif which:
        turn_response_gap(st.shared, t.turn, size)
    else:
        turn_request_gap(st.shared, t.turn, size)


cdef void body_data(oisp_streams* st, oisp_stream* t, int which, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef oisp_late late
    if t.flags & doubt_flag(which):
        memset(&late, 0, sizeof(late))
        late.kind, late.ts, late.size = OISP_LATE_DATA, ts, <uint32_t> size
        if keep(st, &t.held[which], &late, data):
            t.waiting[which] += size
            settle_body(st, t, which, ts)
            return
        st.shared.count.limits += 1
        resolve(st, t, which)
    if t.flags & open_flag(which) and size:
        decide(st, t, which, data, size)
    give_data(st, t, which, data, size, ts)


cdef void body_gap(oisp_streams* st, oisp_stream* t, int which, uint64_t size, uint64_t ts) noexcept nogil:
    cdef oisp_late late
    if t.flags & doubt_flag(which):
        memset(&late, 0, sizeof(late))
        late.kind, late.ts, late.number = OISP_LATE_GAP, ts, size
        if keep(st, &t.held[which], &late, NULL):
            t.waiting[which] += size
            settle_body(st, t, which, ts)
            return
        resolve(st, t, which)
    give_gap(st, t, which, size)


cdef void doubt(oisp_streams* st, oisp_stream* t, int which, uint64_t size, uint64_t ts) noexcept nogil:
    """A hole of `size` bytes may have taken some of this body."""
    if t.session != NULL:  # whether a frame goes on behind the hole is not known
        give_gap(st, t, which, 0)
    elif which and not t.flags & OISP_STREAM_ANSWERED:
        t.doubt[1] += size
    elif t.length[which] != ANY:
        t.doubt[which] += size
        t.flags |= doubt_flag(which)
        settle_body(st, t, which, ts)
    elif t.turn.codings_count[which] and t.seen[which]:
        give_gap(st, t, which, size)
    else:
        t.doubt[which] += size
        t.flags |= open_flag(which)


cdef bint is_json(const oisp_turn* t, int which) noexcept nogil:
    """One document, as far as its head says. Bodies of requests are, where they begin like one."""
    cdef const uint8_t* d = t.type.data
    return which == OISP_STREAM_REQUEST or (t.type.size >= 16 and memcmp(d, b"application/json", 16) == 0)


cdef bint begins_event(const uint8_t* d, size_t n) noexcept nogil:
    """A field, or a comment, of a server-sent event."""
    return (n >= 5 and memcmp(d, b"data:", 5) == 0) or (n >= 6 and memcmp(d, b"event:", 6) == 0) or \
        (n >= 3 and memcmp(d, b"id:", 3) == 0) or (n >= 6 and memcmp(d, b"retry:", 6) == 0) or d[0] == c":"


cdef void decide(oisp_streams* st, oisp_stream* t, int which, const uint8_t* data, size_t size) noexcept nogil:
    """The first bytes after a hole that may have touched this body, of which no length is known."""
    cdef uint64_t lost = t.doubt[which]
    cdef bint between = t.tail[which] & 0xFFFF == 0x0A0A or t.tail[which] & 0xFFFFFF == 0x0A0D0A
    t.flags &= ~open_flag(which)
    t.doubt[which] = 0
    if t.seen[which] == 0 and (data[0] == c"{" or data[0] == c"[") and is_json(t.turn, which):
        return
    if which and (between or t.seen[which] == 0) and begins_event(data, size) and t.turn.codings_count[1] == 0:
        turn_response_doubt(t.turn, lost)
    else:
        give_gap(st, t, which, lost)


cdef void settle_body(oisp_streams* st, oisp_stream* t, int which, uint64_t ts) noexcept nogil:
    """All bytes of its length are there: the hole took none of them, though perhaps the frame that ends the stream. The
    stream may be over then."""
    if t.seen[which] + t.waiting[which] < t.length[which]:
        return
    resolve(st, t, which)
    if which == OISP_STREAM_REQUEST:
        end_request(st, t, ts, 0)


cdef void resolve(oisp_streams* st, oisp_stream* t, int which) noexcept nogil:
    """The body is over, or is not waited for any longer: what is missing of its length was in the hole."""
    cdef oisp_buffer held = t.held[which]
    cdef oisp_late l
    cdef uint32_t at = 0
    cdef uint64_t got = t.seen[which] + t.waiting[which]
    cdef uint64_t missing = t.length[which] - got if got < t.length[which] else 0
    if t.flags & open_flag(which):
        t.flags &= ~open_flag(which)
        give_gap(st, t, which, t.doubt[which])
    if not t.flags & doubt_flag(which):
        return
    t.flags &= ~doubt_flag(which)
    t.waiting[which] = 0
    memset(&t.held[which], 0, sizeof(held))
    if missing > t.doubt[which]:
        missing = t.doubt[which]
    if missing:
        give_gap(st, t, which, missing)
    while at < held.size:
        memcpy(&l, held.data + at, sizeof(l))
        at += sizeof(l)
        if l.kind == OISP_LATE_DATA:
            give_data(st, t, which, held.data + at, l.size, l.ts)
        else:
            give_gap(st, t, which, l.number)
        at += l.size
    drop_buffer(st, &held)


# ---- tokens --------------------------------------------------------------------------------------------------------------

cdef void take_head(oisp_streams* st, int which, const oisp_token* tokens, uint32_t count, const oisp_token* end,
                    uint64_t ts) noexcept nogil:
    cdef oisp_head head
    cdef oisp_stream* t
    cdef uint64_t length = end.number if end.flags & OISP_HEAD_KIND == OISP_BODY_LENGTH else ANY
    read_head(st, tokens, count, end.flags & OISP_HEAD_PARTIAL != 0, &head)
    if end.flags & OISP_HEAD_PUSH:
        push(st, end.stream, &head, ts)
    elif which == OISP_STREAM_REQUEST:
        begin_request(st, end.stream, &head, length, ts)
    elif not end.flags & OISP_HEAD_INTERIM:
        t = answered_stream(st, end.stream, ts)
        if t != NULL and st.unconfirmed[1]:
            t.turn.answered.reasons |= REASON_RESYNC_UNCONFIRMED
        if t != NULL and not head_has_to_wait(st, t, &head, length, ts):
            answer(st, t, &head, length, ts)


cdef void push(oisp_streams* st, uint32_t id, const oisp_head* head, uint64_t ts) noexcept nogil:
    """A request that the server made for the client, complete as it stands (RFC 9113 section 8.4)."""
    cdef oisp_stream* t
    if find(st, id) != NULL:
        return
    t = open_stream(st, id, ts)
    if t != NULL:
        turn_request_head(st.shared, t.turn, head, 0, ts)
        end_request(st, t, ts, 0)


cdef void take_request_token(oisp_streams* st, const oisp_token* k, uint64_t ts) noexcept nogil:
    cdef oisp_stream* t = find(st, k.stream)
    if t == NULL and k.kind != OISP_TOKEN_RESET:
        t = headless_request(st, k.stream, ts)
    if t == NULL or st.dismissed:
        return
    if st.unconfirmed[0]:
        t.turn.asked.reasons |= REASON_RESYNC_UNCONFIRMED
    if k.kind == OISP_TOKEN_RESET:
        abandon(st, t, ts, OISP_END_CUT)
    elif t.flags & (OISP_STREAM_ASKED | OISP_STREAM_UNSEEN):
        return
    elif k.kind == OISP_TOKEN_DATA:
        body_data(st, t, OISP_STREAM_REQUEST, k.data, k.size, ts)
    elif k.kind == OISP_TOKEN_GAP:
        body_gap(st, t, OISP_STREAM_REQUEST, k.number, ts)
    elif k.kind == OISP_TOKEN_END:
        end_request(st, t, ts, 0)


cdef void take_trailer(oisp_streams* st, oisp_stream* t, const oisp_token* k) noexcept nogil:
    cdef oisp_slice name, value
    if t.session != NULL:
        return
    name.data, name.size = k.name, k.name_size
    value.data, value.size = k.data, k.size
    turn_response_trailer(st.shared, t.turn, name, value)


cdef void take_response_token(oisp_streams* st, const oisp_token* k, uint64_t ts) noexcept nogil:
    cdef oisp_stream* t
    if k.kind == OISP_TOKEN_RESET:
        t = find(st, k.stream)
        if t != NULL:
            abandon(st, t, ts, OISP_END_CUT)
        return
    t = answered_stream(st, k.stream, ts)
    if t == NULL:
        return
    if st.unconfirmed[1]:
        t.turn.answered.reasons |= REASON_RESYNC_UNCONFIRMED
    if k.kind == OISP_TOKEN_TRAILER:
        take_trailer(st, t, k)
    elif k.kind == OISP_TOKEN_DATA:
        if not has_to_wait(st, t, OISP_LATE_DATA, ts, 0, k.data, k.size):
            answer_data(st, t, k.data, k.size, ts)
    elif k.kind == OISP_TOKEN_GAP:
        if not has_to_wait(st, t, OISP_LATE_GAP, ts, k.number, NULL, 0):
            answer_gap(st, t, k.number, ts)
    elif k.kind == OISP_TOKEN_END:
        if not has_to_wait(st, t, OISP_LATE_END, ts, 0, NULL, 0):
            end_answer(st, t, ts, 0)


cdef void goaway(oisp_streams* st, uint32_t last, uint64_t ts) noexcept nogil:
    """The server serves no request after `last` (RFC 9113 section 6.8)."""
    cdef oisp_stream* t = st.oldest
    cdef oisp_stream* after
    while t != NULL:
        after = t.newer
        if t.id > last and t.id & 1 and not t.flags & (OISP_STREAM_ANSWERED | OISP_STREAM_UNSEEN):
            abandon(st, t, ts, OISP_END_CUT)
        t = after


cdef void take_tokens(oisp_streams* st, int which, const oisp_tokens* tokens, uint64_t ts) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t first = 0  # FIELD of the block in hand
    cdef const oisp_token* k
    for i in range(tokens.count):
        k = &tokens.at[i]
        if k.kind == OISP_TOKEN_HEAD_END:
            take_head(st, which, &tokens.at[first], i - first, k, ts)
        elif k.kind == OISP_TOKEN_SETTINGS:
            http2_setting(&st.side[1 - which], k.flags, k.number)
        elif k.kind == OISP_TOKEN_GOAWAY:
            if which == OISP_STREAM_RESPONSE:
                goaway(st, k.stream, ts)
        elif k.kind == OISP_TOKEN_WARNING:
            st.shared.count.bad += 1
        elif k.kind == OISP_TOKEN_TRAILER and which == OISP_STREAM_RESPONSE:
            take_response_token(st, k, ts)
        elif k.kind == OISP_TOKEN_DATA or k.kind == OISP_TOKEN_GAP or k.kind == OISP_TOKEN_END or k.kind == OISP_TOKEN_RESET:
            if which == OISP_STREAM_REQUEST:
                take_request_token(st, k, ts)
            else:
                take_response_token(st, k, ts)
        if k.kind != OISP_TOKEN_FIELD and k.kind != OISP_TOKEN_WARNING:
            first = i + 1
        if st.dismissed:
            return


# ---- framing that was lost -----------------------------------------------------------------------------------------------

cdef void lose(oisp_streams* st, int which, uint64_t size, uint64_t ts) noexcept nogil:
    """Frames may be missing; which streams that touches is told when it is known how many bytes there are."""
    http2_resync(&st.side[which])
    http2_setting(&st.side[1 - which], OISP_SETTING_LOST, 0)
    st.shared.count.resyncs += 1
    st.losing[which] = 1
    st.lost_bytes[which] += size
    if which == OISP_STREAM_REQUEST:
        st.lossy = 1


cdef void suspect(oisp_streams* st, int which) noexcept nogil:
    """What stands where a frame should begin is none: bytes are missing that nobody told of, and the frame before it may
    hold some of others."""
    cdef oisp_stream* t = find(st, st.side[which].stream)
    if t == NULL or st.side[which].kind != 0:  # DATA
        return
    if which == OISP_STREAM_RESPONSE:
        if t.flags & OISP_STREAM_ANSWERED:
            give_gap(st, t, which, 0)
    elif not t.flags & (OISP_STREAM_ASKED | OISP_STREAM_UNSEEN):
        give_gap(st, t, which, 0)


cdef void settle_loss(oisp_streams* st, int which, uint64_t ts) noexcept nogil:
    """Reading goes on (or nothing more comes)."""
    cdef oisp_stream* t = st.oldest
    cdef oisp_stream* after
    cdef uint64_t skipped = st.side[which].skipped - st.skipped[which]
    cdef uint64_t size = st.lost_bytes[which] + skipped
    st.losing[which] = 0
    st.lost_bytes[which] = 0
    st.skipped[which] += skipped
    st.shared.count.resync_bytes += skipped
    while t != NULL:
        after = t.newer
        if which == OISP_STREAM_RESPONSE:
            if not has_to_wait(st, t, OISP_LATE_DOUBT, ts, size, NULL, 0):
                doubt(st, t, which, size, ts)
        elif not t.flags & (OISP_STREAM_ASKED | OISP_STREAM_UNSEEN):
            t.flags |= OISP_STREAM_TOUCHED
            doubt(st, t, which, size, ts)
        t = after


# ---- the face ------------------------------------------------------------------------------------------------------------

cdef oisp_streams* streams_new(oisp_shared* shared, const oisp_origin* origin, oisp_buffer* work, oisp_token* tokens,
                               uint32_t tokens_capacity, oisp_field* fields) noexcept nogil:
    cdef oisp_streams* st = <oisp_streams*> calloc(1, sizeof(oisp_streams))
    if st == NULL:
        return NULL
    st.shared = shared
    st.origin = origin
    st.tokens = tokens
    st.tokens_capacity = tokens_capacity
    st.fields = fields
    http2_init(&st.side[0], OISP_TOKEN_REQUEST, work, shared.limits.head_bytes, shared.limits.head_fields,
               shared.limits.table_bytes)
    http2_init(&st.side[1], OISP_TOKEN_RESPONSE, work, shared.limits.head_bytes, shared.limits.head_fields,
               shared.limits.table_bytes)
    return st


cdef void streams_free(oisp_streams* st) noexcept nogil:
    if st == NULL:
        return
    while st.oldest != NULL:
        close_stream(st, st.oldest)
    http2_free(&st.side[0])
    http2_free(&st.side[1])
    free(st)


cdef void streams_join(oisp_streams* st, int which) noexcept nogil:
    http2_resync(&st.side[which])
    http2_setting(&st.side[1 - which], OISP_SETTING_LOST, 0)
    st.losing[which] = 1
    if which == OISP_STREAM_REQUEST:
        st.lossy = 1


cdef void streams_upgrade(oisp_streams* st, oisp_turn* turn) noexcept nogil:
    cdef oisp_stream* t = open_stream(st, 1, turn.request_first)
    if t == NULL:
        turn_free(st.shared, turn)
        return
    turn_free(st.shared, t.turn)
    t.turn = turn
    st.highest = 1
    if turn.flags & OISP_TURN_REQUEST_DONE:
        t.flags |= OISP_STREAM_ASKED
    match_keep_usual(&st.usual, &st.mixed, &turn.verdict)


cdef size_t feed_known(oisp_streams* st, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """The steady state: DATA frames that lie whole in the input, of answers that nothing is doubtful about. Answers how many
    bytes they have."""
    cdef oisp_http2* p = &st.side[<int> OISP_STREAM_RESPONSE]
    cdef oisp_stream* t
    cdef size_t at = 0, length
    cdef uint32_t id
    if st.losing[<int> OISP_STREAM_RESPONSE]:
        return 0
    while at < size:
        id = oisp_http2_data(p, data + at, size - at, &length)
        t = find(st, id) if id else NULL
        if t == NULL or t.session != NULL or t.flags & (OISP_STREAM_ASKED | OISP_STREAM_ANSWERED | OISP_STREAM_DOUBT_RESPONSE | OISP_STREAM_OPEN_RESPONSE) \
                != OISP_STREAM_ASKED | OISP_STREAM_ANSWERED:
            break
        oisp_http2_took(p, id, length)
        give_data(st, t, OISP_STREAM_RESPONSE, data + at + 9, length, ts)
        at += 9 + length
    return at


cdef void streams_feed(oisp_streams* st, int which, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_tokens tokens
    cdef oisp_status status
    cdef size_t used = 0
    st.fed[which] = ts
    if which == OISP_STREAM_RESPONSE:
        used = feed_known(st, ts, data, size)
        if used and used == size:
            return
        data += used
        size -= used
    tokens.at = st.tokens
    tokens.capacity = st.tokens_capacity
    while True:
        tokens.count = 0
        status = http2_feed(&st.side[which], data, size, &tokens, &used)
        if st.losing[which] and not http2_seeking(&st.side[which]):
            settle_loss(st, which, ts)
        take_tokens(st, which, &tokens, ts)
        data += used
        size -= used
        if st.dismissed:
            break
        if status == OISP_BAD or status == OISP_LIMIT:
            # The rest of a segment that failed is no beginning: the next one is looked at.
            st.shared.count.bad += 1
            suspect(st, which)
            lose(st, which, 0, ts)
            st.side[which].offset += size
            st.side[which].skipped += size
            break
        if status != OISP_FULL:
            break
    http2_release(&st.side[which])


cdef void streams_gap(oisp_streams* st, int which, uint64_t size, uint64_t ts) noexcept nogil:
    cdef oisp_tokens tokens
    cdef oisp_status status
    cdef uint64_t rest = size
    cdef uint32_t i
    tokens.at = st.tokens
    tokens.capacity = st.tokens_capacity
    tokens.count = 0
    if st.losing[which]:
        if size != ANY:
            st.lost_bytes[which] += size
            http2_gap(&st.side[which], size, &tokens)
        else:
            http2_resync(&st.side[which])
        return
    if size == ANY:
        lose(st, which, 0, ts)
        return
    status = http2_gap(&st.side[which], size, &tokens)
    for i in range(tokens.count):
        if tokens.at[i].kind == OISP_TOKEN_GAP:
            rest -= tokens.at[i].number if tokens.at[i].number < rest else rest
    take_tokens(st, which, &tokens, ts)
    if status != OISP_OK:
        lose(st, which, rest, ts)


cdef void streams_advance(oisp_streams* st, uint64_t before) noexcept nogil:
    cdef oisp_stream* t = st.oldest
    cdef oisp_stream* after
    while t != NULL:
        after = t.newer
        if t.flags & OISP_STREAM_UNSEEN and t.since < before:
            ask_in_vain(st, t)
        t = after


cdef void streams_finish(oisp_streams* st, uint64_t ts, int ends) noexcept nogil:
    cdef oisp_tokens tokens
    cdef int which
    tokens.at = st.tokens
    tokens.capacity = st.tokens_capacity
    for which in range(2):
        if http2_last(&st.side[which]):
            st.unconfirmed[which] = 1
            streams_feed(st, which, st.fed[which], b"", 0)
        tokens.count = 0
        http2_finish(&st.side[which], &tokens)
        take_tokens(st, which, &tokens, ts)
        if st.losing[which]:
            settle_loss(st, which, ts)
    while st.oldest != NULL:
        abandon(st, st.oldest, st.oldest.turn.response_last if st.oldest.flags & OISP_STREAM_ANSWERED else ts, ends)
