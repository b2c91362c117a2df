# SPDX-License-Identifier: Apache-2.0
"""The command under `record` is the command that it would be without: what the kernel says of it, to the word."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.sensor import boots
from tests.live.sensor.conftest import SENSOR, Bench

pytestmark = pytest.mark.live

LOOK = """
import json, os, resource, signal, sys
def text(name):
    with open(f"/proc/self/{name}") as file:
        return file.read()
mine = {os.open("/proc/self/fd", os.O_RDONLY)}
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
fds = {n: t for n, t in fds.items() if int(n) not in mine and not t.startswith(f"/proc/{os.getpid()}")}
print(json.dumps({
    "status": dict(line.split(":", 1) for line in text("status").splitlines()),
    "limits": text("limits"), "cgroup": text("cgroup"), "environ": text("environ"), "oom": text("oom_score_adj"),
    "fds": fds, "cwd": os.getcwd(), "arguments": sys.argv, "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "group": os.getpgrp() == os.getpid(), "session": os.getsid(0),
    "ignored": [n for n in range(1, 65) if n not in (32, 33) and signal.getsignal(n) == signal.SIG_IGN],
}))
"""
# What differs between two runs of anything: numbers of processes, memory and time.
OWN = ("Pid", "PPid", "Tgid", "Ngid", "NSpid", "NStgid", "NSpgid", "NSsid", "TracerPid")
USED = ("Vm", "Rss", "voluntary", "nonvoluntary", "HugetlbPages", "Shd", "SigQ", "FDSize", "Mems_allowed_list")


def look(bench: Bench, words: list[str], **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [*words, sys.executable, "-S", "-c", LOOK, "one", "two words"],
        cwd=bench.folder,
        env={**bench.environment(), "SOME": "thing"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["status"] = {k: v for k, v in found["status"].items() if k not in OWN and not k.startswith(USED)}
    # Pipes of this test: which ones they are differs, what they are does not.
    found["fds"] = {name: target.partition(":")[0] for name, target in found["fds"].items()}
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    pairs = [(one | {"status": {}}, other | {"status": {}}), (one["status"], other["status"])]
    return {k: (a.get(k), b.get(k)) for a, b in pairs for k in a.keys() | b.keys() if a.get(k) != b.get(k)}


def recorded(bench: Bench, *options: str) -> list[str]:
    return [*SENSOR, "record", *bench.library, "--out", str(bench.events_file), *options, "--"]


def test_the_same_as_without_us(bench: Bench) -> None:
    alone, watched = look(bench, []), look(bench, recorded(bench))
    assert {"CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt", "Groups", "Umask"} <= set(
        alone["status"]
    )
    assert differences(watched, alone) == {}


def test_the_same_where_the_caller_is_unusual(bench: Bench) -> None:
    """Signals blocked and ignored, limits lowered, a mask, a niceness, an inherited descriptor."""

    def unusual() -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH, signal.SIGALRM})
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(0o137)
        os.nice(3)

    read, write = os.pipe()
    try:
        options = {"preexec_fn": unusual, "pass_fds": (read,)}
        alone, watched = look(bench, [], **options), look(bench, recorded(bench), **options)
    finally:
        os.close(read)
        os.close(write)
    assert alone["status"]["SigBlk"].strip() != "0" * 16
    assert str(read) in alone["fds"]
    assert differences(watched, alone) == {}


def test_as_another_user(bench: Bench) -> None:
    bench.folder.chmod(0o755)
    done = subprocess.run(
        [*recorded(bench, "--as", "nobody"), "sh", "-c", "id -u; id -g; id -G; echo $HOME"],
        cwd=bench.folder,
        env=bench.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    plain = subprocess.run(["id", "-u", "nobody"], capture_output=True, text=True, check=True).stdout
    uid, gid, groups, home = done.stdout.splitlines()
    assert uid == plain.strip()
    assert gid in groups.split()
    assert home == "/nonexistent"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--as", "no-such-user-here", "--", "true"], "a user of this machine"),
        (["--as", "nobody", "--all"], "--as is for a COMMAND"),
    ],
)
def test_mistakes(bench: Bench, words: list[str], message: str) -> None:
    done = subprocess.run(
        [*SENSOR, "record", *words], env=bench.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_signals_reach_the_command(bench: Bench, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    process = bench.start("--out", str(bench.events_file), "--", sys.executable, "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 9, error


def test_what_it_leaves_running_is_said(bench: Bench) -> None:
    done = bench.record(["sh", "-c", "sleep 3 & echo $!"])
    assert done.returncode == 0
    pid = int(done.stdout)
    assert f"still running: {pid} (sleep)" in done.stderr
    assert Path(f"/proc/{pid}").exists()
    os.kill(pid, signal.SIGKILL)


def test_where_capture_cannot_start_the_command_does_not_run(bench: Bench) -> None:
    """The worker cannot be made: nothing runs unwatched."""
    ran = bench.folder / "ran"
    words = [sys.executable, "-c", boots.SENSOR, "raise SystemExit(5)", "record", *bench.library]
    done = subprocess.run(
        [*words, "--out", str(bench.events_file), "--", "touch", str(ran)],
        cwd=bench.folder,
        env=bench.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "the worker cannot start (exit code 5)" in done.stderr
    assert not ran.exists()
