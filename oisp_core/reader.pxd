# SPDX-License-Identifier: Apache-2.0
# A body that is a sequence of documents, whatever frames them: the quartet of token.h over the parsers of reassemble/.
from libc.stdint cimport uint8_t, uint64_t
from oisp_core.reassemble.eventstream cimport oisp_eventstream
from oisp_core.reassemble.grpc cimport oisp_grpc
from oisp_core.reassemble.ndjson cimport oisp_ndjson
from oisp_core.reassemble.sse cimport oisp_sse
from oisp_core.reassemble.websocket cimport oisp_websocket
from oisp_core.types cimport oisp_status, oisp_tokens

cdef extern from "oisp/reader.h" nogil:
    # Private to reader.pyx.
    ctypedef union oisp_reader_as "__typeof__(((oisp_reader *)0)->as)":
        oisp_sse sse
        oisp_ndjson ndjson
        oisp_eventstream eventstream
        oisp_grpc grpc
        oisp_websocket websocket
    ctypedef struct oisp_reader:
        uint8_t kind
        oisp_reader_as as_ "as"

# kind: enum oisp_framing, not NONE. Memory must be zero or freed before.
cdef void reader_init(oisp_reader* r, int kind, size_t document_max) noexcept nogil
# EVENT tokens: name = what the framing says of the document (SSE `event`, `:event-type`), data = the document. The flags are
# those of the parser.
cdef oisp_status reader_feed(oisp_reader* r, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil
# OK: reading goes on (the document in progress is dropped); BAD: nothing after the hole can be read.
cdef oisp_status reader_gap(oisp_reader* r, uint64_t size, oisp_tokens* out) noexcept nogil
# MORE: the framing says that something is missing at the end.
cdef oisp_status reader_finish(oisp_reader* r, oisp_tokens* out) noexcept nogil
# A document was beyond its bound: it is left out and reading goes on after it, where the framing allows that (OK).
cdef oisp_status reader_skip(oisp_reader* r, size_t document_max) noexcept nogil
cdef void reader_free(oisp_reader* r) noexcept nogil
