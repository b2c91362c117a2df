# SPDX-License-Identifier: Apache-2.0
"""An exchange and what the engine knows of it -> one line of NDJSON, under a content policy.

Every function appends one whole line to `w.out`, or nothing (memory is out: OISP_LIMIT). Nothing here allocates for
an event but the growth of that buffer, nothing raises, nothing needs the GIL. What is left out is named: by the table
of `policy.h`, which decides for each field whether it is kept, marked or dropped, and by the `missing` and
`reasons` that are collected while the line is written; that is why `confidence` stands at its end.
Not here: what an event is (decode/), when it is emitted and with which ids (the engine).
"""

from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strlen
from oisp_core.types cimport (
    OISP_CLIENT_APP, OISP_CLIENT_FRAMEWORK, OISP_CLIENT_SDK, OISP_KIND_CHAT, OISP_KIND_COMPLETION, OISP_KIND_MCP,
    OISP_KIND_UNKNOWN, OISP_LIMIT, OISP_MODEL_CODE_EXECUTION, OISP_MODEL_FUNCTION_CALLING, OISP_MODEL_JSON_MODE,
    OISP_MODEL_REASONING, OISP_MODEL_STREAMING, OISP_MODEL_SYSTEM_MESSAGES, OISP_MODEL_VISION, OISP_MODEL_WEB_SEARCH,
    OISP_OK, OISP_PART_SYSTEM, OISP_POLICY_FULL, OISP_POLICY_METADATA, OISP_POLICY_REDACTED, OISP_TEXT_JSON,
    OISP_TEXT_NONE, OISP_TEXT_PLAIN, OISP_TEXT_REWRITTEN, OISP_TEXT_STRING, OISP_TEXT_TRUNCATED, OISP_X_CACHED_ANSWER,
    OISP_COMPLETION_EXCLUDES_REASONING, OISP_PROMPT_EXCLUDES_CACHE,
    OISP_X_LIMIT, OISP_X_REQUEST_BAD, OISP_X_RESPONSE_BAD, OISP_X_RESPONSE_CUT, OISP_X_REWRITTEN, OISP_X_STREAM_ASKED,
    OISP_X_STREAM_NOT_ASKED, OISP_X_SYSTEM, oisp_buffer, oisp_buffer_append, oisp_buffer_free, oisp_buffer_reserve, oisp_buffer_wipe,
    oisp_call, oisp_choice, oisp_chunk_line,
    oisp_client, oisp_confidence, oisp_cost, oisp_exchange, oisp_facts, oisp_hit, oisp_message_part, oisp_model,
    oisp_model_cost, oisp_model_match, oisp_model_memo, oisp_models_find, oisp_service_of, oisp_slice, oisp_status, oisp_text,
    oisp_text_data, oisp_tokens_used, oisp_tool_answer, oisp_tool_def, oisp_ulid, oisp_usage, oisp_usage_audio, oisp_usage_write_1h,
    oisp_verdict, oisp_wipe, oisp_writer)


cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_percent_decode(uint8_t* out, size_t room, const uint8_t* source, size_t size)

cdef extern from "oisp/exchange.h" nogil:
    const int64_t ABSENT "OISP_ABSENT"


cdef extern from "oisp/contract.h" nogil:
    enum:
        OISP_COMPLETENESS_FULL
        OISP_COMPLETENESS_METADATA_ONLY
        OISP_COMPLETENESS_PARTIAL
        OISP_COMPLETENESS_REDACTED
        OISP_LEVEL_HIGH
        OISP_LEVEL_INFERRED
        OISP_LEVEL_MEDIUM
        OISP_ROLE_ASSISTANT
        OISP_ROLE_SYSTEM
        OISP_TRIGGERED_BY_LLM_DECISION


cdef extern from "oisp/confidence.h" nogil:
    const uint64_t REASON_CONTENT_BY_POLICY "OISP_REASON_BIT(CONTENT_BY_POLICY)"
    const uint64_t REASON_LIMIT_REACHED "OISP_REASON_BIT(LIMIT_REACHED)"
    const uint64_t REASON_REQUEST_UNREADABLE "OISP_REASON_BIT(REQUEST_UNREADABLE)"
    const uint64_t REASON_RESPONSE_UNREADABLE "OISP_REASON_BIT(RESPONSE_UNREADABLE)"
    const uint64_t REASON_TEXT_REWRITTEN "OISP_REASON_BIT(TEXT_REWRITTEN)"
    const uint64_t MISSING_ARGUMENTS "OISP_MISSING_BIT(ARGUMENTS)"
    const uint64_t MISSING_CALL_ID "OISP_MISSING_BIT(CALL_ID)"
    const uint64_t MISSING_CONTENT "OISP_MISSING_BIT(CONTENT)"
    const uint64_t MISSING_CONTEXT "OISP_MISSING_BIT(CONTEXT)"
    const uint64_t MISSING_ERROR_MESSAGE "OISP_MISSING_BIT(ERROR_MESSAGE)"
    const uint64_t MISSING_FINISH_REASON "OISP_MISSING_BIT(FINISH_REASON)"
    const uint64_t MISSING_LATENCY "OISP_MISSING_BIT(LATENCY)"
    const uint64_t MISSING_MESSAGES "OISP_MISSING_BIT(MESSAGES)"
    const uint64_t MISSING_MODEL "OISP_MISSING_BIT(MODEL)"
    const uint64_t MISSING_PARENT "OISP_MISSING_BIT(PARENT)"
    const uint64_t MISSING_PRICE "OISP_MISSING_BIT(PRICE)"
    const uint64_t MISSING_PROVIDER "OISP_MISSING_BIT(PROVIDER)"
    const uint64_t MISSING_QUERY "OISP_MISSING_BIT(QUERY)"
    const uint64_t MISSING_REASONING "OISP_MISSING_BIT(REASONING)"
    const uint64_t MISSING_STOP "OISP_MISSING_BIT(STOP)"
    const uint64_t MISSING_TEXT_FORM "OISP_MISSING_BIT(TEXT_FORM)"
    const uint64_t MISSING_TOOL_DESCRIPTION "OISP_MISSING_BIT(TOOL_DESCRIPTION)"
    const uint64_t MISSING_USAGE "OISP_MISSING_BIT(USAGE)"


cdef extern from *:
    """
    #include "oisp/policy.h"
    #define OISP_POLICY_CELLS(name, events, path, metadata, redacted, full, stays) \\
      {{#name, events, path, #metadata, #redacted, #full, stays}},
    static const struct oisp_policy_row { const char *cells[7]; } oisp_policy_rows[] = {
        OISP_POLICY_TABLE(OISP_POLICY_CELLS)};
    """
    struct oisp_policy_row:
        const char* cells[7]
    const oisp_policy_row oisp_policy_rows[]


cdef extern from "oisp/policy.h" nogil:
    enum:
        OISP_POLICY_FIELDS
        OISP_KEEP
        OISP_MARK
        OISP_DROP
        OISP_HIDE
        OISP_MASK
        OISP_FIELD_CALL_ARGUMENTS
        OISP_FIELD_CHOICE
        OISP_FIELD_CHUNK
        OISP_FIELD_CHUNK_ARGUMENTS
        OISP_FIELD_ERROR_MESSAGE
        OISP_FIELD_HIT
        OISP_FIELD_MESSAGE
        OISP_FIELD_OTHER_MESSAGE
        OISP_FIELD_QUERY
        OISP_FIELD_RAW_ARGUMENTS
        OISP_FIELD_REASONING
        OISP_FIELD_REFUSAL
        OISP_FIELD_STOP
        OISP_FIELD_SYSTEM_PROMPT
        OISP_FIELD_TOOL_ARGUMENTS
        OISP_FIELD_TOOL_DESCRIPTION
        OISP_FIELD_TOOL_ERROR
        OISP_FIELD_TOOL_RESULT
    uint8_t oisp_policy_action(int field, int policy)


cdef extern from "oisp/text.h" nogil:
    ctypedef struct oisp_digest:
        uint64_t chars
        uint64_t bytes
    ctypedef struct oisp_digest_job:
        const uint8_t* data
        uint32_t size
        uint32_t form
        uint64_t chars
        uint64_t bytes
        char hex[16]
    void oisp_digest_jobs(oisp_digest_job* jobs, uint32_t count, const uint8_t* key)
    void oisp_digest_begin(oisp_digest* d, const uint8_t* key)
    void oisp_digest_text(oisp_digest* d, int form, const uint8_t* data, size_t size)
    void oisp_digest_end(oisp_digest* d, char* hex)
    int oisp_put_plain(oisp_buffer* out, const uint8_t* data, size_t size)
    int oisp_put_json(oisp_buffer* out, const uint8_t* data, size_t size)
    int oisp_put_compact(oisp_buffer* out, const uint8_t* data, size_t size)
    int oisp_put_unescaped(oisp_buffer* out, const uint8_t* data, size_t size)
    int oisp_json_check(const uint8_t* data, size_t size)
    int oisp_context_check(const uint8_t* data, size_t size)


cdef extern from "oisp/mask.h" nogil:
    int oisp_put_masked(oisp_buffer* out, const uint8_t* data, size_t size, int value)


cdef extern from "oisp/toolname.h" nogil:
    unsigned oisp_tool_type_of(const uint8_t* name, size_t size)


cdef extern from "oisp/sha256.h" nogil:
    void oisp_hmac_key(uint8_t* out, const void* key, size_t size)
    const char* oisp_sha256_backend()


cdef extern from "oisp/line.h" nogil:
    enum:
        OISP_DECIMAL
        OISP_TIME_TEXT
        OISP_TIME_FRACTION
    int oisp_decimal(char* digits, uint64_t v)
    void oisp_fixed_digits(char* to, uint32_t width, uint32_t v)
    void oisp_time_text(char* t, uint64_t ns)
    ctypedef struct oisp_line:
        oisp_writer* w
        const oisp_exchange* x
        const oisp_facts* f
        uint64_t reasons
        uint64_t missing
        const oisp_digest_job* digests
        const oisp_text* known_of
        oisp_model_match known
        uint32_t start
        uint8_t failed
        uint8_t partial
        uint8_t raw
        uint8_t mask
    void line_raw(oisp_line* to, const void* data, size_t size)
    void line_put(oisp_line* to, const char* text)
    void line_comma(oisp_line* to)
    void line_key(oisp_line* to, const char* key)
    void line_unsigned(oisp_line* to, uint64_t v)
    void line_integer(oisp_line* to, int64_t v)
    void line_word(oisp_line* to, const char* word)
    void line_money(oisp_line* to, double usd)
    void line_must(oisp_line* to, int done)
    void line_time(oisp_line* to, uint64_t ns)
    const char* oisp_word_provider(unsigned v)
    const char* oisp_word_auth(unsigned v)
    const char* oisp_word_account(unsigned v)
    const char* oisp_word_request(unsigned v)
    const char* oisp_word_role(unsigned v)
    const char* oisp_word_tool(unsigned v)
    const char* oisp_word_agent_tool(unsigned v)
    const char* oisp_word_finish(unsigned v)
    const char* oisp_word_level(unsigned v)
    const char* oisp_word_completeness(unsigned v)
    const char* oisp_word_attribution(unsigned v)
    const char* oisp_word_source(unsigned v)
    const char* oisp_word_method(unsigned v)
    const char* oisp_word_trigger(unsigned v)
    const char* oisp_word_reason(unsigned bit)
    const char* oisp_word_missing(unsigned bit)
    const char* oisp_word_kind(unsigned kind)
    enum:
        OISP_REASON_COUNT
        OISP_MISSING_COUNT
        OISP_MODEL_MEMOS


# --- the writer itself ---


