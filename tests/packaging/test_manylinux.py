# SPDX-License-Identifier: Apache-2.0
"""The published wheel: libbpf and libelf travel inside, with their licences, and auditwheel finds nothing to add."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="manylinux is for Linux")


@pytest.fixture(scope="module")
def published(wheel: Path, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        if os.environ.get("OISP_REQUIRE_BPF") == "1":
            pytest.fail(f"there is no libbpf to bundle: {error}")
        pytest.skip(f"there is no libbpf to bundle: {error}")
    folder = tmp_path_factory.mktemp("published")
    command = [sys.executable, str(repo_root / "tools" / "bundle_libs.py"), str(wheel), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_tag_is_earned(published: Path) -> None:
    assert re.search(r"-manylinux_2_\d+_x86_64|-manylinux_2_\d+_aarch64", published.name)
    command = [sys.executable, "-m", "auditwheel", "show", str(published)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    tag = re.search(r"manylinux_2_\d+", published.name)
    assert tag is not None
    assert tag[0] in shown


def test_the_libraries_travel_with_their_licences(published: Path) -> None:
    with zipfile.ZipFile(published) as archive:
        names = archive.namelist()
        libraries = {
            name.rpartition("/")[2]
            for name in names
            if "/_libs/lib" in name and ".so" in name and "licenses" not in name
        }
        licences = {name.rpartition("/")[2].removesuffix(".txt") for name in names if "licenses/_libs/" in name}
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {"libbpf.so.1", "libelf.so.1"} <= libraries
    assert libraries == licences - {""}
    for name in libraries:
        assert f"License-File: _libs/{name}.txt" in metadata


def test_the_libraries_find_each_other(published: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(published) as archive:
        for name in archive.namelist():
            if name.startswith("oisp_sensor/_libs/lib"):
                archive.extract(name, tmp_path)
    folder = tmp_path / "oisp_sensor" / "_libs"
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(open('/proc/self/maps').read())"
    command = [sys.executable, "-c", code, str(folder / "libbpf.so.1")]
    maps = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    loaded = set(re.findall(r"\S+/lib(?:bpf|elf)[^/\s]*", maps))
    assert loaded == {str(folder / "libbpf.so.1"), str(folder / "libelf.so.1")}
