# SPDX-License-Identifier: Apache-2.0
# The extern view of include/oisp/*.h: the bottom layer, which every other .pxd may cimport. Declarations only; the C
# compiler owns the layouts (a field that Cython code does not touch need not be listed).
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "oisp/status.h" nogil:
    ctypedef enum oisp_status:
        OISP_OK
        OISP_MORE
        OISP_BAD
        OISP_LIMIT
        OISP_FULL


cdef extern from "oisp/buffer.h" nogil:
    ctypedef struct oisp_buffer:
        uint8_t* data
        uint32_t size
        uint32_t capacity
    void oisp_wipe(void* at, size_t size)
    int oisp_buffer_reserve(oisp_buffer* b, size_t extra)
    int oisp_buffer_append(oisp_buffer* b, const void* source, size_t size)
    void oisp_buffer_wipe(oisp_buffer* b)
    void oisp_buffer_cut(oisp_buffer* b, uint32_t size)
    void oisp_buffer_free(oisp_buffer* b)


cdef extern from "oisp/scan.h" nogil:
    ctypedef struct oisp_scan:
        const char* name
        size_t (*find)(const uint8_t* data, size_t size, uint8_t byte) noexcept nogil
        size_t (*find_eol)(const uint8_t* data, size_t size) noexcept nogil
        size_t (*find_string_stop)(const uint8_t* data, size_t size) noexcept nogil
        size_t (*find_string_break)(const uint8_t* data, size_t size, int* escaped) noexcept nogil
        size_t (*find_quote)(const uint8_t* data, size_t size) noexcept nogil
        size_t (*find_structure)(const uint8_t* data, size_t size) noexcept nogil
        size_t (*utf8_prefix)(const uint8_t* data, size_t size) noexcept nogil
        size_t (*utf8_count)(const uint8_t* data, size_t size) noexcept nogil
    const oisp_scan* oisp_scan_best()
    const oisp_scan* oisp_scan_named(const char* name)


cdef extern from "oisp/token.h" nogil:
    enum:
        OISP_TOKEN_REQUEST
        OISP_TOKEN_RESPONSE
        OISP_TOKEN_FIELD
        OISP_TOKEN_HEAD_END
        OISP_TOKEN_DATA
        OISP_TOKEN_TRAILER
        OISP_TOKEN_GAP
        OISP_TOKEN_END
        OISP_TOKEN_UPGRADE
        OISP_TOKEN_EVENT
        OISP_TOKEN_WARNING
        OISP_TOKEN_SETTINGS
        OISP_TOKEN_RESET
        OISP_TOKEN_GOAWAY
        OISP_BODY_NONE
        OISP_BODY_LENGTH
        OISP_BODY_CHUNKED
        OISP_BODY_CLOSE
        OISP_BODY_TUNNEL
        OISP_BODY_STREAM
        OISP_WARNING_OBS_FOLD
        OISP_WARNING_BARE_LF
        OISP_WARNING_DUPLICATE_LENGTH
        OISP_WARNING_CONFLICTING_LENGTH
        OISP_WARNING_BLANK_BEFORE_COLON
        OISP_WARNING_BAD_FIELD
        OISP_WARNING_TRANSFER_CODING
        OISP_WARNING_HEADER_BLOCK
    ctypedef struct oisp_token:
        uint16_t kind
        uint16_t flags
        uint32_t stream
        uint64_t offset
        const uint8_t* data
        const uint8_t* name
        uint32_t size
        uint32_t name_size
        uint64_t number
    ctypedef struct oisp_tokens:
        oisp_token* at
        uint32_t count
        uint32_t capacity
    oisp_token* oisp_tokens_push(oisp_tokens* out, uint16_t kind)
    void oisp_tokens_add(oisp_tokens* out, uint16_t kind, uint64_t offset, const uint8_t* name, uint32_t name_size,
                         const uint8_t* data, uint32_t size)


