# SPDX-License-Identifier: Apache-2.0
"""Activity as the kernel tells it: a script whose doings are known is accounted for, each exactly once, or as lost.

Own processes, own folder, loopback only. The long form: 1,000 processes, 1,000 connections, 10,000 operations.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oisp_core.validate import problems
from oisp_sensor.activity import ActivityEvents
from oisp_sensor.activity.ids import Ulids
from oisp_sensor.activity.stage import ActivityStage
from oisp_sensor.capture import Capture, Scope, kernel
from oisp_sensor.enrich.enricher import ArgumentPolicy, Enricher

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

# argv: folder, processes, connections, files. Writes nothing but what it counts.
SCRIPT = """
import os, socket, sys, threading
folder, processes, connections, files = sys.argv[1], *map(int, sys.argv[2:5])
os.chdir(folder)
for number in range(processes):
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit $1", "sh", str(number % 7)], {})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number % 7
server = socket.create_server(("127.0.0.1", 0), backlog=64)
def serve():
    for _ in range(connections):
        taken, _ = server.accept()
        with taken:
            got = b""
            while piece := taken.recv(65536):
                got += piece
            taken.sendall(got[:100])
thread = threading.Thread(target=serve)
thread.start()
for number in range(connections):
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x" * (1000 + number))
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
thread.join()
for number in range(files):
    with open(f"a{number}", "wb", buffering=0) as out:
        out.write(b"y" * (number + 1))
    with open(f"a{number}", "rb", buffering=0) as back:
        assert len(back.read(number + 10)) == number + 1
        assert not back.read(1)
    os.rename(f"a{number}", f"b{number}")
    os.unlink(f"b{number}")
