# SPDX-License-Identifier: Apache-2.0
"""WebSocket sessions: OpenAI Realtime, Responses over a WebSocket, Gemini Live.

One connection holds many turns. Which message asks, which begins an answer and which ends it, the dialect says
(decode_message); here is what follows from it: when a request is given out, the times of a turn, and that what the session
was told once (model, system prompt, tools, the credential of its head) holds for all of them. The handshake itself gives no
event: it asks for nothing.

Bounds: one message is held at a time, at most body_bytes of it; a longer one ends the reading of the session.
"""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from oisp_core.decode.decoder cimport (
    OISP_FRAMING_WEBSOCKET, decode_finish, decode_message, exchange_next_turn, oisp_dialects,
)
from oisp_core.emit cimport emit_answer, emit_chunk, emit_request
from oisp_core.match.rules cimport match_request_body, oisp_rules
from oisp_core.message cimport turn_exchange, turn_flush, turn_free, turn_note_answer
from oisp_core.reasons cimport (
    OISP_COMPLETENESS_PARTIAL, REASON_ENCODING, REASON_LIMIT, REASON_REQUEST_LOST, REASON_RESPONSE_LOST,
    REASON_RESPONSE_UNREADABLE, REASON_UNPAIRED_REQUEST,
)
from oisp_core.reader cimport reader_feed, reader_free, reader_gap, reader_init
from oisp_core.reassemble.content cimport CODING_RAW, Inflater
from oisp_core.turn cimport (
    OISP_END_CUT, OISP_END_FLIGHT, OISP_TURN_REQUEST_DECODED, OISP_TURN_REQUEST_DONE, OISP_TURN_REQUEST_EMITTED,
    OISP_TURN_REQUEST_HEAD, OISP_TURN_RESPONSE_HEAD, OISP_TURN_STREAM, OISP_TURN_STREAM_LOST, OISP_TURN_UPGRADE, head_field,
    oisp_shared, oisp_turn,
)
from oisp_core.types cimport (
    OISP_BAD, OISP_EVIDENCE_MODEL, OISP_LIMIT, OISP_MORE, OISP_OK, OISP_SAYS_ASK, OISP_SAYS_BEGIN, OISP_SAYS_END,
    OISP_TOKEN_END, OISP_TOKEN_EVENT, OISP_TOKEN_GAP, OISP_VERDICT_AI, OISP_VERDICT_NONE, OISP_VERDICT_UNDECIDED,
    oisp_buffer_wipe, oisp_confidence, oisp_head, oisp_slice, oisp_status, oisp_token, oisp_tokens,
)

cdef enum:
    SENT = 0
    RECEIVED = 1
    COMPRESSED = 0x10  # flag of a message's token
    LOOK_BYTES = 4096


# --- permessage-deflate ---


cdef bint names(oisp_slice value, const char* word, uint32_t size) noexcept nogil:
    """Does the value hold the word (given in lower case)?"""
    cdef uint32_t i, k
    cdef uint8_t c
    for i in range(value.size):
        if i + size > value.size:
            return False
        k = 0
        while k < size:
            c = value.data[i + k]
            if c - 65 < 26 and c >= 65:
                c |= 32
            if c != <uint8_t> word[k]:
                break
            k += 1
        if k == size:
            return True
    return False


cdef void agree(oisp_session* q, const oisp_head* head) noexcept nogil:
    """The extension that the answer names is the one in use (RFC 7692 section 7)."""
    cdef oisp_slice value = head_field(head, b"sec-websocket-extensions", 24)
    q.deflate = names(value, b"permessage-deflate", 18)
    q.fresh[SENT] = names(value, b"client_no_context_takeover", 26)
    q.fresh[RECEIVED] = names(value, b"server_no_context_takeover", 26)


cdef oisp_status inflate(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size) noexcept with gil:
    """One message to s.inflated: raw deflate without its last four bytes (RFC 7692 section 7.2.2)."""
    cdef Inflater inflater
    cdef oisp_status status
    cdef uint8_t raw = CODING_RAW
    try:
        if q.inflaters[side] == NULL:
            inflater = Inflater()
            if inflater.begin(&raw, 1, s.limits.inflate_ratio) != OISP_OK:
                return OISP_BAD
            Py_INCREF(inflater)
            q.inflaters[side] = <void*> inflater
        inflater = <Inflater> q.inflaters[side]
        status = inflater.feed(data, size, &s.inflated, s.limits.body_bytes)
        if status == OISP_OK:
            status = inflater.feed(b"\x00\x00\xff\xff", 4, &s.inflated, s.limits.body_bytes - s.inflated.size)
    except Exception:  # a codec that raises what it should not: the message is unreadable, the engine goes on
        status = OISP_BAD
    if q.fresh[side] and q.inflaters[side] != NULL:
        drop_inflater(q, side)
    return status


