# SPDX-License-Identifier: Apache-2.0
from oisp_core.types cimport oisp_scan

# The table chosen at import; keep the pointer in a module-level C variable.
cdef const oisp_scan* scan_best() noexcept nogil
