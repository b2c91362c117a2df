# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a probe's own cost runs, and what it says can be true. No figure is asserted."""

from __future__ import annotations

import pytest

from benchmarks.overhead import measure
from oisp_sensor.capture import kernel

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.usefixtures("require_bpf")]


def test_it_measures():
    if not kernel.filters_by_process():
        pytest.skip("not required: uprobe_multi of one process takes Linux 6.10")
    found = measure.measure(rounds=1, count=300, seconds=0.5)
    assert [call.size for call in found.calls] == list(measure.SIZES)
    assert all(0 < call.bare < call.empty for call in found.calls)
    assert set(found.consumer_ns) == set(measure.SIZES)
    assert found.megabytes_a_second > 0
    assert {process.name for process in found.processes} == {"loader", "worker", "helper"}
    assert all(process.resident >= process.proportional > 0 for process in found.processes)
    assert len(measure.lines(found)) > len(found.processes) + 5
