# SPDX-License-Identifier: Apache-2.0
"""Decoding of bodies and events against msgspec: typed structs of the fields that both give, texts joined.

python benchmarks/bench_decode.py [--rounds N]

The events of a stream are decoded one by one; both sides give the joined text. `full pass` is this decoder
without learned templates: what the first events of a stream cost, and those that no template fits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.drive import compare
from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import load_dialects

DIALECTS = load_dialects()
Events = list[tuple[bytes, bytes]]


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    id: str = ""
    model: str = ""
    choices: list[Choice] = []
    usage: msgspec.Raw = msgspec.Raw(b"")


class BlockDelta(msgspec.Struct):
    type: str = ""
    text: str = ""
    stop_reason: str | None = None


class Block(msgspec.Struct):
    type: str
    index: int = 0
    delta: BlockDelta | None = None


class OutputEvent(msgspec.Struct):
    type: str
    delta: str = ""
    output_index: int = 0


class Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw(b"")


class Request(msgspec.Struct):
    model: str
    messages: list[Message]
    temperature: float | None = None
    stream: bool = False


def chat_events(count: int, *, padded: bool) -> Events:
    head = {"id": "chatcmpl-9lMgfsyK1bq8x", "object": "chat.completion.chunk", "created": 1720000000, "model": "gpt-4o"}
    events = []
    for i in range(count):
        delta = {"content": f" word{i % 997}"}
        event = {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
        if padded:
            event["obfuscation"] = "aB3dE9xY"[: i % 9]
        events.append((b"", json.dumps(event, separators=(",", ":")).encode()))
    return events


def block_events(count: int) -> Events:
    form = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word%d"}%s}'
    return [(b"content_block_delta", form % (i % 997, b" " * (i % 13))) for i in range(count)]


def output_events(count: int) -> Events:
    form = (
        b'{"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_67e554a28bec8191b56d3e2331eff88006c52f",'
        b'"output_index":0,"content_index":0,"delta":" word%d","logprobs":[],"obfuscation":"%s"}'
    )
    return [(b"response.output_text.delta", form % (i, i % 997, b"aB3dE9xY"[: i % 9])) for i in range(count)]


def typed(struct: type, text: Callable[[Any], str], events: Events) -> Callable[[], str]:
    decoder = msgspec.json.Decoder(struct)

    def run() -> str:
        decode = decoder.decode
        return "".join([text(decode(data)) for _, data in events])

    return run


def ours(dialect: str, events: Events, *, learn: bool) -> Callable[[], str]:
    decoder = Decoder(DIALECTS, dialect, learn=learn)

    def run() -> str:
        decoder.reset()
        decoder.events(events)
        text: str = decoder.finish(200)["choices"][0]["content"]
        return text

    return run


def streams(rounds: int, count: int) -> None:
    cases: list[tuple[str, str, Events, type, Callable[[Any], str]]] = [
        ("chat", "openai.chat", chat_events(count, padded=False), Chunk, lambda c: c.choices[0].delta.content),
        ("chat, padded", "openai.chat", chat_events(count, padded=True), Chunk, lambda c: c.choices[0].delta.content),
        ("messages, padded", "anthropic.messages", block_events(count), Block, lambda b: b.delta.text),
        ("responses, padded", "openai.responses", output_events(count), OutputEvent, lambda e: e.delta),
    ]
    for title, dialect, events, struct, text in cases:
        compare(
            f"{title}: events of a stream",
            {
                "msgspec, typed": typed(struct, text, events),
                "full pass": ours(dialect, events, learn=False),
                "decoder": ours(dialect, events, learn=True),
            },
            sum(len(data) for _, data in events),
            rounds=rounds,
            units=("event", len(events)),
        )


def requests(rounds: int) -> None:
    for size in (2_000, 20_000, 200_000):
        text = "lorem ipsum dolor sit amet \n" * 18
        history = [{"role": ("assistant", "user")[i % 2], "content": text} for i in range(size // 520)]
        body = json.dumps({"model": "gpt-4o", "messages": history, "temperature": 0.5, "stream": True}).encode()
        bodies = [body] * max(1, 2_000_000 // len(body))
        decoder, peer = Decoder(DIALECTS, "openai.chat"), msgspec.json.Decoder(Request)

        def decode(bodies: list[bytes] = bodies, decoder: Decoder = decoder) -> None:
            for one in bodies:
                decoder.reset()
                decoder.request(one)

        def decode_typed(bodies: list[bytes] = bodies, peer: Any = peer) -> None:
            for one in bodies:
                peer.decode(one)

        decode()
        if len(decoder.value()["messages"]) != len(peer.decode(body).messages):
            sys.exit("the two do not find the same messages; nothing is timed")
        compare(
            f"request of {len(body)} bytes",
            {"msgspec, typed, Raw contents": decode_typed, "decoder": decode},
            len(body) * len(bodies),
            rounds=rounds,
            units=("request", len(bodies)),
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--events", type=int, default=20_000)
    args = options.parse_args()
    streams(args.rounds, args.events)
    requests(args.rounds)


if __name__ == "__main__":
    main()
