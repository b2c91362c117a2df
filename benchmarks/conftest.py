# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every parser and stage under pytest-benchmark, beside what else does the same job.

CPU time of the thread, garbage collector off, after a warm-up. `--benchmark-json=FILE` stores a run, and `oisp-bench
compare` tells two of them apart beyond noise. A candidate whose answer is not the right one fails before it is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from benchmarks.drive import build
from benchmarks.rivals import llhttp_sources

OURS = "oisp"
ROUNDS = 15
_rows: list[tuple[str, str, str, float, float, float, float]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.option.benchmark_quiet = True  # the table below says more in less space


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    how = pytest.mark.benchmark(
        timer=time.thread_time, disable_gc=True, warmup=True, warmup_iterations=3, min_rounds=ROUNDS, max_time=0.4
    )
    for item in items:
        item.add_marker(how)


@pytest.fixture(scope="session")
def drivers() -> Callable[[str], ModuleType]:
    """Drivers in C, compiled when they are first asked for."""
    made: dict[str, ModuleType] = {}

    def get(name: str) -> ModuleType:
        if name not in made:
            made[name] = build(name, *llhttp_sources()) if name == "drive_llhttp" else build(name)
        return made[name]

    return get


@pytest.fixture
def stage(benchmark: Any) -> Callable[..., None]:
    """Measures one candidate of a group: `stage(group, name, work, size=bytes, unit="event", count=n, wanted=...)`.

    `answer` turns what the work gives into what can be compared; `before` runs before each round, not timed.
    """

    def measure(
        group: str,
        name: str,
        work: Callable[[], Any],
        *,
        size: int,
        unit: str,
        count: int,
        wanted: Any = None,
        answer: Callable[[Any], Any] = lambda given: given,
        before: Callable[[], object] | None = None,
    ) -> None:
        given = answer(work())
        assert wanted is None or given == wanted, f"{name} answers {given!r}, expected {wanted!r}"
        benchmark.group, benchmark.name = group, f"{group}: {name}"
        benchmark.extra_info.update(unit=unit, count=count, bytes=size, ours=name.startswith(OURS))
        if before is None:
            benchmark(work)
        else:
            benchmark.pedantic(work, setup=lambda: (before(), None)[1], rounds=ROUNDS, warmup_rounds=2)
        if benchmark.stats is not None:  # None under --benchmark-disable
            s = benchmark.stats.stats
            _rows.append((group, name, unit, s.q1 / count, s.median / count, s.q3 / count, size / s.median / 1e6))

    return measure


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _rows:
        return
    terminalreporter.section("nanoseconds a unit (quartiles), and how many times as fast ours is")
    ours = {group: middle for group, name, _, _, middle, _, _ in _rows if name == OURS}
    last = ""
    for group, name, unit, low, middle, high, rate in _rows:
        if group != last:
            terminalreporter.line(f"\n{group}, ns a {unit}")
            last = group
        times = f"{middle / ours[group]:7.2f} x" if group in ours and name != OURS else ""
        spread = f"({low * 1e9:,.1f} to {high * 1e9:,.1f})"
        terminalreporter.line(f"  {name:34} {middle * 1e9:12,.1f} {spread:28} {rate:9,.0f} MB/s {times}")
