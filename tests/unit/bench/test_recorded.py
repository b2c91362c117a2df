# SPDX-License-Identifier: Apache-2.0
"""Recorded traffic as a corpus: what is true of it is checked before it is timed, and a broken one is named."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import oisp_sensor.demo
from oisp_bench import cases, cli, measure, recorded
from oisp_core.errors import ConfigError, RecordingError

RECORDING = Path(oisp_sensor.demo.__file__).with_name("recording.oisp")
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def row(number: str, url: str, sent: Any, got: bytes, kind: str = "application/json") -> dict[str, Any]:
    return {
        "id": number,
        "method": "POST",
        "url": url,
        "request_headers": [["Content-Type", "application/json"], ["Connection", "close"]],
        "request_body": base64.b64encode(json.dumps(sent).encode()).decode(),
        "status": 200,
        "response_headers": [["Content-Type", kind]],
        "response_body": base64.b64encode(got).decode(),
    }


def exchanges() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Whole, streamed, and no AI."""
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hi"}]}
    url = "https://api.openai.com/v1/chat/completions"
    said = {"role": "assistant", "content": "Hi."}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06", "usage": USAGE}
    whole["choices"] = [{"index": 0, "message": said, "finish_reason": "stop"}]
    delta = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "model": "gpt-4o-2024-08-06"}
    parts: list[dict[str, Any]] = [
        {**delta, "choices": [{"index": 0, "delta": said, "finish_reason": None}]},
        {**delta, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**delta, "choices": [], "usage": USAGE},
    ]
    events = b"".join(b"data: %b\n\n" % json.dumps(part).encode() for part in parts) + b"data: [DONE]\n\n"
    truth = {"kind": "chat", "model_requested": "gpt-4o", "status": 200, "success": True, "text": "Hi.",
             "usage": {"prompt_all": 9, "completion_all": 2}}  # fmt: skip
    return [
        (row("a", url, chat, json.dumps(whole).encode()), {"id": "a", **truth}),
        (row("b", url, {**chat, "stream": True}, events, "text/event-stream"), {"id": "b", **truth}),
        (row("c", "https://shop.example/orders", {"model": "T"}, b"{}"), {"id": "c", "kind": "none"}),
        ({"id": "d", "ws": []}, {"id": "d", "kind": "chat"}),
    ]


def write(folder: Path, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> Path:
    folder.mkdir()
    for number, name in enumerate(("exchanges", "truth")):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(pair[number]) + "\n" for pair in pairs)
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "LONG_ENOUGH", 20_000)


def test_a_folder_is_checked_against_what_is_true_of_it(tmp_path: Path) -> None:
    result = measure.measure(cases.recorded(write(tmp_path / "mine", exchanges())), rounds=1)
    assert result.status == "right"
    assert [engine.name for engine in result.engines] == ["packed", "calls"]
    assert result.events["ai.request"] == result.events["ai.response"] == result.exchanges * 2 // 3
    assert any("left out: 1" in note for note in result.notes)


@pytest.mark.parametrize(
    ("index", "key", "value", "said"),
    [
        (0, "text", "Ho.", "text"),
        (1, "model_requested", "gpt-5", "model"),
        (1, "usage", {"prompt_all": 8}, "prompt_tokens"),
        (2, "kind", "chat", "requests"),
        (0, "kind", "none", "events"),
    ],
)
def test_an_answer_that_is_not_as_recorded_has_no_numbers(
    tmp_path: Path, index: int, key: str, value: Any, said: str
) -> None:
    pairs = exchanges()
    pairs[index][1][key] = value
    result = measure.measure(cases.recorded(write(tmp_path / "mine", pairs)), rounds=1)
    assert said in result.status
    assert f"exchange {pairs[index][0]['id']}" in result.status
    assert result.engines == []


def test_a_recording_of_the_sensor_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--corpus", str(RECORDING), "--rounds", "1"]) == 0
    assert "a record at a time gives the same events" in " ".join(capsys.readouterr().out.split())


def test_what_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such"):
        recorded.load(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"truth\.jsonl\.gz"):
        recorded.load(tmp_path)
    folder = write(tmp_path / "mine", exchanges())
    with gzip.open(folder / "truth.jsonl.gz", "wt") as file:
        file.write("[]\n")
    with pytest.raises(ConfigError, match="an object with an id"):
        recorded.load(folder)
    (folder / "truth.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(ConfigError, match="cannot be read"):
        recorded.load(folder)
    broken = tmp_path / "broken.oisp"
    broken.write_bytes(RECORDING.read_bytes()[:-3])
    with pytest.raises(RecordingError):
        recorded.load(broken)


def test_the_commands_of_capture_say_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["record", "--out", "x.oisp"]) == 2
    assert "COMMAND" in capsys.readouterr().err
    assert cli.main(["live", "none"]) == 2
    assert "GROUP" in capsys.readouterr().err
