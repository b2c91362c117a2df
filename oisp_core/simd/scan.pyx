# SPDX-License-Identifier: Apache-2.0
"""Byte scanning: the table of vector functions that fits this processor, and a Python face to each for tests.

Not a general search library: eight questions that the parsers ask of bytes, defined by the scalar twin in scan_table.c.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t

from oisp_core.types cimport oisp_scan, oisp_scan_best, oisp_scan_named

import os

from oisp_core.errors import ConfigError

_NAMES = ("avx2", "neon", "sse2", "scalar")

cdef const oisp_scan* best = oisp_scan_best()


cdef const oisp_scan* scan_best() noexcept nogil:
    return best


cdef class Scanner:
    cdef const oisp_scan* table

    def __init__(self, name=None):
        cdef bytes key
        if name is None:
            self.table = best
            return
        key = name.encode()
        self.table = oisp_scan_named(key)
        if self.table is NULL:
            raise LookupError(f"no scan table {name!r} on this processor; there are: {', '.join(available())}")

    @property
    def name(self):
        return self.table.name.decode()

    def find(self, data, int byte):
        if not 0 <= byte <= 255:
            raise ValueError(f"byte must be in 0..255, got {byte}")
        return self._run(data, 0, <uint8_t>byte)

    def find_eol(self, data):
        return self._run(data, 1, 0)

    def find_string_stop(self, data):
        return self._run(data, 2, 0)

    def find_string_break(self, data):
        cdef Py_buffer view
        cdef size_t at
        cdef int escaped = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        at = self.table.find_string_break(<const uint8_t*>view.buf, <size_t>view.len, &escaped)
        PyBuffer_Release(&view)
        return at, bool(escaped)

    def find_quote(self, data):
        return self._run(data, 3, 0)

    def find_structure(self, data):
        return self._run(data, 4, 0)

    def utf8_prefix(self, data):
        return self._run(data, 5, 0)

    def utf8_count(self, data):
        return self._run(data, 6, 0)

    cdef size_t _run(self, object data, int which, uint8_t byte) except? 0:
        cdef Py_buffer view
        cdef size_t result
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        result = run(self.table, which, <const uint8_t*>view.buf, <size_t>view.len, byte)
        PyBuffer_Release(&view)
        return result


cdef size_t run(const oisp_scan* t, int which, const uint8_t* data, size_t size, uint8_t byte) noexcept nogil:
    if which == 0:
        return t.find(data, size, byte)
    if which == 1:
        return t.find_eol(data, size)
    if which == 2:
        return t.find_string_stop(data, size)
    if which == 3:
        return t.find_quote(data, size)
    if which == 4:
        return t.find_structure(data, size)
    if which == 5:
        return t.utf8_prefix(data, size)
    return t.utf8_count(data, size)


def available():
    return [name for name in _NAMES if oisp_scan_named(name.encode()) is not NULL]


if os.environ.get("OISP_SIMD", best.name.decode()) not in available():
    raise ConfigError(key="OISP_SIMD", expected=available(), got=os.environ["OISP_SIMD"])
