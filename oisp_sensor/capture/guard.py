# SPDX-License-Identifier: Apache-2.0
"""What the probes cost each process, and when that is too much.

The kernel programs count their runs and the time in them, for every process that hits a probe, in scope or not. The
traps around them are no part of that time and cost more than most programs do, on some machines ten times more: what
one costs is measured here when it first matters, on a function of our own. A process that spends more than its share of
a core in two looks in a row is named; what is detached then is the capture's business.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from oisp_sensor.capture import kernel, program, trap

EVERY = 1.0  # seconds between two looks
TRIALS = 64
FALLBACK_NS = 2_000  # where it cannot be measured: what a trap costs a process on hardware, and some more
_MOST_NS = 20_000  # more than any machine was seen to take: below that nothing needs to be measured


@dataclass(frozen=True)
class Excess:
    """A process whose probes cost too much: `share` of a core over the last look, and how many traps a second."""

    pid: int
    share: float
    traps: int


class Guard:
    """`limit`: a share of one core; `measure` answers what a trap costs. Used by the loader's thread; a look costs a
    walk over the processes that trap."""

    def __init__(self, costs: kernel.Map, limit: float, measure: Callable[[], int]) -> None:
        self._costs = costs
        self._limit = limit
        self._measure = measure
        self._trap_ns = 0  # not measured yet
        self._at = time.monotonic()
        self._before: dict[int, tuple[int, int]] = {}
        self._warned: set[int] = set()

    def look(self, now: float | None = None) -> list[Excess]:
        """Empty between the looks, and nearly always."""
        now = time.monotonic() if now is None else now
        seconds = now - self._at
        if seconds < EVERY:
            return []
        self._at = now
        seen, found, warned = dict(self._read()), [], set()
        for pid, (traps, ns) in seen.items():
            traps_before, ns_before = self._before.get(pid, (0, 0))
            if traps < traps_before:  # another process by that number
                traps_before = ns_before = 0
            more = traps - traps_before
            share = self._share(more, ns - ns_before, seconds)
            if share <= self._limit:
                continue
            if pid in self._warned:
                found.append(Excess(pid, share, round(more / seconds)))
            else:
                warned.add(pid)
        self._before, self._warned = seen, warned
        return found

    def _share(self, traps: int, ns: int, seconds: float) -> float:
        if not self._trap_ns:
            most = (traps * _MOST_NS + ns) / (seconds * 1e9)
            if most <= self._limit:
                return most
            self._trap_ns = max(self._measure(), 1)
        return (traps * self._trap_ns + ns) / (seconds * 1e9)

    def _read(self) -> Iterable[tuple[int, tuple[int, int]]]:
        for key in self._costs.all_keys():
            value = self._costs.get(key)
            if value is not None:
                yield int.from_bytes(key, "little"), program.COST.unpack(value)


def measure_trap(attach: Callable[[int, int], Callable[[], None]]) -> int | None:
    """Nanoseconds that a probe costs a process, on this machine: of a function of our own, in this process; None where
    that cannot be tried. `attach(file, offset)` plants a probe there and answers what takes it away."""
    try:
        fd, offset = _own_function()
    except OSError:
        return None
    try:
        bare = trap.run(TRIALS)
        detach = attach(fd, offset)
        probed = trap.run(TRIALS)
        detach()
    except OSError:
        return None
    finally:
        os.close(fd)
    return max(probed - bare, 0) // TRIALS


def _own_function() -> tuple[int, int]:
    """The file that holds trap.run()'s function, and where in it."""
    address = trap.address()
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(None, 5)
        start, _, end = fields[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            fd = os.open(f"/proc/self/map_files/{fields[0]}", os.O_RDONLY | os.O_CLOEXEC)
            return fd, address - int(start, 16) + int(fields[2], 16)
    raise OSError(2, os.strerror(2), "own mapping")
