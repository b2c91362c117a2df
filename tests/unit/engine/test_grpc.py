# SPDX-License-Identifier: Apache-2.0
"""gRPC through the engine: how calls fail, messages that are compressed, streams that stop."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.reference.h2wire import Talk, data, reset
from tests.reference.protobuf import encode
from tests.reference.wire import Event, by_type, bytewise, feed_all, play

ASK = encode((1, encode((1, encode((1, "Who are you?"))), (2, 1))), (2, "grok-4"), (14, 0.0))
OUTPUT = encode((1, 3), (3, encode((1, "Grok."), (2, 2))))
ANSWER = encode((1, "id-1"), (2, OUTPUT), (6, "grok-4-0709"), (9, encode((1, 3), (2, 9), (3, 20), (6, 8))))


def chunk(text: str, finish: int = 0) -> bytes:
    return encode((1, "id-1"), (2, encode((1, encode((1, text), (2, 2))), (3, finish))), (4, "grok-4-0709"))


def framed(message: bytes, *, packed: bool = False) -> bytes:
    body = gzip.compress(message) if packed else message
    return bytes([packed]) + len(body).to_bytes(4, "big") + body


class Call(Talk):
    def begin(self, method: str = "GetCompletion", *, packed: bool = False) -> None:
        fields = [
            (":method", "POST"), (":scheme", "https"), (":path", f"/xai_api.Chat/{method}"), (":authority", "api.x.ai"),
            ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-encoding", "gzip"),
            ("authorization", "Bearer xai-0123456789abcdef"),
        ]  # fmt: skip
        self.send(self.client.head(1, fields), data(1, framed(ASK, packed=packed), end=True))

    def open(self) -> None:
        fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]
        self.reply(self.server.head(1, fields))

    def say(self, *messages: bytes, packed: bool = False) -> None:
        for message in messages:
            self.reply(data(1, framed(message, packed=packed)))

    def end(self, status: str = "0", message: str = "") -> None:
        fields = [("grpc-status", status)] + ([("grpc-message", message)] if message else [])
        self.reply(self.server.head(1, fields, end=True))


def answer_of(call: Call) -> Event:
    events = play(call.segments)
    assert feed_all(call.segments, bytewise) == feed_all(call.segments)
    (answer,) = by_type(events, "ai.response")
    return answer


@pytest.mark.parametrize("packed", [False, True])
def test_a_call(packed: bool) -> None:
    call = Call()
    call.begin(packed=packed)
    call.open()
    call.say(ANSWER, packed=packed)
    call.end()
    asked, answer = play(call.segments)
    assert asked["data"]["messages"] == [{"role": "user", "content": "Who are you?"}]
    assert asked["data"]["streaming"] is False
    assert answer["data"]["choices"][0]["message"]["content"] == "Grok."
    assert answer["data"]["finish_reason"] == "stop"
    usage = answer["data"]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["reasoning_tokens"]) == (9, 11, 8)
    assert answer["ext"]["oisp"]["streamed"] is False
    assert answer["confidence"]["completeness"] == "full"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("7", "PERMISSION_DENIED"),
        ("8", "RESOURCE_EXHAUSTED"),
        ("14", "UNAVAILABLE"),
        ("16", "UNAUTHENTICATED"),
        ("99", "99"),
    ],
)
def test_a_status_is_an_error(status: str, name: str) -> None:
    """With or without a body before it: a call that fails at once has its status in the head."""
    late, early = Call(), Call()
    late.begin("GetCompletionChunk")
    late.open()
    late.say(chunk("Gr"))
    late.end(status, "no%20credit%3A%20%C3%A9")
    early.begin()
    fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)]
    early.reply(early.server.head(1, [*fields, ("grpc-message", "no%20credit%3A%20%C3%A9")], end=True))
    for call, text in ((late, "Gr"), (early, None)):
        answer = answer_of(call)
        assert answer["data"]["success"] is False
        assert answer["data"]["error"] == {"type": name, "message": "no credit: \u00e9"}
        choices = answer["data"].get("choices", [])
        assert [c["message"]["content"] for c in choices] == ([text] if text else [])


def test_a_stream() -> None:
    call = Call()
    call.begin("GetCompletionChunk")
    call.open()
    call.say(chunk("Gr"), chunk("ok."), chunk("", 3))
    call.end()
    answer = answer_of(call)
    assert answer["data"]["choices"][0]["message"]["content"] == "Grok."
    assert answer["data"]["finish_reason"] == "stop"
    assert answer["ext"]["oisp"]["streamed"] is True
    assert "time_to_first_token_ms" in answer["data"]


def test_a_stream_that_the_client_leaves() -> None:
    call = Call()
    call.begin("GetCompletionChunk")
    call.open()
    call.say(chunk("Gr"))
    call.send(reset(1))
    answer = answer_of(call)
    assert answer["data"]["choices"][0]["message"]["content"] == "Gr"
    assert answer["confidence"]["completeness"] == "partial"


def struct(**members: str) -> bytes:
    return encode(*((1, encode((1, key), (2, encode((3, value))))) for key, value in members.items()))


VERTEX_ASK = encode(
    (5, "projects/p/locations/l/publishers/google/models/gemini-2.5-flash"),
    (2, encode((1, "user"), (2, encode((1, "weather?"))), (2, encode((2, encode((1, "image/png"), (2, b"\x89PNG"))))))),
    (2, encode((1, "model"), (2, encode((5, encode((1, "look"), (2, struct(city="Rome")))))))),
    (2, encode((1, "user"), (2, encode((6, encode((1, "look"), (2, struct(sky="clear")))))))),
    (8, encode((2, encode((1, "Be brief."))))),
    (6, encode((1, encode((1, "look"), (2, "looks at the sky"))))),
    (4, encode((5, 64), (6, "END"))),
)
VERTEX_ANSWER = encode(
    (2, encode((2, encode((1, "model"), (2, encode((1, "hm"), (10, 1))), (2, encode((1, "Clear."))))), (3, 1))),
    (4, encode((1, 9), (2, 2), (3, 14), (14, 3))),
    (11, "gemini-2.5-flash"),
    (13, "r1"),
)
GEMINI_ASK = encode((1, "models/gemini-2.5-flash"), (2, encode((1, encode((2, "weather?"))), (2, "user"))))
GEMINI_CALL = encode((4, encode((3, "f1"), (1, "look"), (2, struct(city="Rome")))))
GEMINI_ANSWER = encode(
    (1, encode((1, encode((1, GEMINI_CALL), (2, "model"))), (2, 1))),
    (3, encode((1, 4), (2, 5), (3, 9))),
    (4, "gemini-2.5-flash"),
)


def exchange(host: str, path: str, ask: bytes, *answers: bytes) -> list[Event]:
    talk = Call()
    head = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", host)]
    talk.send(talk.client.head(1, [*head, ("content-type", "application/grpc")]), data(1, framed(ask), end=True))
    talk.open()
    talk.say(*answers)
    talk.end()
    return play(talk.segments)


@pytest.mark.parametrize("streamed", [False, True])
def test_vertex(streamed: bool) -> None:
    method = "StreamGenerateContent" if streamed else "GenerateContent"
    path = f"/google.cloud.aiplatform.v1.PredictionService/{method}"
    result, asked, answer = exchange("us-central1-aiplatform.googleapis.com", path, VERTEX_ASK, VERTEX_ANSWER)
    said = asked["data"]
    assert said["model"]["id"].endswith("gemini-2.5-flash")
    assert (said["streaming"], said["has_system_prompt"], said["image_count"]) == (streamed, True, 1)
    assert [m["role"] for m in said["messages"]] == ["user", "assistant", "user"]
    assert said["messages"][0]["content"] == "weather?"
    assert said["parameters"] == {"max_tokens": 64, "stop": ["END"]}
    assert said["tools"][0]["name"] == "look"
    assert result["data"]["result"] == {"sky": "clear"}
    got = answer["data"]
    assert got["choices"][0]["message"]["content"] == "Clear."
    assert answer["ext"]["oisp"]["reasoning"] == "hm"
    assert got["finish_reason"] == "stop"
    assert [got["usage"][f"{name}_tokens"] for name in ("prompt", "completion", "total", "reasoning")] == [9, 5, 14, 3]
    assert got["provider_request_id"] == "r1"


def test_gemini() -> None:
    path = "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent"
    asked, answer, call = exchange("generativelanguage.googleapis.com", path, GEMINI_ASK, GEMINI_ANSWER)
    assert asked["data"]["model"]["id"] == "models/gemini-2.5-flash"
    assert answer["data"]["finish_reason"] == "tool_calls"
    assert answer["data"]["usage"]["total_tokens"] == 9
    assert (call["data"]["call_id"], call["data"]["arguments"]) == ("f1", {"city": "Rome"})


def test_a_deferred_answer_is_fetched() -> None:
    asked, answer = exchange(
        "api.x.ai", "/xai_api.Chat/GetDeferredCompletion", encode((1, "d-1")), encode((1, ANSWER), (2, 1))
    )
    assert asked["ext"]["oisp"]["kind"] == "other"
    assert answer["data"]["provider_request_id"] == "id-1"
    assert answer["data"]["choices"][0]["message"]["content"] == "Grok."
    (_, pending) = exchange("api.x.ai", "/xai_api.Chat/GetDeferredCompletion", encode((1, "d-1")), encode((2, 3)))
    assert "choices" not in pending["data"]


@pytest.mark.parametrize("body", [b"\xff" * 20, b"\x0a\x40abc", ANSWER[:-3], b"\x0b\x0c", encode((3, "x"))])
def test_what_is_no_message_is_not_a_wrong_one(body: bytes) -> None:
    call = Call()
    call.begin()
    call.open()
    call.say(body)
    call.end()
    data_: dict[str, Any] = answer_of(call)["data"]
    assert data_.get("model", {}).get("id") in (None, "grok-4-0709")
    assert data_.get("usage", {}).get("prompt_tokens") in (None, 9)
