# SPDX-License-Identifier: Apache-2.0
"""Configuration files: which are read, what wins, and what is said of a mistake."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from oisp_core.errors import ConfigError
from oisp_sensor import settings
from oisp_sensor.cli import main
from tests.unit.sensor import recordings


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The machine's file and the user's, neither of them there."""
    etc, home = tmp_path / "etc" / "sensor.yaml", tmp_path / "home"
    monkeypatch.setattr(settings, "ETC", etc)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    user = home / "oisp" / "sensor.yaml"
    for file in (etc, user):
        file.parent.mkdir(parents=True)
    return etc, user


def write(file: Path, text: str, mode: int = 0o644) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def test_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert settings.default_files() == [Path("/etc/oisp/sensor.yaml"), Path("/x/oisp/sensor.yaml")]
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the specification says: to be ignored
    monkeypatch.setenv("HOME", "/h")
    assert settings.default_files()[1] == Path("/h/.config/oisp/sensor.yaml")


def test_what_wins(places: tuple[Path, Path], tmp_path: Path) -> None:
    etc, user = places
    assert settings.read(None, settings.KEYS) == {}
    write(etc, "content: redacted\nproviders: mine\nchunks: true\n")
    write(user, "content: full\n")
    assert settings.read(None, settings.KEYS) == {
        "content": "full",
        "providers": str(etc.parent / "mine"),
        "chunks": True,
    }
    alone = write(tmp_path / "other.yaml", "# nothing\n")
    assert settings.read(str(alone), settings.KEYS) == {}
    assert settings.read(None, {"chunks"}) == {"chunks": True}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("content: full\ncontents: full\n", 2, ["contents", "unknown key", "hash_key"]),
        ("content: everything\n", 1, ["content", "metadata", "'everything'"]),
        ("\nchunks: maybe\n", 2, ["chunks", "true", "'maybe'"]),
        ("providers:\n  - a\n", 1, ["providers", "a text"]),
        ("content: full\ncontent: full\n", 2, ["content", "second time"]),
        ("content: [full\n", None, []),
        ("- content\n", 1, ["mapping"]),
        ("a: &x 1\nb: *x\n", 1, ["anchors"]),
        ("no_cmdline: 1\n", 1, ["no_cmdline"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str], text: str, line: int | None, words: list[str]
) -> None:
    write(places[1], text)
    for command in (["providers"], ["explain", "https://api.openai.com/v1/chat/completions"]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith(f"oisp-sensor: {places[1]}:{line or ''}")
        assert all(word in said for word in words)


def test_a_file_that_others_could_have_written(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write(places[0], "content: full\n", 0o666)
    with pytest.raises(ConfigError, match="others can write"):
        settings.read(None, settings.KEYS)
    write(places[0], "content: full\n")
    if os.geteuid() == 0:
        os.chown(places[0], 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match="another user"):
        settings.read(None, settings.KEYS)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        settings.read(str(tmp_path / "none.yaml"), settings.KEYS)
    with pytest.raises(ConfigError, match="expected a file"):
        settings.read(str(tmp_path), settings.KEYS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="expected a file"):  # and does not wait for a writer
        settings.read(str(tmp_path / "pipe"), settings.KEYS)
    large = write(tmp_path / "large.yaml", "#" * 70_000)
    with pytest.raises(ConfigError, match="65536"):
        settings.read(str(large), settings.KEYS)


GATEWAY = """
provider: {id: my_gateway, name: My gateway, kind: gateway}
fingerprints:
  - {type: domain, pattern: llm.corp.example}
endpoints:
  chat: {path: /answers, dialect: openai.chat, kind: chat}
"""


def test_a_folder_of_providers(places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = places[1].parent / "mine"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(GATEWAY)
    assert main(["providers", "show", "my_gateway"]) == 2
    write(places[1], "providers: mine\n")
    capsys.readouterr()
    assert main(["providers", "show", "my_gateway"]) == 0
    assert "llm.corp.example" in capsys.readouterr().out
    empty = places[1].parent / "none"
    empty.mkdir()
    assert main(["providers", "--providers", str(empty), "show", "my_gateway"]) == 2


def test_replay_takes_its_policy_from_there(places: tuple[Path, Path], tmp_path: Path) -> None:
    recording = tmp_path / "r.oisp"
    recording.write_bytes(recordings.recording())
    write(places[0], "content: full\n")

    def content_of(*flags: str) -> Any:
        out = tmp_path / "out.jsonl"
        out.unlink(missing_ok=True)
        assert main(["replay", str(recording), "--out", str(out), *flags]) == 0
        asked = next(e for e in map(json.loads, out.read_text().splitlines()) if e["event_type"] == "ai.request")
        return asked["data"]["messages"][0]["content"]

    assert isinstance(content_of(), str)
    assert "$redacted" in content_of("--content", "metadata")
    assert "$redacted" in content_of("--config", str(write(tmp_path / "c.yaml", "content: metadata\n")))
