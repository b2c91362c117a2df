# SPDX-License-Identifier: Apache-2.0
# oisp_exchange + oisp_facts -> lines of NDJSON under a content policy. Each call appends whole lines to w.out or nothing.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from oisp_core.types cimport (oisp_buffer, oisp_call, oisp_chunk_line, oisp_exchange, oisp_facts, oisp_status, oisp_tool_answer, oisp_ulid, oisp_writer)

cdef int writer_init(oisp_writer* w, int policy, size_t out_max) noexcept nogil
cdef void writer_seed(oisp_writer* w, uint64_t a, uint64_t b, bint reproducible) noexcept nogil
cdef void writer_hash_key(oisp_writer* w, const unsigned char* key, size_t size) noexcept nogil
# Members for facts.context (set_context): -1 not fit to be spliced in, else the value of facts.context_has_source.
cdef int writer_context(const unsigned char* members, size_t size) noexcept nogil
cdef void writer_free(oisp_writer* w) noexcept nogil
# Monotonic within a millisecond. With a reproducible seed the random half comes from the generator alone.
cdef void writer_ulid(oisp_writer* w, uint64_t ts_ns, oisp_ulid* out) noexcept nogil

cdef oisp_status encode_request(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil
cdef oisp_status encode_response(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil
cdef oisp_status encode_embedding(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil
# Of a chunk that extends a text and brings nothing else, the line is kept (in `to`) and written again, as long as nothing else
# that it says has changed: f.event_id must be set then. number, text: what encode_chunk says for keep_chunk.
cdef oisp_status encode_chunk(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f, uint32_t* number, uint32_t* text) noexcept nogil
cdef bint keep_chunk(const oisp_writer* w, uint32_t start, const oisp_exchange* x, const oisp_facts* f, uint32_t number, uint32_t text,
                     oisp_buffer* to, oisp_chunk_line* line) noexcept nogil
cdef oisp_status repeat_chunk(oisp_writer* w, const oisp_exchange* x, uint64_t ts, oisp_chunk_line* line, const uint8_t* pieces) noexcept nogil
cdef oisp_status encode_tool_call(oisp_writer* w, const oisp_exchange* x, const oisp_call* call, const oisp_facts* f) noexcept nogil
# A retrieval: request and answer are one event.
cdef oisp_status encode_retrieve(oisp_writer* w, const oisp_exchange* x, const oisp_facts* f) noexcept nogil
cdef oisp_status encode_tool_result(oisp_writer* w, const oisp_exchange* x, const oisp_tool_answer* answer, const oisp_facts* f) noexcept nogil
