# SPDX-License-Identifier: Apache-2.0
"""An extension of somebody else, compiled against the installed wheel, feeds the engine at C level."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize
import oisp_core

sources = [Extension("host", ["host.pyx"], include_dirs=[oisp_core.get_include()], extra_compile_args=["-O0", "-g0"])]
setup(name="host", ext_modules=cythonize(sources, language_level=3))
"""
USE = """
import host
from oisp_core import Engine

body = b'{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hi"}]}'
request = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: api.openai.com\\r\\nContent-Type: application/json\\r\\n"
request += b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body
answer = b'{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5.4-mini","choices":[{"index":0,'
answer += b'"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}'
response = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
response += b"Content-Length: %d\\r\\n\\r\\n" % len(answer) + answer
segments = [(0, 1_700_000_000_000_000_000, request), (1, 1_700_000_000_100_000_000, response)]
print(host.feed(Engine(content="full"), segments).decode(), end="")
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "OISP_WHEEL" not in os.environ:
        pytest.skip("an editable or in-place tree cannot be cimported; `./oisp test` without arguments tests the wheel")
    folder = tmp_path_factory.mktemp("host")
    shutil.copy(Path(__file__).resolve().parent / "example" / "host.pyx", folder)
    (folder / "setup.py").write_text(SETUP, encoding="utf-8")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_bytes_go_in_and_events_come_out(host: Path) -> None:
    # A struct that changed under an importer shows as a RuntimeWarning, and only there.
    command = [sys.executable, "-W", "error", "-c", USE]
    done = subprocess.run(command, cwd=host, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event_type"] for event in events] == ["ai.request", "ai.response"]
    assert events[0]["data"]["model"]["id"] == "gpt-5.4-mini"
    assert events[1]["data"]["choices"][0]["message"]["content"] == "hello"
