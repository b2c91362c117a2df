# SPDX-License-Identifier: Apache-2.0
"""curl, broken exchanges, a very long prompt, the policy, and whom the scope leaves out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.sdk import expected
from tests.live.sdk.support import Captured, sensor

pytestmark = pytest.mark.live
CLIENT = Path(__file__).resolve().parent / "clients" / "python_sdk.py"
OPENAI = "https://api.openai.com/v1/chat/completions"
ANTHROPIC = "https://api.anthropic.com/v1/messages"


def curl(url: str, body: dict[str, Any], folder: Path, words: str = "") -> list[str]:
    program = shutil.which("curl")
    if program is None:
        unavailable = pytest.fail if os.environ.get("OISP_REQUIRE_BPF") == "1" else pytest.skip
        unavailable("curl is not installed")
    file = folder / "body.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    command = [program, "-sS", "--http1.1", "--data-binary", f"@{file}", "-H", "Content-Type: application/json"]
    key = ["-H", "Authorization: Bearer sk-proj-invented-for-this-test-0123456789"]
    if url == ANTHROPIC:
        key = ["-H", "x-api-key: sk-ant-api03-invented-for-this-test-01234", "-H", "anthropic-version: 2023-06-01"]
    return [*command, *key, *(["-H", f"X-Double: {words}"] if words else []), url]


def question(stream: bool = False, text: str = "What is the answer?") -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"model": "gpt-5.4-mini", "stream": stream, "messages": messages, "max_tokens": 50, **options}


def for_anthropic(stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is the answer?"}]
    return {"model": "claude-sonnet-5", "stream": stream, "system": "Be brief.", "messages": messages, "max_tokens": 50}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("url", [OPENAI, ANTHROPIC])
def test_curl(capture: Callable[..., Captured], tmp_path: Path, url: str, stream: bool) -> None:
    body = question(stream) if url == OPENAI else for_anthropic(stream)
    command = curl(url, body, tmp_path, "odd-chunks")
    got = capture(command, exchanges=1, program=shutil.which("curl"))
    assert got.returncode == 0, got.stderr
    kinds = [event["event_type"] for event in got.events if event["event_type"].startswith("ai.")]
    assert kinds == ["ai.request", "ai.response"]
    assert not expected.differences(got.of_type("ai.request")[0], expected.request(got.rows[0]))
    assert not expected.differences(got.of_type("ai.response")[0], expected.response(got.rows[0]))


@pytest.mark.parametrize("url", [OPENAI, ANTHROPIC])
def test_an_error_inside_a_stream(capture: Callable[..., Captured], tmp_path: Path, url: str) -> None:
    body = question(True) if url == OPENAI else for_anthropic(True)
    got = capture(curl(url, body, tmp_path, "error-in-stream"), exchanges=1, program=shutil.which("curl"))
    response = got.of_type("ai.response")[0]
    assert response["data"]["success"] is False
    assert response["data"]["error"]["message"] == got.rows[0]["error"]["message"]
    assert "error_in_stream" in response["confidence"]["reasons"]


def test_a_cut_response_says_so(capture: Callable[..., Captured], tmp_path: Path) -> None:
    got = capture(curl(OPENAI, question(True), tmp_path, "cut"), exchanges=1, program=shutil.which("curl"))
    assert got.returncode == 18  # curl's own word for it, passed on
    response = got.of_type("ai.response")[0]
    assert response["confidence"]["completeness"] == "partial"
    assert {"response_truncated", "stream_unterminated"} & set(response["confidence"]["reasons"])


def test_a_prompt_of_3_mb_in_one_write_arrives_whole(capture: Callable[..., Captured], tmp_path: Path) -> None:
    text = "".join(f"line {number} — žluťoučký kůň 東京\n" for number in range(80_000))
    assert len(text.encode()) > 3_000_000
    code = """
