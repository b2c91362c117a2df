# SPDX-License-Identifier: Apache-2.0
"""Scopes by cgroup and by user, each made by the test; and as whom the command runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oisp_sensor.capture import Capture, CaptureError, Scope
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.scope import unified_root
from oisp_sensor.capture.spawn import Identity
from tests.live.capture import targets
from tests.live.capture.harness import python
from tests.live.capture.records import streams

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]
NOBODY = 65534


@pytest.fixture
def cgroup() -> Iterator[Path]:
    try:
        folder = unified_root() / f"oisp-test-{os.getpid()}"
        folder.mkdir()
    except (OSError, CaptureError) as error:
        pytest.skip(f"no cgroup can be made: {error}")
    yield folder
    for below in sorted(folder.rglob("*/"), reverse=True):
        below.rmdir()
    folder.rmdir()


def start_in(folder: Path, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    entered = ["/bin/sh", "-c", 'echo $$ > "$0"/cgroup.procs && exec "$@"', str(folder), *command]
    return subprocess.Popen(entered, env=env)


@pytest.mark.parametrize("below", ["", "child"])
def test_a_cgroup_and_those_below_it(private_libssl, certificate, cgroup, below):
    folder = cgroup / below
    folder.mkdir(exist_ok=True)
    scope = Scope.of_cgroup(str(cgroup.relative_to(unified_root())))
    with Capture(scope, libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        inside = start_in(folder, python(targets.MEMORY, *certificate), private_libssl.env)
        outside = subprocess.Popen(python(targets.MEMORY, *certificate), env=private_libssl.env)
        assert (inside.wait(), outside.wait()) == (0, 0)
        found = streams(ring.records())
        ring.close()
    assert {s.pid for s in found.values()} == {inside.pid}
    assert len(found) == 2


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can read; pytest's own is private."""
    folder = Path(tempfile.mkdtemp(prefix="oisp-scope-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def client(public, private_libssl, certificate) -> list[str]:
    source = Path(__file__).with_name("client.c")
    command = ["gcc", "-o", str(public / "client"), str(source), "-lssl", "-lcrypto"]
    if shutil.which("gcc") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no compiler, or no headers of OpenSSL")
    for file in (private_libssl.libssl, private_libssl.libcrypto, *map(Path, certificate)):
        shutil.copy(file, public / file.name)
        (public / file.name).chmod(0o644)
    cert, key = (str(public / Path(name).name) for name in certificate)
    return [str(public / "client"), "ints", cert, key, "500"]


def test_a_user(public, client, private_libssl):
    env = {"LD_LIBRARY_PATH": str(public)}
    with Capture(Scope.user(NOBODY), libraries=[public / private_libssl.libssl.name]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        theirs = subprocess.Popen(client, env=env, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
        ours = subprocess.Popen(client, env=env, cwd="/")
        assert (theirs.wait(), ours.wait()) == (0, 0)
        found = streams(ring.records())
        ring.close()
    assert {s.pid for s in found.values()} == {theirs.pid}


def test_the_command_runs_as_the_user_who_asked(public, client, private_libssl):
    """What sudo's caller gets: their ids, groups and home, and nothing of root's."""
    out = public / "out"
    out.touch()
    out.chmod(0o666)
    told = f'{{ id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status; }} >{out}; exec "$@"'
    user = Identity(NOBODY, NOBODY, (NOBODY,), "/nonexistent", "nobody")
    library = public / private_libssl.libssl.name
    with Capture(Scope.command(), libraries=[library]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        env = {"LD_LIBRARY_PATH": str(public), "PATH": os.defpath}
        child = capture.spawn(["/bin/sh", "-c", told, "sh", *client], env=env, cwd="/", user=user)
        assert child.wait() == 0
        found = streams(ring.records())
        ring.close()
    lines = out.read_text().split("\n")
    assert lines[:5] == ["65534", "65534", "65534", "/nonexistent", "CapEff:\t0000000000000000"]
    assert sorted(len(s.written) for s in found.values()) == [0, 500]


def test_what_is_not_there_is_refused():
    with pytest.raises(CaptureError, match="there is no process 4194305"):
        Scope.pid(4194305)
    with pytest.raises(CaptureError, match="no cgroup"):
        Scope.of_cgroup("no/such/group")
    with pytest.raises(CaptureError, match="power of two"):
        Capture(Scope.command(), ring_bytes=100_000)
