# SPDX-License-Identifier: Apache-2.0
"""What grows, and how: engines on threads, connections that are silent, bodies and streams that get longer.

Times are CPU time of the measuring thread but for threads, where they are wall time: whether two engines run at once is
the question. Ratios are taken round by round, as in measure.py.
"""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from oisp_bench import corpora
from oisp_bench.check import WrongAnswer
from oisp_bench.corpora import Corpus
from oisp_bench.engines.ours import Packed
from oisp_core import Engine
from oisp_core.limits import Limits

__all__ = ["Scaling", "measure_scaling"]

STREAM = {"kind": "streamed", "seed": 5, "dialect": "openai", "streams": 64, "deltas": 100}


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """threads: speed of two engines over one. idle: cost of 64 active connections among `idle_connections`, over 64
    alone. memory: bytes a connection by state. body, deltas: nanoseconds a unit at each size; linear is flat."""

    threads: float | None
    cpus: int
    dismissed: float  # nanoseconds of a segment on a connection that is dismissed
    idle: float
    idle_connections: int
    memory: dict[str, int]
    body: dict[str, float]
    deltas: dict[str, float]


def measure_scaling(*, idle: int = 1_000_000, rounds: int = 7, say: Callable[[str], None] = lambda _: None) -> Scaling:
    say("two engines on two threads")
    threads, cpus = two_threads(rounds)
    say(f"64 connections among {idle}")
    ratio = among_idle(idle, rounds)
    say("a dismissed connection")
    dismissed = dismissed_segment(rounds)
    say("memory by state")
    memory = memory_by_state()
    say("growth")
    return Scaling(
        threads=threads,
        cpus=cpus,
        dismissed=dismissed,
        idle=ratio,
        idle_connections=idle,
        memory=memory,
        body=growth_of_bodies(rounds),
        deltas=growth_of_streams(rounds),
    )


def two_threads(rounds: int) -> tuple[float | None, int]:
    """None where this process has one CPU."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpus < 2:
        return None, cpus
    runners = [Packed(corpora.make("threads", {**STREAM, "streams": 200}), batch=1 << 22) for _ in range(2)]

    def wall(*works: Packed) -> int:
        gate = threading.Barrier(len(works) + 1)

        def body(work: Packed) -> None:
            gate.wait()
            for _ in range(60):
                work.run(len)

        threads = [threading.Thread(target=body, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        gate.wait()
        begun = time.perf_counter_ns()
        for thread in threads:
            thread.join()
        return time.perf_counter_ns() - begun

    ratios = []
    for _ in range(rounds):
        alone, both = wall(runners[0]), wall(*runners)
        ratios.append(2 * alone / both)
    return statistics.median(ratios), cpus


def among_idle(count: int, rounds: int) -> float:
    """The same 64 streams in an engine that knows nothing else, and in one with `count` connections that are silent."""
    corpus = corpora.make("active", STREAM)
    few = Packed(corpus)
    many = Packed(corpus, limits=Limits(connections=min(count + 1024, 1 << 22)))
    silent(many.engine, count, 10_000_000)
    few.close = many.close = False
    ratios = []
    for number in range(rounds + 1):
        times = []
        for runner in (few, many):
            gc.collect()
            begun = time.thread_time_ns()
            runner.run(len)
            for conn in corpus.contexts:
                runner.engine.close(conn)
            runner.engine.drain()
            times.append(time.thread_time_ns() - begun)
        if number:
            ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def dismissed_segment(rounds: int, count: int = 100_000) -> float:
    """1 KB each, on 100 connections that speak no protocol that is known."""
    engine = Engine(id_seed=1)
    data = bytes(range(128, 256)) * 8
    records = [corpora.data_record(1 + i % 100, 0, corpora.START_NS, i // 100 * len(data), data) for i in range(count)]
    first, rest = b"".join(records[:10_000]), [b"".join(records[i : i + 256]) for i in range(10_000, count, 256)]
    engine.feed_packed(first)
    before = engine.stats()
    spent = []
    for _ in range(rounds):
        begun = time.thread_time_ns()
        for buffer in rest:
            engine.feed_packed(buffer)
        spent.append(time.thread_time_ns() - begun)
    after = engine.stats()
    if after["dismissed_bytes"] - before["dismissed_bytes"] != rounds * (count - 10_000) * len(data):
        raise WrongAnswer("the connections were not dismissed")
    return statistics.median(spent) / (count - 10_000)


def silent(engine: Engine, count: int, first: int) -> None:
    """Connections that once said something: each has had a request and its answer that were not AI."""
    ask = b"GET /x HTTP/1.1\r\nHost: intern.example\r\n\r\n"
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    records = []
    for conn in range(first, first + count):
        records.append(corpora.data_record(conn, 0, corpora.START_NS, 0, ask))
        records.append(corpora.data_record(conn, 1, corpora.START_NS, 0, said))
        if len(records) >= 4096:
            engine.feed_packed(b"".join(records))
            records.clear()
    engine.feed_packed(b"".join(records))


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_by_state(count: int = 20_000) -> dict[str, int]:
    """Of one connection: known by name alone, silent after an exchange, inside a request, inside a stream."""
    if not Path("/proc/self/statm").exists():
        return {}
    stream = corpora.make("one", {**STREAM, "streams": 1})
    request = next(data for _, way, _, data in stream.segments if way == 0)
    answers = [data for _, way, _, data in stream.segments if way == 1][:40]
    states: dict[str, list[tuple[int, bytes]]] = {
        "context only": [],
        "silent after an exchange": [
            (0, b"GET /x HTTP/1.1\r\nHost: intern.example\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
        "in a 2 KB request": [(0, request[:-10])],
        "in a stream, 38 deltas": [(0, request), *((1, data) for data in answers)],
    }
    found = {}
    for name, pieces in states.items():
        engine = Engine(content="full", id_seed=1)
        gc.collect()
        before = resident()
        for conn in range(1, count + 1):
            engine.set_context(conn, corpora.context_of(conn))
            at = [0, 0]
            for way, data in pieces:
                engine.feed(conn, "<" if way else ">", corpora.START_NS, data, at[way])
                at[way] += len(data)
            if conn % 256 == 0:
                engine.drain()
        engine.drain()
        found[name] = (resident() - before) // count
        del engine
    return found


def growth_of_bodies(rounds: int) -> dict[str, float]:
    """Nanoseconds a byte of body: from 20 KB to 20 MB."""
    return {
        f"{size // 1000} KB": _per(
            {
                "kind": "request_response",
                "seed": 6,
                "provider": "openai",
                "size": size,
                "exchanges": 3,
                "connections": 3,
            },
            rounds,
            lambda corpus: corpus.size,
        )
        for size in (20_000, 200_000, 2_000_000, 20_000_000)
    }


def growth_of_streams(rounds: int) -> dict[str, float]:
    """Nanoseconds a delta: streams of 100 to 100,000."""
    return {
        str(deltas): _per({**STREAM, "streams": 2, "deltas": deltas}, rounds, lambda corpus: corpus.deltas)
        for deltas in (100, 1_000, 10_000, 100_000)
    }


def _per(parameters: dict[str, Any], rounds: int, unit: Callable[[Corpus], int]) -> float:
    corpus = corpora.make("growth", parameters)
    runner = Packed(corpus)
    spent = []
    for _ in range(rounds + 1):
        begun = time.thread_time_ns()
        runner.run(len)
        spent.append(time.thread_time_ns() - begun)
    return statistics.median(spent[1:]) / unit(corpus)
