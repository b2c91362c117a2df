# SPDX-License-Identifier: Apache-2.0
"""pyproject.toml says what setup.py and the code need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def configuration(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_build_requires_only_what_setup_imports(repo_root: Path) -> None:
    requires = configuration(repo_root)["build-system"]["requires"]
    names = {re.match(r"[a-zA-Z0-9_-]+", line)[0].lower() for line in requires}
    assert names == {"setuptools", "cython"}


def test_both_licences_are_named(repo_root: Path) -> None:
    assert configuration(repo_root)["project"]["license"] == "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"
