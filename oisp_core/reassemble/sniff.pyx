# SPDX-License-Identifier: Apache-2.0
"""First bytes to protocol: which parser a direction needs, and which of two directions carries the requests.

What it is not: a proof. It refuses what cannot be the protocol and names what very likely is; the parser then decides (and
http1_probe, for a boundary in the middle of a stream). In the middle of a connection only what can be checked against itself is
named: a chain of HTTP/2 frame headers, or WebSocket text frames that end where the segment ends and hold JSON.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from enum import IntEnum


cdef extern from "oisp/bytes.h" nogil:
    size_t oisp_token_run(const uint8_t* data, size_t size)
    size_t oisp_target_run(const uint8_t* data, size_t size)
    size_t oisp_value_run(const uint8_t* data, size_t size)


cdef enum:
    METHOD_MAX = 32
    TARGET_MAX = 8192       # RFC 9110 section 4.1 asks for 8000 at least; a longer first line of an unknown method is refused
    FRAME_MAX = 16384       # HTTP/2 frames before any other SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 4.2)
    RECORD_MAX = 16640      # TLS: 2^14 + 256 (RFC 8446 section 5.2)

cdef const char* PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
cdef const char** METHODS = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT ", b"TRACE "]
cdef size_t* METHOD_SIZES = [4, 5, 4, 5, 7, 6, 8, 8, 6]


cdef int sniff(const uint8_t* data, size_t size) noexcept nogil:
    cdef int answer
    cdef int other
    while size and (data[0] == c'\r' or data[0] == c'\n'):  # as before an HTTP/1 head
        data += 1
        size -= 1
    if size == 0:
        return OISP_SNIFF_MORE
    if memcmp(data, PREFACE, size if size < 24 else 24) == 0:
        if size >= 8:  # "PRI * HT" begins no request
            return OISP_SNIFF_HTTP2_PREFACE if size >= 24 else OISP_SNIFF_MORE
    if memcmp(data, b"HTTP/1.", size if size < 7 else 7) == 0:
        return OISP_SNIFF_HTTP1_RESPONSE if size >= 7 else OISP_SNIFF_MORE
    answer = sniff_request(data, size)
    if answer != OISP_SNIFF_UNKNOWN:
        return answer
    answer = sniff_tls(data, size)
    if answer == OISP_SNIFF_TLS:
        return answer
    other = sniff_frames(data, size)
    if other == OISP_SNIFF_UNKNOWN:
        other = sniff_websocket(data, size)
    return answer if other == OISP_SNIFF_UNKNOWN else other


# A method of the registry and the start of a target are enough; another method needs its whole line.
cdef int sniff_request(const uint8_t* d, size_t n) noexcept nogil:
    cdef size_t i = oisp_token_run(d, n if n <= METHOD_MAX else METHOD_MAX + 1)
    cdef size_t target
    cdef size_t k
    if i == n and n <= METHOD_MAX:
        return OISP_SNIFF_MORE
    if i == 0 or i > METHOD_MAX or d[i] != c' ':
        return OISP_SNIFF_UNKNOWN
    target = i + 1
    if target == n:
        return OISP_SNIFF_MORE
    for k in range(9):
        if METHOD_SIZES[k] == target and memcmp(d, METHODS[k], target) == 0:
            if d[target] == c'/' or d[target] == c'*' or d[target] == c'h' or d[0] == c'C':
                return OISP_SNIFF_HTTP1_REQUEST
    i = target + oisp_target_run(d + target, n - target)
    if i - target > TARGET_MAX:
        return OISP_SNIFF_UNKNOWN
    if i == n:
        return OISP_SNIFF_MORE
    i += 1
    if d[i - 1] != c' ' or memcmp(d + i, b"HTTP/1.", n - i if n - i < 7 else 7) != 0:
        return OISP_SNIFF_UNKNOWN
    return OISP_SNIFF_HTTP1_REQUEST if n - i >= 7 else OISP_SNIFF_MORE


# A record header: content type 20 to 24, version 3.0 to 3.4, a length that a record may have.
cdef int sniff_tls(const uint8_t* d, size_t n) noexcept nogil:
    cdef size_t length
    if d[0] < 20 or d[0] > 24 or (n > 1 and d[1] != 3) or (n > 2 and d[2] > 4):
        return OISP_SNIFF_UNKNOWN
    if n < 5:
        return OISP_SNIFF_MORE
    length = <size_t>d[3] << 8 | d[4]
    return OISP_SNIFF_TLS if 0 < length <= RECORD_MAX else OISP_SNIFF_UNKNOWN


# Can this be a frame header of RFC 9113 section 6, for a default SETTINGS_MAX_FRAME_SIZE?
cdef bint is_frame(const uint8_t* d) noexcept nogil:
    cdef uint32_t length = <uint32_t>d[0] << 16 | <uint32_t>d[1] << 8 | d[2]
    cdef int kind = d[3]
    cdef int flags = d[4]
    cdef uint32_t stream = <uint32_t>d[5] << 24 | <uint32_t>d[6] << 16 | <uint32_t>d[7] << 8 | d[8]
    if length > FRAME_MAX or stream >> 31:
        return False
    if kind == 0:  # DATA
        return stream != 0 and flags & ~0x09 == 0
    if kind == 1:  # HEADERS
        return stream != 0 and flags & ~0x2D == 0 and length > 0
    if kind == 2:  # PRIORITY
        return stream != 0 and flags == 0 and length == 5
    if kind == 3:  # RST_STREAM
        return stream != 0 and flags == 0 and length == 4
    if kind == 4:  # SETTINGS
        return stream == 0 and (flags == 0 or (flags == 1 and length == 0)) and length % 6 == 0
    if kind == 5:  # PUSH_PROMISE
        return stream != 0 and flags & ~0x0C == 0 and length >= 4
    if kind == 6:  # PING
        return stream == 0 and flags & ~0x01 == 0 and length == 8
    if kind == 7:  # GOAWAY
        return stream == 0 and flags == 0 and length >= 8
    if kind == 8:  # WINDOW_UPDATE
        return flags == 0 and length == 4
    if kind == 9:  # CONTINUATION
        return stream != 0 and flags & ~0x04 == 0
    return False


# The server's first frame is SETTINGS; in the middle, every header in the segment must be one, and two must be there, or one
# whose frame ends where the segment ends.
cdef int sniff_frames(const uint8_t* d, size_t n) noexcept nogil:
    cdef size_t at = 0
    cdef uint32_t count = 0
    if n < 9:
        return OISP_SNIFF_MORE if d[0] == 0 and (n < 4 or d[3] < 10) else OISP_SNIFF_UNKNOWN
    if not is_frame(d):
        return OISP_SNIFF_UNKNOWN
    if d[3] == 4 and d[4] == 0:
        return OISP_SNIFF_HTTP2_SETTINGS
    while at + 9 <= n and count < 4:
        if not is_frame(d + at):
            return OISP_SNIFF_UNKNOWN
        at += 9 + (<size_t>d[at] << 16 | <size_t>d[at + 1] << 8 | d[at + 2])
        count += 1
    if count >= 2 or at == n:
        return OISP_SNIFF_HTTP2_FRAMES
    return OISP_SNIFF_MORE


# RFC 6455 section 5.2: text frames with JSON in them, the last of which ends with the segment.
cdef int sniff_websocket(const uint8_t* d, size_t n) noexcept nogil:
    cdef size_t at = 0
    cdef size_t head
    cdef uint64_t length
    cdef uint8_t first
    cdef int k
    while at < n:
        if d[at] != 0x81 or at + 2 > n:
            return OISP_SNIFF_UNKNOWN
        length = d[at + 1] & 0x7F
        head = at + 2
        if length >= 126:
            k = 2 if length == 126 else 8
            if head + k > n:
                return OISP_SNIFF_UNKNOWN
            length = 0
            for _ in range(k):
                length = length << 8 | d[head]
                head += 1
        first = 0
        if d[at + 1] & 0x80:
            if head + 4 > n:
                return OISP_SNIFF_UNKNOWN
            first = d[head]
            head += 4
        if length < 2 or length > n - head:
            return OISP_SNIFF_UNKNOWN
        first ^= d[head]
        if first != c'{' and first != c'[':
            return OISP_SNIFF_UNKNOWN
        at = head + <size_t>length
    return OISP_SNIFF_WEBSOCKET


class Sniffed(IntEnum):
    MORE = OISP_SNIFF_MORE
    UNKNOWN = OISP_SNIFF_UNKNOWN
    HTTP1_REQUEST = OISP_SNIFF_HTTP1_REQUEST
    HTTP1_RESPONSE = OISP_SNIFF_HTTP1_RESPONSE
    HTTP2_PREFACE = OISP_SNIFF_HTTP2_PREFACE
    HTTP2_SETTINGS = OISP_SNIFF_HTTP2_SETTINGS
    HTTP2_FRAMES = OISP_SNIFF_HTTP2_FRAMES
    TLS = OISP_SNIFF_TLS
    WEBSOCKET = OISP_SNIFF_WEBSOCKET


def sniff_bytes(data):
    cdef Py_buffer view
    cdef int answer
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    answer = sniff(<const uint8_t*>view.buf, <size_t>view.len)
    PyBuffer_Release(&view)
    return Sniffed(answer)
