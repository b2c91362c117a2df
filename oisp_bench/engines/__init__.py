# SPDX-License-Identifier: Apache-2.0
"""What is measured: the engine, and pipelines out of the best parts that Python has. One file each.

Rivals are optional (`pip install 'oisp[bench]'`): what is not installed is left out, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from oisp_bench.engines.base import Runner

__all__ = ["REGISTRY", "RunnerFactory", "missing"]


class RunnerFactory(NamedTuple):
    role: str  # ours, peer
    needs: tuple[str, ...]
    make: Callable[[Any, Any, bool], Runner]
    about: str
    origin: bool = True  # its events say where the bytes were captured
    events: bool = True  # it makes events; else it is no rival but a yardstick


def _packed(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.ours import Packed

    return Packed(corpus, content=content, chunks=chunks)


def _calls(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.ours import Calls

    return Calls(corpus, content=content, chunks=chunks)


def _peer(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.peer import Pipeline

    return Pipeline(corpus, content=content, chunks=chunks)


def _orjson(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.peer_orjson import OrjsonPipeline

    return OrjsonPipeline(corpus, content=content, chunks=chunks)


def _h2(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.peer_h2 import H2Pipeline

    return H2Pipeline(corpus, content=content, chunks=chunks)


def _sha256(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.digest import Digests

    return Digests(corpus)


PARTS = ("httptools", "ahocorasick_rs", "hpack", "xxhash")
REGISTRY = {
    "packed": RunnerFactory("ours", (), _packed, "the engine, packed records (what the sensor feeds it)"),
    "calls": RunnerFactory("ours", (), _calls, "the engine, one Python call a segment", origin=False),
    "peer": RunnerFactory("peer", PARTS, _peer, "httptools, bytes.split, ahocorasick_rs, msgspec, xxhash"),
    "orjson": RunnerFactory("peer", (*PARTS, "orjson"), _orjson, "the same with orjson in place of msgspec"),
    "h2": RunnerFactory("peer", (*PARTS, "h2"), _h2, "the same with the h2 library in place of a loop over frames"),
    "sha256": RunnerFactory("peer", (), _sha256, "hashlib.sha256 of the texts alone: makes no events", events=False),
}


def missing(factory: RunnerFactory) -> str:
    return ", ".join(name for name in factory.needs if find_spec(name) is None)
