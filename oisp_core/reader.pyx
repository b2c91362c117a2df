# SPDX-License-Identifier: Apache-2.0
"""One reader for every framing of documents: server-sent events, lines, array elements, AWS frames, gRPC, WebSocket.

What it is not: a parser. Each call goes to the parser of reassemble/ that the kind names; here is only what they share with
their caller, so that an exchange does not have to know which one it has.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from oisp_core.decode.decoder cimport (
    OISP_FRAMING_EVENTSTREAM, OISP_FRAMING_GRPC, OISP_FRAMING_JSON_ARRAY, OISP_FRAMING_NDJSON, OISP_FRAMING_SSE,
    OISP_FRAMING_WEBSOCKET,
)
from oisp_core.reassemble.eventstream cimport (
    eventstream_feed, eventstream_finish, eventstream_free, eventstream_gap, eventstream_init,
)
from oisp_core.reassemble.grpc cimport grpc_feed, grpc_finish, grpc_free, grpc_gap, grpc_init
from oisp_core.reassemble.ndjson cimport ndjson_feed, ndjson_finish, ndjson_free, ndjson_gap, ndjson_init
from oisp_core.reassemble.sse cimport sse_feed, sse_finish, sse_free, sse_gap, sse_init
from oisp_core.reassemble.websocket cimport (
    websocket_feed, websocket_finish, websocket_free, websocket_gap, websocket_init,
)
from oisp_core.types cimport OISP_BAD, oisp_status, oisp_token, oisp_tokens


cdef void reader_init(oisp_reader* r, int kind, size_t document_max) noexcept nogil:
    r.kind = <uint8_t> kind
    if kind == OISP_FRAMING_SSE:
        sse_init(&r.as_.sse, document_max)
    elif kind == OISP_FRAMING_NDJSON or kind == OISP_FRAMING_JSON_ARRAY:
        ndjson_init(&r.as_.ndjson, document_max, kind == OISP_FRAMING_JSON_ARRAY)
    elif kind == OISP_FRAMING_EVENTSTREAM:
        eventstream_init(&r.as_.eventstream, document_max)
    elif kind == OISP_FRAMING_GRPC:
        grpc_init(&r.as_.grpc, document_max)
    elif kind == OISP_FRAMING_WEBSOCKET:
        websocket_init(&r.as_.websocket, document_max)


cdef oisp_status reader_feed(oisp_reader* r, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    if r.kind == OISP_FRAMING_SSE:
        return sse_feed(&r.as_.sse, data, size, out, used)
    if r.kind == OISP_FRAMING_NDJSON or r.kind == OISP_FRAMING_JSON_ARRAY:
        return ndjson_feed(&r.as_.ndjson, data, size, out, used)
    if r.kind == OISP_FRAMING_EVENTSTREAM:
        return eventstream_feed(&r.as_.eventstream, data, size, out, used)
    if r.kind == OISP_FRAMING_GRPC:
        return grpc_feed(&r.as_.grpc, data, size, out, used)
    if r.kind == OISP_FRAMING_WEBSOCKET:
        return websocket_feed(&r.as_.websocket, data, size, out, used)
    used[0] = 0
    return OISP_BAD


cdef oisp_status reader_gap(oisp_reader* r, uint64_t size, oisp_tokens* out) noexcept nogil:
    if r.kind == OISP_FRAMING_SSE:
        return sse_gap(&r.as_.sse, size, out)
    if r.kind == OISP_FRAMING_NDJSON or r.kind == OISP_FRAMING_JSON_ARRAY:
        return ndjson_gap(&r.as_.ndjson, size, out)
    if r.kind == OISP_FRAMING_EVENTSTREAM:
        return eventstream_gap(&r.as_.eventstream, size, out)
    if r.kind == OISP_FRAMING_GRPC:
        return grpc_gap(&r.as_.grpc, size, out)
    if r.kind == OISP_FRAMING_WEBSOCKET:
        return websocket_gap(&r.as_.websocket, size, out)
    return OISP_BAD


cdef oisp_status reader_finish(oisp_reader* r, oisp_tokens* out) noexcept nogil:
    if r.kind == OISP_FRAMING_SSE:
        return sse_finish(&r.as_.sse, out)
    if r.kind == OISP_FRAMING_NDJSON or r.kind == OISP_FRAMING_JSON_ARRAY:
        return ndjson_finish(&r.as_.ndjson, out)
    if r.kind == OISP_FRAMING_EVENTSTREAM:
        return eventstream_finish(&r.as_.eventstream, out)
    if r.kind == OISP_FRAMING_GRPC:
        return grpc_finish(&r.as_.grpc, out)
    if r.kind == OISP_FRAMING_WEBSOCKET:
        return websocket_finish(&r.as_.websocket, out)
    return OISP_BAD


cdef oisp_status reader_skip(oisp_reader* r, size_t document_max) noexcept nogil:
    """Begun anew as after a hole of one byte: at the next line end, or the next prelude whose checksum is right."""
    cdef oisp_token room[2]
    cdef oisp_tokens tokens
    cdef int kind = r.kind
    tokens.at = room
    tokens.capacity = 2
    tokens.count = 0
    reader_free(r)
    reader_init(r, kind, document_max)
    if kind != OISP_FRAMING_SSE and kind != OISP_FRAMING_NDJSON and kind != OISP_FRAMING_EVENTSTREAM:
        return OISP_BAD
    return reader_gap(r, 1, &tokens)


cdef void reader_free(oisp_reader* r) noexcept nogil:
    if r.kind == OISP_FRAMING_SSE:
        sse_free(&r.as_.sse)
    elif r.kind == OISP_FRAMING_NDJSON or r.kind == OISP_FRAMING_JSON_ARRAY:
        ndjson_free(&r.as_.ndjson)
    elif r.kind == OISP_FRAMING_EVENTSTREAM:
        eventstream_free(&r.as_.eventstream)
    elif r.kind == OISP_FRAMING_GRPC:
        grpc_free(&r.as_.grpc)
    elif r.kind == OISP_FRAMING_WEBSOCKET:
        websocket_free(&r.as_.websocket)
    memset(r, 0, sizeof(oisp_reader))
