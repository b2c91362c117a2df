# SPDX-License-Identifier: Apache-2.0
"""The engine: connections in, lines of NDJSON out. Sans I/O: no socket, no file, no clock, no thread of its own.

This file is the face, for Python and (capi.pxd) for other extensions; how connections are read and paired is connection.pyx.
Bytes are borrowed until a call returns; what must stay is copied. One engine serves one caller at a time.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import functools
import os
import re

import msgspec

from oisp_core import events as _events
from oisp_core import resources as _resources
from oisp_core.decode.dialects import load_dialects
from oisp_core.errors import ConfigError, EngineBusyError, RecordingError
from oisp_core.limits import Limits
from oisp_core.match.rules import load_registry
from oisp_core.models import registry as _packaged_models
from oisp_core.reassemble.tokens import Status

from oisp_core.connection cimport (
    OISP_CONN_DISMISSED, OISP_CONN_NEW, REQUESTS_UNKNOWN, OISP_DISMISSED_HOST, OISP_DISMISSED_LIMIT, OISP_DISMISSED_PROTOCOL,
    OISP_DISMISSED_TUNNEL, advance_core, core_free, core_is_full, end_conn, engine_core, find_conn, hole,
    make_conn, oisp_conn, open_flow, put_context, take_piece, take_record, take_records,
)
from oisp_core.decode.decoder cimport Dialects
from oisp_core.encode.clients cimport Clients
from oisp_core.encode.models cimport Models
from oisp_core.encode.writer cimport writer_context, writer_hash_key, writer_init, writer_seed
from oisp_core.match.rules cimport Registry
from oisp_core.message cimport (
    OISP_END_CUT, OISP_END_FLIGHT, OISP_TURN_UPGRADE, oisp_shared, oisp_turn, shared_init, turn_flush, turn_free, turn_new,
    turn_request_data, turn_request_end, turn_request_head, turn_response_data, turn_response_end, turn_response_head,
)
from oisp_core.session cimport oisp_session, session_close, session_message, session_open
from oisp_core.types cimport (
    OISP_FULL, OISP_OK, OISP_POLICY_FULL, OISP_POLICY_METADATA, OISP_POLICY_REDACTED, OISP_READ, OISP_RECORD_CONTEXT,
    OISP_RECORDING_VERSION, OISP_WRITE, oisp_buffer_wipe, oisp_field, oisp_head, oisp_limits, oisp_record,
    oisp_record_context, oisp_recording_header, oisp_slice, oisp_status, oisp_token,
)

__all__ = ["ABI_READ", "ABI_WRITE", "Engine", "Request", "Response"]

ABI_WRITE = "write"
ABI_READ = "read"

cdef extern from *:
    """
    static inline int oisp_enter(int32_t *busy) { return __atomic_exchange_n(busy, 1, __ATOMIC_ACQUIRE) == 0; }
    static inline void oisp_leave(int32_t *busy) { __atomic_store_n(busy, 0, __ATOMIC_RELEASE); }
    /* Lines of the cache that will be read soon: records are of all sizes, which no prefetcher of hardware foresees. */
    static inline void oisp_fetch(const uint8_t *data, uint64_t at, uint64_t size, uint64_t end) {
      for (end = at + size < end ? at + size : end; at < end; at += 64)
        __builtin_prefetch(data + at);
    }
    """
    bint oisp_enter(int32_t* busy) nogil
    void oisp_leave(int32_t* busy) nogil
    void oisp_fetch(const uint8_t* data, uint64_t at, uint64_t size, uint64_t end) nogil

cdef enum:
    FETCH_AHEAD = 2048

# --- the C face ---


cdef oisp_status engine_feed_record(Engine engine, const oisp_record* record) noexcept nogil:
    cdef engine_core* e = &engine.core
    if core_is_full(e):
        return OISP_FULL
    take_record(e, record)
    return OISP_FULL if core_is_full(e) else OISP_OK


cdef bint engine_knows(Engine engine, uint64_t conn) noexcept nogil:
    return find_conn(&engine.core, conn) != NULL


cdef void engine_open(Engine engine, uint64_t* connections, uint64_t* exchanges) noexcept nogil:
    connections[0] = engine.core.conns.count
    exchanges[0] = engine.core.shared.turns_open


cdef oisp_status engine_feed_span(Engine engine, uint64_t conn, int direction, uint64_t ts_ns, const uint8_t* data, size_t size,
                                  uint64_t offset) noexcept nogil:
    cdef engine_core* e = &engine.core
    cdef oisp_conn* c
    if core_is_full(e):
        return OISP_FULL
    c = make_conn(e, conn)
    if c != NULL:
        e.current = c
        take_piece(e, c, direction, ts_ns, data, size, offset)
        e.current = NULL
    return OISP_FULL if core_is_full(e) else OISP_OK


cdef class _Held:
    """A buffer of the caller's, held while the engine reads it."""
    cdef Py_buffer view
    cdef bint taken

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.taken = True

    def __dealloc__(self):
        if self.taken:
            PyBuffer_Release(&self.view)


