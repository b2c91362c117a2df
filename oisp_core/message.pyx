# SPDX-License-Identifier: Apache-2.0
"""One exchange in flight: the request's head is matched, its body decoded, its event written; then the same of the response.

This is the border `oisp_message` of the design: what comes in is already framed (head, body pieces, holes, end), whoever
framed it; what goes out are lines in the writer. It knows no connection, no protocol, no clock, and holds no lock.

An exchange may be AI (decoded as it comes), undecided (held, bounded, until its body or the response's head decides) or not
(its bytes are counted by the caller and dropped here). Emission is in causal order: results of earlier calls, the request,
then chunks, the response, and the calls that it asks for.
"""
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from oisp_core.decode.decoder cimport (
    OISP_FRAMING_EVENTSTREAM, OISP_FRAMING_GRPC, OISP_FRAMING_NDJSON, OISP_FRAMING_NONE, decode_event, decode_finish,
    decode_request, decode_response, dialect_framing, dialect_name, dialect_source, exchange_error, exchange_free, exchange_new,
    exchange_path_model, exchange_reset, oisp_dialects,
)
from oisp_core.encode.writer cimport (
    encode_chunk, encode_embedding, encode_request, encode_response, encode_retrieve, encode_tool_call, encode_tool_result,
    writer_ulid,
)
from oisp_core.match.rules cimport match_provider_id, match_request, match_request_body, match_response, oisp_rules
from oisp_core.reassemble.content cimport Inflater, content_codings
from oisp_core.reader cimport reader_feed, reader_finish, reader_free, reader_gap, reader_init, reader_skip
from oisp_core.types cimport (
    OISP_ABSENT, OISP_EVIDENCE_BODY, OISP_EVIDENCE_HEADER, OISP_EVIDENCE_HOST, OISP_EVIDENCE_KEY, OISP_EVIDENCE_MODEL,
    OISP_EVIDENCE_PATH, OISP_EVIDENCE_RESPONSE, OISP_KIND_EMBEDDING, OISP_KIND_MCP, OISP_KIND_RAG, OISP_BAD, OISP_LIMIT, OISP_MORE, OISP_OK,
    OISP_TOKEN_EVENT, OISP_TOKEN_GAP, OISP_VERDICT_AI, OISP_VERDICT_NONE, OISP_VERDICT_UNDECIDED,
    OISP_WARNING_CONFLICTING_LENGTH, OISP_X_ERROR,
    OISP_X_RESPONSE_CUT, OISP_X_STREAM_ASKED, OISP_X_STREAM_NOT_ASKED, OISP_X_STREAMED, OISP_X_TERMINAL, oisp_buffer, oisp_buffer_append,
    oisp_buffer_free, oisp_buffer_reserve, oisp_buffer_wipe, oisp_call, oisp_confidence, oisp_exchange, oisp_facts, oisp_head,
    oisp_slice, oisp_status, oisp_text, oisp_text_data, oisp_token, oisp_tokens, oisp_tool_answer, oisp_ulid, oisp_verdict,
    oisp_wipe,
)


cdef extern from "oisp/confidence.h" nogil:
    uint64_t REASON_TLS "OISP_REASON_BIT(TLS_BOUNDARY_CAPTURE)"
    uint64_t REASON_PLAINTEXT "OISP_REASON_BIT(PLAINTEXT_CAPTURE)"
    uint64_t REASON_HOST "OISP_REASON_BIT(HOST_MATCH)"
    uint64_t REASON_PATH "OISP_REASON_BIT(PATH_MATCH)"
    uint64_t REASON_HEADER "OISP_REASON_BIT(HEADER_MATCH)"
    uint64_t REASON_KEY "OISP_REASON_BIT(KEY_SHAPE)"
    uint64_t REASON_BODY "OISP_REASON_BIT(BODY_SHAPE)"
    uint64_t REASON_RESPONSE "OISP_REASON_BIT(RESPONSE_SHAPE)"
    uint64_t REASON_MODEL "OISP_REASON_BIT(MODEL_IN_PAYLOAD)"
    uint64_t REASON_UNKNOWN_HOST "OISP_REASON_BIT(UNKNOWN_HOST)"
    uint64_t REASON_MIDWAY "OISP_REASON_BIT(JOINED_MIDWAY)"
    uint64_t REASON_REQUEST_LOST "OISP_REASON_BIT(REQUEST_BYTES_LOST)"
    uint64_t REASON_RESPONSE_LOST "OISP_REASON_BIT(RESPONSE_BYTES_LOST)"
    uint64_t REASON_REQUEST_TRUNCATED "OISP_REASON_BIT(REQUEST_TRUNCATED)"
    uint64_t REASON_RESPONSE_TRUNCATED "OISP_REASON_BIT(RESPONSE_TRUNCATED)"
    uint64_t REASON_REQUEST_UNREADABLE "OISP_REASON_BIT(REQUEST_UNREADABLE)"
    uint64_t REASON_RESPONSE_UNREADABLE "OISP_REASON_BIT(RESPONSE_UNREADABLE)"
    uint64_t REASON_UNPAIRED_REQUEST "OISP_REASON_BIT(UNPAIRED_REQUEST)"
    uint64_t REASON_UNPAIRED_RESPONSE "OISP_REASON_BIT(UNPAIRED_RESPONSE)"
    uint64_t REASON_IN_FLIGHT "OISP_REASON_BIT(IN_FLIGHT)"
    uint64_t REASON_LIMIT "OISP_REASON_BIT(LIMIT_REACHED)"
    uint64_t REASON_SMUGGLING "OISP_REASON_BIT(SMUGGLING_SUSPECTED)"
    uint64_t REASON_LENIENT "OISP_REASON_BIT(LENIENT_FRAMING)"
    uint64_t REASON_ENCODING "OISP_REASON_BIT(ENCODING_UNREADABLE)"
    uint64_t REASON_BY_ORDER "OISP_REASON_BIT(RESULT_MATCHED_BY_ORDER)"
    uint64_t REASON_UNTERMINATED "OISP_REASON_BIT(STREAM_UNTERMINATED)"
    uint64_t REASON_ERROR_IN_STREAM "OISP_REASON_BIT(ERROR_IN_STREAM)"
    uint64_t MISSING_MODEL "OISP_MISSING_BIT(MODEL)"
    uint64_t MISSING_PROVIDER "OISP_MISSING_BIT(PROVIDER)"
    uint64_t MISSING_MESSAGES "OISP_MISSING_BIT(MESSAGES)"
    uint64_t MISSING_RESPONSE "OISP_MISSING_BIT(RESPONSE)"
    uint64_t MISSING_REQUEST "OISP_MISSING_BIT(REQUEST)"
    uint64_t MISSING_PARENT "OISP_MISSING_BIT(PARENT)"
    uint64_t MISSING_CONTENT "OISP_MISSING_BIT(CONTENT)"
    uint64_t MISSING_CALL_ID "OISP_MISSING_BIT(CALL_ID)"

