# SPDX-License-Identifier: Apache-2.0
"""What the Python pipeline knows of dialects: typed bodies in, typed events out.

Not a general decoder: what the generated traffic holds, as tightly as msgspec allows. Each piece that could be encoded
once is (`Raw`); models, keys, prompts and endpoints are looked up by their bytes.
"""

from __future__ import annotations

import hashlib
import re
import struct
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol
from zlib import crc32

import msgspec
from msgspec import UNSET, Raw, UnsetType
from xxhash import xxh3_64_intdigest

from oisp_core.models import registry

__all__ = ["ROUTES", "Maker", "Reader", "Route", "host_patterns"]

ENCODER = msgspec.json.Encoder()
encode_into = ENCODER.encode_into


class Struct(msgspec.Struct, gc=False):
    """None of these is ever part of a cycle: the collector need not hear of them."""


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


# --- events ---


class Parameters(Struct, omit_defaults=True):
    temperature: Raw | UnsetType = UNSET
    max_tokens: Raw | UnsetType = UNSET


class Message(Struct, forbid_unknown_fields=True):
    role: str
    content: Raw


class RequestData(Struct):
    request_id: str
    conversation_id: str
    provider: Raw
    model: Raw
    auth: Raw
    streaming: bool
    messages: list[Message]
    messages_count: int
    system_prompt_hash: str
    estimated_tokens: int
    parameters: dict[str, Raw] | UnsetType = UNSET
    request_type: str = "chat"
    has_system_prompt: bool = True
    tools_count: int = 0
    has_images: bool = False
    image_count: int = 0


class Said(Struct):
    content: Raw | str
    role: str = "assistant"


class Choice(Struct):
    message: Said
    index: int = 0
    finish_reason: str = "stop"


