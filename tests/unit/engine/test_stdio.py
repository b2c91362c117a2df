# SPDX-License-Identifier: Apache-2.0
"""MCP over the standard streams of a server: JSON-RPC in lines, as records of capture bring it."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_core import Engine
from tests.unit.engine.test_engine import START, data_record

PLAINTEXT, SERVER, STDIO = 8, 2, 16
SENT, RECEIVED = 1, 0  # by the client; the server's process reads the one and writes the other

HELLO = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"clientInfo": {"name": "agent", "version": "1"}}}
WELCOME = {"jsonrpc": "2.0", "id": 0, "result": {"serverInfo": {"name": "files", "version": "3"}}}


def call(number: Any, name: str = "read", **arguments: Any) -> dict[str, Any]:
    # The order of the TypeScript SDK: jsonrpc and id come last.
    return {"method": "tools/call", "params": {"name": name, "arguments": arguments}, "jsonrpc": "2.0", "id": number}


def answer(number: Any, text: str = "done", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": text}], **more}}


def line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def record(direction: int, ts: int, offset: int, payload: bytes, conn: int = 9) -> bytes:
    made = bytearray(data_record(conn, direction, ts, offset, payload))
    struct.pack_into("<H", made, 6, PLAINTEXT | SERVER | STDIO)
    return bytes(made)


def close(conn: int, read: int, written: int) -> bytes:
    flags = PLAINTEXT | SERVER | STDIO
    return struct.pack("<IHHQQQQIIIIQQQQ", 88, 3, flags, conn, 9000, 0, 5, 7, 7, 0, 0, written, read, 0, 0)


def run(pieces: Sequence[tuple[int, bytes]], *, ends: bool = True) -> tuple[Engine, list[dict[str, Any]]]:
    engine = Engine(content="full", clock_base_ns=START)
    offsets = [0, 0]
    for ts, (direction, payload) in enumerate(pieces):
        engine.feed_packed(record(direction, ts * 1_000_000, offsets[direction], payload))
        offsets[direction] += len(payload)
    if ends:
        engine.feed_packed(close(9, offsets[1], offsets[0]))
    return engine, [json.loads(text) for text in engine.drain().splitlines()]


CONVERSATION = [
    (SENT, line(HELLO)),
    (RECEIVED, line(WELCOME)),
    (SENT, line({"jsonrpc": "2.0", "method": "notifications/initialized"})),
    (SENT, line({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
    (RECEIVED, line({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "read"}]}})),
    (SENT, line(call(2, path='/a " } ] \\ b'))),
    (SENT, line(call("2", "write", path="c"))),
    (RECEIVED, line({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {}})),
    (RECEIVED, line(answer("2", "second", isError=True))),
    (RECEIVED, line(answer(2, "first"))),
]


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    found = []
    for e in events:
        data = e["data"]
        said = data.get("arguments", data.get("result"))
        found.append((e["event_type"], data["tool"]["name"], data["call_id"], str(said), data.get("success")))
    return found


EXPECTED = [
    ("agent.tool_call", "read", "2", str({"path": '/a " } ] \\ b'}), None),
    ("agent.tool_call", "write", "2", str({"path": "c"}), None),
    ("agent.tool_result", "write", "2", "second", False),
    ("agent.tool_result", "read", "2", "first", True),
]


def test_calls_and_their_answers() -> None:
    """Ids pair, not order; `2` and `"2"` are two ids; who speaks is known from the handshake."""
    engine, events = run(CONVERSATION)
    assert told(events) == EXPECTED
    for e in events:
        assert e["data"]["tool"]["server"] == "files"
        assert e["data"]["agent"]["name"] == "agent"
        assert e["confidence"]["completeness"] == "full"
        assert e["confidence"]["content_source"] == "plaintext_capture"
        assert not {"unknown_host", "path_match", "host_match", "header_match"} & set(e["confidence"]["reasons"])
    assert events[3]["data"]["duration_ms"] == 4
    assert engine.stats()["requests"] == 4


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.booleans())
def test_any_cut_gives_the_same(sizes: list[int], crlf: bool) -> None:
    pieces: list[tuple[int, bytes]] = []
    for number, (direction, text) in enumerate(CONVERSATION):
        text = text.replace(b"\n", b"\r\n") if crlf else text
        step = sizes[number % len(sizes)]
        pieces += [(direction, text[at : at + step]) for at in range(0, len(text), step)]
    assert told(run(pieces)[1]) == EXPECTED


def test_a_call_without_an_answer_says_so() -> None:
    _, events = run([(SENT, line(HELLO)), (RECEIVED, line(WELCOME)), (SENT, line(call(1)))])
    assert [e["event_type"] for e in events] == ["agent.tool_call", "agent.tool_result"]
    assert "response" in events[1]["confidence"]["missing"]
    assert events[1]["confidence"]["completeness"] == "partial"


def test_a_hole_is_said() -> None:
    first, second = line(call(1, path="x" * 100)), line(call(2, path="y"))
    engine = Engine(content="full", clock_base_ns=START)
    engine.feed_packed(record(SENT, 0, 0, first) + record(SENT, 1, len(first), second))
    lost = line(answer(1, "lost"))
    heard = line(answer(2, "heard"))
    engine.feed_packed(record(RECEIVED, 2, 0, lost[:20]) + record(RECEIVED, 3, len(lost), heard))
    engine.feed_packed(close(9, len(first) + len(second), len(lost) + len(heard)))
    results = [e for e in map(json.loads, engine.drain().splitlines()) if e["event_type"] == "agent.tool_result"]
    # The hole ends somewhere in a line: what stands behind it up to the next newline is nobody's message.
    assert [e["data"].get("result") for e in results] == [None, None]
    assert all("response_bytes_lost" in e["confidence"]["reasons"] for e in results)
    assert engine.stats()["lost_bytes"] == len(lost) - 20


def test_reading_goes_on_with_the_next_line() -> None:
    sent = line(call(1)) + line(call(2))
    lost, skipped, heard = line(answer(1, "lost")), line(answer(8)), line(answer(2, "heard"))
    engine = Engine(content="full", clock_base_ns=START)
    engine.feed_packed(record(SENT, 0, 0, sent) + record(RECEIVED, 3, len(lost), skipped + heard))
    engine.feed_packed(close(9, len(sent), len(lost + skipped + heard)))
    results = [
        e["data"] for e in map(json.loads, engine.drain().splitlines()) if e["event_type"] == "agent.tool_result"
    ]
    assert [r.get("result") for r in results] == ["heard", None]


def test_a_batch_is_read_message_by_message() -> None:
    pieces = [(SENT, line([call(1, path="a"), call(2, path="b")])), (RECEIVED, line([answer(2, "B"), answer(1, "A")]))]
    results = [e["data"]["result"] for e in run(pieces)[1] if e["event_type"] == "agent.tool_result"]
    assert results == ["B", "A"]


@pytest.mark.parametrize(
    "text",
    [
        b"not json\n",
        b"{\n",
        b'{"id":1,"method":"tools/call"\n',
        b"[1,2\n",
        b"[" * 5000 + b"\n",
        b'{"id":}\n',
        b"{}\n",
        b"\n\n",
        b'"\\',
    ],
)
def test_what_is_no_message_is_counted_and_passed(text: bytes) -> None:
    pieces = [(SENT, text.rstrip(b"\n") + b"\n"), (SENT, line(call(1))), (RECEIVED, line(answer(1)))]
    assert [e["event_type"] for e in run(pieces)[1]] == ["agent.tool_call", "agent.tool_result"]


def test_another_method_with_the_same_id_takes_no_answer() -> None:
    pieces = [(SENT, line({"jsonrpc": "2.0", "id": 1, "method": "resources/read"})), (RECEIVED, line(answer(1)))]
    assert run(pieces)[1] == []


def test_nothing_is_held_when_all_is_over() -> None:
    engine, _ = run([*CONVERSATION, (SENT, b'{"half'), (SENT, line(call(5)))])
    assert engine.stats()["held_bytes"] == 0
