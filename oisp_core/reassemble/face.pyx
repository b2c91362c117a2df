# SPDX-License-Identifier: Apache-2.0
"""A parser as a Python object: the quartet of oisp/token.h, with tokens that are copies.

What it is not: the way of the engine, which calls the C functions and takes tokens without copying them. What a parser
adds to this is the six calls that face.pxd declares.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t

from oisp_core.types cimport OISP_BAD, OISP_OK, oisp_buffer, oisp_status

from oisp_core.reassemble.tokens import Status, Token


cdef class Parser:
    def __cinit__(self):
        self.out.at = self.space
        self.out.capacity = FACE_TOKENS
        self.status = Status.OK

    cdef oisp_status feed_c(self, const uint8_t* data, size_t size, size_t* used) noexcept:
        used[0] = 0
        return OISP_BAD

    cdef oisp_status gap_c(self, uint64_t size) noexcept:
        return OISP_BAD

    cdef oisp_status finish_c(self) noexcept:
        return OISP_BAD

    cdef void reset_c(self) noexcept:
        pass

    cdef uint64_t offset_c(self) noexcept:
        return 0

    cdef const oisp_buffer* held_c(self) noexcept:
        return NULL

    @property
    def offset(self):
        return self.offset_c()

    @property
    def held(self):
        cdef const oisp_buffer* held = self.held_c()
        return 0 if held is NULL else held.capacity

    # A parser may stop early, with its array full or after a token that points into its own buffer. Once more after the
    # last token says what it is inside of.
    def feed(self, data):
        cdef Py_buffer view
        cdef size_t used = 0
        cdef oisp_status status = OISP_OK
        cdef list tokens = []
        self.taken = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while True:
                self.out.count = 0
                status = self.feed_c(<const uint8_t*>view.buf + self.taken, <size_t>view.len - self.taken, &used)
                tokens += tokens_as_objects(Token.make, &self.out)
                self.taken += used
                if status != OISP_OK or (self.out.count == 0 and (used == 0 or self.taken == <size_t>view.len)):
                    break
        finally:
            PyBuffer_Release(&view)
        self.status = Status(status)
        return tokens

    def gap(self, uint64_t size):
        self.out.count = 0
        self.status = Status(self.gap_c(size))
        return tokens_as_objects(Token.make, &self.out)

    def finish(self):
        self.out.count = 0
        self.status = Status(self.finish_c())
        return tokens_as_objects(Token.make, &self.out)

    def reset(self):
        self.reset_c()
        self.status = Status.OK
