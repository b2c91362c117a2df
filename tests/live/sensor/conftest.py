# SPDX-License-Identifier: Apache-2.0
"""The sensor as a subprocess, the way a user starts it, with a client on private libraries."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import oisp_sensor
from tests.live.sensor.service import CLIENT, Service

SENSOR = [sys.executable, "-m", "oisp_sensor"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service"))
    yield made
    made.close()


@dataclass
class Bench:
    """One test's folder, private libraries and client. `record` runs the sensor on a command."""

    folder: Path
    private: Any
    service: Service

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def library(self) -> list[str]:
        return ["--library", str(self.private.libssl)]

    def client(self, prompt: str = "What is the answer?", code: int = 0) -> list[str]:
        """The library path is the client's alone: the sensor and everybody else stay on the system's."""
        arguments = [str(self.service.port), self.service.certificate, prompt, str(code)]
        return ["env", f"LD_LIBRARY_PATH={self.private.folder}", sys.executable, "-c", CLIENT, *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        # The sensor of this test run, from wherever it was imported, in a folder of the test's own.
        where = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(oisp_sensor.__file__).parents[1])}
        return {**where, "HOME": str(self.folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **more}

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """`record` with these words, as a process that the test goes on with."""
        settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings["env"] = self.environment(**options.pop("more", {}))
        quiet = [] if "--activity" in words or "--files" in words else ["--activity", "none"]
        return subprocess.Popen(
            [*SENSOR, "record", *self.library, *quiet, *words], cwd=self.folder, **{**settings, **options}
        )

    def start_probing(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """The same, and back only when its probes are in place: what happens from here on is captured."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = self.folder / "notify"
            path.unlink(missing_ok=True)
            manager.bind(str(path))
            manager.settimeout(30)
            process = self.start(*words, **{**options, "more": {**options.get("more", {}), "NOTIFY_SOCKET": str(path)}})
            assert manager.recv(100) == b"READY=1"
        return process

    def record(self, command: list[str], *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start("--out", str(self.events_file), *options, "--", *command, more=more)
        out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    def waiting_client(self, prompt: str = "What is the answer?") -> subprocess.Popen[str]:
        """Started, its library mapped, and asking only once it is told to: `go` on its input."""
        pipe = subprocess.PIPE
        environment = self.environment(WAIT="1")
        client = subprocess.Popen(self.client(prompt), stdin=pipe, stdout=pipe, text=True, env=environment)
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        return client

    def events(self, path: Path | None = None) -> list[dict[str, Any]]:
        text = (path or self.events_file).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def bench(require_bpf: None, private_libssl: Any, service: Service, tmp_path: Path) -> Bench:
    folder = tmp_path / "work"
    folder.mkdir()
    return Bench(folder, private_libssl, service)


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for a condition, a bounded time."""

    def wait(condition: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait
