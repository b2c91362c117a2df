# SPDX-License-Identifier: Apache-2.0
"""oisp-bench with a sensor that captures: `record` makes a corpus, `live` says what capture costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.sensor.conftest import Bench

pytestmark = pytest.mark.live


def run(bench: Bench, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oisp_bench", *words],
        cwd=bench.folder,
        env=bench.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def test_a_recorded_command_is_a_corpus(bench: Bench) -> None:
    corpus = bench.folder / "mine.oisp"
    done = run(bench, "record", "--out", str(corpus), *bench.library, "--", *bench.client(), timeout=60)
    assert done.returncode == 0, done.stderr
    assert "mine.oisp" in done.stdout
    stored = bench.folder / "run.json"
    words = ["run", "--corpus", str(corpus), "--rounds", "1", "--json", str(stored)]
    done = run(bench, *words, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(stored.read_text())["cases"]
    assert case["status"] == "right"
    assert case["events"]["ai.request"] == case["events"]["ai.response"] == 1


@pytest.mark.full
def test_what_capture_costs_is_measured_with_and_without(bench: Bench) -> None:
    stored: Path = bench.folder / "live.json"
    done = run(bench, "live", "--rounds", "1", "--json", str(stored), timeout=240)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(stored.read_text())["rows"]}
    watched = rows["delta of 200 B, write and read"]
    assert watched["added"]["middle"] > 0  # a trap is never free
    assert rows["200 B, process out of scope"]["added"]["middle"] < watched["added"]["middle"] / 2
    assert {row["group"] for row in rows.values()} == {"tls", "activity"}
