# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of `make bench` still run, and every candidate still gives the right answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_every_benchmark_has_the_right_answer(repo_root: Path) -> None:
    """Not timed. The drivers are compiled against the tree's headers."""
    pytest.importorskip("pytest_benchmark")
    if not (repo_root / "benchmarks" / "conftest.py").exists():
        pytest.skip("the benchmarks are not beside these tests")
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "--benchmark-disable", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:]
