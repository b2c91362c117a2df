# SPDX-License-Identifier: Apache-2.0
"""`show` on real and on hostile events: what it says, what it leaves out, what it survives."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.errors import ConfigError
from oisp_sensor import cli
from oisp_sensor.view.filters import Filter, moment
from oisp_sensor.view.lines import describe
from oisp_sensor.view.printer import Printer, console_on
from oisp_sensor.view.summary import Summary

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.json"))


def example(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLES[0].parent / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def shown(event: dict[str, Any], limit: int | None = 160) -> list[str]:
    return ["".join(piece.text for piece in line).rstrip() for line in describe(event, limit)]


def test_a_request_says_who_asked_which_model_what() -> None:
    first, second = shown(example("ai-request-openai"))
    assert first.split("  ")[0].startswith("09:15:02.104 review_agent.py[48213] alice")
    assert "→ openai gpt-4o  chat, 2 messages, system prompt, 2 tools, stream" in first
    assert second.strip().startswith('user: "Review the change in src/cart.py')


def test_under_metadata_lengths_stand_in_place_of_text() -> None:
    assert shown(example("ai-request-metadata-only"))[1].strip() == "user: <72 characters, policy>"


def test_a_message_that_only_carries_results_is_not_shown_as_an_empty_text() -> None:
    event = example("ai-request-openai")
    event["data"]["messages"].append({"role": "user"})
    assert len(shown(event)) == 1
    assert not [line for line in shown(event, None) if line.rstrip().endswith("user:")]


def test_the_summary_names_provider_and_model_where_there_is_no_terminal() -> None:
    summary = Summary()
    event = example("ai-request-openai")
    summary.add(event)
    out = io.StringIO()
    Printer(console_on(out)).summary(summary)
    assert "openai" in out.getvalue()
    assert event["data"]["model"]["id"] in out.getvalue()


def test_a_response_says_what_it_cost() -> None:
    lines = shown(example("ai-response-openai"))
    assert "913 ms, first token 386 ms, 412 in + 29 out tokens (256 cached), tool_calls" in lines[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("process-exec", "exec /usr/bin/python3.11 review_agent.py --repo /srv/shop"),
        ("process-exit", "exit 0"),
        ("process-fork", "fork "),
        ("network-connect", "connect api.openai.com (203.0.113.18):443"),
        ("network-accept", "accept "),
        ("network-flow", "closed api.openai.com (203.0.113.18):443  48,211 bytes out, 21,973 in, 98.6 s"),
        ("network-dns", "lookup api.openai.com A"),
        ("file-open", "open /"),
        ("file-read", "read /"),
        ("file-write", "write /srv/shop/REVIEW.md  1,182 bytes, created, truncated"),
        ("file-delete", "delete /"),
        ("file-rename", "rename /"),
    ],
)
def test_what_a_process_did(name: str, line: str) -> None:
    (first, *_) = shown(example(name))
    assert first[42:].startswith(line), first


def test_an_error_is_shown() -> None:
    assert "error 429 rate_limit_exceeded" in shown(example("ai-response-error"))[1]


def test_loss_is_never_hidden() -> None:
    assert "! partial, response_bytes_lost=16384" in shown(example("ai-response-partial"))[-1]


def test_tools() -> None:
    assert '⚙ read_file {"path":"src/cart.py"}' in shown(example("agent-tool-call"))[0]
    assert "✓ read_file" in shown(example("agent-tool-result"))[0]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_event_type_has_lines(path: Path) -> None:
    lines = shown(json.loads(path.read_text(encoding="utf-8")))
    assert lines[0].startswith(tuple("0123456789"))


def test_nothing_that_a_terminal_acts_upon_gets_through() -> None:
    event = example("ai-request-openai")
    hostile = "\x1b]0;owned\x07\x9b31m\r\n\u202eevil\x00"
    event["data"]["messages"][-1]["content"] = hostile
    event["data"]["model"]["id"] = hostile
    event["process"]["name"] = event["app"]["name"] = event["actor"]["user"] = hostile
    event["event_type"] = "ai.request"
    for line in describe(event, None):
        assert all(piece.text.isprintable() for piece in line), line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_members_of_any_type_are_survived(data: st.DataObject) -> None:
    event = example(data.draw(st.sampled_from([path.stem for path in EXAMPLES])))
    at: Any = event
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or data.draw(st.booleans()):
            at[key] = data.draw(json_values)
            break
        at = at[key]
    summary = Summary()
    summary.add(event)
    printer = Printer(console_on(io.StringIO()), None)
    printer.event(event)
    printer.summary(summary)
    Filter(process="x", provider="y", model="z", types=("ai",), since="2026").lets_through(event)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """An event file, a gzip file, and a file with lines that are no events."""
    stems = ("ai-request-openai", "ai-response-openai", "agent-tool-call", "agent-tool-result", "ai-response-anthropic")
    lines = [json.dumps(example(stem)) for stem in stems]
    plain, packed, broken = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz", tmp_path / "c.jsonl"
    plain.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    packed.write_bytes(gzip.compress("\n".join(lines[3:]).encode()))
    broken.write_text("{\n[]\n1\n\n{}\n" + lines[0] + '\n{"event_type": "ai.re', encoding="utf-8")
    return [str(plain), str(packed), str(broken)]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["show", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_show_files(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *files[:2])
    assert (code, err) == (0, "")
    assert "→ openai gpt-4o" in out
    assert "⚙ read_file" in out
    assert "5 events (agent.tool_call 1, agent.tool_result 1, ai.request 1, ai.response 2) of 1 process" in out
    assert "tool calls: read_file 1" in out


def test_broken_lines_are_counted(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, files[2])
    assert code == 0
    assert "1 event " in out
    assert err.startswith(f"oisp-sensor: 5 lines are no events (first: {files[2]}:1)")


def test_json_gives_the_lines_themselves(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--json", "--type", "ai.response", *files[:2])
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        example("ai-response-openai"),
        example("ai-response-anthropic"),
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 5),
        (["--type", "ai"], 3),
        (["--type", "ai.request", "--type", "agent.tool_call"], 2),
        (["--type", "ai.re"], 0),
        (["--provider", "OpenAI"], 4),  # tool call and result by the response that caused them
        (["--provider", "anthropic"], 1),
        (["--model", "gpt-4o"], 4),
        (["--process", "48213"], 5),
        (["--process", "4821"], 0),
        (["--process", "review_agent"], 5),
        (["--process", "nobody"], 0),
        (["--since", "2026-03-02T09:15:03Z"], 2),
        (["--until", "2026-03-02T09:15:03Z"], 3),
        (["--since", "2026-03-02T10:15:03+01:00"], 2),
        (["--since", "1s"], 0),
    ],
)
def test_filters(files: list[str], capsys: pytest.CaptureFixture[str], words: list[str], count: int) -> None:
    code, out, _ = run(capsys, "--json", *words, *files[:2])
    assert code == 0
    assert len(out.splitlines()) == count


def test_moments() -> None:
    now = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
    assert moment("10m", "--since", now) == "2026-03-02T11:50:00.000000Z"
    assert moment("2h", "--since", now) == "2026-03-02T10:00:00.000000Z"
    assert moment("14:30", "--since", now) == "2026-03-02T14:30:00.000000Z"
    assert moment("2026-01-01T00:00:00+02:00", "--since", now) == "2025-12-31T22:00:00.000000Z"
    for wrong in ("", "soon", "25:00", "10 years", "99999999999d"):
        with pytest.raises(ConfigError, match="--since: expected RFC 3339"):
            moment(wrong, "--since", now)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "/nonexistent/events.jsonl")
    assert (code, out) == (2, "")
    assert err == "oisp-sensor: /nonexistent/events.jsonl: cannot be read: No such file or directory\n"


def test_the_sums_are_bounded() -> None:
    summary = Summary()
    for n in range(2000):
        summary.add({"event_type": "ai.request", "data": {"model": f"m{n}", "provider": "p"}})
        summary.add({"event_type": "agent.tool_call", "data": {"tool": {"name": f"t{n}"}}})
    table = summary.table()
    assert table is not None
    assert table.row_count == 257
    assert len(summary.tools) == 256
    assert summary.events["ai.request"] == 2000
