# SPDX-License-Identifier: Apache-2.0
# distutils: language = c
"""Runs the readers of NDJSON, AWS event streams and WebSocket over segments, and the JSON pass over documents; counts what they
give: no Python object per token."""
from libc.stdint cimport uint64_t
from libc.string cimport memset

from oisp_core.decode.jsonscan cimport (
    json_free, json_init, json_scan, oisp_json, oisp_json_node, oisp_json_table,
)
from oisp_core.reassemble.eventstream cimport eventstream_feed, eventstream_free, eventstream_init, oisp_eventstream
from oisp_core.reassemble.ndjson cimport ndjson_feed, ndjson_free, ndjson_init, oisp_ndjson
from oisp_core.reassemble.websocket cimport oisp_websocket, websocket_feed, websocket_free, websocket_init
from oisp_core.types cimport OISP_OK, OISP_TOKEN_EVENT, oisp_status, oisp_token, oisp_tokens

include "segments.pxi"

cdef enum:
    LINES = 0
    FRAMES = 1
    SOCKET = 2
    ROOM = 64
    LARGEST = 1 << 24

ctypedef struct counts:
    uint64_t events
    uint64_t payload

ctypedef union parser:
    oisp_ndjson lines
    oisp_eventstream frames
    oisp_websocket socket


cdef inline oisp_status feed(parser* p, int kind, const uint8_t* data, size_t size, oisp_tokens* out, size_t* used) noexcept nogil:
    if kind == LINES:
        return ndjson_feed(&p.lines, data, size, out, used)
    if kind == FRAMES:
        return eventstream_feed(&p.frames, data, size, out, used)
    return websocket_feed(&p.socket, data, size, out, used)


cdef void begin(parser* p, int kind) noexcept nogil:
    if kind == LINES:
        ndjson_init(&p.lines, LARGEST, False)
    elif kind == FRAMES:
        eventstream_init(&p.frames, LARGEST)
    else:
        websocket_init(&p.socket, LARGEST)


cdef void end(parser* p, int kind) noexcept nogil:
    if kind == LINES:
        ndjson_free(&p.lines)
    elif kind == FRAMES:
        eventstream_free(&p.frames)
    else:
        websocket_free(&p.socket)


cdef void run(Segments s, int kind, counts* c) noexcept nogil:
    cdef parser p
    cdef oisp_token space[ROOM]
    cdef oisp_tokens out
    cdef oisp_status status
    cdef size_t i, pos, k
    cdef size_t used = 0
    begin(&p, kind)
    out.at = space
    out.capacity = ROOM
    for i in range(s.count):
        pos = 0
        while True:
            out.count = 0
            status = feed(&p, kind, s.at[i].data + pos, s.at[i].size - pos, &out, &used)
            for k in range(out.count):
                if out.at[k].kind == OISP_TOKEN_EVENT:
                    c.events += 1
                    c.payload += out.at[k].size
            pos += used
            if status != OISP_OK or (pos == s.at[i].size and out.count == 0):
                break
    end(&p, kind)


def count(Segments s, str kind):
    """(events, bytes of payloads) of `ndjson`, `eventstream` or `websocket`."""
    cdef counts c = counts(0, 0)
    cdef int number = {"ndjson": LINES, "eventstream": FRAMES, "websocket": SOCKET}[kind]
    with nogil:
        run(s, number, &c)
    return c.events, c.payload


def valid(Segments s):
    """How many of the documents are JSON: the pass without a path to look for."""
    cdef oisp_json j
    cdef oisp_json_table t
    cdef oisp_json_node nothing
    cdef uint64_t found = 0
    cdef size_t i
    memset(&t, 0, sizeof(t))
    memset(&nothing, 0, sizeof(nothing))
    nothing.end = 1
    t.nodes = &nothing
    json_init(&j, 128, 1024)
    with nogil:
        for i in range(s.count):
            found += json_scan(&j, &t, 0, s.at[i].data, s.at[i].size, 0) == OISP_OK
    json_free(&j)
    return found
