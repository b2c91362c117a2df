# SPDX-License-Identifier: Apache-2.0
"""A process whose probes cost too much loses them, and goes on; whoever is below keeps them."""

from __future__ import annotations

import pytest

from oisp_sensor.capture import guard, messages
from tests.live.capture import targets
from tests.live.capture.harness import python, watch

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

# Writes for two seconds without a pause, then says how often it wrote in its first and its last quarter.
BUSY = targets.program(
    """
    client, server = memory_pair()
    counts = [0] * 4
    begin = time.monotonic()
    while (at := (time.monotonic() - begin) * 2) < 4:
        client.write(b"x" * 200); read_all(server, 200)
        counts[int(at)] += 1
    open(sys.argv[4], "w").write(f"{counts[0]} {counts[3]}")
    """
)
IDLE = targets.program(
    """
    client, server = memory_pair()
    for i in range(20):
        client.write(pattern(size)); read_all(server, size)
        time.sleep(0.1)
    """
)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(guard, "EVERY", 0.25)


WAYS = [{}, {"per_process": False}, {"variant": "basic"}]


@pytest.mark.parametrize("way", WAYS, ids=["process", "file", "basic"])
def test_a_busy_process_is_detached_and_goes_on(private_libssl, certificate, tmp_path, often, way):
    counts = tmp_path / "counts"
    run = watch(private_libssl, python(BUSY, *certificate, "200", str(counts)), **way)
    assert run.code == 0
    [told] = [m for m in run.told if isinstance(m, messages.Detached)]
    [pid] = {m.pid for m in run.processes("seen")}
    assert (told.pid, told.path) == (pid, str(private_libssl.libssl))
    assert told.shared == bool(way)
    assert told.share > 0.05
    assert told.traps > 100
    assert run.report.detached == 1
    first, last = map(int, counts.read_text().split())
    assert last > first  # nothing holds it up any more
    # What was captured until then is whole, and the account of its end says no more than that. (The basic programs say
    # nothing of handles that end with their process.)
    [client] = run.clients
    assert client.closed in ((len(client.written), 0, 0, 0), None if "variant" in way else ())
    assert 0 < len(client.written) < 200 * (first + last) * 4


def test_a_quiet_process_keeps_its_probes(private_libssl, certificate, often):
    run = watch(private_libssl, python(IDLE, *certificate))
    assert run.report.detached == 0
    assert [len(c.written) for c in run.clients] == [20 * 200]


def test_without_a_limit_nothing_is_counted(private_libssl, certificate, tmp_path, often):
    run = watch(private_libssl, python(BUSY, *certificate, "200", str(tmp_path / "counts")), max_overhead=0)
    assert run.report.detached == 0
    assert not [m for m in run.told if isinstance(m, messages.Detached)]
