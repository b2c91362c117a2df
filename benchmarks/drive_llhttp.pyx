# SPDX-License-Identifier: Apache-2.0
"""Runs llhttp over the same segments with the smallest callbacks that give the same counts."""
from libc.stdint cimport uint64_t
from libc.string cimport memset


cdef extern from "llhttp.h" nogil:
    ctypedef struct llhttp_t:
        void* data
    ctypedef int (*llhttp_data_cb)(llhttp_t*, const char* at, size_t length) noexcept nogil
    ctypedef int (*llhttp_cb)(llhttp_t*) noexcept nogil
    ctypedef struct llhttp_settings_t:
        llhttp_data_cb on_url
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_data_cb on_body
        llhttp_cb on_header_value_complete
        llhttp_cb on_message_complete
    enum:
        HTTP_REQUEST
        HTTP_RESPONSE
    void llhttp_settings_init(llhttp_settings_t*)
    void llhttp_init(llhttp_t*, int, const llhttp_settings_t*)
    int llhttp_execute(llhttp_t*, const char*, size_t)

ctypedef struct counts:
    uint64_t messages
    uint64_t fields
    uint64_t text
    uint64_t body


cdef int on_text(llhttp_t* p, const char* at, size_t length) noexcept nogil:
    (<counts*>p.data).text += length
    return 0


cdef int on_body(llhttp_t* p, const char* at, size_t length) noexcept nogil:
    (<counts*>p.data).body += length
    return 0


cdef int on_field(llhttp_t* p) noexcept nogil:
    (<counts*>p.data).fields += 1
    return 0


cdef int on_message(llhttp_t* p) noexcept nogil:
    (<counts*>p.data).messages += 1
    return 0


include "segments.pxi"


def count(Segments s, role):
    """(messages, fields, bytes of targets, names and values, bytes of bodies)."""
    cdef llhttp_t p
    cdef llhttp_settings_t settings
    cdef counts c = counts(0, 0, 0, 0)
    cdef size_t i
    llhttp_settings_init(&settings)
    settings.on_url = on_text
    settings.on_header_field = on_text
    settings.on_header_value = on_text
    settings.on_body = on_body
    settings.on_header_value_complete = on_field
    settings.on_message_complete = on_message
    memset(&p, 0, sizeof(p))
    llhttp_init(&p, HTTP_REQUEST if role == "request" else HTTP_RESPONSE, &settings)
    p.data = &c
    with nogil:
        for i in range(s.count):
            if llhttp_execute(&p, <const char*>s.at[i].data, s.at[i].size) != 0:
                break
    return c.messages, c.fields, c.text, c.body
