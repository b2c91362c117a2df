# SPDX-License-Identifier: Apache-2.0
"""The Python pipeline with orjson in place of msgspec: dictionaries in and out, `Fragment` for what is constant.

What most people write first. Framing, hosts and everything else are peer.py's; it knows the dialects of OpenAI chat and
Anthropic messages. Its events are held against the engine's like the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from orjson import Fragment
from xxhash import xxh3_64_intdigest

from oisp_bench.corpora import Corpus
from oisp_bench.engines import dialects
from oisp_bench.engines.dialects import Context, Maker, Reader, Route, stamp
from oisp_bench.engines.peer import Pipeline

__all__ = ["OrjsonPipeline"]

dumps, loads = orjson.dumps, orjson.loads
LINE = orjson.OPT_APPEND_NEWLINE


def fragment(value: Any) -> Fragment:
    return Fragment(bytes(value))


class OrjsonMaker(Maker):
    """Writes events as dictionaries."""

    __slots__ = ("head", "tail")

    def __init__(
        self, out: bytearray, ids: Iterator[int], members: bytes, conversations: dict[int, str], *, chunks: bool
    ) -> None:
        super().__init__(out, ids, members, conversations, chunks=chunks)
        c: Context = self.context
        self.head = {name: fragment(getattr(c, name)) for name in ("host", "actor", "process", "source")}

    def tell(
        self, kind: str, event_id: str, ns: int, data: dict[str, Any], ext: Any, confidence: Any, caused_by: str = ""
    ) -> None:
        event = {
            "event_id": event_id, "event_type": kind, "ts": stamp(ns), **self.head, "data": data, "ext": ext,
            "confidence": confidence, "oisp_version": "0.1",
        }  # fmt: skip
        if caused_by:
            event["related_events"] = ({"event_id": caused_by, "relationship": "caused_by"},)
        self.out += dumps(event, option=LINE)

    def talk(self, messages: list[dict[str, Any]], event_id: str) -> str:
        """The conversation that this history goes on with."""
        known = self.conversations
        chain, found = 0, event_id
        for message in messages:
            chain = hash((chain, message["role"], xxh3_64_intdigest(message["content"].encode())))
            found = known.get(chain, found)
        known[chain] = found
        return found


def wire_size(texts: list[str]) -> int:
    """Bytes of texts as the wire writes them: without brackets, commas and quotes."""
    return len(dumps(texts)) - 3 * len(texts) - 1


def parameters_of(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in ("temperature", "max_tokens") if name in asked}


class OrjsonRoute:
    """As Route, of dictionaries: constants of an endpoint's events, and how its bodies are read."""

    own = False  # the prompt has a place of its own

    def __init__(self, route: Route) -> None:
        self.route, self.provider = route, route.provider
        self.provider_json = fragment(route.provider_json)
        self.confidence = fragment(route.confidence)
        self.ext_chunk = fragment(route.ext_chunk)
        self.models: dict[tuple[str, bool], Fragment] = {}
        self.auths: dict[bytes | None, Fragment] = {}
        self.prompts: dict[str, str] = {}

    def model(self, name: str, asked: bool) -> Fragment:
        found = self.models.get((name, asked))
        if found is None:
            found = self.models[name, asked] = fragment(dialects.model_of(self.provider, name, asked))
        return found

    def auth(self, key: bytes | None) -> Fragment:
        found = self.auths.get(key)
        if found is None:
            found = self.auths[key] = fragment(dialects.auth_of(key))
        return found

    def prompt(self, text: str) -> str:
        found = self.prompts.get(text)
        if found is None:
            found = self.prompts[text] = dialects.prompt_hash(dialects.raw(text))
        return found

    def ask(self, maker: OrjsonMaker, turn: Any, body: bytes) -> Reader:
        asked = loads(body)
        messages = asked["messages"]
        texts = [message["content"] for message in messages]
        ext: dict[str, Any] = self.route.asked_by(turn.head.get(b"user-agent", b""))
        system = asked["system"] if self.own else texts[0]
        if self.own:
            texts.append(system)
            ext = {**ext, "system_prompt": system}
        key = turn.head.get(b"authorization") or turn.head.get(b"x-api-key")
        event_id = maker.new_id(turn.asked_at)
        conversation = maker.talk(messages, event_id)
        data = {
            "request_id": event_id, "conversation_id": conversation, "provider": self.provider_json,
            "model": self.model(asked["model"], True), "auth": self.auth(key),
            "streaming": asked.get("stream", False), "messages": messages, "messages_count": len(messages),
            "system_prompt_hash": self.prompt(system),
            "estimated_tokens": (wire_size(texts) + 3) // 4 + 4 * len(texts), "request_type": "chat",
            "has_system_prompt": True, "tools_count": 0, "has_images": False, "image_count": 0,
        }  # fmt: skip
        parameters = parameters_of(asked)
        if parameters:
            data["parameters"] = parameters
        maker.tell("ai.request", event_id, turn.asked_at, data, {"oisp": ext}, self.confidence)
        return self.reader(maker, event_id, conversation, turn.asked_last)

    def reader(self, maker: OrjsonMaker, request_id: str, conversation: str, last: int) -> Answer:
        raise NotImplementedError


