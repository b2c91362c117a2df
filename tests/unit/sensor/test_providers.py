# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor providers` and `oisp-sensor explain`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from oisp_sensor import provider_cache
from oisp_sensor.cli import main
from tests.unit.sensor import recordings

OWN = """\
provider: {id: corp, name: Corporate gateway, kind: gateway}
fingerprints: [{type: domain, pattern: llm.corp.example}]
endpoints:
  chat: {path: /v1/chat/completions, dialect: openai.chat}
"""
CHAT = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("words", [("providers",), ("providers", "list")])
def test_list(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert len(out.splitlines()) > 60
    assert "anthropic" in out
    assert "bedrock-runtime.{region}.amazonaws.com" in out


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "providers", "show", "openai")
    assert code == 0
    for fact in ("OpenAI (openai)", "api.openai.com", "sk-proj-...: api_key", "POST /v1/chat/completions", "WebSocket"):
        assert fact in out


def test_show_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "providers", "show", "bedrock")
    assert (code, out) == (2, "")
    assert "did you mean aws_bedrock?" in err


def test_check_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "providers", "check")
    assert code == 0
    assert "all is well" in out


def test_check_a_file_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "corp.yaml"
    path.write_text(OWN)
    code, out, _ = run(capsys, "providers", "check", str(path))
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == f"{path}:1: corp: no request that must match; add one under tests.match"
    assert len(lines) == 4
    assert lines[-1] == "1 providers, 0 tests: 3 problems"
    assert run(capsys, "providers", "check", "--allow-incomplete", str(path))[0] == 0


def test_check_finds_all_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(OWN.replace("kind: gateway", "kind: door").replace("path:", "pfad:"))
    (tmp_path / "b.yaml").write_text("provider: 3\n")
    code, out, _ = run(capsys, "providers", "check", str(tmp_path))
    assert code == 1
    assert [line.split(": ")[1] for line in out.splitlines()[:-1]] == [
        "provider.kind", "endpoints.chat.pfad", "endpoints.chat", "provider"
    ]  # fmt: skip


def test_check_finds_every_kind_of_mistake_in_one_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = OWN.replace("corp", "{0}")
    files = {
        "a": "provider: {id: a, name: A, colour: red}\n",
        "b": "provider: {id: b, name: B}\nfingerprints: [{type: domain, pattern: 'https://b.example/'}]\n",
        "c": own.replace("{0}", "c").replace("llm.c.example", "llm.same.example"),
        "d": own.replace("{0}", "d").replace("llm.d.example", "llm.same.example"),
        "e": own.replace("{0}", "e").replace("openai.chat", "openai.chatt"),
        "f": "provider: {id: f, name: F\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    code, out, _ = run(capsys, "providers", "check", "--allow-incomplete", str(tmp_path))
    assert code == 1
    found = sorted(line.removeprefix(f"{tmp_path}/") for line in out.splitlines()[:-1])
    expected = [
        "a.yaml:1: provider.colour: unknown key; expected one of",
        "b.yaml:2: fingerprints[0].pattern: expected a host such as api.example.com",
        "d.yaml:4: d.endpoints.chat: same host (llm.same.example), path (/v1/chat/completions) and method as c.",
        "e.yaml:4: e.endpoints.chat.dialect: expected a dialect of semconv/dialects",
        "f.yaml:",
    ]
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    assert out.splitlines()[-1].endswith("5 problems")


def test_check_a_dialect_that_does_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "corp.yaml"
    path.write_text(OWN.replace("openai.chat", "openai.chatt"))
    code, out, _ = run(capsys, "providers", "check", "--allow-incomplete", str(path))
    assert code == 1
    assert f"{path}:4: corp.endpoints.chat.dialect: expected a dialect of semconv/dialects, or one " in out
    path.write_text(path.read_text() + "undecoded: [openai.chatt]\n")
    code, out, _ = run(capsys, "providers", "check", "--allow-incomplete", str(path))
    assert code == 0
    assert out.splitlines()[-1] == "recognised, not decoded (known endpoint, no content): openai.chatt"


def test_check_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "providers", "check", str(tmp_path / "none.yaml"))
    assert code == 1
    assert "cannot be read: No such file or directory" in out


