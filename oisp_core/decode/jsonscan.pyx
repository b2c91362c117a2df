# SPDX-License-Identifier: Apache-2.0
"""One validating pass over a JSON document, driven by a compiled trie of paths.

The pass itself is json_pass.c; this module hands it to other extensions. Not a parser, and not for use from Python.
"""
from libc.stdint cimport uint8_t, uint32_t
from oisp_core.simd.scan cimport scan_best
from oisp_core.types cimport oisp_buffer, oisp_buffer_free, oisp_scan, oisp_status

cdef extern from "oisp/jsonscan.h" nogil:
    void oisp_json_init(oisp_json* j, const oisp_scan* scan, uint32_t depth_max, uint32_t captures_max)
    void oisp_json_free(oisp_json* j)
    oisp_status oisp_json_scan(oisp_json* j, const oisp_json_table* t, uint32_t root, const uint8_t* data, size_t size, uint32_t bits)
    uint32_t oisp_json_tests(const oisp_json_table* t, uint32_t node, const uint8_t* value, size_t size)
    size_t oisp_json_clean(uint8_t* out, const uint8_t* data, size_t size, int keep)
    size_t oisp_json_clean_value(uint8_t* out, const uint8_t* data, size_t size)
    size_t oisp_json_unescape(uint8_t* out, const uint8_t* data, size_t size)


cdef extern from "oisp/template.h" nogil:
    int oisp_template_learn(oisp_template* t, const oisp_scan* scan, const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size,
                            const oisp_template_facts* facts)
    int oisp_template_remake(const oisp_template* t, const char[16]* counters, oisp_buffer* out)


cdef int template_learn(oisp_template* t, const oisp_scan* scan, const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size,
                        const oisp_template_facts* facts) noexcept nogil:
    return oisp_template_learn(t, scan, a, a_size, b, b_size, facts)


cdef int template_remake(const oisp_template* t, const char[16]* counters, oisp_buffer* out) noexcept nogil:
    return oisp_template_remake(t, counters, out)


cdef void template_free(oisp_template* t) noexcept nogil:
    oisp_template_wipe(t)
    oisp_buffer_free(&t.literals)


cdef void json_init(oisp_json* j, uint32_t depth_max, uint32_t captures_max) noexcept nogil:
    oisp_json_init(j, scan_best(), depth_max, captures_max)


cdef void json_free(oisp_json* j) noexcept nogil:
    oisp_json_free(j)


cdef oisp_status json_scan(oisp_json* j, const oisp_json_table* t, uint32_t root, const uint8_t* data, size_t size, uint32_t bits) noexcept nogil:
    return oisp_json_scan(j, t, root, data, size, bits)


cdef uint32_t json_tests(const oisp_json_table* t, uint32_t node, const uint8_t* value, size_t size) noexcept nogil:
    return oisp_json_tests(t, node, value, size)


cdef size_t json_clean(uint8_t* out, const uint8_t* data, size_t size, int keep) noexcept nogil:
    return oisp_json_clean(out, data, size, keep)


cdef size_t json_clean_value(uint8_t* out, const uint8_t* data, size_t size) noexcept nogil:
    return oisp_json_clean_value(out, data, size)


cdef size_t json_unescape(uint8_t* out, const uint8_t* data, size_t size) noexcept nogil:
    return oisp_json_unescape(out, data, size)
