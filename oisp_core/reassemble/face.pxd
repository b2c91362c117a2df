# SPDX-License-Identifier: Apache-2.0
# What the Python classes of the parsers share. The hot path does not come here.
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_token, oisp_tokens

cdef enum:
    FACE_TOKENS = 64


cdef inline list tokens_as_objects(object make, const oisp_tokens* out):
    cdef const oisp_token* t
    cdef uint32_t i
    cdef list result = []
    for i in range(out.count):
        t = &out.at[i]
        result.append(make(
            t.kind,
            t.offset,
            PyBytes_FromStringAndSize(<const char*>t.data, t.size) if t.size else b"",
            PyBytes_FromStringAndSize(<const char*>t.name, t.name_size) if t.name_size else b"",
            t.number,
            t.flags,
            t.stream,
        ))
    return result


# The quartet of token.h as a Python object. A parser says how its own C functions are called; they append to `out`.
cdef class Parser:
    cdef oisp_token space[FACE_TOKENS]
    cdef oisp_tokens out
    cdef size_t taken  # of the data of the last feed
    cdef readonly object status

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept
    cdef oisp_status gap_c(self, uint64_t size) noexcept
    cdef oisp_status finish_c(self) noexcept
    cdef void reset_c(self) noexcept
    cdef uint64_t offset_c(self) noexcept
    cdef const oisp_buffer* held_c(self) noexcept