cdef extern from "oisp/limits.h" nogil:
    ctypedef struct oisp_limits:
        uint32_t head_bytes
        uint32_t head_fields
        uint32_t body_bytes
        uint32_t event_bytes
        uint32_t arena_bytes
        uint32_t items
        uint32_t json_depth
        uint32_t connections
        uint32_t streams
        uint32_t pipeline
        uint32_t table_bytes
        uint32_t inflate_ratio
        uint32_t output_bytes
        uint32_t linked_calls
        uint64_t total_bytes


cdef extern from "oisp/verdict.h" nogil:
    ctypedef struct oisp_slice:
        const uint8_t* data
        uint32_t size
    ctypedef struct oisp_field:
        oisp_slice name
        oisp_slice value
    ctypedef struct oisp_head:
        oisp_slice method
        oisp_slice target
        oisp_slice authority
        oisp_slice sni
        const oisp_field* fields
        uint32_t fields_count
        uint16_t port
        uint16_t status
        uint8_t plaintext
        uint8_t partial
    enum:
        OISP_VERDICT_NONE
        OISP_VERDICT_UNDECIDED
        OISP_VERDICT_AI
        OISP_EVIDENCE_HOST
        OISP_EVIDENCE_PATH
        OISP_EVIDENCE_HEADER
        OISP_EVIDENCE_KEY
        OISP_EVIDENCE_BODY
        OISP_EVIDENCE_RESPONSE
        OISP_EVIDENCE_MODEL
        OISP_EVIDENCE_PORT
        OISP_EVIDENCE_NEVER
        OISP_EVIDENCE_PATHLESS
        OISP_KIND_UNKNOWN
        OISP_KIND_CHAT
        OISP_KIND_COMPLETION
        OISP_KIND_EMBEDDING
        OISP_KIND_IMAGE
        OISP_KIND_AUDIO
        OISP_KIND_MODERATION
        OISP_KIND_RERANK
        OISP_KIND_RAG
        OISP_KIND_MCP
        OISP_KIND_COUNT_TOKENS
        OISP_KIND_OTHER
    ctypedef struct oisp_verdict:
        uint8_t state
        uint8_t kind
        uint8_t request_type
        uint8_t provider_name
        uint8_t auth_type
        uint8_t account_type
        uint8_t level
        uint8_t method
        uint16_t provider
        uint16_t dialect
        uint16_t rule
        uint16_t evidence
        oisp_slice model
        oisp_slice key
        oisp_slice region
        oisp_slice organization
        oisp_slice project


