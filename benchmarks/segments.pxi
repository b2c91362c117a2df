# SPDX-License-Identifier: Apache-2.0
# Segments as a ring buffer holds them: one after the other, each behind the head of its record. What all drivers in C run over.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    RECORD_HEAD = 88

ctypedef struct segment:
    const uint8_t* data
    size_t size


cdef class Segments:
    cdef segment* at
    cdef size_t count
    cdef uint8_t* ring

    def __cinit__(self, list pieces):
        cdef size_t i
        cdef size_t pos = 0
        self.count = len(pieces)
        self.at = <segment*>malloc(self.count * sizeof(segment) + 1)
        self.ring = <uint8_t*>malloc(sum([RECORD_HEAD + 8 + len(piece) for piece in pieces]) + 1)
        for i in range(self.count):
            pos += RECORD_HEAD
            self.at[i].data = self.ring + pos
            self.at[i].size = PyBytes_GET_SIZE(pieces[i])
            memcpy(self.ring + pos, PyBytes_AS_STRING(pieces[i]), self.at[i].size)
            pos += (self.at[i].size + 7) & ~<size_t>7

    def __dealloc__(self):
        free(self.at)
        free(self.ring)
