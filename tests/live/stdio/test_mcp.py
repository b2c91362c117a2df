# SPDX-License-Identifier: Apache-2.0
"""MCP over standard streams: real clients and servers, as processes of their own; and what must not be copied."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import oisp_sensor
from oisp_core.validate import Validator
from oisp_sensor.capture import Capture, Scope
from oisp_sensor.capture.ringbuf import RingBuffer
from tests.conftest import unavailable
from tests.live.capture.harness import python
from tests.live.capture.records import Stream, streams

Record = Callable[..., tuple[list[dict[str, Any]], str]]

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

SERVER = """
try:
    from mcp.server import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server
server = Server("weather")

@server.tool()
def forecast(city: str) -> str:
    return f"{city}: rain"

@server.tool()
def broken(why: str) -> str:
    raise RuntimeError(why)

server.run("stdio")
"""

CLIENT = """
import asyncio, sys
from mcp import ClientSession, StdioServerParameters, stdio_client

async def main():
    parameters = StdioServerParameters(command=sys.executable, args=["server.py"], env={"PYTHONPATH": sys.argv[1]})
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        await session.list_tools()
        for city in ("Oslo", "Porto" * 20000):
            await session.call_tool("forecast", {"city": city})
        await session.call_tool("broken", {"why": "no such town"})

asyncio.run(main())
"""

# Node gives its children socketpairs: neither stream is a pipe. Two calls stand in one write.
NODE = """
const {spawn} = require("child_process");
const server = spawn(process.execPath, ["-e", `
  require("readline").createInterface({input: process.stdin}).on("line", (l) => {
    const q = JSON.parse(l);
    if (q.id !== undefined) process.stdout.write(JSON.stringify({jsonrpc: "2.0", id: q.id,
      result: {content: [{type: "text", text: "did " + q.params.name}]}}) + "\\\\n");
  });`], {stdio: ["pipe", "pipe", "inherit"]});
const call = (id, name) =>
  JSON.stringify({method: "tools/call", params: {name, arguments: {n: id}}, jsonrpc: "2.0", id});
let got = "";
server.stdout.on("data", (d) => { got += d; if (got.split("\\n").length === 4) server.stdin.end(); });
server.stdin.write(call(1, "one") + "\\n" + call(2, "two") + "\\n");
server.stdin.write(call("3", "three") + "\\n");
"""


@pytest.fixture
def record(private_libssl: Any, tmp_path: Path) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """`record(command, options)`: the events of a command, and what the sensor said of it."""

    def run(command: Sequence[str], *options: str) -> tuple[list[dict[str, Any]], str]:
        out = tmp_path / "events.jsonl"
        words = ["--library", str(private_libssl.libssl), "--activity", "none", "--out", str(out), *options]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(oisp_sensor.__file__).parents[1]),
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-m", "oisp_sensor", "record", *words, "--", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()], done.stderr

    return run


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        unavailable("no node here", required=False)
    return found


@pytest.fixture
def agent(tmp_path: Path, wheel: Callable[..., Path]) -> list[str]:
    """The command of a client of the official SDK, which starts a server of it."""
    packages = str(wheel("mcp"))
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / "client.py").write_text(CLIENT, encoding="utf-8")
    return ["env", f"PYTHONPATH={packages}", sys.executable, "client.py", packages]


def test_the_official_sdk(agent: list[str], record: Record, row: Callable[..., None]) -> None:
    row("mcp (Python)", "stdio", "server", "100 KB", 1)
    events, said = record(agent, "--stdio", "--content", "full")
    assert ", 0 lost" in said
    assert [(e["event_type"], e["data"]["tool"]["name"]) for e in events] == [
        ("agent.tool_call", "forecast"),
        ("agent.tool_result", "forecast"),
        ("agent.tool_call", "forecast"),
        ("agent.tool_result", "forecast"),
        ("agent.tool_call", "broken"),
        ("agent.tool_result", "broken"),
    ]
    assert events[2]["data"]["arguments"] == {"city": "Porto" * 20000}
    assert events[3]["data"]["result"] == "Porto" * 20000 + ": rain"
    assert [e["data"]["success"] for e in events[1::2]] == [True, True, False]
    for event in events:
        assert not Validator().problems(json.dumps(event).encode())
        assert event["confidence"]["completeness"] == "full"
        assert event["data"]["tool"]["server"] == "weather"
        assert event["source"]["capture_method"] == "ebpf_tracepoint"
        assert event["source"]["capture_point"] == "stdio"
        assert event["process"]["cmdline_args"][-1] == "server.py"
        assert event["process"]["parent"]["pid"] == event["process"]["ppid"]


def test_without_the_flag_nothing_is_seen(record: Record, node: str) -> None:
    assert record([node, "-e", NODE])[0] == []


def test_metadata_keeps_no_text(record: Record, node: str) -> None:
    events, _ = record([node, "-e", NODE], "--stdio")
    assert len(events) == 6
    assert not any("did one" in json.dumps(event["data"]) for event in events)


def test_socketpairs_and_node(record: Record, node: str, row: Callable[..., None]) -> None:
    row("Node", "stdio", "server", "100 B", 1)
    events, said = record([node, "-e", NODE], "--stdio", "--content", "full")
    assert ", 0 lost" in said
    calls = [e["data"] for e in events if e["event_type"] == "agent.tool_call"]
    results = [e["data"] for e in events if e["event_type"] == "agent.tool_result"]
    assert [(c["tool"]["name"], c["arguments"]) for c in calls] == [
        ("one", {"n": 1}),
        ("two", {"n": 2}),
        ("three", {"n": "3"}),
    ]
    assert [(r["tool"]["name"], r["result"]) for r in results] == [(n, f"did {n}") for n in ("one", "two", "three")]


# Each child reads its line and answers another. None speaks JSON-RPC first, though all do later, and some nearly do.
OTHERS = """
import subprocess, sys
SAID = '{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1,\\"result\\":\\"secret\\"}'
ECHO = f"import sys; [print({SAID!r}, flush=True) for l in sys.stdin]"
RPC = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"password":"secret"}}}\\n'
FIRST = [b"secret password\\n", b'{"password":"secret"}\\n', b"SELECT 'secret'; -- \\"jsonrpc\\"\\n", b"{\\n",
         b'Content-Length: 99\\r\\n\\r\\n{"jsonrpc":"2.0"}\\n', b'{"a":"' + b"x" * 2000 + b'","jsonrpc":"2.0"}\\n']