cdef void drop_inflater(oisp_session* q, int side) noexcept with gil:
    Py_DECREF(<object> q.inflaters[side])
    q.inflaters[side] = NULL


# --- turns ---


cdef void begin_turn(oisp_shared* s, oisp_session* q, uint64_t ts) noexcept nogil:
    """The request is complete, whether or not the client asked in so many words."""
    cdef oisp_turn* t = q.turn
    if t.flags & OISP_TURN_REQUEST_EMITTED:
        return
    t.request_first = q.said if q.said else ts
    t.request_last = ts
    t.flags |= OISP_TURN_REQUEST_HEAD | OISP_TURN_REQUEST_DONE | OISP_TURN_REQUEST_DECODED
    if t.x.model_requested.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL
    q.said = 0
    emit_request(s, t)


cdef void end_turn(oisp_shared* s, oisp_session* q, int ends) noexcept nogil:
    """The answer is over, or nothing more of it will come."""
    cdef oisp_turn* t = q.turn
    decode_finish(<const oisp_dialects*> s.dialects, t.x, t.status)
    if t.x.model_answered.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL
    turn_note_answer(t, ends)
    if not t.flags & OISP_TURN_RESPONSE_HEAD and not ends & OISP_END_FLIGHT:
        s.count.unpaired_requests += 1
        t.answered.reasons |= REASON_UNPAIRED_REQUEST
    emit_answer(s, t)


cdef void next_turn(oisp_shared* s, oisp_session* q, uint64_t ts) noexcept nogil:
    cdef oisp_turn* t = q.turn
    memset(&t.asked, 0, sizeof(oisp_confidence))
    memset(&t.answered, 0, sizeof(oisp_confidence))
    t.request_event.text[0] = t.response_event.text[0] = 0
    t.request_first = t.request_last = t.response_first = t.response_last = t.token_first = 0
    t.flags = OISP_TURN_UPGRADE | OISP_TURN_STREAM
    if exchange_next_turn(<const oisp_dialects*> s.dialects, t.x) & OISP_SAYS_ASK:
        begin_turn(s, q, ts)


cdef void answer_piece(oisp_shared* s, oisp_session* q, uint64_t ts) noexcept nogil:
    cdef oisp_turn* t = q.turn
    if not t.flags & OISP_TURN_RESPONSE_HEAD:
        t.flags |= OISP_TURN_RESPONSE_HEAD
        t.response_first = ts
    t.response_last = ts
    if t.x.first_content and t.token_first == 0:
        t.token_first = ts
    if t.x.chunk_kind:
        emit_chunk(s, t, ts)


cdef void decide(oisp_shared* s, oisp_session* q, const uint8_t* data, size_t size) noexcept nogil:
    """Behind an unknown host the first messages have to tell."""
    cdef oisp_turn* t = q.turn
    if t.verdict.state == OISP_VERDICT_UNDECIDED:
        match_request_body(<const oisp_rules*> s.rules, data, size if size < LOOK_BYTES else LOOK_BYTES, &t.verdict)
    if t.verdict.state == OISP_VERDICT_AI and t.x == NULL and not turn_exchange(s, t):
        t.verdict.state = OISP_VERDICT_NONE
        s.count.events_lost += 1


