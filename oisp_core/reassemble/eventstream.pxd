# SPDX-License-Identifier: Apache-2.0
# AWS event streams (application/vnd.amazon.eventstream). The quartet of token.h; EVENT: name = the value of `:event-type`
# (or `:exception-type`, `:error-code`), data = payload (for an error without one: `:error-message`). A token may point into
# the parser's own buffer, then feed stops after it (OK, perhaps with input left). MORE: all was taken, inside a frame.
# EVENT flags: bit 0 exception, bit 1 error. GAP flags: bit 0 a frame was in progress and is dropped, bit 1 bytes that were
# there but could not be read while the next frame was looked for, bit 2 a frame whose checksum is wrong (number: its size).
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status, oisp_token, oisp_tokens

cdef extern from "oisp/eventstream.h" nogil:
    # Private to eventstream.pyx.
    ctypedef struct oisp_eventstream:
        oisp_buffer held
        uint64_t offset
        uint64_t passing
        uint64_t skipped
        uint32_t frame_max
        uint8_t given
        uint8_t searching
        uint8_t failed

cdef void eventstream_init(oisp_eventstream* p, size_t frame_max) noexcept nogil
cdef oisp_status eventstream_feed(oisp_eventstream* p, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# Inside a frame whose size is known: arithmetic, that frame is dropped. Else the next prelude is looked for; its checksum
# over length fields in bounds makes it sure. Never BAD.
# The frame that begins at `data`, between two frames, if all of it is there and right: its size, and its token. 0: anything
# else. It is not taken: whoever does moves `offset`.
cdef size_t eventstream_whole(const oisp_eventstream* p, const uint8_t* data, size_t size, oisp_token* token) noexcept nogil
cdef oisp_status eventstream_gap(oisp_eventstream* p, uint64_t size, oisp_tokens* out) noexcept nogil
# MORE: the stream ended inside a frame.
cdef oisp_status eventstream_finish(oisp_eventstream* p, oisp_tokens* out) noexcept nogil
cdef void eventstream_reset(oisp_eventstream* p) noexcept nogil
cdef void eventstream_free(oisp_eventstream* p) noexcept nogil