cdef extern from "oisp/exchange.h" nogil:
    enum:
        OISP_TEXT_NONE
        OISP_TEXT_STRING
        OISP_TEXT_JSON
        OISP_TEXT_PLAIN
        OISP_TEXT_REWRITTEN
        OISP_TEXT_TRUNCATED
        OISP_TEXT_SURROGATE
        OISP_PART_PARTIAL
        OISP_PART_SYSTEM
        OISP_X_STREAM_ASKED
        OISP_X_STREAM_NOT_ASKED
        OISP_X_STREAMED
        OISP_X_TERMINAL
        OISP_X_ERROR
        OISP_X_REQUEST_BAD
        OISP_X_RESPONSE_BAD
        OISP_X_REQUEST_CUT
        OISP_X_RESPONSE_CUT
        OISP_X_LIMIT
        OISP_X_SYSTEM
        OISP_X_CACHED_ANSWER
        OISP_X_REWRITTEN
        OISP_PROMPT_EXCLUDES_CACHE
        OISP_COMPLETION_EXCLUDES_REASONING
        OISP_SAYS_ASK
        OISP_SAYS_BEGIN
        OISP_SAYS_END
    const int64_t OISP_ABSENT
    ctypedef struct oisp_text:
        uint32_t offset
        uint32_t size
        uint32_t capacity
        uint16_t form
        uint16_t flags
    ctypedef struct oisp_message_part:
        uint8_t role
        uint8_t raw
        uint16_t images
        uint32_t flags
        oisp_text content
        oisp_text raw_role
        oisp_text call_id
        oisp_text name
    ctypedef struct oisp_tool_def:
        oisp_text name
        oisp_text description
        oisp_text raw_type
        uint8_t type
        uint8_t server
    ctypedef struct oisp_call:
        int64_t key
        int32_t choice
        uint8_t server
        uint8_t custom
        uint8_t done
        oisp_text id
        oisp_text name
        oisp_text type
        oisp_text arguments
        oisp_text server_name
    ctypedef struct oisp_tool_answer:
        oisp_text call_id
        oisp_text name
        oisp_text content
        int8_t success
        uint8_t server
        uint16_t message
        oisp_text error_type
        oisp_text error_message
    ctypedef struct oisp_hit:
        oisp_text source
        oisp_text content
        oisp_text score
        oisp_text distance
    ctypedef struct oisp_choice:
        int64_t index
        uint8_t role
        uint8_t finish
        uint16_t images
        uint32_t flags
        oisp_text content
        oisp_text reasoning
        oisp_text refusal
        oisp_text finish_raw
    ctypedef struct oisp_usage:
        int64_t prompt
        int64_t completion
        int64_t total
        int64_t cached
        int64_t cache_write
        int64_t reasoning
        oisp_text raw
        uint32_t conventions
    ctypedef struct oisp_exchange:
        oisp_buffer arena
        uint32_t arena_max
        uint16_t dialect
        uint32_t flags
        oisp_text model_requested
        oisp_text system
        oisp_text tool_choice
        oisp_text temperature
        oisp_text top_p
        oisp_text max_tokens
        oisp_text frequency_penalty
        oisp_text presence_penalty
        oisp_text stop
        oisp_text previous_id
        oisp_text conversation
        oisp_text user
        oisp_text query
        oisp_text source
        oisp_text client_name
        oisp_text client_version
        int64_t top_k
        int64_t input_count
        uint32_t images
        oisp_message_part* messages
        uint32_t messages_count
        uint32_t messages_capacity
        oisp_tool_def* tools
        uint32_t tools_count
        uint32_t tools_capacity
        oisp_call* history
        uint32_t history_count
        uint32_t history_capacity
        oisp_tool_answer* answers
        uint32_t answers_count
        uint32_t answers_capacity
        oisp_text response_id
        oisp_text model_answered
        oisp_text finish_raw
        oisp_text error_type
        oisp_text error_message
        oisp_text error_code
        oisp_text service_tier
        uint8_t finish
        uint8_t has_calls_word
        uint8_t success
        oisp_text server_name
        int64_t embedding_count
        int64_t dimensions
        oisp_usage usage
        oisp_choice* choices
        uint32_t choices_count
        uint32_t choices_capacity
        oisp_call* calls
        uint32_t calls_count
        uint32_t calls_capacity
        oisp_hit* hits
        uint32_t hits_count
        uint32_t hits_capacity
        uint32_t chunk_index
        uint8_t chunk_kind
        uint8_t chunk_role
        uint8_t chunk_finish
        uint8_t first_content
        oisp_text chunk_content
        uint32_t chunk_call
        oisp_text chunk_arguments
    const uint8_t* oisp_text_data(const oisp_exchange* x, const oisp_text* t)


