# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.types cimport oisp_record

cdef enum:
    RECORD_STAYS = 1 << 16  # of a sink's answer: the record was not taken, it comes again

# Takes one record (borrowed for the call). 0: go on; else take() stops after this record and answers the same number.
ctypedef int (*record_sink)(void* context, const oisp_record* record) noexcept nogil

cdef class RingBuffer:
    cdef readonly int fd
    cdef readonly size_t size
    cdef void* consumer_page
    cdef void* producer_page
    cdef uint64_t* consumer
    cdef uint64_t* producer
    cdef const uint8_t* data
    cdef uint64_t* busy  # or NULL; before a record is handled, its position goes here
    cdef readonly uint64_t malformed
    cdef void unmap(self) noexcept
    cdef int take(self, record_sink sink, void* context, uint64_t budget) noexcept nogil
