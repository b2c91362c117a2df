# SPDX-License-Identifier: Apache-2.0
"""The process border: what the worker cannot do, and an exact account whoever dies, at whatever moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.sensor import boots
from tests.live.sensor.conftest import SENSOR, Bench
from tests.live.sensor.service import ANSWER

pytestmark = pytest.mark.live

# Asks one question after another, each on a connection of its own; argv as the client's, then how many, or the path of
# a file at whose sight it stops.
MANY = """
import contextlib, io, os, sys
done, most = 0, sys.argv[-2]
while done < int(most) if most.isdigit() else not os.path.exists(most):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(sys.argv[-1], {})
    except SystemExit:
        done += 1
print(done)
"""


def start(bench: Bench, words: list[str], *options: str, **settings: Any) -> subprocess.Popen[str]:
    """`record` by these words for the sensor, until its events file is there."""
    report = ["--report", str(bench.folder / "report.json"), "--out", str(bench.events_file), "--activity", "none"]
    return subprocess.Popen(
        [*words, "record", *bench.library, *report, *options],
        cwd=bench.folder,
        env=bench.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def run(bench: Bench, words: list[str], *options: str) -> tuple[int, str, str]:
    process = start(bench, words, *options)
    out, error = process.communicate(timeout=90)
    return process.returncode, out, error


def report(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.folder / "report.json").read_text(encoding="utf-8"))
    return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_of(loader: subprocess.Popen[str]) -> int:
    """The child that is a fresh interpreter for the worker; 0 while there is none."""
    for pid in children(loader.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-I" in words[1:2] and b"oisp_sensor.worker" in words[3]:
            return pid
    return 0


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def many(bench: Bench, count: int | Path, prompt: str = "again") -> list[str]:
    client = bench.client(prompt)
    at = client.index("-c")
    return [*client[: at + 1], MANY, *client[at + 2 :], str(count), client[at + 1]]


def check_ring(bench: Bench, account: dict[str, Any], before: int = 0, lost: int = 0) -> None:
    """Every byte that client and service exchanged was read, or skipped, or lost: by what the service saw."""
    ring = account["ring"]
    sent = sum(map(len, bench.service.asked[before:])) + sum(map(len, bench.service.answered[before:]))
    spared = sum(one["written"] + one["read"] for one in account["capture"]["spared"].values())
    assert ring["payload"] + ring["payload_skipped"] + spared + lost == sent, account


def check_lines(bench: Bench, account: dict[str, Any]) -> list[dict[str, Any]]:
    """The file holds whole lines, as many as the account says."""
    events = bench.events()
    export = account["export"][0]
    assert len(events) == export["lines_written"]
    assert account["lines"] == export["lines_written"] + export["lines_dropped"]
    assert len({event["event_id"] for event in events}) == len(events)
    return events


# ---- what it cannot do ----


def test_every_forbidden_act_fails(bench: Bench) -> None:
    code, out, error = run(bench, boots.sensor(boots.FORBIDDEN), "--", *bench.client())
    assert (code, out) == (0, f"{ANSWER}\n"), error
    tried = boots.said(error)
    assert tried["tried"] > 400
    assert tried["allowed"] == {}
    # It does its work all the same.
    assert [event["event_type"] for event in bench.events()] == ["ai.request", "ai.response"]


def test_what_it_is(bench: Bench, until: Callable[..., None]) -> None:
    process = start(bench, SENSOR, "--", "sh", "-c", 'sleep 2; "$@"', "sh", *bench.client())
    until(lambda: worker_of(process) != 0 and status(worker_of(process)).get("Seccomp") == "2", 30)
    pid = worker_of(process)
    found = status(pid)
    assert set(found["Uid"].split()) == set(found["Gid"].split()) != {"0"}
    assert found["Groups"] == ""
    assert found["NoNewPrivs"] == "1"
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert found["Threads"] == "1"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits
    assert "Max processes             0                    0" in limits
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0  # not dumpable: its memory is root's to look at
    held = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert {name for name in held if "bpf" in name} == {"anon_inode:bpf-map"}  # the ring, and the table of verdicts
    assert not [name for name in held if "perf" in name or "link" in name or "prog" in name]
    loader = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert len([name for name in loader if "bpf" in name]) > 1
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    check_lines(bench, report(bench))


def test_a_worker_that_lies_is_ended(bench: Bench) -> None:
    code, _, error = run(bench, boots.sensor(boots.LIAR), "--", "sh", "-c", "sleep 6; exit 7")
    assert code == 7, error
    assert "the worker said what is no message" in error
    assert "Traceback" not in error


# ---- who dies ----


def test_a_record_that_kills_the_reader_is_skipped(bench: Bench) -> None:
    """Three questions; the reader dies of the second. The others are whole, and every record is accounted for."""
    before = len(bench.service.asked)
    clients = [bench.client(prompt) for prompt in ("first", "KILL-THE-READER", "third")]
    script = "; ".join(f'"${{@:{1 + i * len(clients[0])}:{len(clients[0])}}}"' for i in range(3))
    words = [word for client in clients for word in client]
    code, out, error = run(
        bench, boots.sensor(boots.FRAGILE), "--content", "full", "--", "bash", "-c", script, "x", *words
    )
    assert (code, out) == (0, f"{ANSWER}\n" * 3), error
    account = report(bench)
    assert account["workers"]["deaths"] == 1
    assert account["ring"]["records_skipped"] == 1
    assert account["ring"]["bytes_skipped"] > 200
    check_ring(bench, account, before)
    events = check_lines(bench, account)
    asked = [e["data"]["messages"][0]["content"] for e in events if e["event_type"] == "ai.request"]
    assert asked == ["first", "third"]
    assert "the worker died (SIGSEGV)" in error
    assert "1 record skipped" in error
    # What is left of the second is an answer without its question, and says that it was joined midway.
    rest = [e for e in events if e["event_type"] == "ai.response" and "related_events" not in e]
    assert all("joined_midway" in json.dumps(e["confidence"]) for e in rest)
    assert account["ring"]["connections_joined"] == 1
    # Everybody is named, whoever told the worker of them.
    assert {event["process"]["exe"] for event in events} == {os.path.realpath(sys.executable)}


def test_kill_of_the_worker_at_any_moment(bench: Bench, until: Callable[..., None]) -> None:
    """The worker is killed three times while one question follows the other."""
    stop = bench.folder / "stop"
    before = len(bench.service.asked)
    process = start(bench, SENSOR, "--", *many(bench, stop))
    killed: set[int] = set()
    while len(killed) < 3:
        until(lambda: worker_of(process) not in killed | {0}, 30)
        pid = worker_of(process)
        until(lambda pid=pid: status(pid).get("Seccomp") == "2", 30)
        time.sleep(0.1 * (1 + len(killed)))
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    until(lambda: worker_of(process) not in killed | {0}, 30)
    stop.touch()
    out, error = process.communicate(timeout=90)
    assert process.returncode == 0, error
    account = report(bench)
    assert account["workers"]["deaths"] == 3
    check_ring(bench, account, before)
    events = check_lines(bench, account)
    assert error.count("another one goes on") == 3
    # One question at a time: what is missing was in flight, skipped, or drained and not written.
    whole = sum(event["event_type"] == "ai.response" for event in events)
    cut = account["workers"]["exchanges_unfinished"] + account["ring"]["records_skipped"]
    dropped = account["export"][0]["lines_dropped"]
    assert int(out) - whole <= cut + dropped + account["ring"]["connections_joined"]
    assert all(loss["records"] == 0 for loss in account["capture"]["losses"].values())


def test_five_deaths_end_the_capture(bench: Bench) -> None:
    client = bench.waiting_client()
    code, _, error = run(bench, boots.sensor(boots.SHORT_LIVED), "--pid", str(client.pid))
    assert code == 1, error
    assert "the worker died 5 times within 60 seconds (SIGSEGV): capture ends" in error
    assert "Traceback" not in error
    assert report(bench)["workers"]["deaths"] == 5
    out, _ = client.communicate("go\n", timeout=60)
    assert out == f"{ANSWER}\n"  # it never knew


def test_five_deaths_leave_the_command_alone(bench: Bench) -> None:
    code, out, error = run(bench, boots.sensor(boots.SHORT_LIVED), "--", "sh", "-c", "sleep 5; echo fine; exit 3")
    assert (code, out) == (3, "fine\n"), error
    assert "capture ends" in error


def test_kill_of_the_loader(bench: Bench, until: Callable[..., None]) -> None:
    """Its probes go with it; the worker writes what it has and ends; the command goes on."""
    before = len(bench.service.asked)
    stop = bench.folder / "stop"
    process = start(bench, SENSOR, "--", *many(bench, stop))
    until(lambda: bench.events_file.exists() and bench.events_file.stat().st_size > 0, 30)
    pid = worker_of(process)
    command = next(child for child in children(process.pid) if b"-I" not in Path(f"/proc/{child}/cmdline").read_bytes())
    process.kill()
    process.wait(10)
    until(lambda: not Path(f"/proc/{pid}").exists() or status(pid)["State"].startswith("Z"), 10)
    events = bench.events()
    assert len({event["event_id"] for event in events}) == len(events) > 0
    asked = len(bench.service.asked)
    until(lambda: len(bench.service.asked) > asked + 3)  # the command was not harmed
    assert len(bench.events()) == len(events)  # and nobody captures any more
    stop.touch()
    out, _ = process.communicate(timeout=30)
    assert int(out) > asked - before
    until(lambda: not Path(f"/proc/{command}").exists() or status(command)["State"].startswith("Z"), 20)


# ---- what crosses ----


def test_a_stopped_worker_loses_what_the_ring_cannot_hold_and_says_how_much(
    bench: Bench, until: Callable[..., None]
) -> None:
    before = len(bench.service.asked)
    prompt = "x" * 90_000
    options = ["--ring-size", "64K", "--content", "full"]
    gate = bench.folder / "gate"
    os.mkfifo(gate)
    process = start(bench, SENSOR, *options, "--", "sh", "-c", f'cat {gate}; "$@"', "sh", *bench.client(prompt))
    until(lambda: worker_of(process) != 0 and status(worker_of(process)).get("Seccomp") == "2", 30)
    pid = worker_of(process)
    until(lambda: len(children(process.pid)) > 2, 30)
    os.kill(pid, signal.SIGSTOP)
    gate.write_text("go\n", encoding="utf-8")
    until(lambda: len(bench.service.asked) > before, 30)
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)
    _, error = process.communicate(timeout=60)
    account = report(bench)
    lost = account["capture"]["losses"]["ring_full"]
    sent = len(bench.service.asked[before]) + len(bench.service.answered[before])
    assert lost["records"] > 0, error
    assert account["engine"]["bytes"] + lost["written"] + lost["read"] == sent
    # The kernel's records of loss and the holes that the engine found are the same bytes.
    assert account["engine"]["kernel_lost_records"] == lost["records"]
    assert account["engine"]["kernel_lost_bytes"] == lost["written"] + lost["read"]
    assert account["engine"]["lost_bytes"] == lost["written"] + lost["read"]
    check_ring(bench, account, before, lost["written"] + lost["read"])
    for event in check_lines(bench, account):
        if event["event_type"] == "ai.request":
            assert event["confidence"]["completeness"] == "partial"


def test_rotation_through_the_border(bench: Bench) -> None:
    code, out, error = run(bench, SENSOR, "--rotate", "8K", "--", *many(bench, 12))
    assert (code, out) == (0, "12\n"), error
    files = sorted(bench.folder.glob("events.jsonl*"))
    assert len(files) >= 3
    assert all(file.stat().st_size <= 8192 for file in files)
    assert all((file.stat().st_mode & 0o777, file.stat().st_uid) == (0o600, os.geteuid()) for file in files)
    events = [event for file in files for event in bench.events(file)]
    assert len({event["event_id"] for event in events}) == len(events) == 24


def test_what_cannot_be_rotated_goes_on_growing(bench: Bench) -> None:
    """The folder is gone from under the file: said once, and nothing is lost."""
    folder = bench.folder / "logs"
    folder.mkdir()
    out_file = folder / "events.jsonl"
    script = f'sleep 1; mv {out_file} {folder}/taken.jsonl; "$@"'
    options = ["--activity", "none", "--rotate", "4K", "--out", str(out_file)]
    words = [*SENSOR, "record", *bench.library, *options, "--", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*words, *many(bench, 6)],
        cwd=bench.folder,
        env=bench.environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be rotated: No such file or directory") == 1
    assert len(bench.events(folder / "taken.jsonl")) == 12
