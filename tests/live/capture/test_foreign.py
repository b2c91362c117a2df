# SPDX-License-Identifier: Apache-2.0
"""A program with a TLS stack that is not captured is reported by the stack's name, and nothing of it is probed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oisp_sensor.capture import Capture, Scope, messages
from oisp_sensor.capture.foreign import SYMBOLS

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]


@pytest.fixture(scope="module")
def uv(wheel: Callable[..., Path]) -> Path:
    """A stripped program in Rust, from PyPI."""
    return wheel("uv==0.9.11") / "bin" / "uv"


def test_rustls_stripped(uv: Path) -> None:
    with Capture(Scope.command()) as capture:
        capture.start()
        child = capture.spawn([str(uv), "--version"])
        while child.poll() is None:
            capture.poll(0.02)
        capture.poll()
        told = [m for m in messages.receive(capture.channel) if isinstance(m, messages.Refused)]
        report = capture.report()
        assert capture.losses() == {} or not any(loss.records for loss in capture.losses().values())
    [refused] = [m for m in told if m.path == str(uv)]
    assert re.fullmatch(r"rustls 0\.\d+\.\d+: this TLS stack is not captured", refused.reason)
    [target] = [t for t in report.targets if t.path == str(uv)]
    assert not target.usable
    assert not target.held


@pytest.mark.parametrize(("symbol", "stack"), sorted(SYMBOLS.items()))
def test_by_its_symbol(tmp_path: Path, symbol: str, stack: str) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path / "libsome.so"
    source = f"int {symbol}(void) {{ return 0; }}"
    subprocess.run(["gcc", "-shared", "-o", library, "-x", "c", "-"], input=source.encode(), check=True)
    command = [sys.executable, "-m", "oisp_sensor", "doctor", "--json", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found: dict[str, Any] = json.loads(done.stdout)["target"]
    assert not found["usable"]
    assert [one["error"] for one in found["libraries"]] == [f"{stack}: this TLS stack is not captured"]


def test_a_file_that_only_uses_one_is_not_named(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path / "libuser.so"
    source = "int s2n_send(void); int use(void) { return s2n_send(); }"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"], input=source.encode(), check=True)
    command = [sys.executable, "-m", "oisp_sensor", "doctor", "--json", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["target"]["libraries"] == []
