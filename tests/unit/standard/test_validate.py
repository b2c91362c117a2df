# SPDX-License-Identifier: Apache-2.0
"""The validator as a library, and `oisp-sensor validate`."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oisp_core.validate import Problem, Schema, Validator, problems
from oisp_sensor.cli import _documents
from oisp_sensor.cli._documents import line_of
from oisp_sensor.cli.validate import command


@pytest.fixture
def event(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / "examples/ai-request-openai.json").read_text())
    return document


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.prepare_parser(parser)
    return command.run(parser.parse_args(arguments))


# --- the library ---


def test_all_errors_are_found_not_only_the_first(event: dict[str, Any]) -> None:
    del event["ts"]
    event["host"]["os"] = "plan9"
    event["data"]["messages"][1]["role"] = "owner"
    event["data"]["messages_count"] = "2"
    event["data"]["auth"]["key_prefix"] = "sk-proj-x"
    event["color"] = "red"
    assert set(problems(json.dumps(event))) == {
        Problem("$", 'required member "ts" is missing'),
        Problem("$", 'member "color" is not allowed here'),
        Problem("$.host.os", 'expected one of linux, darwin, windows, freebsd, other; got "plan9"'),
        Problem("$.data.messages[1].role", 'expected one of system, user, assistant, tool, function; got "owner"'),
        Problem("$.data.messages_count", "expected integer, got string"),
        Problem("$.data.auth.key_prefix", 'expected a length of at most 8, got "sk-proj-x"'),
    }


def test_alternatives_tell_what_would_do(event: dict[str, Any]) -> None:
    event["data"]["messages"][0]["content"] = 7
    event["data"]["messages"][1]["content"] = {"$redacted": {"reason": None}}
    assert Validator().problems(json.dumps(event)) == [
        Problem("$.data.messages[0].content", "expected string, got integer or expected object, got integer"),
        Problem("$.data.messages[1].content.$redacted.reason", "expected string, got null"),
    ]


def test_odd_member_names_are_quoted_in_paths(event: dict[str, Any]) -> None:
    event["process"]["env"] = {"A B": 1}
    assert [p.path for p in problems(json.dumps(event))] == ['$.process.env["A B"]']


def test_a_keyword_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="keyword 'oneOf' is not supported"):
        Schema({"$id": "https://example.org/a", "oneOf": []})


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"nul", b"[" * 100_000])
def test_what_is_no_json_says_so(text: bytes) -> None:
    assert [p.path for p in Validator().problems(text)] == ["$"]


# --- the command ---


def test_valid_files_of_every_form(root: Path, tmp_path: Path, event: dict[str, Any], capsys: Any) -> None:
    line = json.dumps(event)
    files = {
        "pretty.json": json.dumps(event, indent=2),
        "one.json": line,
        "array.json": json.dumps([event, event], indent=1),
        "lines.jsonl": f"{line}\n\n{line}",
        "lines.json": f"{line}\n{line}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert run(*(str(path) for path in tmp_path.iterdir())) == 0
    assert capsys.readouterr() == ("", "16 events: valid\n")


def test_errors_name_file_line_path_and_reason(tmp_path: Path, event: dict[str, Any], capsys: Any) -> None:
    good = json.dumps(event)
    event["data"]["messages"][0]["role"] = "owner"
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{good}\n\n{json.dumps(event)}\nnot json\n")
    assert run(str(lines)) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith(f"{lines}:3: $.data.messages[0].role: expected one of system, user")
    assert second.startswith(f"{lines}:4: $: not JSON: ")
    assert err == "3 events: 2 invalid, 2 errors\n"


def test_a_line_is_given_for_documents_of_many_lines(tmp_path: Path, event: dict[str, Any], capsys: Any) -> None:
    event["data"]["messages"][1]["role"] = "owner"
    for name, document, prefix in (("a.json", event, "$"), ("b.json", [event], "$[0]")):
        file = tmp_path / name
        text = json.dumps(document, indent=2)
        file.write_text(text)
        assert run(str(file)) == 1
        line = next(n for n, row in enumerate(text.splitlines(), 1) if '"owner"' in row)
        assert capsys.readouterr().out.startswith(f"{file}:{line}: {prefix}.data.messages[1].role: ")


def test_line_of_survives_anything() -> None:
    text = b'{"a": "x,{[", "b": [1, {"c d": null}], "e": {}}'
    spread = text.replace(b", ", b",\n")
    assert line_of(spread, "$") == 1
    assert line_of(spread, "$.b[0]") == 2
    assert line_of(spread, '$.b[1]["c d"]') == 3
    assert line_of(spread, "$.e") == 4
    assert line_of(spread, "$.nothing") == 1


@pytest.mark.parametrize(
    ("text", "line"), [(b'{\n"a": 1,\n"b" 2\n}', 3), (b"\n}", 2), (b'{\n"a": [1,\n\n', 2), (b'["\n', 1), (b"", 1)]
)
def test_what_is_no_json_has_a_line_too(tmp_path: Path, text: bytes, line: int, capsys: Any) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text)
    assert run(str(file)) == 1
    assert capsys.readouterr().out.startswith(f"{file}:{line}: $: not JSON")


def test_errors_are_counted_beyond_the_bound(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{\n" * 5)
    assert run(str(file), "--max-errors", "2", "-q") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[2] == f"{file}: 3 more errors; --max-errors 0 prints them"
    assert err == ""
    assert run(str(file), "--max-errors", "0") == 1
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(root: Path, tmp_path: Path, capsys: Any) -> None:
    good = str(root / "examples/process-exit.json")
    assert run(str(tmp_path / "none.json"), str(tmp_path), good) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0].endswith("none.json: No such file or directory")
    assert err[1].endswith(": Is a directory")
    assert err[2] == "1 event: valid"


def test_broken_gzip_is_an_error_after_what_could_be_read(tmp_path: Path, event: dict[str, Any], capsys: Any) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(f"{json.dumps(event)}\n".encode())[:-9])
    assert run(str(file)) == 1
    assert "broken gzip data" in capsys.readouterr().out


def test_a_line_beyond_the_bound_is_named_and_skipped(
    tmp_path: Path, event: dict[str, Any], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_documents, "LINE_MAX", 8000)
    file = tmp_path / "a.jsonl"
    file.write_text("[" + "0" * 50_000 + "\n" + json.dumps(event) + "\n")
    assert run(str(file)) == 1
    out, err = capsys.readouterr()
    assert out == f"{file}:1: $: line longer than 8000 bytes\n"
    assert err == "1 event: 0 invalid, 1 error\n"


def test_hostile_text_does_not_reach_the_terminal(tmp_path: Path, event: dict[str, Any], capsys: Any) -> None:
    event["host"]["os"] = "\x1b[2J\u202e"
    event["process"]["env"] = {"\x1b]0;x\x07": 1}
    file = tmp_path / "a\x1b[31m.json"
    file.write_text(json.dumps(event, ensure_ascii=False))
    assert run(str(file)) == 1
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "²"])
def test_a_bad_number_is_a_usage_error(text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        run(f"--max-errors={text}", "a.json")
    assert caught.value.code == 2
    assert "expected a number from 0 on" in capsys.readouterr().err


def test_standard_input_and_progress_on_a_terminal(root: Path, event: dict[str, Any]) -> None:
    """A bar on standard error where that is a terminal; standard output stays the errors alone."""
    code = (
        "import argparse, sys; from oisp_sensor.cli.validate import command as c; p = argparse.ArgumentParser();"
        "c.prepare_parser(p); sys.exit(c.run(p.parse_args(sys.argv[1:])))"
    )
    ours, theirs = pty.openpty()
    example = str(root / "examples/ai-request-openai.json")
    done = subprocess.run(
        [sys.executable, "-c", code, "-", example],
        input=b"{\n",
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert done.returncode == 1
    assert done.stdout.startswith(b"<stdin>:1: $: not JSON")
    assert done.stdout.count(b"\n") == 1
    assert b"validating" in shown
    assert b"2 events: 1 invalid, 1 error" in shown