cdef extern from "oisp/clients.h" nogil:
    enum:
        OISP_CLIENT_APP
        OISP_CLIENT_FRAMEWORK
        OISP_CLIENT_SDK
        OISP_CLIENT_ROLES
        OISP_CLIENT_RULES
    ctypedef struct oisp_client:
        oisp_slice id
        oisp_slice name
        oisp_slice vendor
        oisp_slice category
        oisp_slice type
        oisp_slice agent
        oisp_slice session[2]
        uint8_t role
    ctypedef struct oisp_client_rule:
        oisp_slice field
        oisp_slice text
        uint16_t client
        uint8_t test
    ctypedef struct oisp_clients:
        const oisp_client* clients
        const oisp_client_rule* rules
        uint32_t clients_count
        uint32_t rules_count
        uint32_t initials[32]
        uint64_t candidates[33][4]
    ctypedef struct oisp_asker:
        const oisp_client* who[3]
        oisp_slice version[3]
        oisp_slice session[2]
    void oisp_find_asker(const oisp_clients* c, const oisp_head* head, oisp_asker* a)


cdef extern from "oisp/confidence.h" nogil:
    ctypedef struct oisp_confidence:
        uint64_t reasons
        uint64_t missing
        uint64_t request_lost
        uint64_t response_lost
        uint64_t request_spared
        uint64_t response_spared
        uint64_t over_limit
        uint8_t level
        uint8_t completeness
        uint8_t detection_method
        uint8_t content_source
        uint8_t process_attribution
        uint8_t loss_undetectable


cdef extern from "oisp/models.h" nogil:
    ctypedef struct oisp_price:
        uint32_t service
        uint32_t above
        double usd[9]
    ctypedef struct oisp_cell:
        const char* data
        uint32_t size
    ctypedef struct oisp_model:
        oisp_cell provider
        oisp_cell id
        oisp_cell aliases
        oisp_cell family
        oisp_cell name
        oisp_cell mode
        oisp_cell modalities
        oisp_cell retires
        oisp_cell source
        uint32_t context
        uint32_t output
        uint32_t capabilities
        uint32_t price
        uint32_t prices
    ctypedef struct oisp_models:
        oisp_model* model
        oisp_price* price
        uint32_t count
    ctypedef struct oisp_model_match:
        const oisp_model* model
        int priced
    ctypedef struct oisp_tokens_used:
        int64_t prompt
        int64_t completion
        int64_t cached
        int64_t cache_write
        int64_t cache_write_1h
        int64_t reasoning
        int64_t audio_in
        int64_t audio_out
        int64_t audio_cached
    ctypedef struct oisp_cost:
        double input
        double output
        double request
    enum:
        OISP_MODEL_VISION
        OISP_MODEL_FUNCTION_CALLING
        OISP_MODEL_STREAMING
        OISP_MODEL_JSON_MODE
        OISP_MODEL_SYSTEM_MESSAGES
        OISP_MODEL_REASONING
        OISP_MODEL_WEB_SEARCH
        OISP_MODEL_CODE_EXECUTION
    oisp_models* oisp_models_read(const char* text, size_t size, uint32_t* bad_line)
    void oisp_models_free(oisp_models* m)
    oisp_model_match oisp_models_find(const oisp_models* m, const char* provider, size_t provider_size,
                                      const uint8_t* name, size_t name_size)
    int oisp_model_cost(const oisp_models* m, const oisp_model* model, int service, const oisp_tokens_used* used,
                        oisp_cost* cost)
    int oisp_service_of(const uint8_t* word, size_t size)
    void oisp_usage_audio(const uint8_t* json, size_t size, oisp_tokens_used* used)
    int64_t oisp_usage_write_1h(const uint8_t* json, size_t size)


