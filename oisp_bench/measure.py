# SPDX-License-Identifier: Apache-2.0
"""One case: make the traffic, check every engine's answer, then time them in turns.

All engines run in this process, pinned to one CPU, interleaved round by round; time is the CPU time of this thread, the
garbage collector is off. What is reported is the median, and the quartiles of the ratios round by round: a machine that
slows down slows down both sides of a ratio. Where an answer is wrong, that case has no numbers.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from oisp_bench import check, corpora, recorded
from oisp_bench.cases import Case
from oisp_bench.corpora import Corpus
from oisp_bench.engines import REGISTRY, RunnerFactory, missing
from oisp_bench.engines.base import Runner
from oisp_bench.limit import Limit
from oisp_bench.spread import Spread, spread

__all__ = ["CaseResult", "EngineResult", "allow", "allowed", "keep_memory", "measure", "pinned"]


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


class EngineResult(msgspec.Struct, frozen=True):
    name: str
    role: str  # ours, peer, limit
    ns_per_unit: Spread
    mb_per_s: float
    ratio: Spread | None = None  # how many times as fast as the first peer
    share: Spread | None = None  # of the C limit's speed
    output_bytes: int = 0
    rounds: list[int] = []  # nanoseconds


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    group: str
    analysis: str
    status: str  # "right", or why there are no numbers
    unit: str
    units: int = 0
    bytes: int = 0
    segments: int = 0
    exchanges: int = 0
    deltas: int = 0
    digest: str = ""
    content: str = "full"
    chunks: bool = False
    events: dict[str, int] = {}
    fields: int = 0
    hit_rate: float | None = None
    engines: list[EngineResult] = []
    floor: float | None = None
    aim: float | None = None
    notes: list[str] = []


def pinned() -> int | None:
    """Pins this process to the last of the CPUs that it may use."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


def allowed() -> set[int]:
    """The CPUs that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def allow(cpus: set[int]) -> None:
    if cpus:
        os.sched_setaffinity(0, cpus)


def keep_memory() -> None:
    """Tells the C library's allocator to keep what was freed. Else what is measured of an engine that makes large
    objects is how the kernel clears pages: up to half of the Python pipeline's time for bodies of 200 KB."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(M_TRIM_THRESHOLD, 1 << 28)
    mallopt(M_MMAP_THRESHOLD, 1 << 25)


def measure(
    case: Case, *, rounds: int = 11, seconds: float = 20.0, say: Callable[[str], None] = lambda _: None
) -> CaseResult:
    keep_memory()
    say(f"{case.name}: making the traffic")
    corpus = corpora.make(case.name, case.corpus, f"{case.name}.toml")
    about: dict[str, Any] = {
        "name": case.name, "title": case.title, "group": case.group, "analysis": case.analysis, "unit": case.unit,
        "units": _units(case, corpus), "bytes": corpus.size, "segments": len(corpus.segments),
        "exchanges": corpus.exchanges, "deltas": corpus.deltas, "digest": corpus.digest, "content": case.content,
        "chunks": case.chunks, "floor": case.floor, "aim": case.aim,
    }  # fmt: skip
    notes: list[str] = []
    try:
        if case.expected.digest and case.expected.digest != corpus.digest:
            raise check.WrongAnswer(f"the traffic is {corpus.digest}, the case was written for {case.expected.digest}")
        say(f"{case.name}: checking answers")
        runners, roles, events = _checked(case, corpus, notes)
    except check.WrongAnswer as error:
        return CaseResult(**about, status=f"no numbers: {error}", notes=notes)
    limits = _limits(case, corpus)
    say(f"{case.name}: timing {', '.join([*runners, *limits])}")
    times, sizes = timed({**runners, **limits}, rounds, seconds)
    roles |= dict.fromkeys(limits, "limit")
    engines = _results(case, corpus, times, sizes, roles, notes)
    return CaseResult(
        **about,
        status="right",
        events=dict(Counter(e["event_type"] for e in events)),
        fields=len(check.fields(events)),
        hit_rate=corpora.hit_rate(corpus),
        engines=engines,
        notes=notes,
    )


def _units(case: Case, corpus: Corpus) -> int:
    counts = {
        "segment": len(corpus.segments),
        "exchange": corpus.exchanges,
        "delta": corpus.deltas,
        "byte": corpus.size,
    }
    return counts[case.unit] or 1


def _checked(
    case: Case, corpus: Corpus, notes: list[str]
) -> tuple[dict[str, Runner], dict[str, str], list[dict[str, Any]]]:
    """The engines, each of which gave the right events; those that are not installed are named in the notes."""
    runners: dict[str, Runner] = {}
    roles: dict[str, str] = {}
    first = ""
    wanted: list[dict[str, Any]] = []
    for name in [*case.engines, *case.peers]:
        factory: RunnerFactory = REGISTRY[name]
        lacks = missing(factory)
        if lacks:
            notes.append(f"{name} is left out: {lacks} is not installed (pip install 'oisp[bench]')")
            continue
        runner = factory.make(corpus, case.content, case.chunks)
        if not factory.events:
            runners[name], roles[name] = runner, factory.role
            continue
        events = check.events_of(check.collect(runner))
        if not first:
            first, wanted = name, events
            _expected(case, corpus, events, notes)
        elif factory.origin:
            check.same_events(name, events, first, wanted)
        else:
            check.same_events(name, check.without_origin(events), first, check.without_origin(wanted))
        runners[name] = runner
        roles[name] = factory.role
    return runners, roles, wanted