import http.client, json, ssl, sys, os
port = int(os.environ["HTTPS_PROXY"].rpartition(":")[2])
connection = http.client.HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context())
connection.set_tunnel("api.openai.com", 443)
body = open(sys.argv[1], "rb").read()
connection.connect()
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: api.openai.com\\r\\nContent-Type: application/json\\r\\n"
head += b"Authorization: Bearer sk-proj-invented\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
written = connection.sock.send(head + body)  # one SSL_write
assert written == len(head) + len(body), written
response = http.client.HTTPResponse(connection.sock)
response.begin()
print(response.status, len(response.read()))
"""
    file = tmp_path / "body.json"
    file.write_text(json.dumps(question(False, text), ensure_ascii=False), encoding="utf-8")
    got = capture([sys.executable, "-c", code, str(file)], exchanges=1)
    assert got.returncode == 0, got.stderr
    assert got.rows[0]["request"]["length"] == file.stat().st_size
    request = got.of_type("ai.request")[0]
    assert request["confidence"]["completeness"] == "full"
    assert request["data"]["messages"][1]["content"] == text


def test_under_the_default_policy_no_content_leaves(capture: Callable[..., Captured], tmp_path: Path) -> None:
    calls = [{"words": "", "tools": True, "stream": True}]
    got = capture([sys.executable, str(CLIENT), "openai", "sync", json.dumps(calls)], exchanges=2, options=())
    assert got.returncode == 0, got.stderr
    written = got.path.read_text(encoding="utf-8")
    secrets = [
        "notes.txt, please",
        "Answer briefly",
        "read_file it",
        "line one",
        "Let me look",
        "From the tools",
        "東京",
    ]
    assert not [secret for secret in secrets if secret in written]
    request, response = got.of_type("ai.request")[0], got.of_type("ai.response")[0]
    assert request["confidence"]["completeness"] == "metadata_only"
    content = request["data"]["messages"][1]["content"]["$redacted"]
    sent = expected.body_of(got.rows[0])["messages"][1]["content"]
    assert (content["reason"], content["original_length"], content["hash"]) == (
        "policy",
        len(sent),
        expected.digest(sent),
    )
    assert response["data"]["usage"]["prompt_tokens"] == got.rows[0]["answer"]["usage"]["prompt"]
    assert len(got.of_type("agent.tool_call")) == 3


def test_a_process_outside_the_scope_is_not_captured(
    capture: Callable[..., Captured],
    double: Any,
    new_private_libssl: Callable[..., Any],
    sensor_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """A neighbour that maps the very same probed file, started by us and not by the sensor."""
    private = new_private_libssl()
    events = tmp_path / "events.jsonl"
    neighbour = [
        sys.executable,
        str(CLIENT),
        "anthropic",
        "sync",
        json.dumps([{"words": "text", "tools": False, "stream": False}]),
    ]
    own = [sys.executable, "-c", WAITING, str(CLIENT), "openai", "sync"]
    own.append(json.dumps([{"words": "text", "tools": False, "stream": False}]))
    environment = {**sensor_environment, "GO": str(tmp_path / "go")}
    before = len(double.log())
    options = ["--content", "full", "--library", str(private.libssl), "--out", str(events)]
    recording = subprocess.Popen(
        sensor("record", *options, "--", "env", f"LD_LIBRARY_PATH={private.folder}", *own),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert recording.stdout is not None
        assert recording.stdout.readline().strip() == "waiting"  # probes are in place
        outside = {**sensor_environment, "LD_LIBRARY_PATH": str(private.folder)}
        subprocess.run(neighbour, env=outside, check=True, capture_output=True, timeout=60)
        (tmp_path / "go").touch()
        assert recording.wait(timeout=60) == 0
    finally:
        recording.kill()
        recording.communicate()
    rows = double.log(at_least=before + 2)[before:]
    assert [row["host"] for row in rows] == ["api.anthropic.com", "api.openai.com"]
    lines = [json.loads(line) for line in events.read_bytes().splitlines()]
    providers = {event["data"]["provider"]["name"] for event in lines if event["event_type"] == "ai.request"}
    assert providers == {"openai"}


# Maps the library, says so, and goes on when told.
WAITING = """
import os, runpy, ssl, sys, time
print("waiting", flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.02)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
