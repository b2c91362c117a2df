# SPDX-License-Identifier: Apache-2.0
"""From the ring into an engine, and a copy of every record into a recording, without the GIL.

The consumer stops where Python is needed: after the OPEN of a connection (its context can be set before its first byte
is read), when the engine's output is full, and when the recording cannot be written.

Its counters can lie in a page that another process sees (oisp_sensor/page.py). With `resumed` it goes on where another
consumer ended: a connection that the engine does not know is opened for it, as one that was joined midway.
"""
from typing import NamedTuple

from cpython.buffer cimport PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, errno
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport write

from oisp_core.engine cimport Engine, engine_feed_record, engine_knows, engine_open
from oisp_core.types cimport (
    OISP_FULL,
    OISP_RECORD_ADDRESS,
    OISP_RECORD_CONTEXT,
    OISP_RECORD_DATA,
    OISP_RECORD_MIDWAY,
    OISP_RECORD_OPEN,
    OISP_RECORD_PLAINTEXT,
    OISP_RECORD_SERVER,
    OISP_RECORD_STDIO,
    oisp_record,
    oisp_record_conn,
    oisp_record_context,
    oisp_record_data,
    oisp_status,
)
from oisp_sensor.capture.ringbuf cimport RECORD_STAYS, RingBuffer

cdef extern from *:
    """
    #include <stdint.h>
    #define RING_LENGTH ((1U << 30) - 1)
    static inline void feed_store64(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    """
    const uint32_t RING_LENGTH
    void feed_store64(uint64_t* at, uint64_t value) noexcept nogil

cdef enum:
    STOP_OPENED = 1
    STOP_FULL = 2
    STOP_RAW_FAILED = 4
    BLOCK = 1 << 18
    # Slots of the page of counters; the same numbers stand in oisp_sensor/page.py.
    POSITION = 0
    RAW_BYTES = 1
    RAW_ERROR = 2
    JOINED = 3
    # Two sets, written in turn: the one whose AFTER is the reader's position tells exactly what was taken up to there.
    FIRST_SET = 8
    SECOND_SET = 16
    SLOTS = 24
    AFTER = 0
    RECORDS = 1
    RECORD_BYTES = 2
    PAYLOAD = 3
    OPEN_CONNECTIONS = 4
    OPEN_EXCHANGES = 5

OPENED = STOP_OPENED
FULL = STOP_FULL
RAW_FAILED = STOP_RAW_FAILED

# engine_feed_record with its engine as the plain pointer that it is: no reference is counted without the GIL.
ctypedef oisp_status (*feed_function)(void* engine, const oisp_record* record) noexcept nogil
ctypedef bint (*knows_function)(void* engine, uint64_t conn) noexcept nogil
ctypedef void (*open_function)(void* engine, uint64_t* connections, uint64_t* exchanges) noexcept nogil


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
    point: str  # where its bytes are seen: tls_library, socket, stdio


cdef str point_of(uint16_t flags):
    if flags & OISP_RECORD_STDIO:
        return "stdio"
    return "socket" if flags & OISP_RECORD_PLAINTEXT else "tls_library"


cdef struct feed_state:
    void* engine
    feed_function feed
    knows_function knows
    open_function opens
    bint resumed
    int raw_fd
    uint64_t* count
    uint64_t* taken  # the set that counts
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
            s.count[RAW_ERROR] = errno
            s.raw_fd = -1
            s.used = 0
            return -1
        done += n
    s.count[RAW_BYTES] += s.used
    s.used = 0
    return 0


cdef int keep_raw(feed_state* s, const void* data, size_t size) noexcept nogil:
    if s.used + size > BLOCK and flush(s) < 0:
        return -1
    memcpy(s.block + s.used, data, size)
    s.used += size
    return 0


cdef int introduce(feed_state* s, const oisp_record_data* record) noexcept nogil:
    """Opens a connection whose OPEN another consumer had; its record comes again."""
    cdef oisp_record_conn* c = &s.conn
    memset(c, 0, sizeof(oisp_record_conn))
    c.head.size = sizeof(oisp_record_conn)
    c.head.kind = OISP_RECORD_OPEN
    c.head.flags = record.head.flags | OISP_RECORD_MIDWAY
    c.conn = record.conn
    c.ts = record.ts_enter
    c.cgroup = record.cgroup
    c.start_time = record.start_time
    c.pid = record.pid
    c.tid = record.tid
    c.uid = record.uid
    c.gid = <uint32_t>-1
    c.bytes[0] = c.bytes[1] = UINT64_MAX
    s.feed(s.engine, &c.head)
    s.count[JOINED] += 1
    return STOP_OPENED | RECORD_STAYS