cdef extern from "oisp/contract.h" nogil:
    enum:
        OISP_LEVEL_HIGH
        OISP_LEVEL_MEDIUM
        OISP_LEVEL_LOW
        OISP_LEVEL_INFERRED
        OISP_COMPLETENESS_PARTIAL
        OISP_DETECTION_METHOD_KNOWN_ENDPOINT
        OISP_CONTENT_SOURCE_TLS_BOUNDARY

# How much of an undecided request's body is shown to the matcher: body keys of every dialect stand in the first KiBs.
cdef enum:
    LOOK_BYTES = 4096
    MCP_SERVER = 6        # salts of names that outlive their exchange
    MCP_CLIENT = 7
    FRAMING_BYTES = 1024  # a body without a content type that tells its framing: how much of it is looked at
    EVENT_TOKENS = 64
    POOL = 16
    ARENA_KEPT = 1 << 20  # a larger arena is given back instead of kept for the next exchange


# --- what the engine shares among its exchanges ---


cdef int links_init(oisp_links* l, uint32_t size) noexcept nogil:
    memset(l, 0, sizeof(oisp_links))
    l.ring = <oisp_link*> calloc(size, sizeof(oisp_link))
    l.size = size
    return l.ring != NULL


cdef void links_free(oisp_links* l) noexcept nogil:
    oisp_table_free(&l.map)
    if l.ring != NULL:
        oisp_wipe(l.ring, l.size * sizeof(oisp_link))
    free(l.ring)
    l.ring = NULL


cdef oisp_link* links_put(oisp_links* l, uint64_t key) noexcept nogil:
    """The link of that key, new or overwritten; the oldest one makes room. NULL without memory."""
    cdef oisp_link* link = <oisp_link*> oisp_table_get(&l.map, key)
    if link != NULL:
        return link
    link = &l.ring[l.next]
    l.next = l.next + 1 if l.next + 1 < l.size else 0
    if link.used:
        oisp_table_remove(&l.map, link.key)
    memset(link, 0, sizeof(oisp_link))
    if not oisp_table_put(&l.map, key, link):
        return NULL
    link.key = key
    link.used = 1
    return link


cdef int shared_init(oisp_shared* s) noexcept nogil:
    return links_init(&s.calls, s.limits.linked_calls) and links_init(&s.results, s.limits.linked_calls)


cdef void shared_free(oisp_shared* s) noexcept nogil:
    cdef oisp_turn* t
    while s.turns != NULL:
        t = s.turns
        s.turns = t.next
        oisp_buffer_free(&t.strings)
        oisp_buffer_free(&t.requests)
        oisp_buffer_free(&t.responses)
        oisp_buffer_free(&t.type)
        free(t)
    while s.exchanges_free:
        s.exchanges_free -= 1
        exchange_free(s.exchanges[s.exchanges_free])
    links_free(&s.calls)
    links_free(&s.results)
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
    cdef oisp_buffer strings, requests, responses, kind
    if t != NULL:
        s.turns = t.next
        strings, requests, responses, kind = t.strings, t.requests, t.responses, t.type
        memset(t, 0, sizeof(oisp_turn))
        t.strings, t.requests, t.responses, t.type = strings, requests, responses, kind
    else:
        t = <oisp_turn*> calloc(1, sizeof(oisp_turn))
        if t == NULL:
            return NULL
    t.origin = origin
    t.request_length = t.response_length = <uint64_t> -1
    return t


cdef void turn_free(oisp_shared* s, oisp_turn* t) noexcept nogil:
    if t == NULL:
        return
    give_exchange(s, t)
    reader_free(&t.reader)
    if t.inflaters[0] != NULL:
        give_inflater(t, 0)
    if t.inflaters[1] != NULL:
        give_inflater(t, 1)
    oisp_buffer_wipe(&t.strings)
    drop_body(s, &t.requests)
    drop_body(s, &t.responses)
    t.next = s.turns
    s.turns = t


# --- facts: what an event says besides the exchange ---


