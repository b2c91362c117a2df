# SPDX-License-Identifier: Apache-2.0
"""Two stored runs of `make bench --benchmark-json=FILE`: which stage changed beyond noise.

Times of two runs are those of two moments of a machine. What the rivals took, whose code did not change, says by how
much the machine itself did; that is taken out before a stage is called slower or faster.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec

from oisp_bench.results import Change, beyond_noise
from oisp_bench.spread import Spread
from oisp_core.errors import ConfigError

__all__ = ["Stored", "changes", "read"]


class Extra(msgspec.Struct):
    count: int
    ours: bool


class Stats(msgspec.Struct):
    q1: float
    median: float
    q3: float


class Benchmark(msgspec.Struct):
    name: str
    group: str
    extra_info: Extra
    stats: Stats

    @property
    def ns(self) -> Spread:
        """A unit's."""
        s, per = self.stats, 1e9 / self.extra_info.count
        return Spread(s.q1 * per, s.median * per, s.q3 * per)


class Stored(msgspec.Struct):
    benchmarks: list[Benchmark]


def read(path: Path) -> Stored:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Stored)
    except OSError as error:
        raise ConfigError(path, message=f"cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(path, message=f"no result of oisp-bench or make bench: {error}") from None


def changes(before: Stored, after: Stored) -> tuple[float, list[Change]]:
    """How much slower the machine was in the second run, and the stages with times as if it had not been."""
    earlier = {one.name: one for one in before.benchmarks}
    pairs = [(earlier[one.name], one) for one in after.benchmarks if one.name in earlier]
    drift = statistics.median(
        [new.stats.median / old.stats.median for old, new in pairs if not new.extra_info.ours] or [1.0]
    )
    found = []
    for old, new in pairs:
        if not new.extra_info.ours:
            continue
        was, ns = old.ns, new.ns
        now = Spread(ns.low / drift, ns.middle / drift, ns.high / drift)
        found.append(Change(new.group, new.name.removeprefix(f"{new.group}: "), was, now, beyond_noise(now, was)))
    return drift, found
