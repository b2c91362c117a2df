# SPDX-License-Identifier: Apache-2.0
"""What grows, and how: engines on threads, connections that are silent, bodies and streams that get longer.

Times are CPU time of the measuring thread but for threads, where they are wall time: whether two engines run at once is
the question. What is compared is measured in turns; ratios are taken round by round, and reported with their quartiles.
A round of either side takes some 50 ms at least: shorter ones measure the clock and who ran before.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from oisp_bench import corpora
from oisp_bench.check import WrongAnswer
from oisp_bench.engines.ours import Packed
from oisp_bench.measure import keep_memory
from oisp_bench.spread import Spread, spread
from oisp_core import Engine
from oisp_core.limits import Limits

__all__ = ["Scaling", "measure_scaling"]

STREAM = {"kind": "streamed", "seed": 5, "dialect": "openai", "streams": 64, "deltas": 250}
BODY = {"kind": "request_response", "seed": 6, "provider": "openai"}
LONG_ENOUGH_NS = 50_000_000
SIZES = (20_000, 200_000, 2_000_000, 20_000_000)
DELTAS = (100, 1_000, 10_000, 100_000)


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """threads: speed of two engines over one, none where the process has one CPU. idle: cost of 64 active connections
    among `idle_connections`, over 64 alone. dismissed: nanoseconds of a segment. memory: bytes a connection by state.
    body, deltas: nanoseconds of a further byte or delta between one size and the next: flat where growth is linear."""

    threads: Spread | None
    cpus: int
    dismissed: Spread
    idle: Spread
    idle_connections: int
    memory: dict[str, int]
    body: dict[str, Spread]
    deltas: dict[str, Spread]


def measure_scaling(*, idle: int = 1_000_000, rounds: int = 11, say: Callable[[str], None] = lambda _: None) -> Scaling:
    keep_memory()
    say("two engines on two threads")
    threads, cpus = two_threads(rounds)
    say("a dismissed connection")
    dismissed = dismissed_segment(rounds)
    say("memory by state")
    memory = memory_by_state()
    say("growth of bodies")
    body = growth(rounds, {size: {**BODY, "size": size, "exchanges": 1, "connections": 1} for size in SIZES})
    say("growth of streams")
    deltas = growth(rounds, {count: {**STREAM, "streams": 1, "deltas": count} for count in DELTAS})
    say(f"64 connections among {idle:,}")
    return Scaling(
        threads=threads,
        cpus=cpus,
        dismissed=dismissed,
        idle=among_idle(idle, rounds),
        idle_connections=idle,
        memory=memory,
        body=body,
        deltas=deltas,
    )


def repeats(work: Callable[[], object]) -> int:
    """How often it must run to take long enough."""
    work()
    begun = time.perf_counter_ns()
    work()
    return max(1, LONG_ENOUGH_NS // max(1, time.perf_counter_ns() - begun))


def two_threads(rounds: int) -> tuple[Spread | None, int]:
    """Each engine runs its own corpus for a third of a second, alone or both at once."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpus < 2:
        return None, cpus
    runners = [Packed(corpora.make("threads", STREAM), batch=1 << 22) for _ in range(2)]
    times = 6 * repeats(lambda: runners[0].run(len))

    def wall(*works: Packed) -> int:
        gate = threading.Barrier(len(works) + 1)

        def body(work: Packed) -> None:
            gate.wait()
            for _ in range(times):
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
        before, both, after = wall(runners[0]), wall(*runners), wall(runners[1])
        ratios.append((before + after) / both)
    return spread(ratios), cpus


def among_idle(count: int, rounds: int) -> Spread:
    """The same 64 streams in an engine that knows nothing else, and in one with `count` connections that are silent."""
    corpus = corpora.make("active", STREAM)
    few = Packed(corpus)
    many = Packed(corpus, limits=Limits(connections=min(count + 1024, 1 << 22)))
    silent(many.engine, count, 10_000_000)
    few.close = many.close = False

    def once(runner: Packed) -> None:
        runner.run(len)
        for conn in corpus.contexts:
            runner.engine.close(conn)
        runner.engine.drain()

    times = repeats(lambda: once(few))
    ratios = []
    for _ in range(rounds):
        spent = [spent_on(lambda runner=runner: once(runner), times) for runner in (few, many)]  # type: ignore[misc]
        ratios.append(spent[1] / spent[0])
    return spread(ratios)