cdef void set_level(oisp_turn* t, oisp_facts* f) noexcept nogil:
    """oisp-v0.1: domain + path + model: high; domain + path: medium; domain: low; no known host: path + body + model:
    medium; less: inferred."""
    cdef uint16_t e = t.verdict.evidence
    cdef bint model = (e & OISP_EVIDENCE_MODEL) != 0
    if e & OISP_EVIDENCE_HOST:
        if e & OISP_EVIDENCE_PATH:
            f.confidence.level = OISP_LEVEL_HIGH if model else OISP_LEVEL_MEDIUM
        else:
            f.confidence.level = OISP_LEVEL_LOW
    elif e & OISP_EVIDENCE_PATH and e & (OISP_EVIDENCE_BODY | OISP_EVIDENCE_RESPONSE) and model:
        f.confidence.level = OISP_LEVEL_MEDIUM
    else:
        f.confidence.level = OISP_LEVEL_INFERRED


cdef uint64_t evidence_reasons(const oisp_turn* t) noexcept nogil:
    cdef uint16_t e = t.verdict.evidence
    cdef uint64_t reasons = 0
    if t.origin.content_source == OISP_CONTENT_SOURCE_TLS_BOUNDARY:
        reasons |= REASON_TLS
    elif t.origin.content_source:
        reasons |= REASON_PLAINTEXT
    if t.origin.midway:
        reasons |= REASON_MIDWAY
    reasons |= REASON_HOST if e & OISP_EVIDENCE_HOST else REASON_UNKNOWN_HOST
    if e & OISP_EVIDENCE_PATH:
        reasons |= REASON_PATH
    if e & OISP_EVIDENCE_HEADER:
        reasons |= REASON_HEADER
    if e & OISP_EVIDENCE_KEY:
        reasons |= REASON_KEY
    if e & OISP_EVIDENCE_BODY:
        reasons |= REASON_BODY
    if e & OISP_EVIDENCE_RESPONSE:
        reasons |= REASON_RESPONSE
    if e & OISP_EVIDENCE_MODEL:
        reasons |= REASON_MODEL
    return reasons


cdef void set_facts(oisp_shared* s, oisp_turn* t, const oisp_confidence* confidence, oisp_facts* f,
                    uint64_t ts) noexcept nogil:
    memset(f, 0, sizeof(oisp_facts))
    f.ts_ns = ts
    f.request_event = t.request_event
    f.response_event = t.response_event
    f.request_id = t.request_event
    if t.request_event.text[0] == 0:
        f.request_id = t.response_event
    f.context.data = t.origin.context.data
    f.context.size = t.origin.context.size
    f.context_has_source = t.origin.context_has_source
    f.verdict = &t.verdict
    f.provider_id = match_provider_id(<const oisp_rules*> s.rules, t.verdict.provider)
    f.dialect = dialect_name(<const oisp_dialects*> s.dialects, t.verdict.dialect)
    if t.origin.plaintext:
        f.scheme.data, f.scheme.size = b"http", 4
    else:
        f.scheme.data, f.scheme.size = b"https", 5
    f.authority = t.authority if t.authority.size else t.sni
    f.path = t.target
    f.method = t.method
    f.latency_ns = f.first_token_ns = OISP_ABSENT
    f.status = t.status
    f.confidence = confidence[0]
    set_confidence(t, f)


cdef void set_confidence(oisp_turn* t, oisp_facts* f) noexcept nogil:
    """What all events of an exchange say besides what its messages do."""
    f.confidence.detection_method = t.verdict.method
    f.confidence.content_source = t.origin.content_source
    f.confidence.process_attribution = t.origin.attribution
    f.confidence.reasons |= evidence_reasons(t)
    if t.verdict.provider == 0:
        f.confidence.missing |= MISSING_PROVIDER
    set_level(t, f)


cdef void written(oisp_shared* s, oisp_status status) noexcept nogil:
    if status == OISP_OK:
        s.count.events += 1
    else:
        s.count.events_lost += 1


# --- tool calls and their results ---


cdef uint64_t text_key(oisp_shared* s, const oisp_exchange* x, const oisp_text* t, uint64_t salt) noexcept nogil:
    cdef uint64_t key[2]
    key[0] = s.hash_key[0] ^ salt
    key[1] = s.hash_key[1]
    return oisp_hash(key, oisp_text_data(x, t), t.size)


cdef void remember_call(oisp_shared* s, const oisp_exchange* x, const oisp_call* call, const oisp_ulid* event) noexcept nogil:
    """By its id; by its name too, for results that have no id."""
    cdef oisp_link* link
    cdef uint32_t size = call.name.size if call.name.size <= 64 else 0  # a name that does not fit is not remembered
    if call.id.size:
        link = links_put(&s.calls, text_key(s, x, &call.id, 0))
        if link != NULL:
            link.event = event[0]
            link.name_size = <uint8_t> size
            if size:
                memcpy(link.name, oisp_text_data(x, &call.name), size)
    if call.name.size:
        link = links_put(&s.calls, text_key(s, x, &call.name, 1))
        if link != NULL:
            link.event = event[0]


cdef const oisp_call* history_call(const oisp_exchange* x, const oisp_tool_answer* answer) noexcept nogil:
    cdef uint32_t i
    cdef const oisp_call* call
    for i in range(x.history_count):
        call = &x.history[x.history_count - 1 - i]
        if call.id.size == answer.call_id.size and call.id.size and same_text(x, &call.id, &answer.call_id):
            return call
    return NULL


