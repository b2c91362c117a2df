# SPDX-License-Identifier: Apache-2.0
"""The smaller framings: every vector whole, byte by byte and at every split; state and memory of their parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.multipart import MultipartParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.tokens import Status
from oisp_core.reassemble.websocket import WebSocketParser
from tests.reference.vectors import Vector, every_split, load


def multipart(boundary: str = "b", **options: int) -> MultipartParser:
    return MultipartParser(f"multipart/form-data; boundary={boundary}", **options)


PARSERS: dict[str, Callable[..., Any]] = {
    "ndjson": NdjsonParser,
    "eventstream": EventStreamParser,
    "websocket": WebSocketParser,
    "grpc": GrpcParser,
    "multipart": multipart,
}


@pytest.mark.parametrize("vector", [v for name in PARSERS for v in load(name)], ids=str)
def test_vector(vector: Vector) -> None:
    make = PARSERS[vector.file.split("/")[0]]
    options = {k: v if k == "boundary" else int(v) for k, v in vector.options.items()}
    for split, log in every_split(lambda: make(**options), vector):
        assert log == vector.log, split


@pytest.mark.parametrize("name", PARSERS)
def test_more_messages_than_tokens_in_the_array(name: str) -> None:
    one = {
        "ndjson": b'{"a": 1}\n',
        "eventstream": bytes.fromhex("000000100000000005c248eb7d98c8ff"),
        "websocket": b"\x81\x01x",
        "grpc": b"\x00\x00\x00\x00\x01x",
        "multipart": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n',
    }[name]
    parser = PARSERS[name]()
    count = len(parser.feed(one * 300))
    if name == "multipart":
        assert count == 299  # the last one lacks its delimiter
        assert 0 < parser.held <= 4096
    else:
        assert count == 300
        assert parser.status == Status.OK
        assert parser.held == 0


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("ndjson", b"}"),
        ("eventstream", bytes(16)),
        ("websocket", b"\x83\x00"),
        ("grpc", b"\x02"),
        ("multipart", b"--b x"),
    ],
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


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "m; boundary=" + "x" * 71,
        'm; boundary="x "',
        "m; boundary=a\nb",
        "m; x=1; boundary=\x80",
    ],
)
def test_a_boundary_that_is_none(content_type: str) -> None:
    with pytest.raises(ValueError, match="content_type must have a boundary of 1 to 70 characters"):
        MultipartParser(content_type)


@pytest.mark.parametrize(
    "content_type", ['M; x="a;b"; BOUNDARY="b" ; y', "m ;boundary = b", "m;;boundary=b;boundary=c"]
)
def test_a_boundary_as_clients_write_it(content_type: str) -> None:
    parser = MultipartParser(content_type)
    parser.feed(b"--b--")
    assert parser.status == Status.OK


def test_the_content_of_a_file_is_not_held() -> None:
    parser = multipart()
    parser.feed(b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n')
    for _ in range(300):
        parser.feed(b"\r\n--" + bytes(100_000))
        assert parser.held <= 4096
    tokens = parser.feed(b"\r\n--b--")
    assert [(t.name, t.data, t.number) for t in tokens] == [(b"filename", b"f", 0), (b"a", b"", 300 * 100_004)]
