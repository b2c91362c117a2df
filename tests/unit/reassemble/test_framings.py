# SPDX-License-Identifier: Apache-2.0
"""The smaller framings: every vector whole, byte by byte and at every split; state and memory of their parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.tokens import Status
from oisp_core.reassemble.websocket import WebSocketParser
from tests.reference.vectors import Vector, every_split, load

PARSERS: dict[str, Callable[..., Any]] = {
    "ndjson": NdjsonParser,
    "eventstream": EventStreamParser,
    "websocket": WebSocketParser,
    "grpc": GrpcParser,
}


@pytest.mark.parametrize("vector", [v for name in PARSERS for v in load(name)], ids=str)
def test_vector(vector: Vector) -> None:
    make = PARSERS[vector.file.split("/")[0]]
    options = {k: int(v) for k, v in vector.options.items()}
    for split, log in every_split(lambda: make(**options), vector):
        assert log == vector.log, split


@pytest.mark.parametrize("name", PARSERS)
def test_more_messages_than_tokens_in_the_array(name: str) -> None:
    one = {
        "ndjson": b'{"a": 1}\n',
        "eventstream": bytes.fromhex("000000100000000005c248eb7d98c8ff"),
        "websocket": b"\x81\x01x",
        "grpc": b"\x00\x00\x00\x00\x01x",
    }[name]
    parser = PARSERS[name]()
    assert len(parser.feed(one * 300)) == 300
    assert parser.status == Status.OK
    assert parser.held == 0


@pytest.mark.parametrize(
    ("name", "broken"),
    [("ndjson", b"}"), ("eventstream", bytes(16)), ("websocket", b"\x83\x00"), ("grpc", b"\x02")],
)
def test_failure_is_sticky_until_reset(name: str, broken: bytes) -> None:
    parser = PARSERS[name]()
    parser.feed(broken)
    assert parser.status == Status.BAD
    assert parser.feed(b"\x00" * 20) == []
    assert parser.status == Status.BAD
    parser.reset()
    assert parser.status == Status.OK
    assert parser.offset == 0