def test_explain_a_known_host(capsys: pytest.CaptureFixture[str]) -> None:
    key = "sk-proj-" + "S" * 40
    words = ["https://api.openai.com/v1/chat/completions", "--header", f"Authorization: Bearer {key}"]
    code, out, _ = run(capsys, "explain", *words)
    assert code == 0
    assert "+ api.openai.com: OpenAI (openai)" in out
    assert "lost, other host" in out
    assert "AI traffic: chat" in out
    assert "confidence  medium, by known_endpoint, from host, path, key" in out
    assert "sk-proj-..." in out
    assert key not in out


def test_explain_a_known_host_at_a_path_that_it_is_not_known_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"model":"m","input":"hi"}')
    code, out, _ = run(capsys, "explain", "https://api.sambanova.ai/v1/responses", "--body", str(body))
    assert code == 0
    assert "+ /responses: chat, dialect openai.responses; the body has to say" in out
    assert "+ openai.responses" in out
    assert "provider    sambanova" in out
    assert "confidence  medium, by payload_inspection, from path, body, model" in out


def test_explain_a_gateway(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(CHAT)
    code, out, _ = run(capsys, "explain", "gateway.internal:8443/v1/chat/completions", "--body", str(body))
    assert code == 0
    assert "no provider has it: path and body must say" in out
    assert "+ openai.chat" in out
    assert "confidence  medium, by payload_inspection, from path, body, model" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["https://api.openai.com/v1/models", "--method", "GET"],
            "not AI traffic: known, and not AI (endpoint models)",
        ),
        (["https://us.posthog.com/batch"], "not AI traffic: its host is never AI"),
        (["https://example.com/v1/orders"], "not AI traffic: nothing is sure enough"),
    ],
)
def test_explain_what_is_not_ai(capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    code, out, _ = run(capsys, "explain", *words)
    assert code == 0
    assert why in out


def test_explain_with_files_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "corp.yaml").write_text(OWN)
    words = ["https://llm.corp.example/v1/chat/completions", "--providers", str(tmp_path)]
    assert "provider    corp (provider.name other)" in run(capsys, "explain", *words)[1]
    (tmp_path / "corp.yaml").write_text("provider: {id: corp}\n")
    code, out, err = run(capsys, "explain", *words)
    assert (code, out) == (2, "")
    assert "corp.yaml:1: provider: `name` is missing" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere"], "api"),
        (["ftp://x/y"], "is no URL"),
        (["https://x/y", "--header", "novalue"], "expected 'NAME: VALUE'"),
        (["https://x/y", "--body", "/nowhere/at/all"], "cannot be read"),
        (["https://x/y", "--providers", "/nowhere/at/all"], "expected a folder of provider files"),
    ][1:],
)
def test_explain_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    code, out, err = run(capsys, "explain", *words)
    assert (code, out) == (2, "")
    assert why in err


GATEWAY = """\
provider: {id: corp, name: Corporate gateway, kind: gateway}
fingerprints:
  - {type: domain, pattern: llm.corp.example, port: 8443}
endpoints:
  chat: {path: /v1/chat/completions}
  messages: {path: /v1/messages}
"""


@pytest.mark.parametrize("own", [False, True])
def test_a_gateway_of_a_few_lines_from_file_to_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setattr(provider_cache, "_default", lambda: tmp_path / "cache")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "corp.yaml").write_text(GATEWAY)
    monkeypatch.setattr(recordings, "request", partial(_through_the_gateway, recordings.request()))
    (tmp_path / "a.oisp").write_bytes(recordings.recording())
    out = tmp_path / "events.jsonl"
    more = ["--providers", str(tmp_path / "own")] if own else []
    assert main(["replay", str(tmp_path / "a.oisp"), "--out", str(out), *more]) == 0
    request, response = (json.loads(line) for line in out.read_text().splitlines())
    for event in (request, response):
        assert event["data"]["provider"]["name"] == ("other" if own else "openai")  # the key says whose it may be
        assert event["ext"]["oisp"]["provider"] == ("corp" if own else "openai")
    method = "known_endpoint" if own else "payload_inspection"
    assert request["confidence"]["ai_detection_method"] == method
    assert [f.stat().st_mode & 0o777 for f in (tmp_path / "cache").glob("*")] == ([0o600] if own else [])


def _through_the_gateway(request: bytes) -> bytes:
    return request.replace(b"Host: api.openai.com", b"Host: llm.corp.example:8443")
