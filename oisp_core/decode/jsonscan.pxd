# SPDX-License-Identifier: Apache-2.0
# One validating pass over a JSON document: see include/oisp/jsonscan.h.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from oisp_core.types cimport oisp_buffer, oisp_scan, oisp_status

cdef extern from "oisp/jsonscan.h" nogil:
    enum:
        OISP_JSON_NULL
        OISP_JSON_FALSE
        OISP_JSON_TRUE
        OISP_JSON_NUMBER
        OISP_JSON_STRING
        OISP_JSON_ARRAY
        OISP_JSON_OBJECT
        OISP_CAPTURE_ESCAPED
        OISP_CAPTURE_DIRTY
        OISP_CAPTURE_CUT
        OISP_CAPTURE_HIGH
        OISP_CAPTURE_LOW
    ctypedef struct oisp_json_node:
        uint32_t end
        uint32_t edges
        uint32_t element
        uint32_t member
        uint32_t leaves
        uint32_t tests
        uint16_t edge_mask
        uint16_t kinds
        uint16_t test_count
        uint8_t leaf_count
        uint8_t selects
        uint32_t test_bits
    ctypedef struct oisp_json_edge:
        uint32_t name
        uint16_t size
        uint16_t ordinal
        uint32_t node
    ctypedef struct oisp_json_leaf:
        uint16_t kinds
        uint8_t cond_count
        uint32_t conds
    ctypedef struct oisp_json_cond:
        uint32_t node
        uint32_t all
        uint32_t none
    ctypedef struct oisp_json_test:
        uint32_t value
        uint16_t size
        uint8_t kind
        uint8_t bit
    ctypedef struct oisp_json_table:
        const oisp_json_node* nodes
        const oisp_json_edge* edges
        const oisp_json_leaf* leaves
        const oisp_json_cond* conds
        const oisp_json_test* tests
        const uint8_t* pool
    ctypedef struct oisp_capture:
        uint32_t node
        uint32_t alive
        uint32_t at
        uint32_t size
        uint32_t next
        uint32_t count
        uint8_t kind
        uint8_t flags
    ctypedef struct oisp_json:
        oisp_capture* captures
        uint32_t count
        uint32_t depth_max
        uint32_t captures_max
        uint32_t dirty
        uint32_t used
        const oisp_scan* scan
        uint32_t tested_count
        uint32_t tested[16]

cdef extern from "oisp/template.h" nogil:
    enum:
        OISP_TEMPLATE_SLOTS
        OISP_TEMPLATE_SHORT
    ctypedef struct oisp_template:
        oisp_buffer literals
        uint32_t slot_count
        uint32_t before
        uint32_t counters
    ctypedef struct oisp_template_facts:
        const uint8_t* before
        const uint32_t* texts
        const uint32_t* fixed
        uint32_t before_size
        uint32_t text_count
        uint32_t fixed_count
        uint32_t counted
        uint32_t counted_end
    ctypedef struct oisp_span:
        uint32_t at
        uint32_t size
        uint32_t flags
    void oisp_template_wipe(oisp_template* t)
    void template_store "oisp_template_store"(uint8_t* to, const uint8_t* data, size_t size)
    size_t template_prefix "oisp_template_prefix"(const oisp_template* t, const oisp_scan* scan, const uint8_t* data, size_t size,
                                                  bint wire, bint line, oisp_span* out)

cdef int template_learn(oisp_template* t, const oisp_scan* scan, const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size,
                        const oisp_template_facts* facts) noexcept nogil
cdef int template_remake(const oisp_template* t, const char[16]* counters, oisp_buffer* out) noexcept nogil
cdef void template_free(oisp_template* t) noexcept nogil

cdef void json_init(oisp_json* j, uint32_t depth_max, uint32_t captures_max) noexcept nogil
cdef void json_free(oisp_json* j) noexcept nogil
cdef oisp_status json_scan(oisp_json* j, const oisp_json_table* t, uint32_t root, const uint8_t* data, size_t size, uint32_t bits) noexcept nogil
cdef uint32_t json_tests(const oisp_json_table* t, uint32_t node, const uint8_t* value, size_t size) noexcept nogil
cdef size_t json_clean(uint8_t* out, const uint8_t* data, size_t size, int keep) noexcept nogil
cdef size_t json_clean_value(uint8_t* out, const uint8_t* data, size_t size) noexcept nogil
cdef size_t json_unescape(uint8_t* out, const uint8_t* data, size_t size) noexcept nogil
