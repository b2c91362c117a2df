# SPDX-License-Identifier: Apache-2.0
"""The provider double: what it says on the wire is what its log says, in every framing, and real SDKs accept it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h11
import pytest

from oisp_sensor.demo.double import Double, running

PATHS = {"api.openai.com": "/v1/chat/completions", "api.anthropic.com": "/v1/messages"}
WORDS = ["text", "text gzip", "unicode odd-chunks", "parallel odd-chunks gzip", "tools close", "thinking length-framed"]


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("double")) as started:
        yield started


class Client:
    """One connection through the double's CONNECT, framed by h11."""

    def __init__(self, double: Double, host: str) -> None:
        plain = socket.create_connection(("127.0.0.1", double.port), timeout=10)
        plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += plain.recv(1)
        assert answer.startswith(b"HTTP/1.1 200")
        self.socket = ssl.create_default_context(cafile=str(double.ca)).wrap_socket(plain, server_hostname=host)
        self.host = host
        self.http = h11.Connection(h11.CLIENT)

    def post(self, body: dict[str, Any], words: str = "") -> tuple[h11.Response, bytes]:
        data = json.dumps(body).encode()
        headers = [("Host", self.host), ("Content-Length", str(len(data))), ("X-Double", words)]
        request = h11.Request(method="POST", target=PATHS[self.host], headers=headers)
        for event in (request, h11.Data(data), h11.EndOfMessage()):
            self.socket.sendall(self.http.send(event))
        response, received = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(self.socket.recv(65536))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                received += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        assert response is not None
        if self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        return response, received

    def close(self) -> None:
        self.socket.close()


def request_body(host: str, stream: bool) -> dict[str, Any]:
    names = ["read_file", "run_command"]
    tools: list[dict[str, Any]] = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    if host == "api.openai.com":
        tools = [{"type": "function", "function": {"name": name}} for name in names]
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    return {**body, "max_tokens": 64, **({"stream_options": {"include_usage": True}} if stream else {})}


def put_together(host: str, body: bytes, streamed: bool) -> tuple[str, list[tuple[str, Any]]]:
    """Text and calls, the slow obvious way."""
    if not streamed:
        whole = json.loads(body)
        if host == "api.openai.com":
            message = whole["choices"][0]["message"]
            calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", [])]
            return message["content"] or "", calls
        blocks = whole["content"]
        text = "".join(b["text"] for b in blocks if b["type"] == "text")
        return text, [
            (b["name"], json.dumps(b["input"], ensure_ascii=False)) for b in blocks if b["type"] == "tool_use"
        ]
    data = [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]
    events = [json.loads(line) for line in data if line != "[DONE]"]
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    text = ""
    for event in events:
        if host == "api.openai.com":
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
                for call in choice["delta"].get("tool_calls", []):
                    names.setdefault(call["index"], call["function"].get("name", ""))
                    arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
            continue
        text += event.get("delta", {}).get("text", "")
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            names[event["index"]] = event["content_block"]["name"]
        if "partial_json" in event.get("delta", {}):
            arguments[event["index"]] = arguments.get(event["index"], "") + event["delta"]["partial_json"]
    return text, [(names[index], arguments[index]) for index in sorted(names)]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("host", sorted(PATHS))
def test_the_wire_says_what_the_log_says(double: Double, host: str, stream: bool, words: str) -> None:
    before = len(double.log())
    client = Client(double, host)
    response, body = client.post(request_body(host, stream), words)
    client.close()
    row = double.log(at_least=before + 1)[before]
    if "gzip" in words:
        body = gzip.decompress(body)
    assert body == base64.b64decode(row["response"]["base64"])
    assert response.status_code == row["status"] == 200
    assert row["host"] == host
    text, calls = put_together(host, body, stream)
    assert text == row["answer"]["text"]
    assert calls == [(call["name"], call["text"]) for call in row["answer"]["tool_calls"]]


def test_one_connection_serves_many_requests(double: Double) -> None:
    before = len(double.log())
    client = Client(double, "api.openai.com")
    for stream in (True, False, True):
        client.post(request_body("api.openai.com", stream))
    client.close()
    rows = double.log(at_least=before + 3)[before:]
    assert len({row["connection"] for row in rows}) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 529])
@pytest.mark.parametrize("host", sorted(PATHS))
def test_errors_have_the_shape_of_their_provider(double: Double, host: str, status: int) -> None:
    client = Client(double, host)
    response, body = client.post(request_body(host, False), str(status))
    client.close()
    assert response.status_code == status
    error = json.loads(body)["error"]
    assert error["message"]
    assert error["type"]


def test_a_cut_response_ends_in_the_middle(double: Double) -> None:
    client = Client(double, "api.openai.com")
    with pytest.raises(h11.RemoteProtocolError):
        client.post(request_body("api.openai.com", True), "cut")
    client.close()


def test_the_agent_runs_its_tools_and_ends(double: Double, tmp_path: Path) -> None:
    before = len(double.log())
    env = {
        **os.environ,
        **double.env,
        "OPENAI_API_KEY": "sk-proj-invented",
        "ANTHROPIC_API_KEY": "sk-ant-api03-invented",
    }
    command = [sys.executable, "-m", "oisp_sensor.demo.agent"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = double.log(at_least=before + 4)[before:]
    assert [row["host"] for row in rows] == ["api.openai.com"] * 2 + ["api.anthropic.com"] * 2
    last = json.loads(base64.b64decode(rows[1]["request"]["base64"]))["messages"]
    results = [message["content"] for message in last if message["role"] == "tool"]
    assert results[0].startswith("Release checklist")  # the file was really read
    assert results[1].split() == ["4", "notes.txt"]  # and the command really run
    assert done.stdout.count(rows[3]["answer"]["text"]) >= 1
