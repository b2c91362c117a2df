# SPDX-License-Identifier: Apache-2.0
"""What the parser benchmarks share: building a driver against the built core, timing fairly, printing ratios.

A driver is a Cython file beside this one that runs a parser over segments without a Python object per token. All
candidates of a table run in one process, interleaved round by round; time is this thread's CPU time; the ratio is the
median of the rounds' ratios. Before anything is timed, every candidate's answer is compared with the first one's.
"""

from __future__ import annotations

import gc
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def build(name: str, sources: Sequence[Path] = (), includes: Sequence[Path] = ()) -> ModuleType:
    """Compile benchmarks/<name>.pyx (with C files beside it) into build/bench and import it."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    target = ROOT / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    extension = Extension(
        name,
        [str(ROOT / "benchmarks" / f"{name}.pyx"), *map(str, sources)],
        include_dirs=[str(ROOT / "oisp_core" / "include"), *map(str, includes)],
        extra_compile_args=["-std=gnu11", "-O3", "-g0", "-DNDEBUG"],
    )
    modules = cythonize([extension], build_dir=str(target), include_path=[str(ROOT)], quiet=True, language_level=3)
    distribution = Distribution({"ext_modules": modules})
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(target), str(target / "temp")
    distribution.run_command("build_ext")
    spec = importlib.util.spec_from_file_location(name, command.get_ext_fullpath(name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TIMES = 8
"""How often a candidate reads the same stream in one run: once would measure how cold the other one left the caches."""


def repeated(run: Callable[[], Any]) -> Callable[[], Any]:
    """TIMES runs in one. What each but the last gave is thrown away at once: kept, it would cost who makes objects more
    memory than a stream needs."""

    def runs() -> Any:
        for _ in range(TIMES - 1):
            run()
        return run()

    return runs


def compare(
    title: str,
    candidates: dict[str, Callable[[], Any]],
    size: int,
    *,
    rounds: int = 11,
    units: tuple[str, int],
    answers: dict[str, Callable[[Any], Any]] | None = None,
) -> None:
    """Print one table. The last candidate is ours; ratios are its speed over the others'.

    `answers` turns what a candidate gives into what can be compared, where that is not the same; it is not timed.
    """
    views = answers or {}
    given = {name: views.get(name, lambda x: x)(run()) for name, run in candidates.items()}
    first = next(iter(given.values()))
    for name, answer in given.items():
        if answer != first:
            sys.exit(f"{title}: {name} answers {answer!r}, the first candidate {first!r}; nothing is timed")
    times: dict[str, list[int]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, run in candidates.items():
            begin = time.thread_time_ns()
            run()
            times[name].append(time.thread_time_ns() - begin)
    gc.enable()
    unit, count = units
    ours = list(candidates)[-1]
    print(f"\n{title} ({size / 1e6:.1f} MB, {count} {unit}s)")
    for name, spent in times.items():
        middle = statistics.median(spent)
        ratios = sorted(t / o for t, o in zip(spent, times[ours], strict=True))
        quartiles = f"({ratios[len(ratios) // 4]:.2f}..{ratios[-1 - len(ratios) // 4]:.2f})"
        ratio = "" if name == ours else f"  ours is {statistics.median(ratios):6.2f} times as fast {quartiles}"
        print(f"  {name:34} {size * 1e3 / middle:9.0f} MB/s {middle / count:9.1f} ns/{unit}{ratio}")
