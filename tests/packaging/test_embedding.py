# SPDX-License-Identifier: Apache-2.0
"""An extension of somebody else, compiled against the installed wheel, feeds the engine and a parser at C level."""

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

options = {"include_dirs": [oisp_core.get_include()], "extra_compile_args": ["-O0", "-g0"]}
sources = [Extension(name, [name + ".pyx"], **options) for name in ("host", "facade")]
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

PARSE = """
import host

events = [b"data: %d\\n\\n" % i for i in range(100)]
stream = b"".join(events) + b"event: x\\ndata: last"
print(host.payload([stream]), host.payload([stream[i : i + 1] for i in range(len(stream))]))
"""
# Every parser that the facade promises, begun and ended.
ALL = """
from libc.stdint cimport uint8_t
from oisp_core.capi cimport *

ctypedef union parser:
    oisp_http1 http1
    oisp_http2 http2
    oisp_hpack hpack
    oisp_sse sse
    oisp_ndjson ndjson
    oisp_eventstream eventstream
    oisp_websocket websocket
    oisp_grpc grpc
    oisp_multipart multipart

def works():
    cdef parser p
    cdef oisp_buffer work = oisp_buffer(NULL, 0, 0)
    cdef bytes text = b"multipart/form-data; boundary=b"
    http1_init(&p.http1, OISP_TOKEN_REQUEST, 65536, 256)
    http1_free(&p.http1)
    http2_init(&p.http2, OISP_TOKEN_REQUEST, &work, 65536, 256, 4096)
    http2_free(&p.http2)
    hpack_init(&p.hpack, 4096, 256, 65536)
    hpack_free(&p.hpack)
    sse_init(&p.sse, 4096)
    sse_free(&p.sse)
    ndjson_init(&p.ndjson, 4096, False)
    ndjson_free(&p.ndjson)
    eventstream_init(&p.eventstream, 4096)
    eventstream_free(&p.eventstream)
    websocket_init(&p.websocket, 4096)
    websocket_free(&p.websocket)
    grpc_init(&p.grpc, 4096)
    grpc_free(&p.grpc)
    began = multipart_init(&p.multipart, text, len(text), 4096, 4096)
    multipart_free(&p.multipart)
    oisp_buffer_free(&work)
    return bool(began) and sniff(b"GET / HTTP/1.1", 14) > 0
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "OISP_WHEEL" not in os.environ:
        pytest.skip("an editable or in-place tree cannot be cimported; `./oisp test` without arguments tests the wheel")
    folder = tmp_path_factory.mktemp("host")
    shutil.copy(Path(__file__).resolve().parent / "example" / "host.pyx", folder)
    (folder / "facade.pyx").write_text(ALL, encoding="utf-8")
    (folder / "setup.py").write_text(SETUP, encoding="utf-8")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(program: str, folder: Path) -> str:
    # A struct that changed under an importer shows as a RuntimeWarning, and only there.
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bytes_go_in_and_events_come_out(host: Path) -> None:
    events = [json.loads(line) for line in run(USE, host).splitlines()]
    assert [event["event_type"] for event in events] == ["ai.request", "ai.response"]
    assert events[0]["data"]["model"]["id"] == "gpt-5.4-mini"
    assert events[1]["data"]["choices"][0]["message"]["content"] == "hello"


def test_a_parser_works_alone_at_c_level(host: Path) -> None:
    assert run(PARSE, host).split() == ["194", "194"]


def test_the_facade_has_every_parser(host: Path) -> None:
    assert run("import facade; print(facade.works())", host).split() == ["True"]
