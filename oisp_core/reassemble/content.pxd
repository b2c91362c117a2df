# SPDX-License-Identifier: Apache-2.0
# Content codings: gzip, deflate (zlib or raw), br, zstd, stacked. The one stage that takes the GIL; call it once per batch of
# parked pieces.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.types cimport oisp_buffer, oisp_status

cdef enum:
    CODING_GZIP = 1
    CODING_DEFLATE = 2
    CODING_BR = 3
    CODING_ZSTD = 4
    CODING_RAW = 5   # raw deflate: the messages of permessage-deflate, each followed by 00 00 ff ff; no content coding
    CODINGS_MAX = 4

# The codings of a Content-Encoding (or Transfer-Encoding: chunked is passed over) value, in the order in which they were
# applied; several fields: call again, `count` goes on. `identity` is passed over. OK, BAD (one that is not known, or more
# than CODINGS_MAX).
cdef oisp_status content_codings(const uint8_t* value, size_t size, uint8_t* codings, int* count) noexcept nogil

cdef class Inflater:
    cdef readonly object status        # of the Python face
    cdef list stages                   # in the order in which they are undone
    cdef Py_ssize_t count              # of them
    cdef uint64_t ratio
    cdef uint64_t bytes_in
    cdef uint64_t bytes_out
    cdef oisp_status failed
    cdef oisp_buffer* out
    cdef size_t room

    cdef int _push(self, Py_ssize_t index, object data, Py_ssize_t size) except -1
    cdef void _count(self, size_t size) noexcept
    cdef void _give(self, const uint8_t* data, size_t size) noexcept
    # The codings as content_codings() gave them. BAD: no codec is installed for one of them.
    cdef oisp_status begin(self, const uint8_t* codings, int count, uint64_t ratio)
    # Inflates `data` and appends at most `max` bytes to `out`, all that the codecs can give by now (sync flush). OK; BAD: the
    # data is corrupt, what came before it was appended; LIMIT: more than `max`, or a bomb. Both stay.
    cdef oisp_status feed(self, const uint8_t* data, size_t size, oisp_buffer* out, size_t max)
    # The coded bytes ended. OK if the codecs saw their ends as well, MORE if the data is cut.
    cdef oisp_status finish(self)