cdef int writer_init(oisp_writer* w, int policy, size_t out_max) noexcept nogil:
    memset(w, 0, sizeof(oisp_writer))
    if policy < OISP_POLICY_METADATA or policy > OISP_POLICY_FULL:
        return 0
    w.policy = <uint8_t> policy
    w.out_max = <uint32_t> (out_max if out_max < UINT32_MAX else UINT32_MAX)
    return 1


cdef void writer_free(oisp_writer* w) noexcept nogil:
    oisp_buffer_free(&w.out)
    oisp_buffer_free(&w.scratch)
    oisp_buffer_free(&w.masking)
    oisp_wipe(w.hash_key, sizeof(w.hash_key))


cdef void writer_hash_key(oisp_writer* w, const unsigned char* key, size_t size) noexcept nogil:
    oisp_hmac_key(w.hash_key, key, size)
    w.keyed = 1


cdef int writer_context(const unsigned char* members, size_t size) noexcept nogil:
    return oisp_context_check(members, size)


cdef uint64_t random_next(oisp_writer* w) noexcept nogil:
    """splitmix64 over a 128-bit state: any seed is a good seed, zero too."""
    w.id_state[0] += <uint64_t> 0x9e3779b97f4a7c15
    cdef uint64_t z = w.id_state[0] ^ w.id_state[1]
    z = (z ^ (z >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * <uint64_t> 0x94d049bb133111eb
    return z ^ (z >> 31)


cdef void writer_seed(oisp_writer* w, uint64_t a, uint64_t b, bint reproducible) noexcept nogil:
    w.id_state[0] = a
    w.id_state[1] = b
    w.seeded = reproducible
    cdef uint64_t start = random_next(w)
    memcpy(w.id_last, &start, 6)
    w.id_last[0] &= 0x7f  # room to count up: 2**47 ids before it could wrap


cdef void writer_ulid(oisp_writer* w, uint64_t ts_ns, oisp_ulid* out) noexcept nogil:
    """48 bits of milliseconds, 48 of a counter with a random start, 32 random: in whatever order milliseconds come, ids
    of the same one count up, and two writers do not meet."""
    cdef uint8_t raw[16]
    cdef uint64_t ms = ts_ns // 1000000
    cdef uint64_t noise = random_next(w)
    cdef int i
    for i in range(5, -1, -1):
        w.id_last[i] += 1
        if w.id_last[i] != 0:
            break
    for i in range(6):
        raw[i] = <uint8_t> (ms >> (40 - 8 * i))
    memcpy(raw + 6, w.id_last, 6)
    memcpy(raw + 12, &noise, 4)
    w.id_last_ms = ms
    ulid_text(raw, out)


cdef void ulid_text(const uint8_t* raw, oisp_ulid* out) noexcept nogil:
    """128 bits as 26 digits of Crockford's base 32: the first holds 3 bits, the others 5."""
    cdef const char* digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    cdef uint64_t high = 0, low = 0
    cdef int i
    for i in range(8):
        high = high << 8 | raw[i]
        low = low << 8 | raw[8 + i]
    for i in range(13):  # 65 bits from the end, with the last one of `high`; then the 63 before it
        out.text[25 - i] = digits[(low >> 5 * i | (high << 4 if i == 12 else 0)) & 31]
        out.text[12 - i] = digits[high >> 1 >> 5 * i & 31]


# --- texts ---


cdef inline const uint8_t* text_data(oisp_line* to, const oisp_text* t) noexcept nogil:
    return oisp_text_data(to.x, t)


cdef inline bint is_null(oisp_line* to, const oisp_text* t) noexcept nogil:
    return t.form == OISP_TEXT_JSON and (t.size == 0 or (t.size == 4 and memcmp(text_data(to, t), b"null", 4) == 0))


cdef inline bint present(oisp_line* to, const oisp_text* t) noexcept nogil:
    return t.form != OISP_TEXT_NONE and not is_null(to, t)


cdef void note_text(oisp_line* to, const oisp_text* t) noexcept nogil:
    """What a text that is written or digested tells of itself."""
    if t.flags & OISP_TEXT_TRUNCATED:
        to.partial = 1
    if t.flags & OISP_TEXT_REWRITTEN:
        to.reasons |= REASON_TEXT_REWRITTEN


cdef void put_string(oisp_line* to, const oisp_text* t) noexcept nogil:
    """As a JSON string, whatever form the text has."""
    line_put(to, b'"')
    put_inside(to, t)
    line_put(to, b'"')


cdef bint mask_span(oisp_line* to, uint32_t start, bint value) noexcept nogil:
    """What was written since `start`, masked in its place. False: it has to be withheld, and is gone."""
    cdef uint32_t size = to.w.out.size - start
    cdef int masks
    if to.failed:
        return True
    oisp_buffer_wipe(&to.w.masking)
    masks = oisp_put_masked(&to.w.masking, to.w.out.data + start, size, value)
    if masks < 0:
        to.failed = masks == -1
    elif masks > 0:
        oisp_wipe(to.w.out.data + start, size)
        to.w.out.size = start
        line_raw(to, to.w.masking.data, to.w.masking.size)
        to.reasons |= REASON_CONTENT_BY_POLICY
    oisp_buffer_wipe(&to.w.masking)
    if masks == -2:
        oisp_wipe(to.w.out.data + start, size)
        to.w.out.size = start
        return False
    return True


cdef bint is_json_string(const uint8_t** data, uint32_t* size, int form) noexcept nogil:
    """A JSON value that is a string: then `data` and `size` are its inside."""
    cdef uint32_t at = 0, end = size[0]
    if form != OISP_TEXT_JSON:
        return False
    while at < end and data[0][at] <= c" ":
        at += 1
    while end > at and data[0][end - 1] <= c" ":
        end -= 1
    if end - at < 2 or data[0][at] != c'"':
        return False
    data[0] += at + 1
    size[0] = end - at - 2
    return True


cdef void put_inside(oisp_line* to, const oisp_text* t) noexcept nogil:
    """The text between quotes."""
    cdef const uint8_t* data = text_data(to, t)
    cdef uint32_t size = t.size
    cdef uint32_t start = to.w.out.size
    note_text(to, t)
    if t.form == OISP_TEXT_STRING or is_json_string(&data, &size, t.form):
        line_raw(to, data, size)
    elif t.form == OISP_TEXT_JSON:
        line_must(to, oisp_put_compact(&to.w.out, data, size))
    else:
        line_must(to, oisp_put_plain(&to.w.out, data, t.size))
    if to.mask and not mask_span(to, start, False):
        line_put(to, b"[REDACTED]")
        to.reasons |= REASON_CONTENT_BY_POLICY


cdef void put_slice(oisp_line* to, const oisp_slice* s) noexcept nogil:
    line_put(to, b'"')
    line_must(to, oisp_put_plain(&to.w.out, s.data, s.size))
    line_put(to, b'"')


cdef void put_hash(oisp_line* to, const char* hex) noexcept nogil:
    if to.w.keyed:
        line_put(to, b'"hmac-sha256:')
    else:
        line_put(to, b'"sha256:')
    line_raw(to, hex, 16)
    line_put(to, b'"')


cdef inline const uint8_t* hash_key(oisp_line* to) noexcept nogil:
    return to.w.hash_key if to.w.keyed else NULL


cdef void digest(oisp_line* to, const oisp_text* t, oisp_digest* d, char* hex) noexcept nogil:
    note_text(to, t)
    oisp_digest_begin(d, hash_key(to))
    oisp_digest_text(d, t.form, text_data(to, t), t.size)
    oisp_digest_end(d, hex)


cdef void put_marker(oisp_line* to, uint64_t chars, const char* hex) noexcept nogil:
    line_put(to, b'{"$redacted":{"reason":"policy","original_length":')
    line_unsigned(to, chars)
    line_put(to, b',"hash":')
    put_hash(to, hex)
    line_put(to, b'}}')
    to.reasons |= REASON_CONTENT_BY_POLICY


cdef inline int action_of(oisp_line* to, int field) noexcept nogil:
    return oisp_policy_action(field, to.w.policy)


cdef void put_allowed(oisp_line* to, const oisp_text* t, int action) noexcept nogil:
    """A text that policy lets out, as it is or masked."""
    to.mask = action == OISP_MASK
    put_string(to, t)
    to.mask = 0


cdef bint keeps(oisp_line* to, int field) noexcept nogil:
    """Content leaves, masked or not."""
    cdef int action = action_of(to, field)
    return action == OISP_KEEP or action == OISP_MASK


cdef void content_member(oisp_line* to, const char* key, const oisp_text* t, int field) noexcept nogil:
    """A text that may_put() allowed."""
    if present(to, t):
        line_key(to, key)
        put_allowed(to, t, action_of(to, field))


cdef void put_content(oisp_line* to, const oisp_text* t, int field, const oisp_digest_job* made) noexcept nogil:
    """Members `content`, and under a marker `content_hash` and `content_length`. `made`: its digest, if there is one."""
    cdef oisp_digest d
    cdef char hex[16]
    cdef int action = action_of(to, field)
    cdef const char* known = hex
    if not present(to, t):
        return
    if action == OISP_KEEP or action == OISP_MASK:
        line_key(to, b'"content":')
        put_allowed(to, t, action)
        if action == OISP_KEEP:
            return
    if made != NULL:
        note_text(to, t)
        known = <const char*> made.hex
        d.chars = made.chars
    else:
        digest(to, t, &d, hex)
    if action == OISP_MARK:
        line_key(to, b'"content":')
        put_marker(to, d.chars, known)
    line_key(to, b'"content_hash":')
    put_hash(to, known)
    line_key(to, b'"content_length":')
    line_unsigned(to, d.chars)


cdef bint may_put(oisp_line* to, const oisp_text* t, int field, uint64_t missing) noexcept nogil:
    """Whether a text that has no place for a marker is written; if policy says no, that is said."""
    if not present(to, t):
        return False
    if keeps(to, field):
        return True
    to.reasons |= REASON_CONTENT_BY_POLICY
    to.missing |= missing
    return False


cdef void text_member(oisp_line* to, const char* key, const oisp_text* t) noexcept nogil:
    if present(to, t):
        line_key(to, key)
        put_string(to, t)


cdef void word_member(oisp_line* to, const char* key, const char* word) noexcept nogil:
    if word != NULL:
        line_key(to, key)
        line_word(to, word)


cdef void slice_member(oisp_line* to, const char* key, const oisp_slice* s) noexcept nogil:
    if s.size:
        line_key(to, key)
        put_slice(to, s)


cdef void integer_member(oisp_line* to, const char* key, int64_t v) noexcept nogil:
    if v != ABSENT:
        line_key(to, key)
        line_integer(to, v)


cdef void bool_member(oisp_line* to, const char* key, bint v) noexcept nogil:
    line_key(to, key)
    if v:
        line_put(to, b"true")
    else:
        line_put(to, b"false")


cdef void ulid_member(oisp_line* to, const char* key, const oisp_ulid* id) noexcept nogil:
    if id.text[0]:
        line_key(to, key)
        line_put(to, b'"')
        line_raw(to, id.text, 26)
        line_put(to, b'"')


# --- who asks, as the head says it ---


cdef const oisp_client* asks(oisp_line* to, int role) noexcept nogil:
    return to.f.asker.who[role] if to.f.asker != NULL else NULL


cdef bint has_app(const oisp_slice* context) noexcept nogil:
    """A member `app` at the top of ready-encoded members: capture knows the program, and that is better than its word."""
    cdef uint32_t i = 0
    cdef int depth = 0
    while i < context.size:
        if context.data[i] == c'"':
            if depth == 0 and context.size - i > 6 and memcmp(context.data + i, b'"app":', 6) == 0:
                return True
            i += 1
            while i < context.size and context.data[i] != c'"':
                i += 2 if context.data[i] == c"\\" else 1
        elif context.data[i] == c"{" or context.data[i] == c"[":
            depth += 1
        elif context.data[i] == c"}" or context.data[i] == c"]":
            depth -= 1
        i += 1
    return False


cdef void put_app(oisp_line* to) noexcept nogil:
    """The envelope's `app`, where the context has none."""
    cdef const oisp_client* app = asks(to, OISP_CLIENT_APP)
    if app == NULL or has_app(&to.f.context):
        return
    line_put(to, b',"app":{')
    slice_member(to, b'"app_id":', &app.id)
    slice_member(to, b'"name":', &app.name)
    slice_member(to, b'"vendor":', &app.vendor)
    slice_member(to, b'"version":', &to.f.asker.version[<int> OISP_CLIENT_APP])
    slice_member(to, b'"category":', &app.category)
    slice_member(to, b'"type":', &app.type)
    line_put(to, b',"tier":"identified","is_ai_app":true}')


cdef void put_client_part(oisp_line* to, int role, const char* key, const char* version_key) noexcept nogil:
    cdef const oisp_client* who = asks(to, role)
    if who != NULL:
        slice_member(to, key, &who.id)
        slice_member(to, version_key, &to.f.asker.version[role])


cdef void put_client(oisp_line* to) noexcept nogil:
    """ext.oisp.client: program, framework and SDK, as the head says."""
    cdef uint32_t opened = to.w.out.size
    line_key(to, b'"client":{')
    put_client_part(to, OISP_CLIENT_APP, b'"app":', b'"app_version":')
    put_client_part(to, OISP_CLIENT_FRAMEWORK, b'"framework":', b'"framework_version":')
    put_client_part(to, OISP_CLIENT_SDK, b'"sdk":', b'"sdk_version":')
    end_raw(to, opened)


# --- the envelope ---


cdef void begin(oisp_line* to, oisp_writer* w, const oisp_exchange* x, const oisp_facts* f,
                const char* event_type) noexcept nogil:
    """The envelope up to the members of `data`."""
    cdef oisp_ulid id
    memset(to, 0, sizeof(oisp_line))
    to.w = w
    to.x = x
    to.f = f
    to.start = w.out.size
    line_put(to, b'{"oisp_version":"0.1","event_id":"')
    if f.event_id.text[0]:
        line_raw(to, f.event_id.text, 26)
    else:
        writer_ulid(w, f.ts_ns, &id)
        line_raw(to, id.text, 26)
    line_put(to, b'","event_type":"')
    line_raw(to, event_type, strlen(event_type))
    line_put(to, b'","ts":')
    line_time(to, f.ts_ns)
    if f.context.size:
        line_put(to, b",")
        line_raw(to, f.context.data, f.context.size)
    else:
        to.missing |= MISSING_CONTEXT
    put_app(to)
    if not f.context_has_source:
        line_put(to, b',"source":{"collector":"oisp_core"}')
    line_put(to, b',"data":{')


cdef void put_bits(oisp_line* to, const char* key, uint64_t bits, bint missing) noexcept nogil:
    cdef unsigned i
    if bits == 0:
        return
    line_key(to, key)
    line_put(to, b"[")
    for i in range(<unsigned> (OISP_MISSING_COUNT if missing else OISP_REASON_COUNT)):
        if bits >> i & 1:
            line_comma(to)
            line_word(to, oisp_word_missing(i) if missing else oisp_word_reason(i))
    line_put(to, b"]")


cdef void put_limitation(oisp_line* to, const char* word, uint64_t bytes) noexcept nogil:
    if bytes:
        line_comma(to)
        line_put(to, b'"')
        line_raw(to, word, strlen(word))
        line_unsigned(to, bytes)
        line_put(to, b'"')


cdef void put_limitations(oisp_line* to, const oisp_confidence* c) noexcept nogil:
    if not (c.request_lost or c.response_lost or c.request_spared or c.response_spared or c.over_limit
            or c.loss_undetectable):
        return
    line_key(to, b'"limitations":[')
    put_limitation(to, b"request_bytes_lost=", c.request_lost)
    put_limitation(to, b"response_bytes_lost=", c.response_lost)
    put_limitation(to, b"request_bytes_spared=", c.request_spared)
    put_limitation(to, b"response_bytes_spared=", c.response_spared)
    put_limitation(to, b"bytes_over_limit=", c.over_limit)
    if c.loss_undetectable:
        line_key(to, b'"loss_undetectable"')
    line_put(to, b"]")


cdef int completeness(oisp_line* to, const oisp_confidence* c) noexcept nogil:
    """Loss says more than policy: `partial` wins; then what the policy does to content."""
    if c.completeness not in (0, OISP_COMPLETENESS_FULL):
        return c.completeness
    if to.partial or c.request_lost or c.response_lost or c.over_limit:
        return OISP_COMPLETENESS_PARTIAL
    if to.w.policy == OISP_POLICY_METADATA:
        return OISP_COMPLETENESS_METADATA_ONLY
    if to.reasons & REASON_CONTENT_BY_POLICY:
        return OISP_COMPLETENESS_REDACTED
    return OISP_COMPLETENESS_FULL


cdef const char* policy_name(int policy) noexcept nogil:
    if policy == OISP_POLICY_METADATA:
        return b"metadata"
    if policy == OISP_POLICY_REDACTED:
        return b"redacted"
    return b"full"


cdef int level(oisp_line* to, const oisp_confidence* c) noexcept nogil:
    """What lost bytes is never `high`."""
    if oisp_word_level(c.level) == NULL:
        return OISP_LEVEL_INFERRED
    if c.level == OISP_LEVEL_HIGH and (to.partial or c.request_lost or c.response_lost or c.over_limit
                                       or c.completeness == OISP_COMPLETENESS_PARTIAL):
        return OISP_LEVEL_MEDIUM
    return c.level


cdef void put_confidence(oisp_line* to) noexcept nogil:
    cdef const oisp_confidence* c = &to.f.confidence
    if to.x.flags & OISP_X_LIMIT:
        to.reasons |= REASON_LIMIT_REACHED
        to.partial = 1
    if to.x.flags & OISP_X_REWRITTEN:
        to.reasons |= REASON_TEXT_REWRITTEN
    line_put(to, b',"confidence":{"level":')
    line_word(to, oisp_word_level(level(to, c)))
    line_put(to, b',"completeness":')
    line_word(to, oisp_word_completeness(completeness(to, c)))
    put_bits(to, b'"reasons":', to.reasons | c.reasons, False)
    put_bits(to, b'"missing":', to.missing | c.missing, True)
    put_limitations(to, c)
    word_member(to, b'"process_attribution":', oisp_word_attribution(c.process_attribution))
    word_member(to, b'"content_source":', oisp_word_source(c.content_source))
    word_member(to, b'"ai_detection_method":', oisp_word_method(c.detection_method))
    if to.w.policy == OISP_POLICY_METADATA or to.reasons & REASON_CONTENT_BY_POLICY:
        line_put(to, b',"redaction_applied":true')
        word_member(to, b'"redaction_profile":', policy_name(to.w.policy))
    line_put(to, b"}}\n")


cdef void put_related(oisp_line* to, const oisp_ulid* id, const char* relationship) noexcept nogil:
    if not id.text[0]:
        return
    line_put(to, b',"related_events":[{"event_id":"')
    line_raw(to, id.text, 26)
    line_put(to, b'","relationship":"')
    line_raw(to, relationship, strlen(relationship))
    line_put(to, b'"}]')


cdef oisp_status finish(oisp_line* to) noexcept nogil:
    """The line is whole, or it is cut off."""
    put_confidence(to)
    if to.failed:
        oisp_wipe(to.w.out.data + to.start, to.w.out.size - to.start)
        to.w.out.size = to.start
        return OISP_LIMIT
    return OISP_OK


# --- members that several events share ---


cdef bint ends_path(uint8_t c) noexcept nogil:
    return c == c"?" or c == c"#"


cdef void put_endpoint(oisp_line* to) noexcept nogil:
    """scheme://authority/path: user information and query may hold a credential and are left out."""
    cdef const oisp_facts* f = to.f
    cdef oisp_slice host = f.authority, path = f.path
    cdef uint32_t i
    for i in range(host.size, 0, -1):  # the last one: a password may hold an @ too
        if host.data[i - 1] == c"@":
            host.data += i
            host.size -= i
            break
    for i in range(path.size):
        if ends_path(path.data[i]):
            path.size = i
            break
    if host.size == 0 and path.size == 0:
        return
    line_key(to, b'"endpoint":"')
    if host.size:
        line_must(to, oisp_put_plain(&to.w.out, f.scheme.data, f.scheme.size))
        if f.scheme.size:
            line_put(to, b"://")
        line_must(to, oisp_put_plain(&to.w.out, host.data, host.size))
    line_must(to, oisp_put_plain(&to.w.out, path.data, path.size))
    line_put(to, b'"')


cdef void put_provider(oisp_line* to) noexcept nogil:
    cdef const oisp_verdict* v = to.f.verdict
    cdef const char* name = oisp_word_provider(v.provider_name) if v != NULL else NULL
    line_key(to, b'"provider":{')
    word_member(to, b'"name":', name)
    put_endpoint(to)
    if v != NULL:
        slice_member(to, b'"region":', &v.region)
        slice_member(to, b'"organization_id":', &v.organization)
        slice_member(to, b'"project_id":', &v.project)
    line_put(to, b"}")
    if name == NULL:
        to.missing |= MISSING_PROVIDER


cdef oisp_model_match known_model(oisp_line* to, const oisp_text* named, const oisp_slice* of_path) noexcept nogil:
    """What is publicly known of the model that a text names, or else the path."""
    cdef oisp_model_match none
    cdef const uint8_t* name
    cdef uint32_t size
    cdef uint8_t plain[512]
    none.model = NULL
    none.priced = 0
    if to.w.models == NULL:
        return none
    if to.known_of == named:
        return to.known
    if present(to, named):
        name = text_data(to, named)
        size = named.size
        is_json_string(&name, &size, named.form)
    elif of_path != NULL:
        size = <uint32_t> oisp_percent_decode(plain, sizeof(plain), of_path.data, of_path.size)
        name = plain
    else:
        return none
    to.known = oisp_models_find(to.w.models, <const char*> to.f.provider_id.data, to.f.provider_id.size, name, size)
    to.known_of = named
    return to.known


cdef void capability(oisp_line* to, const char* key, uint32_t has) noexcept nogil:
    if has:
        line_key(to, key)
        line_put(to, b"true")


cdef void put_capabilities(oisp_line* to, uint32_t has) noexcept nogil:
    """Only what the registry says it can: that it says nothing is no denial."""
    if has == 0:
        return
    line_key(to, b'"capabilities":{')
    capability(to, b'"vision":', has & OISP_MODEL_VISION)
    capability(to, b'"function_calling":', has & OISP_MODEL_FUNCTION_CALLING)
    capability(to, b'"streaming":', has & OISP_MODEL_STREAMING)
    capability(to, b'"json_mode":', has & OISP_MODEL_JSON_MODE)
    capability(to, b'"system_messages":', has & OISP_MODEL_SYSTEM_MESSAGES)
    capability(to, b'"reasoning":', has & OISP_MODEL_REASONING)
    capability(to, b'"web_search":', has & OISP_MODEL_WEB_SEARCH)
    capability(to, b'"code_execution":', has & OISP_MODEL_CODE_EXECUTION)
    line_put(to, b"}")


cdef void put_model_facts(oisp_line* to, const oisp_model* model, bint of_request) noexcept nogil:
    if model == NULL:
        return
    if model.family.size:
        line_key(to, b'"family":"')
        line_must(to, oisp_put_plain(&to.w.out, <const uint8_t*> model.family.data, model.family.size))
        line_put(to, b'"')
    if of_request:
        put_capabilities(to, model.capabilities)
    integer_member(to, b'"context_window":', model.context if model.context else ABSENT)
    integer_member(to, b'"max_output_tokens":', model.output if model.output else ABSENT)


cdef bint memo_fits(oisp_line* to, const oisp_text* named) noexcept nogil:
    """A name that was sent as it is meant, and is not too long to remember."""
    cdef const oisp_slice* provider = &to.f.provider_id
    return named.form == OISP_TEXT_STRING and named.flags == 0 and 0 < named.size <= sizeof(to.w.memos[0].name) \
        and provider.size <= sizeof(to.w.memos[0].provider)


cdef bint put_known_model(oisp_line* to, const oisp_text* named, bint of_request) noexcept nogil:
    """The whole object, as it was written for this provider's model before."""
    cdef const oisp_slice* provider = &to.f.provider_id
    cdef const oisp_model_memo* m
    cdef uint32_t i
    for i in range(OISP_MODEL_MEMOS):
        m = &to.w.memos[i]
        if m.name_size == named.size and m.provider_size == provider.size and m.of_request == <uint32_t> of_request \
                and memcmp(m.name, text_data(to, named), named.size) == 0 \
                and (provider.size == 0 or memcmp(m.provider, provider.data, provider.size) == 0):
            line_key(to, b'"model":')
            line_raw(to, m.text, m.text_size)
            to.known = m.match
            to.known_of = named
            return True
    return False


cdef void remember_model(oisp_line* to, const oisp_text* named, bint of_request, uint32_t start) noexcept nogil:
    """The object that begins at `start` of the line."""
    cdef const oisp_slice* provider = &to.f.provider_id
    cdef oisp_model_memo* m = &to.w.memos[to.w.memo_next]
    cdef uint32_t size = to.w.out.size - start
    if to.failed or size > sizeof(m.text) or to.known_of != named:
        return
    to.w.memo_next = (to.w.memo_next + 1) % OISP_MODEL_MEMOS
    m.match = to.known
    m.of_request = of_request
    m.name_size, m.provider_size, m.text_size = named.size, provider.size, size
    memcpy(m.name, text_data(to, named), named.size)
    if provider.size:
        memcpy(m.provider, provider.data, provider.size)
    memcpy(m.text, to.w.out.data + start, size)


cdef void put_model(oisp_line* to, const oisp_text* named) noexcept nogil:
    cdef const oisp_verdict* v = to.f.verdict
    cdef const oisp_slice* of_path = NULL
    cdef bint of_request = named == &to.x.model_requested
    cdef bint fits = memo_fits(to, named)
    cdef uint32_t start
    cdef uint8_t plain[512]
    if fits and put_known_model(to, named, of_request):
        return
    if present(to, named):
        line_key(to, b'"model":')
        start = to.w.out.size
        line_put(to, b'{"id":')
        put_string(to, named)
    elif of_request and v != NULL and v.model.size:
        of_path = &v.model
        line_key(to, b'"model":{"id":"')
        line_must(to, oisp_put_plain(&to.w.out, plain, oisp_percent_decode(plain, sizeof(plain), of_path.data, of_path.size)))
        line_put(to, b'"')
    else:
        to.missing |= MISSING_MODEL
        return
    put_model_facts(to, known_model(to, named, of_path).model, of_request)
    line_put(to, b"}")
    if fits:
        remember_model(to, named, of_request, start)


cdef void put_ids(oisp_line* to) noexcept nogil:
    ulid_member(to, b'"request_id":', &to.f.request_id)
    if to.f.conversation_id.size:
        slice_member(to, b'"conversation_id":', &to.f.conversation_id)
    else:
        text_member(to, b'"conversation_id":', &to.x.conversation)


cdef void begin_ext(oisp_line* to) noexcept nogil:
    cdef const oisp_verdict* v = to.f.verdict
    line_put(to, b'},"ext":{"oisp":{')
    slice_member(to, b'"provider":', &to.f.provider_id)
    slice_member(to, b'"dialect":', &to.f.dialect)
    if v != NULL:
        word_member(to, b'"kind":', oisp_word_kind(v.kind))


cdef void put_connection(oisp_line* to) noexcept nogil:
    if to.f.connection.size:
        line_key(to, b'"connection":{')
        line_raw(to, to.f.connection.data, to.f.connection.size)
        line_put(to, b"}")


cdef void end_ext(oisp_line* to) noexcept nogil:
    line_put(to, b"}}")


cdef void end_raw(oisp_line* to, uint32_t opened) noexcept nogil:
    """Close `"raw":{`, or take it back when nothing went in: `opened` is where the line stood before its comma."""
    if not to.failed and to.w.out.data[to.w.out.size - 1] == c"{":
        to.w.out.size = opened
    else:
        line_put(to, b"}")


cdef bint same_word(oisp_line* to, const oisp_text* raw, const char* word) noexcept nogil:
    cdef const uint8_t* data = text_data(to, raw)
    cdef uint32_t size = raw.size
    if word == NULL:
        return False
    is_json_string(&data, &size, raw.form)
    return size == strlen(word) and memcmp(data, word, size) == 0


# --- ai.request ---


cdef void put_auth(oisp_line* to) noexcept nogil:
    """Never the credential: at most eight characters of it, and never more than half."""
    cdef const oisp_verdict* v = to.f.verdict
    cdef const char* kind = oisp_word_auth(v.auth_type) if v != NULL else NULL
    cdef oisp_slice prefix
    cdef oisp_digest d
    cdef char hex[16]
    if v == NULL or (kind == NULL and v.key.size == 0):
        return
    line_key(to, b'"auth":{')
    word_member(to, b'"type":', kind)
    word_member(to, b'"account_type":', oisp_word_account(v.account_type))
    if v.key.size:
        prefix.data = v.key.data
        prefix.size = v.key.size // 2 if v.key.size < 16 else 8
        while prefix.size and (prefix.data[prefix.size] & 0xc0) == 0x80:  # not within a character
            prefix.size -= 1
        slice_member(to, b'"key_prefix":', &prefix)
        oisp_digest_begin(&d, hash_key(to))
        oisp_digest_text(&d, OISP_TEXT_PLAIN, v.key.data, v.key.size)
        oisp_digest_end(&d, hex)
        line_key(to, b'"key_hash":')
        put_hash(to, hex)
    line_put(to, b"}")


cdef void put_images(oisp_line* to, uint32_t images) noexcept nogil:
    if images:
        line_key(to, b'"has_images":true,"image_count":')
        line_unsigned(to, images)


cdef const oisp_digest_job* message_digest(oisp_line* to, uint32_t i) noexcept nogil:
    return to.digests + i if to.digests != NULL else NULL


cdef void digest_messages(oisp_line* to) noexcept nogil:
    """All texts of the history at once, where policy wants their hashes. They lie in the writer's scratch buffer."""
    cdef const oisp_exchange* x = to.x
    cdef oisp_buffer* b = &to.w.scratch
    cdef size_t need = x.messages_count * sizeof(oisp_digest_job)
    cdef oisp_digest_job* jobs
    cdef const oisp_text* t
    cdef uint32_t i
    oisp_buffer_wipe(b)
    if keeps_all(to, OISP_FIELD_MESSAGE) and keeps_all(to, OISP_FIELD_OTHER_MESSAGE):
        return
    if need == 0 or not oisp_buffer_reserve(b, need):
        return
    jobs = <oisp_digest_job*> b.data
    b.size = <uint32_t> need
    for i in range(x.messages_count):
        t = &x.messages[i].content
        jobs[i].data = text_data(to, t)
        jobs[i].size = t.size
        jobs[i].form = t.form if present(to, t) else OISP_TEXT_NONE
    oisp_digest_jobs(jobs, x.messages_count, hash_key(to))
    to.digests = jobs


cdef inline bint keeps_all(oisp_line* to, int field) noexcept nogil:
    return action_of(to, field) == OISP_KEEP


cdef const oisp_digest_job* system_digest(oisp_line* to) noexcept nogil:
    """The system prompt, where it is one of the messages and was digested with them."""
    cdef const oisp_text* t = &to.x.system
    cdef const oisp_text* of
    cdef uint32_t i
    if to.digests == NULL or not present(to, t):
        return NULL
    for i in range(to.x.messages_count):
        of = &to.x.messages[i].content
        if of.offset == t.offset and of.size == t.size and of.form == t.form:
            return to.digests + i
    return NULL


cdef void put_message(oisp_line* to, const oisp_message_part* m) noexcept nogil:
    line_comma(to)
    line_put(to, b'{"role":')
    line_word(to, oisp_word_role(m.role))
    put_content(to, &m.content, OISP_FIELD_MESSAGE, message_digest(to, <uint32_t> (m - to.x.messages)))
    put_images(to, m.images)
    text_member(to, b'"tool_call_id":', &m.call_id)
    text_member(to, b'"name":', &m.name)
    line_put(to, b"}")


cdef inline bint apart(const oisp_message_part* m) noexcept nogil:
    """A system prompt from a place of its own: not one of the messages."""
    return (m.flags & OISP_PART_SYSTEM) != 0


cdef void put_messages(oisp_line* to) noexcept nogil:
    """The contract knows five roles; an item of another kind counts, and stands in ext.oisp.other_messages."""
    cdef const oisp_exchange* x = to.x
    cdef uint32_t i, count = 0
    if x.messages_count == 0:
        if x.flags & OISP_X_REQUEST_BAD:
            to.missing |= MISSING_MESSAGES
            return
    line_key(to, b'"messages":[')
    for i in range(x.messages_count):
        if apart(&x.messages[i]):
            continue
        count += 1
        if oisp_word_role(x.messages[i].role) != NULL:
            put_message(to, &x.messages[i])
    line_put(to, b'],"messages_count":')
    line_unsigned(to, count)


cdef bint has_system(const oisp_exchange* x) noexcept nogil:
    cdef uint32_t i
    if x.system.size or x.flags & OISP_X_SYSTEM:
        return True
    for i in range(x.messages_count):
        if apart(&x.messages[i]) or x.messages[i].role == OISP_ROLE_SYSTEM:
            return True
    return False


cdef void digest_system(oisp_line* to, oisp_digest* d, char* hex) noexcept nogil:
    """All system text in order: the prompt from a place of its own, or the messages that have the role."""
    cdef const oisp_exchange* x = to.x
    cdef const oisp_text* t
    cdef uint32_t i
    oisp_digest_begin(d, hash_key(to))
    if present(to, &x.system):
        note_text(to, &x.system)
        oisp_digest_text(d, x.system.form, text_data(to, &x.system), x.system.size)
    else:
        for i in range(x.messages_count):
            t = &x.messages[i].content
            if (apart(&x.messages[i]) or x.messages[i].role == OISP_ROLE_SYSTEM) and present(to, t):
                oisp_digest_text(d, t.form, text_data(to, t), t.size)
    oisp_digest_end(d, hex)


cdef void put_system(oisp_line* to) noexcept nogil:
    cdef oisp_digest d
    cdef char hex[16]
    cdef bint has = has_system(to.x)
    cdef const oisp_digest_job* made = system_digest(to)
    cdef const char* known = hex
    bool_member(to, b'"has_system_prompt":', has)
    if not has:
        return
    if made != NULL:
        note_text(to, &to.x.system)
        known = <const char*> made.hex
    else:
        digest_system(to, &d, hex)
    line_key(to, b'"system_prompt_hash":')
    put_hash(to, known)


cdef void put_tools(oisp_line* to) noexcept nogil:
    cdef uint32_t i
    cdef const oisp_tool_def* t
    if to.x.tools_count:
        line_key(to, b'"tools":[')
        for i in range(to.x.tools_count):
            t = &to.x.tools[i]
            line_comma(to)
            line_put(to, b"{")
            text_member(to, b'"name":', &t.name)
            word_member(to, b'"type":', oisp_word_tool(t.type))
            if may_put(to, &t.description, OISP_FIELD_TOOL_DESCRIPTION, MISSING_TOOL_DESCRIPTION):
                content_member(to, b'"description":', &t.description, OISP_FIELD_TOOL_DESCRIPTION)
            line_put(to, b"}")
        line_put(to, b"]")
    line_key(to, b'"tools_count":')
    line_unsigned(to, to.x.tools_count)


cdef bint is_number(oisp_line* to, const oisp_text* t, bint whole) noexcept nogil:
    """A JSON number as it was written; `whole`: digits alone, which every reader takes as an integer."""
    cdef const uint8_t* data = text_data(to, t)
    cdef uint32_t i
    if t.form != OISP_TEXT_JSON or t.size == 0 or t.size > 40:
        return False
    if not (data[0] == c"-" or (data[0] >= c"0" and data[0] <= c"9")):
        return False
    if whole:
        for i in range(1, t.size):
            if data[i] < c"0" or data[i] > c"9":
                return False
    return oisp_json_check(data, t.size) != 0


cdef void number_member(oisp_line* to, const char* key, const oisp_text* t, bint whole) noexcept nogil:
    if is_number(to, t, whole):
        line_key(to, key)
        line_raw(to, text_data(to, t), t.size)


cdef bint is_strings(oisp_line* to, const oisp_text* t) noexcept nogil:
    """A JSON array of nothing but strings (or none)."""
    cdef const uint8_t* data = text_data(to, t)
    cdef uint32_t i = 1
    if t.form != OISP_TEXT_JSON or t.size < 2 or data[0] != c"[" or not oisp_json_check(data, t.size):
        return False
    while i < t.size:  # checked: outside of strings there may only be blanks, commas and the end
        if data[i] == c'"':
            i += 1
            while data[i] != c'"':
                i += 2 if data[i] == c"\\" else 1
        elif data[i] not in (c" ", c",", c"]", c"\n", c"\r", c"\t"):
            return False
        i += 1
    return True


cdef void put_value(oisp_line* to, const uint8_t* data, size_t size, int field, const char* instead) noexcept nogil:
    """A JSON value, masked if policy says so; what cannot be masked gives way to `instead`."""
    cdef uint32_t start = to.w.out.size
    line_must(to, oisp_put_json(&to.w.out, data, size))
    if action_of(to, field) == OISP_MASK and not mask_span(to, start, True):
        line_raw(to, instead, strlen(instead))
        to.reasons |= REASON_CONTENT_BY_POLICY


cdef void put_stop(oisp_line* to) noexcept nogil:
    cdef const oisp_text* t = &to.x.stop
    cdef const uint8_t* data = text_data(to, t)
    if not may_put(to, t, OISP_FIELD_STOP, MISSING_STOP):
        return
    if is_strings(to, t):
        line_key(to, b'"stop":')
        put_value(to, data, t.size, OISP_FIELD_STOP, b"[]")
    elif t.form != OISP_TEXT_JSON or data[0] == c'"':
        line_key(to, b'"stop":[')
        put_allowed(to, t, action_of(to, OISP_FIELD_STOP))
        line_put(to, b"]")
    else:
        to.missing |= MISSING_STOP


cdef void put_parameters(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef uint32_t opened = to.w.out.size
    line_key(to, b'"parameters":{')
    number_member(to, b'"temperature":', &x.temperature, False)
    number_member(to, b'"top_p":', &x.top_p, False)
    number_member(to, b'"max_tokens":', &x.max_tokens, True)
    number_member(to, b'"frequency_penalty":', &x.frequency_penalty, False)
    number_member(to, b'"presence_penalty":', &x.presence_penalty, False)
    put_stop(to)
    end_raw(to, opened)


cdef bint system_is_apart(const oisp_exchange* x) noexcept nogil:
    cdef uint32_t i
    for i in range(x.messages_count):
        if apart(&x.messages[i]):
            return True
        if x.messages[i].role == OISP_ROLE_SYSTEM:
            return False
    return x.system.form != OISP_TEXT_NONE


cdef uint64_t estimated_tokens(const oisp_exchange* x) noexcept nogil:
    """A rule of thumb, not a tokenizer: a token for every four bytes of text as the wire writes it (messages, system
    prompt, names and descriptions of tools), and four for each message."""
    cdef uint64_t bytes = x.system.size if system_is_apart(x) else 0  # else it is one of the messages
    cdef uint32_t i
    for i in range(x.messages_count):
        if x.system.form == OISP_TEXT_NONE or not apart(&x.messages[i]):
            bytes += x.messages[i].content.size
    for i in range(x.tools_count):
        bytes += x.tools[i].name.size + x.tools[i].description.size
    return (bytes + 3) // 4 + 4 * <uint64_t> x.messages_count


cdef void put_other_messages(oisp_line* to) noexcept nogil:
    """Messages whose role is none of the contract's five: their place, the wire's word, their text by policy."""
    cdef const oisp_exchange* x = to.x
    cdef uint32_t i, at = 0, opened = to.w.out.size
    line_key(to, b'"other_messages":[')
    for i in range(x.messages_count):
        if apart(&x.messages[i]):
            continue
        if oisp_word_role(x.messages[i].role) == NULL and present(to, &x.messages[i].content):
            line_comma(to)
            line_put(to, b'{"index":')
            line_unsigned(to, at)
            text_member(to, b'"role":', &x.messages[i].raw_role)
            put_content(to, &x.messages[i].content, OISP_FIELD_OTHER_MESSAGE, message_digest(to, i))
            put_images(to, x.messages[i].images)
            line_put(to, b"}")
        at += 1
    if not to.failed and to.w.out.data[to.w.out.size - 1] == c"[":
        to.w.out.size = opened
    else:
        line_put(to, b"]")


cdef const oisp_text* system_text(oisp_line* to) noexcept nogil:
    """The prompt from a place of its own, where it is not one of the messages."""
    cdef const oisp_exchange* x = to.x
    cdef uint32_t i
    if not system_is_apart(x):
        return NULL
    if present(to, &x.system):
        return &x.system
    for i in range(x.messages_count):
        if apart(&x.messages[i]) and present(to, &x.messages[i].content):
            return &x.messages[i].content
    return NULL


cdef void put_ext_text(oisp_line* to, const char* key, const char* length_key, const oisp_text* t, int field,
                       uint64_t missing) noexcept nogil:
    """A text of ours in ext.oisp: the text, or its length."""
    cdef oisp_digest d
    cdef char hex[16]
    if t == NULL or not present(to, t) or (t.size == 0 and t.form != OISP_TEXT_JSON):
        return
    if may_put(to, t, field, missing):
        content_member(to, key, t, field)
        return
    digest(to, t, &d, hex)
    line_key(to, length_key)
    line_unsigned(to, d.chars)


cdef void put_choice_texts(oisp_line* to, const char* key, const char* length_key, int field,
                           uint64_t missing) noexcept nogil:
    """Reasoning or refusal of all choices, in order, as one text."""
    cdef const oisp_text* t
    cdef uint64_t chars = 0
    cdef uint32_t i
    cdef bint opened = False, keep = False
    cdef oisp_digest d
    for i in range(to.x.choices_count):
        t = &to.x.choices[i].reasoning if field == OISP_FIELD_REASONING else &to.x.choices[i].refusal
        if t.size == 0 or not present(to, t):
            continue
        if not opened:
            keep = may_put(to, t, field, missing)
            line_key(to, key if keep else length_key)
            if keep:
                line_put(to, b'"')
            opened = True
        if keep:
            to.mask = action_of(to, field) == OISP_MASK
            put_inside(to, t)
            to.mask = 0
        else:
            oisp_digest_begin(&d, NULL)
            oisp_digest_text(&d, t.form, text_data(to, t), t.size)
            chars += d.chars
    if opened and keep:
        line_put(to, b'"')
    elif opened:
        line_unsigned(to, chars)


cdef void put_raw_roles(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef uint32_t i, at = 0, opened = to.w.out.size
    line_key(to, b'"roles":[')
    for i in range(x.messages_count):
        if apart(&x.messages[i]):
            continue
        if x.messages[i].raw and present(to, &x.messages[i].raw_role):
            line_comma(to)
            line_put(to, b'{"index":')
            line_unsigned(to, at)
            text_member(to, b'"role":', &x.messages[i].raw_role)
            line_put(to, b"}")
        at += 1
    if not to.failed and to.w.out.data[to.w.out.size - 1] == c"[":
        to.w.out.size = opened
    else:
        line_put(to, b"]")


cdef void put_raw_tools(oisp_line* to) noexcept nogil:
    cdef const oisp_tool_def* t
    cdef uint32_t i, opened = to.w.out.size
    line_key(to, b'"tools":[')
    for i in range(to.x.tools_count):
        t = &to.x.tools[i]
        if present(to, &t.raw_type) and not same_word(to, &t.raw_type, oisp_word_tool(t.type)):
            line_comma(to)
            line_put(to, b'{"index":')
            line_unsigned(to, i)
            text_member(to, b'"type":', &t.raw_type)
            if t.server:
                line_put(to, b',"server":true')
            line_put(to, b"}")
    if not to.failed and to.w.out.data[to.w.out.size - 1] == c"[":
        to.w.out.size = opened
    else:
        line_put(to, b"]")


cdef void put_request_ext(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef uint32_t opened
    begin_ext(to)
    put_connection(to)
    slice_member(to, b'"method":', &to.f.method)
    put_client(to)
    put_ext_text(to, b'"system_prompt":', b'"system_prompt_length":', system_text(to), OISP_FIELD_SYSTEM_PROMPT, 0)
    put_other_messages(to)
    integer_member(to, b'"input_count":', x.input_count if x.input_count > 0 else ABSENT)
    text_member(to, b'"previous_response_id":', &x.previous_id)
    opened = to.w.out.size
    line_key(to, b'"raw":{')
    put_raw_roles(to)
    put_raw_tools(to)
    if to.w.policy == OISP_POLICY_FULL and present(to, &x.max_tokens) and not is_number(to, &x.max_tokens, True):
        text_member(to, b'"max_tokens":', &x.max_tokens)
    end_raw(to, opened)
    end_ext(to)


cdef void put_streaming(oisp_line* to) noexcept nogil:
    if to.x.flags & OISP_X_STREAM_ASKED:
        line_key(to, b'"streaming":true')
    elif to.x.flags & OISP_X_STREAM_NOT_ASKED or not to.x.flags & OISP_X_REQUEST_BAD:
        line_key(to, b'"streaming":false')


cdef oisp_status encode_request(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    begin(to, w, x, f, b"ai.request")
    put_ids(to)
    put_provider(to)
    put_model(to, &x.model_requested)
    put_auth(to)
    if f.verdict != NULL:
        word_member(to, b'"request_type":', oisp_word_request(f.verdict.request_type))
    put_streaming(to)
    digest_messages(to)
    put_messages(to)
    put_system(to)
    put_tools(to)
    text_member(to, b'"tool_choice":', &x.tool_choice)
    put_parameters(to)
    bool_member(to, b'"has_images":', x.images)
    line_key(to, b'"image_count":')
    line_unsigned(to, x.images)
    if x.messages_count or x.system.size:
        line_key(to, b'"estimated_tokens":')
        line_unsigned(to, estimated_tokens(x))
    put_request_ext(to)
    oisp_buffer_wipe(&w.scratch)
    if x.flags & OISP_X_REQUEST_BAD:
        to.reasons |= REASON_REQUEST_UNREADABLE
    return finish(to)


# --- ai.response ---


cdef bint failed_status(uint16_t status) noexcept nogil:
    return status >= 400


cdef void put_error(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    if not (present(to, &x.error_type) or present(to, &x.error_message) or present(to, &x.error_code)):
        return
    line_key(to, b'"error":{')
    text_member(to, b'"type":', &x.error_type)
    if may_put(to, &x.error_message, OISP_FIELD_ERROR_MESSAGE, MISSING_ERROR_MESSAGE):
        content_member(to, b'"message":', &x.error_message, OISP_FIELD_ERROR_MESSAGE)
    text_member(to, b'"code":', &x.error_code)
    line_put(to, b"}")


cdef void put_choice(oisp_line* to, const oisp_choice* c) noexcept nogil:
    line_comma(to)
    line_put(to, b"{")
    integer_member(to, b'"index":', c.index)
    line_key(to, b'"message":{"role":')
    line_word(to, oisp_word_role(c.role if oisp_word_role(c.role) != NULL else OISP_ROLE_ASSISTANT))
    put_content(to, &c.content, OISP_FIELD_CHOICE, NULL)
    put_images(to, c.images)
    line_put(to, b"}")
    word_member(to, b'"finish_reason":', oisp_word_finish(c.finish))
    line_put(to, b"}")


cdef void put_choices(oisp_line* to) noexcept nogil:
    cdef uint32_t i
    if to.x.choices_count == 0:
        return
    line_key(to, b'"choices":[')
    for i in range(to.x.choices_count):
        put_choice(to, &to.x.choices[i])
    line_put(to, b"]")


cdef bint arguments_object(oisp_line* to, const oisp_text* t, const uint8_t** data, uint32_t* size) noexcept nogil:
    """Where the arguments lie as a JSON object that every parser takes; a string of the wire is unescaped into the
    writer's scratch for that, where it stays until the next call."""
    data[0] = text_data(to, t)
    size[0] = t.size
    if t.form == OISP_TEXT_STRING:
        oisp_buffer_wipe(&to.w.scratch)
        if not oisp_put_unescaped(&to.w.scratch, data[0], t.size):
            to.failed = 1
            return False
        data[0] = to.w.scratch.data
        size[0] = to.w.scratch.size
    return oisp_json_check(data[0], size[0]) == c"{"


cdef bint put_arguments(oisp_line* to, const oisp_call* call, int field) noexcept nogil:
    """`"arguments":` as an object; 0 when they are none (then nothing is written)."""
    cdef const uint8_t* data
    cdef uint32_t size
    note_text(to, &call.arguments)
    if call.custom:
        line_key(to, b'"arguments":{"input":')
        put_allowed(to, &call.arguments, action_of(to, field))
        line_put(to, b"}")
        return True
    if not arguments_object(to, &call.arguments, &data, &size):
        return False
    line_key(to, b'"arguments":')
    put_value(to, data, size, field, b"{}")
    oisp_buffer_wipe(&to.w.scratch)
    return True


cdef void put_call_arguments(oisp_line* to, const oisp_call* call, int field) noexcept nogil:
    """`arguments` by policy and `arguments_hash`. Left out: said in `missing`."""
    cdef oisp_digest d
    cdef char hex[16]
    cdef int action = action_of(to, field)
    if not present(to, &call.arguments):
        return
    digest(to, &call.arguments, &d, hex)
    if action == OISP_KEEP or action == OISP_MASK:
        if not put_arguments(to, call, field):
            to.missing |= MISSING_ARGUMENTS
            to.raw = 1
    elif action == OISP_MARK:
        line_key(to, b'"arguments":')
        put_marker(to, d.chars, hex)
    else:
        to.missing |= MISSING_ARGUMENTS
        to.reasons |= REASON_CONTENT_BY_POLICY
    line_key(to, b'"arguments_hash":')
    put_hash(to, hex)


cdef void put_calls(oisp_line* to) noexcept nogil:
    cdef uint32_t i
    cdef const oisp_call* call
    if to.x.calls_count:
        line_key(to, b'"tool_calls":[')
        for i in range(to.x.calls_count):
            call = &to.x.calls[i]
            line_comma(to)
            line_put(to, b"{")
            text_member(to, b'"id":', &call.id)
            text_member(to, b'"name":', &call.name)
            text_member(to, b'"type":', &call.type)
            put_call_arguments(to, call, OISP_FIELD_CALL_ARGUMENTS)
            line_put(to, b"}")
        line_put(to, b"]")
    line_key(to, b'"tool_calls_count":')
    line_unsigned(to, to.x.calls_count)


cdef bint has_usage(oisp_line* to) noexcept nogil:
    cdef const oisp_usage* u = &to.x.usage
    return (u.prompt != ABSENT or u.completion != ABSENT or u.total != ABSENT or u.cached != ABSENT
            or u.reasoning != ABSENT)


cdef bint cost_of(oisp_line* to, oisp_cost* cost) noexcept nogil:
    """By the model that answered, else the one that was asked for; at the service tier that the answer names."""
    cdef const oisp_exchange* x = to.x
    cdef const oisp_text* named = &x.model_answered if present(to, &x.model_answered) else &x.model_requested
    cdef const oisp_verdict* v = to.f.verdict
    cdef oisp_model_match match = known_model(to, named, &v.model if v != NULL else NULL)
    cdef oisp_tokens_used used
    cdef const uint8_t* tier = text_data(to, &x.service_tier)
    cdef uint32_t size = x.service_tier.size if present(to, &x.service_tier) else 0
    if match.model == NULL or not match.priced:
        return False
    is_json_string(&tier, &size, x.service_tier.form)
    used.prompt = x.usage.prompt
    used.completion = x.usage.completion
    used.cached = x.usage.cached
    used.cache_write = x.usage.cache_write
    used.cache_write_1h = used.audio_in = used.audio_out = used.audio_cached = ABSENT
    if present(to, &x.usage.raw):
        oisp_usage_audio(text_data(to, &x.usage.raw), x.usage.raw.size, &used)
        used.cache_write_1h = oisp_usage_write_1h(text_data(to, &x.usage.raw), x.usage.raw.size)
    used.reasoning = x.usage.reasoning
    return oisp_model_cost(to.w.models, match.model, oisp_service_of(tier, size), &used, cost) != 0


cdef void put_cost(oisp_line* to) noexcept nogil:
    """A price that is not known gives no cost, and is said: never 0."""
    cdef oisp_cost cost
    if to.w.models == NULL:
        return
    if not cost_of(to, &cost):
        to.missing |= MISSING_PRICE
        return
    line_key(to, b'"input_cost_usd":')
    line_money(to, cost.input)
    line_key(to, b'"output_cost_usd":')
    line_money(to, cost.output)
    line_key(to, b'"total_cost_usd":')
    line_money(to, cost.input + cost.output + cost.request)


cdef void put_usage(oisp_line* to) noexcept nogil:
    cdef const oisp_usage* u = &to.x.usage
    if not has_usage(to):
        return
    line_key(to, b'"usage":{')
    integer_member(to, b'"prompt_tokens":', u.prompt)
    integer_member(to, b'"completion_tokens":', u.completion)
    integer_member(to, b'"total_tokens":', u.total)
    integer_member(to, b'"cached_tokens":', u.cached)
    integer_member(to, b'"reasoning_tokens":', u.reasoning)
    put_cost(to)
    line_put(to, b"}")


cdef void put_times(oisp_line* to) noexcept nogil:
    if to.f.latency_ns != ABSENT:
        integer_member(to, b'"latency_ms":', to.f.latency_ns // 1000000)
    else:
        to.missing |= MISSING_LATENCY
    if to.f.first_token_ns != ABSENT:
        integer_member(to, b'"time_to_first_token_ms":', to.f.first_token_ns // 1000000)


cdef int finish_of(const oisp_exchange* x) noexcept nogil:
    return x.choices[0].finish if x.finish == 0 and x.choices_count else x.finish


cdef const oisp_text* finish_raw_of(oisp_line* to) noexcept nogil:
    if not present(to, &to.x.finish_raw) and to.x.choices_count:
        return &to.x.choices[0].finish_raw
    return &to.x.finish_raw


cdef bint succeeded(oisp_line* to) noexcept nogil:
    return to.x.success and not failed_status(to.f.status)


cdef void put_raw_arguments(oisp_line* to) noexcept nogil:
    """Under `full`, arguments that are no object: the text itself."""
    cdef const uint8_t* data
    cdef uint32_t size, i
    cdef const oisp_call* call
    if not to.raw or not keeps(to, OISP_FIELD_RAW_ARGUMENTS):
        return
    line_key(to, b'"arguments":[')
    for i in range(to.x.calls_count):
        call = &to.x.calls[i]
        if call.custom or not present(to, &call.arguments) or arguments_object(to, &call.arguments, &data, &size):
            continue
        line_comma(to)
        line_put(to, b'{"index":')
        line_unsigned(to, i)
        content_member(to, b'"text":', &call.arguments, OISP_FIELD_RAW_ARGUMENTS)
        line_put(to, b"}")
    line_put(to, b"]")
    oisp_buffer_wipe(&to.w.scratch)


cdef void put_response_raw(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef uint32_t opened = to.w.out.size
    cdef const oisp_text* raw = finish_raw_of(to)
    line_key(to, b'"raw":{')
    if present(to, raw) and raw.size and not same_word(to, raw, oisp_word_finish(finish_of(x))):
        text_member(to, b'"finish_reason":', raw)
    if present(to, &x.usage.raw) and oisp_json_check(text_data(to, &x.usage.raw), x.usage.raw.size):
        line_key(to, b'"usage":')
        line_must(to, oisp_put_json(&to.w.out, text_data(to, &x.usage.raw), x.usage.raw.size))
    put_raw_arguments(to)
    end_raw(to, opened)


cdef void put_server_calls(oisp_line* to) noexcept nogil:
    """Which of tool_calls the provider runs itself, by index."""
    cdef uint32_t i, opened = to.w.out.size
    line_key(to, b'"server_tool_calls":[')
    for i in range(to.x.calls_count):
        if to.x.calls[i].server:
            line_comma(to)
            line_unsigned(to, i)
    if not to.failed and to.w.out.data[to.w.out.size - 1] == c"[":
        to.w.out.size = opened
    else:
        line_put(to, b"]")


cdef void put_counting(oisp_line* to) noexcept nogil:
    """What has no place in `data.usage`, and how the provider's own numbers are to be read where they differ from those."""
    cdef const oisp_usage* u = &to.x.usage
    if u.cache_write == ABSENT and u.conventions == 0:
        return
    line_key(to, b'"usage":{')
    integer_member(to, b'"cache_write_tokens":', u.cache_write)
    if u.conventions:
        line_key(to, b'"conventions":[')
        if u.conventions & OISP_PROMPT_EXCLUDES_CACHE:
            line_put(to, b'"prompt_excludes_cache"')
        if u.conventions & OISP_COMPLETION_EXCLUDES_REASONING:
            line_comma(to)
            line_put(to, b'"completion_excludes_reasoning"')
        line_put(to, b"]")
    line_put(to, b"}")


cdef void put_response_ext(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    begin_ext(to)
    put_connection(to)
    bool_member(to, b'"streamed":', to.f.streamed)
    put_choice_texts(to, b'"reasoning":', b'"reasoning_length":', OISP_FIELD_REASONING, MISSING_REASONING)
    put_choice_texts(to, b'"refusal":', b'"refusal_length":', OISP_FIELD_REFUSAL, 0)
    put_counting(to)
    text_member(to, b'"service_tier":', &x.service_tier)
    put_server_calls(to)
    put_response_raw(to)
    end_ext(to)


cdef void note_response(oisp_line* to) noexcept nogil:
    """What an answer should have and has not."""
    if to.x.flags & OISP_X_RESPONSE_BAD:
        to.reasons |= REASON_RESPONSE_UNREADABLE
    cdef int kind = to.f.verdict.kind if to.f.verdict != NULL else OISP_KIND_UNKNOWN
    if succeeded(to):
        if kind == OISP_KIND_CHAT or kind == OISP_KIND_COMPLETION:
            if not has_usage(to):
                to.missing |= MISSING_USAGE
            if finish_of(to.x) == 0:
                to.missing |= MISSING_FINISH_REASON
    else:
        to.missing &= ~MISSING_MODEL  # an error names none


cdef oisp_status encode_response(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    begin(to, w, x, f, b"ai.response")
    put_ids(to)
    text_member(to, b'"provider_request_id":', &x.response_id)
    put_provider(to)
    put_model(to, &x.model_answered)
    if f.status:
        line_key(to, b'"status_code":')
        line_unsigned(to, f.status)
    bool_member(to, b'"success":', succeeded(to))
    put_error(to)
    put_choices(to)
    put_calls(to)
    put_usage(to)
    put_times(to)
    if x.flags & OISP_X_CACHED_ANSWER:
        line_key(to, b'"was_cached":true')
    word_member(to, b'"finish_reason":', oisp_word_finish(finish_of(x)))
    put_response_ext(to)
    put_related(to, &f.request_event, b"caused_by")
    note_response(to)
    return finish(to)


# --- ai.embedding ---


cdef oisp_status encode_embedding(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    begin(to, w, x, f, b"ai.embedding")
    put_provider(to)
    put_model(to, &x.model_answered if x.model_answered.form != OISP_TEXT_NONE else &x.model_requested)
    integer_member(to, b'"input_count":', x.input_count if x.input_count > 0 else ABSENT)
    integer_member(to, b'"total_tokens":', x.usage.total if x.usage.total != ABSENT else x.usage.prompt)
    integer_member(to, b'"dimensions":', x.dimensions if x.dimensions > 0 else ABSENT)
    if f.latency_ns != ABSENT:
        integer_member(to, b'"latency_ms":', f.latency_ns // 1000000)
    else:
        to.missing |= MISSING_LATENCY
    begin_ext(to)
    put_connection(to)
    ulid_member(to, b'"request_id":', &f.request_id)
    text_member(to, b'"provider_request_id":', &x.response_id)
    integer_member(to, b'"embedding_count":', x.embedding_count if x.embedding_count > 0 else ABSENT)
    if f.status:
        line_key(to, b'"status_code":')
        line_unsigned(to, f.status)
    put_response_raw(to)
    end_ext(to)
    put_related(to, &f.request_event, b"caused_by")
    if not has_usage(to):
        to.missing |= MISSING_USAGE
    return finish(to)


# --- ai.streaming_chunk ---


cdef void put_chunk_call(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef const oisp_call* call
    cdef oisp_digest d
    cdef char hex[16]
    if x.chunk_call == 0 or x.chunk_call > x.calls_count:
        return
    call = &x.calls[x.chunk_call - 1]
    line_key(to, b'"tool_calls":[{')
    text_member(to, b'"id":', &call.id)
    text_member(to, b'"name":', &call.name)
    if present(to, &x.chunk_arguments):
        line_key(to, b'"arguments":')
        if action_of(to, OISP_FIELD_CHUNK_ARGUMENTS) == OISP_KEEP:
            put_string(to, &x.chunk_arguments)
        else:
            digest(to, &x.chunk_arguments, &d, hex)
            put_marker(to, d.chars, hex)
    line_put(to, b"}]")


cdef oisp_status encode_chunk(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f, uint32_t* number, uint32_t* text) noexcept nogil:
    """number, text: where those two stand in the line."""
    cdef oisp_line line
    cdef oisp_line* to = &line
    begin(to, w, x, f, b"ai.streaming_chunk")
    ulid_member(to, b'"request_id":', &f.request_id)
    line_key(to, b'"chunk_index":')
    number[0] = w.out.size - to.start
    line_unsigned(to, x.chunk_index - 1 if x.chunk_index else 0)
    line_key(to, b'"delta":{')
    text[0] = w.out.size - to.start + 11  # behind `"content":"`
    if may_put(to, &x.chunk_content, OISP_FIELD_CHUNK, MISSING_TEXT_FORM):
        text_member(to, b'"content":', &x.chunk_content)
    word_member(to, b'"role":', oisp_word_role(x.chunk_role))
    put_chunk_call(to)
    line_put(to, b"}")
    word_member(to, b'"finish_reason":', oisp_word_finish(x.chunk_finish))
    begin_ext(to)
    if present(to, &x.chunk_content) and action_of(to, OISP_FIELD_CHUNK) != OISP_KEEP:
        put_chunk_length(to)
    end_ext(to)
    put_related(to, &f.request_event, b"caused_by")
    return finish(to)


cdef bint keep_chunk(const oisp_writer* w, uint32_t start, const oisp_exchange* x, const oisp_facts* f, uint32_t number, uint32_t text,
                     oisp_buffer* to, oisp_chunk_line* line) noexcept nogil:
    """The line of a chunk that begins at `start` of the output, to be written again with another id, time, number and text.
    False: it is none of that kind."""
    cdef const uint8_t* p = w.out.data + start
    cdef uint32_t size = w.out.size - start
    cdef uint32_t id = 34  # behind `{"oisp_version":"0.1","event_id":"`
    cdef uint32_t ts = id + 26 + 41  # and `","event_type":"ai.streaming_chunk","ts":`
    cdef uint32_t behind = number
    memset(line, 0, sizeof(oisp_chunk_line))
    if w.policy != OISP_POLICY_FULL or x.chunk_call or x.chunk_finish or x.chunk_content.form != OISP_TEXT_STRING:
        return False
    while behind < size and 48 <= p[behind] <= 57:
        behind += 1
    if memcmp(p + id, f.event_id.text, 26) != 0 or p[ts] != c'"' or p[ts + OISP_TIME_TEXT - 1] != c'"' or \
            text + x.chunk_content.size >= size or memcmp(p + text - 11, b'"content":"', 11) != 0:
        return False
    line.sizes[0] = id
    line.sizes[1] = ts - id - 26
    line.sizes[2] = number - ts - OISP_TIME_TEXT
    line.sizes[3] = text - behind
    line.sizes[4] = size - text - x.chunk_content.size
    memcpy(line.time, p + ts, OISP_TIME_TEXT)
    line.second = f.ts_ns // 1000000000
    return oisp_buffer_append(to, p, id) and oisp_buffer_append(to, p + id + 26, line.sizes[1]) and \
        oisp_buffer_append(to, p + ts + OISP_TIME_TEXT, line.sizes[2]) and oisp_buffer_append(to, p + behind, line.sizes[3]) and \
        oisp_buffer_append(to, p + text + x.chunk_content.size, line.sizes[4])


cdef oisp_status repeat_chunk(oisp_writer* w, const oisp_exchange* x, uint64_t ts, oisp_chunk_line* line, const uint8_t* pieces) noexcept nogil:
    """A line as one that was kept, for what the exchange says now."""
    cdef const oisp_text* text = &x.chunk_content
    cdef const uint32_t* sizes = line.sizes
    cdef oisp_ulid id
    cdef uint8_t* p
    cdef char digits[OISP_DECIMAL]
    cdef int first = oisp_decimal(digits, x.chunk_index - 1 if x.chunk_index else 0)
    writer_ulid(w, ts, &id)
    if not oisp_buffer_reserve(&w.out, <size_t> sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4] + text.size + 128):
        return OISP_LIMIT
    if ts // 1000000000 != line.second:
        oisp_time_text(line.time, ts)
        line.second = ts // 1000000000
    oisp_fixed_digits(line.time + OISP_TIME_FRACTION, 6, <uint32_t> (ts // 1000 % 1000000))
    p = w.out.data + w.out.size
    p = put_run(put_run(p, pieces, sizes[0]), <const uint8_t*> id.text, 26)
    pieces += sizes[0]
    p = put_run(put_run(p, pieces, sizes[1]), <const uint8_t*> line.time, OISP_TIME_TEXT)
    pieces += sizes[1]
    p = put_run(put_run(p, pieces, sizes[2]), <const uint8_t*> digits + first, OISP_DECIMAL - first)
    pieces += sizes[2]
    p = put_run(put_run(p, pieces, sizes[3]), oisp_text_data(x, text), text.size)
    p = put_run(p, pieces + sizes[3], sizes[4])
    w.out.size = <uint32_t> (p - w.out.data)
    return OISP_OK


cdef inline uint8_t* put_run(uint8_t* p, const uint8_t* data, uint32_t size) noexcept nogil:
    memcpy(p, data, size)
    return p + size


cdef void put_chunk_length(oisp_line* to) noexcept nogil:
    cdef oisp_digest d
    cdef char hex[16]
    digest(to, &to.x.chunk_content, &d, hex)
    line_key(to, b'"content_length":')
    line_unsigned(to, d.chars)


# --- agent.tool_call, agent.tool_result ---


cdef void put_agent(oisp_line* to) noexcept nogil:
    """Who calls: as it names itself to an MCP server, else the program of the head, if it is an agent."""
    cdef uint32_t opened = to.w.out.size
    cdef const oisp_client* app = asks(to, OISP_CLIENT_APP)
    cdef const oisp_client* framework = asks(to, OISP_CLIENT_FRAMEWORK)
    cdef const oisp_slice* session = &to.f.session_id
    if app != NULL and app.agent.size == 0:
        app = NULL
    if session.size == 0 and to.f.asker != NULL:
        session = &to.f.asker.session[0]
    line_key(to, b'"agent":{')
    if present(to, &to.x.client_name):
        text_member(to, b'"name":', &to.x.client_name)
    else:
        slice_member(to, b'"name":', &to.f.client_name if to.f.client_name.size or app == NULL else &app.name)
    if present(to, &to.x.client_version):
        text_member(to, b'"version":', &to.x.client_version)
    elif app != NULL and to.f.client_name.size == 0 and not present(to, &to.x.client_name):
        slice_member(to, b'"version":', &to.f.asker.version[<int> OISP_CLIENT_APP])
    if app != NULL:
        slice_member(to, b'"type":', &app.agent)
    if framework != NULL:
        slice_member(to, b'"framework":', &framework.name)
    slice_member(to, b'"session_id":', session)
    end_raw(to, opened)


cdef oisp_status encode_tool_call(oisp_writer* w, const oisp_exchange* x, const oisp_call* call,
                                  const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    cdef bint mcp = f.verdict != NULL and f.verdict.kind == OISP_KIND_MCP
    begin(to, w, x, f, b"agent.tool_call")
    put_agent(to)
    line_key(to, b'"tool":{')
    text_member(to, b'"name":', &call.name)
    if call.name.form != OISP_TEXT_NONE:
        word_member(to, b'"type":', oisp_word_agent_tool(oisp_tool_type_of(text_data(to, &call.name), call.name.size)))
    if mcp:
        line_key(to, b'"provider":"mcp"')
        slice_member(to, b'"server":', &f.server_name)
    elif call.server:
        slice_member(to, b'"provider":', &f.provider_id)
    text_member(to, b'"server":', &call.server_name)
    line_put(to, b"}")
    if present(to, &call.id):
        text_member(to, b'"call_id":', &call.id)
    else:
        to.missing |= MISSING_CALL_ID
    if not mcp:  # that a model asked for it is not to be seen there
        word_member(to, b'"triggered_by":', oisp_word_trigger(OISP_TRIGGERED_BY_LLM_DECISION))
    put_call_arguments(to, call, OISP_FIELD_TOOL_ARGUMENTS)
    begin_ext(to)
    ulid_member(to, b'"request_id":', &f.request_id)
    if call.server:
        line_key(to, b'"server_tool":true')
    text_member(to, b'"type":', &call.type)
    if to.raw and keeps(to, OISP_FIELD_RAW_ARGUMENTS):
        line_key(to, b'"raw":{"arguments":')
        put_allowed(to, &call.arguments, action_of(to, OISP_FIELD_RAW_ARGUMENTS))
        line_put(to, b"}")
    end_ext(to)
    put_related(to, &f.response_event, b"caused_by")
    oisp_buffer_wipe(&w.scratch)
    return finish(to)


cdef void put_result(oisp_line* to, const oisp_text* t) noexcept nogil:
    """`result` as text, or as the object or array of the wire; a marker under policy. Hash and size stand beside it."""
    cdef oisp_digest d
    cdef char hex[16]
    cdef int first = 0
    if not present(to, t):
        return
    digest(to, t, &d, hex)
    line_key(to, b'"result":')
    if not keeps(to, OISP_FIELD_TOOL_RESULT):
        put_marker(to, d.chars, hex)
    else:
        if t.form == OISP_TEXT_JSON:
            first = oisp_json_check(text_data(to, t), t.size)
        if first == c"{" or first == c"[":
            put_value(to, text_data(to, t), t.size, OISP_FIELD_TOOL_RESULT, b"{}")
        else:
            put_allowed(to, t, action_of(to, OISP_FIELD_TOOL_RESULT))
    line_key(to, b'"result_hash":')
    put_hash(to, hex)
    line_key(to, b'"result_size_bytes":')
    line_unsigned(to, d.bytes)


cdef void put_answer_id(oisp_line* to, const oisp_tool_answer* answer) noexcept nogil:
    """The contract asks for a call_id: where the wire has none, the id of the call's event (else of this one) is it."""
    line_key(to, b'"call_id":')
    if present(to, &answer.call_id):
        put_string(to, &answer.call_id)
        return
    to.missing |= MISSING_CALL_ID
    cdef const oisp_ulid* id = &to.f.parent_event if to.f.parent_event.text[0] else &to.f.event_id
    line_put(to, b'"')
    line_raw(to, id.text, 26)
    line_put(to, b'"')


cdef void put_answer_tool(oisp_line* to, const oisp_tool_answer* answer) noexcept nogil:
    cdef const uint8_t* name = to.f.tool_name.data
    cdef size_t size = to.f.tool_name.size
    if present(to, &answer.name) and answer.name.size:
        name = text_data(to, &answer.name)
        size = answer.name.size
        line_key(to, b'"tool":{"name":')
        put_string(to, &answer.name)
    elif size:
        line_key(to, b'"tool":{"name":')
        put_slice(to, &to.f.tool_name)
    else:
        return
    word_member(to, b'"type":', oisp_word_agent_tool(oisp_tool_type_of(name, size)))
    if to.f.server_name.size:
        line_key(to, b'"provider":"mcp"')
        slice_member(to, b'"server":', &to.f.server_name)
    line_put(to, b"}")


cdef void put_answer_error(oisp_line* to, const oisp_tool_answer* answer) noexcept nogil:
    cdef uint32_t opened = to.w.out.size
    line_key(to, b'"error":{')
    text_member(to, b'"type":', &answer.error_type)
    if may_put(to, &answer.error_message, OISP_FIELD_TOOL_ERROR, MISSING_ERROR_MESSAGE):
        content_member(to, b'"message":', &answer.error_message, OISP_FIELD_TOOL_ERROR)
    end_raw(to, opened)


cdef oisp_status encode_tool_result(oisp_writer* w, const oisp_exchange* x, const oisp_tool_answer* answer,
                                    const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    begin(to, w, x, f, b"agent.tool_result")
    put_agent(to)
    put_answer_tool(to, answer)
    put_answer_id(to, answer)
    if answer.success >= 0:
        bool_member(to, b'"success":', answer.success)
    put_answer_error(to, answer)
    put_result(to, &answer.content)
    if f.latency_ns != ABSENT:
        integer_member(to, b'"duration_ms":', f.latency_ns // 1000000)
    begin_ext(to)
    ulid_member(to, b'"request_id":', &f.request_id)
    if answer.server:
        line_key(to, b'"server_tool":true')
    end_ext(to)
    if f.parent_event.text[0]:
        put_related(to, &f.parent_event, b"parent")
    else:
        to.missing |= MISSING_PARENT
    return finish(to)


# --- rag.retrieve ---

cdef enum:
    PREVIEW = 256  # characters of a result's text


cdef uint32_t preview_of(const uint8_t* data, uint32_t size) noexcept nogil:
    """Bytes of the first characters of the inside of a JSON string; a pair of surrogates is not parted."""
    cdef uint32_t at = 0, n = 0, step
    while at < size and n < PREVIEW:
        step = 1
        if data[at] == c"\\":
            step = 6 if at + 1 < size and data[at + 1] == c"u" else 2
            if step == 6 and at + 12 <= size and (data[at + 2] | 0x20) == c"d" and data[at + 3] >= c"8" and data[at + 6] == c"\\":
                step = 12
        at += step
        while at < size and (data[at] & 0xC0) == 0x80:
            at += 1
        n += 1
    return at if at < size else size


cdef void put_preview(oisp_line* to, const oisp_text* t) noexcept nogil:
    """`content_preview` by policy, `content_hash` of the whole text."""
    cdef oisp_digest d
    cdef oisp_text head = t[0]
    cdef char hex[16]
    if not present(to, t):
        return
    digest(to, t, &d, hex)
    if may_put(to, t, OISP_FIELD_HIT, MISSING_CONTENT):
        if t.form == OISP_TEXT_STRING:
            head.size = preview_of(text_data(to, t), t.size)
        if t.form == OISP_TEXT_STRING or t.size <= 4 * PREVIEW:
            content_member(to, b'"content_preview":', &head, OISP_FIELD_HIT)
    line_key(to, b'"content_hash":')
    put_hash(to, hex)


cdef void put_hit(oisp_line* to, const oisp_hit* h) noexcept nogil:
    line_comma(to)
    line_put(to, b"{")
    text_member(to, b'"source":', &h.source)
    number_member(to, b'"score":', &h.score, False)
    put_preview(to, &h.content)
    if is_number(to, &h.distance, False):
        line_key(to, b'"metadata":{"distance":')
        line_raw(to, text_data(to, &h.distance), h.distance.size)
        line_put(to, b"}")
    line_put(to, b"}")


cdef void put_source(oisp_line* to) noexcept nogil:
    line_key(to, b'"source":{')
    slice_member(to, b'"type":', &to.f.source_type)
    if present(to, &to.x.source):
        text_member(to, b'"name":', &to.x.source)
    else:
        slice_member(to, b'"name":', &to.f.source_name)
    slice_member(to, b'"provider":', &to.f.provider_id)
    line_put(to, b"}")


cdef void put_query(oisp_line* to) noexcept nogil:
    cdef oisp_digest d
    cdef char hex[16]
    if not present(to, &to.x.query):
        return
    if may_put(to, &to.x.query, OISP_FIELD_QUERY, MISSING_QUERY):
        content_member(to, b'"query":', &to.x.query, OISP_FIELD_QUERY)
    digest(to, &to.x.query, &d, hex)
    line_key(to, b'"query_hash":')
    put_hash(to, hex)


cdef void put_retrieve_ext(oisp_line* to) noexcept nogil:
    cdef const oisp_exchange* x = to.x
    cdef oisp_digest d
    cdef char hex[16]
    begin_ext(to)
    slice_member(to, b'"method":', &to.f.method)
    if present(to, &x.query) and not keeps(to, OISP_FIELD_QUERY):
        digest(to, &x.query, &d, hex)
        line_key(to, b'"query_length":')
        line_unsigned(to, d.chars)
    integer_member(to, b'"query_dimensions":', x.dimensions if x.dimensions > 0 else ABSENT)
    integer_member(to, b'"top_k":', x.top_k if x.top_k > 0 else ABSENT)
    if to.f.status:
        line_key(to, b'"status_code":')
        line_unsigned(to, to.f.status)
        bool_member(to, b'"success":', succeeded(to))
    text_member(to, b'"error_type":', &x.error_type)
    text_member(to, b'"error_code":', &x.error_code)
    end_ext(to)


cdef oisp_status encode_retrieve(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil:
    cdef oisp_line line
    cdef oisp_line* to = &line
    cdef uint32_t i
    begin(to, w, x, f, b"rag.retrieve")
    put_agent(to)
    put_source(to)
    put_query(to)
    if f.status and succeeded(to) and f.dialect.size:
        if x.flags & (OISP_X_RESPONSE_BAD | OISP_X_RESPONSE_CUT):  # the results that were read, but not how many there are
            to.partial = 1
        else:
            line_key(to, b'"results_count":')
            line_unsigned(to, x.hits_count)
        line_key(to, b'"results":[')
        for i in range(x.hits_count):
            put_hit(to, &x.hits[i])
        line_put(to, b"]")
    if f.latency_ns != ABSENT:
        integer_member(to, b'"latency_ms":', f.latency_ns // 1000000)
    else:
        to.missing |= MISSING_LATENCY
    put_retrieve_ext(to)
    put_related(to, &f.response_event, b"caused_by")
    if x.flags & OISP_X_REQUEST_BAD:
        to.reasons |= REASON_REQUEST_UNREADABLE
    if x.flags & OISP_X_RESPONSE_BAD:
        to.reasons |= REASON_RESPONSE_UNREADABLE
    return finish(to)


# --- what Python may ask ---


def text_digest(text, hash_key=None):
    """(hash, code points) of a text, as events carry them. `text` is str, or bytes of UTF-8, in which whatever is not
    valid counts as U+FFFD; `hash_key` is the key of `Engine(hash_key=)`."""
    cdef bytes data
    cdef uint8_t key[64]
    cdef oisp_digest d
    cdef char hex[16]
    if isinstance(text, bytes):
        data = text
    else:  # "surrogatepass" would give three invalid bytes, which count as three
        data = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()
    if hash_key is not None:
        oisp_hmac_key(key, <const char*> (<bytes> hash_key), len(hash_key))
    oisp_digest_begin(&d, key if hash_key is not None else NULL)
    oisp_digest_text(&d, OISP_TEXT_PLAIN, <const uint8_t*> <const char*> data, len(data))
    oisp_digest_end(&d, hex)
    oisp_wipe(key, sizeof(key))
    return ("hmac-sha256:" if hash_key is not None else "sha256:") + hex[:16].decode(), d.chars


def sha256_backend():
    """Name of the SHA-256 that this processor runs: `sha-ni`, `armv8` or `portable`."""
    return oisp_sha256_backend().decode()


def policy_table():
    """The rows that the writer runs: (name, event types, path, metadata, redacted, full, what stays)."""
    rows = []
    for i in range(<int> OISP_POLICY_FIELDS):
        row = []
        for k in range(7):
            row.append((<bytes> oisp_policy_rows[i].cells[k]).decode())
        rows.append(tuple(row))
    return rows
