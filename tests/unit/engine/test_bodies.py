# SPDX-License-Identifier: Apache-2.0
"""Bodies as they come: forms, gRPC, codings in batches, and those that nobody should have sent."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections import Counter
from typing import Any

import pytest

from oisp_core import Engine, validate
from oisp_core.engine import Request, Response
from tests.reference.wire import START, TICK, Segment, answer, by_type, events_of, feed_all, play, request, stream
from tests.unit.sensor import recordings

BOUNDARY = "----b0undary"


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """(name, filename or None, content) of each part."""
    body = b""
    for name, filename, content in parts:
        extra = f'; filename="{filename}"' if filename else ""
        kind = "Content-Type: audio/mpeg\r\n" if filename else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{kind}\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def posted(path: str, body: bytes, kind: str, more: str = "", host: str = "api.openai.com") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer sk-proj-0123456789abcdef\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def answered(body: bytes, more: str = "", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


AUDIO = bytes(range(256)) * 300
TRANSCRIPTION = form(("file", "secret-name.mp3", AUDIO), ("model", None, b"whisper-1"), ("prompt", None, b'say "42"\n'))
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.mark.parametrize("host", ["api.openai.com", "gateway.internal:8443"])
def test_a_transcription_is_a_form(host: str) -> None:
    asked = posted("/v1/audio/transcriptions", TRANSCRIPTION, MULTIPART, host=host)
    segments = [(">", asked), ("<", answered(b'{"text":"hello"}'))]
    events = feed_all(segments)
    assert feed_all(segments, lambda s: [s[1][i : i + 997] for i in range(0, len(s[1]), 997)]) == events
    (asked_event,) = by_type(events, "ai.request")
    (answer_event,) = by_type(events, "ai.response")
    assert asked_event["data"]["model"]["id"] == "whisper-1"
    assert asked_event["ext"]["oisp"]["dialect"] == "openai.audio"
    assert asked_event["confidence"]["completeness"] == "full"
    assert answer_event["data"]["choices"][0]["message"]["content"] == "hello"
    assert "secret-name" not in json.dumps(events)


def test_fields_of_an_image_edit() -> None:
    body = form(
        ("image", "a.png", b"\x89PNG\r\n" + bytes(500)),
        ("prompt", None, "a cat \u00e9 \U0001f600".encode()),
        ("model", None, b"gpt-image-1"),
        ("stream", None, b"true"),
    )
    events = play([(">", posted("/v1/images/edits", body, MULTIPART)), ("<", answered(b'{"created":1,"data":[]}'))])
    (asked,) = by_type(events, "ai.request")
    assert asked["data"]["messages"][0]["content"] == "a cat \u00e9 \U0001f600"
    assert asked["data"]["model"]["id"] == "gpt-image-1"
    assert asked["data"]["streaming"] is True


def test_a_form_with_a_hole_goes_on_behind_it() -> None:
    asked = posted("/v1/audio/transcriptions", TRANSCRIPTION, MULTIPART)
    place = asked.index(AUDIO[:64]) + 1000
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, asked[:place], 0)
    engine.feed(1, ">", START + 1, asked[place + 5000 :], place + 5000)
    engine.feed(1, "<", START + 2, answered(b'{"text":"hello"}'), 0)
    (event,) = by_type(events_of(engine), "ai.request")
    assert event["data"]["model"]["id"] == "whisper-1"
    assert "request_bytes_lost=5000" in event["confidence"]["limitations"]


def test_a_broken_form_is_not_a_wrong_one() -> None:
    for body in (b"", b"no delimiter at all", TRANSCRIPTION[:200], TRANSCRIPTION.replace(b"name=", b"nome=")):
        for kind in (MULTIPART, "multipart/form-data", "multipart/form-data; boundary="):
            for line in feed_all([(">", posted("/v1/audio/transcriptions", body, kind)), ("<", answered(b"{}"))]):
                assert validate.problems(json.dumps(line)) == []


def coded(name: str, text: str) -> bytes:
    pack = gzip.compress if name == "gzip" else zlib.compress
    body = pack(json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).encode())
    return posted("/v1/chat/completions", body, "application/json", f"Content-Encoding: {name}\r\n")


def coded_stream(parts: list[str]) -> list[bytes]:
    """An answer whose pieces each end with a sync flush."""
    whole = stream(parts).partition(b"\r\n\r\n")[2]
    events = [b"data: " + e for e in whole.split(b"data: ")[1:]]
    codec = zlib.compressobj(6, zlib.DEFLATED, 31)
    pieces = [codec.compress(e.split(b"\n\n")[0] + b"\n\n") + codec.flush(zlib.Z_SYNC_FLUSH) for e in events]
    pieces.append(codec.flush())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p), b"0\r\n\r\n"]


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_coded_requests(name: str) -> None:
    (event,) = by_type(play([(">", coded(name, "hello")), ("<", answer())]), "ai.request")
    assert event["data"]["messages"][0]["content"] == "hello"


def test_an_undecided_coded_request_is_looked_at_and_no_more() -> None:
    """Behind an unknown host: what is beyond the first 4 KiB is inflated only when it is known to be AI."""
    text = "".join(chr(33 + (i * 7919) % 90) for i in range(40000))
    asked = coded("gzip", text).replace(b"api.openai.com", b"gateway.internal", 1)
    events = play([(">", asked), ("<", answer("x"))])
    (event,) = by_type(events, "ai.request")
    assert event["data"]["messages"][0]["content"] == text


def packed(segments: list[tuple[int, str, bytes]]) -> bytes:
    """Bare ABI data records."""
    at: Counter[tuple[int, int]] = Counter()
    out = b""
    for index, (conn, way, payload) in enumerate(segments):
        direction = 0 if way == ">" else 1
        out += recordings.data(conn, direction, index * TICK, at[conn, direction], index, payload)
        at[conn, direction] += len(payload)
    return out


def test_a_batch_gives_what_single_pieces_give() -> None:
    """Coded answers of several connections, interleaved: inflated together, they give the same lines in order."""
    lanes = []
    for conn in range(4):
        pieces = coded_stream([f"c{conn} ", "and ", "so ", "on"])
        lanes.append([(conn, ">", request(f"from {conn}", stream=True)), *((conn, "<", p) for p in pieces)])
    mixed = [lane[i] for i in range(max(map(len, lanes))) for lane in lanes if i < len(lane)]
    records = packed(mixed)
    for chunks in (False, True):
        whole, single = (Engine(content="full", id_seed=1, chunks=chunks, clock_base_ns=START) for _ in range(2))
        whole.feed_packed(records)
        at = 0
        while at < len(records):
            size = int.from_bytes(records[at : at + 4], "little")
            single.feed_packed(records[at : at + size])
            at += size
        lines = whole.drain()
        assert lines == single.drain()
        assert len(lines.splitlines()) >= 8
        assert whole.stats()["held_bytes"] == 0


def test_codings_that_break() -> None:
    asked = request("q", stream=True)
    pieces = coded_stream(["one ", "two ", "three"])
    broken = [*pieces[:3], b"5\r\n\xff\xff\xff\xff\xff\r\n", *pieces[3:]]
    events = feed_all([(">", asked), *(("<", p) for p in broken)])
    (event,) = by_type(events, "ai.response")
    assert event["confidence"]["completeness"] == "partial"
    assert "encoding_unreadable" in event["confidence"]["reasons"]
    assert event["data"]["choices"][0]["message"]["content"].startswith("one ")


def test_a_bomb_is_stopped() -> None:
    bomb = gzip.compress(b'{"choices":[{"message":{"content":"' + b" " * (256 << 20) + b'"}}]}', compresslevel=1)
    begun = time.process_time()
    events = feed_all([(">", request("q")), ("<", answered(bomb, "Content-Encoding: gzip\r\n"))])
    assert time.process_time() - begun < 5
    (event,) = by_type(events, "ai.response")
    assert event["confidence"]["completeness"] == "partial"
    assert "limit_reached" in event["confidence"]["reasons"]


# --- what nobody should have sent ---


def check(body: bytes, text: str | None, *, response: bool = False) -> dict[str, Any]:
    """The event is a valid line; its text is `text`, or it has none and says so."""
    if response:
        segments: list[Segment] = [(">", request("q")), ("<", answered(body))]
    else:
        segments = [(">", posted("/v1/chat/completions", body, "application/json")), ("<", answer())]
    engine = Engine(content="full", id_seed=1)
    for index, (way, data) in enumerate(segments):
        engine.feed(1, way, START + index, data)
    engine.close(1)
    lines = engine.drain().splitlines()
    for line in lines:
        assert validate.problems(line) == []
    events = [json.loads(line) for line in lines]
    (event,) = by_type(events, "ai.response" if response else "ai.request")
    found = event["data"].get("choices" if response else "messages") or []
    texts = [m["message"].get("content") if response else m.get("content") for m in found]
    if text is None:
        assert not [t for t in texts if t]
    else:
        assert texts == [text]
    return event


def body_of(content: str) -> bytes:
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":' + content.encode() + b"}]}"


def test_duplicate_keys() -> None:
    """The last one counts, as JSON readers have it."""
    event = check(b'{"model":"a","model":"gpt-4o","messages":[{"role":"user","content":"x","content":"y"}]}', "y")
    assert event["data"]["model"]["id"] == "gpt-4o"


def test_numbers_as_strings() -> None:
    usage = b'"usage":{"prompt_tokens":"12","completion_tokens":5,"total_tokens":"x"}'
    choice = b'"choices":[{"index":"0","message":{"role":"assistant","content":7},"finish_reason":"stop"}]'
    engine_event = check(b'{"id":1,"model":["m"],' + choice + b"," + usage + b"}", None, response=True)
    usage_found = engine_event["data"].get("usage", {})
    assert "prompt_tokens" not in usage_found
    assert usage_found.get("completion_tokens") == 5


def test_lone_surrogates_and_bytes_that_are_no_text() -> None:
    event = check(body_of(r'"a\ud800b"'), "a\ufffdb")
    assert "text_rewritten" in event["confidence"]["reasons"]
    event = check(b'{"model":"gpt-4o","messages":[{"role":"user","content":"a\xff\xc0\xafb"}]}', "a\ufffd\ufffd\ufffdb")
    assert "text_rewritten" in event["confidence"]["reasons"]
    check(body_of(r'"\ude00\ud83d"'), "\ufffd\ufffd")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_of_ten_thousand(opening: bytes) -> None:
    deep = opening * 10_000
    event = check(b'{"model":"gpt-4o","x":' + deep + b',"messages":[]}', None)
    assert "request_unreadable" in event["confidence"]["reasons"]
    event = check(b'{"id":"r","x":' + deep, None, response=True)
    assert "response_unreadable" in event["confidence"]["reasons"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\x00" * 50, b'"text"', b"[1,2]", b"null", b'{"messages":7}']
)
def test_bodies_that_are_none(body: bytes) -> None:
    check(body, None)
    check(body, None, response=True)


@pytest.mark.full
def test_a_hundred_megabytes() -> None:
    """Beyond body_bytes the rest is counted, not kept; the next exchange is whole."""
    text = "z" * (100 << 20)
    asked = posted("/v1/chat/completions", body_of(json.dumps(text)), "application/json")
    engine = Engine(content="full", id_seed=1)
    for index, at in enumerate(range(0, len(asked), 16384)):
        engine.feed(1, ">", START + index, asked[at : at + 16384])
        assert engine.stats()["held_bytes"] < 80 << 20
    engine.feed(1, "<", START + 10**9, answer("one"))
    lines = engine.drain().splitlines()
    engine.feed(1, ">", START + 2 * 10**9, request("two"))
    engine.feed(1, "<", START + 3 * 10**9, answer("two"))
    engine.close(1)
    lines += engine.drain().splitlines()
    first, second = by_type([json.loads(line) for line in lines], "ai.request")
    assert first["confidence"]["completeness"] == "partial"
    assert "limit_reached" in first["confidence"]["reasons"]
    assert second["data"]["messages"][0]["content"] == "two"
    assert second["confidence"]["completeness"] == "full"


def test_fifty_ordinary_requests_and_then_one_of_ai() -> None:
    """A connection is never judged by its first requests."""
    for way in ("api.openai.com", "gateway.internal:8443"):
        segments: list[Segment] = []
        for i in range(50):
            segments.append((">", f"GET /static/{i}.js HTTP/1.1\r\nHost: {way}\r\n\r\n".encode()))
            segments.append(("<", answered(b"var x = 1;" * 50, kind="text/javascript")))
        segments += [(">", request("now").replace(b"api.openai.com", way.encode(), 1)), ("<", answer("found"))]
        events = play(segments)
        assert [e["event_type"] for e in events] == ["ai.request", "ai.response"]
        assert events[0]["data"]["messages"][0]["content"] == "now"
        assert events[1]["data"]["choices"][0]["message"]["content"] == "found"


# --- exchanges that are framed already ---


def test_exchanges_say_what_the_wire_says() -> None:
    """The same bodies, as a stream, a form and a session, without their framing."""
    body = stream(["a", "b"]).partition(b"\r\n\r\n")[2]
    events = b"\n".join(line for line in body.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: "))
    events = events.replace(b"\n", b"\n\n") + b"\n\n"
    engine = Engine(content="full", id_seed=1)
    engine.exchange(
        Request(
            method="POST",
            url="https://api.openai.com/v1/chat/completions",
            headers=[("Content-Type", "application/json")],
            body=request("x", stream=True).partition(b"\r\n\r\n")[2],
            ts_ns=START,
        ),
        Response(status=200, headers=[("Content-Type", "text/event-stream")], body=events, ts_ns=START + 1),
    )
    engine.exchange(
        Request(
            method="POST",
            url="https://api.openai.com/v1/audio/transcriptions",
            headers=[("Content-Type", MULTIPART)],
            body=TRANSCRIPTION,
            ts_ns=START + 2,
        ),
        Response(status=200, headers=[("Content-Type", "application/json")], body=b'{"text":"hi"}', ts_ns=START + 3),
    )
    found = events_of(engine)
    assert [e["data"]["choices"][0]["message"]["content"] for e in by_type(found, "ai.response")] == ["ab", "hi"]
    assert by_type(found, "ai.request")[1]["data"]["model"]["id"] == "whisper-1"


def test_a_session_as_an_exchange() -> None:
    from tests.unit.engine.test_upgrades import HELLO, ask, check_two_turns, reply

    talk = [("<", [HELLO]), (">", ask("one")), ("<", reply("first answer"))]
    talk += [(">", ask("two")), ("<", reply("second answer", "resp_2"))]
    messages = [(way, json.dumps(doc).encode(), START + 10 * i) for i, (way, docs) in enumerate(talk) for doc in docs]
    engine = Engine(content="full", id_seed=1)
    headers = [("Upgrade", "websocket"), ("Authorization", "Bearer sk-proj-0123456789abcdef")]
    url = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    engine.exchange(
        Request(method="GET", url=url, headers=headers, ts_ns=START),
        Response(status=101, headers=[("Upgrade", "websocket")], ts_ns=START, messages=messages),
    )
    check_two_turns(events_of(engine))