cdef void take_message(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef oisp_turn* t = q.turn
    cdef oisp_status status = OISP_OK
    cdef int says
    if t.x == NULL:
        decide(s, q, data, size)
    if t.x == NULL:
        return
    if side == SENT and q.said == 0:
        q.said = ts
    says = decode_message(<const oisp_dialects*> s.dialects, t.x, side == SENT, data, size, &status)
    if status == OISP_LIMIT:
        s.count.limits += 1
    elif status != OISP_OK and side == RECEIVED and t.flags & OISP_TURN_RESPONSE_HEAD:
        t.flags |= OISP_TURN_STREAM_LOST
        t.answered.reasons |= REASON_RESPONSE_UNREADABLE
    if says & (OISP_SAYS_ASK | OISP_SAYS_BEGIN):
        begin_turn(s, q, ts)
    if side == RECEIVED and t.flags & OISP_TURN_REQUEST_EMITTED and \
            (t.flags & OISP_TURN_RESPONSE_HEAD or says & (OISP_SAYS_BEGIN | OISP_SAYS_END)):
        answer_piece(s, q, ts)
    if says & OISP_SAYS_END:
        begin_turn(s, q, ts)
        end_turn(s, q, 0)
        next_turn(s, q, ts)


cdef void take_token(oisp_shared* s, oisp_session* q, int side, const oisp_token* token, uint64_t ts) noexcept nogil:
    cdef oisp_status status
    cdef oisp_confidence* c = &q.turn.answered if side else &q.turn.asked
    if token.kind == OISP_TOKEN_GAP:
        q.turn.flags |= OISP_TURN_STREAM_LOST if side else 0
        c.completeness = OISP_COMPLETENESS_PARTIAL
    if token.kind != OISP_TOKEN_EVENT:
        return
    if not token.flags & COMPRESSED:
        take_message(s, q, side, token.data, token.size, ts)
        return
    status = inflate(s, q, side, token.data, token.size) if q.deflate else OISP_BAD
    if status == OISP_OK or status == OISP_MORE:
        take_message(s, q, side, s.inflated.data, s.inflated.size, ts)
    else:
        c.reasons |= REASON_LIMIT if status == OISP_LIMIT else REASON_ENCODING
        c.completeness = OISP_COMPLETENESS_PARTIAL
    oisp_buffer_wipe(&s.inflated)


# --- the border ---


cdef oisp_session* session_open(oisp_shared* s, oisp_turn* turn, const oisp_head* head) noexcept nogil:
    cdef oisp_session* q
    cdef int i
    if turn.verdict.state == OISP_VERDICT_NONE or (turn.verdict.state == OISP_VERDICT_AI and turn.verdict.dialect == 0):
        return NULL
    q = <oisp_session*> calloc(1, sizeof(oisp_session))
    if q == NULL:
        return NULL
    q.turn = turn
    turn.status = head.status
    turn.flags = OISP_TURN_UPGRADE | OISP_TURN_STREAM
    turn.request_first = turn.request_last = turn.response_first = turn.response_last = 0
    agree(q, head)
    for i in range(2):
        reader_init(&q.side[i], OISP_FRAMING_WEBSOCKET, s.limits.body_bytes)
    if turn.verdict.state == OISP_VERDICT_AI:
        decide(s, q, NULL, 0)
    return q


cdef void session_message(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    turn_flush(s)
    take_message(s, q, side, data, size, ts)


cdef bint session_data(oisp_shared* s, oisp_session* q, int side, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    cdef oisp_token room[8]
    cdef oisp_tokens tokens
    cdef oisp_status status
    cdef size_t used = 0
    cdef uint32_t i
    tokens.at = room
    tokens.capacity = 8
    turn_flush(s)
    while q.side[side].kind:
        tokens.count = 0
        status = reader_feed(&q.side[side], data, size, &tokens, &used)
        for i in range(tokens.count):
            take_token(s, q, side, &tokens.at[i], ts)
            if tokens.at[i].kind == OISP_TOKEN_END:
                reader_free(&q.side[side])
        data += used
        size -= used
        if status == OISP_MORE or (status == OISP_OK and size == 0 and tokens.count == 0):
            return True
        if status != OISP_OK:
            stop(s, q, side, status, size)
    return q.side[1 - side].kind != 0


cdef void stop(oisp_shared* s, oisp_session* q, int side, oisp_status status, uint64_t size) noexcept nogil:
    """Frames of this direction cannot be found any more."""
    cdef oisp_confidence* c = &q.turn.answered if side else &q.turn.asked
    reader_free(&q.side[side])
    c.completeness = OISP_COMPLETENESS_PARTIAL
    q.turn.flags |= OISP_TURN_STREAM_LOST if side else 0
    if status == OISP_LIMIT:
        c.reasons |= REASON_LIMIT
        c.over_limit += size
        s.count.limits += 1
        s.count.over_limit_bytes += size
    else:
        s.count.bad += 1


cdef bint session_gap(oisp_shared* s, oisp_session* q, int side, uint64_t size, uint64_t ts) noexcept nogil:
    cdef oisp_token room[4]
    cdef oisp_tokens tokens
    if side:
        q.turn.answered.response_lost += size
        q.turn.answered.reasons |= REASON_RESPONSE_LOST
    else:
        q.turn.asked.request_lost += size
        q.turn.asked.reasons |= REASON_REQUEST_LOST
    tokens.at = room
    tokens.capacity = 4
    tokens.count = 0
    if q.side[side].kind and (size == 0 or reader_gap(&q.side[side], size, &tokens) != OISP_OK):
        stop(s, q, side, OISP_BAD, 0)
    elif tokens.count:
        take_token(s, q, side, &tokens.at[0], ts)
    return q.side[0].kind != 0 or q.side[1].kind != 0


cdef void session_close(oisp_shared* s, oisp_session* q, int ends) noexcept nogil:
    if ends == 0:
        ends = OISP_END_CUT
    if q.turn.x != NULL and q.turn.flags & OISP_TURN_REQUEST_EMITTED:
        end_turn(s, q, ends)
    elif q.turn.x == NULL:
        s.count.undecided += q.turn.verdict.state == OISP_VERDICT_UNDECIDED
    session_free(s, q)


cdef void session_free(oisp_shared* s, oisp_session* q) noexcept nogil:
    if q.inflaters[0] != NULL:
        drop_inflater(q, 0)
    if q.inflaters[1] != NULL:
        drop_inflater(q, 1)
    reader_free(&q.side[0])
    reader_free(&q.side[1])
    turn_free(s, q.turn)
    free(q)
