# SPDX-License-Identifier: Apache-2.0
"""Asks the compiled rules about heads and bodies, without a Python object per question."""
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from oisp_core.match.rules cimport Registry, match_request, match_request_body
from oisp_core.types cimport OISP_VERDICT_AI, oisp_field, oisp_head, oisp_slice, oisp_verdict


cdef oisp_slice slice_of(bytes text):
    cdef oisp_slice out
    out.data = <const uint8_t*><const char*>text
    out.size = <unsigned int>len(text)
    return out


cdef class Heads:
    """Request heads (method, target, authority, fields, body) as the engine would hold them."""
    cdef oisp_head* at
    cdef oisp_slice* bodies
    cdef size_t count
    cdef list keep

    def __cinit__(self, list rows):
        cdef size_t i, k
        cdef oisp_field* fields
        self.count = len(rows)
        self.at = <oisp_head*>calloc(self.count, sizeof(oisp_head))
        self.bodies = <oisp_slice*>calloc(self.count, sizeof(oisp_slice))
        self.keep = rows
        for i in range(self.count):
            method, target, authority, pairs, body = rows[i]
            fields = <oisp_field*>calloc(len(pairs) + 1, sizeof(oisp_field))
            for k in range(len(pairs)):
                fields[k].name = slice_of(pairs[k][0])
                fields[k].value = slice_of(pairs[k][1])
            self.at[i].method = slice_of(method)
            self.at[i].target = slice_of(target)
            self.at[i].authority = slice_of(authority)
            self.at[i].fields = fields
            self.at[i].fields_count = len(pairs)
            self.bodies[i] = slice_of(body)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.count):
            free(<void*>self.at[i].fields)
        free(self.at)
        free(self.bodies)


def count_ai(Registry registry, Heads heads, bint bodies):
    """How many are AI; with `bodies` the body is asked where the head left it open."""
    cdef oisp_verdict verdict
    cdef uint64_t found = 0
    cdef size_t i
    with nogil:
        for i in range(heads.count):
            match_request(registry.rules, &heads.at[i], &verdict)
            if bodies:
                match_request_body(registry.rules, heads.bodies[i].data, heads.bodies[i].size, &verdict)
            found += verdict.state == OISP_VERDICT_AI
    return found
