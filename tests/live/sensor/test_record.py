# SPDX-License-Identifier: Apache-2.0
"""`record` on real processes: events equal what was sent, the command is left as it is, nobody else is seen."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oisp_core.validate import Validator
from tests.live.sensor.conftest import SENSOR, Bench
from tests.live.sensor.service import ANSWER

pytestmark = pytest.mark.live
KINDS = ["ai.request", "ai.response"]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def test_a_command_from_end_to_end(bench: Bench) -> None:
    done = bench.record(bench.client("What is the answer?", 3), "--content", "full")
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{ANSWER}\n"  # its own, and nothing of ours
    request, response = events = bench.events()
    assert kinds(events) == KINDS
    assert request["data"]["messages"] == [{"role": "user", "content": "What is the answer?"}] or (
        request["data"]["messages"][0]["content"] == "What is the answer?"
    )
    assert request["data"]["provider"]["name"] == "openai"
    assert request["data"]["auth"]["key_prefix"] == "sk-proj-"
    assert response["data"]["choices"][0]["message"]["content"] == ANSWER
    tokens = {k: v for k, v in response["data"]["usage"].items() if k.endswith("_tokens")}  # beside what they cost
    assert tokens == {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    assert response["related_events"][0]["event_id"] == request["event_id"]
    for event in events:
        assert not Validator().problems(json.dumps(event).encode())
        assert event["confidence"]["completeness"] == "full"
        assert event["confidence"]["level"] == "high"


def test_who_it_was(bench: Bench) -> None:
    bench.record(["sh", "-c", 'echo $$; "$@"; true', "sh", *bench.client()], "--content", "full")
    event = bench.events()[0]
    process = event["process"]
    assert process["exe"] == os.path.realpath(sys.executable)
    assert process["cmdline_args"][:2] == [sys.executable, "-c"]
    assert process["cwd"] == str(bench.folder)
    assert process["parent"]["name"] == "sh"
    assert process["parent"]["pid"] == process["ppid"]
    assert os.getpid() in [ancestor["pid"] for ancestor in process["ancestors"]]
    assert event["actor"]["uid"] == os.getuid()
    assert event["source"]["collector"] == "oisp-sensor"
    assert event["host"]["kernel_version"] == os.uname().release


def test_the_default_keeps_texts_back_and_files_private(bench: Bench) -> None:
    prompt = "the launch code is 0000"
    process = bench.start("--", *bench.client(prompt))
    _, error = process.communicate(timeout=60)
    path = bench.folder / "oisp-events.jsonl"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 2, error
    for secret in (prompt, ANSWER, "invented-for-this-test"):
        assert secret not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_account_is_exact(bench: Bench) -> None:
    before = len(bench.service.asked)
    report = bench.folder / "report.json"
    done = bench.record(bench.client("x" * 100_000), "--report", str(report))
    account = json.loads(report.read_text(encoding="utf-8"))
    sent = len(bench.service.asked[before]) + len(bench.service.answered[before])
    assert account["engine"]["bytes"] == sent
    assert account["ring"]["records"] > 0
    assert [loss["records"] for loss in account["capture"]["losses"].values()] == [0] * len(
        account["capture"]["losses"]
    )
    assert account["lines"] == account["export"][0]["lines_written"] == len(bench.events())
    assert [target["path"] for target in account["capture"]["targets"]] == [str(bench.private.libssl)]
    first = done.stderr.splitlines()[0]
    assert first.startswith("oisp-sensor: 2 events of 1 connection; 98.") or re.match(
        r"oisp-sensor: 2 events of 1 connection; [\d.]+ KiB of plaintext in [\d,]+ records, 0 lost", first
    )
    assert f"in {account['ring']['records']:,} records, 0 lost" in first


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 41"], 41),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-command-here"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_the_exit_code_is_the_commands(bench: Bench, command: list[str], code: int) -> None:
    done = bench.record(command)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_the_command_keeps_its_streams(bench: Bench) -> None:
    process = bench.start(
        "--out", str(bench.events_file), "--", "sh", "-c", "cat; echo oops >&2", stdin=subprocess.PIPE
    )
    out, error = process.communicate("typed in\n", timeout=60)
    assert out == "typed in\n"
    assert error.startswith("oops\n")


def test_nobody_outside_the_scope_is_seen(bench: Bench) -> None:
    """Another process on the very same library, before, while and after the command runs."""
    outsider = bench.waiting_client("not for your eyes")
    inside = ["sh", "-c", 'sleep 0.3; "$@"; sleep 0.3', "sh", *bench.client("for your eyes")]
    process = bench.start("--out", str(bench.events_file), "--content", "full", "--", *inside)
    time.sleep(1)
    out, _ = outsider.communicate("go\n", timeout=60)
    assert ANSWER in out
    process.communicate(timeout=60)
    assert kinds(bench.events()) == KINDS
    assert "not for your eyes" not in bench.events_file.read_text(encoding="utf-8")


def test_a_child_that_dies_at_once_is_named(bench: Bench) -> None:
    """It forks, the child asks and is gone; the parent lives on. Twenty of them, each with its own pid."""
    code = (
        "import os, subprocess, sys\n"
        "pids = [subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) for _ in range(5)]\n"
        "[p.wait() for p in pids]; print(*(p.pid for p in pids))\n"
    )
    done = bench.record([sys.executable, "-c", code, *bench.client()])
    events = bench.events()
    assert {event["process"]["pid"] for event in events} == {int(word) for word in done.stdout.split()}
    assert len(events) == 10
    assert all(event["process"]["exe"] == os.path.realpath(sys.executable) for event in events)


def test_many_connections_of_one_process_all_arrive(bench: Bench) -> None:
    """More than one look at the ring takes, the last of them while capture ends."""
    code = (
        "import sys\nfor _ in range(100):\n    try:\n        exec(sys.argv[-1])\n    except SystemExit:\n        pass\n"
    )
    client = bench.client()
    at = client.index("-c")
    done = bench.record([*client[: at + 1], code, *client[at + 2 :], client[at + 1]])
    assert done.stdout == f"{ANSWER}\n" * 100, done.stderr
    assert len({event["event_id"] for event in bench.events()}) == 200
    assert kinds(bench.events()).count("ai.response") == 100


def test_a_recording_replays_to_the_same_events(bench: Bench) -> None:
    raw = bench.folder / "all.oisp"
    done = bench.record(bench.client("Tell me a secret"), "--raw", str(raw), "--id-seed", "5")
    assert f"{raw} will hold the captured plaintext" in done.stderr
    assert stat.S_IMODE(raw.stat().st_mode) == 0o600
    again = bench.folder / "again.jsonl"
    words = [*SENSOR, "replay", "--id-seed", "5", "--out", str(again), str(raw)]
    subprocess.run(words, env=bench.environment(), check=True)
    assert again.read_bytes() == bench.events_file.read_bytes()
    full = bench.folder / "full.jsonl"
    subprocess.run(
        [*words[:-3], "--out", str(full), "--content", "full", str(raw)], env=bench.environment(), check=True
    )
    assert bench.events(full)[0]["data"]["messages"][0]["content"] == "Tell me a secret"
    assert bench.events(full)[0]["process"]["cmdline_args"][-2] == "Tell me a secret"
    refused = bench.record(bench.client(), "--raw", str(raw))
    assert refused.returncode == 2
    assert "never written over" in refused.stderr


def test_chunks_and_a_key(bench: Bench) -> None:
    key = bench.folder / "key"
    key.write_bytes(b"0123456789abcdef")
    bench.record(bench.client(), "--hash-key", str(key), "--chunks")
    assert "hmac-sha256:" in bench.events_file.read_text(encoding="utf-8")


def test_under_sudo_it_runs_as_the_caller_who_owns_the_files(bench: Bench) -> None:
    uid = gid = 65534
    for path in (bench.folder, bench.private.folder, Path(bench.service.certificate)):
        path.chmod(0o755 if path.is_dir() else 0o644)
    report, raw = bench.folder / "report.json", bench.folder / "all.oisp"
    sudo = {"SUDO_UID": str(uid), "SUDO_GID": str(gid)}
    done = bench.record(["id", "-u"], "--report", str(report), "--raw", str(raw), **sudo)
    assert done.stdout == f"{uid}\n"
    for path in (bench.events_file, report, raw):
        info = path.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (uid, gid, 0o600)


# ---- running processes ----


def test_a_running_process_until_it_ends(bench: Bench) -> None:
    client = bench.waiting_client()
    process = bench.start_probing("--pid", str(client.pid), "--content", "full")
    client.communicate("go\n", timeout=60)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    events = [json.loads(line) for line in out.splitlines()]
    assert kinds(events) == KINDS, error
    assert events[0]["process"]["pid"] == client.pid
    assert "2 events of 1 connection" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(bench: Bench, number: signal.Signals) -> None:
    client = bench.waiting_client()
    process = bench.start_probing("--pid", str(client.pid), "--out", str(bench.events_file))
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    client.communicate("go\n", timeout=60)
    assert process.returncode == 0
    assert error.startswith("oisp-sensor: 0 events of 0 connections")
    assert bench.events_file.read_bytes() == b""


def test_hup_reopens_and_usr1_tells(bench: Bench, until: Callable[..., None]) -> None:
    first, second = bench.waiting_client("one"), bench.waiting_client("two")
    pids = ["--pid", str(first.pid), "--pid", str(second.pid)]
    process = bench.start_probing(*pids, "--out", str(bench.events_file))
    until(bench.events_file.exists)
    first.communicate("go\n", timeout=60)
    until(lambda: bench.events_file.read_bytes().count(b"\n") == 2)
    old = bench.events_file.rename(bench.folder / "old.jsonl")
    process.send_signal(signal.SIGHUP)
    until(bench.events_file.exists)
    process.send_signal(signal.SIGUSR1)
    second.communicate("go\n", timeout=60)
    _, error = process.communicate(timeout=60)
    assert kinds(bench.events(old)) == KINDS
    assert kinds(bench.events()) == KINDS
    accounts = [json.loads(line) for line in error.splitlines() if line.startswith("{")]
    assert len(accounts) == 1
    assert 2 <= accounts[0]["lines"] <= 4  # the second may have begun to ask


def test_a_reader_that_goes_away_ends_it(bench: Bench) -> None:
    client = bench.waiting_client()
    read, write = os.pipe()
    process = bench.start_probing("--pid", str(client.pid), stdout=write)
    os.close(write)
    os.close(read)
    client.communicate("go\n", timeout=60)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (0, 141)
    assert "Traceback" not in error


def test_a_terminal_gets_a_view(bench: Bench) -> None:
    import pty

    client = bench.waiting_client("Say it out loud")
    main, side = pty.openpty()
    more = {"TERM": "xterm", "COLUMNS": "160"}
    process = bench.start_probing("--pid", str(client.pid), stdout=side, stderr=side, more=more)
    os.close(side)
    client.communicate("go\n", timeout=60)
    shown = b""
    try:
        while piece := os.read(main, 4096):
            shown += piece
    except OSError:
        pass  # the other side has gone
    os.close(main)
    assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "→ openai gpt-4o" in text
    assert "user: <15 characters, policy>" in text
    assert "capturing pid" in text
    assert "Say it out loud" not in text
