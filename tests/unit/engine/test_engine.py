# SPDX-License-Identifier: Apache-2.0
"""The face of the engine: what each call takes, answers and refuses."""

from __future__ import annotations

import json
import struct
import threading
from pathlib import Path

import pytest

from oisp_core import (
    ABI_READ,
    ABI_WRITE,
    ConfigError,
    Engine,
    EngineBusyError,
    LimitError,
    Limits,
    RecordingError,
    Request,
    Response,
    Status,
)
from oisp_core import events as oisp_events
from tests.reference.wire import START, answer, by_type, events_of, play, request, stream

CONTEXT = b'"host":{"hostname":"h"},"process":{"pid":7},"source":{"collector":"test"}'


def test_request_and_response_share_an_id_and_are_linked() -> None:
    asked, answered = play([(">", request()), ("<", answer())])
    assert asked["data"]["request_id"] == answered["data"]["request_id"]
    assert answered["related_events"] == [{"event_id": asked["event_id"], "relationship": "caused_by"}]
    assert answered["data"]["latency_ms"] == 1
    assert asked["confidence"]["level"] == answered["confidence"]["level"] == "high"
    assert asked["data"]["auth"] == {"type": "api_key", "key_prefix": "sk-proj-"} | {
        "key_hash": asked["data"]["auth"]["key_hash"]
    }


def test_every_event_decodes_to_a_struct() -> None:
    engine = Engine(content="full", chunks=True)
    engine.feed(1, ">", START, request(stream=True))
    engine.feed(1, "<", START + 1, stream(["a", "b"]))
    found = engine.events()
    kinds = [e.event_type for e in found]
    assert kinds == ["ai.request", *["ai.streaming_chunk"] * (len(kinds) - 2), "ai.response"]
    assert kinds.count("ai.streaming_chunk") >= 2
    assert engine.drain() == b""
    assert all(oisp_events.decode(oisp_events.encode(e)) == e for e in found)


def test_time_to_first_token_and_latency() -> None:
    engine = Engine(content="full", id_seed=3)
    reply = stream(["a", "b"])
    cut = reply.index(b"data:")
    engine.feed(1, ">", START, request(stream=True))
    engine.feed(1, "<", START + 100_000_000, reply[:cut])
    engine.feed(1, "<", START + 250_000_000, reply[cut : cut + 140])
    engine.feed(1, "<", START + 900_000_000, reply[cut + 140 :])
    response = by_type(events_of(engine), "ai.response")[0]
    assert response["data"]["latency_ms"] == 900
    assert response["data"]["time_to_first_token_ms"] == 250
    assert response["ts"].endswith("20.100000Z")
    assert response["ext"]["oisp"]["streamed"] is True


def test_ids_are_reproducible_with_a_seed_and_ordered() -> None:
    segments = [(">", request()), ("<", answer()), (">", request()), ("<", answer())]
    first, second = play(segments, id_seed=5), play(segments, id_seed=5)
    assert first == second
    assert play(segments, id_seed=6) != first
    ids = [e["event_id"] for e in first]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_metadata_policy_leaves_no_text() -> None:
    engine = Engine()
    engine.feed(1, ">", START, request("the secret prompt"))
    engine.feed(1, "<", START, answer("the secret answer"))
    lines = engine.drain()
    assert b"secret" not in lines
    assert all(json.loads(x)["confidence"]["completeness"] == "metadata_only" for x in lines.splitlines())


def test_tool_calls_and_results_are_linked_once() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": '{"path":"a"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = json.dumps({"id": "x", "model": "gpt-4o", "choices": [{"index": 0, "message": message}]}).encode()
    first = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    history = [
        {"role": "user", "content": "hi"},
        message,
        {"role": "tool", "tool_call_id": "call_1", "content": "text of a"},
    ]
    again = request(messages=history)
    events = play([(">", request()), ("<", first), (">", again), ("<", answer()), (">", again), ("<", answer())])
    (made,) = by_type(events, "agent.tool_call")
    (result,) = by_type(events, "agent.tool_result")
    assert made["data"]["arguments"] == {"path": "a"}
    assert made["related_events"][0]["event_id"] == by_type(events, "ai.response")[0]["event_id"]
    assert result["related_events"] == [{"event_id": made["event_id"], "relationship": "parent"}]
    assert result["data"]["tool"]["name"] == "read_file"
    assert result["data"]["result"] == "text of a"


