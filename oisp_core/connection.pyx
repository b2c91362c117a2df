# SPDX-License-Identifier: Apache-2.0
"""The connections of an engine: pieces of two directions in, exchanges out. C only: no GIL, no Python object.

A connection has two directions. Which of them carries the requests is found from the first bytes (or said by the caller);
each is read by its own parser, and the exchanges of a connection stand in a list in the order of their requests.

Pairing (the rules that keep a pair from ever being wrong):
  * A response is read only when the request that it answers is complete; until then its pieces wait, with their times.
  * A response that began before a request was sent does not answer it.
  * A hole in a body is arithmetic. A hole that may hide a head puts its direction into resync.
  * After lost responses the next one answers one of the requests that are open: where one is open it is that one, where
    several are the response stays unpaired, and the count goes on from there.
  * After lost requests an unknown number of answers belongs to them: answers that began before the next request that was
    seen are unpaired; that request's own answer is taken only on a connection that never sent one before it had the other.
"""
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from oisp_core.decode.decoder cimport exchange_fetch
from oisp_core.encode.writer cimport writer_context, writer_free
from oisp_core.match.rules cimport match_keep_usual
from oisp_core.message cimport (
    OISP_END_CUT, OISP_END_FLIGHT, OISP_TURN_CONNECT, OISP_TURN_H2C, OISP_TURN_HOLE, OISP_TURN_ORPHAN, OISP_TURN_REQUEST_DONE,
    OISP_TURN_RESPONSE_HEAD, OISP_TURN_UPGRADE, OISP_PLAIN_STDIO, oisp_table_free, oisp_table_get, oisp_table_put, oisp_table_remove, oisp_turn,
    shared_free, turn_free, turn_new, turn_request_data,
    turn_request_end, turn_request_gap, turn_request_head, turn_response_data, turn_response_end, turn_response_gap,
    turn_response_head, turn_warning,
)
from oisp_core.reassemble.http1 cimport (
    OISP_HTTP1_LENGTH, http1_feed, http1_finish, http1_free, http1_gap, http1_idle, http1_init, http1_no_body, http1_probe,
    http1_reset, http1_tunnel, oisp_http1_chunk, oisp_http1_chunk_rest,
)
from oisp_core.reassemble.http2 cimport http2_role
from oisp_core.reassemble.sniff cimport (
    OISP_SNIFF_HTTP1_REQUEST, OISP_SNIFF_HTTP1_RESPONSE, OISP_SNIFF_HTTP2_FRAMES, OISP_SNIFF_HTTP2_PREFACE,
    OISP_SNIFF_HTTP2_SETTINGS, OISP_SNIFF_MORE, sniff,
)
from oisp_core.reasons cimport REASON_RESYNC_UNCONFIRMED
from oisp_core.resync cimport oisp_resync, oisp_resync_mark, resync_free, resync_last, resync_new, resync_take
from oisp_core.rpc cimport rpc_data, rpc_finish, rpc_free, rpc_gap, rpc_new
from oisp_core.session cimport session_close, session_data, session_free, session_gap, session_open
from oisp_core.streams cimport (
    streams_advance, streams_feed, streams_finish, streams_free, streams_gap, streams_join, streams_new, streams_upgrade,
)
from oisp_core.turn cimport oisp_peer
from oisp_core.types cimport (
    OISP_BAD, OISP_BODY_LENGTH, OISP_BODY_NONE, OISP_EVIDENCE_NEVER, OISP_MORE, OISP_OK, OISP_READ, OISP_RECORD_ADDRESS, OISP_RECORD_CLOSE,
    OISP_RECORD_CONTEXT, OISP_RECORD_DATA, OISP_RECORD_LOST, OISP_RECORD_MIDWAY, OISP_RECORD_OPEN, OISP_RECORD_PLAINTEXT,
    OISP_RECORD_PROCESS, OISP_RECORD_SERVER, OISP_RECORD_SHORT, OISP_RECORD_STDIO, OISP_TOKEN_DATA, OISP_TOKEN_END, OISP_TOKEN_FIELD,
    OISP_TOKEN_GAP, OISP_TOKEN_HEAD_END, OISP_TOKEN_REQUEST, OISP_TOKEN_RESPONSE, OISP_TOKEN_UPGRADE, OISP_TOKEN_WARNING,
    OISP_VERDICT_NONE, OISP_WRITE, oisp_buffer,
    oisp_buffer_append, oisp_buffer_free, oisp_buffer_wipe, oisp_confidence, oisp_field, oisp_head, oisp_record,
    oisp_record_address, oisp_record_conn, oisp_record_context,
    oisp_exchange, oisp_record_data, oisp_record_lost, oisp_status, oisp_token, oisp_tokens,
)

cdef extern from "oisp/peer.h" nogil:
    void oisp_peer_take(oisp_peer** to, const oisp_record_address* r)
    const uint8_t* oisp_peer_name(const oisp_peer* peer, uint32_t* size)

cdef extern from "oisp/contract.h" nogil:
    enum:
        OISP_CONTENT_SOURCE_PLAINTEXT_CAPTURE
        OISP_CONTENT_SOURCE_TLS_BOUNDARY
        OISP_PROCESS_ATTRIBUTION_DIRECT

cdef enum:
    COUNTS_DISAGREE = 2  # of origin.no_offsets

cdef uint64_t ANY = UINT64_MAX  # a hole of unknown size

# Why a response is read although its request is not known to be the one.
cdef enum:
    NOT_FORCED = 0
    BY_LIMIT = 1
    AT_END = 2

cdef enum:
    HELD_MAX = 1 << 20    # a response that waits longer than this for the end of its request is read all the same
    SNIFF_MAX = 8192      # first bytes of a direction that are looked at before it is given up
    RESYNC_MAX = 1 << 24  # bytes without a boundary: then the connection is not worth reading
    SECOND = 1000000000
    WAIT_SECONDS = 10     # a response whose request never showed up
    # Of a body that is not AI, what must be left for its calls to be copied only at their beginning, and what ends that:
    # verdicts take effect some calls late, and the next head must not be among those.
    SPARE_FROM = 1 << 26
    SPARE_UNTIL = 1 << 25


# --- connections ---


cdef inline void unlink_conn(engine_core* e, oisp_conn* c) noexcept nogil:
    if c.newer != NULL:
        c.newer.older = c.older
    else:
        e.newest = c.older
    if c.older != NULL:
        c.older.newer = c.newer
    else:
        e.oldest = c.newer
    c.newer = c.older = NULL


cdef inline void use_conn(engine_core* e, oisp_conn* c) noexcept nogil:
    """To the front of the list by last use."""
    if e.newest == c:
        return
    if c.newer != NULL:  # it stands in the list, behind another
        unlink_conn(e, c)
    c.older = e.newest
    if e.newest != NULL:
        e.newest.newer = c
    e.newest = c
    if e.oldest == NULL:
        e.oldest = c


cdef oisp_conn* find_conn(engine_core* e, uint64_t id) noexcept nogil:
    return <oisp_conn*> oisp_table_get(&e.conns, id)


cdef oisp_conn* new_conn(engine_core* e, uint64_t id) noexcept nogil:
    cdef oisp_conn* c
    if e.conns.count >= e.shared.limits.connections and e.oldest != NULL:
        e.shared.count.connections_evicted += 1
        e.shared.count.limits += 1
        end_conn(e, e.oldest, e.oldest.ts_last, OISP_END_FLIGHT)
    c = <oisp_conn*> calloc(1, sizeof(oisp_conn))
    if c == NULL:
        return NULL
    c.id = id
    c.requests = REQUESTS_UNKNOWN
    c.told = 1
    c.origin.no_offsets = 1
    c.origin.content_source = OISP_CONTENT_SOURCE_PLAINTEXT_CAPTURE
    if not oisp_table_put(&e.conns, id, c):
        free(c)
        return NULL
    e.shared.count.connections += 1
    use_conn(e, c)
    return c


cdef oisp_conn* make_conn(engine_core* e, uint64_t id) noexcept nogil:
    """The connection, new if it is not known. NULL without memory."""
    cdef oisp_conn* c = find_conn(e, id)
    return c if c != NULL else new_conn(e, id)


cdef oisp_flow* new_flow(engine_core* e, oisp_conn* c) noexcept nogil:
    c.flow = <oisp_flow*> calloc(1, sizeof(oisp_flow))
    if c.flow != NULL:
        c.state = OISP_CONN_OPEN
        if c.requests != REQUESTS_UNKNOWN:
            set_roles(e, c, c.requests)
        if c.origin.plaintext == OISP_PLAIN_STDIO:
            c.flow.rpc = rpc_new()
    return c.flow


cdef oisp_flow* open_flow(engine_core* e, oisp_conn* c) noexcept nogil:
    return new_flow(e, c) if c.flow == NULL and c.state == OISP_CONN_NEW else c.flow