"""


class Run:
    """A command under capture of its activity alone: no library is probed."""

    def __init__(self, command: list[str], kinds: tuple[str, ...], *, ring: int = 4 << 20, read: bool = True) -> None:
        events = ActivityEvents(Enricher(ArgumentPolicy("full")), clock_base_ns=kernel.clock_base_ns(), new_id=Ulids(1))
        lines = b""
        with Capture(Scope.command(), libraries=[], activity=kinds, activity_ring_bytes=ring) as capture:
            capture.start()
            assert capture.activity_refused == {}
            stage = ActivityStage(capture.activity.ring_fd, capture.activity.ring_bytes, events)
            child = capture.spawn(command)
            deadline = time.monotonic() + 120
            while (code := child.poll()) is None:
                assert time.monotonic() < deadline
                capture.poll(0.01)
                if read:
                    lines += stage.take()
            time.sleep(0.2)  # connections that are still ending
            capture.poll(0)
            self.losses = capture.activity_losses()
        lines += stage.finish()
        self.code, self.pid = code, child.pid
        for line in lines.splitlines()[::50]:
            assert not list(problems(line)), line
        self.events = [json.loads(line) for line in lines.splitlines()]
        self.account = stage.account()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event_type"] == kind]


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", script, *map(str, arguments)]


FORMS = [(100, 100, 250), pytest.param((1000, 1000, 2500), marks=pytest.mark.full)]


@pytest.mark.parametrize("counts", FORMS)
def test_each_thing_is_told_exactly_once(tmp_path: Path, counts: tuple[int, int, int]) -> None:
    processes, connections, files = counts
    run = Run(python(SCRIPT, tmp_path, *counts), ("process", "network", "dns", "file"), ring=16 << 20)
    assert run.code == 0
    assert not any(run.losses.values())
    assert run.account["nameless"] == run.account["malformed"] == 0

    children = {event["data"]["child_pid"] for event in run.of("process.fork")}
    assert len(run.of("process.fork")) == len(children) == processes
    execs = [event for event in run.of("process.exec") if event["data"]["args"][:2] == ["sh", "-c"]]
    assert sorted(int(event["data"]["args"][-1]) for event in execs) == sorted(n % 7 for n in range(processes))
    assert {event["process"]["pid"] for event in execs} == children
    assert {event["data"]["cwd"] for event in execs} == {str(tmp_path)}
    exits = {event["process"]["pid"]: event["data"]["exit_code"] for event in run.of("process.exit")}
    assert set(exits) == children | {run.pid}
    assert all(exits[event["process"]["pid"]] == int(event["data"]["args"][-1]) for event in execs)

    assert all(event["data"]["success"] for event in run.of("network.connect"))
    assert len(run.of("network.connect")) == len(run.of("network.accept")) == connections
    flows = Counter(
        (e["data"]["direction"], e["data"]["bytes_sent"], e["data"]["bytes_received"]) for e in run.of("network.flow")
    )
    expected = Counter(("outbound", 1000 + n, 100) for n in range(connections))
    assert flows == expected + Counter(("inbound", 100, 1000 + n) for n in range(connections))

    own = [event for event in run.events if event["event_type"].startswith("file.")]
    own = [event for event in own if str(tmp_path) in json.dumps(event["data"])]
    by_kind = Counter(event["event_type"] for event in own)
    assert by_kind == {"file.write": files, "file.read": files, "file.rename": files, "file.delete": files}
    written = {event["data"]["path"]: event["data"] for event in run.of("file.write")}
    read = {event["data"]["path"]: event["data"] for event in run.of("file.read")}
    for number in range(files):
        path = f"{tmp_path}/a{number}"
        assert (written[path]["bytes_written"], written[path]["created"]) == (number + 1, True)
        assert (read[path]["bytes_read"], read[path]["complete"]) == (number + 1, True)
    renames = {(event["data"]["old_path"], event["data"]["new_path"]) for event in run.of("file.rename")}
    assert renames == {(f"{tmp_path}/a{n}", f"{tmp_path}/b{n}") for n in range(files)}
    assert {event["data"]["path"] for event in run.of("file.delete")} == {f"{tmp_path}/b{n}" for n in range(files)}


@pytest.mark.parametrize("counts", FORMS)
def test_what_a_small_ring_could_not_hold_is_counted(tmp_path: Path, counts: tuple[int, int, int]) -> None:
    """Nobody reads until the end: told and lost together are what happened."""
    processes, connections, _ = counts
    run = Run(python(SCRIPT, tmp_path, *counts), ("process", "network", "file"), ring=1 << 16, read=False)
    assert run.code == 0
    told = Counter(event["event_type"].split(".")[0] for event in run.events)
    lost = run.losses
    assert lost["process"] > 0
    assert lost["network"] > 0
    # One exec and one exit of the script itself; each child: fork, exec, exit.
    assert told["process"] + lost["process"] == 3 * processes + 2
    assert told["network"] + lost["network"] == 4 * connections
    # Each open file ends once: told, left out by the rules, without a name, or lost; renames and deletes have no more.
    ended = told["file"] + run.account["left_out"] + run.account["nameless"] + lost["file"]
    whole = Run(python(SCRIPT, tmp_path, *counts), ("process", "file"), ring=16 << 20)
    assert not any(whole.losses.values())
    assert ended == whole.account["left_out"] + sum(e["event_type"].startswith("file.") for e in whole.events)


def test_arguments_are_whole_and_credentials_are_not(tmp_path: Path) -> None:
    long = "x" * 100_000
    run = Run(["/bin/sh", "-c", "exec /bin/true --api-key sk-very-secret-1234 \"$0\" 'two words'", long], ("process",))
    (event,) = [e for e in run.of("process.exec") if e["data"]["args"][0] == "/bin/true"]
    assert event["data"]["args"][3:] == [long, "two words"]
    assert event["confidence"]["completeness"] == "full"
    assert "very-secret" not in json.dumps(run.events[-3:])


def test_a_process_that_is_gone_at_once_is_named(tmp_path: Path) -> None:
    run = Run(["/bin/sh", "-c", "/bin/true; /bin/true"], ("process",), read=False)
    ends = [event for event in run.of("process.exit") if event["process"]["exe"].endswith("/true")]
    assert len(ends) == 2
    assert {event["process"]["parent"]["pid"] for event in ends} == {run.pid}


def test_files_that_descriptors_share(tmp_path: Path) -> None:
    """A shell opens 3, makes it 1 and closes 3; a child writes to what it inherited."""
    command = "exec 3>shared; exec 1>&3 3>&-; echo one; /bin/echo two; : >empty; exec 1>&-"
    run = Run(["/bin/sh", "-c", f"cd {tmp_path} && {command}"], ("process", "file"))
    found = sorted((e["data"]["path"], e["data"]["bytes_written"], e["data"]["created"]) for e in run.of("file.write"))
    assert found == [(f"{tmp_path}/empty", 0, True), (f"{tmp_path}/shared", 4, False), (f"{tmp_path}/shared", 4, True)]


def test_connections_that_fail(tmp_path: Path) -> None:
    script = "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass\n"
    run = Run(python(script), ("network",))
    (event,) = run.of("network.connect")
    assert (event["data"]["success"], event["data"]["error"]) == (False, "ECONNREFUSED")
    assert not run.of("network.flow")


@pytest.fixture
def name_server() -> Iterator[str]:
    """Answers on an address of loopback that nobody else uses, in a thread of this process."""
    import threading

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.83.7", 53))
        server.settimeout(20)

        def answer() -> None:
            query, sender = server.recvfrom(2000)
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
            server.sendto(head + query[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", sender)

        thread = threading.Thread(target=answer)
        thread.start()
        yield "127.0.83.7"
        thread.join()


def test_a_name_and_the_connection_to_it(name_server: str) -> None:
    script = f"""
import socket, struct
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\\3api\\7example\\3com\\0\\0\\1\\0\\1"
asker.sendto(question, ("{name_server}", 53))
assert asker.recv(2000)
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
"""
    run = Run(python(script), ("network", "dns"))
    assert run.code == 0
    (named,) = run.of("network.dns")
    assert named["data"]["query_name"] == "api.example.com"
    assert named["data"]["answers"] == [{"type": "A", "value": "127.0.0.1", "ttl": 60}]
    assert named["data"]["resolver"] == name_server
    (connected,) = run.of("network.connect")
    assert connected["data"]["dest"]["domain"] == "api.example.com"


def test_others_are_not_told(tmp_path: Path) -> None:
    """A process outside the scope does the same beside it."""
    other = subprocess.Popen(python(SCRIPT, tmp_path, 20, 20, 20), cwd=os.sep)
    run = Run(["/bin/sleep", "0.3"], ("process", "network", "file"))
    assert other.wait() == 0
    assert {event["process"]["pid"] for event in run.events} == {run.pid}
    assert not run.of("network.connect")
    assert not run.of("process.fork")
