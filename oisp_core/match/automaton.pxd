# SPDX-License-Identifier: Apache-2.0
# Aho-Corasick over byte classes: the search form and its scan.
from libc.stdint cimport uint8_t, uint32_t


cdef extern from "oisp/automaton.h" nogil:
    ctypedef struct oisp_automaton:
        const uint32_t* next
        const uint32_t* out_start
        const uint32_t* outputs
        const uint32_t* lengths
        uint8_t classes[256]
        uint32_t classes_count
        uint32_t states
        uint32_t first_match
        uint32_t patterns
        uint32_t longest
    ctypedef struct oisp_match:
        uint32_t pattern
        uint32_t start
        uint32_t end
    const uint8_t* oisp_automaton_classes(const oisp_automaton* a)
    ctypedef int (*oisp_match_sink)(void* context, uint32_t pattern, size_t start, size_t end) noexcept


# Immutable. `table` lives as long as the object does.
cdef class Automaton:
    cdef oisp_automaton table
    cdef readonly bint ignore_case
    cdef readonly bint leftmost
    cdef readonly list patterns    # of bytes
    cdef object owner              # the arrays that `table` points into
    cdef void _scan(self, const uint8_t* data, size_t size, void* found)

# Every match, in order of its end; of those that end together the longest first. Long data runs in six lanes at once
# and the order is kept. Answers 0 when the sink stopped the scan, else 1.
cdef bint automaton_scan(const oisp_automaton* a, const uint8_t* data, size_t size, oisp_match_sink sink,
                         void* context) noexcept nogil
# The longest pattern that `data` begins with, or UINT32_MAX.
cdef uint32_t automaton_prefix(const oisp_automaton* a, const uint8_t* data, size_t size) noexcept nogil