cdef bint same_text(const oisp_exchange* x, const oisp_text* a, const oisp_text* b) noexcept nogil:
    cdef uint32_t i
    cdef const uint8_t* p = oisp_text_data(x, a)
    cdef const uint8_t* q = oisp_text_data(x, b)
    for i in range(a.size):
        if p[i] != q[i]:
            return False
    return True


cdef void emit_result(oisp_shared* s, oisp_turn* t, const oisp_tool_answer* answer, oisp_facts* f, uint64_t order) noexcept nogil:
    """Once, though every later request repeats it; told apart by id (or name and place) and text."""
    cdef oisp_exchange* x = t.x
    cdef oisp_link* call = NULL
    cdef const oisp_call* past
    cdef uint64_t missing = f.confidence.missing
    cdef uint64_t reasons = f.confidence.reasons
    cdef uint64_t key
    if answer.call_id.size:
        key = text_key(s, x, &answer.call_id, 2) ^ text_key(s, x, &answer.content, 3)
        call = <oisp_link*> oisp_table_get(&s.calls.map, text_key(s, x, &answer.call_id, 0))
    else:
        key = text_key(s, x, &answer.name, 4 + order) ^ text_key(s, x, &answer.content, 3)
        reasons |= REASON_BY_ORDER
        if answer.name.size:
            call = <oisp_link*> oisp_table_get(&s.calls.map, text_key(s, x, &answer.name, 1))
    if oisp_table_get(&s.results.map, key) != NULL:
        s.count.tool_results_repeated += 1
        return
    links_put(&s.results, key)
    f.tool_name.size = 0
    f.parent_event.text[0] = 0
    if call != NULL:
        f.parent_event = call.event
        f.tool_name.data, f.tool_name.size = <const uint8_t*> call.name, call.name_size
    else:
        missing |= MISSING_PARENT
    if f.tool_name.size == 0 and answer.name.size == 0:
        past = history_call(x, answer)
        if past != NULL:
            f.tool_name.data, f.tool_name.size = oisp_text_data(x, &past.name), past.name.size
    missing, f.confidence.missing = f.confidence.missing, missing
    reasons, f.confidence.reasons = f.confidence.reasons, reasons
    writer_ulid(&s.writer, f.ts_ns, &f.event_id)
    written(s, encode_tool_result(&s.writer, x, answer, f))
    f.confidence.missing = missing
    f.confidence.reasons = reasons


cdef void emit_results(oisp_shared* s, oisp_turn* t, oisp_facts* f) noexcept nogil:
    cdef uint32_t i
    for i in range(t.x.answers_count):
        emit_result(s, t, &t.x.answers[i], f, i)


cdef void emit_calls(oisp_shared* s, oisp_turn* t, oisp_facts* f) noexcept nogil:
    cdef uint32_t i
    for i in range(t.x.calls_count):
        writer_ulid(&s.writer, f.ts_ns, &f.event_id)
        written(s, encode_tool_call(&s.writer, t.x, &t.x.calls[i], f))
        remember_call(s, t.x, &t.x.calls[i], &f.event_id)


# --- MCP: a call and its answer are an exchange of their own ---


cdef uint64_t endpoint_key(oisp_shared* s, const oisp_turn* t, uint64_t salt) noexcept nogil:
    """Of an MCP endpoint: what is known of it (its name, who speaks to it) outlives the exchange that said it."""
    cdef uint64_t key[2]
    key[0] = s.hash_key[0] ^ salt
    key[1] = s.hash_key[1]
    return oisp_hash(key, t.authority.data, t.authority.size) ^ (oisp_hash(key, t.target.data, t.target.size) << 1) \
        ^ oisp_hash(key, t.session.data, t.session.size if salt == MCP_CLIENT else 0)


cdef uint64_t turn_key(oisp_shared* s, const oisp_turn* t, const oisp_text* id) noexcept nogil:
    """Of a call within its exchange: ids of JSON-RPC begin anew with every client."""
    cdef uint64_t salt = 0
    memcpy(&salt, &t.request_event.text[18], 8)
    return text_key(s, t.x, id, salt)


cdef void remember_name(oisp_shared* s, const oisp_turn* t, const oisp_text* name, uint64_t salt) noexcept nogil:
    cdef oisp_link* link
    if name.size == 0 or name.size > 64:
        return
    link = links_put(&s.calls, endpoint_key(s, t, salt))
    if link != NULL:
        link.name_size = <uint8_t> name.size
        memcpy(link.name, oisp_text_data(t.x, name), name.size)


cdef void recall_name(oisp_shared* s, const oisp_turn* t, uint64_t salt, oisp_slice* to) noexcept nogil:
    cdef oisp_link* link = <oisp_link*> oisp_table_get(&s.calls.map, endpoint_key(s, t, salt))
    if link != NULL:
        to.data, to.size = <const uint8_t*> link.name, link.name_size


cdef void mcp_facts(oisp_shared* s, oisp_turn* t, oisp_facts* f) noexcept nogil:
    """The server by the name that it gave itself, else by its host."""
    f.server_name = f.authority
    recall_name(s, t, MCP_SERVER, &f.server_name)
    recall_name(s, t, MCP_CLIENT, &f.client_name)
    f.session_id = t.session
    f.request_id.text[0] = f.request_event.text[0] = f.response_event.text[0] = 0


