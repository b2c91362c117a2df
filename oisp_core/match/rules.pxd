# SPDX-License-Identifier: Apache-2.0
# The compiled rules of semconv/: asked once per message head, and again where body or response must say.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from oisp_core.match.automaton cimport oisp_automaton
from oisp_core.types cimport oisp_head, oisp_slice, oisp_verdict


cdef extern from "oisp/rules.h" nogil:
    enum:
        OISP_LINK_NEVER
        OISP_RULE_WEBSOCKET
        OISP_RULE_GRPC
        OISP_RULE_ALONE
        OISP_RULE_NOT_AI
        OISP_RULE_ANY_PATH
        OISP_METHOD_GET
        OISP_METHOD_POST
        OISP_METHOD_PUT
        OISP_METHOD_PATCH
        OISP_METHOD_DELETE
        OISP_METHOD_OTHER
        OISP_ANSWER_JSON
        OISP_ANSWER_SSE
        OISP_ANSWER_NDJSON
        OISP_ANSWER_OTHER
        OISP_SHAPE_STRING
        OISP_SHAPE_NUMBER
        OISP_SHAPE_BOOL
        OISP_SHAPE_NULL
        OISP_SHAPE_OBJECT
        OISP_SHAPE_ARRAY
        OISP_TEST_EQUAL
        OISP_TEST_PREFIX
        OISP_TEST_CONTAINS
        OISP_HEADER_AUTHORIZATION
        OISP_HEADER_CREDENTIAL
        OISP_HEADER_ORGANIZATION
        OISP_HEADER_PROJECT
        OISP_HEADER_SIGNAL
        OISP_HEADER_CONTENT_TYPE
        OISP_HEADER_UPGRADE
        OISP_HEADER_SUBPROTOCOL
        OISP_HEADER_COOKIE
        OISP_SIGNAL_PRESENT
        OISP_SIGNAL_EQUAL
        OISP_SIGNAL_PREFIX
        OISP_SIGNAL_CONTAINS
        OISP_SIGNAL_REQUEST
        OISP_SIGNAL_RESPONSE
        OISP_SIGNAL_GATEWAY
        OISP_GLOB_REGION
        OISP_GLOB_LABEL
        OISP_GLOB_MANY
        OISP_GLOB_REST
    const uint64_t OISP_FOLD
    ctypedef struct oisp_rule_host:
        uint32_t hash
        uint32_t at
        uint32_t size
        uint32_t first
        uint32_t count
    ctypedef struct oisp_rule_link:
        uint32_t at
        uint32_t size
        uint16_t port
        uint16_t provider
        uint8_t flags
        uint8_t account_type
    ctypedef struct oisp_rule_edge:
        uint32_t hash
        uint32_t parent
        uint32_t child
        uint32_t at
        uint32_t size
    ctypedef struct oisp_rule_node:
        uint32_t any
        uint32_t glob_first
        uint16_t glob_count
        uint16_t terminal
    ctypedef struct oisp_rule_token_glob:
        uint32_t child
        uint32_t prefix
        uint32_t prefix_size
        uint32_t suffix
        uint32_t suffix_size
    ctypedef struct oisp_rule_terminal:
        uint32_t rules_first
        uint32_t gates_first
        uint32_t served_first
        uint16_t rules_count
        uint16_t gates_count
        uint16_t served_count
        uint16_t rank
        uint8_t anchored
        uint8_t model_from
        uint8_t model_to
        uint8_t region
        uint8_t project
        uint8_t organization
    ctypedef struct oisp_rule:
        uint32_t name
        uint32_t name_size
        uint16_t provider
        uint16_t dialect
        uint16_t shape
        uint16_t terminal
        uint16_t variant_first
        uint8_t variant_count
        uint8_t kind
        uint8_t request_type
        uint8_t methods
        uint8_t flags
    ctypedef struct oisp_rule_variant:
        uint32_t at
        uint32_t size
        uint16_t shape
        uint16_t dialect
        uint8_t kind
        uint8_t request_type
    ctypedef struct oisp_rule_shape:
        uint32_t first
        uint16_t all
        uint16_t any
        uint16_t none
        uint16_t model
        uint8_t multipart
        uint8_t answers
    ctypedef struct oisp_rule_term:
        uint16_t node
        uint8_t types
    ctypedef struct oisp_rule_key_edge:
        uint32_t hash
        uint32_t at
        uint32_t size
        uint16_t parent
        uint16_t child
    ctypedef struct oisp_rule_key_node:
        uint16_t items
        uint16_t test_first
        uint16_t test_count
    ctypedef struct oisp_rule_key_test:
        uint32_t at
        uint32_t size
        uint16_t node
        uint8_t mode
    ctypedef struct oisp_rule_header:
        uint32_t hash
        uint32_t at
        uint32_t size
        uint32_t signal_first
        uint16_t signal_count
        uint16_t actions
    ctypedef struct oisp_rule_signal:
        uint32_t at
        uint32_t size
        uint16_t provider
        uint8_t mode
        uint8_t where
    ctypedef struct oisp_rule_key:
        uint8_t prefix[16]
        uint8_t size
        uint8_t auth_type
        uint8_t account_type
        uint8_t aws
        uint16_t provider
    ctypedef struct oisp_rule_provider:
        uint32_t id
        uint32_t id_size
        uint32_t key_first
        uint16_t key_count
        uint8_t name
        uint8_t auth_type
    ctypedef struct oisp_rule_query:
        uint32_t at
        uint32_t size
    ctypedef struct oisp_rule_port:
        uint16_t port
        uint16_t provider
    ctypedef struct oisp_rule_exact:
        uint32_t hash
        uint32_t at
        uint32_t first
        uint16_t size
        uint16_t provider
        uint8_t count
        uint8_t methods
        uint8_t verbs
        uint8_t reserved
    ctypedef struct oisp_rule_filter:
        uint32_t ends[64][2]
    ctypedef struct oisp_rules:
        const uint8_t* pool
        const oisp_rule_host* hosts
        const oisp_rule_host* suffixes
        const oisp_rule_link* links
        const oisp_rule_edge* edges
        const oisp_rule_node* nodes
        const oisp_rule_token_glob* globs
        const oisp_rule_terminal* terminals
        const oisp_rule* rules
        const oisp_rule_variant* variants
        const uint16_t* gates
        const uint16_t* served
        const oisp_rule_shape* shapes
        const oisp_rule_term* terms
        const oisp_rule_key_edge* key_edges
        const oisp_rule_key_node* key_nodes
        const oisp_rule_key_test* key_tests
        const oisp_rule_header* headers
        const oisp_rule_signal* signals
        const oisp_rule_key* keys
        const oisp_rule_provider* providers
        const oisp_rule_port* ports
        const oisp_rule_query* queries
        const uint16_t* any_gates
        const uint16_t* value_signals
        const oisp_automaton* values
        const oisp_automaton* fields
        const oisp_rule_exact* exact
        const uint8_t* exact_text
        const uint16_t* exact_found
        const uint16_t* key_order
        uint16_t key_groups[257]
        oisp_rule_filter header_filter
        oisp_rule_filter plain_filter
        uint32_t exact_mask
        uint32_t hosts_mask
        uint32_t suffixes_mask
        uint32_t edges_mask
        uint32_t key_edges_mask
        uint32_t headers_mask
        uint32_t keys_count
        uint32_t providers_count
        uint32_t ports_count
        uint32_t queries_count
        uint32_t any_gates_count
        uint32_t claude
        uint32_t key_nodes_count
        uint32_t rules_count
        uint32_t terminals_count
    uint32_t oisp_rule_hash(const uint8_t* p, uint32_t n, uint64_t fold, uint32_t seed)
    bint oisp_rule_same(const uint8_t* p, const uint8_t* low, uint32_t n)
    void oisp_rule_clear(void* at, size_t n)
    bint oisp_rule_equal(const uint8_t* p, const uint8_t* q, uint32_t n)
    uint32_t oisp_rule_path_end(const uint8_t* p, uint32_t n)
    bint oisp_rule_wanted(const oisp_rule_filter* f, const uint8_t* p, uint32_t n)
    void oisp_rule_want(oisp_rule_filter* f, const uint8_t* p, uint32_t n)