def spent_on(work: Callable[[], object], times: int) -> int:
    """CPU time of this thread; the collector waits."""
    gc.collect()
    gc.disable()
    try:
        begun = time.thread_time_ns()
        for _ in range(times):
            work()
        return time.thread_time_ns() - begun
    finally:
        gc.enable()


def dismissed_segment(rounds: int, count: int = 12_000) -> Spread:
    """1 KB each, on 100 connections that speak no protocol that is known; 13 MB of them, as much as a ring holds."""
    engine = Engine(id_seed=1)
    data = bytes(range(128, 256)) * 8
    records = [corpora.data_record(1 + i % 100, 0, corpora.START_NS, i // 100 * len(data), data) for i in range(count)]
    rest = [b"".join(records[i : i + 256]) for i in range(0, count, 256)]
    for buffer in rest:
        engine.feed_packed(buffer)
    before = engine.stats()

    def work() -> None:
        for buffer in rest:
            engine.feed_packed(buffer)

    times = repeats(work)
    spent = [spent_on(work, times) / times / count for _ in range(rounds)]
    after = engine.stats()
    fed = (rounds * times + 2) * count * len(data)
    if after["dismissed_bytes"] - before["dismissed_bytes"] != fed:
        raise WrongAnswer("the connections were not dismissed")
    return spread(spent)


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


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc 2.33 and later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def allocated() -> int | None:
    """Bytes that the C library has given out and not got back. None where it does not tell."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    mallinfo2.restype = Mallinfo
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def states() -> dict[str, list[tuple[int, bytes]]]:
    """What brings a connection into each state: (direction, bytes)."""
    stream = corpora.make("one", {**STREAM, "streams": 1})
    request = next(data for _, way, _, data in stream.segments if way == 0)
    answers = [data for _, way, _, data in stream.segments if way == 1][:40]
    large = b"".join(d for _, way, _, d in corpora.make("l", {**BODY, "size": 20_000, "exchanges": 1,
                                                             "connections": 1}).segments if way == 0)  # fmt: skip
    return {
        "context only": [],
        "dismissed": [(0, bytes(range(128, 256)) * 8)] * 4,
        "silent after an exchange": [
            (0, b"GET /x HTTP/1.1\r\nHost: intern.example\r\n\r\n"),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
        "in a 2 KB request": [(0, request[:-10])],
        "in a 20 KB request": [(0, large[:-10])],
        "in a stream, 38 deltas": [(0, request), *((1, data) for data in answers)],
    }


def memory_by_state(count: int = 20_000) -> dict[str, int]:
    """Of one connection of many in the same state; what the tables hold beside it is part of it."""
    found = {}
    for name, pieces in states().items():
        gc.collect()
        before = allocated()
        if before is None:
            return {}
        engine = Engine(content="full", id_seed=1)
        for conn in range(1, count + 1):
            engine.set_context(conn, corpora.context_of(conn))
            at = [0, 0]
            for way, data in pieces:
                engine.feed(conn, "<" if way else ">", corpora.START_NS, data, at[way])
                at[way] += len(data)
            if conn % 256 == 0:
                engine.drain()
        engine.drain()
        found[name] = ((allocated() or 0) - before) // count
        del engine
    return found


def growth(rounds: int, made: dict[int, dict[str, Any]]) -> dict[str, Spread]:
    """Nanoseconds of each further unit, from one size of a corpus to the next: all sizes are measured in each round."""
    runners = {size: Packed(corpora.make("growth", parameters)) for size, parameters in made.items()}
    times = {size: repeats(lambda runner=runner: runner.run(len)) for size, runner in runners.items()}  # type: ignore[misc]
    taken: dict[int, list[float]] = {size: [] for size in runners}
    for _ in range(rounds):
        for size, runner in runners.items():
            taken[size].append(spent_on(lambda runner=runner: runner.run(len), times[size]) / times[size])  # type: ignore[misc]
    sizes = list(runners)
    return {
        f"{small:,} to {large:,}": spread(
            (more - less) / (large - small) for less, more in zip(taken[small], taken[large], strict=True)
        )
        for small, large in itertools.pairwise(sizes)
    }
