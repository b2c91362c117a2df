# SPDX-License-Identifier: Apache-2.0
"""Runs the C limit (benchmarks/limit/) over packed records. See the stub."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

cdef extern from "limit.h" nogil:
    ctypedef struct limit_counts:
        uint64_t segments
        uint64_t messages
        uint64_t fields
        uint64_t body_bytes
        uint64_t events
        uint64_t known_hosts
        uint64_t failed
    ctypedef struct limit_state:
        pass
    limit_state* limit_new(size_t connections)
    void limit_free(limit_state*)
    void limit_reset(limit_state*)
    void limit_host(limit_state*, const uint8_t* name, size_t size)
    void limit_fast(limit_state*, const uint8_t* records, size_t size, limit_counts* counts)
    void limit_plain(limit_state*, const uint8_t* records, size_t size, limit_counts* counts)

__all__ = ["Limit"]


cdef class Limit:
    cdef limit_state* state
    cdef bint plain
    cdef list buffers

    def __cinit__(self, list buffers not None, int connections, list hosts not None, bint plain):
        self.state = limit_new(connections)
        if self.state == NULL:
            raise MemoryError
        self.buffers = buffers
        self.plain = plain
        for host in hosts:
            limit_host(self.state, host, len(host))

    def __dealloc__(self):
        limit_free(self.state)

    def prepare(self):
        limit_reset(self.state)

    def run(self, sink=None):
        cdef Py_buffer view
        cdef limit_counts c
        memset(&c, 0, sizeof(c))
        for buffer in self.buffers:
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
            with nogil:
                if self.plain:
                    limit_plain(self.state, <const uint8_t*> view.buf, view.len, &c)
                else:
                    limit_fast(self.state, <const uint8_t*> view.buf, view.len, &c)
            PyBuffer_Release(&view)
        limit_reset(self.state)
        if c.failed:
            raise ValueError("a head is longer than the limit holds")
        return {"segments": c.segments, "messages": c.messages, "fields": c.fields, "body_bytes": c.body_bytes,
                "events": c.events, "known_hosts": c.known_hosts}