# --- the Python face ---


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is already framed, for `Engine.exchange`.

    `headers` are pairs as on the wire, content-encoding undone or named in them as sent; times are Unix nanoseconds.
    """

    method: str
    url: str
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    ts_ns: int = 0
    ts_end_ns: int | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The response to a `Request`. `complete=False`: it was cut. messages: of a WebSocket, after a status of 101: direction
    (">" or "<"), data, time in Unix nanoseconds."""

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    ts_ns: int = 0
    ts_end_ns: int | None = None
    complete: bool = True
    messages: list[tuple[str, bytes, int]] = []


_POLICIES = {"metadata": OISP_POLICY_METADATA, "redacted": OISP_POLICY_REDACTED, "full": OISP_POLICY_FULL}
_DIRECTIONS = {">": 0, "<": 1, ABI_WRITE: OISP_WRITE, ABI_READ: OISP_READ}
_DISMISSALS = {
    OISP_DISMISSED_HOST: "host_never_ai",
    OISP_DISMISSED_PROTOCOL: "unknown_protocol",
    OISP_DISMISSED_TUNNEL: "tunnel",
    OISP_DISMISSED_LIMIT: "limit",
}
_URL = re.compile(r"^(?:(https?|wss?)://([^/?#]*))?([^#]*)", re.ASCII)


@functools.cache
def _packaged_dialects():
    """Immutable, so all engines of a process share them."""
    return load_dialects()


@functools.cache
def _packaged_clients():
    return Clients(_resources.read("semconv/clients.yaml"), "semconv/clients.yaml")


@functools.cache
def _packaged_registry():
    return load_registry(_packaged_dialects().names)


