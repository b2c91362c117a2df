# SPDX-License-Identifier: Apache-2.0
"""What follows HTTP/1 in the same connection: WebSocket sessions, tunnels, and upgrades that were refused."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest

from oisp_core import Engine
from tests.reference.wire import START, TICK, Segment, answer, by_type, events_of, feed_all, play, request, stream

KEY = "sk-proj-0123456789abcdef"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def handshake(host: str = "api.openai.com", path: str = "/v1/realtime?model=gpt-realtime", more: str = "") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Authorization: Bearer {KEY}\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


def accepted(more: str = "") -> bytes:
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: x\r\n{more}\r\n"
    ).encode()


def frame(payload: bytes, *, masked: bool, opcode: int = 1, fin: bool = True, compressed: bool = False) -> bytes:
    first = (0x80 if fin else 0) | (0x40 if compressed else 0) | opcode
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes([first, mask | len(payload)])
    elif len(payload) < 65536:
        head = bytes([first, mask | 126]) + struct.pack(">H", len(payload))
    else:
        head = bytes([first, mask | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    key = b"\x11\x22\x33\x44"
    return head + key + bytes(b ^ key[i & 3] for i, b in enumerate(payload))


class Deflater:
    """permessage-deflate of one direction, with its window from message to message or without."""

    def __init__(self, *, fresh: bool = False) -> None:
        self.fresh = fresh
        self.codec = zlib.compressobj(6, zlib.DEFLATED, -15)

    def __call__(self, payload: bytes) -> bytes:
        if self.fresh:
            self.codec = zlib.compressobj(6, zlib.DEFLATED, -15)
        return (self.codec.compress(payload) + self.codec.flush(zlib.Z_SYNC_FLUSH))[:-4]


def ask(text: str) -> list[dict[str, Any]]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]


def reply(text: str, ident: str = "resp_1") -> list[dict[str, Any]]:
    part = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    usage = {"total_tokens": 7, "input_tokens": 4, "output_tokens": 3}
    done = {"id": ident, "status": "completed", "output": [part], "usage": usage}
    return [
        {"type": "response.created", "response": {"id": ident}},
        {"type": "response.output_text.delta", "response_id": ident, "delta": text[:3]},
        {"type": "response.output_text.delta", "response_id": ident, "delta": text[3:]},
        {"type": "response.done", "response": done},
    ]


HELLO = {"type": "session.created", "session": {"model": "gpt-realtime", "instructions": "be brief"}}


def messages(direction: str, docs: list[dict[str, Any]], pack: Any = None) -> list[Segment]:
    return [
        (
            direction,
            frame(
                pack(json.dumps(doc).encode()) if pack else json.dumps(doc).encode(),
                masked=direction == ">",
                compressed=pack is not None,
            ),
        )
        for doc in docs
    ]


def talk(out: Any = None, back: Any = None) -> list[Segment]:
    return [
        *messages("<", [HELLO], back),
        *messages(">", ask("one"), out),
        *messages("<", reply("first answer"), back),
        *messages(">", ask("two"), out),
        *messages("<", reply("second answer", "resp_2"), back),
        (">", frame(b"\x03\xe8", masked=True, opcode=8)),
        ("<", frame(b"\x03\xe8", masked=False, opcode=8)),
    ]


def check_two_turns(events: list[dict[str, Any]]) -> None:
    asked, answered = by_type(events, "ai.request"), by_type(events, "ai.response")
    assert [e["data"]["messages"][-1]["content"] for e in asked] == ["one", "two"]
    assert [e["data"]["choices"][0]["message"]["content"] for e in answered] == ["first answer", "second answer"]
    assert [e["data"]["request_id"] for e in answered] == [e["data"]["request_id"] for e in asked]
    assert [e["related_events"][0]["event_id"] for e in answered] == [e["event_id"] for e in asked]
    assert {e["data"]["auth"]["key_prefix"] for e in asked} == {"sk-proj-"}
    assert {e["data"]["model"]["id"] for e in asked} == {"gpt-realtime"}
    assert {e["confidence"]["completeness"] for e in events} == {"full"}
    assert [e["data"]["provider_request_id"] for e in answered] == ["resp_1", "resp_2"]
    assert [e["data"]["usage"]["total_tokens"] for e in answered] == [7, 7]


def test_turns_of_a_session() -> None:
    check_two_turns(play([(">", handshake()), ("<", accepted()), *talk()], chunks=False))


def test_pieces_and_times() -> None:
    segments = [(">", handshake()), ("<", accepted()), *talk()]
    events = feed_all(segments, chunks=True)
    pieces = [e["data"]["delta"].get("content") for e in by_type(events, "ai.streaming_chunk")]
    assert [p for p in pieces if p] == ["fir", "st answer", "sec", "ond answer"]
    first = by_type(events, "ai.response")[0]["data"]
    # Asked with the fifth segment, answered from the sixth to the ninth; the second of these brings the first text.
    assert first["latency_ms"] == 4 * TICK // 1_000_000
    assert first["time_to_first_token_ms"] == 2 * TICK // 1_000_000


@pytest.mark.parametrize("fresh", [False, True])
def test_compressed_messages(fresh: bool) -> None:
    more = DEFLATE + ("; client_no_context_takeover; server_no_context_takeover" if fresh else "") + "\r\n"
    talked = talk(Deflater(fresh=fresh), Deflater(fresh=fresh))
    check_two_turns(play([(">", handshake(more=DEFLATE + "\r\n")), ("<", accepted(more)), *talked]))


def test_all_in_one_segment_and_out_of_order() -> None:
    """The client speaks as soon as it has the answer, and its write is seen before that answer."""
    sent = b"".join(d for way, d in talk() if way == ">")
    got = b"".join(d for way, d in talk() if way == "<")
    engine = Engine(content="full", id_seed=1)
    engine.feed(1, ">", START, handshake())
    one = messages(">", ask("one"))
    engine.feed(1, ">", START + 1, one[0][1])
    engine.feed(1, "<", START + 2, accepted() + messages("<", [HELLO])[0][1])
    engine.feed(1, ">", START + 3, one[1][1])
    engine.feed(1, "<", START + 4, b"".join(d for _, d in messages("<", reply("first answer"))))
    events = events_of(engine)
    assert by_type(events, "ai.request")[0]["data"]["messages"][0]["content"] == "one"
    assert by_type(events, "ai.response")[0]["data"]["choices"][0]["message"]["content"] == "first answer"
    assert sent
    assert got


def test_behind_an_unknown_host() -> None:
    segments = [(">", handshake(host="gateway.internal:8443")), ("<", accepted()), *talk()]
    check_two_turns(play(segments))


def test_a_refused_handshake_is_an_exchange() -> None:
    body = json.dumps({"error": {"message": "no such key", "type": "invalid_request_error"}}).encode()
    refusal = (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    events = play([(">", handshake()), ("<", refusal), (">", request("after")), ("<", answer("fine"))])
    assert [e["data"]["status_code"] for e in by_type(events, "ai.response")] == [401, 200]
    assert by_type(events, "ai.response")[0]["data"]["success"] is False
    assert by_type(events, "ai.request")[1]["data"]["messages"][0]["content"] == "after"


def test_an_upgrade_that_the_server_passes_over() -> None:
    """RFC 9110 section 7.8: the server may go on in HTTP/1.1. What came meanwhile is read as requests."""
    first = request("one").replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n", 1)
    events = play([(">", first + request("two")), ("<", answer("a", ident="r1") + answer("b", ident="r2"))])
    assert [e["data"]["provider_request_id"] for e in by_type(events, "ai.response")] == ["r1", "r2"]
    got = b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nUpgrade: websocket\r\n\r\n"
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    events = play([(">", got + request("two")), ("<", plain + answer("b", ident="r2"))])
    assert [e["data"]["provider_request_id"] for e in by_type(events, "ai.response")] == ["r2"]


def test_an_answer_that_breaks_off() -> None:
    segments = [(">", handshake()), ("<", accepted()), *messages(">", ask("one")), *messages("<", reply("lost")[:2])]
    (cut,) = by_type(feed_all(segments), "ai.response")
    assert cut["confidence"]["completeness"] == "partial"
    assert cut["data"]["choices"][0]["message"]["content"] == "los"
    (unanswered,) = by_type(feed_all(segments[:4]), "ai.response")
    assert "response" in unanswered["confidence"]["missing"]


def test_a_hole_inside_a_message() -> None:
    """Its bytes are counted, the next message is read."""
    segments = [(">", handshake()), ("<", accepted()), *talk()]
    at = next(i for i, s in enumerate(segments) if b"st answer" in s[1])
    engine = Engine(content="full", id_seed=1)
    offsets = {">": 0, "<": 0}
    for index, (way, data) in enumerate(segments):
        if index == at:
            engine.feed(1, way, START + index, data[:10], offsets[way])
            engine.feed(1, way, START + index, data[30:], offsets[way] + 30)
        else:
            engine.feed(1, way, START + index, data, offsets[way])
        offsets[way] += len(data)
    engine.close(1)
    first, second = by_type(events_of(engine), "ai.response")
    assert "response_bytes_lost=20" in first["confidence"]["limitations"]
    assert second["confidence"]["completeness"] == "full"


def test_another_socket_is_left_alone() -> None:
    engine = Engine(id_seed=1)
    engine.feed(1, ">", START, handshake(host="chat.example.com", path="/live"))
    engine.feed(1, "<", START + 1, accepted())
    engine.feed(1, ">", START + 2, frame(b"hello there", masked=True))
    engine.close(1)
    assert engine.drain() == b""


CONNECT = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def test_plaintext_in_a_tunnel() -> None:
    inside: list[Segment] = [
        (">", request("in the tunnel")),
        ("<", stream(["a", "b"])),
        (">", request("again")),
        ("<", answer("c")),
    ]
    events = play([(">", CONNECT), ("<", ESTABLISHED), *inside])
    assert [e["data"]["messages"][0]["content"] for e in by_type(events, "ai.request")] == ["in the tunnel", "again"]
    assert [e["confidence"]["completeness"] for e in by_type(events, "ai.response")] == ["full", "full"]


def test_tls_in_a_tunnel_is_dismissed() -> None:
    engine = Engine(id_seed=1)
    engine.feed(1, ">", START, CONNECT)
    engine.feed(1, "<", START + 1, ESTABLISHED)
    engine.feed(1, ">", START + 2, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
    assert engine.verdicts() == [(1, "nothing", "tunnel")]


def test_a_refused_tunnel() -> None:
    refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    events = play([(">", CONNECT), ("<", refused), (">", request("plain")), ("<", answer("x"))])
    assert [e["data"]["messages"][0]["content"] for e in by_type(events, "ai.request")] == ["plain"]
