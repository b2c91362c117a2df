# SPDX-License-Identifier: Apache-2.0
"""Which requests are one conversation: by the ids that the wire gives, else by a history that extends what was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oisp_core import Engine
from oisp_core.engine import Request, Response

START = 1_700_000_000_000_000_000
CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
MESSAGES = "https://api.anthropic.com/v1/messages"


class Talk:
    """One engine; each call is an exchange and gives the conversation of its request and the request's event."""

    def __init__(self) -> None:
        self.engine = Engine(content="full", id_seed=3)
        self.clock = START

    def say(self, url: str, body: dict[str, Any], answer: dict[str, Any], status: int = 200) -> dict[str, Any]:
        self.clock += 10**9
        json_type = [("Content-Type", "application/json")]
        request = Request(method="POST", url=url, headers=json_type, body=json.dumps(body).encode(), ts_ns=self.clock)
        raw = json.dumps(answer, ensure_ascii=False).encode()
        self.engine.exchange(request, Response(status=status, headers=json_type, body=raw, ts_ns=self.clock + 5))
        events = [json.loads(line) for line in self.engine.drain().splitlines()]
        asked = next(e for e in events if e["event_type"] == "ai.request")
        answered = next(e for e in events if e["event_type"] == "ai.response")
        assert asked["data"].get("conversation_id") == answered["data"].get("conversation_id")
        return asked

    def chat(self, messages: list[dict[str, Any]], text: str | None, status: int = 200, **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, **more}
        answer: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if status >= 400:
            answer = {"error": {"message": "no", "type": "server_error"}}
        return self.say(CHAT, {"model": "gpt-5", "messages": messages}, answer, status)


def conversation(event: dict[str, Any]) -> str:
    found = event["data"]["conversation_id"]
    assert isinstance(found, str)
    return found


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "be brief"}


def test_a_history_that_grows_is_one_conversation() -> None:
    talk = Talk()
    first = talk.chat([SYSTEM, user("one")], "1")
    second = talk.chat([SYSTEM, user("one"), model("1"), user("two")], "2")
    third = talk.chat([SYSTEM, user("one"), model("1"), user("two"), model("2"), user("three")], "3")
    assert conversation(first) == first["event_id"]
    assert conversation(first) == conversation(second) == conversation(third)


def test_two_interleaved_conversations_stay_apart() -> None:
    talk = Talk()
    a1 = talk.chat([SYSTEM, user("capital of France?")], "Paris")
    b1 = talk.chat([SYSTEM, user("capital of Spain?")], "Madrid")
    a2 = talk.chat([SYSTEM, user("capital of France?"), model("Paris"), user("and its river?")], "Seine")
    b2 = talk.chat([SYSTEM, user("capital of Spain?"), model("Madrid"), user("and its river?")], "Manzanares")
    assert conversation(a1) == conversation(a2)
    assert conversation(b1) == conversation(b2)
    assert conversation(a1) != conversation(b1)


def test_conversations_that_begin_alike_are_told_apart_by_their_answers() -> None:
    talk = Talk()
    a1 = talk.chat([user("a number?")], "4 \u00e9\n")
    b1 = talk.chat([user("a number?")], "7")
    a2 = talk.chat([user("a number?"), model("4 \u00e9\n"), user("why?")], "dice")
    b2 = talk.chat([user("a number?"), model("7"), user("why?")], "luck")
    assert conversation(a1) == conversation(a2)
    assert conversation(b1) == conversation(b2)
    assert conversation(a1) != conversation(b1)


def test_calls_of_tools_stay_in_their_conversation() -> None:
    talk = Talk()
    call = {"id": "call_0123456789", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    first = talk.chat([user("go")], None, tool_calls=[call])
    history = [user("go"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    second = talk.chat([*history, {"role": "tool", "tool_call_id": "call_0123456789", "content": "done"}], "ok")
    # Agents shorten their history: the call is still there.
    third = talk.chat([user("summary"), *history[1:], {"role": "tool", "tool_call_id": "call_0123456789"}], "ok")
    assert conversation(first) == conversation(second) == conversation(third)


def test_a_retry_is_the_same_conversation_and_says_so() -> None:
    talk = Talk()
    first = talk.chat([user("hello")], None, status=529)
    second = talk.chat([user("hello")], "hi")
    third = talk.chat([user("hello")], "hi again")
    assert conversation(first) == conversation(second)
    assert "retry" in second["confidence"]["reasons"]
    assert "retry" not in first["confidence"]["reasons"]
    assert conversation(third) != conversation(second)


def test_a_response_names_the_one_before_it() -> None:
    def answer(number: int) -> dict[str, Any]:
        return {"id": f"resp_{number}", "object": "response", "status": "completed", "output": []}

    talk = Talk()
    first = talk.say(RESPONSES, {"model": "gpt-5", "input": "one"}, answer(1))
    other = talk.say(RESPONSES, {"model": "gpt-5", "input": "else"}, answer(2))
    second = talk.say(RESPONSES, {"model": "gpt-5", "input": "two", "previous_response_id": "resp_1"}, answer(3))
    third = talk.say(RESPONSES, {"model": "gpt-5", "input": "three", "previous_response_id": "resp_3"}, answer(4))
    lost = talk.say(RESPONSES, {"model": "gpt-5", "input": "four", "previous_response_id": "resp_77"}, answer(5))
    assert conversation(first) == conversation(second) == conversation(third)
    assert len({conversation(e) for e in (first, other, lost)}) == 3


def test_a_conversation_that_the_wire_names_keeps_its_name() -> None:
    talk = Talk()
    body = {"model": "gpt-5", "input": "x", "conversation": {"id": "conv_123"}}
    event = talk.say(RESPONSES, body, {"id": "resp_9", "object": "response", "status": "completed", "output": []})
    assert conversation(event) == "conv_123"


def test_instructions_may_change() -> None:
    def answer(text: str) -> dict[str, Any]:
        return {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
        }

    talk = Talk()
    body: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [user("hi")], "system": "9:00"}
    first = talk.say(MESSAGES, body, answer("hello"))
    body = {**body, "messages": [user("hi"), model("hello"), user("bye")], "system": "9:05"}
    assert conversation(talk.say(MESSAGES, body, answer("bye"))) == conversation(first)


def test_providers_do_not_share_conversations() -> None:
    talk = Talk()
    first = talk.chat([user("hi")], "hello")
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [user("hi"), model("hello"), user("bye")]}
    second = talk.say(MESSAGES, body, {"type": "message", "role": "assistant", "content": []})
    assert conversation(first) != conversation(second)


@pytest.mark.parametrize("text", ["\\", '"', "\ud83d\ude00", "a" * 5000 + "\n", "\u0000\u001f", "é" * 700])
def test_an_answer_is_known_again_however_it_is_escaped(text: str) -> None:
    """The provider writes UTF-8, the client repeats it in ASCII with escapes."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    talk = Talk()
    a1 = talk.chat([user("q")], text)
    b1 = talk.chat([user("q")], "other")
    a2 = talk.chat([user("q"), model(text), user("r")], "x")
    assert conversation(a1) == conversation(a2) != conversation(b1)
