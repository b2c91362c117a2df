# SPDX-License-Identifier: Apache-2.0
# WebSocket (RFC 6455), one direction. The quartet of token.h; EVENT: data = one whole message, unmasked, fragments joined;
# flags: the opcode (1 text, 2 binary), and bit 4 compressed (permessage-deflate, RFC 7692: inflate the data followed by
# 00 00 ff ff as raw deflate, CODING_RAW of content.pxd). END: the close frame, number = its code (1005: none), data = its
# reason; what follows is not read. Pings and pongs give nothing.
# A token may point into the parser's own buffer, then feed stops after it (OK, perhaps with input left). MORE: all was taken,
# inside a frame or message.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_tokens

cdef extern from "oisp/websocket.h" nogil:
    # Private to websocket.pyx.
    ctypedef struct oisp_websocket:
        oisp_buffer held
        uint64_t offset
        uint64_t left
        uint64_t start
        uint32_t message_max
        uint32_t control
        uint8_t head[14]
        uint8_t head_size
        uint8_t state
        uint8_t message
        uint8_t flags
        uint8_t damaged
        uint8_t given
        uint8_t phase
        uint8_t failed

cdef void websocket_init(oisp_websocket* p, size_t message_max) noexcept nogil
cdef oisp_status websocket_feed(oisp_websocket* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Inside a payload: arithmetic; that message is dropped (GAP). A hole that may hide a frame's head: BAD.
cdef oisp_status websocket_gap(oisp_websocket* p, uint64_t size, oisp_tokens* out) noexcept nogil
# MORE: the stream ended inside a message.
cdef oisp_status websocket_finish(oisp_websocket* p, oisp_tokens* out) noexcept nogil
cdef void websocket_reset(oisp_websocket* p) noexcept nogil
cdef void websocket_free(oisp_websocket* p) noexcept nogil
