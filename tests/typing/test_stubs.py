# SPDX-License-Identifier: Apache-2.0
"""The stubs are true: stubtest compares them with the compiled modules, mypy holds the examples to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder from which only an installed package is found."""
    if "OISP_WHEEL" not in os.environ:
        pytest.skip("stubs are checked against the installed wheel: `./oisp test` without arguments")
    return tmp_path


def test_stubs_tell_what_the_compiled_modules_do(elsewhere: Path, repo_root: Path) -> None:
    """Python modules are their own promise; what is compiled has a .pyi."""
    stubs = [path for name in ("oisp_core", "oisp_sensor", "oisp_bench") for path in (repo_root / name).rglob("*.pyi")]
    modules = [".".join(path.relative_to(repo_root).with_suffix("").parts) for path in sorted(stubs)]
    assert "oisp_core.engine" in modules
    allowed = elsewhere / "allowed.txt"
    allowed.write_text(ALLOWED, encoding="utf-8")
    options = ["--allowlist", str(allowed), "--ignore-unused-allowlist", "--ignore-disjoint-bases"]
    config = ["--mypy-config-file", str(repo_root / "pyproject.toml")]
    done = run("mypy.stubtest", *modules, *options, *config, cwd=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr


# What Cython adds to every module and class; its classes have no signature of __init__ that could be compared, nor have
# Structs, whose own module checks theirs.
ALLOWED = r"""
.*\.__init__
.*\.__test__
.*\.__pyx_.*
.*\.__reduce_cython__
.*\.__setstate_cython__
.*\.__reduce__
.*\.__setstate__
"""


def test_the_examples_have_the_types_that_they_assert(elsewhere: Path, repo_root: Path) -> None:
    examples = sorted(str(path) for path in HERE.glob("check_*.py"))
    assert examples
    settings = ["--strict", "--config-file", os.devnull, "--cache-dir", str(elsewhere / "cache")]
    done = run("mypy", *settings, *examples, cwd=elsewhere)
    assert done.returncode == 0, done.stdout
