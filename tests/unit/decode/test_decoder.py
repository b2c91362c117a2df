# SPDX-License-Identifier: Apache-2.0
"""Bodies that are not what they should be, and the rules that no corpus row shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects
from oisp_core.errors import ConfigError

OK, MORE, BAD, LIMIT = range(4)
REQUEST_BAD, RESPONSE_BAD, IS_LIMIT, REWRITTEN = 32, 64, 512, 4096


@pytest.fixture(scope="module")
def dialects() -> Dialects:
    return load_dialects()


def chat(dialects: Dialects, body: bytes | str | dict[str, Any], **bounds: int) -> tuple[int, dict[str, Any]]:
    if isinstance(body, dict):
        body = json.dumps(body)
    decoder = Decoder(dialects, "openai.chat", **bounds)
    return decoder.request(body.encode() if isinstance(body, str) else body), decoder.value()


def stream(dialects: Dialects, name: str, *events: bytes) -> dict[str, Any]:
    decoder = Decoder(dialects, name)
    for event in events:
        decoder.event(event)
    return decoder.finish(200)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"x",
        b'{"model"',
        b'{"model":"a",}',
        b'{"model":"a"} x',
        b"[1,2",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":tru}',
        b"{'a':1}",
    ],
)
def test_what_is_not_json_is_said(dialects: Dialects, body: bytes) -> None:
    status, found = chat(dialects, body)
    assert status in (MORE, BAD)
    assert found["flags"] & REQUEST_BAD


def test_nesting_costs_memory_not_the_stack(dialects: Dialects) -> None:
    deep = b'{"x":' + b'[{"a":' * 5000 + b"1" + b"}]" * 5000 + b',"model":"m"}'
    status, found = chat(dialects, deep)
    assert (status, found["model_requested"]) == (OK, "m")
    status, found = chat(dialects, deep, json_depth=1000)
    assert status == LIMIT
    assert found["flags"] & IS_LIMIT
    assert found["model_requested"] is None


@pytest.mark.full
def test_a_hundred_megabytes(dialects: Dialects) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 100_000_000 + b'"}]}'
    status, found = chat(dialects, body, arena_bytes=1 << 20)
    assert status == OK
    assert found["flags"] & IS_LIMIT
    assert found["messages"][0]["content"] == ""
    assert found["messages"][0]["text_flags"] & 2
    status, found = chat(dialects, body, arena_bytes=200_000_000)
    assert len(found["messages"][0]["content"]) == 100_000_000


def test_items_are_bounded(dialects: Dialects) -> None:
    _, found = chat(dialects, {"messages": [{"role": "user", "content": "x"}] * 100}, items=10)
    assert len(found["messages"]) <= 10
    assert found["flags"] & IS_LIMIT


def test_a_key_that_stands_twice_counts_where_it_stands_last(dialects: Dialects) -> None:
    twice = '{"role":"user","content":"two","content":"three"}'
    body = '{"model":"a","messages":[{"role":"user","content":"one"}],"model":"b","messages":[' + twice + "]}"
    _, found = chat(dialects, body)
    assert found["model_requested"] == "b"
    assert [m["content"] for m in found["messages"]] == ["three"]


@pytest.mark.parametrize("field", ["temperature", "max_tokens"])
def test_numbers_as_strings_are_not_numbers(dialects: Dialects, field: str) -> None:
    _, found = chat(dialects, {field: "0.5", "model": 7})
    assert found[field] is None
    assert found["model_requested"] is None


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"a\ud83db", "a\ufffdb"),
        (rb"\ude00", "\ufffd"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xf0\x9f\x98", "\ufffd"),
        (b"a\x01b\nc", "a\ufffdb\ufffdc"),
        (rb"a\qb", "a\ufffdb"),
        (rb"\u12zz", "\ufffd12zz"),
        (rb"\u0000", "\0"),
    ],
)
def test_text_that_no_string_may_hold(dialects: Dialects, wire: bytes, text: str) -> None:
    status, found = chat(dialects, b'{"messages":[{"role":"user","content":"' + wire + b'"}]}')
    assert status == OK
    assert found["messages"][0]["content"] == text
    assert bool(found["flags"] & REWRITTEN) == ("\ufffd" in text)


def test_escaped_keys_and_words_mean_what_they_mean(dialects: Dialects) -> None:
    _, found = chat(
        dialects,
        r'{"\u006dodel":"m","messages":[{"r\u006fle":"\u0075ser","content":[{"type":"te\u0078t","text":"x"}]}]}',
    )
    assert found["model_requested"] == "m"
    assert found["messages"][0]["content"] == "x"
    assert found["messages"][0]["role"] == 2


def delta(text: str) -> bytes:
    return b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}' % text.encode()


def test_a_pair_of_surrogates_in_two_deltas(dialects: Dialects) -> None:
    found = stream(dialects, "openai.chat", delta(r"a\ud83d"), delta(r"\ude00b"))
    assert found["choices"][0]["content"] == "a\U0001f600b"
    assert not found["flags"] & REWRITTEN
    found = stream(dialects, "openai.chat", delta(r"a\ud83d"), delta("b"), delta(r"c\ud83d"))
    assert found["choices"][0]["content"] == "a\ufffdbc\ufffd"
    assert found["flags"] & REWRITTEN


def tool_delta(**call: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()


def test_calls_of_a_stream_are_joined(dialects: Dialects) -> None:
    by_index = stream(
        dialects,
        "openai.chat",
        tool_delta(index=0, id="a", function={"name": "f", "arguments": ""}),
        tool_delta(index=1, id="b", function={"name": "g", "arguments": '{"y"'}),
        tool_delta(index=0, function={"name": "f", "arguments": '{"x":1}'}),
        tool_delta(index=1, function={"arguments": ":2}"}),
    )
    assert [(c["id"], c["name"], c["arguments"]) for c in by_index["calls"]] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", '{"y":2}'),
    ]
    without = stream(
        dialects,
        "openai.chat",
        tool_delta(id="a", function={"name": "f", "arguments": "{"}),
        tool_delta(function={"arguments": "}"}),
        tool_delta(id="b", function={"name": "f", "arguments": "{}"}),
    )
    assert [(c["id"], c["arguments"]) for c in without["calls"]] == [("a", "{}"), ("b", "{}")]
    reused = stream(
        dialects,
        "openai.chat",
        tool_delta(index=0, id="a", function={"name": "f", "arguments": "{}"}),
        tool_delta(index=0, id="b", function={"name": "g", "arguments": "{}"}),
    )
    assert [c["id"] for c in reused["calls"]] == ["a", "b"]


def test_choices_come_in_order_of_their_index(dialects: Dialects) -> None:
    found = stream(
        dialects,
        "openai.chat",
        b'{"choices":[{"index":1,"delta":{"content":"b"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"}}]}',
    )
    assert [c["content"] for c in found["choices"]] == ["a", "b"]


def test_usage_of_a_stream_is_merged(dialects: Dialects) -> None:
    found = stream(
        dialects,
        "anthropic.messages",
        b'{"type":"message_start","message":{"id":"m","usage":{"input_tokens":10,"cache_read_input_tokens":5,"tier":"a"}}}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7,"tier":null}}',
        b'{"type":"message_stop"}',
    )
    usage = found["usage"]
    assert usage["raw"] == {"input_tokens": 10, "cache_read_input_tokens": 5, "tier": "a", "output_tokens": 7}
    assert (usage["prompt"], usage["completion"], usage["cached"]) == (15, 7, 5)


def test_an_error_inside_a_stream(dialects: Dialects) -> None:
    found = stream(
        dialects,
        "anthropic.messages",
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}',
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    )
    assert found["success"] is False
    assert found["error"] == {"type": "overloaded_error", "message": "Overloaded", "code": None}
    assert found["choices"][0]["content"] == "Hel"


def test_the_terminal_event_overrides_unless_it_is_empty(dialects: Dialects) -> None:
    deltas = [b'{"type":"response.output_text.delta","output_index":0,"delta":"%s"}' % t for t in (b"Hel", b"lo")]
    item = b'{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello!"}]}'
    end = b'{"type":"response.completed","response":{"id":"r","status":"completed","output":[%s]}}'
    assert stream(dialects, "openai.responses", *deltas, end % item)["choices"][0]["content"] == "Hello!"
    assert stream(dialects, "openai.responses", *deltas, end % b"")["choices"][0]["content"] == "Hello"


def test_memory_is_reused_and_nothing_is_left_in_it(dialects: Dialects) -> None:
    decoder = Decoder(dialects, "openai.chat")
    for text in ("one", "two"):
        decoder.reset()
        decoder.request(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
        assert [m["content"] for m in decoder.value()["messages"]] == [text]
    decoder.reset()
    assert decoder.value()["messages"] == []


def test_an_unknown_dialect_is_a_mistake_of_the_caller(dialects: Dialects) -> None:
    with pytest.raises(ConfigError, match=r"dialect.*expected one of.*openai\.chat"):
        Decoder(dialects, "openai.chatt")


@pytest.mark.parametrize(
    ("content_type", "first", "framing"),
    [
        (b"text/event-stream; charset=utf-8", b"", 1),
        (b"application/json", b"data: {}", 1),
        (b"application/json", b'{"id":1}', 0),
        (b"application/x-ndjson", b"{", 2),
        (b"application/vnd.amazon.eventstream", b"", 4),
        (b"", b": ping", 1),
    ],
)
def test_framing(dialects: Dialects, content_type: bytes, first: bytes, framing: int) -> None:
    assert Decoder(dialects, "openai.chat").framing(content_type, first) == framing
