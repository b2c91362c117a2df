# SPDX-License-Identifier: Apache-2.0
"""`record` and `doctor` before and without capture: mistakes, missing rights, what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oisp_sensor import cli

CGROUPS = "cgroup2" in (Path("/proc/self/mounts").read_text() if sys.platform == "linux" else "")
SENSOR = [sys.executable, "-m", "oisp_sensor"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="capture is Linux's")


def failing(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(list(words)) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("oisp-sensor: ")
    assert error.count("\n") == 1
    return error


@linux
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to capture; give `-- COMMAND ...`, --pid N"),
        (["--"], "nothing to capture"),
        (["--pid", "1", "--", "true"], "a COMMAND is a scope of its own: leave out --pid"),
        (["--pid", "4194305"], "no process 4194305"),
        (["--user", "no-such-user-here"], "--user: expected a user of this machine"),
        (["--cgroup", "no/such/group"], "no/such/group" if CGROUPS else "no cgroup version 2 hierarchy is mounted"),
        (["--library", "/nonexistent.so", "--", "true"], "/nonexistent.so"),
        (["--ring-size", "3M", "--", "true"], "power of two"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    assert expected in failing(capsys, "record", *words)


@pytest.mark.parametrize("words", [["--pid", "x"], ["--pid", "1", "--all"], ["python", "x.py"], ["--content", "some"]])
def test_mistakes_that_the_parser_sees(words: list[str]) -> None:
    done = subprocess.run([*SENSOR, "record", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: oisp-sensor record" in done.stderr


def test_another_platform(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "record needs Linux, and this is darwin; replay, show and validate work here" in failing(
        capsys, "record", "--", "true"
    )


@linux
def test_without_rights_it_says_so_and_the_command_does_not_run(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        lesser = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534", "--clear-groups"]
    else:
        lesser = []
    ran, events = tmp_path / "ran", tmp_path / "events.jsonl"
    tmp_path.chmod(0o777)
    words = [*lesser, *SENSOR, "record", "--out", str(events), "--", "touch", str(ran)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("oisp-sensor: nothing can be captured here: ")
    assert done.stderr.count("\n") == 1
    assert not ran.exists()
    assert not events.exists()


def test_help_says_who_may_and_what_it_costs() -> None:
    done = subprocess.run([*SENSOR, "record", "--help"], capture_output=True, text=True, check=True)
    for word in (
        "-- COMMAND",
        "--pid",
        "--all",
        "--library",
        "--raw",
        "--content",
        "--chunks",
        "--rotate",
        "--hash-key",
    ):
        assert word in done.stdout


# ---- doctor ----


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SENSOR, "doctor", *words], capture_output=True, text=True, check=False, timeout=60)


def test_doctor_says_what_there_is() -> None:
    done = doctor()
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    assert "kernel" in done.stdout
    assert ("Capture can run." in done.stdout) == (done.returncode == 0)


def test_doctor_in_json() -> None:
    done = doctor("--json")
    document = json.loads(done.stdout)
    assert document["ready"] == (done.returncode == 0)
    assert {"name", "ok", "found", "required", "remedy"} <= set(document["checks"][0])
    for check in document["checks"]:
        assert check["ok"] or not check["required"] or check["remedy"], check


@linux
def test_doctor_of_a_command_a_file_and_a_process() -> None:
    import _ssl

    if not getattr(_ssl, "__file__", None):
        pytest.skip("this interpreter has OpenSSL built in")
    mapped = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libssl" in line]
    if not mapped:
        pytest.skip("this interpreter maps no shared libssl")
    document = json.loads(doctor("--json", mapped[0]).stdout)
    library = document["target"]["libraries"][0]
    assert library["usable"] is True
    assert {"SSL_read", "SSL_write"} <= set(library["functions"])
    if os.access("/proc/1/maps", os.R_OK):
        own = json.loads(doctor("--json", str(os.getpid())).stdout)["target"]
        assert own["kind"] == "process"
        # Other libraries of this test run may have OpenSSL inside.
        assert mapped[0] in [one["path"] for one in own["libraries"] if one["usable"]]
    interpreter = json.loads(doctor("--json", sys.executable).stdout)["target"]
    assert interpreter["kind"] == "command"


@linux
@pytest.mark.parametrize("target", ["no-such-command-here", "/nonexistent/file", "4194305"])
def test_doctor_of_nothing(capsys: pytest.CaptureFixture[str], target: str) -> None:
    assert target in failing(capsys, "doctor", target)


@linux
def test_doctor_of_something_without_tls(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    done = doctor(str(tmp_path / "text"))
    assert done.returncode == 1
    assert "NOT probed" in done.stdout


def test_the_unit_is_what_systemd_reads() -> None:
    done = doctor("--systemd")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    for line in lines:
        assert not line or line.startswith(("#", "[")) or "=" in line
    for setting in ("NoNewPrivileges=yes", "MemoryMax=", "CapabilityBoundingSet=CAP_BPF", "ProtectSystem=strict"):
        assert setting in done.stdout
