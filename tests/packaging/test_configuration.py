# SPDX-License-Identifier: Apache-2.0
"""pyproject.toml says what setup.py and the code need."""

from __future__ import annotations

import ast
import re
import sys
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


# Name of an import where it differs from the name of its distribution.
DISTRIBUTIONS = {"yaml": "pyyaml", "dns": "dnspython"}
# Asked for by name at run time, where they are installed.
BY_NAME = {"brotli", "backports"}


def third_party(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"oisp_core", "oisp_sensor", "oisp_bench"}


def test_every_import_is_a_declared_dependency(repo_root: Path) -> None:
    project = configuration(repo_root)["project"]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    extra = {
        name: {re.match(r"[\w-]+", line)[0].lower() for line in project["optional-dependencies"][name]}
        for name in ("demo", "bench")
    }
    used = set()
    for folder in ("oisp_core", "oisp_sensor", "oisp_bench"):
        for path in (repo_root / folder).rglob("*.py"):
            names = {DISTRIBUTIONS.get(name, name) for name in third_party(path)}
            allowed = declared.union(*(extra[name] for name in ("demo",) if name in path.parts))
            if path.is_relative_to(repo_root / "oisp_bench"):
                allowed |= extra["bench"]
            assert names <= allowed | {"bcc"}, f"{path.relative_to(repo_root)} imports {names - allowed}"
            used |= names
        for path in (repo_root / folder).rglob("*.pyx"):
            used |= set(re.findall(r"^\s*c?import (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert declared - BY_NAME <= used, f"declared, but nobody imports {declared - used}"
