# SPDX-License-Identifier: Apache-2.0
"""What the worker's verdicts spare, and what killed targets leave behind."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from oisp_sensor.capture import Capture, Scope
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.verdicts import VerdictTable, slot_of
from tests.live.capture import targets
from tests.live.capture.harness import python
from tests.live.capture.records import streams
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]
CALLS, SIZE = 50, 5000

STEPS = targets.program(
    """
    steps = sys.argv[4]
    client, server = memory_pair()
    for step in range(3):
        for i in range(50):
            client.write(pattern(size, step)); read_all(server, size)
        open(f"{steps}/done{step}", "w").close()
        while not os.path.exists(f"{steps}/go{step}"):
            time.sleep(0.005)
    """
)


def wait_for(path: Path, capture: Capture) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        capture.poll(0.005)


@pytest.mark.parametrize("variant", ["modern", "basic"])
@pytest.mark.parametrize(("level", "kept"), [("nothing", 0), ("head", 1024)])
def test_what_a_verdict_leaves_out_is_spared_not_lost(private_libssl, certificate, tmp_path, level, kept, variant):
    with Capture(Scope.command(), libraries=[private_libssl.libssl], variant=variant) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        table = VerdictTable(capture.verdicts_fd)
        child = capture.spawn(python(STEPS, *certificate, str(SIZE), str(tmp_path)), env=private_libssl.env)
        wait_for(tmp_path / "done0", capture)
        first = ring.records()
        for conn in streams(first):
            table.set(conn, level)
        (tmp_path / "go0").touch()
        wait_for(tmp_path / "done1", capture)
        second = ring.records()
        spared = capture.spared()
        for conn in streams(first):
            table.clear(conn)
        (tmp_path / "go1").touch()
        wait_for(tmp_path / "done2", capture)
        (tmp_path / "go2").touch()
        assert child.wait() == 0
        capture.poll()
        records = first + second + ring.records()
        losses = capture.losses()
        assert capture.spared() == spared
        table.close()
        ring.close()
    assert not any(loss.records for loss in losses.values())
    copied = [struct.unpack_from("<I", r, 76)[0] for r in second if r[4] == 1]
    assert copied == ([kept] * (2 * CALLS) if kept else [])
    assert all(struct.unpack_from("<H", r, 6)[0] & 4 for r in second if r[4] == 1)
    left = CALLS * (SIZE - kept)
    assert (spared[level].calls, spared[level].written, spared[level].read) == (2 * CALLS, left, left)
    whole = pattern(SIZE, 0) * CALLS + (pattern(SIZE, 1)[:kept].ljust(SIZE, b"\0")) * CALLS + pattern(SIZE, 2) * CALLS
    [client] = [s for s in streams(records).values() if not s.server]
    [server] = [s for s in streams(records).values() if s.server]
    assert bytes(client.written) == bytes(server.read) == whole
    assert client.missing[0] == left
    assert client.closed == (3 * CALLS * SIZE, 0, 0, 0)


def test_a_verdict_for_another_connection_of_the_slot_is_none(private_libssl, certificate, tmp_path):
    with Capture(Scope.command(), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        table = VerdictTable(capture.verdicts_fd)
        for conn in range(1, 9):  # ids count from 1
            other = next(n for n in range(70_000, 1 << 20) if slot_of(n) == slot_of(conn))
            table.set(other, "nothing")
        child = capture.spawn(python(targets.MEMORY, *certificate), env=private_libssl.env)
        assert child.wait() == 0
        found = streams(ring.records())
        table.close()
        ring.close()
    assert sorted(bytes(s.written) for s in found.values()) == [b"", pattern(200)]


KILLED = int(os.environ.get("OISP_KILLED_TARGETS", "500"))


@pytest.mark.parametrize(("variant", "count"), [("modern", KILLED), ("basic", 40)])
def test_targets_killed_in_a_call_leave_nothing(private_libssl, certificate, tmp_path, variant, count):
    """Each kills itself inside SSL_read, with its handles in use. Handles, calls and members go with their process."""
    source = Path(__file__).with_name("client.c")
    program = tmp_path / "client"
    subprocess.run(["gcc", "-O1", "-o", str(program), str(source), "-lssl", "-lcrypto"], check=True)
    script = (
        'n=0; while [ $n -lt "$1" ]; do "$2" hang "$3" "$4" 100 & n=$((n + 1)); [ $((n % 20)) = 0 ] && wait; done; wait'
    )
    options = {"libraries": [private_libssl.libssl], "per_process": False, "variant": variant}
    with Capture(Scope.command(), **options) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        command = ["/bin/sh", "-c", script, "sh", str(count), str(program), *certificate]
        child = capture.spawn(command, env=private_libssl.env)
        opened: set[int] = set()
        while child.poll() is None:
            capture.poll(0.02)
            opened |= set(streams_opened(ring))
        capture.poll()
        opened |= set(streams_opened(ring))
        programs = capture._programs
        assert [len(t.all_keys()) for t in (programs.conns, programs.threads, programs.goroutines)] == [0, 0, 0]
        assert capture.members() == []
        ring.close()
    assert len(opened) == count


def streams_opened(ring: RingBuffer) -> list[int]:
    """Processes whose connections were opened, of what waits."""
    return [struct.unpack_from("<I", r, 40)[0] for r in ring.records() if r[4] == 2]