class Usage(Struct, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | UnsetType = UNSET
    cached_tokens: int | UnsetType = UNSET
    reasoning_tokens: int | UnsetType = UNSET
    input_cost_usd: float | UnsetType = UNSET
    output_cost_usd: float | UnsetType = UNSET
    total_cost_usd: float | UnsetType = UNSET


class ResponseData(Struct):
    request_id: str
    conversation_id: str
    provider: Raw
    status_code: int
    choices: list[Choice]
    usage: Usage
    latency_ms: int
    model: Raw | UnsetType = UNSET
    provider_request_id: str | UnsetType = UNSET
    time_to_first_token_ms: int | UnsetType = UNSET
    success: bool = True
    tool_calls_count: int = 0
    finish_reason: str = "stop"


class Delta(Struct, omit_defaults=True):
    content: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


class ChunkData(Struct, omit_defaults=True):
    request_id: str
    chunk_index: int
    delta: Delta
    finish_reason: str | UnsetType = UNSET


class Related(Struct):
    event_id: str
    relationship: str = "caused_by"


class Event(Struct):
    event_id: str
    event_type: str
    ts: str
    host: Raw
    actor: Raw
    process: Raw
    source: Raw
    data: RequestData | ResponseData | ChunkData
    ext: Raw | dict[str, Any]
    confidence: Raw
    related_events: list[Related] | UnsetType = UNSET
    oisp_version: str = "0.1"


class Context(Struct):
    host: Raw
    actor: Raw
    process: Raw
    source: Raw


CONTEXT = msgspec.json.Decoder(Context)


# --- what is the same in many events ---


@cache
def time_prefix(ms: int) -> str:
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return "".join(digits[ms >> shift & 31] for shift in range(45, -1, -5))


@cache
def second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def stamp(ns: int) -> str:
    micros = ns // 1000
    return f"{second(micros // 1_000_000)}.{micros % 1_000_000:06d}Z"


@cache
def model_of(provider: str, name: str, asked: bool) -> Raw:
    found = registry().find(provider, name)
    if found is None:
        return raw({"id": name})
    facts = found[0]
    shown: dict[str, Any] = {"id": name, "family": facts["family"]}
    if asked and facts["capabilities"]:
        names = dict.fromkeys(facts["capabilities"], True)
        shown["capabilities"] = names
    shown |= {key: facts[key] for key in ("context_window", "max_output_tokens") if facts[key] is not None}
    return raw(shown)


@cache
def rates_of(provider: str, name: str) -> tuple[float, float, float] | None:
    """Dollars a token: input, output, cached input."""
    found = registry().find(provider, name)
    if found is None or not found[1]:
        return None
    prices = found[0]["prices"]["standard", 0]
    return prices["in"] / 1e6, prices["out"] / 1e6, prices.get("cached", prices["in"]) / 1e6


@cache
def auth_of(value: bytes | None) -> Raw:
    if value is None:
        return raw({"type": "none"})
    key = value.removeprefix(b"Bearer ")
    if value.startswith(b"AWS4-"):
        key = value.partition(b"Credential=")[2].partition(b"/")[0]
    digest = hashlib.sha256(key).hexdigest()[:16]
    return raw({"type": "api_key", "key_prefix": key[:8].decode(), "key_hash": f"sha256:{digest}"})


SDKS = {
    "OpenAI/Python": "openai-python",
    "Anthropic/Python": "anthropic-python",
    "google-genai-sdk": "google-genai",
    "Boto3": "boto3",
    "ollama-python": "ollama-python",
}


@cache
def client_of(agent: bytes) -> dict[str, Any]:
    """The SDK and its version, out of a user agent."""
    found = re.match(r"(OpenAI/Python|Anthropic/Python|[\w-]+)[ /]([\w.]+)", agent.decode())
    if found is None or found[1] not in SDKS:
        return {}
    return {"client": {"sdk": SDKS[found[1]], "sdk_version": found[2]}}


_prompts: dict[int, str] = {}


def prompt_hash(text: Raw) -> str:
    wire = xxh3_64_intdigest(text)
    found = _prompts.get(wire)
    if found is None:
        said = msgspec.json.decode(text, type=str)
        found = _prompts[wire] = "sha256:" + hashlib.sha256(said.encode()).hexdigest()[:16]
        if len(_prompts) > 4096:
            _prompts.clear()
    return found


HIGH = {
    "level": "high",
    "completeness": "full",
    "reasons": ["tls_boundary_capture", "host_match", "path_match", "key_shape", "model_in_payload"],
    "process_attribution": "direct",
    "content_source": "tls_boundary",
    "ai_detection_method": "known_endpoint",
}


class Maker:
    """Writes the events of one connection."""

    __slots__ = ("chunks", "context", "conversations", "ids", "out")

    def __init__(
        self, out: bytearray, ids: Iterator[int], members: bytes, conversations: dict[int, str], *, chunks: bool
    ) -> None:
        self.out, self.ids, self.chunks, self.conversations = out, ids, chunks, conversations
        self.context = CONTEXT.decode(b"{%b}" % members)

    def conversation(self, messages: list[Message], event_id: str) -> str:
        """Of the conversation that this history goes on with: the first request's id."""
        known = self.conversations
        chain, found = 0, event_id
        for message in messages:
            chain = hash((chain, message.role, xxh3_64_intdigest(message.content)))
            found = known.get(chain, found)
        known[chain] = found
        return found

    def new_id(self, ns: int) -> str:
        return f"{time_prefix(ns // 1_000_000)}{next(self.ids):016X}"

    def write(
        self, kind: str, event_id: str, ns: int, data: Any, ext: Any, confidence: Raw, caused_by: str = ""
    ) -> None:
        c = self.context
        related = [Related(caused_by)] if caused_by else UNSET
        event = Event(event_id, kind, stamp(ns), c.host, c.actor, c.process, c.source, data, ext, confidence, related)
        out = self.out
        encode_into(event, out, -1)
        out += b"\n"


class Asked(Struct):
    """A request that waits for its answer."""

    route: Route
    maker: Maker
    request_id: str
    conversation: str
    last: int


class Reader(Protocol):
    """Reads the answer to one request."""

    def begin(self, since: int, status: int, kind: bytes) -> None: ...
    def feed(self, body: bytes, now: int) -> None: ...
    def end(self, now: int) -> None: ...


class Route:
    """One endpoint of one provider: constants of its events, and how its bodies are read."""

    __slots__ = (
        "agents", "asked", "confidence", "confidence_answer", "dialect", "ext_chunk", "ext_names", "exts", "parse",
        "provider", "provider_json", "read",
    )  # fmt: skip

    def __init__(
        self,
        provider: str,
        dialect: str,
        endpoint: str,
        parse: Callable[[bytes], Any],
        read: Callable[[Asked], Reader],
        confidence: dict[str, Any] = HIGH,
        missing: tuple[str, ...] = (),
        more: dict[str, str] | None = None,
        asked: str = "",
    ) -> None:
        self.provider, self.dialect, self.asked = provider, dialect, asked
        self.parse, self.read = parse, read
        self.provider_json = raw({"name": provider, "endpoint": endpoint, **(more or {})})
        self.confidence = raw(confidence)
        self.confidence_answer = raw({**confidence, "missing": missing}) if missing else self.confidence
        names = {"provider": provider, "dialect": dialect, "kind": "chat"}
        self.ext_names = names
        self.ext_chunk = raw({"oisp": names})
        self.agents: dict[bytes, dict[str, Any]] = {}
        self.exts: dict[bytes, Raw] = {}

    def asked_by(self, agent: bytes) -> dict[str, Any]:
        """What `ext.oisp` of a request says; the same for all requests of a program."""
        found = self.agents.get(agent)
        if found is None:
            found = self.agents[agent] = {**self.ext_names, "method": "POST", **client_of(agent)}
        return found

    def ask(self, maker: Maker, turn: Any, body: bytes) -> Reader:
        """The event of a request, and who reads its answer."""
        model, streaming, messages, texts, system, own, parameters = self.parse(body)
        key = turn.head.get(b"authorization") or turn.head.get(b"x-api-key") or turn.head.get(b"x-goog-api-key")
        event_id = maker.new_id(turn.asked_at)
        conversation = maker.conversation(messages, event_id)
        data = RequestData(
            event_id,
            conversation,
            self.provider_json,
            model_of(self.provider, model or self.asked, True),
            auth_of(key),
            streaming,
            messages,
            len(messages),
            prompt_hash(system),
            (texts + 3) // 4 + 4 * (len(messages) + own),
            parameters,
        )
        agent = turn.head.get(b"user-agent", b"")
        ext: Any
        if own:  # the prompt has a place of its own in this dialect
            ext = {"oisp": {**self.asked_by(agent), "system_prompt": system}}
        else:
            ext = self.exts.get(agent) or self.exts.setdefault(agent, raw({"oisp": self.asked_by(agent)}))
        maker.write("ai.request", event_id, turn.asked_at, data, ext, self.confidence)
        return self.read(Asked(self, maker, event_id, conversation, turn.asked_last))

    def answer(
        self,
        asked: Asked,
        since: int,
        now: int,
        status: int,
        answered: str,
        answer_id: str | UnsetType,
        text: Raw | str,
        usage: Usage,
        ext: dict[str, Any],
        first: int,
        *,
        streamed: bool,
    ) -> None:
        rates = rates_of(self.provider, answered or self.asked)
        if rates is not None:
            cached = usage.cached_tokens or 0
            usage.input_cost_usd = (usage.prompt_tokens - cached) * rates[0] + cached * rates[2]
            usage.output_cost_usd = usage.completion_tokens * rates[1]
            usage.total_cost_usd = usage.input_cost_usd + usage.output_cost_usd
        data = ResponseData(
            asked.request_id,
            asked.conversation,
            self.provider_json,
            status,
            [Choice(Said(text))],
            usage,
            (now - asked.last) // 1_000_000,
            model_of(self.provider, answered, False) if answered else UNSET,
            answer_id,
            (first - asked.last) // 1_000_000 if first else UNSET,
        )
        ext = {"oisp": {**self.ext_names, "streamed": streamed, **ext}}
        maker = asked.maker
        maker.write("ai.response", maker.new_id(since), since, data, ext, self.confidence_answer, asked.request_id)

    def chunk(self, maker: Maker, request_id: str, index: int, now: int, delta: Delta, finish: Any = UNSET) -> None:
        data = ChunkData(request_id, index, delta, finish)
        maker.write("ai.streaming_chunk", maker.new_id(now), now, data, self.ext_chunk, self.confidence, request_id)


# --- OpenAI chat completions ---


class OpenAIRequest(Struct):
    model: str
    messages: list[Message]
    stream: bool = False
    temperature: Raw | UnsetType = UNSET
    max_tokens: Raw | UnsetType = UNSET


OPENAI_REQUEST = msgspec.json.Decoder(OpenAIRequest)


def parameters_of(temperature: Raw | UnsetType, max_tokens: Raw | UnsetType) -> dict[str, Raw] | UnsetType:
    found = {}
    if temperature is not UNSET:
        found["temperature"] = temperature
    if max_tokens is not UNSET:
        found["max_tokens"] = max_tokens
    return found or UNSET


def text_size(messages: list[Message]) -> int:
    """Bytes of texts as the wire writes them."""
    return sum([len(memoryview(m.content)) for m in messages]) - 2 * len(messages)


def parse_openai(body: bytes) -> Any:
    asked = OPENAI_REQUEST.decode(body)
    messages = asked.messages
    system = messages[0].content
    size = text_size(messages)
    return (
        asked.model,
        asked.stream,
        messages,
        size,
        system,
        False,
        parameters_of(asked.temperature, asked.max_tokens),
    )


class Details(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | UnsetType = UNSET
    reasoning_tokens: int | UnsetType = UNSET


NO_DETAILS = Details()


class OpenAIUsage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Details = NO_DETAILS
    completion_tokens_details: Details = NO_DETAILS


class OpenAIMessage(Struct):
    content: Raw


class OpenAIChoice(Struct):
    message: OpenAIMessage
    finish_reason: str


class OpenAIResponse(Struct):
    id: str
    model: str
    choices: list[OpenAIChoice]
    usage: Raw
    service_tier: str


class OpenAIDelta(Struct):
    content: str | None = None


class OpenAIStreamChoice(Struct):
    delta: OpenAIDelta
    finish_reason: str | None = None


class OpenAIFirst(Struct):
    id: str
    model: str
    service_tier: str


class OpenAIChunk(Struct):
    choices: list[OpenAIStreamChoice]
    usage: dict[str, Any] | None = None


OPENAI_RESPONSE = msgspec.json.Decoder(OpenAIResponse)
OPENAI_FIRST = msgspec.json.Decoder(OpenAIFirst)
OPENAI_USAGE = msgspec.json.Decoder(OpenAIUsage)
decode_openai = msgspec.json.Decoder(OpenAIChunk).decode


def openai_usage(wire: Raw | bytes) -> Usage:
    used = OPENAI_USAGE.decode(wire)
    return Usage(
        used.prompt_tokens,
        used.completion_tokens,
        used.total_tokens,
        used.prompt_tokens_details.cached_tokens,
        used.completion_tokens_details.reasoning_tokens,
    )


class Whole:
    """An answer in one piece."""

    __slots__ = ("asked", "pieces", "since", "status")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.pieces: list[bytes] = []
        self.since = self.status = 0

    def begin(self, since: int, status: int, kind: bytes) -> None:
        self.since, self.status = since, status

    def feed(self, body: bytes, now: int) -> None:
        self.pieces.append(body)

    def end(self, now: int) -> None:
        body = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.read(body, now)

    def read(self, body: bytes, now: int) -> None:
        raise NotImplementedError

    def give(self, now: int, answered: str, answer_id: str, text: Raw | str, usage: Usage, ext: dict[str, Any]) -> None:
        asked = self.asked
        asked.route.answer(
            asked, self.since, now, self.status, answered, answer_id, text, usage, ext, 0, streamed=False
        )


class OpenAIWhole(Whole):
    __slots__ = ()

    def read(self, body: bytes, now: int) -> None:
        answer = OPENAI_RESPONSE.decode(body)
        ext = {"service_tier": answer.service_tier, "raw": {"usage": answer.usage}}
        text = answer.choices[0].message.content
        self.give(now, answer.model, answer.id, text, openai_usage(answer.usage), ext)


class Stream:
    """An answer event by event; `rest` is the beginning of an event that has not ended."""

    __slots__ = (
        "answer_id", "answered", "asked", "chunks", "ext", "finish", "first", "rest", "since", "status", "texts",
        "usage", "want",
    )  # fmt: skip

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.want = asked.maker.chunks
        self.since = self.status = self.first = self.chunks = 0
        self.rest = b""
        self.texts: list[str] = []
        self.answered = ""
        self.answer_id: str | UnsetType = UNSET
        self.finish: str | None = None
        self.usage: Any = None
        self.ext: dict[str, Any] = {}

    def begin(self, since: int, status: int, kind: bytes) -> None:
        self.since, self.status = since, status

    def give(self, now: int, usage: Usage) -> None:
        asked = self.asked
        asked.route.answer(
            asked, self.since, now, self.status, self.answered, self.answer_id, "".join(self.texts), usage, self.ext,
            self.first, streamed=True,
        )  # fmt: skip

    def take(self, piece: str, now: int) -> None:
        if not self.first:
            self.first = now
        self.texts.append(piece)
        if self.want:
            self.tell(now, Delta(piece, "assistant"))

    def tell(self, now: int, delta: Delta, finish: Any = UNSET) -> None:
        """The event of a delta, where they are wanted."""
        asked = self.asked
        asked.route.chunk(asked.maker, asked.request_id, self.chunks, now, delta, finish)
        self.chunks += 1


class OpenAIStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        blocks = (self.rest + body if self.rest else body).split(b"\n\n")
        self.rest = blocks.pop()
        for block in blocks:
            if block == b"data: [DONE]":
                continue
            data = block[6:]
            if not self.answered:
                start = OPENAI_FIRST.decode(data)
                self.answered, self.answer_id = start.model, start.id
                self.ext["service_tier"] = start.service_tier
            chunk = decode_openai(data)
            if chunk.usage is not None:
                self.usage = chunk.usage
            for choice in chunk.choices:
                piece = choice.delta.content
                if piece:
                    self.take(piece, now)
                if choice.finish_reason is not None:
                    self.finish = choice.finish_reason
                    if self.want:
                        self.tell(now, Delta(), "stop")

    def end(self, now: int) -> None:
        wire = msgspec.json.encode(self.usage)
        self.ext["raw"] = {"usage": Raw(wire)}
        self.give(now, openai_usage(wire))


# --- Anthropic messages ---


class AnthropicRequest(Struct):
    model: str
    messages: list[Message]
    system: Raw
    stream: bool = False
    temperature: Raw | UnsetType = UNSET
    max_tokens: Raw | UnsetType = UNSET


ANTHROPIC_REQUEST = msgspec.json.Decoder(AnthropicRequest)


def parse_anthropic(body: bytes) -> Any:
    asked = ANTHROPIC_REQUEST.decode(body)
    messages = asked.messages
    size = text_size(messages) + len(memoryview(asked.system)) - 2
    return (
        asked.model,
        asked.stream,
        messages,
        size,
        asked.system,
        True,
        parameters_of(asked.temperature, asked.max_tokens),
    )


class AnthropicUsage(Struct):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    service_tier: str | UnsetType = UNSET


class AnthropicBlock(Struct):
    text: Raw


class AnthropicResponse(Struct):
    id: str
    model: str
    content: list[AnthropicBlock]
    stop_reason: str
    usage: Raw


class AnthropicTextDelta(Struct):
    text: str


class AnthropicDelta(Struct):
    delta: AnthropicTextDelta


class AnthropicMessage(Struct):
    id: str
    model: str
    usage: dict[str, Any]


class AnthropicStart(Struct):
    message: AnthropicMessage


class AnthropicStopDelta(Struct):
    stop_reason: str


class AnthropicStop(Struct):
    delta: AnthropicStopDelta
    usage: dict[str, Any]


ANTHROPIC_RESPONSE = msgspec.json.Decoder(AnthropicResponse)
ANTHROPIC_START = msgspec.json.Decoder(AnthropicStart)
ANTHROPIC_STOP = msgspec.json.Decoder(AnthropicStop)
ANTHROPIC_USAGE = msgspec.json.Decoder(AnthropicUsage)
decode_anthropic = msgspec.json.Decoder(AnthropicDelta).decode


def anthropic_usage(wire: Raw | bytes) -> tuple[Usage, dict[str, Any]]:
    used = ANTHROPIC_USAGE.decode(wire)
    cached, made = used.cache_read_input_tokens, used.cache_creation_input_tokens
    usage = Usage(used.input_tokens + cached + made, used.output_tokens, cached_tokens=cached)
    ext: dict[str, Any] = {"usage": {"cache_write_tokens": made, "conventions": ["prompt_excludes_cache"]}}
    if used.service_tier is not UNSET:
        ext["service_tier"] = used.service_tier
    return usage, ext


class AnthropicWhole(Whole):
    __slots__ = ()

    def read(self, body: bytes, now: int) -> None:
        answer = ANTHROPIC_RESPONSE.decode(body)
        usage, ext = anthropic_usage(answer.usage)
        ext["raw"] = {"finish_reason": answer.stop_reason, "usage": answer.usage}
        self.give(now, answer.model, answer.id, answer.content[0].text, usage, ext)


class AnthropicStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        blocks = (self.rest + body if self.rest else body).split(b"\n\n")
        self.rest = blocks.pop()
        for block in blocks:
            kind, _, data = block.partition(b"\ndata: ")
            if kind == b"event: content_block_delta":
                self.take(decode_anthropic(data).delta.text, now)
            elif kind == b"event: message_start":
                message = ANTHROPIC_START.decode(data).message
                self.answered, self.answer_id, self.usage = message.model, message.id, message.usage
            elif kind == b"event: message_delta":
                stop = ANTHROPIC_STOP.decode(data)
                self.finish = stop.delta.stop_reason
                self.usage.update(stop.usage)
                if self.want:
                    self.tell(now, Delta(), "stop")

    def end(self, now: int) -> None:
        wire = msgspec.json.encode(self.usage)
        usage, self.ext = anthropic_usage(wire)
        self.ext["raw"] = {"finish_reason": self.finish, "usage": Raw(wire)}
        self.give(now, usage)


# --- OpenAI responses ---


class ResponsesRequest(Struct):
    model: str
    input: list[Message]
    instructions: Raw
    stream: bool = False


class ResponsesDelta(Struct):
    delta: str


class ResponsesAnswer(Struct):
    id: str
    model: str
    status: str
    service_tier: str
    usage: Raw


class ResponsesEnd(Struct):
    response: ResponsesAnswer


class ResponsesUsage(Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: Details = NO_DETAILS
    output_tokens_details: Details = NO_DETAILS


RESPONSES_REQUEST = msgspec.json.Decoder(ResponsesRequest)
RESPONSES_END = msgspec.json.Decoder(ResponsesEnd)
RESPONSES_USAGE = msgspec.json.Decoder(ResponsesUsage)
decode_responses = msgspec.json.Decoder(ResponsesDelta).decode


def parse_responses(body: bytes) -> Any:
    asked = RESPONSES_REQUEST.decode(body)
    size = text_size(asked.input) + len(memoryview(asked.instructions)) - 2
    return asked.model, asked.stream, asked.input, size, asked.instructions, True, UNSET


class ResponsesStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        blocks = (self.rest + body if self.rest else body).split(b"\n\n")
        self.rest = blocks.pop()
        for block in blocks:
            kind, _, data = block.partition(b"\ndata: ")
            if kind == b"event: response.output_text.delta":
                self.take(decode_responses(data).delta, now)
            elif kind == b"event: response.completed":
                answer = RESPONSES_END.decode(data).response
                self.answered, self.answer_id, self.usage = answer.model, answer.id, answer.usage
                raw_parts = {"finish_reason": answer.status, "usage": answer.usage}
                self.ext = {"service_tier": answer.service_tier, "raw": raw_parts}
                if self.want:
                    self.tell(now, Delta(), "stop")

    def end(self, now: int) -> None:
        used = RESPONSES_USAGE.decode(self.usage)
        cached, thought = used.input_tokens_details.cached_tokens, used.output_tokens_details.reasoning_tokens
        self.give(now, Usage(used.input_tokens, used.output_tokens, used.total_tokens, cached, thought))


# --- Gemini ---


class Part(Struct):
    text: Raw


class Content(Struct):
    parts: list[Part]
    role: str = "user"


class GeminiConfig(Struct):
    temperature: Raw | UnsetType = UNSET


class GeminiRequest(Struct):
    contents: list[Content]
    systemInstruction: Content
    generationConfig: GeminiConfig


class GeminiPart(Struct):
    text: str


class GeminiContent(Struct):
    parts: list[GeminiPart]


class GeminiCandidate(Struct):
    content: GeminiContent
    finishReason: str | None = None


class GeminiChunk(Struct):
    candidates: list[GeminiCandidate]
    usageMetadata: Raw


class GeminiFirst(Struct):
    modelVersion: str
    responseId: str


class GeminiUsage(Struct):
    promptTokenCount: int
    candidatesTokenCount: int
    totalTokenCount: int


GEMINI_REQUEST = msgspec.json.Decoder(GeminiRequest)
GEMINI_FIRST = msgspec.json.Decoder(GeminiFirst)
GEMINI_USAGE = msgspec.json.Decoder(GeminiUsage)
decode_gemini = msgspec.json.Decoder(GeminiChunk).decode
GEMINI_ROLES = {"user": "user", "model": "assistant"}


def parse_gemini(body: bytes) -> Any:
    asked = GEMINI_REQUEST.decode(body)
    messages = [Message(GEMINI_ROLES[c.role], c.parts[0].text) for c in asked.contents]
    system = asked.systemInstruction.parts[0].text
    size = text_size(messages) + len(memoryview(system)) - 2
    return "", True, messages, size, system, True, parameters_of(asked.generationConfig.temperature, UNSET)


class GeminiStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        blocks = (self.rest + body if self.rest else body).split(b"\r\n\r\n")
        self.rest = blocks.pop()
        for block in blocks:
            data = block[6:]
            if not self.answered:
                start = GEMINI_FIRST.decode(data)
                self.answered, self.answer_id = start.modelVersion, start.responseId
            chunk = decode_gemini(data)
            self.usage = chunk.usageMetadata
            candidate = chunk.candidates[0]
            self.take(candidate.content.parts[0].text, now)
            if candidate.finishReason is not None:
                self.finish = candidate.finishReason

    def end(self, now: int) -> None:
        used = GEMINI_USAGE.decode(self.usage)
        self.ext = {"raw": {"finish_reason": self.finish, "usage": self.usage}}
        self.give(now, Usage(used.promptTokenCount, used.candidatesTokenCount, used.totalTokenCount))


# --- Bedrock converse ---


class BedrockConfig(Struct):
    maxTokens: Raw | UnsetType = UNSET


class BedrockMessage(Struct):
    role: str
    content: list[Part]


class BedrockRequest(Struct):
    messages: list[BedrockMessage]
    system: list[Part]
    inferenceConfig: BedrockConfig


class BedrockDelta(Struct):
    delta: AnthropicTextDelta


class BedrockStop(Struct):
    stopReason: str


class BedrockMetadata(Struct):
    usage: Raw


class BedrockUsage(Struct):
    inputTokens: int
    outputTokens: int
    totalTokens: int


BEDROCK_REQUEST = msgspec.json.Decoder(BedrockRequest)
BEDROCK_STOP = msgspec.json.Decoder(BedrockStop)
BEDROCK_METADATA = msgspec.json.Decoder(BedrockMetadata)
BEDROCK_USAGE = msgspec.json.Decoder(BedrockUsage)
decode_bedrock = msgspec.json.Decoder(BedrockDelta).decode
prelude_of = struct.Struct(">II").unpack_from
word_of = struct.Struct(">I").unpack_from


@cache
def aws_kind(headers: bytes) -> bytes:
    """The value of `:event-type`; the headers of a stream are few."""
    at = headers.index(b":event-type") + 11
    size = int.from_bytes(headers[at + 1 : at + 3], "big")
    return headers[at + 3 : at + 3 + size]


def parse_bedrock(body: bytes) -> Any:
    asked = BEDROCK_REQUEST.decode(body)
    messages = [Message(m.role, m.content[0].text) for m in asked.messages]
    system = asked.system[0].text
    size = text_size(messages) + len(memoryview(system)) - 2
    return "", True, messages, size, system, True, parameters_of(UNSET, asked.inferenceConfig.maxTokens)


class BedrockStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        data = self.rest + body if self.rest else body
        at, have = 0, len(data)
        while have - at >= 16:
            size, header_size = prelude_of(data, at)
            if have - at < size:
                break
            if crc32(data[at : at + size - 4]) != word_of(data, at + size - 4)[0]:
                raise ValueError("a message of the event stream is broken")
            kind = aws_kind(data[at + 12 : at + 12 + header_size])
            self.event(kind, data[at + 12 + header_size : at + size - 4], now)
            at += size
        self.rest = data[at:]

    def event(self, kind: bytes, payload: bytes, now: int) -> None:
        if kind == b"contentBlockDelta":
            self.take(decode_bedrock(payload).delta.text, now)
        elif kind == b"messageStop":
            self.finish = BEDROCK_STOP.decode(payload).stopReason
            if self.want:
                self.tell(now, Delta(), "stop")
        elif kind == b"metadata":
            self.usage = BEDROCK_METADATA.decode(payload).usage

    def end(self, now: int) -> None:
        used = BEDROCK_USAGE.decode(self.usage)
        self.ext = {"raw": {"finish_reason": self.finish, "usage": self.usage}}
        self.give(now, Usage(used.inputTokens, used.outputTokens, used.totalTokens))


# --- Ollama ---


class OllamaOptions(Struct):
    temperature: Raw | UnsetType = UNSET


class OllamaRequest(Struct):
    model: str
    messages: list[Message]
    options: OllamaOptions
    stream: bool = True


class OllamaMessage(Struct):
    content: str


class OllamaChunk(Struct):
    message: OllamaMessage
    done: bool


class OllamaEnd(Struct):
    model: str
    done_reason: str
    prompt_eval_count: int
    eval_count: int


OLLAMA_REQUEST = msgspec.json.Decoder(OllamaRequest)
OLLAMA_END = msgspec.json.Decoder(OllamaEnd)
decode_ollama = msgspec.json.Decoder(OllamaChunk).decode


def parse_ollama(body: bytes) -> Any:
    asked = OLLAMA_REQUEST.decode(body)
    messages = asked.messages
    own = parameters_of(asked.options.temperature, UNSET)
    return asked.model, asked.stream, messages, text_size(messages), messages[0].content, False, own


class OllamaStream(Stream):
    __slots__ = ()

    def feed(self, body: bytes, now: int) -> None:
        lines = (self.rest + body if self.rest else body).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            chunk = decode_ollama(line)
            if chunk.message.content:
                self.take(chunk.message.content, now)
            if chunk.done:
                self.usage = OLLAMA_END.decode(line)
                if self.want:
                    self.tell(now, Delta(), "stop")

    def end(self, now: int) -> None:
        used = self.usage
        self.answered = used.model
        self.ext = {"raw": {"usage": {"prompt_eval_count": used.prompt_eval_count, "eval_count": used.eval_count}}}
        self.give(now, Usage(used.prompt_eval_count, used.eval_count))


# --- who is known ---


def by_streaming(whole: Callable[[Asked], Reader], stream: Callable[[Asked], Reader]) -> Callable[[Asked], Reader]:
    class Either:
        """Which of the two it is, the head of the answer says."""

        __slots__ = ("asked", "end", "feed")

        def __init__(self, asked: Asked) -> None:
            self.asked = asked

        def begin(self, since: int, status: int, kind: bytes) -> None:
            reader = (stream if kind.startswith(b"text/event-stream") else whole)(self.asked)
            reader.begin(since, status, kind)
            self.feed, self.end = reader.feed, reader.end

    return Either


UNKNOWN_HOST = {
    **HIGH,
    "level": "medium",
    "reasons": ["tls_boundary_capture", "path_match", "body_shape", "model_in_payload", "unknown_host"],
    "ai_detection_method": "payload_inspection",
}
GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
BEDROCK_PATH = "/model/amazon.nova-pro-v1%3A0/converse-stream"
GEMINI_HOST, BEDROCK_HOST = "generativelanguage.googleapis.com", "bedrock-runtime.us-east-1.amazonaws.com"
ROUTES: dict[tuple[bytes, bytes], Route] = {
    (b"api.openai.com", b"/v1/chat/completions"): Route(
        "openai",
        "openai.chat",
        "https://api.openai.com/v1/chat/completions",
        parse_openai,
        by_streaming(OpenAIWhole, OpenAIStream),
    ),
    (b"api.openai.com", b"/v1/responses"): Route(
        "openai", "openai.responses", "https://api.openai.com/v1/responses", parse_responses, ResponsesStream
    ),
    (b"api.anthropic.com", b"/v1/messages"): Route(
        "anthropic",
        "anthropic.messages",
        "https://api.anthropic.com/v1/messages",
        parse_anthropic,
        by_streaming(AnthropicWhole, AnthropicStream),
    ),
    (GEMINI_HOST.encode(), f"{GEMINI_PATH}?alt=sse".encode()): Route(
        "google",
        "gemini.stream",
        f"https://{GEMINI_HOST}{GEMINI_PATH}",
        parse_gemini,
        GeminiStream,
        asked="gemini-2.5-flash",
    ),
    (BEDROCK_HOST.encode(), BEDROCK_PATH.encode()): Route(
        "aws_bedrock",
        "bedrock.converse-stream",
        f"https://{BEDROCK_HOST}{BEDROCK_PATH}",
        parse_bedrock,
        BedrockStream,
        missing=("model",),
        more={"region": "us-east-1"},
        asked="amazon.nova-pro-v1:0",
    ),
    (b"localhost:11434", b"/api/chat"): Route(
        "ollama",
        "ollama.chat",
        "https://localhost:11434/api/chat",
        parse_ollama,
        OllamaStream,
        UNKNOWN_HOST,
        missing=("price",),
    ),
}


@cache
def host_patterns() -> list[bytes]:
    """What the packaged provider files name: hosts and paths, as literal bytes."""
    from oisp_core import resources

    found: set[bytes] = set()
    for name in resources.names("semconv/providers", ".yaml"):
        text = resources.read(name).decode()
        found |= {m[0].encode() for m in re.finditer(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+\.(?:com|ai|net|io|dev|org)", text)}
        found |= {m[1].encode() for m in re.finditer(r"(/v\d[a-z/_-]{3,})", text)}
    return sorted(found)
