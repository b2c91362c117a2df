# SPDX-License-Identifier: Apache-2.0
"""The writer as tests see it: an exchange and its facts from Python dictionaries, one line back.

Not an API, and not fast. Texts are given as `(form, bytes)` or `(form, bytes, flags)`, or as `str`, which becomes the
inside of a JSON string; numbers and words of the contract as the integers of the headers.
"""

import json

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from oisp_core.encode.models cimport Models
from oisp_core.encode.writer cimport (
    encode_chunk, encode_embedding, encode_request, encode_response, encode_tool_call, encode_tool_result,
    writer_context, writer_free, writer_hash_key, writer_init, writer_seed, writer_ulid)
from oisp_core.types cimport (
    OISP_TEXT_STRING, oisp_buffer, oisp_buffer_append, oisp_buffer_free, oisp_buffer_wipe, oisp_call, oisp_choice, oisp_exchange,
    oisp_facts, oisp_message_part, oisp_slice, oisp_status, oisp_text, oisp_tool_answer, oisp_tool_def, oisp_ulid,
    oisp_verdict, oisp_writer)


cdef extern from "oisp/exchange.h" nogil:
    const int64_t ABSENT "OISP_ABSENT"


cdef extern from "oisp/sha256.h" nogil:
    ctypedef void (*oisp_sha256_compress)(uint32_t* state, const uint8_t* data, size_t blocks)
    ctypedef struct oisp_sha256:
        pass
    oisp_sha256_compress oisp_sha256_named(const char* name)
    void oisp_sha256_init_with(oisp_sha256* h, oisp_sha256_compress compress)
    void oisp_sha256_update(oisp_sha256* h, const void* data, size_t size)
    void oisp_sha256_final(oisp_sha256* h, uint8_t* digest)
    void oisp_hmac_key(uint8_t* out, const void* key, size_t size)
    void oisp_hmac_init(oisp_sha256* h, const uint8_t* key)
    void oisp_hmac_final(oisp_sha256* h, const uint8_t* key, uint8_t* digest)


cdef extern from "oisp/mask.h" nogil:
    int oisp_put_masked(oisp_buffer* out, const uint8_t* data, size_t size, int value)


cdef extern from "oisp/text.h" nogil:
    int oisp_json_check(const uint8_t* data, size_t size)


def sha256(bytes data, *, str backend, cuts=()):
    """The 32 bytes of SHA-256 by one backend, fed in pieces cut at `cuts`; None if this processor lacks it."""
    cdef oisp_sha256 h
    cdef uint8_t out[32]
    cdef oisp_sha256_compress compress = oisp_sha256_named(backend.encode())
    if compress == NULL:
        return None
    oisp_sha256_init_with(&h, compress)
    edges = [0, *cuts, len(data)]
    for a, b in zip(edges, edges[1:]):
        piece = data[a:b]
        oisp_sha256_update(&h, <const char*> piece, len(piece))
    oisp_sha256_final(&h, out)
    return out[:32]


def masked(bytes data, bint value=False):
    """(bytes, masks) of the inside of a JSON string, or of a JSON value; None where it has to be withheld."""
    cdef oisp_buffer out
    memset(&out, 0, sizeof(out))
    cdef int masks = oisp_put_masked(&out, <const uint8_t*> <const char*> data, len(data), value)
    try:
        return (out.data[:out.size] if out.size else b"", masks) if masks >= 0 else None
    finally:
        oisp_buffer_free(&out)


def hmac_sha256(bytes key, bytes data):
    cdef oisp_sha256 h
    cdef uint8_t padded[64]
    cdef uint8_t out[32]
    oisp_hmac_key(padded, <const char*> key, len(key))
    oisp_hmac_init(&h, padded)
    oisp_sha256_update(&h, <const char*> data, len(data))
    oisp_hmac_final(&h, padded, out)
    return out[:32]


def json_check(bytes data):
    """First character of the value when every parser takes it, else None."""
    cdef int first = oisp_json_check(<const uint8_t*> <const char*> data, len(data))
    return chr(first) if first else None


cdef int put_text(oisp_exchange* x, oisp_text* t, object value) except -1:
    if value is None:
        return 0
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False).encode()
        value = (OISP_TEXT_STRING, quoted[1:len(quoted) - 1])
    form, data, *flags = value
    t.form = form
    t.flags = flags[0] if flags else 0
    t.offset = x.arena.size
    t.size = t.capacity = len(data)
    if not oisp_buffer_append(&x.arena, <const char*> data, len(data)):
        raise MemoryError
    return 0