cdef void emit_mcp_calls(oisp_shared* s, oisp_turn* t, oisp_facts* f) noexcept nogil:
    cdef uint32_t i
    cdef oisp_link* link
    remember_name(s, t, &t.x.client_name, MCP_CLIENT)
    mcp_facts(s, t, f)
    for i in range(t.x.history_count):
        writer_ulid(&s.writer, f.ts_ns, &f.event_id)
        written(s, encode_tool_call(&s.writer, t.x, &t.x.history[i], f))
        link = links_put(&s.calls, turn_key(s, t, &t.x.history[i].id))
        if link != NULL:
            link.event = f.event_id


cdef const oisp_tool_answer* mcp_answer(const oisp_exchange* x, const oisp_call* call) noexcept nogil:
    cdef uint32_t i
    for i in range(x.answers_count):
        if x.answers[i].call_id.size == call.id.size and call.id.size and same_text(x, &x.answers[i].call_id, &call.id):
            return &x.answers[i]
    return NULL


cdef void emit_mcp_result(oisp_shared* s, oisp_turn* t, const oisp_call* call, oisp_facts* f) noexcept nogil:
    """An answer that never came, or failed before it was one, is told too."""
    cdef const oisp_tool_answer* found = mcp_answer(t.x, call)
    cdef oisp_tool_answer answer
    cdef oisp_link* link = <oisp_link*> oisp_table_get(&s.calls.map, turn_key(s, t, &call.id))
    if found == NULL and t.flags & OISP_TURN_RESPONSE_HEAD and t.status == 202:
        return  # taken; the answer comes by another way
    memset(&answer, 0, sizeof(answer))
    answer.success = -1
    if found != NULL:
        answer = found[0]
        if answer.success < 0:
            answer.success = 1  # `isError` is false where it is not said
    elif t.status >= 400:
        answer.success = 0
    else:
        f.confidence.missing |= MISSING_RESPONSE
        f.confidence.completeness = OISP_COMPLETENESS_PARTIAL
    answer.call_id = call.id
    f.tool_name.data, f.tool_name.size = oisp_text_data(t.x, &call.name), call.name.size
    f.parent_event.text[0] = 0
    if link != NULL:
        f.parent_event = link.event
    writer_ulid(&s.writer, f.ts_ns, &f.event_id)
    written(s, encode_tool_result(&s.writer, t.x, &answer, f))


cdef void emit_mcp_results(oisp_shared* s, oisp_turn* t) noexcept nogil:
    cdef oisp_facts f
    cdef uint32_t i
    cdef uint64_t ts = t.response_first if t.flags & OISP_TURN_RESPONSE_HEAD else t.request_last
    remember_name(s, t, &t.x.server_name, MCP_SERVER)
    set_facts(s, t, &t.answered, &f, ts)
    mcp_facts(s, t, &f)
    if t.flags & OISP_TURN_RESPONSE_HEAD:
        f.latency_ns = latency(t, t.response_last)
    for i in range(t.x.history_count):
        f.confidence = t.answered
        set_confidence(t, &f)
        emit_mcp_result(s, t, &t.x.history[i], &f)


# --- retrieval: request and answer are one event ---


cdef void emit_retrieve(oisp_shared* s, oisp_turn* t) noexcept nogil:
    cdef oisp_facts f
    cdef oisp_confidence c = t.answered
    c.reasons |= t.asked.reasons
    c.missing |= t.asked.missing
    c.request_lost += t.asked.request_lost
    c.over_limit += t.asked.over_limit
    set_facts(s, t, &c, &f, t.response_first if t.flags & OISP_TURN_ORPHAN else t.request_first)
    f.request_id.text[0] = f.request_event.text[0] = f.response_event.text[0] = 0
    if t.flags & OISP_TURN_RESPONSE_HEAD:
        f.latency_ns = latency(t, t.response_last)
    dialect_source(<const oisp_dialects*> s.dialects, t.verdict.dialect, t.target, &f.source_type, &f.source_name)
    writer_ulid(&s.writer, f.ts_ns, &f.event_id)
    written(s, encode_retrieve(&s.writer, t.x, &f))


cdef void emit_file_search(oisp_shared* s, oisp_turn* t, oisp_facts* f) noexcept nogil:
    """What the provider retrieved for its own answer."""
    if t.x.hits_count == 0 and t.x.query.size == 0:
        return
    f.source_type.data, f.source_type.size = b"file_search", 11
    f.latency_ns = OISP_ABSENT
    f.response_event = t.response_event
    writer_ulid(&s.writer, f.ts_ns, &f.event_id)
    written(s, encode_retrieve(&s.writer, t.x, f))


# --- the request ---


cdef void keep_slice(oisp_buffer* b, oisp_slice* to, oisp_slice source) noexcept nogil:
    """Room was reserved: the bytes do not move."""
    to.size = source.size
    to.data = b.data + b.size
    oisp_buffer_append(b, source.data, source.size)


cdef bint keep_strings(oisp_turn* t, const oisp_head* head) noexcept nogil:
    cdef oisp_verdict* v = &t.verdict
    cdef size_t need = head.method.size + head.target.size + head.authority.size + head.sni.size
    cdef oisp_slice session = field(head, b"mcp-session-id", 14)
    if session.size > 256:
        session.size = 0
    need += session.size
    need += v.model.size + v.key.size + v.region.size + v.organization.size + v.project.size
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
    return True


