# SPDX-License-Identifier: Apache-2.0
# JSON-RPC in lines between a client and the server that it started: bytes of two directions in, exchanges out.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.turn cimport oisp_origin, oisp_shared, oisp_turn
from oisp_core.types cimport oisp_buffer

cdef extern from "oisp/rpc.h" nogil:
    ctypedef struct oisp_rpc:
        oisp_buffer line[2]
        oisp_turn* first
        oisp_turn* last
        uint32_t waiting
        uint8_t skip[2]
        uint8_t lost

cdef oisp_rpc* rpc_new() noexcept nogil   # NULL: no memory
# side: 0 what the client sends, 1 what it receives.
cdef void rpc_data(oisp_shared* s, oisp_rpc* q, const oisp_origin* origin, int side, const uint8_t* data, size_t size,
                   uint64_t ts) noexcept nogil
# size 0: of unknown size.
cdef void rpc_gap(oisp_shared* s, oisp_rpc* q, int side, uint64_t size) noexcept nogil
# What waits for an answer is given out. ends: enum oisp_end_flags. The caller frees.
cdef void rpc_finish(oisp_shared* s, oisp_rpc* q, uint64_t ts, int ends) noexcept nogil
cdef void rpc_free(oisp_shared* s, oisp_rpc* q) noexcept nogil
