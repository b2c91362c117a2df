# SPDX-License-Identifier: Apache-2.0
# The engine for other extensions.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from oisp_core.connection cimport engine_core
from oisp_core.types cimport oisp_record, oisp_status


cdef class Engine:
    cdef engine_core core
    cdef object registry     # keep the tables alive
    cdef object dialects
    cdef object models
    cdef object clients
    cdef object policy
    cdef int _enter(self) except -1
    cdef int64_t _recording_start(self, const uint8_t* data, uint64_t size) except -1
    cdef int _check_records(self, const uint8_t* data, uint64_t at, uint64_t size) except -1


# One ABI record (borrowed for the call). OISP_FULL: it was taken whole; drain before the next call, which takes nothing
# until then. The caller must own the engine: no other thread uses it meanwhile.
cdef oisp_status engine_feed_record(Engine e, const oisp_record* record) noexcept nogil
# Has this connection been seen, and not been closed or evicted?
cdef bint engine_knows(Engine e, uint64_t conn) noexcept nogil
# Connections and exchanges in flight: what would be unfinished if the reader ended here.
cdef void engine_open(Engine e, uint64_t* connections, uint64_t* exchanges) noexcept nogil
# direction: enum oisp_direction; ts_ns: Unix; offset: UINT64_MAX when the producer has none.
cdef oisp_status engine_feed_span(Engine e, uint64_t conn, int direction, uint64_t ts_ns, const uint8_t* data, size_t size,
                                  uint64_t offset) noexcept nogil