cdef void* many(size_t count, size_t size) except NULL:
    cdef void* at = calloc(count or 1, size)
    if at == NULL:
        raise MemoryError
    return at


cdef class Exchange:
    """An `oisp_exchange` filled from a dictionary whose keys are the names of its members."""
    cdef oisp_exchange x

    def __cinit__(self, dict spec):
        memset(&self.x, 0, sizeof(oisp_exchange))
        self.request(spec)
        self.response(spec)

    def __dealloc__(self):
        oisp_buffer_free(&self.x.arena)
        free(self.x.messages)
        free(self.x.tools)
        free(self.x.answers)
        free(self.x.choices)
        free(self.x.calls)

    cdef int request(self, dict spec) except -1:
        cdef oisp_exchange* x = &self.x
        x.flags = spec.get("flags", 0)
        x.images = spec.get("images", 0)
        x.input_count = spec.get("input_count", 0)
        put_text(x, &x.model_requested, spec.get("model_requested"))
        put_text(x, &x.system, spec.get("system"))
        put_text(x, &x.tool_choice, spec.get("tool_choice"))
        put_text(x, &x.temperature, spec.get("temperature"))
        put_text(x, &x.top_p, spec.get("top_p"))
        put_text(x, &x.max_tokens, spec.get("max_tokens"))
        put_text(x, &x.frequency_penalty, spec.get("frequency_penalty"))
        put_text(x, &x.presence_penalty, spec.get("presence_penalty"))
        put_text(x, &x.stop, spec.get("stop"))
        put_text(x, &x.previous_id, spec.get("previous_id"))
        put_text(x, &x.conversation, spec.get("conversation"))
        self.messages(spec.get("messages", ()))
        self.tools(spec.get("tools", ()))
        self.answers(spec.get("answers", ()))
        return 0

    cdef int messages(self, object rows) except -1:
        cdef oisp_exchange* x = &self.x
        cdef oisp_message_part* m
        x.messages = <oisp_message_part*> many(len(rows), sizeof(oisp_message_part))
        for row in rows:
            m = &x.messages[x.messages_count]
            m.role = row.get("role", 0)
            m.raw = row.get("raw", 0)
            m.images = row.get("images", 0)
            m.flags = row.get("flags", 0)
            put_text(x, &m.content, row.get("content"))
            put_text(x, &m.raw_role, row.get("raw_role"))
            put_text(x, &m.call_id, row.get("call_id"))
            put_text(x, &m.name, row.get("name"))
            x.messages_count += 1
        return 0

    cdef int tools(self, object rows) except -1:
        cdef oisp_exchange* x = &self.x
        cdef oisp_tool_def* t
        x.tools = <oisp_tool_def*> many(len(rows), sizeof(oisp_tool_def))
        for row in rows:
            t = &x.tools[x.tools_count]
            t.type = row.get("type", 0)
            t.server = row.get("server", 0)
            put_text(x, &t.name, row.get("name"))
            put_text(x, &t.description, row.get("description"))
            put_text(x, &t.raw_type, row.get("raw_type"))
            x.tools_count += 1
        return 0

    cdef int answers(self, object rows) except -1:
        cdef oisp_exchange* x = &self.x
        cdef oisp_tool_answer* a
        x.answers = <oisp_tool_answer*> many(len(rows), sizeof(oisp_tool_answer))
        for row in rows:
            a = &x.answers[x.answers_count]
            a.success = row.get("success", -1)
            a.server = row.get("server", 0)
            put_text(x, &a.call_id, row.get("call_id"))
            put_text(x, &a.name, row.get("name"))
            put_text(x, &a.content, row.get("content"))
            x.answers_count += 1
        return 0

    cdef int response(self, dict spec) except -1:
        cdef oisp_exchange* x = &self.x
        x.finish = spec.get("finish", 0)
        x.success = spec.get("success", 0)
        x.embedding_count = spec.get("embedding_count", 0)
        x.dimensions = spec.get("dimensions", 0)
        put_text(x, &x.response_id, spec.get("response_id"))
        put_text(x, &x.model_answered, spec.get("model_answered"))
        put_text(x, &x.finish_raw, spec.get("finish_raw"))
        put_text(x, &x.error_type, spec.get("error_type"))
        put_text(x, &x.error_message, spec.get("error_message"))
        put_text(x, &x.error_code, spec.get("error_code"))
        put_text(x, &x.service_tier, spec.get("service_tier"))
        usage = spec.get("usage", {})
        x.usage.prompt = usage.get("prompt", ABSENT)
        x.usage.completion = usage.get("completion", ABSENT)
        x.usage.total = usage.get("total", ABSENT)
        x.usage.cached = usage.get("cached", ABSENT)
        x.usage.cache_write = usage.get("cache_write", ABSENT)
        x.usage.reasoning = usage.get("reasoning", ABSENT)
        x.usage.conventions = usage.get("conventions", 0)
        put_text(x, &x.usage.raw, usage.get("raw"))
        self.choices(spec.get("choices", ()))
        self.calls(spec.get("calls", ()))
        x.chunk_index = spec.get("chunk_index", 0)
        x.chunk_role = spec.get("chunk_role", 0)
        x.chunk_finish = spec.get("chunk_finish", 0)
        x.chunk_call = spec.get("chunk_call", 0)
        put_text(x, &x.chunk_content, spec.get("chunk_content"))
        put_text(x, &x.chunk_arguments, spec.get("chunk_arguments"))
        return 0

    cdef int choices(self, object rows) except -1:
        cdef oisp_exchange* x = &self.x
        cdef oisp_choice* c
        x.choices = <oisp_choice*> many(len(rows), sizeof(oisp_choice))
        for row in rows:
            c = &x.choices[x.choices_count]
            c.index = row.get("index", x.choices_count)
            c.role = row.get("role", 0)
            c.finish = row.get("finish", 0)
            c.images = row.get("images", 0)
            put_text(x, &c.content, row.get("content"))
            put_text(x, &c.reasoning, row.get("reasoning"))
            put_text(x, &c.refusal, row.get("refusal"))
            put_text(x, &c.finish_raw, row.get("finish_raw"))
            x.choices_count += 1
        return 0

    cdef int calls(self, object rows) except -1:
        cdef oisp_exchange* x = &self.x
        cdef oisp_call* c
        x.calls = <oisp_call*> many(len(rows), sizeof(oisp_call))
        for row in rows:
            c = &x.calls[x.calls_count]
            c.server = row.get("server", 0)
            c.custom = row.get("custom", 0)
            put_text(x, &c.id, row.get("id"))
            put_text(x, &c.name, row.get("name"))
            put_text(x, &c.type, row.get("type"))
            put_text(x, &c.arguments, row.get("arguments"))
            put_text(x, &c.server_name, row.get("server_name"))
            x.calls_count += 1
        return 0