cdef void count_one(feed_state* s, const oisp_record* record) noexcept nogil:
    """Into the set that does not count yet. It does from the moment on when the reader's position is behind this record:
    a reader that is killed anywhere has counted each record once."""
    cdef uint64_t* old = s.taken
    cdef uint64_t* new = s.count + (SECOND_SET if old == s.count + FIRST_SET else FIRST_SET)
    cdef uint32_t length = (<const uint32_t*>record)[-2] & RING_LENGTH  # the ring's own head stands before the record
    feed_store64(&new[AFTER], UINT64_MAX)
    new[RECORDS] = old[RECORDS] + 1
    new[RECORD_BYTES] = old[RECORD_BYTES] + record.size
    new[PAYLOAD] = old[PAYLOAD]
    if record.kind == OISP_RECORD_DATA and record.size >= sizeof(oisp_record_data):
        new[PAYLOAD] += (<const oisp_record_data*>record).captured
    if s.engine != NULL:
        s.opens(s.engine, &new[OPEN_CONNECTIONS], &new[OPEN_EXCHANGES])
    feed_store64(&new[AFTER], s.count[POSITION] + ((length + 8 + 7) & ~<uint64_t>7))
    s.taken = new


cdef int feed_one(void* context, const oisp_record* record) noexcept nogil:
    cdef feed_state* s = <feed_state*>context
    cdef int stop = 0
    cdef const oisp_record_data* data = <const oisp_record_data*>record
    cdef bint known = True
    if s.resumed and s.engine != NULL and record.size >= 16:
        known = s.knows(s.engine, data.conn)
        if not known and record.kind == OISP_RECORD_DATA and record.size >= sizeof(oisp_record_data):
            return introduce(s, data)
    if s.raw_fd >= 0 and keep_raw(s, record, record.size) < 0:
        stop |= STOP_RAW_FAILED
    # An address alone would make the connection known, and then nobody would say whose it is.
    if s.engine != NULL and (known or record.kind != OISP_RECORD_ADDRESS) and s.feed(s.engine, record) == OISP_FULL:
        stop |= STOP_FULL
    if record.kind == OISP_RECORD_OPEN and record.size >= sizeof(oisp_record_conn):
        memcpy(&s.conn, record, sizeof(oisp_record_conn))
        stop |= STOP_OPENED
    count_one(s, record)
    return stop


cdef class Feed:
    """Binds a ring to an engine (or None: only record) and to a recording's descriptor (or -1; borrowed). `page`: a
    writable buffer of unsigned 64-bit numbers for the counters.

    The caller owns the engine: no other thread may use it during consume().
    """
    cdef RingBuffer ring
    cdef object engine
    cdef feed_state state
    cdef Py_buffer page
    cdef uint64_t own[SLOTS]

    def __cinit__(self, RingBuffer ring not None, engine, int raw_fd=-1, *, page=None, bint resumed=False):
        if engine is not None and not isinstance(engine, Engine):
            raise TypeError(f"an oisp_core.Engine is fed, not {type(engine).__name__}")
        memset(&self.state, 0, sizeof(feed_state))
        memset(self.own, 0, sizeof(self.own))
        self.state.count = self.own
        if page is not None:
            PyObject_GetBuffer(page, &self.page, PyBUF_WRITABLE)
            if self.page.len < <Py_ssize_t>sizeof(self.own):
                raise ValueError(f"the page has room for {SLOTS} counters")
            self.state.count = <uint64_t*>self.page.buf
        self.state.taken = self.state.count + FIRST_SET
        ring.busy = &self.state.count[POSITION]
        self.state.raw_fd = raw_fd
        self.state.resumed = resumed
        self.ring = ring
        self.engine = engine
        if engine is not None:
            self.state.engine = <void*>engine
            self.state.feed = <feed_function>engine_feed_record
            self.state.knows = <knows_function>engine_knows
            self.state.opens = <open_function>engine_open
        if raw_fd >= 0:
            self.state.block = <uint8_t*>malloc(BLOCK)
            if self.state.block == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.state.block)
        if self.ring is not None:
            self.ring.busy = NULL
        if self.page.obj is not None:
            PyBuffer_Release(&self.page)

    def consume(self, uint64_t budget=4096):
        """Feeds what waits, at most `budget` records. Answers OPENED, FULL and RAW_FAILED as bits, 0 when it ran dry or
        through its budget. After OPENED see `opened`; after FULL drain the engine before the next call."""
        cdef int stop
        with nogil:
            stop = self.ring.take(feed_one, &self.state, budget)
            if self.state.used and flush(&self.state) < 0:
                stop |= STOP_RAW_FAILED
        return stop & ~RECORD_STAYS

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
            point_of(c.head.flags),
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
        return self.state.count[RAW_ERROR]

    @property
    def records(self):
        return self.state.taken[RECORDS]

    @property
    def bytes(self):
        """Bytes of all records taken, headers included."""
        return self.state.taken[RECORD_BYTES]

    @property
    def payload(self):
        """Bytes of plaintext in them."""
        return self.state.taken[PAYLOAD]

    @property
    def raw_bytes(self):
        return self.state.count[RAW_BYTES]
