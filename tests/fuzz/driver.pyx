# SPDX-License-Identifier: Apache-2.0
"""libFuzzer inside Python: it calls back with bytes."""
import os
import traceback

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc


cdef extern from *:
    """
    extern int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *data, size_t size));
    """
    int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*one)(const uint8_t*, size_t) noexcept)


target = None


# What Python raises is a finding: libFuzzer keeps the input of a process that aborts.
cdef int one(const uint8_t* data, size_t size) noexcept:
    try:
        target(PyBytes_FromStringAndSize(<const char*>data, size))
    except BaseException:
        traceback.print_exc()
        os.abort()
    return 0


def run(function, list arguments):
    """Does not return: libFuzzer leaves the process when it is done."""
    global target
    cdef int argc = len(arguments)
    cdef char** argv = <char**>calloc(argc + 1, sizeof(char*))
    target = function
    for i in range(argc):
        argv[i] = arguments[i]
    return LLVMFuzzerRunDriver(&argc, &argv, one)
