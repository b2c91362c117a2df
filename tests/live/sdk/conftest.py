# SPDX-License-Identifier: Apache-2.0
"""Capture one target process through `oisp-sensor record`, as a user would, with the double on the other side.

Each target runs on private copies of the TLS libraries, and only those carry probes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oisp_sensor.demo.double import Double, running
from tests.live.sdk.support import KEYS, Captured, sensor


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("double"), seed=7) as started:
        yield started


@pytest.fixture(scope="session")
def sensor_environment(double: Double, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, **double.env, **KEYS, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def capture(
    require_bpf: None,
    double: Double,
    new_private_libssl: Callable[..., Any],
    sensor_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Captured]:
    """`capture(command, exchanges=n, options=..., program=path)`: run it captured, return what came of it."""

    def run(
        command: list[str],
        *,
        exchanges: int,
        options: tuple[str, ...] = ("--content", "full"),
        program: str | None = None,
        extra: dict[str, str] | None = None,
    ) -> Captured:
        private = new_private_libssl(program)
        events = tmp_path_factory.mktemp("events") / "events.jsonl"
        before = len(double.log())
        # The private library is the target's alone: `env` sets the path for it, the sensor stays on the system's.
        inside = ["env", f"LD_LIBRARY_PATH={private.folder}", *command]
        library = ["--library", str(private.libssl)]
        done = subprocess.run(
            sensor("record", *options, *library, "--out", str(events), "--", *inside),
            env={**sensor_environment, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        try:
            rows = double.log(at_least=before + exchanges)[before:]
        except TimeoutError as error:
            pytest.fail(f"{error}; exit code {done.returncode}; the command said:\n{done.stdout}{done.stderr}")
        lines = events.read_bytes().splitlines() if events.exists() else []
        return Captured([json.loads(x) for x in lines], rows, done.stdout, done.stderr, done.returncode, events)

    return run
