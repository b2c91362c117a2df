# SPDX-License-Identifier: Apache-2.0
"""One exchange in flight: the request's head is matched, its body decoded, its event written; then the same of the response.

This is the border `oisp_message` of the design: what comes in is already framed (head, body pieces, holes, end), whoever
framed it; what goes out are lines in the writer. It knows no connection, no protocol, no clock, and holds no lock.

An exchange may be AI (decoded as it comes), undecided (held, bounded, until its body or the response's head decides) or not
(its bytes are counted by the caller and dropped here). Emission is in causal order: results of earlier calls, the request,
then chunks, the response, and the calls that it asks for.
"""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset, strlen

from oisp_core.decode.decoder cimport (
    OISP_FRAMING_EVENTSTREAM, OISP_FRAMING_GRPC, OISP_FRAMING_JSON_ARRAY, OISP_FRAMING_NDJSON, OISP_FRAMING_NONE, OISP_FRAMING_SSE,
    decode_event, decode_finish, decode_fitting, decode_known, decode_request, decode_response, dialect_framing, exchange_error,
    exchange_error_message, exchange_free, exchange_new, exchange_path_model, exchange_reset, exchange_target, oisp_dialects,
)
from oisp_core.emit cimport emit_answer, emit_chunk, emit_request
from oisp_core.form cimport form_feed, form_finish, form_free, form_gap, form_new
from oisp_core.inflate cimport find_codings, give_inflater, inflate_message, inflate_parked, park
from oisp_core.links cimport links_free, links_init
from oisp_core.match.rules cimport match_request, match_request_body, match_response, oisp_rules
from oisp_core.reader cimport oisp_reader, reader_feed, reader_finish, reader_free, reader_gap, reader_init, reader_skip
from oisp_core.reassemble.eventstream cimport eventstream_whole, oisp_eventstream
from oisp_core.reassemble.ndjson cimport OISP_NDJSON_VALUE, oisp_ndjson, oisp_ndjson_begin, oisp_ndjson_between, oisp_ndjson_took
from oisp_core.reassemble.sse cimport oisp_sse, oisp_sse_between
from oisp_core.reasons cimport (
    MISSING_CONTENT, MISSING_HEADERS, MISSING_MESSAGES, MISSING_REQUEST, MISSING_RESPONSE, OISP_COMPLETENESS_PARTIAL,
    REASON_ENCODING, REASON_ERROR_IN_STREAM, REASON_HEADERS_LOST, REASON_IN_FLIGHT, REASON_LENIENT, REASON_LIMIT, REASON_REQUEST_LOST,
    REASON_REQUEST_TRUNCATED, REASON_RESPONSE_LOST, REASON_RESPONSE_TRUNCATED, REASON_RESPONSE_UNREADABLE,
    REASON_SMUGGLING, REASON_UNPAIRED_REQUEST, REASON_UNPAIRED_RESPONSE, REASON_UNTERMINATED,
)
from oisp_core.turn cimport (
    OISP_END_CUT, OISP_END_FLIGHT, OISP_TURN_ORPHAN, OISP_TURN_REQUEST_CODED, OISP_TURN_REQUEST_DECODED,
    OISP_TURN_REQUEST_DONE, OISP_TURN_REQUEST_HEAD, OISP_TURN_RESPONSE_CODED, OISP_TURN_RESPONSE_DECODED,
    OISP_TURN_RESPONSE_DONE, OISP_TURN_RESPONSE_HEAD, OISP_TURN_STREAM, OISP_TURN_STREAM_LOST, OISP_TURN_UPGRADE,
    head_field, oisp_origin, oisp_parked, oisp_shared, oisp_turn,
)
from oisp_core.types cimport (
    OISP_EVIDENCE_MODEL, OISP_LIMIT, OISP_MORE, OISP_OK, OISP_TOKEN_EVENT, OISP_TOKEN_GAP, OISP_VERDICT_AI,
    OISP_VERDICT_NONE, OISP_VERDICT_UNDECIDED, OISP_WARNING_CONFLICTING_LENGTH, OISP_X_ERROR, OISP_X_RESPONSE_CUT,
    OISP_X_STREAM_ASKED, OISP_X_STREAM_NOT_ASKED, OISP_X_TERMINAL, oisp_buffer, oisp_buffer_append, oisp_buffer_free,
    oisp_buffer_reserve, oisp_buffer_wipe, oisp_confidence, oisp_head, oisp_slice, oisp_status, oisp_token,
    oisp_tokens, oisp_verdict, oisp_find_asker,
)

cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_percent_decode(uint8_t* out, size_t room, const uint8_t* source, size_t size)

cdef enum:
    LOOK_BYTES = 4096     # of an undecided request's body shown to the matcher: body keys of every dialect stand there
    FRAMING_BYTES = 1024  # a body without a content type that tells its framing: how much of it is looked at
    EVENT_TOKENS = 64
    COMPRESSED = 0x10         # flags of a message of gRPC
    TRAILERS = 0x80
    PARKED_MAX = 256 << 10    # coded bytes that wait at most
    POOL = 16
    ARENA_KEPT = 1 << 20  # a larger arena is given back instead of kept for the next exchange
    BODY_KEPT = 1 << 19   # a larger body is not kept until its exchange is done


# --- what the engine shares among its exchanges ---


cdef int shared_init(oisp_shared* s) noexcept nogil:
    return links_init(&s.calls, s.limits.linked_calls) and links_init(&s.results, s.limits.linked_calls) \
        and links_init(&s.threads, s.limits.linked_calls)


