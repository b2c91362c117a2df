# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t

cdef extern from "oisp/sniff.h" nogil:
    enum:
        OISP_SNIFF_MORE
        OISP_SNIFF_UNKNOWN
        OISP_SNIFF_HTTP1_REQUEST
        OISP_SNIFF_HTTP1_RESPONSE
        OISP_SNIFF_HTTP2_PREFACE
        OISP_SNIFF_HTTP2_SETTINGS
        OISP_SNIFF_HTTP2_FRAMES
        OISP_SNIFF_TLS
        OISP_SNIFF_WEBSOCKET

# enum oisp_sniffed. Give it the first bytes of a direction, or a segment that may begin a message. MORE: ask again with more
# bytes from the same start; it is never answered for more than a few KiB of them.
cdef int sniff(const uint8_t* data, size_t size) noexcept nogil
