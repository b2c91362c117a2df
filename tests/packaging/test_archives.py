# SPDX-License-Identifier: Apache-2.0
"""What the sdist and the wheel hold: everything that is needed, nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from shutil import which

import pytest

# Where each kind of file of the tree goes in the wheel. What matches none of these does not belong there.
TREES = {
    "schema": "oisp_core/_data/schema",
    "semconv": "oisp_core/_data/semconv",
    "bpf/objects": "oisp_sensor/_data/bpf",
    "benchmarks/cases": "oisp_bench/_data/cases",
}
DATA_ENDINGS = {".json", ".yaml", ".md", ".o", ".bin", ".tsv", ".toml"}
PACKAGE_ENDINGS = {".py", ".pyi", ".pxd", ".h", ".service"}


def tracked(root: Path, *folders: str) -> list[str]:
    """The tree's own files; without git (an unpacked sdist) all that are there and that .gitignore does not name."""
    if which("git"):
        listed = subprocess.run(["git", "ls-files", *folders], cwd=root, capture_output=True, text=True, check=False)
        if listed.returncode == 0 and listed.stdout:
            return listed.stdout.splitlines()
    found = (path.relative_to(root) for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    made = [".git", *(line.rstrip("/") for line in (root / ".gitignore").read_text().splitlines())]
    return [str(path) for path in found if not any(fnmatch(part, name) for part in path.parts for name in made)]


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def sdist_files(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def expected_in_wheel(root: Path) -> set[str]:
    expected: set[str] = set()
    for folder, place in TREES.items():
        for name in tracked(root, folder):
            if PurePosixPath(name).suffix in DATA_ENDINGS:
                expected.add(place + name.removeprefix(folder))
    for name in tracked(root, "oisp_core", "oisp_sensor", "oisp_bench"):
        path = PurePosixPath(name)
        if path.suffix in PACKAGE_ENDINGS or path.name == "py.typed" or name.startswith("oisp_sensor/demo/"):
            expected.add(name)
    return expected


def test_the_wheel_holds_the_tree_and_nothing_else(wheel_files: set[str], repo_root: Path) -> None:
    expected = expected_in_wheel(repo_root)
    assert expected, "found no files in the tree"
    assert not expected - wheel_files, "missing from the wheel"
    extra = {name for name in wheel_files - expected if not name.endswith(".so") and ".dist-info/" not in name}
    assert not extra, "in the wheel without a place in the tree"


def test_every_extension_of_the_tree_is_compiled(wheel_files: set[str], repo_root: Path) -> None:
    sources = {
        name.removesuffix(".pyx")
        for name in tracked(repo_root, "oisp_core", "oisp_sensor", "oisp_bench")
        if name.endswith(".pyx")
    }
    built = {name.partition(".")[0] for name in wheel_files if name.endswith(".so") and "/_libs/" not in name}
    assert sources == built


def test_every_extension_has_its_promise_beside_it(wheel_files: set[str]) -> None:
    for name in wheel_files:
        if name.endswith(".so") and "/_libs/" not in name:
            assert name.partition(".")[0] + ".pyi" in wheel_files, f"{name} has no stub"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux wheels can capture")
def test_a_linux_wheel_has_the_loader(wheel_files: set[str]) -> None:
    assert any(re.fullmatch(r"oisp_sensor/_data/bpf/.*\.o", name) for name in wheel_files), "no CO-RE object"
    assert any(name.startswith("oisp_sensor/capture/ringbuf.") and name.endswith(".so") for name in wheel_files)


def test_the_wheel_says_its_licences_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        commands = archive.read(f"{info}/entry_points.txt").decode()
        licences = [name for name in archive.namelist() if name.startswith(f"{info}/licenses/")]
    assert metadata["License-Expression"] == "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "oisp-sensor = oisp_sensor.cli:main" in commands
    assert licences, "no licence text in the wheel"


def test_the_sdist_holds_every_file_of_the_tree(sdist_files: set[str], repo_root: Path) -> None:
    """All but what only a checkout needs."""
    top = {".gitignore", ".gitattributes", ".git"}
    missing = {name for name in tracked(repo_root, ".") if name not in sdist_files and name not in top}
    assert not missing


def test_the_sdist_holds_nothing_built(sdist_files: set[str]) -> None:
    assert not [name for name in sdist_files if name.endswith((".so", ".pyc")) or name.startswith(("build/", ".venv"))]
    assert "setup.py" in sdist_files