for first in FIRST:
    p = subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for text in (first, RPC):
        p.stdin.write(text); p.stdin.flush(); p.stdout.readline()
    p.stdin.close(); p.wait()
# Input from a file, output to a file, and other descriptors than the standard ones.
open("in.json", "wb").write(RPC); open("out.json", "wb").close()
with open("in.json") as f: subprocess.run([sys.executable, "-c", ECHO], stdin=f, stdout=subprocess.PIPE)
with open("out.json") as f: subprocess.run([sys.executable, "-c", ECHO], input=RPC, stdout=open("out.json", "wb"))
import os
r, w = os.pipe()
os.write(w, RPC); os.read(r, 1000)
"""


def captured(folder: Path, command: Sequence[str], **options: Any) -> tuple[list[Stream], list[bytes]]:
    records: list[bytes] = []
    with Capture(Scope.command(), libraries=[], stdio=True, **options) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        child = capture.spawn(command, cwd=str(folder))
        while child.poll() is None:
            capture.poll(0.02)
            records += ring.records()
        records += ring.records()
        assert child.wait() == 0
        ring.close()
    return list(streams(records).values()), records


def test_a_pipe_that_is_not_json_rpc_is_not_copied(tmp_path: Path) -> None:
    found, records = captured(tmp_path, python(OTHERS))
    assert found == []
    assert not any(b"secret" in record for record in records)


DUPLICATED = """
import os, subprocess, sys
CHILD = '''
import os
mine, out = os.dup(0), os.dup(1)
os.dup2(os.open("/dev/null", os.O_RDWR), 0); os.dup2(0, 1)
while got := os.read(mine, 7000):
    os.write(1, b"never"); os.writev(out, [got[:3], got[3:]])
'''
p = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
said = b'{"jsonrpc": "2.0", "id": 1}\\n' + bytes(range(32, 127)) * 3000
import threading
threading.Thread(target=lambda: (p.stdin.write(said), p.stdin.close())).start()
assert p.stdout.read() == said
open("said", "wb").write(said)
"""


def test_duplicated_descriptors_and_every_byte(tmp_path: Path, row: Callable[..., None]) -> None:
    """A server may move its streams out of the way of what its libraries print."""
    row("Python", "stdio", "server", "285 KB", 1)
    (found,), _ = captured(tmp_path, python(DUPLICATED), ring_bytes=1 << 24)
    said = (tmp_path / "said").read_bytes()
    assert bytes(found.read) == bytes(found.written) == said
    assert found.server
    assert found.missing == [0, 0]
    assert found.closed == (len(said), len(said), 0, 0)


def test_a_small_ring_loses_in_the_open(tmp_path: Path) -> None:
    (found,), _ = captured(tmp_path, python(DUPLICATED), ring_bytes=1 << 16)
    said = len((tmp_path / "said").read_bytes())
    assert found.closed is not None
    assert found.closed[:2] == (said, said)
