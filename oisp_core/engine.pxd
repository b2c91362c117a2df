# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.types cimport oisp_record, oisp_status

cdef class Engine:
    pass

# One ABI record (borrowed for the call). OISP_FULL: it was taken whole; drain before the next call, which takes nothing
# until then. The caller must own the engine: no other thread uses it meanwhile.
cdef oisp_status engine_feed_record(Engine e, const oisp_record* record) noexcept nogil
# direction: enum oisp_direction; ts_ns: Unix; offset: UINT64_MAX when the producer has none.
cdef oisp_status engine_feed_span(Engine e, uint64_t conn, int direction, uint64_t ts_ns, const uint8_t* data, size_t size, uint64_t offset) noexcept nogil
