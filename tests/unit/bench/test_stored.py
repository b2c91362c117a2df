# SPDX-License-Identifier: Apache-2.0
"""What the README says of speed is what the stored run says, and that run is of the cases that there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from oisp_bench import cases, instructions, report, results
from oisp_core.errors import OispError


@pytest.fixture(scope="module")
def run(repo_root: Path) -> results.Run:
    return results.read(repo_root / "benchmarks/result.json")


def test_the_readme_holds_the_table_of_the_stored_run(run: results.Run, repo_root: Path) -> None:
    """`oisp-bench readme benchmarks/result.json` prints it."""
    assert report.readme_table(run) in (repo_root / "README.md").read_text(encoding="utf-8")


def test_the_stored_run_is_of_a_wheel_and_of_these_cases(run: results.Run) -> None:
    known = {case.name: case.expected.digest for case in cases.select()}
    assert run.build.wheel, run.build.why
    assert {case.name: case.digest for case in run.cases} == known
    assert [case.name for case in run.cases if case.status != "right"] == []


def test_hot_stages_take_the_instructions_that_are_stored(repo_root: Path) -> None:
    """Within 3 %, for each compiler of which counts are stored; fewer is a reason to store them anew."""
    here = instructions.compiler()
    known = instructions.stored(repo_root / "benchmarks/instructions.json").get(here)
    if known is None:
        pytest.skip(f"no counts are stored for {here}: python -m oisp_bench.instructions --store")
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed: it counts the instructions")
    try:
        found = instructions.count()
    except OispError as error:
        pytest.skip(f"instructions cannot be counted here: {error}")
    moved = [
        f"{name}: {value:.0f}, stored {known.get(name, 0):.0f}"
        for name, value in found.items()
        if abs(value / known.get(name, 1) - 1) > instructions.TOLERANCE
    ]
    how = "if that is meant: python -m oisp_bench.instructions --store, and commit benchmarks/instructions.json"
    assert not moved, f"{'; '.join(moved)} ({how})"
