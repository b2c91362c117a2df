# SPDX-License-Identifier: Apache-2.0
"""Runs the inflater over pieces as the engine does: output into one buffer that is wiped after each batch."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

from oisp_core.reassemble.content cimport Inflater
from oisp_core.types cimport oisp_buffer, oisp_buffer_free, oisp_buffer_wipe


def count(coding, list pieces):
    """(bytes out, status of the end)."""
    cdef Inflater inflater = Inflater(coding)
    cdef oisp_buffer out
    cdef uint64_t total = 0
    cdef bytes piece
    out.data = NULL
    out.size = 0
    out.capacity = 0
    for piece in pieces:
        if inflater.feed(<const uint8_t*>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece), &out, 1 << 24) != 0:
            break
        total += out.size
        oisp_buffer_wipe(&out)
    oisp_buffer_free(&out)
    return total, int(inflater.finish())