cdef extern from "oisp/encode.h" nogil:
    ctypedef struct oisp_ulid:
        char text[26]
    enum:
        OISP_POLICY_METADATA
        OISP_POLICY_REDACTED
        OISP_POLICY_FULL
    ctypedef struct oisp_model_memo:
        oisp_model_match match
        uint32_t name_size
        uint32_t provider_size
        uint32_t text_size
        uint32_t of_request
        uint8_t name[64]
        uint8_t provider[32]
        uint8_t text[416]
    ctypedef struct oisp_chunk_line:
        uint32_t sizes[5]
        char time[32]
        uint64_t second
    ctypedef struct oisp_writer:
        oisp_buffer out
        uint32_t out_max
        uint8_t policy
        uint8_t keyed
        uint8_t seeded
        uint8_t hash_key[64]
        uint64_t id_state[2]
        uint64_t id_last_ms
        uint8_t id_last[10]
        oisp_buffer scratch
        oisp_buffer masking
        const oisp_models* models
        oisp_model_memo memos[4]
        uint32_t memo_next
    ctypedef struct oisp_facts:
        uint64_t ts_ns
        oisp_ulid event_id
        oisp_ulid request_event
        oisp_ulid response_event
        oisp_ulid parent_event
        oisp_ulid request_id
        oisp_slice context
        const oisp_verdict* verdict
        oisp_slice provider_id
        oisp_slice dialect
        oisp_slice scheme
        oisp_slice authority
        oisp_slice path
        oisp_slice method
        oisp_slice conversation_id
        oisp_slice tool_name
        oisp_slice server_name
        oisp_slice client_name
        oisp_slice session_id
        const oisp_asker* asker
        oisp_slice source_type
        oisp_slice connection
        oisp_slice source_name
        oisp_confidence confidence
        int64_t latency_ns
        int64_t first_token_ns
        uint16_t status
        uint8_t streamed
        uint8_t context_has_source


cdef extern from "oisp/record.h" nogil:
    enum:
        OISP_RECORD_CHUNK
        OISP_RECORD_DATA
        OISP_RECORD_OPEN
        OISP_RECORD_CLOSE
        OISP_RECORD_ADDRESS
        OISP_RECORD_LOST
        OISP_RECORD_PROCESS
        OISP_RECORD_CONTEXT
        OISP_WRITE
        OISP_READ
        OISP_RECORD_MIDWAY
        OISP_RECORD_SERVER
        OISP_RECORD_SHORT
        OISP_RECORD_PLAINTEXT
        OISP_RECORD_STDIO
        OISP_RECORDING_VERSION
    const uint64_t OISP_RECORDING_MAGIC
    ctypedef struct oisp_record:
        uint32_t size
        uint16_t kind
        uint16_t flags
    ctypedef struct oisp_record_data:
        oisp_record head
        uint64_t conn
        uint64_t ts_enter
        uint64_t ts_return
        uint64_t offset
        uint64_t call_size
        uint64_t cgroup
        uint64_t start_time
        uint32_t pid
        uint32_t tid
        uint32_t uid
        uint32_t captured
        uint32_t sequence
        uint16_t header_size
        uint8_t direction
    ctypedef struct oisp_record_conn:
        oisp_record head
        uint64_t conn
        uint64_t ts
        uint64_t cgroup
        uint64_t start_time
        uint32_t pid
        uint32_t tid
        uint32_t uid
        uint32_t gid
        uint64_t bytes[2]
        uint64_t lost[2]
    ctypedef struct oisp_record_address:
        oisp_record head
        uint64_t conn
        uint64_t ts
        uint8_t local_ip[16]
        uint8_t remote_ip[16]
        uint16_t local_port
        uint16_t remote_port
        uint16_t tls_version
        uint8_t sni_size
        uint8_t alpn_size
    ctypedef struct oisp_record_lost:
        oisp_record head
        uint64_t conn
        uint64_t ts
        uint64_t bytes[2]
        uint64_t records
        uint32_t cause
    ctypedef struct oisp_record_process:
        oisp_record head
        uint64_t ts
        uint64_t start_time
        uint64_t cgroup
        uint32_t event
        uint32_t pid
        uint32_t ppid
        uint32_t uid
        uint32_t gid
        uint32_t status
    ctypedef struct oisp_record_context:
        oisp_record head
        uint64_t conn
        uint32_t member_size
    ctypedef struct oisp_recording_header:
        uint64_t magic
        uint32_t version
        uint32_t header_size
        uint64_t clock_base_ns
        uint32_t json_size