cdef oisp_slice field(const oisp_head* head, const char* name, uint32_t size) noexcept nogil:
    """The first field of that name (given in lower case), or an empty slice."""
    cdef uint32_t i, k
    cdef oisp_slice none
    cdef uint8_t c
    none.data, none.size = NULL, 0
    for i in range(head.fields_count):
        if head.fields[i].name.size != size:
            continue
        k = 0
        while k < size:
            c = head.fields[i].name.data[k]
            if c - 65 < 26 and c >= 65:
                c |= 32
            if c != <uint8_t> name[k]:
                break
            k += 1
        if k == size:
            return head.fields[i].value
    return none


cdef bint find_codings(oisp_turn* t, const oisp_head* head, int side) noexcept nogil:
    """False: a coding that nobody here undoes."""
    cdef oisp_slice v = field(head, b"content-encoding", 16)
    cdef int count = 0
    t.codings_count[side] = 0
    if v.size == 0:
        return True
    if content_codings(v.data, v.size, t.codings[side], &count) != OISP_OK:
        return False
    t.codings_count[side] = <uint8_t> count
    return True


# --- content codings: the one place that takes the GIL ---


cdef oisp_status inflate(oisp_shared* s, oisp_turn* t, int side, const uint8_t* data, size_t size) noexcept with gil:
    """What this piece gives by now goes to s.inflated. BAD: no codec, or the data is corrupt."""
    cdef Inflater inflater
    try:
        if t.inflaters[side] == NULL:
            inflater = Inflater()
            if inflater.begin(t.codings[side], t.codings_count[side], s.limits.inflate_ratio) != OISP_OK:
                return OISP_BAD
            Py_INCREF(inflater)
            t.inflaters[side] = <void*> inflater
        inflater = <Inflater> t.inflaters[side]
        return inflater.feed(data, size, &s.inflated, s.limits.body_bytes)
    except Exception:  # a codec that raises what it should not: the data is unreadable, the engine goes on
        return OISP_BAD


cdef void give_inflater(oisp_turn* t, int side) noexcept with gil:
    Py_DECREF(<object> t.inflaters[side])
    t.inflaters[side] = NULL


cdef oisp_status inflate_piece(oisp_shared* s, oisp_turn* t, int side, oisp_confidence* c, const uint8_t* data,
                               size_t size) noexcept nogil:
    """With what it says of the event when it fails: from there on the body stays coded."""
    cdef oisp_status status = inflate(s, t, side, data, size)
    if status != OISP_OK and status != OISP_MORE:
        t.flags |= OISP_TURN_RESPONSE_CODED if side else OISP_TURN_REQUEST_CODED
        c.reasons |= REASON_LIMIT if status == OISP_LIMIT else REASON_ENCODING
        c.completeness = OISP_COMPLETENESS_PARTIAL
        if status == OISP_LIMIT:
            s.count.limits += 1
            c.over_limit += size
    return status


cdef bint may_be_ai(const oisp_turn* t) noexcept nogil:
    return t.verdict.state != OISP_VERDICT_NONE


cdef void turn_request_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    """`length`: of the body if the head says it, else UINT64_MAX."""
    s.count.requests += 1
    t.flags |= OISP_TURN_REQUEST_HEAD
    t.request_first = t.request_last = ts
    t.request_length = length
    match_request(<const oisp_rules*> s.rules, head, &t.verdict)
    if not may_be_ai(t):
        return
    if not find_codings(t, head, 0):
        t.flags |= OISP_TURN_REQUEST_CODED
    elif t.codings_count[0]:
        t.request_length = <uint64_t> -1
    if not keep_strings(t, head):
        t.verdict.state = OISP_VERDICT_NONE
        s.count.events_lost += 1


cdef bint room_for(oisp_shared* s, const oisp_buffer* b, size_t size) noexcept nogil:
    return b.size + size <= s.limits.body_bytes and s.held + size <= s.limits.total_bytes


cdef void hold(oisp_shared* s, oisp_confidence* c, oisp_buffer* b, const uint8_t* data, size_t size) noexcept nogil:
    """Keep a body piece for decoding, within the bounds; what is beyond is counted and said."""
    if c.over_limit == 0 and room_for(s, b, size) and oisp_buffer_append(b, data, size):
        s.held += size
        return
    c.over_limit += size
    c.reasons |= REASON_LIMIT
    s.count.over_limit_bytes += size
    s.count.limits += 1


cdef int hex_digit(uint8_t c) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


cdef void tell_model(oisp_turn* t) noexcept nogil:
    """The model that the path names, percent-decoded (RFC 3986 2.1)."""
    cdef uint8_t name[512]
    cdef oisp_slice m = t.verdict.model
    cdef uint32_t i = 0, n = 0
    if m.size == 0 or m.size > 512:
        return
    while i < m.size:
        if m.data[i] == c"%" and i + 2 < m.size and hex_digit(m.data[i + 1]) >= 0 and hex_digit(m.data[i + 2]) >= 0:
            name[n] = <uint8_t> (hex_digit(m.data[i + 1]) << 4 | hex_digit(m.data[i + 2]))
            i += 3
        else:
            name[n] = m.data[i]
            i += 1
        n += 1
    exchange_path_model(t.x, name, n)


cdef void read_request(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, bint complete) noexcept nogil:
    """Decode the body once it is there and the exchange is known to be AI."""
    if t.flags & OISP_TURN_REQUEST_DECODED or not take_exchange(s, t):
        return
    t.flags |= OISP_TURN_REQUEST_DECODED
    tell_model(t)
    if t.flags & OISP_TURN_REQUEST_CODED and size == 0:
        t.asked.reasons |= REASON_ENCODING
        t.asked.missing |= MISSING_MESSAGES
        return
    if t.verdict.dialect == 0:
        return
    if decode_request(<const oisp_dialects*> s.dialects, t.x, data, size, complete) == OISP_LIMIT:
        s.count.limits += 1
    if t.x.model_requested.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL


