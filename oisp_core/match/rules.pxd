# SPDX-License-Identifier: Apache-2.0
# The compiled rules of semconv/: asked once per message head, and again where body or response must say.
from libc.stdint cimport uint8_t, uint16_t
from oisp_core.types cimport oisp_head, oisp_slice, oisp_verdict

cdef extern from "oisp/rules.h" nogil:
    ctypedef struct oisp_rules:
        pass

# Immutable; shared by any number of engines. `dialect_names` maps names of dialects to the indexes of decode.Dialects.
cdef class Registry:
    cdef const oisp_rules* rules
    cdef object owner    # whatever keeps the tables alive
    cdef readonly object providers   # list of provider ids, index = verdict.provider - 1

cdef void match_request(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil
# First bytes of the request body (at most 4 KiB are looked at), only while state is UNDECIDED.
cdef void match_request_body(const oisp_rules* r, const uint8_t* data, size_t size, oisp_verdict* out) noexcept nogil
cdef void match_response(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil
cdef oisp_slice match_provider_id(const oisp_rules* r, uint16_t provider) noexcept nogil
