# SPDX-License-Identifier: Apache-2.0
"""The ring reader over a file that is laid out as the kernel lays a ring out."""

from __future__ import annotations

import mmap
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_sensor.capture.ringbuf import RingBuffer

PAGE = mmap.PAGESIZE
SIZE = PAGE
BUSY, DISCARD = 1 << 31, 1 << 30


class Ring:
    """The kernel's side: consumer page, producer page, and the data twice, so that a record never wraps."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring", os.MFD_CLOEXEC)
        os.truncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.map = mmap.mmap(self.fd, 2 * PAGE + 2 * SIZE)
        self.end = 0

    def put(self, body: bytes, length: int | None = None, flags: int = 0) -> None:
        whole = struct.pack("<II", (len(body) if length is None else length) | flags, 0) + body
        whole += bytes(-len(whole) % 8)
        for i, byte in enumerate(whole):
            at = (self.end + i) % SIZE
            self.map[2 * PAGE + at] = self.map[2 * PAGE + SIZE + at] = byte
        self.end += len(whole)
        struct.pack_into("<Q", self.map, PAGE, self.end)

    def commit(self, at: int, length: int) -> None:
        for base in (2 * PAGE, 2 * PAGE + SIZE):
            struct.pack_into("<I", self.map, base + at % SIZE, length)

    @property
    def consumed(self) -> int:
        return struct.unpack_from("<Q", self.map)[0]

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


@pytest.fixture
def ring():
    made = Ring()
    yield made
    made.close()


def record(kind: int, body: bytes = b"") -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", 8 + len(body), kind, 0) + body


def test_records_come_in_order_and_free_their_room(ring):
    reader = RingBuffer(ring.fd, SIZE)
    assert (reader.pending, reader.records()) == (0, [])
    for n in range(300):  # several times round
        ring.put(record(n, bytes([n % 251]) * (n % 40)))
        assert reader.pending > 0
        assert reader.records() == [record(n, bytes([n % 251]) * (n % 40))]
        assert ring.consumed == ring.end
    assert reader.malformed == 0


def test_a_reservation_that_is_longer_than_its_record(ring):
    """Size classes: the record says how much of its reservation it uses."""
    ring.put(record(1, b"abc") + b"what the ring held before" + bytes(100))
    ring.put(record(2))
    assert RingBuffer(ring.fd, SIZE).records() == [record(1, b"abc"), record(2)]


def test_a_busy_record_holds_those_behind_it(ring):
    reader = RingBuffer(ring.fd, SIZE)
    ring.put(record(1))
    at = ring.end
    ring.put(record(2), flags=BUSY)
    ring.put(record(3))
    assert reader.records() == [record(1)]
    assert reader.records() == []
    ring.commit(at, 8)
    assert reader.records() == [record(2), record(3)]


def test_discarded_records_are_passed_over(ring):
    ring.put(record(1), flags=DISCARD)
    ring.put(record(2))
    assert RingBuffer(ring.fd, SIZE).records() == [record(2)]
    assert ring.consumed == ring.end


def test_a_limit_leaves_the_rest(ring):
    for n in range(5):
        ring.put(record(n))
    reader = RingBuffer(ring.fd, SIZE)
    assert reader.records(2) == [record(0), record(1)]
    assert reader.records() == [record(2), record(3), record(4)]


@pytest.mark.parametrize("body", [b"", b"1234567", struct.pack("<IHH", 7, 1, 0), struct.pack("<IHH", 16, 1, 0)])
def test_a_record_that_does_not_fit_its_reservation_is_counted(ring, body):
    ring.put(body)
    ring.put(record(2))
    reader = RingBuffer(ring.fd, SIZE)
    assert reader.records() == [record(2)]
    assert reader.malformed == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from([0, 0, 0, DISCARD])), max_size=20))
def test_what_is_well_formed_comes_out_and_the_rest_is_counted(items):
    ring = Ring()
    expected, malformed = [], 0
    for body, flags in items:
        ring.put(body, flags=flags)
        size = struct.unpack_from("<I", body)[0] if len(body) >= 8 else 0
        if not flags:
            good = 8 <= size <= len(body)
            malformed += not good
            expected += [body[:size]] if good else []
    reader = RingBuffer(ring.fd, SIZE)
    assert (reader.records(), reader.malformed) == (expected, malformed)
    assert ring.consumed == ring.end
    reader.close()
    ring.close()


@pytest.mark.parametrize("size", [0, 100, PAGE // 2, 3 * PAGE])
def test_a_size_that_no_ring_has(ring, size):
    with pytest.raises(ValueError, match="power of two"):
        RingBuffer(ring.fd, size)


def test_a_closed_reader_is_dry(ring):
    ring.put(record(1))
    reader = RingBuffer(ring.fd, SIZE)
    reader.close()
    reader.close()
    assert (reader.pending, reader.records()) == (0, [])


def test_a_descriptor_that_is_no_ring(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="cannot be mapped"):
        RingBuffer(fd, SIZE)
    os.close(fd)