cdef void shared_free(oisp_shared* s) noexcept nogil:
    cdef oisp_turn* t
    oisp_buffer_free(&s.parked)
    while s.turns != NULL:
        t = s.turns
        s.turns = t.next
        oisp_buffer_free(&t.strings)
        oisp_buffer_free(&t.requests)
        oisp_buffer_free(&t.responses)
        oisp_buffer_free(&t.type)
        oisp_buffer_free(&t.coded)
        oisp_buffer_free(&t.chunk)
        free(t)
    while s.exchanges_free:
        s.exchanges_free -= 1
        exchange_free(s.exchanges[s.exchanges_free])
    links_free(&s.calls)
    links_free(&s.results)
    links_free(&s.threads)
    oisp_buffer_free(&s.inflated)


cdef bint take_exchange(oisp_shared* s, oisp_turn* t) noexcept nogil:
    if t.x == NULL:
        if s.exchanges_free:
            s.exchanges_free -= 1
            t.x = s.exchanges[s.exchanges_free]
        else:
            t.x = exchange_new(&s.limits)
    if t.x == NULL:
        return False
    t.x.dialect = t.verdict.dialect
    return True


cdef void give_exchange(oisp_shared* s, oisp_turn* t) noexcept nogil:
    if t.x == NULL:
        return
    exchange_reset(t.x)
    if s.exchanges_free < POOL and t.x.arena.capacity <= ARENA_KEPT:
        s.exchanges[s.exchanges_free] = t.x
        s.exchanges_free += 1
    else:
        exchange_free(t.x)
    t.x = NULL


cdef void drop_body(oisp_shared* s, oisp_buffer* b) noexcept nogil:
    s.held -= b.size
    if b.capacity > ARENA_KEPT:
        oisp_buffer_free(b)
    else:
        oisp_buffer_wipe(b)


cdef oisp_turn* turn_new(oisp_shared* s, const oisp_origin* origin) noexcept nogil:
    cdef oisp_turn* t = s.turns
    cdef oisp_buffer strings, requests, responses, kind, coded, chunk
    if t != NULL:
        s.turns = t.next
        strings, requests, responses, kind, coded, chunk = t.strings, t.requests, t.responses, t.type, t.coded, t.chunk
        memset(t, 0, sizeof(oisp_turn))
        t.strings, t.requests, t.responses, t.type, t.coded, t.chunk = strings, requests, responses, kind, coded, chunk
    else:
        t = <oisp_turn*> calloc(1, sizeof(oisp_turn))
        if t == NULL:
            return NULL
    s.turns_open += 1
    t.origin = origin
    t.request_length = t.response_length = <uint64_t> -1
    return t


cdef void turn_free(oisp_shared* s, oisp_turn* t) noexcept nogil:
    if t == NULL:
        return
    s.turns_open -= 1
    if t.parked:
        turn_flush(s)
    form_free(t.form)
    t.form = NULL
    give_exchange(s, t)
    reader_free(&t.reader)
    if t.inflaters[0] != NULL:
        give_inflater(t, 0)
    if t.inflaters[1] != NULL:
        give_inflater(t, 1)
    oisp_buffer_wipe(&t.strings)
    drop_body(s, &t.requests)
    drop_body(s, &t.responses)
    drop_body(s, &t.coded)
    oisp_buffer_wipe(&t.chunk)
    t.next = s.turns
    s.turns = t


# --- the request ---


cdef void keep_slice(oisp_buffer* b, oisp_slice* to, oisp_slice source) noexcept nogil:
    """Room was reserved: the bytes do not move."""
    to.size = source.size
    to.data = b.data + b.size
    oisp_buffer_append(b, source.data, source.size)


cdef bint keep_strings(oisp_shared* s, oisp_turn* t, const oisp_head* head) noexcept nogil:
    cdef oisp_verdict* v = &t.verdict
    cdef int i
    cdef size_t need = head.method.size + head.target.size + head.authority.size + head.sni.size
    cdef oisp_slice session = head_field(head, b"mcp-session-id", 14)
    if session.size > 256:
        session.size = 0
    need += session.size
    need += v.model.size + v.key.size + v.region.size + v.organization.size + v.project.size
    if s.clients != NULL:
        oisp_find_asker(s.clients, head, &t.asker)
    for i in range(3):
        need += t.asker.version[i].size
    for i in range(2):
        need += t.asker.session[i].size
    oisp_buffer_wipe(&t.strings)
    if not oisp_buffer_reserve(&t.strings, need):
        return False
    keep_slice(&t.strings, &t.method, head.method)
    keep_slice(&t.strings, &t.target, head.target)
    keep_slice(&t.strings, &t.authority, head.authority)
    keep_slice(&t.strings, &t.sni, head.sni)
    keep_slice(&t.strings, &t.session, session)
    keep_slice(&t.strings, &v.model, v.model)
    keep_slice(&t.strings, &v.key, v.key)
    keep_slice(&t.strings, &v.region, v.region)
    keep_slice(&t.strings, &v.organization, v.organization)
    keep_slice(&t.strings, &v.project, v.project)
    for i in range(3):
        keep_slice(&t.strings, &t.asker.version[i], t.asker.version[i])
    for i in range(2):
        keep_slice(&t.strings, &t.asker.session[i], t.asker.session[i])
    return True


# --- content codings: the one place that takes the GIL ---


cdef bint may_be_ai(const oisp_turn* t) noexcept nogil:
    return t.verdict.state != OISP_VERDICT_NONE


cdef void turn_request_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    """`length`: of the body if the head says it, else UINT64_MAX."""
    s.count.requests += 1
    t.flags |= OISP_TURN_REQUEST_HEAD
    t.request_first = t.request_last = ts
    t.request_length = length
    if head.partial:
        t.asked.reasons |= REASON_HEADERS_LOST
        t.asked.missing |= MISSING_HEADERS
    match_request(<const oisp_rules*> s.rules, head, &t.verdict)
    if not may_be_ai(t):
        return
    if not find_codings(t, head, 0):
        t.flags |= OISP_TURN_REQUEST_CODED
    elif t.codings_count[0] and not t.by_message[0]:
        t.request_length = <uint64_t> -1
    begin_form(s, t, head_field(head, b"content-type", 12))
    if not keep_strings(s, t, head):
        t.verdict.state = OISP_VERDICT_NONE
        s.count.events_lost += 1
    if is_socket(head_field(head, b"upgrade", 7)):
        t.flags |= OISP_TURN_UPGRADE


