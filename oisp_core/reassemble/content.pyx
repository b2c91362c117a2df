# SPDX-License-Identifier: Apache-2.0
"""Content codings undone as the bytes come: gzip, deflate, br, zstd, and stacks of them (RFC 9110 section 8.4).

What it is not: part of the hot path without the GIL. The codecs (codecs.py) are called with a view of the parked bytes, or a
copy where that costs less; it, and what they give, is overwritten before it is released. Their own windows are theirs.

Three bounds stop a bomb: the room that the caller leaves, the size of one step (each stage gives at most STEP bytes before
the next stage eats them), and the ratio of output to input, once there is more than RATIO_FREE of output.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from oisp_core.types cimport (
    OISP_BAD,
    OISP_LIMIT,
    OISP_MORE,
    OISP_OK,
    oisp_buffer,
    oisp_buffer_append,
    oisp_buffer_free,
    oisp_status,
    oisp_wipe,
)

from oisp_core.reassemble.codecs import CODINGS, ERRORS, new_brotli, new_zlib, new_zstd
from oisp_core.reassemble.tokens import Status


__all__ = ["Inflater", "parse_codings"]


cdef extern from "oisp/bytes.h" nogil:
    int oisp_equal_nocase(const uint8_t* data, const char* lower, size_t size)


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)


cdef enum:
    STEP = 65536            # bytes that one stage gives at once
    COPY_MAX = 2048         # a memoryview costs as much as so many bytes of copy
    BROTLI_BLOCK = 32704    # the smallest block of output of its Python module is 32 KiB less a header
    RATIO_FREE = 1048576    # below this much output no ratio is a bomb: short answers of blanks compress a thousandfold


# ---- names ---------------------------------------------------------------------------------------------------------------

cdef int coding_of(const uint8_t* name, size_t size) noexcept nogil:
    if size == 4 and oisp_equal_nocase(name, b"gzip", 4):
        return CODING_GZIP
    if size == 6 and oisp_equal_nocase(name, b"x-gzip", 6):
        return CODING_GZIP
    if size == 7 and oisp_equal_nocase(name, b"deflate", 7):
        return CODING_DEFLATE
    if size == 2 and oisp_equal_nocase(name, b"br", 2):
        return CODING_BR
    if size == 4 and oisp_equal_nocase(name, b"zstd", 4):
        return CODING_ZSTD
    return 0


cdef bint is_no_coding(const uint8_t* name, size_t size) noexcept nogil:
    return (size == 0 or (size == 8 and oisp_equal_nocase(name, b"identity", 8))
            or (size == 7 and oisp_equal_nocase(name, b"chunked", 7)))


cdef oisp_status content_codings(const uint8_t* value, size_t size, uint8_t* codings, int* count) noexcept nogil:
    cdef size_t i = 0
    cdef size_t begin
    cdef int coding
    while i < size:
        while i < size and (value[i] == c' ' or value[i] == c'\t' or value[i] == c','):
            i += 1
        begin = i
        while i < size and value[i] != c' ' and value[i] != c'\t' and value[i] != c',' and value[i] != c';':
            i += 1
        coding = coding_of(value + begin, i - begin)
        if coding == 0 and not is_no_coding(value + begin, i - begin):
            return OISP_BAD
        if coding:
            if count[0] == CODINGS_MAX:
                return OISP_BAD
            codings[count[0]] = <uint8_t>coding
            count[0] += 1
        while i < size and value[i] != c',':
            i += 1
    return OISP_OK


# ---- one stage for each coding -------------------------------------------------------------------------------------------

# Made once: what a stage may give at once.
cdef object STEP_LIMIT = STEP


# `step` takes input, or goes on with what it has where that is empty, and gives about STEP bytes at most (brotli may give
# a little more). `hungry`: it has given all that it can; `ended`: its data was whole. The codec's exceptions pass through.
cdef class _Stage:
    cdef bint hungry
    cdef bint ended
    cdef object codec
    cdef object decompress
    cdef bytes rest

    def __cinit__(self):
        self.hungry = True
        self.rest = b""

    cdef bytes step(self, object data, Py_ssize_t size):
        raise NotImplementedError


# One zlib or raw deflate stream; what follows it is passed over.
cdef class _ZlibStage(_Stage):
    cdef int begin(self, int window) except -1:
        self.codec = new_zlib(window)
        self.decompress = self.codec.decompress
        self.rest = b""
        self.ended = False
        self.hungry = True
        return 0

    cdef bytes step(self, object data, Py_ssize_t size):
        cdef bytes made
        if self.ended or (size == 0 and self.hungry):
            return b""
        made = self.decompress(data if size else self.rest, STEP_LIMIT)
        self.ended = self.codec.eof
        if self.ended:
            self.rest = self.codec.unused_data
            self.hungry = True
        elif PyBytes_GET_SIZE(made) < STEP:  # then nothing is left over
            self.rest = b""
            self.hungry = True
        else:
            self.rest = self.codec.unconsumed_tail
            self.hungry = False
        return made


# Members one after the other (RFC 1952 section 2.2); other bytes after a member are passed over.
cdef class _GzipStage(_ZlibStage):
    cdef bint trailing
    cdef bytes between

    cdef bytes step(self, object data, Py_ssize_t size):
        cdef bytes made
        if not self.ended:
            made = _ZlibStage.step(self, data, size)
            if self.ended:
                self.between = self.rest
                self.hungry = len(self.between) < 2
            return made
        self.hungry = True
        if self.trailing:
            return b""
        self.between += bytes(data)
        if len(self.between) < 2:
            return b""
        if not self.between.startswith(b"\x1f\x8b"):
            self.trailing = True
            return b""
        data = self.between
        self.begin(31)
        return self.step(data, len(data))


# `deflate` means zlib, but some send raw deflate: the first two bytes tell (RFC 1950 section 2.2).
cdef class _DeflateStage(_ZlibStage):
    cdef bytes step(self, object data, Py_ssize_t size):
        cdef int first
        cdef int second
        if self.codec is None:
            self.rest += bytes(data)
            if len(self.rest) < 2:
                return b""
            data = self.rest
            size = len(data)
            first = data[0]
            second = data[1]
            self.begin(15 if first & 0x0F == 8 and first >> 4 <= 7 and (first << 8 | second) % 31 == 0 else -15)
        return _ZlibStage.step(self, data, size)


# One brotli stream; what follows it is passed over. `can_accept_more_data` does not tell whether output is pending; a block
# that came back full does.
cdef class _BrotliStage(_Stage):
    cdef object is_finished

    cdef bytes step(self, object data, Py_ssize_t size):
        cdef bytes made
        if self.ended or (size == 0 and self.hungry):
            return b""
        made = self.decompress(data, STEP_LIMIT)
        self.ended = self.is_finished()
        self.hungry = self.ended or PyBytes_GET_SIZE(made) < BROTLI_BLOCK
        return made


# Frames one after the other (RFC 8878 section 3); skippable ones give nothing.
cdef class _ZstdStage(_Stage):
    cdef bytes step(self, object data, Py_ssize_t size):
        cdef bytes made
        if size == 0 and self.hungry:
            return b""
        if self.ended:
            self.codec = new_zstd()
            self.decompress = self.codec.decompress
        made = self.decompress(data if size else self.rest, STEP_LIMIT)
        self.rest = b""
        self.hungry = self.codec.needs_input
        self.ended = not self.hungry and self.codec.eof
        if self.ended:
            self.rest = self.codec.unused_data
            self.hungry = PyBytes_GET_SIZE(self.rest) == 0
        return made


# A new stage; None where its codec is not installed.
cdef _Stage new_stage(int coding):
    cdef _Stage made
    if coding == CODING_GZIP:
        made = _GzipStage()
        (<_ZlibStage>made).begin(31)
        return made
    if coding == CODING_DEFLATE:
        return _DeflateStage()
    if coding == CODING_RAW:
        made = _ZlibStage()
        (<_ZlibStage>made).begin(-15)
        return made
    made = _BrotliStage() if coding == CODING_BR else _ZstdStage()
    made.codec = new_brotli() if coding == CODING_BR else new_zstd()
    if made.codec is None:
        return None
    if coding == CODING_ZSTD:
        made.decompress = made.codec.decompress
    else:
        made.decompress = made.codec.process
        (<_BrotliStage>made).is_finished = made.codec.is_finished
    return made


# A codec's output must not stay in memory after it was copied. Objects of one byte or none are shared by the interpreter.
cdef inline void wipe(bytes made):
    if PyBytes_GET_SIZE(made) > 1 and Py_REFCNT(<PyObject*>made) == 1:
        oisp_wipe(PyBytes_AS_STRING(made), <size_t>PyBytes_GET_SIZE(made))


# ---- the chain -----------------------------------------------------------------------------------------------------------

cdef class Inflater:
    def __cinit__(self, codings=(), *, uint64_t ratio=1000):
        cdef uint8_t numbers[CODINGS_MAX]
        cdef int count = 0
        names = [codings] if isinstance(codings, str) else list(codings)
        if len(names) > CODINGS_MAX:
            raise ValueError(f"at most {CODINGS_MAX} codings, got {len(names)}")
        for name in names:
            if name.lower() not in CODINGS:
                raise ValueError(f"coding must be one of {', '.join(CODINGS)}, got {name!r}")
            numbers[count] = CODINGS[name.lower()]
            count += 1
        if self.begin(numbers, count, ratio) != OISP_OK:
            raise ModuleNotFoundError(f"no codec is installed for {', '.join(names)}: pip install brotli backports.zstd")
        self.status = Status.OK

    cdef oisp_status begin(self, const uint8_t* codings, int count, uint64_t ratio):
        cdef int i
        self.stages = []
        self.count = count
        self.ratio = ratio
        self.bytes_in = 0
        self.bytes_out = 0
        self.failed = OISP_OK
        for i in range(count):
            undo = new_stage(codings[count - 1 - i])
            if undo is None:
                self.failed = OISP_BAD
                return OISP_BAD
            self.stages.append(undo)
        return OISP_OK

    cdef oisp_status feed(self, const uint8_t* data, size_t size, oisp_buffer* out, size_t max):
        cdef bytes copied = None
        if self.failed != OISP_OK or size == 0:
            return self.failed
        self.out = out
        self.room = max
        self.bytes_in += size
        try:
            if self.count == 0:
                self._give(data, size)
            elif size <= COPY_MAX:
                copied = PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>size)
                self._push(0, copied, <Py_ssize_t>size)
            else:
                self._push(0, PyMemoryView_FromMemory(<char*>data, <Py_ssize_t>size, PyBUF_READ), <Py_ssize_t>size)
        except ERRORS:
            self.failed = OISP_BAD
        except MemoryError:
            self.failed = OISP_LIMIT
        finally:
            self.out = NULL
            if copied is not None:
                wipe(copied)
        return self.failed

    # Puts data through the stages from `index` on, one step at a time.
    cdef int _push(self, Py_ssize_t index, object data, Py_ssize_t size) except -1:
        cdef bytes made
        cdef Py_ssize_t given
        cdef _Stage undo = <_Stage>self.stages[index]
        while True:
            made = undo.step(data, size)
            data = b""
            size = 0
            given = PyBytes_GET_SIZE(made)
            if given:
                self._count(<size_t>given)
                if self.failed == OISP_OK:
                    if index + 1 == self.count:
                        self._give(<const uint8_t*>PyBytes_AS_STRING(made), <size_t>given)
                    else:
                        self._push(index + 1, made, given)
                wipe(made)
            if self.failed != OISP_OK or undo.hungry:
                return 0

    cdef void _give(self, const uint8_t* data, size_t size) noexcept:
        if size > self.room:
            size = self.room
            self.failed = OISP_LIMIT
        if not oisp_buffer_append(self.out, data, size):
            self.failed = OISP_LIMIT
        self.room -= size

    # What every stage gives counts, also what the next one throws away.
    cdef void _count(self, size_t size) noexcept:
        self.bytes_out += size
        if self.bytes_out > RATIO_FREE and self.bytes_out / self.ratio > self.bytes_in:
            self.failed = OISP_LIMIT

    cdef oisp_status finish(self):
        if self.failed != OISP_OK:
            return self.failed
        for undo in self.stages:
            if not (<_Stage>undo).ended and self.bytes_in:
                return OISP_MORE
        return OISP_OK

    # ---- the Python face ----

    def decode(self, data, *, size_t max=16777216):
        cdef oisp_buffer out
        cdef Py_buffer view
        cdef bytes made
        out.data = NULL
        out.size = 0
        out.capacity = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            status = self.feed(<const uint8_t*>view.buf, <size_t>view.len, &out, max)
            made = out.data[:out.size] if out.size else b""
        finally:
            PyBuffer_Release(&view)
            oisp_buffer_free(&out)
        self.status = Status(status)
        return made

    def end(self):
        self.status = Status(self.finish())
        return self.status


def parse_codings(value):
    cdef Py_buffer view
    cdef uint8_t codings[CODINGS_MAX]
    cdef int count = 0
    cdef oisp_status status
    names = {CODING_GZIP: "gzip", CODING_DEFLATE: "deflate", CODING_BR: "br", CODING_ZSTD: "zstd"}
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    status = content_codings(<const uint8_t*>view.buf, <size_t>view.len, codings, &count)
    PyBuffer_Release(&view)
    return [names[codings[i]] for i in range(count)] if status == OISP_OK else None
