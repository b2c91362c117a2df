# SPDX-License-Identifier: Apache-2.0
"""A target: an official SDK, used as its documentation shows. `python_sdk.py openai|anthropic sync|async CALLS`.

CALLS is JSON: a list of {words, stream, tools}. With tools the calls of the answer are answered once with results.
Prints one JSON line per exchange: what the SDK understood.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

NAMES = ("read_file", "run_command", "get_weather")
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": True}
RESULTS = {
    "read_file": "line one\nline two — “quoted”\n",
    "run_command": "2 notes.txt",
    "get_weather": '{"celsius": 7}',
}
QUESTION = "Look into notes.txt, please: what does it say? (é, 東京, 🧭)"


class OpenAi:
    model = "gpt-5.4-mini"

    def __init__(self) -> None:
        import openai

        self.error = openai.APIError
        self.sync = openai.OpenAI
        self.asynchronous = openai.AsyncOpenAI

    def endpoint(self, client: Any) -> Any:
        return client.chat.completions

    def request(self, call: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
        system = [{"role": "system", "content": "Answer briefly."}]
        out: dict[str, Any] = {"model": self.model, "messages": [*system, *messages], "stream": call["stream"]}
        out |= {"temperature": 0.25, "max_completion_tokens": 300}
        if call["stream"]:
            out["stream_options"] = {"include_usage": True}
        if call["tools"]:
            out["tools"] = [
                {"type": "function", "function": {"name": name, "description": f"{name} it", "parameters": SCHEMA}}
                for name in NAMES
            ]
            out["tool_choice"] = "auto"
        return out

    def read(self, answer: Any) -> dict[str, Any]:
        message = answer.choices[0].message
        calls = [[c.id, c.function.name, c.function.arguments] for c in message.tool_calls or []]
        return {"text": message.content or "", "calls": calls, "finish": answer.choices[0].finish_reason}

    def gather(self, chunks: list[Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"text": "", "calls": [], "finish": None}
        for chunk in chunks:
            for choice in chunk.choices:
                out["text"] += choice.delta.content or ""
                out["finish"] = choice.finish_reason or out["finish"]
                for piece in choice.delta.tool_calls or []:
                    if piece.index == len(out["calls"]):
                        out["calls"].append([piece.id, piece.function.name, ""])
                    out["calls"][piece.index][2] += piece.function.arguments or ""
        return out

    def answer_calls(self, read: dict[str, Any]) -> list[Any]:
        calls = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in read["calls"]
        ]
        results = [{"role": "tool", "tool_call_id": id_, "content": RESULTS[name]} for id_, name, _ in read["calls"]]
        return [{"role": "assistant", "content": read["text"] or None, "tool_calls": calls}, *results]


class Anthropic:
    model = "claude-sonnet-5"

    def __init__(self) -> None:
        import anthropic

        self.error = anthropic.APIError
        self.sync = anthropic.Anthropic
        self.asynchronous = anthropic.AsyncAnthropic

    def endpoint(self, client: Any) -> Any:
        return client.messages

    def request(self, call: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"model": self.model, "max_tokens": 300, "messages": messages, "stream": call["stream"]}
        out |= {"system": "Answer briefly."}
        if call["tools"]:
            out["tools"] = [{"name": n, "description": f"{n} it", "input_schema": SCHEMA} for n in NAMES]
        return out

    def read(self, answer: Any) -> dict[str, Any]:
        text = "".join(block.text for block in answer.content if block.type == "text")
        calls = [
            [b.id, b.name, json.dumps(b.input, ensure_ascii=False)] for b in answer.content if b.type == "tool_use"
        ]
        return {"text": text, "calls": calls, "finish": answer.stop_reason}

    def gather(self, events: list[Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"text": "", "calls": [], "finish": None}
        for event in events:
            if event.type == "content_block_start" and event.content_block.type == "tool_use":
                out["calls"].append([event.content_block.id, event.content_block.name, ""])
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                out["text"] += event.delta.text
            elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                out["calls"][-1][2] += event.delta.partial_json
            elif event.type == "message_delta":
                out["finish"] = event.delta.stop_reason
        return out

    def answer_calls(self, read: dict[str, Any]) -> list[Any]:
        blocks = [{"type": "text", "text": read["text"]}] if read["text"] else []
        uses = [
            {"type": "tool_use", "id": id_, "name": name, "input": json.loads(arguments or "{}")}
            for id_, name, arguments in read["calls"]
        ]
        results = [{"type": "tool_result", "tool_use_id": id_, "content": RESULTS[n]} for id_, n, _ in read["calls"]]
        return [{"role": "assistant", "content": blocks + uses}, {"role": "user", "content": results}]


Sdk = OpenAi | Anthropic


def rounds(sdk: Sdk, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The requests of one call. What the SDK read is sent in; the second request answers the tool calls."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    read = yield sdk.request(call, messages)
    if call["tools"] and read and read["calls"]:
        yield sdk.request({**call, "words": ""}, messages + sdk.answer_calls(read))


def headers(words: str) -> dict[str, Any]:
    return {"extra_headers": {"X-Double": words}} if words else {}


def run_sync(sdk: Sdk, calls: list[dict[str, Any]]) -> None:
    with sdk.sync(max_retries=0) as client:
        for call in calls:
            steps = rounds(sdk, call)
            request, words = next(steps), call["words"]
            while request is not None:
                try:
                    answer = sdk.endpoint(client).create(**request, **headers(words))
                    read = sdk.gather(list(answer)) if request["stream"] else sdk.read(answer)
                except sdk.error as error:
                    read = {"error": type(error).__name__, "calls": []}
                print(json.dumps(read), flush=True)
                request, words = advance(steps, read), ""


async def run_async(sdk: Sdk, calls: list[dict[str, Any]]) -> None:
    async with sdk.asynchronous(max_retries=0) as client:
        for call in calls:
            steps = rounds(sdk, call)
            request, words = next(steps), call["words"]
            while request is not None:
                try:
                    answer = await sdk.endpoint(client).create(**request, **headers(words))
                    read = sdk.gather(await everything(answer)) if request["stream"] else sdk.read(answer)
                except sdk.error as error:
                    read = {"error": type(error).__name__, "calls": []}
                print(json.dumps(read), flush=True)
                request, words = advance(steps, read), ""


async def everything(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


def advance(steps: Any, read: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return steps.send(read)
    except StopIteration:
        return None


def main(name: str, mode: str, calls: str) -> None:
    sdk = OpenAi() if name == "openai" else Anthropic()
    if mode == "sync":
        run_sync(sdk, json.loads(calls))
    else:
        asyncio.run(run_async(sdk, json.loads(calls)))


if __name__ == "__main__":
    main(*sys.argv[1:])
