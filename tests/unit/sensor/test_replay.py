# SPDX-License-Identifier: Apache-2.0
"""`replay`: what a recording says, under each policy; the same whatever the pieces; clear words for what is broken."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oisp_core.validate import Validator
from oisp_sensor import cli
from tests.unit.sensor import recordings

SENSOR = [sys.executable, "-m", "oisp_sensor"]
SEED = ("--id-seed", "7")


def write(folder: Path, content: bytes, name: str = "a.oisp") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def replay(folder: Path, recording: bytes, *options: str) -> list[dict[str, Any]]:
    out = folder / f"events-{len(list(folder.iterdir()))}.jsonl"
    assert cli.main(["replay", write(folder, recording), *SEED, "--out", str(out), *options]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_the_events_of_an_exchange(tmp_path: Path) -> None:
    request, response = replay(tmp_path, recordings.recording(), "--content", "full")
    assert (request["event_type"], response["event_type"]) == ("ai.request", "ai.response")
    assert request["ts"] == "2026-01-01T00:00:01.001000Z"
    assert request["process"]["pid"] == 7
    assert request["source"]["collector"] == "oisp-sensor"
    assert request["data"]["messages"][0]["content"] == recordings.QUESTION
    assert response["data"]["choices"][0]["message"]["content"] == recordings.ANSWER
    assert response["data"]["latency_ms"] == 300
    assert response["data"]["usage"]["total_tokens"] == 15
    assert response["related_events"] == [{"event_id": request["event_id"], "relationship": "caused_by"}]
    validator = Validator()
    for event in (request, response):
        assert not validator.problems(json.dumps(event).encode())


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
def test_pieces_make_no_difference(tmp_path: Path, piece: int) -> None:
    whole = replay(tmp_path, recordings.recording(3), "--content", "full")
    cut = replay(tmp_path, recordings.recording(3, piece), "--content", "full")
    assert len(whole) == 6
    for one in (*whole, *cut):
        one["data"].pop("latency_ms", None)  # the pieces come nanoseconds later
        one["data"].pop("time_to_first_token_ms", None)
    assert cut == whole


def test_the_same_seed_gives_the_same_lines(tmp_path: Path) -> None:
    assert replay(tmp_path, recordings.recording(5)) == replay(tmp_path, recordings.recording(5))


def test_metadata_is_the_default_and_holds_no_text(tmp_path: Path) -> None:
    text = json.dumps(replay(tmp_path, recordings.recording()))
    for secret in (recordings.QUESTION, recordings.ANSWER, "Tell me a secret", "invented-for-this-test"):
        assert secret not in text


def test_the_policy_of_this_run_rules_the_command_line(tmp_path: Path) -> None:
    full = replay(tmp_path, recordings.recording(), "--content", "full")[0]["process"]
    assert full["cmdline_args"][1] == "Tell me a secret"
    least = replay(tmp_path, recordings.recording(), "--no-cmdline")[0]["process"]
    assert "cmdline" not in least
    assert "cmdline_args" not in least


def test_a_hash_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    event = replay(tmp_path, recordings.recording(), "--hash-key", str(key))[0]
    digest = hmac.new(b"0123456789abcdef", recordings.QUESTION.encode(), hashlib.sha256).hexdigest()[:16]
    assert f"hmac-sha256:{digest}" in json.dumps(event["data"]["messages"][0])
    assert event["process"]["cmdline_args"][1].startswith("<16 characters, hmac-sha256:")


def test_a_pipe_gets_ndjson(tmp_path: Path) -> None:
    path = write(tmp_path, recordings.recording())
    done = subprocess.run([*SENSOR, "replay", path], capture_output=True, check=True)
    assert [json.loads(line)["event_type"] for line in done.stdout.splitlines()] == ["ai.request", "ai.response"]
    assert done.stderr == b""


def test_a_terminal_gets_a_view(tmp_path: Path) -> None:
    import pty

    path = write(tmp_path, recordings.recording())
    main, side = pty.openpty()
    process = subprocess.Popen(
        [*SENSOR, "replay", path], stdout=side, stderr=side, env={**os.environ, "COLUMNS": "160"}
    )
    os.close(side)
    shown = b""
    try:
        while piece := os.read(main, 4096):
            shown += piece
    except OSError:
        pass  # the other side has gone
    os.close(main)
    assert process.wait() == 0
    assert "→ openai gpt-4o" in shown.decode()
    assert f"<{len(recordings.QUESTION)} characters, policy>" in shown.decode()
    assert recordings.QUESTION not in shown.decode()


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    path = write(tmp_path, recordings.recording(500))
    read, side = os.pipe()
    os.close(read)
    done = subprocess.run([*SENSOR, "replay", path], stdout=side, stderr=subprocess.PIPE, check=False)
    os.close(side)
    assert done.returncode == 141
    assert done.stderr == b""


whole = recordings.recording()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "byte 0: expected a header of 32 bytes; got '0 bytes'"),
        (b"not a recording, but long enough to be one", "byte 0: expected the magic"),
        (recordings.header(version=2) + whole[48:], "byte 8: expected version 1; got 2"),
        (whole[:-3], "before the end"),
        (whole[:60], "record"),
        (whole + bytes(8), "a record size from 8 to"),
        (whole + b"\x0c\0\0\0\1\0\0\0", "multiple of 8"),
    ],
)
def test_what_is_broken_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    out = tmp_path / "events.jsonl"
    path = write(tmp_path, content)
    assert cli.main(["replay", path, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"oisp-sensor: {path}: byte ")
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_recording_that_breaks_off_is_taken_up_to_there_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "events.jsonl"
    path = write(tmp_path, recordings.recording(3)[:-100])
    assert cli.main(["replay", path, "--out", str(out), "--partial"]) == 0
    kinds = [json.loads(line)["event_type"] for line in out.read_text().splitlines()]
    assert kinds == ["ai.request", "ai.response"] * 3
    assert "byte" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--providers", "/nonexistent"], "/nonexistent"),
        (["--hash-key", "/nonexistent"], "--hash-key"),
        (["--rotate", "1M"], "--rotate needs --out"),
        (["--out", "/nonexistent/events.jsonl"], "/nonexistent/events.jsonl"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert cli.main(["replay", write(tmp_path, whole), *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("oisp-sensor: ")
    assert words in error
    assert error.count("\n") == 1


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", "/nonexistent.oisp"]) == 2
    assert capsys.readouterr().err == "oisp-sensor: /nonexistent.oisp: cannot be read: No such file or directory\n"


def test_rotation(tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    path = write(tmp_path, recordings.recording(20))
    assert cli.main(["replay", path, *SEED, "--out", str(out), "--rotate", "8K"]) == 0
    files = sorted(tmp_path.glob("events.jsonl.*"))
    assert len(files) > 2
    lines = b"".join(file.read_bytes() for file in [*files, out]).splitlines()
    assert len(lines) == 40
    assert all(file.stat().st_size <= 8192 for file in [*files, out])
