# SPDX-License-Identifier: Apache-2.0
"""The lines of one exchange: results of earlier calls, the request, pieces, the response, the calls that it asks for.

Calls are remembered for their results, which come in a later request (or in the MCP answer), by hashes of their ids; results
that were told are not told again, though every later history repeats them.
"""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from oisp_core.decode.decoder cimport dialect_source, oisp_dialects
from oisp_core.encode.writer cimport (
    encode_chunk, encode_embedding, encode_request, encode_response, encode_retrieve, encode_tool_call,
    encode_tool_result, keep_chunk, repeat_chunk, writer_ulid,
)
from oisp_core.facts cimport latency, set_confidence, set_facts, written
from oisp_core.links cimport links_put
from oisp_core.reasons cimport (
    MISSING_CONTENT, MISSING_MODEL, MISSING_PARENT, MISSING_RESPONSE, OISP_COMPLETENESS_PARTIAL, REASON_BY_ORDER,
)
from oisp_core.turn cimport (
    OISP_TURN_ORPHAN, OISP_TURN_REQUEST_EMITTED, OISP_TURN_RESPONSE_HEAD, OISP_TURN_UPGRADE, oisp_chunk_key, oisp_hash, oisp_link,
    oisp_shared, oisp_table_get, oisp_turn,
)
from oisp_core.threads cimport thread_of_request, thread_of_response
from oisp_core.types cimport (
    OISP_ABSENT, OISP_KIND_EMBEDDING, OISP_KIND_MCP, OISP_KIND_RAG, OISP_OK, OISP_TEXT_STRING, OISP_X_STREAMED, oisp_buffer_append,
    oisp_buffer_wipe, oisp_call, oisp_chunk_line, oisp_confidence, oisp_exchange, oisp_facts, oisp_slice, oisp_status, oisp_text,
    oisp_text_data, oisp_tool_answer, oisp_ulid, oisp_verdict, oisp_wipe,
)

cdef enum:
    MCP_SERVER = 6        # salts of names that outlive their exchange
    MCP_CLIENT = 7


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
    key[0] = s.hash_key[0] ^ salt ^ (t.origin.process if salt == MCP_CLIENT or t.authority.size == 0 else 0)
    key[1] = s.hash_key[1]
    return oisp_hash(key, t.authority.data, t.authority.size) ^ (oisp_hash(key, t.target.data, t.target.size) << 1)


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


# --- request, pieces, response ---


cdef void emit_request(oisp_shared* s, oisp_turn* t) noexcept nogil:
    cdef oisp_facts f
    if t.flags & OISP_TURN_REQUEST_EMITTED or t.x == NULL:
        return
    t.flags |= OISP_TURN_REQUEST_EMITTED
    writer_ulid(&s.writer, t.request_first, &t.request_event)
    if t.verdict.kind != OISP_KIND_MCP and t.verdict.kind != OISP_KIND_RAG:
        thread_of_request(s, t)
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
    """Its prefix and hash are written. The turns of a session share one head, which is wiped with the last of them."""
    if t.verdict.key.size and not t.flags & OISP_TURN_UPGRADE:
        oisp_wipe(<void*> t.verdict.key.data, t.verdict.key.size)
        t.verdict.key.size = 0


cdef void emit_chunk(oisp_shared* s, oisp_turn* t, uint64_t ts) noexcept nogil:
    cdef oisp_facts f
    cdef uint32_t start, number, text
    cdef oisp_status status
    s.count.chunks += 1
    if not s.chunks:
        return
    if may_repeat(s, t):
        written(s, repeat_chunk(&s.writer, t.x, ts, <oisp_chunk_line*> (t.chunk.data + sizeof(oisp_chunk_key)),
                                t.chunk.data + sizeof(oisp_chunk_key) + sizeof(oisp_chunk_line)))
        return
    set_facts(s, t, &t.answered, &f, ts)
    writer_ulid(&s.writer, ts, &f.event_id)
    start = s.writer.out.size
    status = encode_chunk(&s.writer, t.x, &f, &number, &text)
    written(s, status)
    if status == OISP_OK:
        keep_line(s, t, &f, start, number, text)


cdef void set_key(const oisp_shared* s, const oisp_turn* t, oisp_chunk_key* k) noexcept nogil:
    """All that a chunk's line says, but for its id, time, number and text."""
    memset(k, 0, sizeof(oisp_chunk_key))
    memcpy(&k.answered, &t.answered, sizeof(oisp_confidence))
    memcpy(&k.verdict, &t.verdict, sizeof(oisp_verdict))
    k.request_event = t.request_event
    k.response_event = t.response_event
    k.told = s.origins_told
    k.flags = t.x.flags
    k.text_flags = t.x.chunk_content.flags
    k.status = t.status
    k.role = t.x.chunk_role
    k.context_has_source = t.origin.context_has_source
    k.content_source = t.origin.content_source
    k.attribution = t.origin.attribution
    k.plaintext = t.origin.plaintext
    k.midway = t.origin.midway
    k.no_offsets = t.origin.no_offsets


cdef bint may_repeat(const oisp_shared* s, const oisp_turn* t) noexcept nogil:
    cdef oisp_chunk_key k
    if t.chunk.size == 0 or t.x.chunk_call or t.x.chunk_finish or t.x.chunk_content.form != OISP_TEXT_STRING:
        return False
    set_key(s, t, &k)
    return memcmp(&k, t.chunk.data, sizeof(k)) == 0


cdef void keep_line(oisp_shared* s, oisp_turn* t, const oisp_facts* f, uint32_t start, uint32_t number, uint32_t text) noexcept nogil:
    cdef oisp_chunk_key k
    cdef oisp_chunk_line line
    set_key(s, t, &k)
    memset(&line, 0, sizeof(line))
    oisp_buffer_wipe(&t.chunk)
    if oisp_buffer_append(&t.chunk, &k, sizeof(k)) and oisp_buffer_append(&t.chunk, &line, sizeof(line)) and \
            keep_chunk(&s.writer, start, t.x, f, number, text, &t.chunk, &line):
        memcpy(t.chunk.data + sizeof(k), &line, sizeof(line))
    else:
        oisp_buffer_wipe(&t.chunk)


cdef void emit_response(oisp_shared* s, oisp_turn* t) noexcept nogil:
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


cdef void emit_answer(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """What an exchange that is over gives, by its kind."""
    if t.verdict.kind == OISP_KIND_MCP:
        emit_mcp_results(s, t)
    elif t.verdict.kind == OISP_KIND_RAG:
        emit_retrieve(s, t)
    else:
        thread_of_response(s, t)
        emit_response(s, t)