# Immutable; shared by any number of engines. `dialect_names` maps names of dialects to the indexes of decode.Dialects.
cdef class Registry:
    cdef const oisp_rules* rules
    cdef oisp_rules table
    cdef object owner    # whatever keeps the tables alive
    cdef object derived  # the same of the tables that are made when it is loaded
    cdef readonly object providers   # list of provider ids, index = verdict.provider - 1
    cdef readonly object dialects    # list of dialect names, index = verdict.dialect - 1
    cdef readonly object missing_dialects   # names that endpoints use and nobody decodes: known endpoint, dialect 0
    cdef object _verdict(self, const oisp_verdict* v)

cdef void match_request(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil
# The first bytes of the request body, while state is UNDECIDED: once, with 4 KiB or the whole body if it is shorter. Of
# a WebSocket: the client's or the server's first message.
cdef void match_request_body(const oisp_rules* r, const uint8_t* data, size_t size, oisp_verdict* out) noexcept nogil
# The response's head. After it state is NONE or AI (UNDECIDED remains only after 1xx, 101 among them).
cdef void match_response(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil
cdef oisp_slice match_provider_id(const oisp_rules* r, uint16_t provider) noexcept nogil
# By what a response is read whose request is not known: what its connection was asked before, if that is one thing. `usual`
# begins zeroed, and is again once `mixed` is set; `v` is the verdict on the next request.
cdef void match_keep_usual(oisp_verdict* usual, uint8_t* mixed, const oisp_verdict* v) noexcept nogil