cdef void begin_form(oisp_shared* s, oisp_turn* t, oisp_slice type) noexcept nogil:
    cdef uint32_t i
    cdef const char* word = b"multipart/form-data"
    if type.size < 19:
        return
    for i in range(19):
        if type.data[i] | 32 != <uint8_t> word[i] | 32:
            return
    t.form = form_new(type, s.limits.body_bytes)


cdef bint is_socket(oisp_slice value) noexcept nogil:
    cdef uint32_t i
    cdef const char* word = b"websocket"
    if value.size != 9:
        return False
    for i in range(9):
        if value.data[i] | 32 != <uint8_t> word[i]:
            return False
    return True


cdef bint room_for(oisp_shared* s, const oisp_buffer* b, size_t size) noexcept nogil:
    return b.size + size <= s.limits.body_bytes and s.held + size <= s.limits.total_bytes


cdef void hold(oisp_shared* s, oisp_confidence* c, oisp_buffer* b, const uint8_t* data, size_t size, uint64_t length) noexcept nogil:
    """Keep a body piece for decoding, within the bounds; what is beyond is counted and said. `length` of all pieces, where
    it is known."""
    if b.size == 0 and size < length <= BODY_KEPT and length <= 16 * size:  # at once, instead of growing
        oisp_buffer_reserve(b, <size_t> length)
    if c.over_limit == 0 and room_for(s, b, size) and oisp_buffer_append(b, data, size):
        s.held += size
        return
    c.over_limit += size
    c.reasons |= REASON_LIMIT
    s.count.over_limit_bytes += size
    s.count.limits += 1


cdef void tell_model(oisp_turn* t) noexcept nogil:
    """The model that the path names, percent-decoded (RFC 3986 2.1)."""
    cdef uint8_t name[512]
    cdef oisp_slice m = t.verdict.model
    if m.size == 0 or m.size > sizeof(name):
        return
    exchange_path_model(t.x, name, oisp_percent_decode(name, sizeof(name), m.data, m.size))


