# SPDX-License-Identifier: Apache-2.0
"""The bootstrap script: it says exactly what a machine lacks, and never uses a set-up that was broken off."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")

# An interpreter that has everything but what WITHOUT names; it answers as the real one otherwise.
LACKING = """#!/bin/sh
case "$*" in
*ensurepip*) case "$WITHOUT" in *venv*) exit 1 ;; esac ;;
*Python.h*) case "$WITHOUT" in *headers*) exit 1 ;; esac ;;
*ctypes*) case "$WITHOUT" in *libraries*) exit 1 ;; esac ;;
esac
exec {python} "$@"
"""


@pytest.fixture
def tree(tmp_path: Path, repo_root: Path) -> Path:
    """The script alone: enough to see what it asks for, not enough to build anything."""
    shutil.copy(repo_root / "oisp", tmp_path / "oisp")
    fake = tmp_path / "fake-python"
    fake.write_text(LACKING.format(python=sys.executable), encoding="utf-8")
    fake.chmod(0o755)
    return tmp_path


def oisp(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OISP_NO_APT": "1", "PYTHON": str(tree / "fake-python"), **environment}
    command = ["sh", str(tree / "oisp"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("without", "compiler", "named"),
    [
        ("venv", "gcc", r"python3\S*|Python's-venv"),
        ("headers", "gcc", r"python\S*-dev\S*|headers-of-Python|python"),
        ("", "no-such-compiler", r"gcc"),
    ],
)
def test_what_is_missing_is_named(tree: Path, without: str, compiler: str, named: str) -> None:
    done = oisp(tree, "setup", WITHOUT=without, CC=compiler)
    assert done.returncode == 2
    assert re.search(rf"^oisp: missing: .*({named})", done.stderr, re.MULTILINE), done.stderr
    assert not (tree / ".venv").exists(), "something was made although something is missing"


@pytest.mark.skipif(sys.platform != "linux", reason="capturing is for Linux")
def test_without_the_libraries_it_goes_on_and_says_so(tree: Path) -> None:
    """And what was left by a set-up that was broken off is not used."""
    left = tree / ".venv" / "lib" / "left-over"
    left.mkdir(parents=True)
    done = oisp(tree, "setup", WITHOUT="libraries")
    assert re.search(
        r"^oisp: without .*bpf\S* .*nothing can be captured.*everything else works", done.stderr, re.MULTILINE
    )
    assert (tree / ".venv" / ".stamp-venv").exists()
    assert not left.exists()


def test_a_python_that_is_too_old_is_refused(tree: Path) -> None:
    old = tree / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = oisp(tree, "setup", PYTHON=str(old))
    assert done.returncode == 2
    assert "is not Python 3.11 or later" in done.stderr


def test_an_unknown_command_shows_the_usage(tree: Path) -> None:
    done = oisp(tree, "rnu")
    assert done.returncode == 2
    assert "usage: ./oisp COMMAND" in done.stderr
    assert "no such command: rnu" in done.stderr


def test_every_target_of_the_makefile_is_a_command(repo_root: Path) -> None:
    text = (repo_root / "Makefile").read_text(encoding="utf-8")
    usage = subprocess.run(["sh", "oisp", "help"], cwd=repo_root, capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"\./oisp (\w+)", text))
    assert called
    for command in called:
        assert re.search(rf"^  {command}\b", usage, re.MULTILINE), (
            f"`make` calls {command}, which the usage does not list"
        )
    phony = set(re.search(r"^\.PHONY: (.*)", text, re.MULTILINE)[1].split())
    assert set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) == phony


def test_ci_runs_the_test_command_strictly(repo_root: Path) -> None:
    text = (repo_root / ".ci" / "run").read_text(encoding="utf-8")
    assert "OISP_REQUIRE_BPF=1" in text
    assert "exec ./oisp test\n" in text
    for script in (repo_root / "oisp", repo_root / ".ci" / "run"):
        assert os.access(script, os.X_OK)
