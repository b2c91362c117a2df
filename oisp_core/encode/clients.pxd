# SPDX-License-Identifier: Apache-2.0
# Who asks: semconv/clients.yaml. Immutable; shared by any number of engines.
from oisp_core.types cimport oisp_clients, oisp_slice

cdef class Clients:
    cdef oisp_clients* table
    cdef object pool        # the bytes that the table points into
    cdef int _text(self, oisp_slice* to, str text) except -1
    cdef int _fill(self, list rows) except -1