cdef class Facts:
    """An `oisp_facts` with its verdict; it keeps the bytes that its slices point into."""
    cdef oisp_facts f
    cdef oisp_verdict v
    cdef list kept

    def __cinit__(self, dict spec):
        memset(&self.f, 0, sizeof(oisp_facts))
        memset(&self.v, 0, sizeof(oisp_verdict))
        self.kept = []
        self.f.verdict = &self.v
        self.f.ts_ns = spec.get("ts_ns", 0)
        self.f.latency_ns = spec.get("latency_ns", ABSENT)
        self.f.first_token_ns = spec.get("first_token_ns", ABSENT)
        self.f.status = spec.get("status", 0)
        self.f.streamed = spec.get("streamed", 0)
        self.f.context_has_source = spec.get("context_has_source", 0)
        self.ulids(spec)
        self.slices(spec)
        self.verdict(spec.get("verdict", {}))
        self.confidence(spec.get("confidence", {}))

    cdef int ulid(self, oisp_ulid* to, object text) except -1:
        if text is not None:
            data = text.encode("ascii")
            if len(data) != 26:
                raise ValueError("a ULID has 26 characters")
            memcpy(to.text, <const char*> data, 26)
        return 0

    cdef int slice(self, oisp_slice* to, object data) except -1:
        if data is not None:
            self.kept.append(data)
            to.data = <const uint8_t*> <const char*> data
            to.size = len(data)
        return 0

    cdef int ulids(self, dict spec) except -1:
        self.ulid(&self.f.event_id, spec.get("event_id"))
        self.ulid(&self.f.request_event, spec.get("request_event"))
        self.ulid(&self.f.response_event, spec.get("response_event"))
        self.ulid(&self.f.parent_event, spec.get("parent_event"))
        self.ulid(&self.f.request_id, spec.get("request_id"))
        return 0

    cdef int slices(self, dict spec) except -1:
        self.slice(&self.f.context, spec.get("context"))
        self.slice(&self.f.provider_id, spec.get("provider_id"))
        self.slice(&self.f.dialect, spec.get("dialect"))
        self.slice(&self.f.scheme, spec.get("scheme"))
        self.slice(&self.f.authority, spec.get("authority"))
        self.slice(&self.f.path, spec.get("path"))
        self.slice(&self.f.method, spec.get("method"))
        self.slice(&self.f.conversation_id, spec.get("conversation_id"))
        self.slice(&self.f.tool_name, spec.get("tool_name"))
        self.slice(&self.f.connection, spec.get("connection"))
        return 0

    cdef int verdict(self, dict spec) except -1:
        self.v.kind = spec.get("kind", 0)
        self.v.request_type = spec.get("request_type", 0)
        self.v.provider_name = spec.get("provider_name", 0)
        self.v.auth_type = spec.get("auth_type", 0)
        self.v.account_type = spec.get("account_type", 0)
        self.slice(&self.v.model, spec.get("model"))
        self.slice(&self.v.key, spec.get("key"))
        self.slice(&self.v.region, spec.get("region"))
        self.slice(&self.v.organization, spec.get("organization"))
        self.slice(&self.v.project, spec.get("project"))
        return 0

    cdef int confidence(self, dict spec) except -1:
        self.f.confidence.reasons = spec.get("reasons", 0)
        self.f.confidence.missing = spec.get("missing", 0)
        self.f.confidence.request_lost = spec.get("request_lost", 0)
        self.f.confidence.response_lost = spec.get("response_lost", 0)
        self.f.confidence.request_spared = spec.get("request_spared", 0)
        self.f.confidence.response_spared = spec.get("response_spared", 0)
        self.f.confidence.over_limit = spec.get("over_limit", 0)
        self.f.confidence.level = spec.get("level", 0)
        self.f.confidence.completeness = spec.get("completeness", 0)
        self.f.confidence.detection_method = spec.get("detection_method", 0)
        self.f.confidence.content_source = spec.get("content_source", 0)
        self.f.confidence.process_attribution = spec.get("process_attribution", 0)
        self.f.confidence.loss_undetectable = spec.get("loss_undetectable", 0)
        return 0