cdef void set_roles(engine_core* e, oisp_conn* c, int requests) noexcept nogil:
    cdef int i
    cdef int role
    c.requests = <uint8_t> requests
    for i in range(2):
        role = OISP_TOKEN_REQUEST if i == requests else OISP_TOKEN_RESPONSE
        c.flow.side[i].role = <uint8_t> role
        http1_init(&c.flow.side[i].http, role, e.shared.limits.head_bytes, e.shared.limits.head_fields)


cdef void free_side(engine_core* e, oisp_side* side) noexcept nogil:
    if side.role:
        http1_free(&side.http)
    drop_held(e, side)


cdef void close_flow(engine_core* e, oisp_conn* c) noexcept nogil:
    cdef oisp_flow* f = c.flow
    cdef oisp_turn* t
    if f == NULL:
        return
    if f.answered_dead:
        turn_free(&e.shared, f.answer)
    while f.first != NULL:
        t = f.first
        f.first = t.next
        turn_free(&e.shared, t)
    streams_free(f.streams)
    if f.session != NULL:
        session_free(&e.shared, f.session)
    rpc_free(&e.shared, f.rpc)
    free_side(e, &f.side[0])
    free_side(e, &f.side[1])
    free(f)
    c.flow = NULL


cdef void dismiss(engine_core* e, oisp_conn* c, int rule) noexcept nogil:
    """From here on its bytes are counted and not read."""
    if c.state == OISP_CONN_DISMISSED:
        return
    finish_turns(e, c, c.ts_last, OISP_END_CUT)
    close_flow(e, c)
    c.state = OISP_CONN_DISMISSED
    c.rule = <uint8_t> rule
    e.shared.count.connections_dismissed += 1
    e.verdicts_new += 1
    c.told = 0


cdef void drop_conn(engine_core* e, oisp_conn* c) noexcept nogil:
    close_flow(e, c)
    unlink_conn(e, c)
    oisp_table_remove(&e.conns, c.id)
    oisp_buffer_free(&c.origin.context)
    free(c.origin.peer)
    if e.current == c:
        e.current = NULL
    free(c)


cdef void end_conn(engine_core* e, oisp_conn* c, uint64_t ts, int ends) noexcept nogil:
    """The connection is over (ends = 0: closed as it should be): what is in flight is given out."""
    if c.flow != NULL:
        flush_sides(e, c, ts)
        finish_turns(e, c, ts, ends if ends else OISP_END_CUT)
    e.shared.count.connections_closed += 1
    drop_conn(e, c)


# --- the list of exchanges ---


cdef void push_turn(oisp_flow* f, oisp_turn* t) noexcept nogil:
    t.next = NULL
    if f.last != NULL:
        f.last.next = t
    else:
        f.first = t
    f.last = t
    f.turns += 1


cdef oisp_turn* shift_turn(oisp_flow* f) noexcept nogil:
    cdef oisp_turn* t = f.first
    f.first = t.next
    if f.first == NULL:
        f.last = NULL
        f.receiving = 0
    t.next = NULL
    f.turns -= 1
    return t


cdef void drop_first(engine_core* e, oisp_flow* f, uint64_t ts, int ends) noexcept nogil:
    """The first exchange gets no answer any more: given out as far as it is known."""
    cdef oisp_turn* t = shift_turn(f)
    if not t.flags & OISP_TURN_HOLE:
        turn_response_end(&e.shared, t, ts, ends)
    turn_free(&e.shared, t)


cdef void end_answer(engine_core* e, oisp_flow* f, uint64_t ts, int ends) noexcept nogil:
    """The response in progress is over; its exchange leaves the list."""
    cdef oisp_turn* t = f.answer
    f.answer = NULL
    turn_response_end(&e.shared, t, ts, ends)
    if f.answered_dead:
        f.answered_dead = 0
    else:
        f.exchanged = not ends and not f.ambiguous
        shift_turn(f)
    turn_free(&e.shared, t)


cdef void finish_turns(engine_core* e, oisp_conn* c, uint64_t ts, int ends) noexcept nogil:
    cdef oisp_flow* f = c.flow
    if f == NULL:
        return
    if f.streams != NULL:
        streams_finish(f.streams, ts, ends)
    if f.session != NULL:
        session_close(&e.shared, f.session, ends)
        f.session = NULL
    if f.rpc != NULL:
        rpc_finish(&e.shared, f.rpc, ts, ends)
    if f.answer != NULL:
        end_answer(e, f, f.answer.response_last, ends)
    if f.first != NULL and c.origin.no_offsets and not ends & OISP_END_FLIGHT:
        c.origin.no_offsets = COUNTS_DISAGREE
    while f.first != NULL:
        drop_first(e, f, ts, ends)


cdef oisp_turn* orphan(engine_core* e, oisp_conn* c) noexcept nogil:
    cdef oisp_turn* t = turn_new(&e.shared, &c.origin)
    if c.origin.no_offsets:
        c.origin.no_offsets = COUNTS_DISAGREE
    if t != NULL:
        t.flags |= OISP_TURN_ORPHAN
        t.verdict = c.flow.usual
        c.flow.answered_dead = 1
        e.shared.count.unpaired_responses += 1
    c.flow.answer = t
    return t


cdef bint is_ready(const oisp_turn* t) noexcept nogil:
    return t != NULL and t.flags & OISP_TURN_REQUEST_DONE


cdef bint pair(engine_core* e, oisp_conn* c, uint64_t ts, int forced) noexcept nogil:
    """Find the exchange that the response which begins at `ts` answers, and make it `answer`. False: it has to wait."""
    cdef oisp_flow* f = c.flow
    cdef oisp_turn* t
    settle(e, f, ts)
    t = f.first
    if t != NULL and t.flags & OISP_TURN_HOLE:
        if ts < t.request_first:
            return orphan(e, c) != NULL
        if t.next == NULL or f.pipelined:  # whose answer this is cannot be known
            if t.next == NULL and not forced:
                return False
            return orphan(e, c) != NULL
        drop_first(e, f, ts, 0)
        t = f.first
    if t == NULL:
        return forced and orphan(e, c) != NULL
    if ts < t.request_first:
        return orphan(e, c) != NULL
    if not is_ready(t) and not forced:
        return False
    if c.origin.no_offsets and not f.ambiguous and not f.pipelined and is_ready(t) and sent_apart(t, ts):
        f.ambiguous = 1
        c.origin.no_offsets = COUNTS_DISAGREE
    if f.ambiguous:
        return prove(e, c, ts, forced)
    if not f.ambiguous and t.next != NULL and t.next.request_first < ts and not t.next.flags & OISP_TURN_HOLE:
        f.pipelined = 1
    f.answer = t
    return True


cdef inline bint sent_apart(const oisp_turn* t, uint64_t ts) noexcept nogil:
    """The next request was sent later than this one, and before an answer: a client that pipelines in several writes is
    rare, and an answer that was lost without a trace looks the same."""
    return t.next != NULL and not t.next.flags & OISP_TURN_HOLE and t.request_last < t.next.request_first <= ts


cdef bint prove(engine_core* e, oisp_conn* c, uint64_t ts, int forced) noexcept nogil:
    """Answers were lost. The next request must be seen first (or the end): only then is it known that no request was lost
    between, which this could be the answer to."""
    cdef oisp_flow* f = c.flow
    cdef bint last = f.sequential and not f.pipelined
    while last and f.first.next != NULL and f.first.next.request_first <= ts and is_ready(f.first.next):
        drop_first(e, f, ts, OISP_END_CUT)
    if f.first.next == NULL and forced == NOT_FORCED and not c.origin.no_offsets:
        return False
    if f.first.flags & OISP_TURN_HOLE or (f.first.next == NULL and forced != NOT_FORCED and not c.counted) or not is_ready(f.first) or \
            (f.first.next != NULL and (f.first.next.request_first <= ts or f.first.next.flags & OISP_TURN_HOLE)):
        if orphan(e, c) != NULL:
            drop_first(e, f, ts, OISP_END_CUT)
        return f.answer != NULL
    f.ambiguous = 0
    f.answer = f.first
    return True


# --- tokens to exchanges ---


cdef void read_head(engine_core* e, oisp_conn* c, const oisp_token* tokens, uint32_t count, oisp_head* head) noexcept nogil:
    """tokens[0] is the start line, then fields and warnings, up to HEAD_END."""
    cdef uint32_t i
    cdef const oisp_token* t
    memset(head, 0, sizeof(oisp_head))
    head.fields = e.fields
    head.plaintext = c.origin.plaintext
    head.port = c.origin.port
    head.sni.data = oisp_peer_name(c.origin.peer, &head.sni.size)
    if tokens.kind == OISP_TOKEN_REQUEST:
        head.method.data, head.method.size = tokens.name, tokens.name_size
        head.target.data, head.target.size = tokens.data, tokens.size
    else:
        head.status = <uint16_t> tokens.number
    for i in range(1, count):
        t = &tokens[i]
        if t.kind != OISP_TOKEN_FIELD or head.fields_count >= e.shared.limits.head_fields:
            continue
        e.fields[head.fields_count].name.data, e.fields[head.fields_count].name.size = t.name, t.name_size
        e.fields[head.fields_count].value.data, e.fields[head.fields_count].value.size = t.data, t.size
        if t.name_size == 4 and head.authority.size == 0 and (t.name[0] | 32) == c"h" and (t.name[1] | 32) == c"o" \
                and (t.name[2] | 32) == c"s" and (t.name[3] | 32) == c"t":
            head.authority = e.fields[head.fields_count].value
        head.fields_count += 1
    split_absolute(head)


