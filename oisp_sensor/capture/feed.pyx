# SPDX-License-Identifier: Apache-2.0
"""From the ring into an engine, and a copy of every record into a recording, without the GIL.

The consumer stops where Python is needed: after the OPEN of a connection (its context can be set before its first byte
is read), when the engine's output is full, and when the recording cannot be written.
"""
from typing import NamedTuple

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport write

from oisp_core.engine cimport Engine, engine_feed_record
from oisp_core.types cimport (
    OISP_FULL,
    OISP_RECORD_CONTEXT,
    OISP_RECORD_MIDWAY,
    OISP_RECORD_OPEN,
    OISP_RECORD_SERVER,
    oisp_record,
    oisp_record_conn,
    oisp_record_context,
    oisp_status,
)
from oisp_sensor.capture.ringbuf cimport RingBuffer

cdef enum:
    STOP_OPENED = 1
    STOP_FULL = 2
    STOP_RAW_FAILED = 4
    BLOCK = 1 << 18

OPENED = STOP_OPENED
FULL = STOP_FULL
RAW_FAILED = STOP_RAW_FAILED

# engine_feed_record with its engine as the plain pointer that it is: no reference is counted without the GIL.
ctypedef oisp_status (*feed_function)(void* engine, const oisp_record* record) noexcept nogil


class Opened(NamedTuple):
    """A connection that was seen for the first time."""

    conn: int
    ts_ns: int  # monotonic
    pid: int
    tid: int
    start_time_ns: int  # of the process, since boot
    uid: int
    gid: int
    cgroup: int
    midway: bool
    server: bool


cdef struct feed_state:
    void* engine
    feed_function feed
    int raw_fd
    int raw_error
    uint64_t records
    uint64_t bytes
    uint64_t raw_bytes
    uint8_t* block
    size_t used
    oisp_record_conn conn


cdef int flush(feed_state* s) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t n
    while done < s.used:
        n = write(s.raw_fd, s.block + done, s.used - done)
        if n < 0:
            if errno == EINTR:
                continue
            s.raw_error = errno
            s.raw_fd = -1
            s.used = 0
            return -1
        done += n
    s.raw_bytes += s.used
    s.used = 0
    return 0


cdef int keep_raw(feed_state* s, const void* data, size_t size) noexcept nogil:
    if s.used + size > BLOCK and flush(s) < 0:
        return -1
    memcpy(s.block + s.used, data, size)
    s.used += size
    return 0


cdef int feed_one(void* context, const oisp_record* record) noexcept nogil:
    cdef feed_state* s = <feed_state*>context
    cdef int stop = 0
    s.records += 1
    s.bytes += record.size
    if s.raw_fd >= 0 and keep_raw(s, record, record.size) < 0:
        stop |= STOP_RAW_FAILED
    if s.engine != NULL and s.feed(s.engine, record) == OISP_FULL:
        stop |= STOP_FULL
    if record.kind == OISP_RECORD_OPEN and record.size >= sizeof(oisp_record_conn):
        memcpy(&s.conn, record, sizeof(oisp_record_conn))
        stop |= STOP_OPENED
    return stop


cdef class Feed:
    """Binds a ring to an engine (or None: only record) and to a recording's descriptor (or -1; borrowed).

    The caller owns the engine: no other thread may use it during consume().
    """
    cdef RingBuffer ring
    cdef object engine
    cdef feed_state state

    def __cinit__(self, RingBuffer ring not None, engine, int raw_fd=-1):
        if engine is not None and not isinstance(engine, Engine):
            raise TypeError(f"an oisp_core.Engine is fed, not {type(engine).__name__}")
        memset(&self.state, 0, sizeof(feed_state))
        self.state.raw_fd = raw_fd
        self.ring = ring
        self.engine = engine
        if engine is not None:
            self.state.engine = <void*>engine
            self.state.feed = <feed_function>engine_feed_record
        if raw_fd >= 0:
            self.state.block = <uint8_t*>malloc(BLOCK)
            if self.state.block == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.state.block)

    def consume(self, uint64_t budget=4096):
        """Feeds what waits, at most `budget` records. Answers OPENED, FULL and RAW_FAILED as bits, 0 when it ran dry or
        through its budget. After OPENED see `opened`; after FULL drain the engine before the next call."""
        cdef int stop
        with nogil:
            stop = self.ring.take(feed_one, &self.state, budget)
            if self.state.used and flush(&self.state) < 0:
                stop |= STOP_RAW_FAILED
        return stop

    @property
    def opened(self):
        """The connection that the last OPENED spoke of."""
        cdef oisp_record_conn* c = &self.state.conn
        return Opened(
            c.conn,
            c.ts,
            c.pid,
            c.tid,
            c.start_time,
            c.uid,
            c.gid,
            c.cgroup,
            bool(c.head.flags & OISP_RECORD_MIDWAY),
            bool(c.head.flags & OISP_RECORD_SERVER),
        )

    def keep_context(self, uint64_t conn, bytes members not None):
        """Appends to the recording what set_context() was given, so that a replay knows the process too."""
        cdef oisp_record_context head
        cdef size_t size = sizeof(head) + len(members)
        cdef size_t whole = (size + 7) & ~<size_t>7
        if self.state.raw_fd < 0 or whole > BLOCK:
            return
        memset(&head, 0, sizeof(head))
        head.head.size = <uint32_t>whole
        head.head.kind = OISP_RECORD_CONTEXT
        head.conn = conn
        head.member_size = <uint32_t>len(members)
        packed = (<const char*>&head)[:sizeof(head)] + members + bytes(whole - size)
        cdef const char* at = packed
        keep_raw(&self.state, at, whole)
        flush(&self.state)

    @property
    def raw_error(self):
        """Why the recording ended: an errno, or 0."""
        return self.state.raw_error

    @property
    def records(self):
        return self.state.records

    @property
    def bytes(self):
        """Bytes of all records taken, headers included."""
        return self.state.bytes

    @property
    def raw_bytes(self):
        return self.state.raw_bytes
