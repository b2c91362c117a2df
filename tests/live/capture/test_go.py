# SPDX-License-Identifier: Apache-2.0
"""Clients and servers of Go's crypto/tls, in executables with symbols, stripped, and position-independent."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.live.capture.harness import Run, watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

# What is asked of the machine: its own Go, Debian's oldest, and the latest one that the module proxy has.
VERSIONS = [
    pytest.param("go", id="own"),
    pytest.param("1.19", id="go1.19", marks=pytest.mark.full),
    pytest.param("go1.27.3", id="go1.27", marks=pytest.mark.full),
]


@dataclass
class Toolchain:
    """One version of Go and the executables that it has built: stripped and position-independent ones cost a link."""

    command: str
    env: dict[str, str]
    folder: Path

    @property
    def version(self) -> str:
        command = [self.command, "env", "GOVERSION"]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True).stdout.strip()

    def build(self, name: str, *options: str) -> Path:
        out = self.folder / name
        if not out.exists():
            command = [self.command, "build", *options, "-o", str(out), "."]
            built = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stderr
        return out


@pytest.fixture(scope="module", params=VERSIONS)
def go(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "GOPROXY", "GOFLAGS", "GOCACHE") if name in os.environ}
    env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    required = request.param == "go" and os.environ.get("OISP_REQUIRE_BPF") == "1"
    command = shutil.which("go") if request.param != "1.19" else shutil.which("/usr/lib/go-1.19/bin/go")
    if command is None:
        unavailable(f"{request.param} is not installed", required=required)
    if request.param.startswith("go1"):
        env["GOTOOLCHAIN"] = request.param
        if subprocess.run([command, "version"], env=env, capture_output=True, check=False).returncode:
            unavailable(f"{request.param} cannot be had", required=required)
    folder = tmp_path_factory.mktemp("go")
    (folder / "go.mod").write_text("module client\ngo 1.19\n")
    shutil.copy(Path(__file__).with_name("client.go"), folder / "main.go")
    return Toolchain(command, env, folder)


@pytest.fixture
def play(private_libssl, certificate):
    def run(program: Path, size: int, clients: int, *more: str, **options) -> tuple[Run, set[tuple[str, str, str]]]:
        out = private_libssl.folder / "out"
        command = ["/bin/sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", str(out), str(program)]
        done = watch(
            private_libssl,
            [*command, *certificate, str(size), str(clients), *more],
            libraries=[program],
            ring_bytes=1 << 27,  # all of it: a reader on a busy machine may be late
            **options,
        )
        assert done.code == 0
        assert done.lost == 0
        return done, {tuple(line.split()) for line in out.read_text().splitlines()}

    return run


def seen(run: Run) -> set[tuple[str, str, str]]:
    found = set()
    for s in run.streams.values():
        if s.address:
            local, local_port, remote, remote_port = s.address
            role = "server" if s.server else "client"
            found.add((role, f"{local}:{local_port}", f"{remote}:{remote_port}"))
    return found


def check(run: Run, size: int, clients: int) -> None:
    expected = sorted(pattern(size, n) for n in range(clients))
    back = sorted(pattern(size, n)[::-1] for n in range(clients))
    assert sorted(bytes(c.written) for c in run.clients) == expected
    assert sorted(bytes(c.read) for c in run.clients) == back
    assert sorted(bytes(s.read) for s in run.servers) == expected
    assert sorted(bytes(s.written) for s in run.servers) == back
    assert not any(s.midway for s in run.streams.values())
    assert all(c.closed for c in run.clients)


@pytest.mark.parametrize(
    "options",
    [(), ("-ldflags=-s -w",), ("-buildmode=pie", "-ldflags=-s -w")],
    ids=["symbols", "stripped", "stripped-pie"],
)
@pytest.mark.parametrize("size", [200, 3_000_000])
def test_clients_and_servers(go, play, row, options, size):
    row("Go client and server", f"{go.version}, {' '.join(options) or 'symbols'}", "both", size, "8 goroutines")
    run, told = play(go.build("-".join(options).replace("/", "") or "symbols", *options), size, 4)
    check(run, size, 4)
    assert seen(run) == told or not run.report.addresses


@pytest.mark.parametrize("way", [{"multi": False}, {"variant": "basic"}], ids=["perf", "basic"])
def test_every_way_of_attaching(go, play, way):
    run, _ = play(go.build("symbols"), 50_000, 4, **way)
    check(run, 50_000, 4)


def test_many_goroutines(go, play, row):
    row("Go client and server", f"{go.version}, symbols", "both", 20_000, "400 goroutines")
    run, told = play(go.build("symbols"), 20_000, 200)
    check(run, 20_000, 200)
    assert seen(run) == told or not run.report.addresses


def test_bytes_read_into_a_stack_that_moves_meanwhile(go, play):
    run, _ = play(go.build("symbols"), 1500, 50, "stack")
    check(run, 1500, 50)


def test_the_version_is_known(go, play):
    run, _ = play(go.build("symbols"), 10, 1)
    [target] = run.report.targets
    assert target.runtime.startswith("go1.")
    assert target.refused == {}
