# SPDX-License-Identifier: Apache-2.0
"""The consumer without the GIL: the recording holds what left the ring, and Python is asked where it must be."""

from __future__ import annotations

import os
import struct

import pytest

from oisp_core.engine import Engine
from oisp_core.errors import RecordingError
from oisp_sensor.capture import Capture, Scope, recording
from oisp_sensor.capture.feed import OPENED, RAW_FAILED, Feed
from oisp_sensor.capture.recording import Recording
from oisp_sensor.capture.ringbuf import RingBuffer
from tests.live.capture import targets
from tests.live.capture.harness import python
from tests.live.capture.records import streams
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]


@pytest.fixture
def flooded(private_libssl, certificate):
    """A capture whose command has ended, with its records still in the ring."""
    with Capture(Scope.command(), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        child = capture.spawn(python(targets.SOCKETS, *certificate, "300000"), env=private_libssl.env)
        assert child.wait() == 0
        yield capture, ring, child.pid
        ring.close()


def test_the_recording_is_the_ring(flooded, tmp_path):
    _, ring, pid = flooded
    path = tmp_path / "recording"
    fd = recording.create(path, {"host": "here"})
    feed = Feed(ring, Engine(), fd)
    opened = []
    while ring.pending:
        stop = feed.consume(10)
        if stop & OPENED:
            opened.append(feed.opened)
            feed.keep_context(feed.opened.conn, b'"host":{"name":"x"}')
    os.close(fd)
    with Recording(path) as found:
        records = [bytes(r) for r in found]
    contexts = [r for r in records if r[4] == 7]
    assert [struct.unpack_from("<Q", r, 8)[0] for r in contexts] == [o.conn for o in opened]
    assert all(r[24:43] == b'"host":{"name":"x"}' for r in contexts)
    assert len(records) - len(contexts) == feed.records
    assert sum(map(len, records)) == feed.bytes + sum(map(len, contexts))
    assert {(o.pid, o.uid, o.midway) for o in opened} == {(pid, os.getuid(), False)}
    client = next(s for s in streams([r for r in records if r[4] != 7]).values() if not s.server)
    assert (bytes(client.written), bytes(client.read)) == (pattern(300000), pattern(300000, 3))


def test_the_engine_gets_every_record(flooded):
    _, ring, _ = flooded
    engine = Engine()
    feed = Feed(ring, engine)
    while ring.pending:
        feed.consume()
    assert engine.stats()["records"] == feed.records > 30


def test_without_an_engine_it_only_records(flooded, tmp_path):
    _, ring, _ = flooded
    fd = recording.create(tmp_path / "recording", {})
    feed = Feed(ring, None, fd)
    while ring.pending:
        feed.consume()
    os.close(fd)
    assert (tmp_path / "recording").stat().st_size == feed.raw_bytes + 40


def test_a_full_disk_is_said_once_and_ends_only_the_recording(flooded):
    _, ring, _ = flooded
    fd = os.open("/dev/full", os.O_WRONLY)
    feed = Feed(ring, None, fd)
    stops = []
    while ring.pending:
        stops.append(feed.consume())
    os.close(fd)
    assert sum(bool(s & RAW_FAILED) for s in stops) == 1
    assert os.strerror(feed.raw_error) == "No space left on device"
    assert feed.records > 30


def test_only_an_engine_is_fed(flooded):
    _, ring, _ = flooded
    with pytest.raises(TypeError, match=r"oisp_core\.Engine is fed, not dict"):
        Feed(ring, {})


def test_a_recording_cut_anywhere_is_read_up_to_there(flooded, tmp_path):
    _, ring, _ = flooded
    path = tmp_path / "recording"
    fd = recording.create(path, {})
    feed = Feed(ring, None, fd)
    while ring.pending:
        feed.consume()
    os.close(fd)
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2 + 3, 100):
        path.write_bytes(whole[:cut])
        sizes: list[int] = []
        with Recording(path) as found:
            with pytest.raises(RecordingError) as caught:
                sizes.extend(map(len, found))
            assert caught.value.offset == found.header_size + sum(sizes)
        assert sum(sizes) > cut - 17000
