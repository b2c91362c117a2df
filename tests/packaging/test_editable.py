# SPDX-License-Identifier: Apache-2.0
"""An editable install finds schema/, semconv/ and the objects, in each of setuptools' ways to make one.

The copy that is installed here has no .pyx, so that nothing is compiled: only where data is found is in question.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

FIND = """
import sys, types
engine = types.ModuleType("oisp_core.engine")  # is compiled, and not in question
engine.__getattr__ = lambda name: object
sys.modules["oisp_core.engine"] = engine
from oisp_core import resources
for name in ("schema/v0.1/envelope.schema.json", "semconv/providers/registry.yaml"):
    text = resources.data(name).read_bytes()
    assert len(text) > 100, name
print(resources.__file__)
"""
SKIPPED = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.pyx", "__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("editable") / "tree"
    shutil.copytree(repo_root, folder, ignore=SKIPPED, symlinks=True)
    return folder


@pytest.mark.parametrize("mode", ["lenient", "strict", "compat"])
def test_the_data_is_found(copy: Path, tmp_path: Path, mode: str) -> None:
    pytest.importorskip("pip")
    environment = tmp_path / "venv"
    # With the packages of this environment: nothing is downloaded, and the build uses what is here.
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*/site-packages"))
    own = Path(next(p for p in sys.path if p.endswith("site-packages")))
    shield = tmp_path / "shared"  # the environment's packages without the project itself
    shield.mkdir()
    for entry in own.iterdir():
        if not entry.name.lower().startswith(("oisp", "__editable__")):
            (shield / entry.name).symlink_to(entry)
    (site / "shared.pth").write_text(f"{shield}\n", encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    install += ["--config-settings", f"editable_mode={mode}", "-e", str(copy)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = subprocess.run(
        [str(python), "-I", "-c", FIND], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    assert str(own) not in found.stdout