cdef class Engine:
    """Plaintext of connections in, OISP events out. See the stub for the contract of each method."""

    def __cinit__(self):
        memset(&self.core, 0, sizeof(engine_core))

    def __init__(self, *, content="metadata", chunks=False, providers=None, id_seed=None, hash_key=None, limits=None,
                 clock_base_ns=None):
        if self.registry is not None:
            raise TypeError("an engine is made once")
        if content not in _POLICIES:
            raise ConfigError(key="content", expected=tuple(_POLICIES), got=content)
        if hash_key is not None and len(hash_key) < 16:
            raise ConfigError(key="hash_key", expected="at least 16 bytes", got=f"{len(hash_key)} bytes")
        self.dialects = _packaged_dialects()
        if isinstance(providers, Registry):
            self.registry = providers
        elif providers is None:
            self.registry = _packaged_registry()
        else:
            self.registry = load_registry(self.dialects.names, providers)
        self.models = _packaged_models()
        self.clients = _packaged_clients()
        self.policy = content
        self._open(Limits.of(limits))
        self._seed(id_seed)
        if hash_key is not None:
            writer_hash_key(&self.core.shared.writer, hash_key, len(hash_key))
        self.core.shared.chunks = bool(chunks)
        self.core.clock_base_ns = 0 if clock_base_ns is None else clock_base_ns

    def _open(self, limits):
        cdef engine_core* e = &self.core
        cdef oisp_shared* s = &e.shared
        set_limits(&s.limits, limits)
        s.rules = (<Registry> self.registry).rules
        s.dialects = (<Dialects> self.dialects).table
        s.clients = (<Clients> self.clients).table
        e.tokens_capacity = s.limits.head_fields * 2 + 64
        e.tokens = <oisp_token*> calloc(e.tokens_capacity, sizeof(oisp_token))
        e.fields = <oisp_field*> calloc(s.limits.head_fields, sizeof(oisp_field))
        if e.tokens == NULL or e.fields == NULL or not shared_init(s):
            raise MemoryError
        if not writer_init(&s.writer, _POLICIES[self.policy], limits.output_bytes):
            raise MemoryError
        s.writer.models = (<Models> self.models).table

    def _seed(self, id_seed):
        cdef uint64_t a, b
        words = os.urandom(16) if id_seed is None else int(id_seed).to_bytes(16, "little", signed=False)
        a, b = int.from_bytes(words[:8], "little"), int.from_bytes(words[8:], "little")
        self.core.shared.hash_key[0] = a ^ 0x6f697370
        self.core.shared.hash_key[1] = b
        writer_seed(&self.core.shared.writer, a, b, id_seed is not None)

    def __dealloc__(self):
        cdef engine_core* e = &self.core
        core_free(e)

    cdef int _enter(self) except -1:
        if not oisp_enter(&self.core.busy):
            raise EngineBusyError("this engine is in use by another thread: give each thread an engine of its own")
        return 0

    def feed(self, uint64_t conn, direction, uint64_t ts_ns, data, offset=None):
        cdef const uint8_t* bytes
        cdef Py_ssize_t size
        cdef oisp_status status
        cdef uint64_t at = UINT64_MAX if offset is None else offset
        cdef int way
        cdef _Held held
        cdef oisp_conn* c = NULL
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction is '>' (client to server), '<', ABI_WRITE or ABI_READ, not {direction!r}")
        way = _DIRECTIONS[direction]
        status = OISP_OK
        held = _Held(data)
        bytes, size = <const uint8_t*> held.view.buf, held.view.len
        self._enter()
        with nogil:
            if core_is_full(&self.core):
                status = OISP_FULL
            else:
                c = make_conn(&self.core, conn)
        try:
            if status == OISP_FULL:
                return Status.FULL
            if direction in "<>" and c != NULL and c.state == OISP_CONN_NEW and c.requests == REQUESTS_UNKNOWN:
                c.requests = 0
            with nogil:
                status = engine_feed_span(self, conn, way, ts_ns, bytes, size, at)
                turn_flush(&self.core.shared)
        finally:
            oisp_leave(&self.core.busy)
        return Status.FULL if status == OISP_FULL else Status.OK

    def feed_packed(self, buffer):
        cdef _Held held = _Held(buffer)
        cdef const uint8_t* data = <const uint8_t*> held.view.buf
        cdef uint64_t size = held.view.len
        cdef uint64_t at = 0
        self._enter()
        try:
            if core_is_full(&self.core):
                return Status.FULL
            at = self._recording_start(data, size)
            self._check_records(data, at, size)
            with nogil:
                take_records(&self.core, data, at, size)
                turn_flush(&self.core.shared)
            return Status.FULL if core_is_full(&self.core) else Status.OK
        finally:
            oisp_leave(&self.core.busy)

    cdef int64_t _recording_start(self, const uint8_t* data, uint64_t size) except -1:
        cdef oisp_recording_header h
        if size < 8 or memcmp(data, b"OISIOSP\x01", 8) != 0:
            return 0
        if size < sizeof(h):
            raise RecordingError(offset=0, expected=f"a header of {sizeof(h)} bytes", got=f"{size} bytes")
        memcpy(&h, data, sizeof(h))
        if h.version != OISP_RECORDING_VERSION:
            raise RecordingError(offset=8, expected=f"version {OISP_RECORDING_VERSION}", got=f"version {h.version}")
        if h.header_size < sizeof(h) or h.header_size % 8 or h.header_size > size:
            raise RecordingError(offset=12, expected="the size of the header, a multiple of 8", got=h.header_size)
        self.core.clock_base_ns = h.clock_base_ns
        return h.header_size

    cdef int _check_records(self, const uint8_t* data, uint64_t at, uint64_t size) except -1:
        """Before anything is taken: whole records, and contexts that are JSON members."""
        cdef oisp_record r
        cdef oisp_record_context x
        while at < size:
            if size - at < sizeof(r):
                raise RecordingError(offset=at, expected="a record header of 8 bytes", got=f"the end after {size - at} bytes")
            memcpy(&r, data + at, sizeof(r))
            if r.size < sizeof(r) or r.size % 8:
                raise RecordingError(offset=at, expected="a record size that is a multiple of 8, at least 8", got=r.size)
            if r.size > size - at:
                raise RecordingError(offset=at, expected=f"a record of {r.size} bytes", got=f"the end after {size - at} bytes")
            oisp_fetch(data, at + FETCH_AHEAD, r.size, size)
            if r.kind == OISP_RECORD_CONTEXT and r.size >= sizeof(x):
                memcpy(&x, data + at, sizeof(x))
                if x.member_size <= r.size - sizeof(x) and writer_context(data + at + sizeof(x), x.member_size) < 0:
                    _check_members((<const char*> data + at + sizeof(x))[:x.member_size], at)
            at += r.size

    def gap(self, uint64_t conn, direction, length=None):
        cdef int way
        cdef oisp_conn* c
        cdef uint64_t size = 0 if length is None else length
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction is '>' (client to server), '<', ABI_WRITE or ABI_READ, not {direction!r}")
        way = _DIRECTIONS[direction]
        self._enter()
        try:
            c = find_conn(&self.core, conn)
            if c == NULL:
                c = make_conn(&self.core, conn)
                if c == NULL:
                    return
                c.requests = 0 if direction in "<>" else REQUESTS_UNKNOWN
                c.origin.midway = 1
            open_flow(&self.core, c)
            hole(&self.core, c, way, size, c.ts_last)
        finally:
            oisp_leave(&self.core.busy)

    def set_context(self, uint64_t conn, bytes members not None):
        cdef oisp_conn* c
        cdef int has_source = writer_context(members, len(members))
        if has_source < 0:
            _check_members(members, None)
            raise ConfigError(key="members", expected="each member once, in one line, without control characters", got=members[:80])
        self._enter()
        try:
            c = make_conn(&self.core, conn)
            if c != NULL:
                put_context(&self.core, c, members, <uint32_t> len(members), has_source)
        finally:
            oisp_leave(&self.core.busy)

    def exchange(self, request, response=None):
        self._enter()
        try:
            if core_is_full(&self.core):
                return Status.FULL
            _exchange(&self.core, request, response)
            return Status.FULL if core_is_full(&self.core) else Status.OK
        finally:
            oisp_leave(&self.core.busy)

    def advance(self, uint64_t now_ns):
        self._enter()
        with nogil:
            advance_core(&self.core, now_ns)
            turn_flush(&self.core.shared)
        oisp_leave(&self.core.busy)

    def close(self, conn=None, ts_ns=None):
        cdef oisp_conn* c
        cdef uint64_t ts
        self._enter()
        try:
            if conn is None:
                while self.core.oldest != NULL:
                    c = self.core.oldest
                    end_conn(&self.core, c, c.ts_last if ts_ns is None else <uint64_t> ts_ns, OISP_END_FLIGHT)
                return
            c = find_conn(&self.core, conn)
            if c != NULL:
                ts = c.ts_last if ts_ns is None else <uint64_t> ts_ns
                end_conn(&self.core, c, ts, 0)
        finally:
            oisp_leave(&self.core.busy)

    def drain(self):
        self._enter()
        try:
            turn_flush(&self.core.shared)
            lines = PyBytes_FromStringAndSize(<const char*> self.core.shared.writer.out.data, self.core.shared.writer.out.size)
            oisp_buffer_wipe(&self.core.shared.writer.out)
            return lines
        finally:
            oisp_leave(&self.core.busy)

    def events(self):
        return [_events.decode(line) for line in self.drain().splitlines()]

    def verdicts(self):
        cdef oisp_conn* c = self.core.newest
        result = []
        if self.core.verdicts_new == 0:
            return result
        while c != NULL:
            if not c.told:
                c.told = 1
                if c.state == OISP_CONN_DISMISSED:
                    result.append((c.id, "nothing", _DISMISSALS[c.rule]))
                else:
                    result.append((c.id, "head" if c.level else "all", "not_ai"))
            c = c.older
        self.core.verdicts_new = 0
        return result

    def stats(self):
        cdef dict d = self.core.shared.count
        d["bytes"] = sum(d["bytes"])
        d["connections_open"] = self.core.conns.count
        d["exchanges_open"] = self.core.shared.turns_open
        d["held_bytes"] = self.core.shared.held
        d["output_bytes"] = self.core.shared.writer.out.size
        return d