class Answer:
    """Reads an answer, whole or streamed; `rest` is the beginning of an event that has not ended."""

    def __init__(self, route: OrjsonRoute, maker: OrjsonMaker, request_id: str, conversation: str, last: int) -> None:
        self.route, self.maker = route, maker
        self.request_id, self.conversation, self.last = request_id, conversation, last
        self.since = self.status = self.first = self.chunks = 0
        self.streamed = False
        self.rest = b""
        self.pieces: list[bytes] = []
        self.texts: list[str] = []
        self.answered = self.answer_id = self.finish = ""
        self.usage: dict[str, Any] = {}
        self.ext: dict[str, Any] = {}

    def begin(self, since: int, status: int, kind: bytes) -> None:
        self.since, self.status = since, status
        self.streamed = kind.startswith(b"text/event-stream")

    def feed(self, body: bytes, now: int) -> None:
        if not self.streamed:
            self.pieces.append(body)
            return
        blocks = (self.rest + body if self.rest else body).split(b"\n\n")
        self.rest = blocks.pop()
        for block in blocks:
            self.event(block, now)

    def end(self, now: int) -> None:
        if not self.streamed:
            self.whole(loads(self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)))
        self.give(now, *self.used())

    def take(self, piece: str, now: int) -> None:
        if not self.first:
            self.first = now
        self.texts.append(piece)
        if self.maker.chunks:
            self.chunk({"delta": {"content": piece, "role": "assistant"}}, now)

    def stop(self, now: int) -> None:
        if self.maker.chunks:
            self.chunk({"delta": {}, "finish_reason": "stop"}, now)

    def chunk(self, more: dict[str, Any], now: int) -> None:
        data = {"request_id": self.request_id, "chunk_index": self.chunks, **more}
        maker, route = self.maker, self.route
        maker.tell(
            "ai.streaming_chunk", maker.new_id(now), now, data, route.ext_chunk, route.confidence, self.request_id
        )
        self.chunks += 1

    def give(self, now: int, usage: dict[str, Any], ext: dict[str, Any]) -> None:
        route, maker = self.route, self.maker
        rates = dialects.rates_of(route.provider, self.answered)
        if rates is not None:
            cached = usage.get("cached_tokens", 0)
            usage["input_cost_usd"] = (usage["prompt_tokens"] - cached) * rates[0] + cached * rates[2]
            usage["output_cost_usd"] = usage["completion_tokens"] * rates[1]
            usage["total_cost_usd"] = usage["input_cost_usd"] + usage["output_cost_usd"]
        said = {"content": "".join(self.texts), "role": "assistant"}
        data = {
            "request_id": self.request_id, "conversation_id": self.conversation, "provider": route.provider_json,
            "status_code": self.status, "choices": ({"message": said, "index": 0, "finish_reason": "stop"},),
            "usage": usage, "latency_ms": (now - self.last) // 1_000_000, "model": route.model(self.answered, False),
            "provider_request_id": self.answer_id, "success": True, "tool_calls_count": 0, "finish_reason": "stop",
        }  # fmt: skip
        if self.first:
            data["time_to_first_token_ms"] = (self.first - self.last) // 1_000_000
        about = {"oisp": {**route.route.ext_names, "streamed": self.streamed, **ext}}
        maker.tell("ai.response", maker.new_id(self.since), self.since, data, about, route.confidence, self.request_id)

    def event(self, block: bytes, now: int) -> None:
        raise NotImplementedError

    def whole(self, answer: dict[str, Any]) -> None:
        raise NotImplementedError

    def used(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Usage, and what `ext.oisp` says beside it."""
        raise NotImplementedError


class OpenAIAnswer(Answer):
    def event(self, block: bytes, now: int) -> None:
        if block == b"data: [DONE]":
            return
        chunk = loads(block[6:])
        if not self.answered:
            self.answered, self.answer_id = chunk["model"], chunk["id"]
            self.ext["service_tier"] = chunk["service_tier"]
        if chunk.get("usage") is not None:
            self.usage = chunk["usage"]
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content")
            if piece:
                self.take(piece, now)
            if choice["finish_reason"] is not None:
                self.stop(now)

    def whole(self, answer: dict[str, Any]) -> None:
        self.answered, self.answer_id, self.usage = answer["model"], answer["id"], answer["usage"]
        self.ext["service_tier"] = answer["service_tier"]
        self.texts.append(answer["choices"][0]["message"]["content"])

    def used(self) -> tuple[dict[str, Any], dict[str, Any]]:
        wire = self.usage
        usage = {name: wire[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        details = wire.get("prompt_tokens_details", {}), wire.get("completion_tokens_details", {})
        for name, inner in zip(("cached_tokens", "reasoning_tokens"), details, strict=True):
            if name in inner:
                usage[name] = inner[name]
        return usage, {**self.ext, "raw": {"usage": wire}}


class AnthropicAnswer(Answer):
    def event(self, block: bytes, now: int) -> None:
        kind, _, data = block.partition(b"\ndata: ")
        if kind == b"event: content_block_delta":
            self.take(loads(data)["delta"]["text"], now)
        elif kind == b"event: message_start":
            message = loads(data)["message"]
            self.answered, self.answer_id, self.usage = message["model"], message["id"], message["usage"]
        elif kind == b"event: message_delta":
            stop = loads(data)
            self.finish = stop["delta"]["stop_reason"]
            self.usage.update(stop["usage"])
            self.stop(now)

    def whole(self, answer: dict[str, Any]) -> None:
        self.answered, self.answer_id, self.usage = answer["model"], answer["id"], answer["usage"]
        self.finish = answer["stop_reason"]
        self.texts.append(answer["content"][0]["text"])

    def used(self) -> tuple[dict[str, Any], dict[str, Any]]:
        wire = self.usage
        cached, made = wire.get("cache_read_input_tokens", 0), wire.get("cache_creation_input_tokens", 0)
        usage = {
            "prompt_tokens": wire["input_tokens"] + cached + made,
            "completion_tokens": wire["output_tokens"],
            "cached_tokens": cached,
        }
        ext: dict[str, Any] = {"usage": {"cache_write_tokens": made, "conventions": ["prompt_excludes_cache"]}}
        if "service_tier" in wire:
            ext["service_tier"] = wire["service_tier"]
        return usage, {**ext, "raw": {"finish_reason": self.finish, "usage": wire}}


class OpenAIRoute(OrjsonRoute):
    def reader(self, maker: OrjsonMaker, request_id: str, conversation: str, last: int) -> Answer:
        return OpenAIAnswer(self, maker, request_id, conversation, last)


class AnthropicRoute(OrjsonRoute):
    own = True

    def reader(self, maker: OrjsonMaker, request_id: str, conversation: str, last: int) -> Answer:
        return AnthropicAnswer(self, maker, request_id, conversation, last)


KINDS = {"openai.chat": OpenAIRoute, "anthropic.messages": AnthropicRoute}
ROUTES = {where: KINDS[route.dialect](route) for where, route in dialects.ROUTES.items() if route.dialect in KINDS}


class OrjsonPipeline(Pipeline):
    maker = OrjsonMaker
    routes = ROUTES

    def __init__(self, corpus: Corpus, *, content: str = "full", chunks: bool = False) -> None:
        super().__init__(corpus, content=content, chunks=chunks)