def _expected(case: Case, corpus: Corpus, events: list[dict[str, Any]], notes: list[str]) -> None:
    if corpus.facts.get("folder"):
        notes.append(recorded.check(events, corpus))
        return
    if corpus.facts.get("recording"):
        notes.append(_recording(case, corpus, events))
        return
    counts = dict(Counter(e["event_type"] for e in events))
    if case.expected.events and counts != case.expected.events:
        raise check.WrongAnswer(f"expected {case.expected.events}, got {counts}")
    if case.content == "full":
        check.true_events(events, corpus)
    elif case.content == "metadata":
        check.true_digests(events, corpus)


def _recording(case: Case, corpus: Corpus, events: list[dict[str, Any]]) -> str:
    """Nobody knows what is right of it; but how its records come to the engine must not matter, and lines be valid."""
    from oisp_bench.engines.ours import Packed

    one = check.events_of(check.collect(Packed(corpus, content=case.content, chunks=case.chunks, batch=1)))
    check.same_events("a record at a time", one, "packed", events)
    return "no truth is known of a recording: a record at a time gives the same events"


def _limits(case: Case, corpus: Corpus) -> dict[str, Runner]:
    """The ceiling and its rival, where both count the same."""
    if not case.limit:
        return {}
    buffers = corpus.packed()
    hosts = [b"api.openai.com", b"api.anthropic.com", b"generativelanguage.googleapis.com", b"localhost:11434"]
    made = {
        "C limit": Limit(buffers, len(corpus.contexts), hosts, False),
        "C plain": Limit(buffers, len(corpus.contexts), hosts, True),
    }
    counts = [limit.run(len) for limit in made.values()]
    streamed = sum(1 for rows in corpus.truth.values() for row in rows if row["streaming"])
    if (
        counts[0] != counts[1]
        or counts[0]["messages"] != 2 * corpus.exchanges
        or (streamed and corpus.deltas and 0 < counts[0]["events"] < corpus.deltas)
    ):
        raise check.WrongAnswer(f"the C limit counts {counts[0]}, the plain one {counts[1]}")
    return {**made}


def timed(runners: dict[str, Runner], rounds: int, seconds: float) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Nanoseconds of each engine and round. At least five rounds; no more begins after `seconds`."""
    times: dict[str, list[int]] = {name: [] for name in runners}
    sizes = dict.fromkeys(runners, 0)
    clock = time.thread_time_ns
    order = list(runners.items())
    rng = random.Random(0)
    gc.collect()
    gc.disable()
    try:
        begun = time.monotonic()
        for number in range(rounds + 1):  # the first one warms up
            for name, runner in order:
                given = [0]

                def count(piece: bytes, given: list[int] = given) -> None:
                    given[0] += len(piece)

                runner.prepare()
                start = clock()
                runner.run(count)
                spent = clock() - start
                if number:
                    times[name].append(spent)
                    if given[0] != sizes[name]:
                        raise check.WrongAnswer(f"{name} gave {given[0]} bytes, and {sizes[name]} before")
                sizes[name] = given[0]
            rng.shuffle(order)  # who comes after whom finds other bytes in the caches
            if number >= 5 and time.monotonic() - begun > seconds:
                break
    finally:
        gc.enable()
    return times, sizes


def _results(
    case: Case,
    corpus: Corpus,
    times: dict[str, list[int]],
    sizes: dict[str, int],
    roles: dict[str, str],
    notes: list[str],
) -> list[EngineResult]:
    peer = next((name for name, role in roles.items() if role == "peer"), None)
    limit = _ceiling(times, notes)
    units, size = _units(case, corpus), corpus.size
    made = []
    for name, spent in times.items():
        ratio = share = None
        if peer is not None and roles[name] != "limit":
            ratio = spread([p / o for p, o in zip(times[peer], spent, strict=True)])
        if limit is not None and roles[name] == "ours":
            share = spread([c / o for c, o in zip(times[limit], spent, strict=True)])
        ns = spread([t / units for t in spent])
        rate = size * 1000 / statistics.median(spent)
        made.append(EngineResult(name, roles[name], ns, rate, ratio, share, sizes[name], spent))
    return made


def _ceiling(times: dict[str, list[int]], notes: list[str]) -> str | None:
    """The C limit, if in this very run it was faster than the plain way to do its job."""
    if "C limit" not in times:
        return None
    ratio = spread([p / o for p, o in zip(times["C plain"], times["C limit"], strict=True)])
    if ratio.middle <= 1:
        notes.append(f"no share of the C limit: the plain way was as fast ({ratio.middle:.2f})")
        return None
    return "C limit"
