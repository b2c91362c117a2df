# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: help, exit codes, one line for each mistake."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from oisp_core.errors import ConfigError
from oisp_sensor import cli
from oisp_sensor.cli.command import read_hash_key, size

SENSOR = [sys.executable, "-m", "oisp_sensor"]


def sensor(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SENSOR, *words], capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


class Fake:
    """A command that does what a test tells it to."""

    def __init__(self, act: object) -> None:
        self._act = act

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--flag")

    def run(self, args: argparse.Namespace) -> int:
        if isinstance(self._act, BaseException):
            raise self._act
        assert isinstance(self._act, int)
        return self._act


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def run(act: object, *words: str) -> int:
        module = ModuleType("oisp_sensor.cli.validate")
        module.command = Fake(act)  # type: ignore[attr-defined]
        monkeypatch.setattr(cli, "import_module", lambda name: module)
        return cli.main(["validate", *words])

    return run


def test_help_names_every_command_and_imports_none() -> None:
    done = sensor("--help")
    assert done.returncode == 0
    for name, line in cli.COMMANDS.items():
        if find_spec(f"oisp_sensor.cli.{name}"):
            assert name in done.stdout
            assert line.split()[0] in done.stdout
    code = """
import sys
from oisp_sensor.cli import main
try:
    main(["--help"])
except SystemExit:
    print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("rich", "msgspec", "yaml", "numpy", "oisp_core.engine", "oisp_sensor.capture", "oisp_sensor.cli.validate")
    assert not [name for name in loaded if name.startswith(heavy)]


def test_every_command_explains_itself() -> None:
    for name in cli.COMMANDS:
        if find_spec(f"oisp_sensor.cli.{name}"):
            done = sensor(name, "--help")
            assert done.returncode == 0, done.stderr
            assert len(done.stdout.splitlines()) > 4


def test_nothing_asked_shows_the_help() -> None:
    done = sensor()
    assert done.returncode == 2
    assert "COMMAND" in done.stdout


@pytest.mark.parametrize("words", [["nonsense"], ["--nonsense"], ["validate"], ["validate", "--nonsense", "x"]])
def test_mistakes_exit_with_2(words: list[str]) -> None:
    done = sensor(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_version() -> None:
    done = sensor("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("oisp-sensor ")


def test_the_answer_of_a_command_is_the_exit_code(act) -> None:  # type: ignore[no-untyped-def]
    assert act(0) == 0
    assert act(7) == 7


def test_an_error_is_one_line(act, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert act(ConfigError("a.yaml", 3, "x.y", "a number", "two\nlines\x1b[31m")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("oisp-sensor: a.yaml:3: x.y: expected a number; got ")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_interrupted(act) -> None:  # type: ignore[no-untyped-def]
    assert act(KeyboardInterrupt()) == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m oisp_sensor --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "bytes_"), [("1", 1), ("64K", 65536), ("2m", 2 << 20), ("1GiB", 1 << 30), ("5 MB", 5 << 20)]
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1T", "1 2"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number"):
        size(text)


def test_hash_keys(tmp_path) -> None:  # type: ignore[no-untyped-def]
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef\n")
    assert read_hash_key(str(key)) == b"0123456789abcdef"
    assert read_hash_key(None) is None
    key.write_bytes(b"short")
    with pytest.raises(ConfigError, match="16 to 4096 bytes"):
        read_hash_key(str(key))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_hash_key(str(tmp_path / "missing"))
