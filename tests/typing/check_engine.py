# SPDX-License-Identifier: Apache-2.0
"""Checked by mypy, never run: what an embedder's editor sees."""

from typing import Literal, assert_type

from oisp_core import Engine


def embed(segments: list[tuple[Literal[">", "<"], int, bytes]]) -> bytes:
    engine = Engine(content="metadata", chunks=False, id_seed=1)
    for direction, ts_ns, data in segments:
        engine.feed(1, direction, ts_ns, data)
    engine.gap(1, ">", 10)
    engine.advance(1_700_000_000_000_000_000)
    engine.close(1)
    assert_type(engine.drain(), bytes)
    return engine.drain()