cdef void tell_target(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """What the path says of the request: its model, whether a stream is asked for."""
    tell_model(t)
    exchange_target(<const oisp_dialects*> s.dialects, t.x, t.target)


cdef bint turn_exchange(oisp_shared* s, oisp_turn* t) noexcept nogil:
    if not take_exchange(s, t):
        return False
    tell_target(s, t)
    return True


cdef bint lend_body(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """The body that was held becomes the beginning of the arena, where its texts stay until the exchange is done: they
    are not copied. A large one is dropped once it is read, since most of it may be no text."""
    cdef oisp_buffer arena = t.x.arena
    if t.form != NULL or t.by_message[0] or arena.size or t.requests.size > BODY_KEPT:
        return False
    s.held -= t.requests.size
    t.x.arena = t.requests
    t.requests = arena
    return True


cdef void read_request(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    """Decode the body once it is there and the exchange is known to be AI."""
    cdef bint lent
    if t.flags & OISP_TURN_REQUEST_DECODED or not take_exchange(s, t):
        return
    lent = data == t.requests.data and size == t.requests.size and lend_body(s, t)
    tell_target(s, t)
    if lent:  # the arena moves when it grows
        data = t.x.arena.data
    t.flags |= OISP_TURN_REQUEST_DECODED
    if t.flags & OISP_TURN_REQUEST_CODED and size == 0 and t.form == NULL:
        t.asked.reasons |= REASON_ENCODING
        t.asked.missing |= MISSING_MESSAGES
        return
    if t.verdict.dialect == 0:  # no dialect reads this: what it asks is not known
        if t.request_seen:
            t.asked.missing |= MISSING_MESSAGES
            t.asked.completeness = OISP_COMPLETENESS_PARTIAL
        return
    if t.form != NULL:
        read_form(s, t, data, size, complete)
    elif t.by_message[0]:
        read_calls(s, t, data, size, complete)
    elif decode_request(<const oisp_dialects*> s.dialects, t.x, data, size, complete) == OISP_LIMIT:
        s.count.limits += 1
    if t.x.model_requested.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL


cdef void read_form(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    """`data`: what was not fed as it came."""
    cdef oisp_slice whole
    form_feed(t.form, data, size)
    whole = form_finish(t.form)
    if t.form.cut and not complete:
        t.asked.completeness = OISP_COMPLETENESS_PARTIAL
    if decode_request(<const oisp_dialects*> s.dialects, t.x, whole.data, whole.size, True) == OISP_LIMIT:
        s.count.limits += 1
    form_free(t.form)
    t.form = NULL


cdef void read_calls(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    """The messages of a gRPC request, each behind its length."""
    cdef oisp_token room[EVENT_TOKENS]
    cdef oisp_tokens tokens
    cdef oisp_reader reader
    cdef oisp_slice whole
    cdef oisp_status status = OISP_OK
    cdef size_t used = 0
    cdef uint32_t i
    memset(&reader, 0, sizeof(reader))
    reader_init(&reader, OISP_FRAMING_GRPC, s.limits.body_bytes)
    tokens.at = room
    tokens.capacity = EVENT_TOKENS
    while status == OISP_OK:
        tokens.count = 0
        status = reader_feed(&reader, data, size, &tokens, &used)
        for i in range(tokens.count):
            if room[i].kind == OISP_TOKEN_EVENT and open_message(s, t, 0, &room[i], &whole):
                decode_request(<const oisp_dialects*> s.dialects, t.x, whole.data, whole.size, complete)
                oisp_buffer_wipe(&s.inflated)
        data += used
        size -= used
        if size == 0 and tokens.count == 0:
            break
    reader_free(&reader)


cdef bint open_message(oisp_shared* s, oisp_turn* t, int side, const oisp_token* token, oisp_slice* whole) noexcept nogil:
    """A message of gRPC, uncompressed: it may lie in s.inflated. False: it cannot be read, and that is said."""
    cdef oisp_status status
    cdef oisp_confidence* c = &t.answered if side else &t.asked
    whole.data, whole.size = token.data, token.size
    if not token.flags & COMPRESSED:
        return not token.flags & TRAILERS
    status = inflate_message(s, t, side, token.data, token.size)
    if status == OISP_OK or status == OISP_MORE:
        whole.data, whole.size = s.inflated.data, s.inflated.size
        return True
    c.reasons |= REASON_LIMIT if status == OISP_LIMIT else REASON_ENCODING
    c.completeness = OISP_COMPLETENESS_PARTIAL
    oisp_buffer_wipe(&s.inflated)
    return False


cdef bint decide_by_body(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size) noexcept nogil:
    if t.verdict.state == OISP_VERDICT_UNDECIDED and (size or not t.flags & OISP_TURN_REQUEST_CODED):
        match_request_body(<const oisp_rules*> s.rules, data, size if size < LOOK_BYTES else LOOK_BYTES, &t.verdict)
    return t.verdict.state == OISP_VERDICT_AI


cdef void turn_request_data(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    t.request_last = ts
    t.request_seen += size
    if not may_be_ai(t) or t.flags & OISP_TURN_REQUEST_CODED:
        return
    if t.codings_count[0] and not t.by_message[0]:
        request_coded(s, t, data, size, ts)
    else:
        request_body(s, t, data, size)


cdef void request_coded(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """Of an undecided request, only the first bytes are undone until it is one of AI."""
    cdef size_t look = size
    if t.verdict.state == OISP_VERDICT_UNDECIDED:
        look = LOOK_BYTES - t.request_seen + size if t.request_seen - size < LOOK_BYTES else 0
        look = look if look < size else size
    if look and not park_piece(s, t, 0, data, look, ts):
        return
    if look < size:
        hold(s, &t.asked, &t.coded, data + look, size - look, 0)


cdef void request_body(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size) noexcept nogil:
    """A piece of the request's body, its codings undone."""
    if t.form != NULL and t.verdict.state == OISP_VERDICT_AI and not t.flags & OISP_TURN_REQUEST_DECODED:
        form_feed(t.form, data, size)
        return
    if size == t.request_length and t.requests.size == 0:  # whole in one piece: read where it lies
        if decide_by_body(s, t, data, size):
            read_request(s, t, data, size, True)
            return
        if not may_be_ai(t):
            return
    hold(s, &t.asked, &t.requests, data, size, t.request_length)


cdef void turn_request_gap(oisp_shared* s, oisp_turn* t, uint64_t size) noexcept nogil:
    """A hole in the body: what stands before it is read, what comes after is not (it cannot be joined)."""
    t.request_seen += size
    if s.sparing:
        t.asked.request_spared += size
    else:
        t.asked.request_lost += size
    t.asked.reasons |= REASON_REQUEST_LOST
    settle_request(s, t)
    if t.codings_count[0]:  # nothing after the hole can be inflated
        t.flags |= OISP_TURN_REQUEST_CODED
    if not may_be_ai(t) or t.flags & OISP_TURN_REQUEST_DECODED:
        return
    if t.form != NULL and t.verdict.state == OISP_VERDICT_AI:  # goes on at its next delimiter
        form_gap(t.form, size)
        return
    if decide_by_body(s, t, t.requests.data, t.requests.size):
        read_request(s, t, t.requests.data, t.requests.size, False)
        drop_body(s, &t.requests)


cdef void turn_request_end(oisp_shared* s, oisp_turn* t, uint64_t ts, int ends) noexcept nogil:
    cdef bint complete = not ends and t.asked.request_lost == 0 and t.asked.over_limit == 0
    if t.flags & OISP_TURN_REQUEST_DONE:
        return
    t.flags |= OISP_TURN_REQUEST_DONE
    if ts > t.request_last:
        t.request_last = ts
    if ends & (OISP_END_CUT | OISP_END_FLIGHT):
        t.asked.reasons |= REASON_REQUEST_TRUNCATED
    if ends & OISP_END_FLIGHT:
        t.asked.reasons |= REASON_IN_FLIGHT
    if not may_be_ai(t) or t.flags & OISP_TURN_UPGRADE:
        return
    tell_request(s, t, complete)


cdef void settle_request(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """What was parked of it is read; all of it, where it is known to be worth that."""
    if t.parked:
        turn_flush(s)
    if t.coded.size and t.verdict.state == OISP_VERDICT_AI and not t.flags & OISP_TURN_REQUEST_CODED:
        park_piece(s, t, 0, t.coded.data, t.coded.size, t.request_last)
        drop_body(s, &t.coded)
        turn_flush(s)


cdef void tell_request(oisp_shared* s, oisp_turn* t, bint complete) noexcept nogil:
    settle_request(s, t)
    if t.coded.size and decide_by_body(s, t, t.requests.data, t.requests.size):
        settle_request(s, t)
    if not t.flags & OISP_TURN_REQUEST_DECODED and decide_by_body(s, t, t.requests.data, t.requests.size):
        read_request(s, t, t.requests.data, t.requests.size, complete)
    if t.verdict.state == OISP_VERDICT_AI:
        drop_body(s, &t.requests)
        turn_flush(s)
        emit_request(s, t)
    elif not may_be_ai(t):
        drop_body(s, &t.requests)


# --- the response ---


cdef void decide_by_response(oisp_shared* s, oisp_turn* t, const oisp_head* head) noexcept nogil:
    """The last word on an undecided exchange; its request, held until now, is read and given out first."""
    match_response(<const oisp_rules*> s.rules, head, &t.verdict)
    if t.verdict.state != OISP_VERDICT_AI:
        return
    turn_flush(s)
    settle_request(s, t)
    read_request(s, t, t.requests.data, t.requests.size, t.asked.request_lost == 0 and t.asked.over_limit == 0)
    drop_body(s, &t.requests)
    if not t.flags & OISP_TURN_ORPHAN:
        emit_request(s, t)


cdef void turn_response_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    cdef oisp_slice name
    s.count.responses += 1
    t.flags |= OISP_TURN_RESPONSE_HEAD
    t.response_first = t.response_last = ts
    t.response_length = length
    t.status = head.status
    if head.partial:
        t.answered.reasons |= REASON_HEADERS_LOST
        t.answered.missing |= MISSING_HEADERS
    if t.flags & OISP_TURN_ORPHAN:
        if t.verdict.state != OISP_VERDICT_AI:
            t.verdict.state = OISP_VERDICT_UNDECIDED
        t.answered.reasons |= REASON_UNPAIRED_RESPONSE
        t.answered.missing |= MISSING_REQUEST
    if t.flags & OISP_TURN_UPGRADE and may_be_ai(t):
        if t.status == 101:
            return
        t.flags &= ~OISP_TURN_UPGRADE  # refused: an exchange like any other
        tell_request(s, t, True)
    if t.verdict.state == OISP_VERDICT_UNDECIDED:
        decide_by_response(s, t, head)
    if t.verdict.state != OISP_VERDICT_AI:
        return
    if not take_exchange(s, t):
        t.verdict.state = OISP_VERDICT_NONE
        s.count.events_lost += 1
        return
    if not find_codings(t, head, 1):
        t.flags |= OISP_TURN_RESPONSE_CODED
    elif t.codings_count[1] and not t.by_message[1]:
        t.response_length = <uint64_t> -1
    keep_type(t, head)
    if t.by_message[1]:  # a call that failed at once has its status in the head
        name.data, name.size = b"grpc-status", 11
        turn_response_trailer(s, t, name, head_field(head, b"grpc-status", 11))
        name.data, name.size = b"grpc-message", 12
        turn_response_trailer(s, t, name, head_field(head, b"grpc-message", 12))


cdef void keep_type(oisp_turn* t, const oisp_head* head) noexcept nogil:
    """The content type is asked for when the first body bytes are there."""
    cdef oisp_slice v = head_field(head, b"content-type", 12)
    t.type.size = 0
    if v.size <= 256:
        oisp_buffer_append(&t.type, v.data, v.size)


cdef bint find_framing(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint all) noexcept nogil:
    """How the documents of the body are framed, from its first bytes. False: more of them are needed (never where these are
    all there are)."""
    cdef oisp_slice kind
    kind.data, kind.size = t.type.data, t.type.size
    t.framing = <uint8_t> dialect_framing(<const oisp_dialects*> s.dialects, t.verdict.dialect, kind, data, size)
    if t.framing == OISP_FRAMING_NDJSON and (t.x.flags & OISP_X_STREAM_NOT_ASKED or t.status >= 400) and \
            dialect_framing(<const oisp_dialects*> s.dialects, t.verdict.dialect, kind, NULL, 0) == OISP_FRAMING_NONE:
        t.framing = OISP_FRAMING_NONE  # a line of JSON is one document where nobody asked for more
    if t.framing == OISP_FRAMING_NONE and not all and size < FRAMING_BYTES:
        return False
    t.framed = 1
    if t.framing != OISP_FRAMING_NONE and t.verdict.dialect:
        t.flags |= OISP_TURN_STREAM
        reader_init(&t.reader, t.framing, s.limits.event_bytes)
    return True


cdef void read_event(oisp_shared* s, oisp_turn* t, const oisp_token* token, uint64_t ts) noexcept nogil:
    cdef oisp_slice name
    cdef oisp_status status
    cdef uint32_t errors = t.x.flags & OISP_X_ERROR
    cdef oisp_slice whole
    name.data, name.size = token.name, token.name_size
    if t.framing == OISP_FRAMING_GRPC:
        if not open_message(s, t, 1, token, &whole):
            return
        if t.x.flags & OISP_X_STREAM_ASKED:
            status = decode_event(<const oisp_dialects*> s.dialects, t.x, name, whole.data, whole.size)
        else:  # a call with one answer
            status = decode_response(<const oisp_dialects*> s.dialects, t.x, whole.data, whole.size, True)
        oisp_buffer_wipe(&s.inflated)
    else:
        status = decode_event(<const oisp_dialects*> s.dialects, t.x, name, token.data, token.size)
    if status == OISP_LIMIT:
        s.count.limits += 1
    elif status != OISP_OK:
        t.flags |= OISP_TURN_STREAM_LOST
        t.answered.reasons |= REASON_RESPONSE_UNREADABLE
    if token.flags and t.framing == OISP_FRAMING_EVENTSTREAM:  # the frame itself says that it is an exception, or an error
        exchange_error(t.x, token.name, token.name_size)
    if t.x.flags & OISP_X_ERROR and not errors:
        t.answered.reasons |= REASON_ERROR_IN_STREAM
    if t.x.first_content and t.token_first == 0:
        t.token_first = ts
    if t.x.chunk_kind:
        if s.chunks and not s.delivering:
            turn_flush(s)
        emit_chunk(s, t, ts)


cdef void read_events(oisp_shared* s, oisp_turn* t, const oisp_tokens* tokens, uint64_t ts) noexcept nogil:
    cdef uint32_t i
    for i in range(tokens.count):
        if tokens.at[i].kind == OISP_TOKEN_EVENT:
            read_event(s, t, &tokens.at[i], ts)
        elif tokens.at[i].kind == OISP_TOKEN_GAP:
            t.flags |= OISP_TURN_STREAM_LOST


cdef inline void note_known(oisp_shared* s, oisp_turn* t, uint64_t ts) noexcept nogil:
    if t.token_first == 0 and t.x.first_content:
        t.token_first = ts
    if t.x.chunk_kind:
        if s.chunks:
            if not s.delivering:
                turn_flush(s)
            emit_chunk(s, t, ts)
        else:
            s.count.chunks += 1


cdef inline size_t known_lines(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """Server-sent events, with their lines."""
    cdef oisp_sse* sse = &t.reader.as_.sse
    cdef size_t at = 0, used
    if not oisp_sse_between(sse):
        return 0
    while at < size:
        used = decode_known(t.x, data + at, size - at if size - at < sse.event_max else sse.event_max)
        if used == 0:
            break
        at += used
        note_known(s, t, ts)
    sse.offset += at
    return at


cdef size_t known_values(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """Lines of JSON, or elements of an array."""
    cdef oisp_ndjson* p = &t.reader.as_.ndjson
    cdef oisp_slice name
    cdef size_t at = 0, used
    name.data, name.size = NULL, 0
    if not oisp_ndjson_between(p):
        return 0
    while True:
        at += oisp_ndjson_begin(p, data + at, size - at)
        if p.place != OISP_NDJSON_VALUE or at == size:
            break
        used = decode_fitting(t.x, name, data + at, size - at if size - at < p.value_max else p.value_max, False)
        if used == 0:
            break
        at += used
        oisp_ndjson_took(p)
        note_known(s, t, ts)
    p.offset += at
    return at


cdef size_t known_frames(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """Messages of an AWS event stream whose checksums are right."""
    cdef oisp_eventstream* p = &t.reader.as_.eventstream
    cdef oisp_token frame
    cdef oisp_slice name
    cdef size_t at = 0, used
    while at < size:
        used = eventstream_whole(p, data + at, size - at, &frame)
        if used == 0 or frame.flags:
            break
        name.data, name.size = frame.name, frame.name_size
        if not decode_fitting(t.x, name, frame.data, frame.size, True):
            break
        at += used
        note_known(s, t, ts)
    p.offset += at
    return at


cdef inline size_t read_known(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """The steady state of a stream: events that lie whole in the input and fit a learned shape, framing and all. Answers how
    many bytes they have."""
    if t.reader.kind == OISP_FRAMING_SSE:
        return known_lines(s, t, data, size, ts)
    if t.reader.kind == OISP_FRAMING_NDJSON or t.reader.kind == OISP_FRAMING_JSON_ARRAY:
        return known_values(s, t, data, size, ts)
    if t.reader.kind == OISP_FRAMING_EVENTSTREAM:
        return known_frames(s, t, data, size, ts)
    return 0


cdef inline void read_stream(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef size_t used = read_known(s, t, data, size, ts)
    if used < size or size == 0:
        read_unknown(s, t, data + used, size - used, ts)


cdef void read_unknown(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """Whatever it is: through the parser of its framing, event by event."""
    cdef oisp_token room[EVENT_TOKENS]
    cdef oisp_tokens tokens
    cdef oisp_status status = OISP_OK
    cdef size_t used = 0
    tokens.at = room
    tokens.capacity = EVENT_TOKENS
    while t.reader.kind:
        tokens.count = 0
        status = reader_feed(&t.reader, data, size, &tokens, &used)
        read_events(s, t, &tokens, ts)
        data += used
        size -= used
        if status == OISP_MORE or (status == OISP_OK and size == 0 and tokens.count < tokens.capacity):
            return
        if status != OISP_OK:
            skip_document(s, t, status, size)


cdef void skip_document(oisp_shared* s, oisp_turn* t, oisp_status status, size_t size) noexcept nogil:
    """One that is beyond its bound is left out. Where no boundary can be found after it, or framing is broken, nothing more
    of this stream is read."""
    t.flags |= OISP_TURN_STREAM_LOST
    if status == OISP_LIMIT:
        t.answered.reasons |= REASON_LIMIT
        s.count.limits += 1
        if reader_skip(&t.reader, s.limits.event_bytes) == OISP_OK:
            return
        t.answered.over_limit += size
        s.count.over_limit_bytes += size
    else:
        t.answered.reasons |= REASON_RESPONSE_UNREADABLE
    reader_free(&t.reader)


cdef void turn_response_data(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    t.response_last = ts
    t.response_seen += size
    if t.flags & (OISP_TURN_STREAM | OISP_TURN_RESPONSE_CODED | OISP_TURN_RESPONSE_DECODED) == OISP_TURN_STREAM and \
            t.codings_count[1] == 0:
        read_stream(s, t, data, size, ts)
        return
    if t.verdict.state != OISP_VERDICT_AI or t.x == NULL or t.flags & (OISP_TURN_RESPONSE_CODED | OISP_TURN_RESPONSE_DECODED):
        return
    if t.codings_count[1] and not t.by_message[1]:
        park_piece(s, t, 1, data, size, ts)
    else:
        read_body(s, t, data, size, ts)


# --- coded pieces ---


cdef bint park_piece(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """False: no memory, which ends the reading of this body."""
    cdef oisp_confidence* c = &t.answered if side else &t.asked
    if not park(s, t, side, data, size, ts):
        t.flags |= OISP_TURN_RESPONSE_CODED if side else OISP_TURN_REQUEST_CODED
        c.reasons |= REASON_LIMIT
        c.over_limit += size
        return False
    if s.parked.size > PARKED_MAX:
        turn_flush(s)
    return True


cdef void deliver(oisp_shared* s, const oisp_parked* entry, const uint8_t* data) noexcept nogil:
    """What an entry gave, to its exchange; if its codec failed, the body stays coded from here on, and that is said."""
    cdef oisp_turn* t = entry.turn
    cdef uint32_t coded = OISP_TURN_RESPONSE_CODED if entry.side else OISP_TURN_REQUEST_CODED
    cdef oisp_confidence* c = &t.answered if entry.side else &t.asked
    t.parked -= 1
    if t.flags & coded:
        return
    if entry.made and entry.side:
        read_body(s, t, data, entry.made, entry.ts)
    elif entry.made:
        request_body(s, t, data, entry.made)
    if entry.status == OISP_OK or entry.status == OISP_MORE:
        return
    t.flags |= coded
    c.reasons |= REASON_LIMIT if entry.status == OISP_LIMIT else REASON_ENCODING
    c.completeness = OISP_COMPLETENESS_PARTIAL
    if entry.status == OISP_LIMIT:
        s.count.limits += 1
        c.over_limit += entry.size


cdef void turn_flush(oisp_shared* s) noexcept nogil:
    """All that is parked is inflated, with the GIL taken once (again only for more than a few MiB), and read in the order
    in which it came."""
    cdef uint32_t at = 0, end
    cdef uint32_t made
    cdef const oisp_parked* entry
    cdef oisp_buffer inflated
    if s.parked.size == 0 or s.delivering:
        return
    s.delivering = 1
    while at < s.parked.size:
        end = inflate_parked(s, at)
        inflated = s.inflated
        memset(&s.inflated, 0, sizeof(oisp_buffer))
        made = 0
        while at < end:
            entry = <const oisp_parked*> (s.parked.data + at)
            deliver(s, entry, inflated.data + made)
            made += entry.made
            at += <uint32_t> sizeof(oisp_parked) + ((entry.size + 7) & ~(<uint32_t> 7))
        if s.inflated.capacity or inflated.capacity > ARENA_KEPT:
            oisp_buffer_free(&inflated)
        else:
            oisp_buffer_wipe(&inflated)
            s.inflated = inflated
    s.held -= s.parked.size
    if s.parked.capacity > 2 * PARKED_MAX:
        oisp_buffer_free(&s.parked)
    else:
        oisp_buffer_wipe(&s.parked)
    s.delivering = 0


cdef void read_body(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """A piece of the response's body, its codings undone."""
    cdef bint whole = size == t.response_length and t.responses.size == 0
    if t.framed:
        if t.flags & OISP_TURN_STREAM:
            read_stream(s, t, data, size, ts)
        else:
            hold(s, &t.answered, &t.responses, data, size, t.response_length)
        return
    if t.responses.size:  # first bytes that did not tell
        hold(s, &t.answered, &t.responses, data, size, t.response_length)
        data, size = t.responses.data, t.responses.size
    if not find_framing(s, t, data, size, whole) or not t.flags & OISP_TURN_STREAM:
        if whole:
            read_response(s, t, data, size, True)
        elif t.responses.size == 0:
            hold(s, &t.answered, &t.responses, data, size, t.response_length)
        return
    read_stream(s, t, data, size, ts)
    drop_body(s, &t.responses)


cdef void read_response(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    t.flags |= OISP_TURN_RESPONSE_DECODED
    if t.verdict.dialect == 0 or size == 0:
        return
    if decode_response(<const oisp_dialects*> s.dialects, t.x, data, size, complete) == OISP_LIMIT:
        s.count.limits += 1


cdef void turn_response_gap(oisp_shared* s, oisp_turn* t, uint64_t size) noexcept nogil:
    cdef oisp_token room[4]
    cdef oisp_tokens tokens
    t.response_seen += size
    if s.sparing:
        t.answered.response_spared += size
    else:
        t.answered.response_lost += size
    t.answered.reasons |= REASON_RESPONSE_LOST
    if t.parked:
        turn_flush(s)
    if t.codings_count[1]:  # nothing after the hole can be inflated
        t.flags |= OISP_TURN_RESPONSE_CODED
    if t.verdict.state != OISP_VERDICT_AI or t.x == NULL or t.flags & OISP_TURN_RESPONSE_DECODED:
        return
    settle_framing(s, t)
    if t.reader.kind:
        tokens.at = room
        tokens.capacity = 4
        tokens.count = 0
        if reader_gap(&t.reader, size, &tokens) != OISP_OK:
            reader_free(&t.reader)
            t.flags |= OISP_TURN_STREAM_LOST
        read_events(s, t, &tokens, t.response_last)
    elif t.framed and not t.flags & OISP_TURN_STREAM:
        read_response(s, t, t.responses.data, t.responses.size, False)
        drop_body(s, &t.responses)


cdef void turn_response_doubt(oisp_turn* t, uint64_t size) noexcept nogil:
    t.response_seen += size
    t.answered.response_lost += size
    t.answered.reasons |= REASON_RESPONSE_LOST


cdef void settle_framing(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """No more first bytes will come."""
    if t.framed or t.responses.size == 0:
        return
    find_framing(s, t, t.responses.data, t.responses.size, True)
    if t.flags & OISP_TURN_STREAM:
        read_stream(s, t, t.responses.data, t.responses.size, t.response_last)
        drop_body(s, &t.responses)


cdef void finish_body(oisp_shared* s, oisp_turn* t, bint complete) noexcept nogil:
    cdef oisp_token room[8]
    cdef oisp_tokens tokens
    if t.flags & OISP_TURN_RESPONSE_CODED:
        complete = False
        if t.response_seen and not t.framed:
            t.answered.reasons |= REASON_ENCODING
            t.answered.missing |= MISSING_CONTENT
    settle_framing(s, t)
    if t.reader.kind:
        tokens.at = room
        tokens.capacity = 8
        tokens.count = 0
        if reader_finish(&t.reader, &tokens) != OISP_OK:
            t.flags |= OISP_TURN_STREAM_LOST
        read_events(s, t, &tokens, t.response_last)
    elif t.framed and not t.flags & (OISP_TURN_STREAM | OISP_TURN_RESPONSE_DECODED):
        read_response(s, t, t.responses.data, t.responses.size, complete)
    drop_body(s, &t.responses)


cdef void turn_note_answer(oisp_turn* t, int ends) noexcept nogil:
    """What the end says of the response: cut, in flight, a stream without its own last event."""
    # A client that has read the stream's own last event may leave before the framing ends (the official SDKs do, at
    # [DONE]): nothing of the answer is missing then.
    if t.flags & OISP_TURN_STREAM and t.x.flags & OISP_X_TERMINAL:
        ends &= ~(OISP_END_CUT | OISP_END_FLIGHT)
    if not t.flags & OISP_TURN_RESPONSE_HEAD:
        t.answered.missing |= MISSING_RESPONSE
        t.answered.completeness = OISP_COMPLETENESS_PARTIAL
    elif ends & (OISP_END_CUT | OISP_END_FLIGHT):
        t.answered.reasons |= REASON_RESPONSE_TRUNCATED
        t.x.flags |= OISP_X_RESPONSE_CUT
        t.answered.completeness = OISP_COMPLETENESS_PARTIAL
    if ends & OISP_END_FLIGHT:
        t.answered.reasons |= REASON_IN_FLIGHT
    if t.flags & OISP_TURN_STREAM and not t.x.flags & (OISP_X_TERMINAL | OISP_X_ERROR) and ends:
        t.answered.reasons |= REASON_UNTERMINATED
        t.answered.completeness = OISP_COMPLETENESS_PARTIAL
    if t.flags & OISP_TURN_STREAM_LOST:
        t.answered.completeness = OISP_COMPLETENESS_PARTIAL


cdef void turn_response_end(oisp_shared* s, oisp_turn* t, uint64_t ts, int ends) noexcept nogil:
    if t.flags & OISP_TURN_RESPONSE_DONE:
        return
    t.flags |= OISP_TURN_RESPONSE_DONE
    if ts > t.response_last and t.flags & OISP_TURN_RESPONSE_HEAD:
        t.response_last = ts
    if not t.flags & (OISP_TURN_REQUEST_DONE | OISP_TURN_ORPHAN):
        turn_request_end(s, t, t.request_last, ends if ends else OISP_END_CUT)
    if not t.flags & OISP_TURN_RESPONSE_HEAD and not t.flags & OISP_TURN_ORPHAN and not ends & OISP_END_FLIGHT:
        s.count.unpaired_requests += 1
        t.answered.reasons |= REASON_UNPAIRED_REQUEST
    if t.verdict.state == OISP_VERDICT_UNDECIDED:
        s.count.undecided += 1
        return
    if t.verdict.state != OISP_VERDICT_AI or t.x == NULL:
        s.count.not_ai += 1
        return
    turn_flush(s)
    finish_body(s, t, ends == 0 and t.answered.response_lost == 0 and t.answered.over_limit == 0)
    decode_finish(<const oisp_dialects*> s.dialects, t.x, t.status)
    if t.x.model_answered.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL
    turn_note_answer(t, ends)
    emit_answer(s, t)


cdef const char* GRPC_STATUS[17]
GRPC_STATUS[:] = [
    b"OK", b"CANCELLED", b"UNKNOWN", b"INVALID_ARGUMENT", b"DEADLINE_EXCEEDED", b"NOT_FOUND", b"ALREADY_EXISTS",
    b"PERMISSION_DENIED", b"RESOURCE_EXHAUSTED", b"FAILED_PRECONDITION", b"ABORTED", b"OUT_OF_RANGE", b"UNIMPLEMENTED",
    b"INTERNAL", b"UNAVAILABLE", b"DATA_LOSS", b"UNAUTHENTICATED",
]


cdef void grpc_status(oisp_turn* t, oisp_slice value) noexcept nogil:
    """A status by its name (grpc/status.h); 0 is success, a number without a name stays one."""
    cdef uint32_t i, code = 0
    for i in range(value.size if value.size <= 3 else 0):
        if not 48 <= value.data[i] <= 57:
            code = 17
            break
        code = 10 * code + value.data[i] - 48
    if 0 < value.size <= 3 and code == 0:
        return
    if 0 < value.size <= 3 and code < 17:
        exchange_error(t.x, <const uint8_t*> GRPC_STATUS[code], strlen(GRPC_STATUS[code]))
    else:
        exchange_error(t.x, value.data, value.size if value.size < 64 else 64)


cdef void turn_response_trailer(oisp_shared* s, oisp_turn* t, oisp_slice name, oisp_slice value) noexcept nogil:
    """gRPC tells how a call ended behind its body: a status that is not 0 is an error, and what went wrong may follow."""
    if t.verdict.state != OISP_VERDICT_AI or t.x == NULL or not t.by_message[1] or value.size == 0:
        return
    if name.size == 11 and memcmp(name.data, b"grpc-status", 11) == 0:
        turn_flush(s)
        grpc_status(t, value)
    elif name.size == 12 and memcmp(name.data, b"grpc-message", 12) == 0:
        exchange_error_message(t.x, value.data, value.size)


cdef void turn_warning(oisp_turn* t, uint64_t warning, bint response) noexcept nogil:
    cdef oisp_confidence* c = &t.answered if response else &t.asked
    c.reasons |= REASON_SMUGGLING if warning == OISP_WARNING_CONFLICTING_LENGTH else REASON_LENIENT