cdef void split_absolute(oisp_head* head) noexcept nogil:
    """`http://host/path` as target (RFC 9112 3.2.2): the host in it wins over the Host field."""
    cdef uint32_t i = 0, start
    cdef const uint8_t* d = head.target.data
    cdef uint32_t n = head.target.size
    if n == 0 or d[0] == c"/" or d[0] == c"*":
        return
    while i + 2 < n and not (d[i] == c":" and d[i + 1] == c"/" and d[i + 2] == c"/"):
        if i > 6:
            return
        i += 1
    if i + 2 >= n:
        return
    i += 3
    start = i
    while i < n and d[i] != c"/" and d[i] != c"?":
        i += 1
    head.authority.data, head.authority.size = d + start, i - start
    head.target.data, head.target.size = d + i, n - i


cdef bint is_word(const oisp_token* t, const char* word, uint32_t size) noexcept nogil:
    return t.name_size == size and memcmp(t.name, word, size) == 0


cdef uint32_t head_size(const oisp_tokens* tokens, uint32_t at) noexcept nogil:
    """Tokens from the start line to HEAD_END (not counted)."""
    cdef uint32_t n = 0
    while at + n < tokens.count and tokens.at[at + n].kind != OISP_TOKEN_HEAD_END:
        n += 1
    return n


cdef inline uint64_t body_length(const oisp_token* end) noexcept nogil:
    if end.flags == OISP_BODY_NONE:
        return 0
    return end.number if end.flags == OISP_BODY_LENGTH else UINT64_MAX


cdef uint32_t begin_request(engine_core* e, oisp_conn* c, const oisp_tokens* tokens, uint32_t at, uint64_t ts) noexcept nogil:
    cdef oisp_head head
    cdef oisp_flow* f = c.flow
    cdef uint32_t n = head_size(tokens, at)
    cdef const oisp_token* end = &tokens.at[at + n]
    cdef oisp_turn* t
    if f.turns >= e.shared.limits.pipeline:
        e.shared.count.limits += 1
        drop_answered(e, f, ts)
    t = turn_new(&e.shared, &c.origin)
    if t == NULL:
        return n
    if f.first == NULL and f.exchanged:
        f.sequential = 1
    push_turn(f, t)
    f.receiving = 1
    if is_word(&tokens.at[at], b"CONNECT", 7):
        t.flags |= OISP_TURN_CONNECT
    read_head(e, c, &tokens.at[at], n, &head)
    if upgrades_to_http2(&head):
        t.flags |= OISP_TURN_H2C
    turn_request_head(&e.shared, t, &head, body_length(end), ts)
    warn(t, &tokens.at[at], n, False)
    doubt(&f.side[c.requests], &t.asked)
    match_keep_usual(&f.usual, &f.mixed, &t.verdict)
    return n


cdef void drop_answered(engine_core* e, oisp_flow* f, uint64_t ts) noexcept nogil:
    """The bound on open requests is reached: the oldest is given up, and pairs need proof from here on."""
    if f.answer == f.first and f.answer != NULL:
        end_answer(e, f, ts, OISP_END_CUT)
    else:
        drop_first(e, f, ts, OISP_END_CUT)
    f.ambiguous = 1


cdef inline void doubt(oisp_side* side, oisp_confidence* c) noexcept nogil:
    """The first message after a boundary that few others confirm says so."""
    if side.unconfirmed:
        side.unconfirmed = 0
        c.reasons |= REASON_RESYNC_UNCONFIRMED


cdef void warn(oisp_turn* t, const oisp_token* tokens, uint32_t count, bint response) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if tokens[i].kind == OISP_TOKEN_WARNING:
            turn_warning(t, tokens[i].number, response)


cdef bint take_requests(engine_core* e, oisp_conn* c, const oisp_tokens* tokens, uint64_t ts) noexcept nogil:
    """False: the connection was dismissed."""
    cdef uint32_t i = 0
    cdef oisp_flow* f = c.flow
    cdef const oisp_token* k
    while i < tokens.count:
        k = &tokens.at[i]
        if k.kind == OISP_TOKEN_REQUEST:
            i += begin_request(e, c, tokens, i, ts)
            if f.last != NULL and f.last.verdict.evidence & OISP_EVIDENCE_NEVER and f.first == f.last and not c.origin.plaintext:
                dismiss(e, c, OISP_DISMISSED_HOST)
                return False
        elif k.kind == OISP_TOKEN_UPGRADE:
            f.side[c.requests].state = OISP_SIDE_CLOSED
        elif f.receiving:
            if k.kind == OISP_TOKEN_DATA:
                turn_request_data(&e.shared, f.last, k.data, k.size, ts)
            elif k.kind == OISP_TOKEN_GAP:
                turn_request_gap(&e.shared, f.last, k.number)
            elif k.kind == OISP_TOKEN_WARNING:
                turn_warning(f.last, k.number, False)
            elif k.kind == OISP_TOKEN_END:
                turn_request_end(&e.shared, f.last, ts, k.flags)
                f.receiving = 0
        i += 1
    return True


cdef bint upgrades_to_http2(const oisp_head* head) noexcept nogil:
    """RFC 7540 section 3.2: `Upgrade: h2c`, in the request and in its 101."""
    cdef uint32_t i
    cdef const oisp_field* f
    for i in range(head.fields_count):
        f = &head.fields[i]
        if f.name.size == 7 and (f.name.data[0] | 32) == c"u" and f.value.size == 3 and memcmp(f.value.data, b"h2c", 3) == 0:
            return (f.name.data[6] | 32) == c"e"
    return False


cdef uint32_t begin_response(engine_core* e, oisp_conn* c, oisp_side* side, const oisp_tokens* tokens, uint32_t at,
                             uint64_t ts) noexcept nogil:
    cdef oisp_head head
    cdef oisp_flow* f = c.flow
    cdef uint32_t n = head_size(tokens, at)
    cdef const oisp_token* end = &tokens.at[at + n]
    cdef oisp_turn* t = f.answer
    read_head(e, c, &tokens.at[at], n, &head)
    if t == NULL or (100 <= head.status < 200 and head.status != 101):  # an interim answer: the final one follows
        return n
    if t.flags & OISP_TURN_H2C and head.status == 101 and upgrades_to_http2(&head):  # the answer follows in HTTP/2
        return n
    t.flags &= ~OISP_TURN_H2C
    if head.status == 101 and t.flags & OISP_TURN_UPGRADE and open_socket(e, f, &head):
        return n
    f.resume = head.status != 101
    if t.method.size == 4 and memcmp(t.method.data, b"HEAD", 4) == 0:
        http1_no_body(&side.http)
    elif t.flags & OISP_TURN_CONNECT and 200 <= head.status < 300:
        http1_tunnel(&side.http)
        f.tunnel = 1
        f.resume = 0
    turn_response_head(&e.shared, t, &head, end.number if end.flags == OISP_BODY_LENGTH else UINT64_MAX, ts)
    warn(t, &tokens.at[at], n, True)
    doubt(side, &t.answered)
    return n


cdef bint take_responses(engine_core* e, oisp_conn* c, oisp_side* side, const oisp_tokens* tokens, uint64_t ts) noexcept nogil:
    """False: the connection was dismissed."""
    cdef uint32_t i = 0
    cdef oisp_flow* f = c.flow
    cdef const oisp_token* k
    while i < tokens.count:
        k = &tokens.at[i]
        if k.kind == OISP_TOKEN_RESPONSE:
            i += begin_response(e, c, side, tokens, i, ts)
        elif k.kind == OISP_TOKEN_UPGRADE:
            if not upgrade_http2(e, c) and not enter_tunnel(e, c):
                dismiss(e, c, OISP_DISMISSED_TUNNEL)
            return False
        elif f.answer != NULL and f.answer.flags & OISP_TURN_RESPONSE_HEAD:
            if k.kind == OISP_TOKEN_DATA:
                turn_response_data(&e.shared, f.answer, k.data, k.size, ts)
            elif k.kind == OISP_TOKEN_GAP:
                turn_response_gap(&e.shared, f.answer, k.number)
            elif k.kind == OISP_TOKEN_WARNING:
                turn_warning(f.answer, k.number, True)
            elif k.kind == OISP_TOKEN_END:
                end_answer(e, f, ts, k.flags)
        i += 1
    return True


# --- one direction ---


