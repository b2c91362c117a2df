# SPDX-License-Identifier: Apache-2.0
"""Packaged data comes first, then the source tree; nothing outside of both can be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from oisp_core import resources
from oisp_core.errors import ResourceError


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    packaged, tree = tmp_path / "pkg" / "_data", tmp_path / "tree"
    for root in (packaged, tree):
        (root / "schema" / "v0.1").mkdir(parents=True)
    monkeypatch.setattr(resources, "_ROOTS", (packaged, tree))
    return packaged, tree


def test_packaged_data_wins(roots: tuple[Path, Path]) -> None:
    packaged, tree = roots
    for root, text in ((packaged, b"packaged"), (tree, b"tree")):
        (root / "schema" / "v0.1" / "a.json").write_bytes(text)
    (tree / "schema" / "b.json").write_bytes(b"only here")
    assert resources.read("schema/v0.1/a.json") == b"packaged"
    assert resources.read("schema/b.json") == b"only here"


def test_names_lists_what_read_takes(roots: tuple[Path, Path]) -> None:
    packaged, _ = roots
    for name in ("b.json", "v0.1/a.json", "notes.md"):
        (packaged / "schema" / name).write_bytes(b"{}")
    assert resources.names("schema", ".json") == ["schema/b.json", "schema/v0.1/a.json"]
    assert all(resources.read(name) == b"{}" for name in resources.names("schema"))


def test_missing_data_says_what_and_where(roots: tuple[Path, Path]) -> None:
    with pytest.raises(ResourceError, match=r"nothing\.yaml: not found in this installation"):
        resources.data("nothing.yaml")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "schema/../../x"])
def test_names_stay_inside(name: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        resources.data(name)