cdef set_limits(oisp_limits* to, limits):
    to.head_bytes = limits.head_bytes
    to.head_fields = limits.head_fields
    to.body_bytes = limits.body_bytes
    to.event_bytes = limits.event_bytes
    to.arena_bytes = limits.arena_bytes
    to.items = limits.items
    to.json_depth = limits.json_depth
    to.connections = limits.connections
    to.streams = limits.streams
    to.pipeline = limits.pipeline
    to.table_bytes = limits.table_bytes
    to.inflate_ratio = limits.inflate_ratio
    to.output_bytes = limits.output_bytes
    to.linked_calls = limits.linked_calls
    to.total_bytes = limits.total_bytes


def _check_members(bytes members, offset):
    """Are these members of a JSON object? Answers whether `source` is among them."""
    try:
        decoded = msgspec.json.decode(b"{" + members + b"}", type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        if offset is not None:
            raise RecordingError(offset=offset, expected="context members in JSON", got=str(error)) from None
        raise ConfigError(key="members", expected='JSON members such as "host":{...},"process":{...}', got=str(error)) from None
    if b"\n" in members or b"\r" in members:
        raise ConfigError(key="members", expected="JSON members in one line", got="a line break")
    for name in decoded:
        if name not in _CONTEXT:
            raise ConfigError(key=name, expected=_CONTEXT, got=name, message="not a member of the context")
    return "source" in decoded


_CONTEXT = ("host", "actor", "process", "app", "web_context", "source")


# --- exchanges that are already framed ---


cdef class _Head:
    """A head made of Python strings; it owns the bytes that `head` points to."""
    cdef oisp_head head
    cdef list owned
    cdef oisp_field* fields

    def __cinit__(self, headers):
        cdef Py_ssize_t i = 0
        memset(&self.head, 0, sizeof(oisp_head))
        self.owned = []
        self.fields = <oisp_field*> calloc(len(headers) + 1, sizeof(oisp_field))
        if self.fields == NULL:
            raise MemoryError
        for name, value in headers:
            self.point(&self.fields[i].name, name)
            self.point(&self.fields[i].value, value)
            if name.lower() == "host":
                self.head.authority = self.fields[i].value
            i += 1
        self.head.fields = self.fields
        self.head.fields_count = <uint32_t> i

    def __dealloc__(self):
        free(self.fields)

    cdef point(self, oisp_slice* to, str text):
        cdef bytes data = text.encode("utf-8", "surrogateescape")
        self.owned.append(data)
        to.data = <const uint8_t*> <const char*> data
        to.size = <uint32_t> len(data)


cdef _exchange(engine_core* e, request, response):
    cdef _Head asked = _Head(request.headers)
    cdef oisp_turn* t
    cdef uint64_t ts = request.ts_ns
    cdef uint64_t end = ts if request.ts_end_ns is None else request.ts_end_ns
    scheme, authority, target = _URL.match(request.url).groups()
    asked.point(&asked.head.method, request.method)
    asked.point(&asked.head.target, target or "/")
    if authority:
        asked.point(&asked.head.authority, authority)
    e.framed.plaintext = asked.head.plaintext = scheme in ("http", "ws")
    t = turn_new(&e.shared, &e.framed)
    if t == NULL:
        raise MemoryError
    turn_request_head(&e.shared, t, &asked.head, len(request.body), ts)
    _body(&e.shared, t, request.body, end, False)
    turn_request_end(&e.shared, t, end, 0)
    if response is None:
        turn_response_end(&e.shared, t, end, OISP_END_FLIGHT)
    elif response.status == 101 and t.flags & OISP_TURN_UPGRADE and _converse(e, t, response):
        return
    else:
        _respond(e, t, response)
    turn_free(&e.shared, t)


cdef bint _converse(engine_core* e, oisp_turn* t, response) except -1:
    """A WebSocket: its messages are whole already. False: not one that is read."""
    cdef _Head answered = _Head(response.headers)
    cdef oisp_session* q
    cdef _Held held
    answered.head.status = response.status
    q = session_open(&e.shared, t, &answered.head)
    if q == NULL:
        return False
    for direction, data, ts in response.messages:
        held = _Held(data)
        session_message(&e.shared, q, direction == "<", <const uint8_t*> held.view.buf, held.view.len, ts)
    session_close(&e.shared, q, 0 if response.complete else OISP_END_CUT)
    return True


cdef _respond(engine_core* e, oisp_turn* t, response):
    cdef _Head answered = _Head(response.headers)
    cdef uint64_t ts = response.ts_ns
    cdef uint64_t end = ts if response.ts_end_ns is None else response.ts_end_ns
    answered.head.status = response.status
    turn_response_head(&e.shared, t, &answered.head, len(response.body) if response.complete else UINT64_MAX, ts)
    _body(&e.shared, t, response.body, end, True)
    turn_response_end(&e.shared, t, end, 0 if response.complete else OISP_END_CUT)


cdef _body(oisp_shared* s, oisp_turn* t, data, uint64_t ts, bint response):
    cdef _Held held = _Held(data)
    if held.view.len == 0:
        return
    if response:
        turn_response_data(s, t, <const uint8_t*> held.view.buf, held.view.len, ts)
    else:
        turn_request_data(s, t, <const uint8_t*> held.view.buf, held.view.len, ts)
