# SPDX-License-Identifier: Apache-2.0
# The table of models behind a Python object: an engine keeps the object, its writer borrows the table.
from oisp_core.types cimport oisp_models

cdef class Models:
    cdef oisp_models* table
