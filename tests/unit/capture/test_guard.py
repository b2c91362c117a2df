# SPDX-License-Identifier: Apache-2.0
"""The guard's arithmetic: who is named, and when. What the kernel programs count is a table of the test's own here."""

from __future__ import annotations

import os

import pytest

from oisp_sensor.capture import guard, program, trap

TRAP_NS = 5_000


class Costs:
    def __init__(self) -> None:
        self.table: dict[int, tuple[int, int]] = {}

    def all_keys(self) -> list[bytes]:
        return [pid.to_bytes(4, "little") for pid in self.table]

    def get(self, key: bytes) -> bytes | None:
        found = self.table.get(int.from_bytes(key, "little"))
        return None if found is None else program.COST.pack(*found)

    def add(self, pid: int, traps: int, ns: int) -> None:
        before = self.table.get(pid, (0, 0))
        self.table[pid] = (before[0] + traps, before[1] + ns)


class Clock:
    def __init__(self, limit: float) -> None:
        self.costs = Costs()
        self.measured = 0
        self.guard = guard.Guard(self.costs, limit, self._measure)
        self.now = self.guard._at

    def _measure(self) -> int:
        self.measured += 1
        return TRAP_NS

    def second(self, *spent: tuple[int, int, int]) -> list[guard.Excess]:
        for one in spent:
            self.costs.add(*one)
        self.now += 1.0
        return self.guard.look(self.now)


def test_a_process_is_named_in_the_second_look_above_the_limit():
    clock = Clock(0.05)
    busy = (7, 10_000, 10_000_000)  # 50 ms of traps and 10 ms of programs: 6 % of a core
    assert clock.second(busy, (8, 100, 100_000)) == []
    [found] = clock.second(busy, (8, 100, 100_000))
    assert (found.pid, found.traps) == (7, 10_000)
    assert found.share == pytest.approx(0.06)


def test_a_burst_is_forgiven():
    clock = Clock(0.05)
    for _ in range(5):
        assert clock.second((7, 20_000, 0)) == []
        assert clock.second((7, 10, 0)) == []


@pytest.mark.parametrize(("traps", "named"), [(9_900, False), (10_100, True)])
def test_the_limit_is_where_it_is(traps, named):
    clock = Clock(0.05)
    clock.second((7, traps, 0))
    assert bool(clock.second((7, traps, 0))) == named


def test_between_two_looks_there_is_no_answer():
    clock = Clock(0.05)
    clock.second((7, 90_000, 0))
    clock.costs.add(7, 90_000, 0)
    assert clock.guard.look(clock.now + 0.5) == []


def test_a_trap_is_measured_when_it_first_matters_and_once():
    clock = Clock(0.05)
    clock.second((7, 100, 0))
    assert clock.measured == 0
    for _ in range(3):
        clock.second((7, 4_000, 0))
    assert clock.measured == 1


def test_a_number_that_comes_again_begins_anew():
    clock = Clock(0.05)
    clock.second((7, 12_000, 0))
    clock.costs.table[7] = (3, 0)  # another process
    assert clock.second() == []
    assert clock.second((7, 100, 0)) == []


def test_the_function_that_is_probed_for_it_is_in_a_file_of_our_own():
    fd, offset = guard._own_function()
    assert offset > 0
    assert len(os.pread(fd, 4, offset)) == 4
    os.close(fd)
    assert 0 < trap.run(10) < 10**9