cdef class Writer:
    cdef oisp_writer w
    cdef Models models

    def __cinit__(self, int policy=0, *, bytes hash_key=None, seed=(0, 0), Models models=None):
        if not writer_init(&self.w, policy, 1 << 20):
            raise ValueError("policy: 0, 1 or 2")
        writer_seed(&self.w, seed[0], seed[1], True)
        if models is not None:
            self.models = models
            self.w.models = models.table
        if hash_key is not None:
            writer_hash_key(&self.w, <const unsigned char*> <const char*> hash_key, len(hash_key))

    def __dealloc__(self):
        writer_free(&self.w)

    def ulid(self, uint64_t ts_ns):
        cdef oisp_ulid id
        writer_ulid(&self.w, ts_ns, &id)
        return id.text[:26].decode()

    def encode(self, str event, Exchange x, Facts f, unsigned index=0):
        """The line, by event type; `index` is that of the call or of the tool's answer."""
        self.write(event, x, f, index)
        line = self.w.out.data[:self.w.out.size]
        oisp_buffer_wipe(&self.w.out)
        return line

    cdef int write(self, str event, Exchange e, Facts facts, unsigned index) except -1:
        cdef oisp_status status
        cdef uint32_t number, text
        cdef oisp_exchange* x = &e.x
        cdef oisp_facts* f = &facts.f
        if event == "ai.request":
            status = encode_request(&self.w, x, f)
        elif event == "ai.response":
            status = encode_response(&self.w, x, f)
        elif event == "ai.embedding":
            status = encode_embedding(&self.w, x, f)
        elif event == "ai.streaming_chunk":
            status = encode_chunk(&self.w, x, f, &number, &text)
        elif event == "agent.tool_call" and index < x.calls_count:
            status = encode_tool_call(&self.w, x, &x.calls[index], f)
        elif event == "agent.tool_result" and index < x.answers_count:
            status = encode_tool_result(&self.w, x, &x.answers[index], f)
        else:
            raise ValueError(event)
        if status != 0:
            raise MemoryError
        return 0

    def time(self, str event, Exchange x, Facts f, unsigned rounds, unsigned index=0):
        """Writes the event `rounds` times; the bytes of one line. For benchmarks."""
        cdef unsigned _i
        cdef size_t size = 0
        for _i in range(rounds):
            self.write(event, x, f, index)
            size = self.w.out.size
            self.w.out.size = 0
        return size


def context_check(bytes members):
    """-1: not fit to be spliced into an event; else 1 if a source is among the members, 0 if not."""
    return writer_context(<const unsigned char*> <const char*> members, len(members))
