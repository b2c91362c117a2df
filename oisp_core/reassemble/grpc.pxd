# SPDX-License-Identifier: Apache-2.0
# gRPC's length-prefixed messages, over the DATA of one HTTP/2 stream in one direction. The quartet of token.h; EVENT: data =
# one message; flags: bit 4 compressed (by the grpc-encoding of the head), bit 7 the trailers of gRPC-Web (text of fields).
# A token may point into the parser's own buffer, then feed stops after it (OK, perhaps with input left). MORE: all was taken,
# inside a message.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/grpc.h" nogil:
    # Private to grpc.pyx.
    ctypedef struct oisp_grpc:
        oisp_buffer held
        uint64_t offset
        uint32_t left
        uint32_t message_max
        uint8_t head[5]
        uint8_t head_size
        uint8_t damaged
        uint8_t given
        uint8_t failed

cdef void grpc_init(oisp_grpc* p, size_t message_max) noexcept nogil
cdef oisp_status grpc_feed(oisp_grpc* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Inside a message: arithmetic, it is dropped (GAP). A hole that may hide a prefix: BAD.
cdef oisp_status grpc_gap(oisp_grpc* p, uint64_t size, oisp_tokens* out) noexcept nogil
# MORE: the stream ended inside a message.
cdef oisp_status grpc_finish(oisp_grpc* p, oisp_tokens* out) noexcept nogil
cdef void grpc_reset(oisp_grpc* p) noexcept nogil
cdef void grpc_free(oisp_grpc* p) noexcept nogil