cdef bint keep_piece(engine_core* e, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size, uint64_t gap) noexcept nogil:
    cdef oisp_piece piece
    memset(&piece, 0, sizeof(piece))
    piece.ts = ts
    piece.gap = gap
    piece.size = <uint32_t> size
    if not oisp_buffer_append(&side.held, &piece, sizeof(piece)):
        return False
    if not oisp_buffer_append(&side.held, data, size):
        side.held.size -= sizeof(piece)
        return False
    e.shared.held += sizeof(piece) + size
    return True


cdef void lose_framing(engine_core* e, oisp_conn* c, int direction, uint64_t lost, uint64_t ts) noexcept nogil:
    """What comes next in this direction may begin anywhere. `lost`: bytes of a hole that are in no message."""
    cdef oisp_flow* f = c.flow
    cdef oisp_side* side = &f.side[direction]
    cdef oisp_turn* t
    http1_reset(&side.http)
    side.state = OISP_SIDE_RESYNC
    e.shared.count.resyncs += 1
    if c.origin.no_offsets:
        c.origin.no_offsets = COUNTS_DISAGREE
    if direction == c.requests:
        if f.receiving:
            turn_request_end(&e.shared, f.last, f.last.request_last, OISP_END_CUT)
            f.receiving = 0
        t = turn_new(&e.shared, &c.origin)
        if t != NULL:
            t.flags |= OISP_TURN_HOLE | OISP_TURN_REQUEST_DONE
            t.request_first = ts
            push_turn(f, t)
    elif f.answer != NULL:
        end_answer(e, f, f.answer.response_last, OISP_END_CUT)
        f.ambiguous = 1
    else:
        if f.first != NULL:  # a hole between messages hides at least one head
            f.owed += 1
            f.owed_bytes += lost
        f.ambiguous = 1
        settle(e, f, ts)


cdef void settle(engine_core* e, oisp_flow* f, uint64_t ts) noexcept nogil:
    """Answers that are known to be lost belong to the oldest requests. Where requests were lost before those, nobody knows
    whose answers are gone: none of the requests that are open can be paired any more."""
    cdef bint unknown = False
    while f.owed and is_ready(f.first):
        unknown = unknown or f.first.flags & OISP_TURN_HOLE
        if not f.first.flags & OISP_TURN_HOLE:
            turn_response_gap(&e.shared, f.first, f.owed_bytes)
            f.owed_bytes = 0
            f.owed -= not unknown
        drop_first(e, f, ts, OISP_END_CUT)
    if unknown:
        f.owed = 0