def test_a_result_whose_call_was_never_seen() -> None:
    history = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "call_9", "content": "r"}]
    (result,) = by_type(play([(">", request(messages=history)), ("<", answer())]), "agent.tool_result")
    assert "parent" in result["confidence"]["missing"]


def test_context_is_spliced_in_and_checked() -> None:
    engine = Engine(content="full")
    engine.set_context(1, CONTEXT)
    engine.feed(1, ">", START, request())
    event = events_of(engine)[0]
    assert event["process"] == {"pid": 7}
    assert event["source"]["collector"] == "test"
    assert "missing" not in event["confidence"] or "context" not in event["confidence"]["missing"]
    for wrong in (b'"host":{', b'{"host":{}}', b'"data":{}', b'"host":{},\n"actor":{}'):
        with pytest.raises(ConfigError):
            engine.set_context(1, wrong)


def test_in_flight_at_the_end_is_partial() -> None:
    (asked, answered) = play([(">", request(stream=True)), ("<", stream(["half of"], done=False))])
    assert asked["confidence"]["completeness"] == "full"
    assert answered["confidence"]["completeness"] == "partial"
    assert answered["data"]["choices"][0]["message"]["content"] == "half of"
    unanswered = play([(">", request())])
    assert [e["event_type"] for e in unanswered] == ["ai.request", "ai.response"]
    assert "response" in unanswered[1]["confidence"]["missing"]
    cut = play([(">", request("w" * 500)[:-100])])
    assert cut[0]["confidence"]["completeness"] == "partial"


def test_a_stream_whose_last_event_came_is_whole_though_its_framing_did_not_end() -> None:
    """Clients leave at `[DONE]`, before the last chunk of HTTP."""
    answered = play([(">", request(stream=True)), ("<", stream(["all of it"]).removesuffix(b"0\r\n\r\n"))])[1]
    assert answered["confidence"]["completeness"] == "full"
    assert answered["data"]["choices"][0]["message"]["content"] == "all of it"


def test_full_takes_the_input_whole_and_then_nothing() -> None:
    engine = Engine(content="full", limits=Limits(output_bytes=65536))
    status = Status.OK
    fed = 0
    while status is Status.OK:
        status = engine.feed(fed, ">", START, request("x" * 1000))
        fed += 1
    assert status is Status.FULL
    assert engine.feed(10_000, ">", START, request()) is Status.FULL
    assert len(engine.drain().splitlines()) == fed
    assert engine.feed(10_001, ">", START, request()) is Status.OK
    assert len(engine.drain().splitlines()) == 1


def test_directions_of_a_process_are_found_from_the_bytes() -> None:
    for asks, answers in ((ABI_WRITE, ABI_READ), (ABI_READ, ABI_WRITE)):
        engine = Engine(content="full")
        engine.feed(1, asks, START, request()[:10])
        engine.feed(1, asks, START, request()[10:])
        engine.feed(1, answers, START, answer())
        assert len(engine.events()) == 2
    with pytest.raises(ValueError, match="direction"):
        engine.feed(1, "up", START, b"")  # type: ignore[arg-type]


def test_one_engine_serves_one_caller_at_a_time() -> None:
    engine = Engine()
    big = request("y" * 30_000_000)
    errors: list[Exception] = []
    started = threading.Event()

    def feed() -> None:
        started.set()
        for i in range(10):
            engine.feed(i, ">", START, big)

    thread = threading.Thread(target=feed)
    thread.start()
    started.wait()
    while thread.is_alive():
        try:
            engine.feed(99, ">", START, b"x")
        except EngineBusyError as error:
            errors.append(error)
            break
    thread.join()
    assert errors, "two threads were let in at once"


def test_settings_that_are_wrong() -> None:
    with pytest.raises(ConfigError, match="content"):
        Engine(content="everything")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="hash_key"):
        Engine(hash_key=b"short")
    with pytest.raises(LimitError):
        Engine(limits=Limits(head_bytes=1))


