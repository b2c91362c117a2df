# SPDX-License-Identifier: Apache-2.0
"""Capture against own processes that load a private copy of libssl: bytes, account, scope, life."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from oisp_sensor.capture import Capture, CaptureError, Scope, SpawnError, messages
from oisp_sensor.capture.ringbuf import RingBuffer
from tests.conftest import unavailable
from tests.live.capture import targets
from tests.live.capture.harness import open_descriptors, python, watch
from tests.live.capture.records import streams, summary
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

# Every way that the programs can be built and attached.
WAYS = [
    pytest.param({"variant": "modern", "multi": True}, id="modern-multi"),
    pytest.param({"variant": "modern", "multi": False}, id="modern-perf"),
    pytest.param({"variant": "basic"}, id="basic"),
]


SIZES = [1, 255, 256, 257, 1024, 2049, 8192, 16383, 16384, 16385, 3_000_000]


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_exact(private_libssl, certificate, way):
    """Around every border of the reservations, and a write of 184 chunks."""
    sizes = ",".join(map(str, SIZES))
    run = watch(private_libssl, python(targets.SIZES, *certificate, "0", sizes), **way)
    assert run.code == 0
    expected = b"".join(pattern(size, size) for size in SIZES)
    [client], [server] = run.clients, run.servers
    assert bytes(client.written) == expected
    assert bytes(server.read) == expected
    assert (client.midway, server.midway) == (False, False)
    assert run.lost == 0
    assert [m.event for m in run.told if isinstance(m, messages.Process)] == ["seen", "exec", "exit"]


def test_a_connection_is_opened_once_and_closed_once(private_libssl, certificate):
    run = watch(private_libssl, python(targets.MEMORY, *certificate))
    assert Counter(summary(run.records)) == {"open": 2, "address": 1, "data": 2, "close": 2}
    assert [s.closed for s in run.clients] == [(200, 0, 0, 0)]
    assert [s.closed for s in run.servers] == [(0, 200, 0, 0)]


@pytest.mark.parametrize("size", [200, 1_000_000])
def test_sockets(private_libssl, certificate, size):
    run = watch(private_libssl, python(targets.SOCKETS, *certificate, str(size)))
    assert run.code == 0
    [client], [server] = run.clients, run.servers
    assert (bytes(client.written), bytes(client.read)) == (pattern(size), pattern(size, 3))
    assert (bytes(server.read), bytes(server.written)) == (pattern(size), pattern(size, 3))


def test_threads_do_not_mix(private_libssl, certificate):
    run = watch(private_libssl, python(targets.THREADS, *certificate, "20000"))
    assert run.code == 0
    assert (len(run.clients), len(run.servers)) == (8, 8)
    seen = set()
    for client in run.clients:
        n = client.written[0]
        seen.add(n)
        assert bytes(client.written[1:]) == b"".join(pattern(700, n + i) for i in range(50))
        assert bytes(client.read) == pattern(20000, n)
    assert seen == set(range(8))


def test_asyncio(private_libssl, certificate):
    run = watch(private_libssl, python(targets.ASYNC, *certificate, "70000"))
    assert run.code == 0
    written = sorted(bytes(c.written) for c in run.clients)
    assert written == sorted(pattern(70000, n) for n in range(10))
    assert all(bytes(c.read) == bytes(c.written)[::-1] for c in run.clients)


def test_a_fork_with_a_live_handle_is_another_connection_and_says_midway(private_libssl, certificate):
    run = watch(private_libssl, python(targets.FORK, *certificate))
    assert run.code == 0
    by_midway = {c.midway: bytes(c.written) for c in run.streams.values() if c.written}
    assert by_midway == {False: pattern(100, 1) + pattern(100, 2), True: pattern(100, 3)}
    assert len(run.processes("fork")) == 1
    assert run.report.late == 1
    assert len({(m.pid, m.start_time_ns) for m in run.processes("exit")}) == 2


@pytest.mark.parametrize("way", [WAYS[0]])
@pytest.mark.parametrize(("script", "code"), [(targets.ABANDON, 7), (targets.EXEC, 0)])
def test_handles_end_with_their_address_space(private_libssl, certificate, script, code, way):
    run = watch(private_libssl, python(script, *certificate), **way)
    assert run.code == code
    assert [s.closed for s in run.clients] == [(200, 0, 0, 0)]
    assert [s.closed for s in run.servers] == [(0, 200, 0, 0)]
    assert [m.status for m in run.processes("exit")] == [code << 8]


def test_a_freed_handle_is_never_taken_for_its_successor(private_libssl, certificate):
    run = watch(private_libssl, python(targets.REUSE, *certificate))
    assert sorted(bytes(c.written) for c in run.clients) == sorted(pattern(64, n) for n in range(20))
    assert len(run.streams) == 40
    assert all(s.closed for s in run.streams.values())


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_consumer_gives_an_exact_account(private_libssl, certificate, way):
    size, calls = 5000, 400
    run = watch(
        private_libssl, python(targets.FLOOD, *certificate, str(size)), consume=False, ring_bytes=1 << 16, **way
    )
    assert run.code == 0
    captured = {True: 0, False: 0}
    for record in run.records:
        if record[4] == 1:
            captured[bool(record[86])] += struct.unpack_from("<I", record, 76)[0]
    full = run.losses["ring_full"]
    assert captured[False] + full.written == size * calls
    assert captured[True] + full.read == size * calls
    assert full.written > 0
    assert not any(run.losses[name].records for name in ("fault", "state", "too_large"))


def test_losses_stand_in_the_close_of_their_connection(private_libssl, certificate):
    """The reader sleeps through the flood and wakes for the end: what is missing is said per connection."""
    script = targets.program(
        """
        client, server = memory_pair()
        for i in range(400):
            client.write(pattern(size, i)); read_all(server, size)
        print("flooded", flush=True); sys.stdin.readline()
        del client, server
        """
    )
    with Capture(Scope.command(), libraries=[private_libssl.libssl], ring_bytes=1 << 16) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        out_read, out_write = os.pipe()
        in_read, in_write = os.pipe()
        stdin, stdout = os.dup(0), os.dup(1)
        os.dup2(in_read, 0), os.dup2(out_write, 1)
        try:
            child = capture.spawn(python(script, *certificate, "5000"), env=private_libssl.env)
        finally:
            os.dup2(stdin, 0), os.dup2(stdout, 1)
        with open(out_read, closefd=False) as out:
            assert out.readline() == "flooded\n"
        records = ring.records()
        os.write(in_write, b"\n")
        assert child.wait() == 0
        records += ring.records()
        lost = capture.losses()["ring_full"]
        ring.close()
    for fd in (out_read, out_write, in_read, in_write, stdin, stdout):
        os.close(fd)
    found = streams(records)
    client = next(s for s in found.values() if not s.server)
    server = next(s for s in found.values() if s.server)
    assert client.closed == (2_000_000, 0, lost.written, 0)
    assert server.closed == (0, 2_000_000, 0, lost.read)
    assert lost.written > 0
    assert (client.told_lost, server.told_lost) == ([lost.written, 0], [0, lost.read])
    assert client.told_records + server.told_records == lost.records
    assert len(client.written) - client.missing[0] == 2_000_000 - lost.written


def test_a_process_outside_the_scope_is_not_captured(private_libssl, certificate):
    """It maps the very file that carries the probes."""
    with Capture(Scope.command(), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        subprocess.run(python(targets.MEMORY, *certificate), env=private_libssl.env, check=True)
        child = capture.spawn(python(targets.MEMORY, *certificate), env=private_libssl.env)
        assert child.wait() == 0
        capture.poll()
        records = ring.records()
        losses = capture.losses()
        told = messages.receive(capture.channel)
        ring.close()
    assert {s.pid for s in streams(records).values()} == {child.pid}
    assert {m.pid for m in told if isinstance(m, messages.Process)} == {child.pid}
    assert not any(loss.records for loss in losses.values())


def test_descendants_are_in_scope_even_when_they_leave_the_session(private_libssl, certificate):
    script = targets.program(
        """
        import subprocess
        again = sys.argv[4]
        subprocess.run([sys.executable, "-c", again, cert, key], check=True, start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", again, cert, key, "300"])
            os._exit(0)
        os.wait(); time.sleep(1)
        """
    )
    run = watch(private_libssl, python(script, *certificate, "200", targets.MEMORY))
    assert run.code == 0
    assert sorted(len(c.written) for c in run.clients) == [200, 300]


def test_what_a_command_left_behind_is_known(private_libssl, certificate):
    script = "import os, sys, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(30)\n"
    with Capture(Scope.command(), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        child = capture.spawn(python(script), env=private_libssl.env)
        assert child.wait() == 0
        capture.poll()
        [left] = capture.members()
        os.kill(left, signal.SIGKILL)
        for _ in range(100):
            if not capture.members():
                break
            time.sleep(0.02)
        assert capture.members() == []
    assert left != child.pid


def test_an_exec_by_a_thread_keeps_its_probes(private_libssl, certificate):
    """The thread takes the leader's place; what was attached for the leader is attached again."""
    script = targets.program(
        """
        again = ["-c", sys.argv[4], cert, key]
        client, server = memory_pair()
        client.write(pattern(100)); read_all(server, 100)
        threading.Thread(target=os.execv, args=(sys.executable, [sys.executable, *again])).start()
        time.sleep(20)
        """
    )
    slow = targets.MEMORY.replace("client, server = memory_pair()", "time.sleep(0.3); client, server = memory_pair()")
    run = watch(private_libssl, python(script, *certificate, "200", slow))
    assert run.code == 0
    assert [m.status for m in run.processes("exec")] == [0, 1]
    assert sorted(len(c.written) for c in run.clients) == [100, 200]
    assert not any(s.midway for s in run.streams.values())
    assert all(s.closed for s in run.streams.values())


def test_a_process_number_that_comes_again_is_not_in_scope(private_libssl, certificate):
    """A child of the command has ended; a stranger is given its number, and maps the file that is probed."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not last.exists():
        unavailable("this kernel lets no process number be chosen (CONFIG_CHECKPOINT_RESTORE)", required=False)
    script = targets.program(
        """
        import subprocess
        print(subprocess.Popen(["true"]).pid, file=open(sys.argv[4], "w", 1)); os.wait(); time.sleep(3)
        """
    )
    out = private_libssl.folder / "pid"
    with Capture(Scope.command(), libraries=[private_libssl.libssl], per_process=False) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        child = capture.spawn(python(script, *certificate, "0", str(out)), env=private_libssl.env)
        while not (out.exists() and out.read_text()):
            capture.poll(0.05)
        time.sleep(0.1)
        pid = int(out.read_text())
        for _ in range(50):
            last.write_text(str(pid - 1))
            stranger = subprocess.Popen(python(targets.MEMORY, *certificate), env=private_libssl.env)
            assert stranger.wait() == 0
            if stranger.pid == pid:
                break
        assert stranger.pid == pid
        capture.poll()
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert ring.records() == []
        assert {m.event for m in messages.receive(capture.channel) if m.pid == pid} == {"fork", "exec", "exit"}
        ring.close()


def test_a_running_process_by_pid(private_libssl, certificate):
    script = targets.program("sys.stdin.readline()\n") + targets.MEMORY
    target = subprocess.Popen(python(script, *certificate), env=private_libssl.env, stdin=subprocess.PIPE)
    other = subprocess.Popen(python(script, *certificate), env=private_libssl.env, stdin=subprocess.PIPE)
    time.sleep(0.3)
    with Capture(Scope.pid(target.pid), libraries=[private_libssl.libssl], eager=False) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        report = capture.report()
        for process in (target, other):
            process.communicate(b"\n")
            assert process.returncode == 0
        capture.poll()
        records = ring.records()
        ring.close()
    assert [t.late for t in report.targets] == [True]
    assert {s.pid for s in streams(records).values()} == {target.pid}
    assert [bytes(s.written) for s in streams(records).values() if s.written] == [pattern(200)]


@pytest.mark.parametrize("limit", ["_MAX_LINKS", "_MAX_EVENTS"])
def test_beyond_the_limits_it_goes_on(private_libssl, certificate, monkeypatch, limit):
    """Too many links: the file is probed for all. Too many threads: all mappings are looked through."""
    module = sys.modules["oisp_sensor.capture.capture" if limit == "_MAX_LINKS" else "oisp_sensor.capture.watch"]
    monkeypatch.setattr(module, limit, 0)
    script = targets.program("sys.stdin.readline()\n") + targets.MEMORY
    target = subprocess.Popen(python(script, *certificate), env=private_libssl.env, stdin=subprocess.PIPE)
    time.sleep(0.3)
    with Capture(Scope.pid(target.pid), libraries=[private_libssl.libssl], eager=False) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        assert capture._watch.machine_wide == (limit == "_MAX_EVENTS")
        assert [list(t.held) for t in capture.report().targets] == [[0 if limit == "_MAX_LINKS" else target.pid]]
        other = subprocess.run(python(targets.MEMORY, *certificate), env=private_libssl.env, check=False)
        target.communicate(b"\n")
        capture.poll()
        records = ring.records()
        ring.close()
    assert (target.returncode, other.returncode) == (0, 0)
    assert {s.pid for s in streams(records).values()} == {target.pid}


def test_a_library_that_is_mapped_later_is_probed_when_it_is(private_libssl, certificate):
    """Python maps libssl at `import ssl`. Nobody waits for us: the program gives us the time by itself."""
    script = targets.SOCKETS.replace("listener =", "time.sleep(0.2); listener =", 1)
    run = watch(private_libssl, python(script, *certificate, "2000"), eager=False)
    assert run.code == 0
    attached = [m for m in run.told if isinstance(m, messages.Attached)]
    assert [(m.late, m.path) for m in attached] == [(True, str(private_libssl.libssl))]
    assert run.report.late == 1
    assert [bytes(c.written) for c in run.clients if c.written] == [pattern(2000)]


def test_two_sets_of_probes_on_one_file_give_its_bytes_once(private_libssl, certificate):
    """As when a container's overlay shows the file under another device number."""
    with Capture(Scope.command(), libraries=[private_libssl.libssl]) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        [target] = capture.report().targets
        assert capture._attacher.attach(target, 0)
        target.held[-1] = target.held.pop(0)
        assert capture._attacher.attach(target, 0)
        child = capture.spawn(python(targets.MEMORY, *certificate, "40000"), env=private_libssl.env)
        assert child.wait() == 0
        records, losses = ring.records(), capture.losses()
        ring.close()
    assert sorted(len(s.written) for s in streams(records).values()) == [0, 40000]
    assert Counter(summary(records)) == {"open": 2, "address": 1, "data": 6, "close": 2}
    assert not any(loss.records for loss in losses.values())


def test_exit_codes_and_signals_pass_through(private_libssl):
    assert watch(private_libssl, ["/bin/sh", "-c", "exit 41"]).code == 41
    assert watch(private_libssl, ["/bin/sh", "-c", "kill -TERM $$"]).code == 128 + signal.SIGTERM


def test_a_command_that_cannot_start(private_libssl, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    for command, code in ((["no-such-command"], 127), ([str(tmp_path / "absent")], 127), ([str(plain)], 126)):
        with pytest.raises(SpawnError) as caught:
            watch(private_libssl, command)
        assert caught.value.exit_code == code


def test_the_command_does_not_differ_from_one_that_nobody_watches(private_libssl, tmp_path):
    script = """
        import os, resource, signal, sys
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        keys = "Uid Gid Groups SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp".split()
        print({k: status[k].strip() for k in keys}, sorted(os.environ.items()), os.getcwd(), os.umask(0),
              [resource.getrlimit(r) for r in range(16)], sorted(os.listdir("/proc/self/fd")),
              os.getpgid(0), os.getsid(0), os.nice(0), sys.argv, file=open(sys.argv[1], "w"))
        """
    # A folder is given so that it forks: posix_spawn ignores a signal of its own in the child.
    command = python(script, str(tmp_path / "out"))
    subprocess.run(command, env=private_libssl.env, close_fds=False, cwd=Path.cwd(), check=True)
    expected = (tmp_path / "out").read_text()
    assert watch(private_libssl, command).code == 0
    assert (tmp_path / "out").read_text() == expected


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_behind(private_libssl, certificate, way):
    before = open_descriptors()
    links = _links()
    watch(private_libssl, python(targets.MEMORY, *certificate), **way)
    assert open_descriptors() == before
    assert _links() == links


def _links() -> int:
    """BPF links of this kernel that hold a uprobe program of ours, by bpftool where it is installed."""
    try:
        answer = subprocess.run(["bpftool", "prog", "show"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return sum(f"pids {Path(sys.executable).name}({os.getpid()})" in line for line in answer.splitlines())


def test_a_library_without_tls_is_refused_by_name(private_libssl):
    with (
        Capture(Scope.command(), libraries=[private_libssl.libcrypto]) as capture,
        pytest.raises(CaptureError, match=r"libcrypto.*exports no TLS function"),
    ):
        capture.start()