cdef void read_requests(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_tokens tokens
    cdef oisp_status status
    cdef size_t used = 0
    tokens.at = e.tokens
    tokens.capacity = e.tokens_capacity
    if breaks(c, side, ts, data, size):
        lose(e, c, side, ts, data, size, True)
        return
    while True:
        tokens.count = 0
        status = http1_feed(&side.http, data, size, &tokens, &used)
        if not take_requests(e, c, &tokens, ts):
            return
        data += used
        size -= used
        if status != OISP_OK:
            break
        if size == 0 and tokens.count == 0:
            return
        if side.state == OISP_SIDE_CLOSED:
            return
        if c.flow.receiving and c.flow.last.flags & (OISP_TURN_CONNECT | OISP_TURN_H2C | OISP_TURN_UPGRADE) and \
                c.flow.last.request_length == 0:
            await_answer(e, c, side, ts, data, size)
            return
    if status != OISP_MORE:
        lose(e, c, side, ts, data, size, False)


cdef int side_index(oisp_conn* c, oisp_side* side) noexcept nogil:
    return 0 if side == &c.flow.side[0] else 1


cdef inline size_t read_chunks(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """The steady state of a stream: chunks that lie whole in the input. Answers how many bytes they have."""
    cdef oisp_turn* t = c.flow.answer
    cdef size_t at = 0, used, start, length
    if t == NULL or not t.flags & OISP_TURN_RESPONSE_HEAD:
        return 0
    while at < size:
        used = oisp_http1_chunk(&side.http, data + at, size - at, &start, &length)
        if used == 0:
            break
        turn_response_data(&e.shared, t, data + at + start, length, ts)
        at += used
    return at


cdef size_t read_responses(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size,
                           int forced) noexcept nogil:
    """Answers how much of it has to wait for a request. The connection may be dismissed on return."""
    cdef oisp_tokens tokens
    cdef oisp_status status = OISP_OK
    cdef oisp_flow* f = c.flow
    cdef size_t used = 0, end
    tokens.at = e.tokens
    tokens.capacity = e.tokens_capacity
    if breaks(c, side, ts, data, size):
        lose(e, c, side, ts, data, size, True)
        return 0
    while True:
        used = read_chunks(e, c, side, ts, data, size)
        if used and used == size:
            return 0
        data += used
        size -= used
        if f.answer == NULL:
            if size == 0:
                return 0
            if not pair(e, c, ts, forced):
                return size
        tokens.count = 0
        end = oisp_http1_chunk_rest(&side.http, size)  # after a chunk that was cut, read_chunks goes on
        status = http1_feed(&side.http, data, end, &tokens, &used)
        if not take_responses(e, c, side, &tokens, ts):
            if c.flow != NULL:  # another protocol from here on
                follow(e, c, side_index(c, side), ts, data + used, size - used)
            return 0
        data += used
        size -= used
        if f.session != NULL:
            begin_socket(e, c)
            if c.flow != NULL:
                follow(e, c, side_index(c, side), ts, data, size)
            return 0
        if status == OISP_MORE and size:
            continue
        if status != OISP_OK:
            break
        if size == 0 and tokens.count == 0:
            if f.answer != NULL and http1_idle(&side.http) and not f.answer.flags & OISP_TURN_RESPONSE_HEAD:
                unpair(e, f)
            return 0
    if status != OISP_MORE:
        lose(e, c, side, ts, data, size, False)
    return 0


cdef void unpair(engine_core* e, oisp_flow* f) noexcept nogil:
    """Only an interim answer (or blank lines) was read: the pair is made again when the final one begins."""
    if f.answered_dead:
        turn_free(&e.shared, f.answer)
        f.answered_dead = 0
    f.answer = NULL


cdef void take_held(engine_core* e, oisp_conn* c, int forced) noexcept nogil:
    """Read the responses that waited, as far as they have a request now."""
    cdef oisp_side* side
    cdef oisp_piece piece
    cdef oisp_buffer held
    cdef uint32_t at = 0
    if c.flow == NULL or c.requests == REQUESTS_UNKNOWN:
        return
    side = &c.flow.side[1 - c.requests]
    if side.held.size == 0 or side.state != OISP_SIDE_HTTP1:
        return
    memcpy(&piece, side.held.data, sizeof(piece))
    if piece.gap == 0 and c.flow.answer == NULL and not pair(e, c, piece.ts, forced):
        return
    held = side.held
    memset(&side.held, 0, sizeof(held))
    e.shared.held -= held.size
    while c.flow != NULL and at < held.size:
        memcpy(&piece, held.data + at, sizeof(piece))
        at += sizeof(piece)
        take_waiting(e, c, side, &piece, held.data + at, forced)
        at += piece.size
    oisp_buffer_free(&held)
    resume_requests(e, c)


cdef void take_waiting(engine_core* e, oisp_conn* c, oisp_side* side, const oisp_piece* piece, const uint8_t* data, int forced) noexcept nogil:
    cdef size_t rest
    if side.held.size:  # one before it still has to wait
        keep_piece(e, side, piece.ts, data, piece.size, piece.gap)
    elif piece.gap:
        gap_in_side(e, c, side, 1 - c.requests, piece.gap, piece.ts)
    elif side.state == OISP_SIDE_RESYNC:
        resync(e, c, side, piece.ts, data, piece.size, True)
    elif side.state != OISP_SIDE_HTTP1:
        follow(e, c, 1 - c.requests, piece.ts, data, piece.size)
    else:
        rest = read_responses(e, c, side, piece.ts, data, piece.size, forced)
        if rest and c.flow != NULL:
            keep_piece(e, side, piece.ts, data + piece.size - rest, rest, 0)


cdef void feed_responses(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    cdef size_t rest = size
    if side.held.size == 0:
        rest = read_responses(e, c, side, ts, data, size, NOT_FORCED)
    if rest == 0 or c.flow == NULL:
        return
    if side.held.size + rest > HELD_MAX or not keep_piece(e, side, ts, data + size - rest, rest, 0):
        e.shared.count.limits += 1
        take_held(e, c, BY_LIMIT)
        if c.flow != NULL and side.state == OISP_SIDE_HTTP1:
            read_responses(e, c, side, ts, data + size - rest, rest, BY_LIMIT)


cdef bint spoke_nothing(const oisp_flow* f) noexcept nogil:
    """No message of HTTP/1 was seen, only holes: it may be another protocol."""
    return f.answer == NULL and not f.exchanged and (f.first == NULL or (f.first == f.last and f.first.flags & OISP_TURN_HOLE))


# --- what follows an upgrade ---


cdef inline bint is_other(const oisp_side* side) noexcept nogil:
    return side.state == OISP_SIDE_HTTP2 or side.state == OISP_SIDE_SOCKET


cdef void follow(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """Bytes of a direction that is not HTTP/1 any more. The connection may be dismissed on return."""
    cdef oisp_side* side = &c.flow.side[direction]
    if size == 0:
        return
    if side.state == OISP_SIDE_HTTP2:
        feed_http2(e, c, direction, ts, data, size)
    elif side.state == OISP_SIDE_SOCKET:
        feed_socket(e, c, direction, ts, data, size)
    elif side.state == OISP_SIDE_NEW:
        first_bytes(e, c, direction, ts, data, size)


cdef void await_answer(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """The request asked for another protocol: what follows it waits for the answer."""
    cdef oisp_tokens tokens
    cdef size_t used = 0
    tokens.at = e.tokens
    tokens.capacity = e.tokens_capacity
    tokens.count = 0
    http1_feed(&side.http, data, 0, &tokens, &used)
    take_requests(e, c, &tokens, ts)
    side.state = OISP_SIDE_WAIT
    if size:
        wait_bytes(e, c, side, ts, data, size)


cdef void wait_bytes(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    if side.held.size + size > HELD_MAX or not keep_piece(e, side, ts, data, size, 0):
        e.shared.count.limits += 1
        dismiss(e, c, OISP_DISMISSED_LIMIT)


cdef void release_waiting(engine_core* e, oisp_conn* c) noexcept nogil:
    """What the client sent before the answer was seen, in the protocol that the answer chose."""
    cdef oisp_side* side = &c.flow.side[c.requests]
    cdef oisp_buffer held = side.held
    cdef oisp_piece piece
    cdef uint32_t at = 0
    memset(&side.held, 0, sizeof(held))
    e.shared.held -= held.size
    while c.flow != NULL and at < held.size:
        memcpy(&piece, held.data + at, sizeof(piece))
        at += sizeof(piece)
        if piece.gap:
            gap_in_side(e, c, side, c.requests, piece.gap, piece.ts)
        elif side.state == OISP_SIDE_HTTP1:
            read_requests(e, c, side, piece.ts, held.data + at, piece.size)
        elif side.state == OISP_SIDE_WAIT:  # one of them asks for an upgrade again
            wait_bytes(e, c, side, piece.ts, held.data + at, piece.size)
        else:
            follow(e, c, c.requests, piece.ts, held.data + at, piece.size)
        at += piece.size
    oisp_buffer_free(&held)


cdef void resume_requests(engine_core* e, oisp_conn* c) noexcept nogil:
    """The answer stays with HTTP/1."""
    cdef oisp_side* side
    if c.flow == NULL or not c.flow.resume:
        return
    c.flow.resume = 0
    side = &c.flow.side[c.requests]
    if side.state == OISP_SIDE_WAIT:
        side.state = OISP_SIDE_HTTP1
        release_waiting(e, c)
        if c.flow != NULL:
            take_held(e, c, NOT_FORCED)


cdef bint open_socket(engine_core* e, oisp_flow* f, const oisp_head* head) noexcept nogil:
    """101 to a request that asked for a WebSocket: its exchange leaves the list and becomes the session's."""
    cdef oisp_turn* t = f.answer
    if t != f.first or f.session != NULL:
        return False
    f.session = session_open(&e.shared, t, head)
    if f.session == NULL:
        return False
    shift_turn(f)
    f.answer = NULL
    return True


cdef void begin_socket(engine_core* e, oisp_conn* c) noexcept nogil:
    cdef int k
    for k in range(2):
        http1_free(&c.flow.side[k].http)
        if c.flow.side[k].state != OISP_SIDE_CLOSED:
            c.flow.side[k].state = OISP_SIDE_SOCKET
    release_waiting(e, c)


cdef void feed_socket(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    if c.flow.session != NULL and not session_data(&e.shared, c.flow.session, direction != c.requests, data, size, ts):
        session_close(&e.shared, c.flow.session, 0)
        c.flow.session = NULL


cdef bint enter_tunnel(engine_core* e, oisp_conn* c) noexcept nogil:
    """2xx to CONNECT: what follows is another connection, to the same eyes. TLS in it is dismissed."""
    cdef oisp_flow* f = c.flow
    cdef oisp_side* side
    cdef int k
    if f.tunnel != 1:
        return False
    f.tunnel = 2
    for k in range(2):
        side = &f.side[k]
        http1_free(&side.http)
        http1_init(&side.http, side.role, e.shared.limits.head_bytes, e.shared.limits.head_fields)
        side.state = OISP_SIDE_NEW
    release_waiting(e, c)
    return True


cdef void resync(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size, bint begins) noexcept nogil:
    """Looks for a boundary; begins: this is the beginning of a segment."""
    cdef int64_t found
    cdef uint64_t passed
    cdef bint waited = side.lost != NULL and side.lost.bytes.size > 0
    if begins and not waited and spoke_nothing(c.flow) and is_http2(sniff(data, size)) \
            and begin_http2(e, c, side_index(c, side), data, size, OISP_SNIFF_HTTP2_FRAMES):
        c.origin.midway = 1
        join_http2(e, c, side_index(c, side), size, False)
        feed_http2(e, c, side_index(c, side), ts, data, size)
        return
    if side.lost == NULL:
        side.lost = resync_new()
        if side.lost == NULL:
            return
    e.shared.held -= side.lost.bytes.size
    passed = side.lost.passed
    found = resync_take(side.lost, side.role, &e.shared.limits, data, size, ts, begins)
    e.shared.held += side.lost.bytes.size
    passed = side.lost.passed - passed
    e.shared.count.resync_bytes += passed
    c.skipped += <uint32_t> passed
    if found >= 0:
        begin_again(e, c, side, <uint32_t> found)
    elif c.skipped > RESYNC_MAX and c.flow.first == NULL and c.flow.answer == NULL:
        dismiss(e, c, OISP_DISMISSED_PROTOCOL)


cdef void begin_again(engine_core* e, oisp_conn* c, oisp_side* side, uint32_t at) noexcept nogil:
    """A message begins at `at` of the bytes that were kept: they are read, each piece with the time it came at."""
    cdef oisp_resync* lost = side.lost
    cdef const oisp_resync_mark* marks = <const oisp_resync_mark*> lost.marks.data
    cdef uint32_t count = lost.marks.size // sizeof(oisp_resync_mark)
    cdef uint32_t i, begin, end
    side.lost = NULL
    e.shared.held -= lost.bytes.size
    e.shared.count.resync_bytes += at
    side.state = OISP_SIDE_HTTP1
    side.http.offset = side.offset - (lost.bytes.size - at)
    for i in range(count):
        end = marks[i + 1].at if i + 1 < count else lost.bytes.size
        begin = marks[i].at if marks[i].at > at else at
        if begin < end and c.flow != NULL:
            take_in_turn(e, c, side, marks[i].ts, lost.bytes.data + begin, end - begin)
    resync_free(lost)


cdef void take_in_turn(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """Bytes that are in no other hand, by what their direction is now."""
    cdef int direction = side_index(c, side)
    if side.state == OISP_SIDE_RESYNC:
        resync(e, c, side, ts, data, size, True)
    elif side.state == OISP_SIDE_WAIT:
        wait_bytes(e, c, side, ts, data, size)
    elif side.state != OISP_SIDE_HTTP1:
        follow(e, c, direction, ts, data, size)
    elif side.role == OISP_TOKEN_REQUEST:
        read_requests(e, c, side, ts, data, size)
        if c.flow != NULL and c.flow.side[1 - direction].held.size:
            take_held(e, c, NOT_FORCED)
    else:
        feed_responses(e, c, side, ts, data, size)
        resume_requests(e, c)


cdef bint breaks(oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """Without offsets nobody says that bytes are missing. But a segment that begins with a whole head is no piece of a body
    that goes on by count, nor of a head; and neither is one that may begin with a head, when its time has come: a response
    when a later request was sent, a request when the one before it is being answered."""
    cdef oisp_flow* f = c.flow
    cdef const oisp_turn* later
    if not c.origin.no_offsets or size < 7 or http1_idle(&side.http):
        return False
    if side.role == OISP_TOKEN_RESPONSE:
        if f.answer == NULL or memcmp(data, b"HTTP/1.", 7) != 0:
            return False
        later = f.first if f.answered_dead else f.answer.next
        return begins_head(side, data, size, later != NULL and later.request_first <= ts)
    if not f.receiving or not 65 <= data[0] <= 90 or f.side[1 - c.requests].held.size == 0:
        return False
    return begins_head(side, data, size, True)


cdef inline bint begins_head(const oisp_side* side, const uint8_t* data, size_t size, bint due) noexcept nogil:
    """A whole head, or the start of one where one is due."""
    cdef oisp_status status = http1_probe(side.role, data, size)
    return status == OISP_OK or (due and status == OISP_MORE)


cdef void lose(engine_core* e, oisp_conn* c, oisp_side* side, uint64_t ts, const uint8_t* data, size_t size, bint begins) noexcept nogil:
    """Framing is lost where `data` begins, which may hold the next boundary."""
    e.shared.count.bad += 1
    lose_framing(e, c, side_index(c, side), 0, ts)
    if size and c.flow != NULL:
        resync(e, c, side, ts, data, size, begins)


cdef void drop_held(engine_core* e, oisp_side* side) noexcept nogil:
    e.shared.held -= side.held.size
    oisp_buffer_free(&side.held)
    if side.lost != NULL:
        e.shared.held -= side.lost.bytes.size
        e.shared.count.resync_bytes += side.lost.bytes.size
        resync_free(side.lost)
        side.lost = NULL


cdef void first_bytes(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """What protocol is it, and who asks? Bytes wait here until that is known (raw in `held`, without piece heads)."""
    cdef oisp_side* side = &c.flow.side[direction]
    cdef oisp_buffer held
    cdef int answer
    cdef bint alone = side.held.size == 0
    if not alone:
        if not oisp_buffer_append(&side.held, data, size):
            return
        e.shared.held += size
        data, size = side.held.data, side.held.size
    answer = sniff(data, size)
    if answer == OISP_SNIFF_MORE and size < SNIFF_MAX:
        if alone and oisp_buffer_append(&side.held, data, size):
            e.shared.held += size
        return
    held = side.held
    memset(&side.held, 0, sizeof(held))
    e.shared.held -= held.size
    decided(e, c, direction, ts, data, size, answer)
    oisp_buffer_free(&held)


# --- HTTP/2: its bytes go to streams.pyx ---


cdef inline bint is_http2(int answer) noexcept nogil:
    return answer == OISP_SNIFF_HTTP2_PREFACE or answer == OISP_SNIFF_HTTP2_SETTINGS or answer == OISP_SNIFF_HTTP2_FRAMES


cdef bint begin_http2(engine_core* e, oisp_conn* c, int direction, const uint8_t* data, size_t size, int answer) noexcept nogil:
    """False: which side this is cannot be told yet (or there is no memory)."""
    cdef int role
    if c.requests == REQUESTS_UNKNOWN:
        role = http2_role(data, size)
        if answer == OISP_SNIFF_HTTP2_PREFACE or role == OISP_TOKEN_REQUEST:
            set_roles(e, c, direction)
        elif role == OISP_TOKEN_RESPONSE or (answer == OISP_SNIFF_HTTP2_SETTINGS and not c.origin.midway):
            set_roles(e, c, 1 - direction)
        else:
            return False
    c.flow.streams = streams_new(&e.shared, &c.origin, &e.work, e.tokens, e.tokens_capacity, e.fields)
    return c.flow.streams != NULL


cdef void join_http2(engine_core* e, oisp_conn* c, int direction, size_t held, bint start) noexcept nogil:
    """This direction is read as HTTP/2, from its beginning where that is here: `held` bytes of it came, and are still to be
    read. start: they are known to be the first."""
    cdef oisp_side* side = &c.flow.side[direction]
    side.state = OISP_SIDE_HTTP2
    if not start and (c.origin.midway or side.offset != held):
        streams_join(c.flow.streams, direction != c.requests)
    c.flow.streams.side[direction != c.requests].offset = side.offset - held


cdef void feed_http2(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """The connection may be dismissed on return."""
    streams_feed(c.flow.streams, direction != c.requests, ts, data, size)
    if e.work.size:  # names and values that were Huffman-coded
        oisp_buffer_wipe(&e.work)
    if c.flow.streams.dismissed:
        dismiss(e, c, OISP_DISMISSED_HOST)


cdef void follow_http2(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    """The first bytes of a direction whose other one was found to be HTTP/2; some may be held."""
    cdef oisp_side* side = &c.flow.side[direction]
    cdef oisp_buffer held = side.held
    join_http2(e, c, direction, held.size + size, False)
    memset(&side.held, 0, sizeof(held))
    e.shared.held -= held.size
    if held.size:
        feed_http2(e, c, direction, ts, held.data, held.size)
    oisp_buffer_free(&held)
    if c.flow != NULL:
        feed_http2(e, c, direction, ts, data, size)


cdef bint upgrade_http2(engine_core* e, oisp_conn* c) noexcept nogil:
    """101 to a request that asked for h2c: that request is stream 1 from now on."""
    cdef oisp_flow* f = c.flow
    cdef oisp_turn* t = f.answer
    cdef int k
    if t == NULL or t != f.first or not t.flags & OISP_TURN_H2C:
        return False
    f.streams = streams_new(&e.shared, &c.origin, &e.work, e.tokens, e.tokens_capacity, e.fields)
    if f.streams == NULL:
        return False
    shift_turn(f)
    f.answer = NULL
    streams_upgrade(f.streams, t)
    for k in range(2):
        http1_free(&f.side[k].http)
        f.streams.side[k != c.requests].offset = f.side[k].http.offset
        f.side[k].state = OISP_SIDE_HTTP2
    release_waiting(e, c)
    return True


cdef void decided(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size, int answer) noexcept nogil:
    cdef oisp_side* side = &c.flow.side[direction]
    if answer == OISP_SNIFF_HTTP1_REQUEST and c.requests == REQUESTS_UNKNOWN:
        set_roles(e, c, direction)
    elif answer == OISP_SNIFF_HTTP1_RESPONSE and c.requests == REQUESTS_UNKNOWN:
        set_roles(e, c, 1 - direction)
    if c.requests != REQUESTS_UNKNOWN and answer == (OISP_SNIFF_HTTP1_REQUEST if direction == c.requests else OISP_SNIFF_HTTP1_RESPONSE):
        side.state = OISP_SIDE_HTTP1
        if side.role == OISP_TOKEN_REQUEST:
            read_requests(e, c, side, ts, data, size)
            take_held(e, c, NOT_FORCED)
        else:
            feed_responses(e, c, side, ts, data, size)
        return
    if is_http2(answer) and begin_http2(e, c, direction, data, size, answer):
        join_http2(e, c, direction, size, answer == OISP_SNIFF_HTTP2_PREFACE)
        feed_http2(e, c, direction, ts, data, size)
        return
    e.shared.count.resync_bytes += size
    if c.flow.tunnel == 2:
        dismiss(e, c, OISP_DISMISSED_TUNNEL)
    elif not c.origin.midway and side.offset == size and not is_http2(answer):
        dismiss(e, c, OISP_DISMISSED_PROTOCOL)
    elif c.requests != REQUESTS_UNKNOWN:  # the next segment may begin a message
        side.state = OISP_SIDE_RESYNC
        e.shared.count.resyncs += 1


cdef void gap_in_side(engine_core* e, oisp_conn* c, oisp_side* side, int direction, uint64_t size, uint64_t ts) noexcept nogil:
    """A hole where reading stands."""
    cdef oisp_tokens tokens
    cdef oisp_status status
    tokens.at = e.tokens
    tokens.capacity = e.tokens_capacity
    tokens.count = 0
    if side.state == OISP_SIDE_RESYNC or side.state == OISP_SIDE_NEW:
        drop_held(e, side)
    if c.flow.rpc != NULL:
        rpc_gap(&e.shared, c.flow.rpc, direction != c.requests, 0 if size == ANY else size)
        return
    if c.flow.session != NULL:
        if not session_gap(&e.shared, c.flow.session, direction != c.requests, 0 if size == ANY else size, ts):
            session_close(&e.shared, c.flow.session, OISP_END_CUT)
            c.flow.session = NULL
        return
    if c.flow.streams != NULL:
        if side.state != OISP_SIDE_HTTP2:
            join_http2(e, c, direction, 0, False)
        streams_gap(c.flow.streams, direction != c.requests, size, ts)
        return
    if side.state == OISP_SIDE_NEW and c.requests != REQUESTS_UNKNOWN:
        side.state = OISP_SIDE_HTTP1  # its first head was in the hole
    elif side.state == OISP_SIDE_NEW:
        c.origin.midway = 1
    if side.state != OISP_SIDE_HTTP1:
        return
    status = OISP_BAD
    if size != ANY:
        status = http1_gap(&side.http, size, &tokens)
        size = lost_outside(&tokens, size)
    else:
        size = 0
    if direction == c.requests:
        if not take_requests(e, c, &tokens, ts):
            return
    elif not take_responses(e, c, side, &tokens, ts):
        return
    if status != OISP_OK:
        if direction == c.requests and c.flow.receiving:
            turn_request_gap(&e.shared, c.flow.last, size)
            size = 0
        elif direction != c.requests and c.flow.answer != NULL and c.flow.answer.flags & OISP_TURN_RESPONSE_HEAD:
            turn_response_gap(&e.shared, c.flow.answer, size)
            size = 0
        lose_framing(e, c, direction, size, ts)


cdef uint64_t lost_outside(const oisp_tokens* tokens, uint64_t size) noexcept nogil:
    """Bytes of a hole that no GAP token accounts for."""
    cdef uint32_t i
    for i in range(tokens.count):
        if tokens.at[i].kind == OISP_TOKEN_GAP:
            size -= tokens.at[i].number if tokens.at[i].number < size else size
    return size


cdef void hole(engine_core* e, oisp_conn* c, int direction, uint64_t size, uint64_t ts) noexcept nogil:
    """`size` bytes of this direction never came (0: an unknown number)."""
    cdef oisp_side* side
    e.shared.count.lost_bytes += size
    if c.flow == NULL:
        return
    side = &c.flow.side[direction]
    side.offset += size
    if c.requests != REQUESTS_UNKNOWN and direction != c.requests and side.state == OISP_SIDE_HTTP1 and side.held.size:
        keep_piece(e, side, ts, NULL, 0, size if size else ANY)
        return
    gap_in_side(e, c, side, direction, size if size else ANY, ts)
    if direction == c.requests:
        take_held(e, c, NOT_FORCED)


cdef void spare(engine_core* e, oisp_conn* c, int direction, uint64_t size) noexcept nogil:
    """A hole that a verdict made: what the call moved beyond its beginning."""
    e.shared.count.dismissed_bytes += size
    c.spared += size
    if c.flow == NULL:
        return
    e.shared.count.lost_bytes -= size
    e.shared.sparing = 1
    hole(e, c, direction, size, c.ts_last)
    e.shared.sparing = 0


cdef bint is_dull(const oisp_conn* c, int direction) noexcept nogil:
    """In this direction a body of known length goes on that is not AI, and nothing else is under way: its heads have told,
    and the next one is far away."""
    cdef const oisp_flow* f = c.flow
    cdef const oisp_side* side = &f.side[direction]
    cdef const oisp_turn* t = f.last if direction == c.requests else f.answer
    if side.state != OISP_SIDE_HTTP1 or side.http.state != OISP_HTTP1_LENGTH or f.turns != 1 or t == NULL:
        return False
    if f.ambiguous or f.pipelined or f.tunnel or f.streams != NULL or f.session != NULL:
        return False
    if direction == c.requests and not f.receiving:
        return False
    return t.verdict.state == OISP_VERDICT_NONE and side.http.left > (SPARE_UNTIL if c.level else SPARE_FROM)


cdef void weigh(engine_core* e, oisp_conn* c) noexcept nogil:
    """How much of each call is needed from here on."""
    cdef bint level = c.requests != REQUESTS_UNKNOWN and (is_dull(c, 0) or is_dull(c, 1))
    if level != c.level:
        c.level = level
        c.told = 0
        e.verdicts_new += 1


cdef void take_bytes(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size) noexcept nogil:
    cdef oisp_side* side = &c.flow.side[direction]
    side.offset += size
    if c.flow.rpc != NULL:
        rpc_data(&e.shared, c.flow.rpc, &c.origin, direction != c.requests, data, size, ts)
    elif is_other(side):
        follow(e, c, direction, ts, data, size)
    elif side.state == OISP_SIDE_WAIT:
        wait_bytes(e, c, side, ts, data, size)
    elif c.flow.streams != NULL:
        follow_http2(e, c, direction, ts, data, size)
    elif side.state == OISP_SIDE_NEW:
        first_bytes(e, c, direction, ts, data, size)
    elif side.state == OISP_SIDE_HTTP1 or side.state == OISP_SIDE_RESYNC:
        take_in_turn(e, c, side, ts, data, size)


cdef void take_piece(engine_core* e, oisp_conn* c, int direction, uint64_t ts, const uint8_t* data, size_t size,
                     uint64_t offset) noexcept nogil:
    """One run of bytes, at its offset if the producer has offsets."""
    cdef oisp_flow* f
    cdef oisp_side* side
    cdef uint64_t known
    e.shared.count.segments += 1
    e.shared.count.bytes[direction] += size
    if ts > c.ts_last:
        c.ts_last = ts
    if ts > e.now:
        e.now = ts
    use_conn(e, c)
    f = open_flow(e, c)
    if f == NULL:
        c.spared += size
        e.shared.count.dismissed_bytes += size
        return
    if offset != UINT64_MAX:
        c.origin.no_offsets = 0
        if c.joined & 1 << direction:
            c.joined &= ~(1 << direction)
            f.side[direction].offset = offset
        known = f.side[direction].offset
        if offset > known:
            hole(e, c, direction, offset - known, ts)
        elif offset < known:
            known = known - offset if known - offset < size else size
            e.shared.count.repeated_bytes += known
            data += known
            size -= known
    if size and c.flow != NULL:
        side = &f.side[direction]
        if direction == 1 - c.requests and side.state == OISP_SIDE_HTTP1 and side.held.size == 0 and f.answer != NULL and \
                not c.origin.no_offsets:
            known = read_chunks(e, c, side, ts, data, size)  # an answer goes on: nearly always that is all
            side.offset += known
            if known == size:
                return
            data += known
            size -= known
        take_bytes(e, c, direction, ts, data, size)
    elif size:
        c.spared += size
        e.shared.count.dismissed_bytes += size


cdef void flush_sides(engine_core* e, oisp_conn* c, uint64_t ts) noexcept nogil:
    """The connection ended: what waits is read, and the parsers learn of the end."""
    cdef oisp_tokens tokens
    cdef oisp_side* side
    tokens.at = e.tokens
    tokens.capacity = e.tokens_capacity
    if c.requests == REQUESTS_UNKNOWN:
        return
    side = &c.flow.side[c.requests]
    tokens.count = 0
    last_resort(e, c, side)
    if c.flow == NULL:
        return
    if side.state == OISP_SIDE_HTTP1 and http1_finish(&side.http, &tokens) == OISP_OK:
        if not take_requests(e, c, &tokens, c.flow.last.request_last if c.flow.last != NULL else ts):
            return
    take_held(e, c, AT_END)
    if c.flow == NULL:
        return
    side = &c.flow.side[1 - c.requests]
    last_resort(e, c, side)
    take_held(e, c, AT_END)
    if c.flow == NULL:
        return
    tokens.count = 0
    if side.state == OISP_SIDE_HTTP1 and http1_finish(&side.http, &tokens) == OISP_OK:
        take_responses(e, c, side, &tokens, c.flow.answer.response_last if c.flow.answer != NULL else ts)


cdef void last_resort(engine_core* e, oisp_conn* c, oisp_side* side) noexcept nogil:
    """Nothing more comes: fewer messages have to confirm a boundary."""
    cdef int64_t found
    if side.state != OISP_SIDE_RESYNC or side.lost == NULL:
        return
    found = resync_last(side.lost, side.role, &e.shared.limits)
    if found >= 0:
        side.unconfirmed = 1
        begin_again(e, c, side, <uint32_t> found)


# --- records ---


cdef void take_data(engine_core* e, const oisp_record_data* r) noexcept nogil:
    cdef oisp_conn* c
    cdef uint64_t ts = e.clock_base_ns + (r.ts_enter if r.direction == OISP_WRITE else r.ts_return)
    if r.direction > 1 or r.header_size < sizeof(oisp_record_data) or \
            <uint64_t> r.header_size + r.captured > r.head.size:
        e.shared.count.records_unknown += 1
        return
    c = find_conn(e, r.conn)
    if c == NULL:
        c = new_conn(e, r.conn)
    if c == NULL:
        return
    set_origin(c, r.head.flags)
    c.origin.process = r.start_time ^ (<uint64_t> r.pid << 32)
    e.current = c
    take_piece(e, c, r.direction, ts, <const uint8_t*> r + r.header_size, r.captured, r.offset)
    # Of a call that was cut by a verdict there is one record, with its beginning.
    if r.head.flags & OISP_RECORD_SHORT and 0 < r.captured < r.call_size:
        spare(e, c, r.direction, r.call_size - r.captured)
    if c.flow != NULL and (c.level or c.flow.side[r.direction].http.left > SPARE_FROM):
        weigh(e, c)
    e.current = NULL


cdef void set_origin(oisp_conn* c, uint16_t flags) noexcept nogil:
    c.origin.plaintext = (flags & OISP_RECORD_PLAINTEXT) != 0
    if flags & OISP_RECORD_STDIO:
        c.origin.plaintext = OISP_PLAIN_STDIO
        if c.flow == NULL:
            c.requests = OISP_READ if flags & OISP_RECORD_SERVER else OISP_WRITE
    c.origin.content_source = OISP_CONTENT_SOURCE_PLAINTEXT_CAPTURE if c.origin.plaintext else OISP_CONTENT_SOURCE_TLS_BOUNDARY
    c.origin.attribution = OISP_PROCESS_ATTRIBUTION_DIRECT
    if flags & OISP_RECORD_MIDWAY and c.flow == NULL:
        c.origin.midway = 1


cdef void take_close(engine_core* e, const oisp_record_conn* r) noexcept nogil:
    """What the handle moved beyond what came here is a hole at the end."""
    cdef oisp_conn* c = find_conn(e, r.conn)
    cdef int i
    cdef uint64_t ts = e.clock_base_ns + r.ts
    if c == NULL:
        return
    for i in range(2):
        c.counted = 1
        if c.flow != NULL and not c.joined & 1 << i and r.bytes[i] > c.flow.side[i].offset:
            hole(e, c, i, r.bytes[i] - c.flow.side[i].offset, ts)
    end_conn(e, c, ts, 0)


cdef void take_address(engine_core* e, const oisp_record_address* r) noexcept nogil:
    """Comes once between whom is known, and again when more is."""
    cdef oisp_conn* c = make_conn(e, r.conn)
    if c != NULL:
        oisp_peer_take(&c.origin.peer, r)
        e.shared.origins_told += 1
        c.origin.port = r.local_port if c.requests == OISP_READ else r.remote_port


# --- many records at once ---
#
# Among thousands of connections the next record is nearly always of one whose state is in no near cache. While a record is
# taken, the state of those that follow is fetched, one pointer of the chain at a time: slot, connection, flow, exchange.

cdef extern from *:
    """
    static inline void oisp_touch(const void *at, size_t size) {
      for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch((const char *)at + i);
    }
    """
    void oisp_touch(const void* at, size_t size) nogil

cdef extern from "oisp/hash.h" nogil:
    ctypedef struct table "oisp_table":
        uint64_t* keys
        void** values
    uint32_t oisp_table_slot(const table* m, uint64_t key)

cdef enum:
    MANY = 512  # connections; fewer stay in the caches by themselves
    RING = 16
    FAR = 15    # records ahead: the slot in the table
    CONN = 11
    FLOW = 8
    TURN = 5
    WORK = 3
    TEXT = 1


cdef inline bint is_data(const oisp_record* r) noexcept nogil:
    return r.kind == OISP_RECORD_DATA and r.size >= sizeof(oisp_record_data)


cdef inline oisp_conn* conn_of(engine_core* e, const oisp_record* r) noexcept nogil:
    return find_conn(e, (<const oisp_record_data*> r).conn) if is_data(r) else NULL


cdef inline oisp_exchange* exchange_of(engine_core* e, const oisp_record* r) noexcept nogil:
    cdef oisp_conn* c = conn_of(e, r)
    return c.flow.answer.x if c != NULL and c.flow != NULL and c.flow.answer != NULL else NULL


cdef void foresee(engine_core* e, const oisp_record** ring, uint64_t at, uint64_t known) noexcept nogil:
    cdef oisp_conn* c
    cdef oisp_exchange* x
    cdef const table* conns = <const table*> &e.conns
    cdef uint32_t slot
    if at + FAR < known and is_data(ring[(at + FAR) % RING]):
        slot = oisp_table_slot(conns, (<const oisp_record_data*> ring[(at + FAR) % RING]).conn)
        oisp_touch(&conns.keys[slot], 1)
        oisp_touch(&conns.values[slot], 1)
    if at + CONN < known:
        c = conn_of(e, ring[(at + CONN) % RING])
        if c != NULL:
            oisp_touch(c, sizeof(oisp_conn))
    if at + FLOW < known:
        c = conn_of(e, ring[(at + FLOW) % RING])
        if c != NULL:
            oisp_touch(c.flow, sizeof(oisp_flow))
            oisp_touch(c.newer, 64)
            oisp_touch(c.older, 64)
    if at + TURN < known:
        c = conn_of(e, ring[(at + TURN) % RING])
        if c != NULL and c.flow != NULL and c.flow.answer != NULL:
            oisp_touch(c.flow.answer, sizeof(oisp_turn))
    if at + WORK < known:
        x = exchange_of(e, ring[(at + WORK) % RING])
        if x != NULL:
            exchange_fetch(x, 0)
    if at + TEXT < known:
        x = exchange_of(e, ring[(at + TEXT) % RING])
        if x != NULL:
            exchange_fetch(x, 1)


cdef void take_records(engine_core* e, const uint8_t* data, uint64_t at, uint64_t size) noexcept nogil:
    """All of them, which were checked."""
    cdef const oisp_record* ring[RING]
    cdef uint64_t number = 0, known = 0, far = at
    while at < size:
        if e.conns.count >= MANY:
            while far < size and known <= number + FAR:
                ring[known % RING] = <const oisp_record*> (data + far)
                far += ring[known % RING].size
                known += 1
            foresee(e, ring, number, known)
        take_record(e, <const oisp_record*> (data + at))
        at += (<const oisp_record*> (data + at)).size
        number += 1
        if far < at:
            far = at
            known = number


cdef void take_record(engine_core* e, const oisp_record* r) noexcept nogil:
    cdef oisp_conn* c
    e.shared.count.records += 1
    if r.kind == OISP_RECORD_DATA and r.size >= sizeof(oisp_record_data):
        take_data(e, <const oisp_record_data*> r)
    elif r.kind == OISP_RECORD_OPEN and r.size >= sizeof(oisp_record_conn):
        c = make_conn(e, (<const oisp_record_conn*> r).conn)
        if c != NULL:
            set_origin(c, r.flags)
            use_conn(e, c)
            # All ones: said by a reader that goes on where another one ended, not by the kernel.
            if (<const oisp_record_conn*> r).bytes[0] == UINT64_MAX and c.flow == NULL:
                c.joined = 3
    elif r.kind == OISP_RECORD_CLOSE and r.size >= sizeof(oisp_record_conn):
        take_close(e, <const oisp_record_conn*> r)
    elif r.kind == OISP_RECORD_ADDRESS and r.size >= sizeof(oisp_record_address):
        take_address(e, <const oisp_record_address*> r)
    elif r.kind == OISP_RECORD_LOST and r.size >= sizeof(oisp_record_lost):
        e.shared.count.kernel_lost_records += (<const oisp_record_lost*> r).records
        e.shared.count.kernel_lost_bytes += (<const oisp_record_lost*> r).bytes[0] + (<const oisp_record_lost*> r).bytes[1]
    elif r.kind == OISP_RECORD_CONTEXT and r.size >= sizeof(oisp_record_context):
        take_context(e, <const oisp_record_context*> r)
    elif r.kind != OISP_RECORD_PROCESS:
        e.shared.count.records_unknown += 1


cdef void take_context(engine_core* e, const oisp_record_context* r) noexcept nogil:
    """Of a recording: written by the sensor, checked all the same (Engine.feed_packed says what is wrong with it)."""
    cdef oisp_conn* c
    cdef const uint8_t* members = <const uint8_t*> r + sizeof(oisp_record_context)
    cdef int has_source
    if sizeof(oisp_record_context) + <uint64_t> r.member_size > r.head.size:
        e.shared.count.records_unknown += 1
        return
    has_source = writer_context(members, r.member_size)
    if has_source < 0:
        e.shared.count.records_unknown += 1
        return
    c = make_conn(e, r.conn)
    if c != NULL:
        put_context(e, c, members, r.member_size, has_source)


cdef bint put_context(engine_core* e, oisp_conn* c, const uint8_t* data, uint32_t size, int has_source) noexcept nogil:
    e.shared.origins_told += 1
    c.origin.context.size = 0
    if not oisp_buffer_append(&c.origin.context, data, size):
        return False
    c.origin.context_has_source = <uint8_t> has_source
    return True


# --- time ---


cdef void advance_core(engine_core* e, uint64_t now) noexcept nogil:
    """Responses whose request never showed up are not waited for any longer."""
    cdef oisp_conn* c = e.newest
    cdef oisp_conn* after
    if now > e.now:
        e.now = now
    while c != NULL:
        after = c.older
        if c.flow != NULL and c.flow.streams != NULL and e.now > <uint64_t> WAIT_SECONDS * SECOND:
            streams_advance(c.flow.streams, e.now - <uint64_t> WAIT_SECONDS * SECOND)
        if c.flow != NULL and c.requests != REQUESTS_UNKNOWN and c.ts_last + <uint64_t> WAIT_SECONDS * SECOND < e.now \
                and c.flow.side[1 - c.requests].held.size and not c.flow.receiving:
            take_held(e, c, BY_LIMIT)
        c = after


# --- the core as a whole ---


cdef bint core_is_full(engine_core* e) noexcept nogil:
    return e.shared.writer.out.size >= e.shared.writer.out_max


cdef void core_free(engine_core* e) noexcept nogil:
    """Also of a core that was never, or only half, set up."""
    while e.newest != NULL:
        drop_conn(e, e.newest)
    oisp_table_free(&e.conns)
    shared_free(&e.shared)
    e.work.size = e.work.capacity  # so that all of it is wiped
    oisp_buffer_free(&e.work)
    writer_free(&e.shared.writer)
    free(e.tokens)
    free(e.fields)
