# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from oisp_core import Engine
from oisp_core.errors import ConfigError
from oisp_core.match import tables as stored
from oisp_core.match.rules import load_registry
from oisp_core.match.tables import Tables
from oisp_sensor import provider_cache
from oisp_sensor.provider_cache import provider_tables

OWN = """\
provider: {{id: {0}, name: Mine}}
fingerprints: [{{type: domain, pattern: {0}.example}}]
endpoints: {{chat: {{path: /v1/chat/completions}}}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(OWN.format("mine"))
    return folder


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each time that something was compiled."""
    made: list[object] = []

    def counted(user_dir: Path | str | None = None) -> Tables:
        made.append(user_dir)
        return stored.load_tables(user_dir)

    monkeypatch.setattr(provider_cache, "load_tables", counted)
    return made


def asked(tables: Tables | None, host: str) -> str | None:
    assert tables is not None
    return load_registry(["openai.chat"], tables).match("POST", "/v1/chat/completions", host).provider


def test_nothing_of_ones_own_needs_no_cache(tmp_path: Path) -> None:
    assert provider_tables(None, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_compiled_once(own: Path, tmp_path: Path, compiles: list[object]) -> None:
    cache = tmp_path / "cache"
    for _ in range(3):
        tables = provider_tables(own, cache)
        assert asked(tables, "mine.example") == "mine"
        assert asked(tables, "api.openai.com") == "openai"
    assert len(compiles) == 1
    (file,) = cache.iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert Engine(providers=provider_tables(own, cache)) is not None


def test_changed_files_are_other_files(own: Path, tmp_path: Path, compiles: list[object]) -> None:
    cache = tmp_path / "cache"
    provider_tables(own, cache)
    (own / "mine.yaml").write_text(OWN.format("other"))
    assert asked(provider_tables(own, cache), "other.example") == "other"
    assert len(compiles) == 2


@pytest.mark.parametrize("damage", [b"", b"OISPREG2", b"\xff" * 5000, None])
def test_a_damaged_file_is_made_anew(own: Path, tmp_path: Path, compiles: list[object], damage: bytes | None) -> None:
    cache = tmp_path / "cache"
    provider_tables(own, cache)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    file.write_bytes(
        good[: len(good) // 2] + b"\xff" * 9000 + good[len(good) // 2 + 9000 :] if damage is None else damage
    )
    assert asked(provider_tables(own, cache), "mine.example") == "mine"
    assert len(compiles) == 2
    assert file.read_bytes() == good


def test_what_others_could_have_written_is_not_read(own: Path, tmp_path: Path, compiles: list[object]) -> None:
    cache = tmp_path / "cache"
    provider_tables(own, cache)
    (file,) = cache.iterdir()
    file.chmod(0o666)
    provider_tables(own, cache)
    assert len(compiles) == 2  # not read; replaced by one of our own
    assert file.stat().st_mode & 0o777 == 0o600
    aside = tmp_path / "aside"
    file.rename(aside)
    file.symlink_to(aside)
    provider_tables(own, cache)
    assert len(compiles) == 3
    cache.chmod(0o755)
    provider_tables(own, cache)
    assert len(compiles) == 4


def test_a_cache_that_cannot_be_kept(own: Path, tmp_path: Path, compiles: list[object]) -> None:
    (tmp_path / "file").write_text("")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for nowhere in (tmp_path / "file" / "cache", tmp_path / "file", link):
        assert asked(provider_tables(own, nowhere), "mine.example") == "mine"
    assert len(compiles) == 3


def test_few_stay(own: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    for i in range(20):
        old = cache / f"providers-{i:064d}.bin"
        old.write_bytes(b"x")
        os.utime(old, ns=(i, i))
    (cache / "other").write_text("kept")
    provider_tables(own, cache)
    assert len(list(cache.glob("providers-*.bin"))) == provider_cache.KEPT
    assert (cache / "other").exists()


def test_mistakes_are_reported(own: Path, tmp_path: Path) -> None:
    (own / "mine.yaml").write_text("provider: {id: mine}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:1: provider: `name` is missing"):
        provider_tables(own, tmp_path / "cache")
    with pytest.raises(ConfigError, match="expected a folder of provider files"):
        provider_tables(tmp_path / "nowhere", tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_does_not_follow_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not str(provider_cache._default()).startswith(str(tmp_path))
