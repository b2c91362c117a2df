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


def _sha256(corpus: Any, content: Any, chunks: bool) -> Runner:
    from oisp_bench.engines.digest import Digests

    return Digests(corpus)


REGISTRY = {
    "packed": RunnerFactory("ours", (), _packed, "the engine, packed records (what the sensor feeds it)"),
    "calls": RunnerFactory("ours", (), _calls, "the engine, one Python call a segment", origin=False),
    "peer": RunnerFactory(
        "peer", ("httptools", "ahocorasick_rs", "hpack"), _peer, "httptools, bytes.split, ahocorasick_rs, msgspec"
    ),
    "sha256": RunnerFactory("peer", (), _sha256, "hashlib.sha256 of the texts alone: makes no events", events=False),
}


def missing(factory: RunnerFactory) -> str:
    return ", ".join(name for name in factory.needs if find_spec(name) is None)