def test_framed_exchanges() -> None:
    head, _, body = request().partition(b"\r\n\r\n")
    reply = answer().partition(b"\r\n\r\n")[2]
    engine = Engine(content="full")
    asked = Request(
        method="POST",
        url="https://api.openai.com/v1/chat/completions",
        headers=[("content-type", "application/json"), ("authorization", "Bearer sk-proj-0123456789abcdef")],
        body=body,
        ts_ns=START,
    )
    engine.exchange(
        asked, Response(status=200, headers=[("Content-Type", "application/json")], body=reply, ts_ns=START + 5_000_000)
    )
    first, second = events_of(engine)
    wire = play([(">", request()), ("<", answer())])
    for found, like in ((first, wire[0]), (second, wire[1])):
        del found["data"]["request_id"], like["data"]["request_id"]
        found["data"].pop("latency_ms", None), like["data"].pop("latency_ms", None)
        assert len(found["data"].pop("conversation_id")) == len(like["data"].pop("conversation_id"))  # an event's id
        assert found["data"] == like["data"]
    assert head
    engine.exchange(asked, None)
    assert "response" in events_of(engine)[1]["confidence"]["missing"]


def data_record(conn: int, direction: int, ts: int, offset: int, payload: bytes) -> bytes:
    size = 88 + len(payload)
    padded = size + -size % 8
    fixed = struct.pack(
        "<IHHQQQQQQQIIIIIHBB",
        padded,
        1,
        0,
        conn,
        ts,
        ts,
        offset,
        len(payload),
        0,
        5,
        7,
        7,
        0,
        len(payload),
        0,
        88,
        direction,
        0,
    )
    assert len(fixed) == 88
    return fixed + payload + bytes(padded - size)


def test_packed_records_and_recordings() -> None:
    records = data_record(5, 0, 1000, 0, request()) + data_record(5, 1, 2_001_000, 0, answer())
    engine = Engine(content="full", clock_base_ns=START)
    assert engine.feed_packed(records) is Status.OK
    first, second = events_of(engine)
    assert second["data"]["latency_ms"] == 2
    assert second["confidence"]["content_source"] == "tls_boundary"
    header = struct.pack("<8sIIQII", b"OISIOSP\x01", 1, 32, START, 0, 0)
    again = Engine(content="full")
    again.feed_packed(header + records)
    assert [e["ts"] for e in events_of(again)] == [first["ts"], second["ts"]]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda r: r[:-8], "record of"),
        (lambda r: r + b"\1\2\3", "record header"),
        (lambda r: struct.pack("<I", 9) + r[4:], "multiple of 8"),
        (lambda r: struct.pack("<8sIIQII", b"OISIOSP\x01", 9, 32, 0, 0, 0) + r, "version 1"),
    ],
)
def test_broken_recordings_take_nothing(broken: object, words: str) -> None:
    engine = Engine()
    with pytest.raises(RecordingError, match=words):
        engine.feed_packed(broken(data_record(5, 0, 0, 0, request())))  # type: ignore[operator]
    assert engine.stats()["records"] == 0


def test_unknown_protocols_are_dismissed_and_counted() -> None:
    engine = Engine()
    engine.feed(1, ">", START, b"\x00\x01\x02\x03 not a protocol " * 10)
    assert engine.verdicts() == [(1, "nothing", "unknown_protocol")]
    assert engine.verdicts() == []
    engine.feed(1, ">", START, b"more")
    assert engine.stats()["dismissed_bytes"] == 4


def test_garbage_never_raises(tmp_path: Path) -> None:
    import random

    rng = random.Random(4)
    engine = Engine(content="full", limits=Limits(head_bytes=2048, body_bytes=4096, arena_bytes=4096, event_bytes=1024))
    good = request("p" * 200) + request(stream=True)
    for i in range(2000):
        data = bytearray(good if i % 2 else stream(["q" * 50, "r"]))
        for _ in range(rng.randint(0, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        start = rng.randrange(len(data))
        engine.feed(i % 17, "><"[i % 2], START + i, bytes(data[start : start + rng.randint(1, 900)]))
        if rng.random() < 0.05:
            engine.gap(i % 17, "><"[i % 2], rng.choice((None, 5, 500)))
        if rng.random() < 0.02:
            engine.close(i % 17)
    engine.close()
    for line in engine.drain().splitlines():
        json.loads(line)
    assert engine.stats()["connections_open"] == 0
    assert engine.stats()["held_bytes"] == 0
