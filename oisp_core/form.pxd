# SPDX-License-Identifier: Apache-2.0
# A body of multipart/form-data as a flat object of JSON, for those who read requests. Contents of files are never kept.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.reassemble.multipart cimport oisp_multipart
from oisp_core.types cimport oisp_buffer, oisp_slice

cdef extern from "oisp/form.h" nogil:
    ctypedef struct oisp_form:
        oisp_multipart parser
        oisp_buffer json
        uint32_t json_max
        uint8_t cut

# NULL: no boundary in the content type, or no memory.
cdef oisp_form* form_new(oisp_slice content_type, size_t json_max) noexcept nogil
cdef void form_feed(oisp_form* f, const uint8_t* data, size_t size) noexcept nogil
cdef void form_gap(oisp_form* f, uint64_t size) noexcept nogil
# The object; f.cut: something of it is missing.
cdef oisp_slice form_finish(oisp_form* f) noexcept nogil
cdef void form_free(oisp_form* f) noexcept nogil
