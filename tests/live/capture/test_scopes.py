# SPDX-License-Identifier: Apache-2.0
"""Scopes by cgroup and by user, each made by the test; and as whom the command runs."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oisp_sensor.capture import Capture, CaptureError, Scope, messages
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


@pytest.fixture
def container(cgroup: Path) -> tuple[str, Path]:
    """A cgroup under the name that Docker gives to that of a container."""
    number = secrets.token_hex(32)
    folder = cgroup / f"docker-{number}.scope"
    folder.mkdir()
    (folder / "init").mkdir()
    return number, folder


def test_a_container(private_libssl, certificate, container):
    number, folder = container
    scope = Scope.container(number[:12])
    assert scope.label == f"container {number[:12]}"
    with Capture(scope, libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        inside = start_in(folder / "init", python(targets.MEMORY, *certificate), private_libssl.env)
        outside = subprocess.Popen(python(targets.MEMORY, *certificate), env=private_libssl.env)
        assert (inside.wait(), outside.wait()) == (0, 0)
        found = streams(ring.records())
        ring.close()
    assert {s.pid for s in found.values()} == {inside.pid}


EXE = """
"$1" ints "$3" "$4" 100 || exit 1   # runs it
"$2" ints "$3" "$4" 200 || exit 1   # runs another file with the same content
exec "$1" ints "$3" "$4" 300        # becomes it
"""


def test_an_executable(public, client, private_libssl):
    """Whoever runs the file, from the time when it does until it runs something else."""
    program, other = Path(client[0]), public / "other"
    shutil.copy(program, other)
    env = {"LD_LIBRARY_PATH": str(public), "PATH": os.defpath}
    with Capture(Scope.executable(str(program)), libraries=[public / private_libssl.libssl.name]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        command = ["/bin/sh", "-c", EXE, "sh", str(program), str(other), *client[2:4]]
        assert subprocess.run(command, env=env, check=False).returncode == 0
        capture.poll()
        found = streams(ring.records())
        told = [m for m in messages.receive(capture.channel) if isinstance(m, messages.Process)]
        assert capture.members() == []
        ring.close()
    assert sorted(len(s.written) for s in found.values() if s.written) == [100, 300]
    assert not any(s.midway for s in found.values())
    assert [m.event for m in told] == ["exec", "exit"] * 2
    assert {m.pid for m in told} == {s.pid for s in found.values()}


def test_an_executable_that_already_runs_and_one_that_turns_into_another(private_libssl, certificate, public):
    """A private copy of Python: its children by fork run it too, until they exec."""
    program = public / "python"
    shutil.copy(Path(sys.executable).resolve(), program)
    script = targets.program(
        """
        sys.stdin.readline()
        client, server = memory_pair()
        if os.fork() == 0:
            client.write(pattern(50)); read_all(server, 50)
            os.execv(sys.argv[4], [sys.argv[4], "-c", sys.argv[5], cert, key, "70"])
        os.wait()
        client.write(pattern(60)); read_all(server, 60)
        """
    )
    env = {**private_libssl.env, "PYTHONHOME": sys.base_prefix}
    command = [str(program), "-c", script, *certificate, "0", sys.executable, targets.MEMORY]
    running = subprocess.Popen(command, env=env, stdin=subprocess.PIPE)
    time.sleep(0.3)
    with Capture(Scope.executable(str(program)), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        assert capture.members() == [running.pid]
        running.communicate(b"\n")
        assert running.returncode == 0
        capture.poll()
        found = streams(ring.records())
        ring.close()
    assert sorted(len(s.written) for s in found.values() if s.written) == [50, 60]


def test_what_is_not_there_is_refused():
    with pytest.raises(CaptureError, match="there is no process 4194305"):
        Scope.pid(4194305)
    with pytest.raises(CaptureError, match="no cgroup"):
        Scope.of_cgroup("no/such/group")
    with pytest.raises(CaptureError, match="no container id"):
        Scope.container("web")
    with pytest.raises(CaptureError, match="no container 0123456789abcdef runs here"):
        Scope.container("0123456789abcdef")
    with pytest.raises(CaptureError, match="No such file"):
        Scope.executable("/no/such/file")
    with pytest.raises(CaptureError, match="no regular file"):
        Scope.executable("/")
    with pytest.raises(CaptureError, match="power of two"):
        Capture(Scope.command(), ring_bytes=100_000)