cdef bint decide_by_body(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size) noexcept nogil:
    if t.verdict.state == OISP_VERDICT_UNDECIDED and (size or not t.flags & OISP_TURN_REQUEST_CODED):
        match_request_body(<const oisp_rules*> s.rules, data, size if size < LOOK_BYTES else LOOK_BYTES, &t.verdict)
    return t.verdict.state == OISP_VERDICT_AI


cdef void turn_request_data(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    t.request_last = ts
    t.request_seen += size
    if not may_be_ai(t) or t.flags & OISP_TURN_REQUEST_CODED:
        return
    if t.codings_count[0]:
        inflate_piece(s, t, 0, &t.asked, data, size)
        hold(s, &t.asked, &t.requests, s.inflated.data, s.inflated.size)
        oisp_buffer_wipe(&s.inflated)
        return
    if size == t.request_length and t.requests.size == 0:  # whole in one piece: read where it lies
        if decide_by_body(s, t, data, size):
            read_request(s, t, data, size, True)
            return
        if not may_be_ai(t):
            return
    hold(s, &t.asked, &t.requests, data, size)


cdef void turn_request_gap(oisp_shared* s, oisp_turn* t, uint64_t size) noexcept nogil:
    """A hole in the body: what stands before it is read, what comes after is not (it cannot be joined)."""
    t.request_seen += size
    t.asked.request_lost += size
    t.asked.reasons |= REASON_REQUEST_LOST
    if t.codings_count[0]:  # nothing after the hole can be inflated
        t.flags |= OISP_TURN_REQUEST_CODED
    if not may_be_ai(t) or t.flags & OISP_TURN_REQUEST_DECODED:
        return
    if decide_by_body(s, t, t.requests.data, t.requests.size):
        read_request(s, t, t.requests.data, t.requests.size, False)
        drop_body(s, &t.requests)


cdef void emit_request(oisp_shared* s, oisp_turn* t) noexcept nogil:
    cdef oisp_facts f
    if t.flags & OISP_TURN_REQUEST_EMITTED or t.x == NULL:
        return
    t.flags |= OISP_TURN_REQUEST_EMITTED
    writer_ulid(&s.writer, t.request_first, &t.request_event)
    set_facts(s, t, &t.asked, &f, t.request_first)
    f.confidence.missing &= ~MISSING_RESPONSE
    if t.verdict.kind == OISP_KIND_MCP:
        emit_mcp_calls(s, t, &f)
    if t.verdict.kind == OISP_KIND_MCP or t.verdict.kind == OISP_KIND_RAG:
        wipe_key(t)
        return
    emit_results(s, t, &f)
    f.parent_event.text[0] = 0
    f.tool_name.size = 0
    f.event_id = t.request_event
    if t.x.model_requested.size == 0 and t.verdict.model.size == 0:
        f.confidence.missing |= MISSING_MODEL
    written(s, encode_request(&s.writer, t.x, &f))
    wipe_key(t)


cdef void wipe_key(oisp_turn* t) noexcept nogil:
    if t.verdict.key.size:
        oisp_wipe(<void*> t.verdict.key.data, t.verdict.key.size)
        t.verdict.key.size = 0


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
    if not may_be_ai(t):
        return
    if not t.flags & OISP_TURN_REQUEST_DECODED and decide_by_body(s, t, t.requests.data, t.requests.size):
        read_request(s, t, t.requests.data, t.requests.size, complete)
    if t.verdict.state == OISP_VERDICT_AI:
        drop_body(s, &t.requests)
        emit_request(s, t)
    elif not may_be_ai(t):
        drop_body(s, &t.requests)


# --- the response ---


cdef void decide_by_response(oisp_shared* s, oisp_turn* t, const oisp_head* head) noexcept nogil:
    """The last word on an undecided exchange; its request, held until now, is read and given out first."""
    match_response(<const oisp_rules*> s.rules, head, &t.verdict)
    if t.verdict.state != OISP_VERDICT_AI:
        return
    read_request(s, t, t.requests.data, t.requests.size, t.asked.request_lost == 0 and t.asked.over_limit == 0)
    drop_body(s, &t.requests)
    if not t.flags & OISP_TURN_ORPHAN:
        emit_request(s, t)


cdef void turn_response_head(oisp_shared* s, oisp_turn* t, const oisp_head* head, uint64_t length, uint64_t ts) noexcept nogil:
    s.count.responses += 1
    t.flags |= OISP_TURN_RESPONSE_HEAD
    t.response_first = t.response_last = ts
    t.response_length = length
    t.status = head.status
    if t.flags & OISP_TURN_ORPHAN:
        if t.verdict.state != OISP_VERDICT_AI:
            t.verdict.state = OISP_VERDICT_UNDECIDED
        t.answered.reasons |= REASON_UNPAIRED_RESPONSE
        t.answered.missing |= MISSING_REQUEST
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
    elif t.codings_count[1]:
        t.response_length = <uint64_t> -1
    keep_type(t, head)


cdef void keep_type(oisp_turn* t, const oisp_head* head) noexcept nogil:
    """The content type is asked for when the first body bytes are there."""
    cdef oisp_slice v = field(head, b"content-type", 12)
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


cdef void emit_chunk(oisp_shared* s, oisp_turn* t, uint64_t ts) noexcept nogil:
    cdef oisp_facts f
    s.count.chunks += 1
    if not s.chunks:
        return
    set_facts(s, t, &t.answered, &f, ts)
    writer_ulid(&s.writer, ts, &f.event_id)
    written(s, encode_chunk(&s.writer, t.x, &f))


cdef void read_event(oisp_shared* s, oisp_turn* t, const oisp_token* token, uint64_t ts) noexcept nogil:
    cdef oisp_slice name
    cdef oisp_status status
    cdef uint32_t errors = t.x.flags & OISP_X_ERROR
    name.data, name.size = token.name, token.name_size
    if t.framing == OISP_FRAMING_GRPC and not t.x.flags & OISP_X_STREAM_ASKED:  # a call with one answer
        status = decode_response(<const oisp_dialects*> s.dialects, t.x, token.data, token.size, True)
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
        emit_chunk(s, t, ts)


cdef void read_events(oisp_shared* s, oisp_turn* t, const oisp_tokens* tokens, uint64_t ts) noexcept nogil:
    cdef uint32_t i
    for i in range(tokens.count):
        if tokens.at[i].kind == OISP_TOKEN_EVENT:
            read_event(s, t, &tokens.at[i], ts)
        elif tokens.at[i].kind == OISP_TOKEN_GAP:
            t.flags |= OISP_TURN_STREAM_LOST


cdef void read_stream(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
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
        if status == OISP_MORE or (status == OISP_OK and size == 0 and tokens.count == 0):
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
    if t.verdict.state != OISP_VERDICT_AI or t.x == NULL or t.flags & (OISP_TURN_RESPONSE_CODED | OISP_TURN_RESPONSE_DECODED):
        return
    if t.codings_count[1]:
        inflate_piece(s, t, 1, &t.answered, data, size)
        if s.inflated.size:
            read_body(s, t, s.inflated.data, s.inflated.size, ts)
        oisp_buffer_wipe(&s.inflated)
    else:
        read_body(s, t, data, size, ts)


cdef void read_body(oisp_shared* s, oisp_turn* t, const uint8_t* data, size_t size, uint64_t ts) noexcept nogil:
    """A piece of the response's body, its codings undone."""
    cdef bint whole = size == t.response_length and t.responses.size == 0
    if t.framed:
        if t.flags & OISP_TURN_STREAM:
            read_stream(s, t, data, size, ts)
        else:
            hold(s, &t.answered, &t.responses, data, size)
        return
    if t.responses.size:  # first bytes that did not tell
        hold(s, &t.answered, &t.responses, data, size)
        data, size = t.responses.data, t.responses.size
    if not find_framing(s, t, data, size, whole) or not t.flags & OISP_TURN_STREAM:
        if whole:
            read_response(s, t, data, size, True)
        elif t.responses.size == 0:
            hold(s, &t.answered, &t.responses, data, size)
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
    t.answered.response_lost += size
    t.answered.reasons |= REASON_RESPONSE_LOST
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


cdef void note_response(oisp_turn* t, int ends) noexcept nogil:
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


cdef int64_t latency(oisp_turn* t, uint64_t end) noexcept nogil:
    if t.flags & OISP_TURN_ORPHAN or end < t.request_last:
        return OISP_ABSENT
    return <int64_t> (end - t.request_last)


cdef void emit_response(oisp_shared* s, oisp_turn* t, int ends) noexcept nogil:
    cdef oisp_facts f
    cdef uint64_t ts = t.response_first if t.flags & OISP_TURN_RESPONSE_HEAD else t.request_last
    writer_ulid(&s.writer, ts, &t.response_event)
    set_facts(s, t, &t.answered, &f, ts)
    f.event_id = t.response_event
    f.streamed = (t.x.flags & OISP_X_STREAMED) != 0
    if t.flags & OISP_TURN_RESPONSE_HEAD:
        f.latency_ns = latency(t, t.response_last)
    if t.token_first:
        f.first_token_ns = latency(t, t.token_first)
    if t.x.model_answered.size == 0 and t.x.model_requested.size == 0 and t.verdict.model.size == 0:
        f.confidence.missing |= MISSING_MODEL
    if t.verdict.kind == OISP_KIND_EMBEDDING and t.status < 400 and t.x.success and t.flags & OISP_TURN_RESPONSE_HEAD:
        written(s, encode_embedding(&s.writer, t.x, &f))
    else:
        written(s, encode_response(&s.writer, t.x, &f))
    f.confidence.missing &= ~(MISSING_MODEL | MISSING_CONTENT)
    emit_calls(s, t, &f)
    emit_file_search(s, t, &f)


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
    finish_body(s, t, ends == 0 and t.answered.response_lost == 0 and t.answered.over_limit == 0)
    decode_finish(<const oisp_dialects*> s.dialects, t.x, t.status)
    if t.x.model_answered.size:
        t.verdict.evidence |= OISP_EVIDENCE_MODEL
    note_response(t, ends)
    if t.verdict.kind == OISP_KIND_MCP:
        emit_mcp_results(s, t)
    elif t.verdict.kind == OISP_KIND_RAG:
        emit_retrieve(s, t)
    else:
        emit_response(s, t, ends)


cdef void turn_warning(oisp_turn* t, uint64_t warning, bint response) noexcept nogil:
    cdef oisp_confidence* c = &t.answered if response else &t.asked
    c.reasons |= REASON_SMUGGLING if warning == OISP_WARNING_CONFLICTING_LENGTH else REASON_LENIENT
