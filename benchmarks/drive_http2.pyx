# SPDX-License-Identifier: Apache-2.0
# distutils: language = c
"""Runs the HTTP/2 parser over segments, the HPACK decoder over blocks, and counts what they give; nghttp2 beside the latter.

nghttp2 is loaded by name when it is asked for: nothing of it is needed to build this.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from oisp_core.reassemble.hpack cimport hpack_begin, hpack_feed, hpack_free, hpack_init, oisp_hpack
from oisp_core.reassemble.http2 cimport http2_feed, http2_free, http2_init, oisp_http2
from oisp_core.types cimport (
    OISP_FULL, OISP_MORE, OISP_OK, OISP_TOKEN_DATA, OISP_TOKEN_END, OISP_TOKEN_FIELD, OISP_TOKEN_REQUEST, OISP_TOKEN_RESPONSE,
    OISP_TOKEN_TRAILER, oisp_buffer, oisp_buffer_free, oisp_status, oisp_token, oisp_tokens,
)


cdef extern from *:
    """
    #include <dlfcn.h>
    typedef struct { uint8_t *name, *value; size_t namelen, valuelen; uint8_t flags; } hd_nv;
    static int (*hd_new)(void **);
    static void (*hd_del)(void *);
    static ssize_t (*hd_inflate)(void *, hd_nv *, int *, const uint8_t *, size_t, int);
    static int (*hd_end)(void *);
    static int hd_load(const char *path) {
      void *library = dlopen(path, RTLD_NOW);
      if (library == NULL)
        return 0;
      hd_new = dlsym(library, "nghttp2_hd_inflate_new");
      hd_del = dlsym(library, "nghttp2_hd_inflate_del");
      hd_inflate = dlsym(library, "nghttp2_hd_inflate_hd2");
      hd_end = dlsym(library, "nghttp2_hd_inflate_end_headers");
      return hd_new && hd_del && hd_inflate && hd_end;
    }
    """
    ctypedef struct hd_nv:
        uint8_t* name
        uint8_t* value
        size_t namelen
        size_t valuelen
        uint8_t flags
    int hd_load(const char* path)
    int hd_new(void** inflater) nogil
    void hd_del(void* inflater) nogil
    ssize_t hd_inflate(void* inflater, hd_nv* nv, int* flags, const uint8_t* data, size_t size, int final) nogil
    int hd_end(void* inflater) nogil

cdef enum:
    HD_FINAL = 1
    HD_EMIT = 2

ctypedef struct segment:
    const uint8_t* data
    size_t size

ctypedef struct counts:
    uint64_t messages
    uint64_t fields
    uint64_t text
    uint64_t body
    uint64_t pieces


cdef class Segments:
    cdef segment* at
    cdef size_t count
    cdef list keep

    def __cinit__(self, list pieces):
        cdef size_t i
        self.keep = pieces
        self.count = len(pieces)
        self.at = <segment*> malloc(self.count * sizeof(segment))
        for i in range(self.count):
            self.at[i].data = <const uint8_t*> PyBytes_AS_STRING(pieces[i])
            self.at[i].size = PyBytes_GET_SIZE(pieces[i])

    def __dealloc__(self):
        free(self.at)


cdef inline void count_token(const oisp_token* t, counts* c) noexcept nogil:
    if t.kind == OISP_TOKEN_FIELD or t.kind == OISP_TOKEN_TRAILER:
        c.fields += 1
        c.text += t.size + t.name_size
    elif t.kind == OISP_TOKEN_DATA:
        c.body += t.size
        c.pieces += 1
    elif t.kind == OISP_TOKEN_END:
        c.messages += 1


cdef int run(Segments s, int role, counts* c) noexcept nogil:
    cdef oisp_http2 p
    cdef oisp_buffer work
    cdef oisp_token space[128]
    cdef oisp_tokens out
    cdef oisp_status status = OISP_OK
    cdef size_t i, pos
    cdef size_t used = 0
    cdef uint64_t k
    memset(&work, 0, sizeof(work))
    http2_init(&p, role, &work, 65536, 256, 65536)
    out.at = space
    out.capacity = 128
    for i in range(s.count):
        pos = 0
        while True:
            out.count = 0
            status = http2_feed(&p, s.at[i].data + pos, s.at[i].size - pos, &out, &used)
            for k in range(out.count):
                count_token(&out.at[k], c)
            pos += used
            if status != OISP_FULL:
                break
        if status != OISP_OK and status != OISP_MORE:
            break
    http2_free(&p)
    oisp_buffer_free(&work)
    return p.failed


def count(Segments s, role):
    """(messages, fields, bytes of names and values, bytes of bodies)."""
    cdef counts c = counts(0, 0, 0, 0, 0)
    cdef int number = OISP_TOKEN_REQUEST if role == "request" else OISP_TOKEN_RESPONSE
    with nogil:
        run(s, number, &c)
    return c.messages, c.fields, c.text, c.body


cdef void run_blocks(Segments s, counts* c) noexcept nogil:
    cdef oisp_hpack h
    cdef oisp_buffer work
    cdef oisp_token space[64]
    cdef oisp_tokens out
    cdef oisp_status status
    cdef size_t i, pos
    cdef size_t used = 0
    cdef uint64_t k
    memset(&work, 0, sizeof(work))
    hpack_init(&h, 65536, 1024, 1 << 20)
    out.at = space
    out.capacity = 64
    for i in range(s.count):
        pos = 0
        status = OISP_FULL
        hpack_begin(&h)
        while status == OISP_FULL:
            out.count = 0
            status = hpack_feed(&h, s.at[i].data + pos, s.at[i].size - pos, &work, &out, &used)
            pos += used
            for k in range(out.count):
                count_token(&out.at[k], c)
        if status != OISP_OK:
            break
    hpack_free(&h)
    oisp_buffer_free(&work)


def blocks(Segments s):
    """(fields, bytes of names and values) of header blocks on one connection."""
    cdef counts c = counts(0, 0, 0, 0, 0)
    with nogil:
        run_blocks(s, &c)
    return c.fields, c.text


def load_nghttp2(str path):
    """Whether it is there."""
    return bool(hd_load(path.encode()))


cdef void run_nghttp2(Segments s, counts* c) noexcept nogil:
    cdef void* inflater = NULL
    cdef hd_nv nv
    cdef const uint8_t* at
    cdef size_t left
    cdef ssize_t used = 0
    cdef int flags = 0
    cdef size_t i
    if hd_new(&inflater) != 0:
        return
    for i in range(s.count):
        at = s.at[i].data
        left = s.at[i].size
        while True:
            flags = 0
            used = hd_inflate(inflater, &nv, &flags, at, left, 1)
            if used < 0:
                break
            at += used
            left -= <size_t> used
            if flags & HD_EMIT:
                c.fields += 1
                c.text += nv.namelen + nv.valuelen
            if flags & HD_FINAL:
                hd_end(inflater)
                break
            if flags & HD_EMIT == 0 and left == 0:
                break
        if used < 0:
            break
    hd_del(inflater)


def blocks_of_nghttp2(Segments s):
    """The same by nghttp2_hd_inflate_hd2."""
    cdef counts c = counts(0, 0, 0, 0, 0)
    with nogil:
        run_nghttp2(s, &c)
    return c.fields, c.text
