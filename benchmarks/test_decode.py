# SPDX-License-Identifier: Apache-2.0
"""The JSON pass, beside msgspec, orjson and simdjson; the decoder for each dialect, on bodies and on streams."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec
import pytest

from benchmarks import bench_decode as decode
from oisp_bench import corpora, http2, traffic
from oisp_core.decode.decoder import Decoder

SIZES = (2_000, 20_000, 200_000)


def bodies(size: int) -> list[bytes]:
    """OpenAI requests, 2 MB of them."""
    rng = random.Random(7)
    made = [traffic.openai_chat(rng, "sk-x", size, stream=False).data.partition(b"\r\n\r\n")[2] for _ in range(8)]
    return made * max(1, 2_000_000 // (8 * size))


def with_simdjson() -> Callable[[list[bytes]], int]:
    parser = pytest.importorskip("simdjson").Parser()

    def run(documents: list[bytes]) -> int:
        for one in documents:
            parser.parse(one)  # the document is let go of at once, as its parser demands
        return len(documents)

    return run


def one_by_one(load: Callable[[bytes], Any]) -> Callable[[list[bytes]], int]:
    def run(documents: list[bytes]) -> int:
        for one in documents:
            load(one)
        return len(documents)

    return run


@pytest.mark.parametrize("who", ["orjson", "msgspec, Raw", "simdjson", "oisp"])
@pytest.mark.parametrize("size", SIZES)
def test_json(stage: Callable[..., None], drivers: Callable[[str], ModuleType], who: str, size: int) -> None:
    """All of them look at every byte and check it; orjson makes objects of it, too."""
    documents = bodies(size)
    about: dict[str, Any] = {"size": sum(map(len, documents)), "unit": "document", "count": len(documents)}
    about["wanted"] = len(documents)
    title = f"JSON pass, requests of {size // 1000} KB"
    if who == "oisp":
        driver = drivers("drive_parsers")
        held = driver.Segments(documents)
        stage(title, who, lambda: driver.valid(held), **about)
        return
    if who == "orjson":
        run = one_by_one(pytest.importorskip("orjson").loads)
    elif who == "simdjson":
        run = with_simdjson()
    else:
        run = one_by_one(msgspec.json.Decoder(msgspec.Raw).decode)
    stage(title, who, lambda: run(documents), **about)


STREAMS: dict[str, tuple[decode.Events, type, Callable[[Any], str]]] = {
    "openai.chat": (
        decode.chat_events(4000, padded=False), decode.Chunk, lambda c: c.choices[0].delta.content,
    ),
    "openai.chat, padded": (
        decode.chat_events(4000, padded=True), decode.Chunk, lambda c: c.choices[0].delta.content,
    ),
    "anthropic.messages": (decode.block_events(4000), decode.Block, lambda b: b.delta.text),
    "openai.responses": (decode.output_events(4000), decode.OutputEvent, lambda e: e.delta),
}  # fmt: skip


@pytest.mark.parametrize("who", ["msgspec, typed", "oisp, no templates", "oisp"])
@pytest.mark.parametrize("name", STREAMS)
def test_deltas(stage: Callable[..., None], name: str, who: str) -> None:
    """The events of a stream one by one; the answer is the joined text."""
    events, struct, text = STREAMS[name]
    rival = decode.typed(struct, text, events)
    dialect = name.partition(",")[0]
    work = rival if who.startswith("msgspec") else decode.ours(dialect, events, learn=who == "oisp")
    size = sum(len(data) for _, data in events)
    stage(f"decoder, deltas of {name}", who, work, size=size, unit="event", count=len(events), wanted=rival())


def asked(dialect: str) -> tuple[str, list[bytes]]:
    """Bodies of requests of a dialect of the generator."""
    how = corpora.DIALECTS[dialect]
    rng = random.Random(8)
    made = [how.ask(rng, "sk-x", 2000).data for _ in range(40)]
    return how.name, [http2.fields_of(one)[2] for one in made]


@pytest.mark.parametrize("dialect", [name for name in corpora.DIALECTS if name != "openai_obfuscated"])
def test_requests(stage: Callable[..., None], dialect: str) -> None:
    """Requests of 2 KB in each dialect."""
    name, documents = asked(dialect)
    decoder = Decoder(decode.DIALECTS, name)

    def work() -> int:
        for one in documents:
            decoder.reset()
            decoder.request(one)
        return len(decoder.value()["messages"])

    title = f"decoder, requests of {name}"
    size = sum(map(len, documents))
    least = len(msgspec.json.decode(documents[-1]).get("messages", ())) or 1
    stage(
        title,
        "oisp",
        work,
        size=size,
        unit="request",
        count=len(documents),
        wanted=True,
        answer=lambda found: found >= least,
    )
