# SPDX-License-Identifier: Apache-2.0
"""The reading side of a BPF ring buffer, mapped from its descriptor: no libbpf, no privilege after the mapping.

One reader per ring. The consumer position moves after each record that was handled, so that it names the record that a
reader died of. Waiting is poll(2) on the descriptor; the programs wake a reader when a quarter is full, so a reader
also looks after WAIT_MS by itself.
"""
import select

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport _SC_PAGESIZE, sysconf

from oisp_core.types cimport OISP_RECORD_DATA, oisp_record, oisp_record_data

WAIT_MS = 50

cdef extern from *:
    """
    #include <stdint.h>
    #define RING_BUSY (1U << 31)
    #define RING_DISCARD (1U << 30)
    static inline uint64_t ring_load64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline uint32_t ring_load32(const void *at) {
        return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
    }
    static inline void ring_store64(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
    """
    const uint32_t RING_BUSY
    const uint32_t RING_DISCARD
    uint64_t ring_load64(const uint64_t* at) noexcept nogil
    uint32_t ring_load32(const void* at) noexcept nogil
    void ring_store64(uint64_t* at, uint64_t value) noexcept nogil


cdef class RingBuffer:
    """Maps the ring behind `fd` (borrowed) of `size` data bytes: a power of two, multiple of the page size."""

    def __cinit__(self, int fd, size_t size):
        cdef size_t page = sysconf(_SC_PAGESIZE)
        if size < page or size & (size - 1):
            raise ValueError(f"a ring has a power of two of bytes, at least {page}: not {size}")
        self.fd = fd
        self.size = size
        self.consumer_page = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if self.consumer_page == MAP_FAILED:
            self.consumer_page = NULL
            raise OSError(errno, "the ring's consumer page cannot be mapped")
        self.producer_page = mmap(NULL, page + 2 * size, PROT_READ, MAP_SHARED, fd, page)
        if self.producer_page == MAP_FAILED:
            self.producer_page = NULL
            raise OSError(errno, "the ring's data cannot be mapped")
        self.consumer = <uint64_t*>self.consumer_page
        self.producer = <uint64_t*>self.producer_page
        self.data = <const uint8_t*>self.producer_page + page

    def __dealloc__(self):
        self.unmap()

    cdef void unmap(self) noexcept:
        cdef size_t page = sysconf(_SC_PAGESIZE)
        if self.consumer_page != NULL:
            munmap(self.consumer_page, page)
        if self.producer_page != NULL:
            munmap(self.producer_page, page + 2 * self.size)
        self.consumer_page = self.producer_page = NULL
        self.consumer = self.producer = NULL
        self.data = NULL

    def close(self):
        """Unmaps. The descriptor belongs to the caller."""
        self.unmap()

    @property
    def pending(self):
        """Bytes that wait, headers included."""
        if self.data == NULL:
            return 0
        return ring_load64(self.producer) - ring_load64(self.consumer)

    def wait(self, timeout_ms=WAIT_MS):
        """True when something waits; else sleeps until the programs wake it, at most timeout_ms milliseconds."""
        if self.pending:
            return True
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.poll(timeout_ms)
        return self.pending > 0

    cdef int take(self, record_sink sink, void* context, uint64_t budget) noexcept nogil:
        cdef uint64_t at, end, step
        cdef uint32_t length
        cdef const uint8_t* head
        cdef const oisp_record* record
        cdef int answer = 0
        if self.data == NULL:
            return 0
        at = ring_load64(self.consumer)
        end = ring_load64(self.producer)
        while at < end and budget > 0:
            head = self.data + (at & (self.size - 1))
            length = ring_load32(head)
            if length & RING_BUSY:
                break
            if self.busy != NULL:
                ring_store64(self.busy, at)
            step = ((length & ~RING_DISCARD) + 8 + 7) & ~<uint64_t>7
            if not length & RING_DISCARD:
                record = <const oisp_record*>(head + 8)
                if length < sizeof(oisp_record) or record.size < sizeof(oisp_record) or record.size > length:
                    self.malformed += 1
                else:
                    answer = sink(context, record)
            if answer & RECORD_STAYS:
                if self.busy != NULL:
                    ring_store64(self.busy, UINT64_MAX)
                return answer
            at += step
            budget -= 1
            ring_store64(self.consumer, at)
            if answer:
                return answer
            if at == end:
                end = ring_load64(self.producer)
        return 0

    def skip(self):
        """Passes over the record that a reader died of. Answers its size and the bytes of plaintext in it, zeros where
        none is there."""
        cdef uint64_t at
        cdef uint32_t length
        cdef const oisp_record_data* record
        if self.data == NULL:
            return 0, 0
        at = ring_load64(self.consumer)
        if at >= ring_load64(self.producer):
            return 0, 0
        record = <const oisp_record_data*>(self.data + (at & (self.size - 1)) + 8)
        length = ring_load32(self.data + (at & (self.size - 1)))
        if length & RING_BUSY:
            return 0, 0
        length &= ~RING_DISCARD
        ring_store64(self.consumer, at + ((length + 8 + 7) & ~<uint64_t>7))
        if length < sizeof(oisp_record):
            return length, 0
        size = min(length, record.head.size)
        return size, record.captured if size >= sizeof(oisp_record_data) and record.head.kind == OISP_RECORD_DATA else 0

    @property
    def position(self):
        """Where reading stands: of the next record."""
        return 0 if self.consumer == NULL else ring_load64(self.consumer)

    def records(self, uint64_t limit=65536):
        """What waits, as one bytes object per record, at most `limit`. For the control ring and for tests."""
        found = []
        self.take(collect_one, <void*>found, limit)
        return found


cdef int collect_one(void* context, const oisp_record* record) noexcept nogil:
    with gil:
        (<list>context).append(PyBytes_FromStringAndSize(<const char*>record, record.size))
    return 0
