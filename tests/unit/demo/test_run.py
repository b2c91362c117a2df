# SPDX-License-Identifier: Apache-2.0
"""Where nothing can be captured the demo replays its recording through the same engine, and says so in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oisp_sensor.demo import run


def test_the_recording_is_replayed_where_nothing_can_be_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(run.__file__).parents[2]))
    monkeypatch.setattr(run, "obstacle", lambda: "eBPF needs root: sudo ./oisp run")
    assert run.main() == 0
    said = capfd.readouterr().out
    assert said.splitlines()[0].startswith("Nothing can be captured here (eBPF needs root")
    assert "claude-sonnet-5" in said
    events = [json.loads(line) for line in (tmp_path / run.EVENTS).read_bytes().splitlines()]
    kinds = [event["event_type"] for event in events]
    assert (kinds.count("ai.request"), kinds.count("ai.response")) == (4, 4)
    assert (kinds.count("agent.tool_call"), kinds.count("agent.tool_result")) == (4, 4)
    assert {event["confidence"]["completeness"] for event in events} == {"full"}
    assert {event["process"]["exe"] for event in events} == {"/usr/bin/python3"}


def test_the_recording_names_no_machine() -> None:
    data = run.RECORDING.read_bytes()
    assert 10_000 < len(data) < 256 * 1024
    for trace in (b"/root", b"/home/" + b"r", b".venv", b"site-packages", b"memfd"):
        assert trace not in data
    assert b'"hostname":"demo"' in data
