# SPDX-License-Identifier: Apache-2.0
"""The engine, as packed records or one call a segment, under any policy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Literal

from oisp_bench.corpora import BATCH, Corpus, make
from oisp_bench.engines.base import Sink
from oisp_core import Engine
from oisp_core.limits import Limits

Policy = Literal["metadata", "redacted", "full"]


class Packed:
    """Records as the kernel's ring gives them, some hundred KB at a time."""

    def __init__(
        self,
        corpus: Corpus,
        *,
        content: Policy = "full",
        chunks: bool = False,
        batch: int = BATCH,
        limits: Limits | None = None,
    ) -> None:
        self.make: Callable[[], Engine] = partial(
            Engine, content=content, chunks=chunks, id_seed=1, limits=limits or limits_for(corpus),
            clock_base_ns=corpus.facts.get("clock_base_ns"),
        )  # fmt: skip
        self.engine = self.make()
        self.buffers = corpus.packed(batch)
        self.close = True

    def prepare(self) -> None:
        self.engine = warm(self.make())

    def run(self, sink: Sink) -> None:
        engine = self.engine
        for buffer in self.buffers:
            engine.feed_packed(buffer)
            sink(engine.drain())
        if self.close:
            engine.close()
            sink(engine.drain())


class Calls:
    """One Python call a segment, as an embedder in Python has it."""

    def __init__(self, corpus: Corpus, *, content: Policy = "full", chunks: bool = False) -> None:
        self.make: Callable[[], Engine] = partial(
            Engine, content=content, chunks=chunks, id_seed=1, limits=limits_for(corpus)
        )
        self.engine = self.make()
        self.contexts = list(corpus.contexts.items())
        self.batches = corpus.call_batches()

    def prepare(self) -> None:
        self.engine = warm(self.make())

    def run(self, sink: Sink) -> None:
        engine = self.engine
        feed, set_context = engine.feed, engine.set_context
        for conn, members in self.contexts:
            set_context(conn, members)
        for batch in self.batches:
            for conn, way, ts, data, offset in batch:
                feed(conn, way, ts, data, offset)
            sink(engine.drain())
        engine.close()
        sink(engine.drain())


@cache
def _other_traffic() -> list[bytes]:
    """Whole answers and streams of another seed."""
    whole = {"kind": "request_response", "seed": 9001, "provider": "openai", "size": 200_000, "exchanges": 4}
    made = [make("warm", {**whole, "connections": 2})]
    for dialect in ("openai", "anthropic"):
        made.append(make("warm", {"kind": "streamed", "seed": 9002, "dialect": dialect, "streams": 8, "deltas": 50}))
    return [buffer for corpus in made for buffer in corpus.packed()]


def warm(engine: Engine) -> Engine:
    """A new engine that has seen other traffic: it has its memory, and remembers nothing of what comes."""
    for buffer in _other_traffic():
        engine.feed_packed(buffer)
        engine.drain()
    engine.close()
    engine.drain()
    return engine


def limits_for(corpus: Corpus) -> Limits:
    """The defaults, but for corpora of more connections than they allow."""
    wanted = len(corpus.contexts)
    return Limits(connections=wanted) if wanted > Limits().connections else Limits()
