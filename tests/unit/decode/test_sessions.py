# SPDX-License-Identifier: Apache-2.0
"""Sessions over a WebSocket: many turns in one connection, told apart by what their messages say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects
from tests.reference.streams import FRAMINGS

ASK, BEGIN, END = 1, 2, 4
ENDS = {"response.completed", "response.incomplete", "response.failed"}
SESSIONS = {"openai.realtime", "gemini.live"}


@pytest.fixture(scope="module")
def dialects() -> Dialects:
    return load_dialects()


def turns_of(dialects: Dialects, dialect: str, messages: list[tuple[bool, str]]) -> list[dict[str, Any]]:
    """(sent, text) of each message -> the turns, and the one that is open at the end if it was asked for."""
    decoder = Decoder(dialects, dialect)
    turns, open_turn = [], False
    for sent, text in messages:
        says = decoder.message(text.encode(), sent)
        open_turn |= bool(says & (ASK | BEGIN))
        if says & END:
            turns.append(decoder.finish())
            open_turn = bool(decoder.next_turn() & ASK)
    if open_turn:
        turns.append(decoder.finish())
    return turns


def arguments(call: dict[str, Any]) -> Any:
    return json.loads(call["arguments"]) if isinstance(call["arguments"], str) else call["arguments"]


def test_recorded_sessions(corpus: Any, dialects: Dialects) -> None:
    seen = 0
    for row in corpus.exchanges():
        truth = corpus.truth()[row["id"]]
        if truth["api"] not in SESSIONS:
            continue
        seen += 1
        turns = turns_of(dialects, truth["api"], [(m["direction"] == ">", m.get("text") or "{}") for m in row["ws"]])
        text = "".join(c["content"] or "" for turn in turns for c in turn["choices"])
        assert text == truth["text"], row["id"]
        calls = [(c["id"], c["name"], arguments(c)) for turn in turns for c in turn["calls"]]
        assert calls == [(c["id"], c["name"], c["arguments"]) for c in truth["tool_calls"]], row["id"]
        assert {turn["model_requested"] for turn in turns} == {truth["model_requested"]}, row["id"]
        raw = [turn["usage"]["raw"] for turn in turns if turn["usage"]["raw"]]
        assert raw == truth.get("usage_raw", []), row["id"]
    assert seen == 11


def test_responses_over_a_websocket_say_what_they_say_over_http(corpus: Any, dialects: Dialects) -> None:
    """The events are the same, and so is the request, with `type` and without `stream`."""
    seen = 0
    for row in corpus.exchanges():
        truth = corpus.truth()[row["id"]]
        if truth["api"] != "openai.responses" or not truth["streamed"] or row["status"] != 200:
            continue
        seen += 1
        events = FRAMINGS[1](base64.b64decode(row["response_body"]))  # type: ignore[misc]
        body = json.loads(base64.b64decode(row["request_body"]))
        http = Decoder(dialects, "openai.responses")
        http.request(json.dumps(body).encode())
        for name, data in events:
            http.event(data, name)
        body.pop("stream", None)
        ask = (True, json.dumps({"type": "response.create", **body}))
        answer = [(False, data.decode()) for _, data in events if data != b"[DONE]"]
        turns = turns_of(dialects, "openai.responses", [ask, *answer, ask, *answer])
        expected = http.finish()
        terminal = any(json.loads(text).get("type") in ENDS for _, text in answer)
        assert len(turns) == (2 if terminal else 1), row["id"]
        for turn in turns if terminal else []:
            found = {k: v for k, v in turn.items() if k not in ("flags", "hits")}
            assert found == {k: v for k, v in expected.items() if k not in ("flags", "hits")}, row["id"]
    assert seen > 20


def created(number: int) -> tuple[bool, str]:
    return False, json.dumps({"type": "response.created", "response": {"id": f"resp_{number}"}})


def done(number: int, text: str) -> tuple[bool, str]:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    answer = {"id": f"resp_{number}", "status": "completed", "output": [item], "usage": {"input_tokens": number}}
    return False, json.dumps({"type": "response.done", "response": answer})


def said(text: str) -> tuple[bool, str]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return True, json.dumps({"type": "conversation.item.create", "item": item})


SESSION = (False, json.dumps({"type": "session.created", "session": {"model": "m-1", "instructions": "be brief"}}))
PLEASE = (True, json.dumps({"type": "response.create"}))
SPEECH = (True, json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 100}))


def texts(turn: dict[str, Any]) -> list[str]:
    return [m["content"] for m in turn["messages"] if not m["flags"] & 2]


def test_what_is_said_during_an_answer_belongs_to_the_next_turn(dialects: Dialects) -> None:
    messages = [SESSION, said("one"), PLEASE, created(1), SPEECH, said("two"), PLEASE, done(1, "a"), created(2)]
    first, second = turns_of(dialects, "openai.realtime", [*messages, done(2, "b")])
    assert (texts(first), texts(second)) == (["one"], ["two"])
    assert [t["choices"][0]["content"] for t in (first, second)] == ["a", "b"]
    assert [t["model_requested"] for t in (first, second)] == ["m-1", "m-1"]
    assert [t["system"] for t in (first, second)] == ["be brief", "be brief"]
    assert [t["usage"]["prompt"] for t in (first, second)] == [1, 2]


def test_an_answer_that_nobody_asked_for_is_a_turn_too(dialects: Dialects) -> None:
    (turn,) = turns_of(dialects, "openai.realtime", [SESSION, SPEECH, created(1), done(1, "heard you")])
    assert turn["choices"][0]["content"] == "heard you"
    assert turn["stream"] is True


def test_new_instructions_and_tools_take_the_place_of_the_old(dialects: Dialects) -> None:
    def update(text: str, *names: str) -> tuple[bool, str]:
        session = {"instructions": text, "tools": [{"type": "function", "name": name} for name in names]}
        return True, json.dumps({"type": "session.update", "session": session})

    messages = [SESSION, update("first", "a", "b"), said("x"), PLEASE, created(1), done(1, "1")]
    messages += [update("second", "c"), said("y"), PLEASE, created(2), done(2, "2")]
    turns = turns_of(dialects, "openai.realtime", messages)
    assert [t["system"] for t in turns] == ["first", "second"]
    assert [[tool["name"] for tool in t["tools"]] for t in turns] == [["a", "b"], ["c"]]


def test_an_error_before_the_answer_ends_the_turn(dialects: Dialects) -> None:
    error = (False, json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}))
    (turn,) = turns_of(dialects, "openai.realtime", [SESSION, said("x"), PLEASE, error])
    assert turn["error"]["type"] == "invalid_request_error"
    assert turn["success"] is False


def test_hostile_messages_do_not_end_a_session(dialects: Dialects) -> None:
    odd = [(sent, text) for sent in (True, False) for text in ("", "{", "[]", '"x"', "null", '{"type":7}', "\x00")]
    turns = turns_of(
        dialects, "openai.realtime", [SESSION, *odd, said("x"), *odd, PLEASE, *odd, created(1), done(1, "y")]
    )
    assert [t["choices"][0]["content"] for t in turns] == ["y"]
