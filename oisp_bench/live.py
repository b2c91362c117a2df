# SPDX-License-Identifier: Apache-2.0
"""What capture costs those who are watched, and those who are not: A B A B, with and without the sensor.

The targets are this package's own program, on a private copy of the TLS library: the probes of this benchmark touch
nobody else. A target says how much CPU time of its own a call takes; what the sensor adds is the difference of two
windows that follow each other. More measures are added to GROUPS: a name, the sensor's words, and kinds of work.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from oisp_bench.machine import Build, Machine
from oisp_bench.spread import Spread, spread
from oisp_core.errors import OispError

__all__ = ["GROUPS", "Group", "Live", "Overhead", "Work", "measure_live"]

WINDOW_NS = 250_000_000
PROGRAM = Path(__file__).with_name("live_target.py")


class Overhead(msgspec.Struct, frozen=True):
    """Nanoseconds of the target's CPU time for one call, without and with the sensor, and the difference."""

    group: str
    name: str
    unit: str
    off: Spread
    on: Spread
    added: Spread

    @property
    def share(self) -> float:
        return self.added.middle / self.off.middle


class Live(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    build: Build
    rows: list[Overhead]
    account: dict[str, dict[str, Any]] = {}  # group -> what the sensor said of its last run


class Work(msgspec.Struct, frozen=True):
    """One kind of work: a verb of live_target.py, a size, and whether a process out of scope does it."""

    name: str
    verb: str
    size: int = 0
    unit: str = "call"
    bystander: bool = False


class Group(msgspec.Struct, frozen=True):
    """What is measured under one run of the sensor: its words beside scope and library, and the work."""

    name: str
    words: tuple[str, ...]
    work: tuple[Work, ...]


GROUPS: list[Group] = [
    Group(
        "tls",
        ("--activity", "none"),
        (
            Work("delta of 200 B, write and read", "stream", 200, "pair of calls"),
            Work("delta of 16 KiB, write and read", "stream", 16_384, "pair of calls"),
            Work("200 B, connection dismissed", "unknown", 200, "pair of calls"),
            Work("16 KiB, connection dismissed", "unknown", 16_384, "pair of calls"),
            Work("200 B, process out of scope", "unknown", 200, "pair of calls", bystander=True),
        ),
    ),
    Group(
        "activity",
        ("--activity", "process,network,file"),
        (
            Work("process: fork, exec, exit", "process", unit="process"),
            Work("file: open, read, close", "file", unit="file"),
            Work("connection on loopback", "connect", unit="connection"),
            Work("file, process out of scope", "file", unit="file", bystander=True),
        ),
    ),
]


class Target:
    """A process that works when it is told to."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, str(PROGRAM), str(folder / "cert.pem"), str(folder / "key.pem")]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=folder)
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, work: Work, count: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{work.verb} {work.size} {count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise OispError(f"the target ended while it did {work.name!r}")
        return float(answer)

    def window(self, work: Work) -> float:
        """Nanoseconds of a call, over calls that take a quarter of a second without the sensor."""
        if work.name not in self.counts:
            self.counts[work.name] = max(20, int(WINDOW_NS / self.ask(work, 20)))
            self.counts[work.name] = max(20, int(WINDOW_NS / self.ask(work, self.counts[work.name] // 4 + 1)))
        return self.ask(work, self.counts[work.name])


@contextlib.contextmanager
def sensing(folder: Path, words: Sequence[str], account: dict[str, Any]) -> Iterator[None]:
    """The sensor as a user starts it, from when its probes are in place; `account` gets its report at the end."""
    report, notify = folder / "report.json", folder / "notify"
    for path in (report, notify):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "oisp_sensor", "record", "--out", str(folder / "events.jsonl"), *words]
    environment = {**os.environ, "NOTIFY_SOCKET": str(notify), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (folder / "errors").open("wb") as errors:
        manager.bind(str(notify))
        manager.settimeout(60)
        sensor = subprocess.Popen([*command, "--report", str(report)], env=environment, stdout=errors, stderr=errors)
        try:
            if not manager.recv(100).startswith(b"READY=1"):
                raise OispError("the sensor did not say that it is ready")
            yield
        except TimeoutError:
            said = (folder / "errors").read_text(encoding="utf-8", errors="replace").strip()
            raise OispError(f"the sensor did not become ready: {said[-300:]}") from None
        finally:
            sensor.send_signal(signal.SIGINT)
            try:
                sensor.wait(30)
            except subprocess.TimeoutExpired:
                sensor.kill()
                sensor.wait()
    with contextlib.suppress(OSError, ValueError):
        account.update(json.loads(report.read_text(encoding="utf-8")))
    (folder / "events.jsonl").unlink(missing_ok=True)


def certificate(folder: Path) -> None:
    try:
        import trustme
    except ImportError:
        raise OispError("trustme is not installed: pip install 'oisp[bench]'") from None
    made = trustme.CA().issue_cert("localhost")
    made.private_key_pem.write_to_path(folder / "key.pem")
    for number, part in enumerate(made.cert_chain_pems):
        part.write_to_path(folder / "cert.pem", append=number > 0)


def measure_live(
    names: Sequence[str] = (), *, rounds: int = 7, say: Callable[[str], None] = lambda _: None
) -> tuple[list[Overhead], dict[str, dict[str, Any]]]:
    """The rows of the chosen groups, and what the sensor told of its runs."""
    from oisp_sensor.demo.libraries import NoPrivateLibrary, copy_libraries

    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise OispError("capture is measured on Linux, as root")
    rows: list[Overhead] = []
    accounts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="oisp-bench-") as place:
        folder = Path(place)
        certificate(folder)
        try:
            private = copy_libraries(folder / "libraries")
        except NoPrivateLibrary as error:
            raise OispError(str(error)) from None
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", **private.env}
        for group in GROUPS:
            if names and group.name not in names:
                continue
            account = accounts[group.name] = {}
            with Target(folder, environment) as watched, Target(folder, environment) as other:
                words = ["--pid", str(watched.process.pid), "--library", str(private.libssl), "--max-overhead", "0"]
                rows += _group(group, folder, [*words, *group.words], (watched, other), rounds, account, say)
    return rows, accounts


def _group(
    group: Group,
    folder: Path,
    words: Sequence[str],
    targets: tuple[Target, Target],
    rounds: int,
    account: dict[str, Any],
    say: Callable[[str], None],
) -> list[Overhead]:
    """All work without the sensor, all work with it, and again: what drifts drifts on both sides."""
    off: dict[str, list[float]] = {work.name: [] for work in group.work}
    on: dict[str, list[float]] = {work.name: [] for work in group.work}

    def windows(into: dict[str, list[float]], state: str) -> None:
        for work in group.work:
            say(f"{group.name}, {state}: {work.name}")
            into[work.name].append(targets[work.bystander].window(work))

    for number in range(1, rounds + 1):
        windows(off, f"round {number} of {rounds}, alone")
        with sensing(folder, words, account):
            windows(on, f"round {number} of {rounds}, watched")
    return [
        Overhead(
            group.name,
            work.name,
            work.unit,
            spread(off[work.name]),
            spread(on[work.name]),
            spread(b - a for a, b in zip(off[work.name], on[work.name], strict=True)),
        )
        for work in group.work
    ]
