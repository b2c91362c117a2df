# SPDX-License-Identifier: Apache-2.0
"""The writer, event by event and policy by policy; and the whole engine on small pieces of the cases' traffic.

The engine is measured as `oisp-bench` does it, but one after the other: `oisp-bench run` is what the README quotes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import bench_encode as encode
from oisp_bench import check, corpora
from oisp_bench.engines import REGISTRY, missing
from oisp_core.encode import _testing

POLICIES = ("metadata", "redacted", "full")
EVENTS = ("ai.request", "ai.response", "agent.tool_call", "agent.tool_result", "ai.streaming_chunk")
REPEAT = 500


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("event", EVENTS)
def test_writer(stage: Callable[..., None], event: str, policy: str) -> None:
    x = _testing.Exchange(encode.exchange("Fix the bug in main.rs"))
    facts, writer = _testing.Facts(encode.FACTS), _testing.Writer(POLICIES.index(policy))
    line = writer.encode(event, x, facts)
    assert json.loads(line)["event_type"] == event
    stage(
        f"writer, {event}, {policy}",
        "oisp",
        lambda: writer.time(event, x, facts, REPEAT),
        size=len(line) * REPEAT,
        unit="event",
        count=REPEAT,
    )


@pytest.mark.parametrize("who", ["hashlib.sha256", "oisp"])
def test_metadata(stage: Callable[..., None], who: str) -> None:
    """A request with 20 KB of text under `metadata`, beside the bare hash of that text."""
    text = encode.text_of(20_000)
    data = text.encode()
    wire = json.dumps(text, ensure_ascii=False).encode()
    x = _testing.Exchange(encode.exchange("") | {"messages": [{"role": 2, "content": (1, wire[1:-1])}]})
    facts, writer = _testing.Facts(encode.FACTS), _testing.Writer(0)
    marker = json.loads(writer.encode("ai.request", x, facts))["data"]["messages"][0]["content"]["$redacted"]
    assert marker["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"
    work = (
        (lambda: hashlib.sha256(data).digest())
        if who == "hashlib.sha256"
        else (lambda: writer.time("ai.request", x, facts, 1))
    )
    stage("writer, 20 KB of text as a hash", who, work, size=len(data), unit="event", count=1)


CORPORA: dict[str, dict[str, Any]] = {
    "2 KB requests": {"kind": "request_response", "seed": 1, "provider": "openai", "size": 2000, "exchanges": 128,
                      "connections": 8},
    "20 KB requests": {"kind": "request_response", "seed": 1, "provider": "anthropic", "size": 20000, "exchanges": 24,
                       "connections": 4},
    "OpenAI streams": {"kind": "streamed", "seed": 2, "dialect": "openai", "streams": 8, "deltas": 250},
    "Anthropic streams": {"kind": "streamed", "seed": 2, "dialect": "anthropic", "streams": 8, "deltas": 250},
    "Ollama streams": {"kind": "streamed", "seed": 2, "dialect": "ollama", "streams": 8, "deltas": 250},
    "Bedrock streams": {"kind": "streamed", "seed": 2, "dialect": "bedrock", "streams": 8, "deltas": 250},
    "HTTP/2 streams": {"kind": "http2", "seed": 3, "connections": 1, "batches": 1, "streams": 20, "deltas": 100},
    "noise": {"kind": "noise", "seed": 1, "exchanges": 240, "connections": 24},
}  # fmt: skip


@pytest.mark.parametrize("who", ["peer", "calls", "packed"])
@pytest.mark.parametrize("title", CORPORA)
def test_engine(stage: Callable[..., None], title: str, who: str) -> None:
    corpus = corpora.make(title, CORPORA[title])
    factory = REGISTRY[who]
    if missing(factory):
        pytest.skip(f"{missing(factory)} is not installed")
    first = check.events_of(check.collect(REGISTRY["packed"].make(corpus, "full", False)))
    runner = factory.make(corpus, "full", False)
    events = check.events_of(check.collect(runner))
    if not factory.origin:
        first, events = check.without_origin(first), check.without_origin(events)
    check.same_events(who, events, "packed", first)

    names = {"packed": "oisp", "calls": "oisp, one call a segment", "peer": "Python pipeline"}
    units = {"unit": "segment", "count": len(corpus.segments)}
    runner.prepare()
    stage(f"engine, {title}", names[who], lambda: runner.run(len), size=corpus.size, before=runner.prepare, **units)
