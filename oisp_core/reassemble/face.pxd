# SPDX-License-Identifier: Apache-2.0
# What the Python classes of the parsers share: inline, so that no module stands behind it. The hot path does not come here.
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from oisp_core.types cimport oisp_token, oisp_tokens


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
