# SPDX-License-Identifier: Apache-2.0
"""OISP_REQUIRE_BPF=1: what cannot be tested of capture is a failure, whatever the test itself would do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
from tests.conftest import unavailable

@pytest.mark.live
def test_of_capture():
    pytest.skip("no compiler")

def test_of_something_else():
    pytest.skip("not here")

@pytest.mark.live
def test_that_asks_for_a_rare_tool():
    unavailable("no such compiler", required=False)

@pytest.mark.live
@pytest.mark.xfail(reason="known")
def test_that_is_known_to_fail():
    raise ValueError
"""


@pytest.mark.parametrize(
    ("required", "counts"), [("1", "1 failed, 2 skipped, 1 xfailed"), ("", "3 skipped, 1 xfailed")]
)
def test_a_test_of_capture_that_cannot_run_fails(tmp_path: Path, repo_root: Path, required: str, counts: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = live: of capture\n full: long\n")
    env = {**os.environ, "OISP_REQUIRE_BPF": required, "PYTHONPATH": os.pathsep.join(["", *sys.path, str(repo_root)])}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert counts in done.stdout, done.stdout + done.stderr
