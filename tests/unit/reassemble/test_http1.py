# SPDX-License-Identifier: Apache-2.0
"""HTTP/1: every vector whole, byte by byte and at every split; state, bounds and memory of the parser."""

from __future__ import annotations

import pytest

from oisp_core.reassemble.http1 import Http1Parser, probe
from oisp_core.reassemble.tokens import Status, TokenKind, Warning
from tests.reference.http1 import Http1Reference
from tests.reference.vectors import Vector, every_split, join_data, load


@pytest.mark.parametrize("vector", load("http1"), ids=str)
def test_vector(vector: Vector) -> None:
    options = dict(vector.options)
    role = options.pop("role", "request")
    for split, log in every_split(lambda: Http1Parser(role, **{k: int(v) for k, v in options.items()}), vector):
        assert log == vector.log, split


def test_failure_is_sticky_until_reset() -> None:
    parser = Http1Parser("request")
    parser.feed(b"no http at all\r\n\r\n")
    assert parser.status == Status.BAD
    assert parser.feed(b"GET / HTTP/1.1\r\n\r\n") == []
    assert parser.gap(3) == []
    assert parser.status == Status.BAD
    parser.reset()
    assert parser.feed(b"GET / HTTP/1.1\r\n\r\n")[0].data == b"/"
    assert parser.status == Status.OK


def test_memory_is_held_only_inside_a_split_head() -> None:
    parser = Http1Parser("request")
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert parser.held > 0
    parser.feed(b"\r\n")
    assert parser.idle
    assert parser.held == 0


@pytest.mark.parametrize("fields", [1, 7, 63, 64, 65, 200])
@pytest.mark.parametrize("split", [False, True])
def test_a_head_of_more_fields_than_tokens_in_the_array(fields: int, split: bool) -> None:
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"N%d: %d\r\n" % (i, i) for i in range(fields)) + b"\r\n"
    parser = Http1Parser("request")
    tokens = parser.feed(head[:30]) + parser.feed(head[30:]) if split else parser.feed(head)
    assert [t.data for t in tokens if t.kind == TokenKind.FIELD] == [b"%d" % i for i in range(fields)]
    assert tokens[-1].kind == TokenKind.END


@pytest.mark.parametrize("size", [0, 1, 5, 2**31, 2**63])
def test_gap_in_a_body_of_known_length_is_counted(size: int) -> None:
    parser = Http1Parser("response")
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    kinds = [(t.kind, t.number) for t in parser.gap(size)]
    if size == 0:
        assert kinds == []
    elif size < 5:
        assert kinds == [(TokenKind.GAP, size)]
        assert parser.status == Status.OK
    else:
        assert kinds == [(TokenKind.GAP, 5), (TokenKind.END, 0)]
        assert parser.status == (Status.OK if size == 5 else Status.BAD)


def test_conflicting_lengths_are_said_before_refusal() -> None:
    parser = Http1Parser("request")
    tokens = parser.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
    assert (tokens[-1].kind, tokens[-1].number) == (TokenKind.WARNING, Warning.CONFLICTING_LENGTH)
    assert parser.status == Status.BAD


@pytest.mark.parametrize(
    ("role", "data", "answer"),
    [
        ("request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Status.OK),
        ("request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest of it", Status.OK),
        ("request", b"GET / HTTP/1.1\r\nHost: a\r\n", Status.MORE),
        ("request", b"GE", Status.MORE),
        ("request", b"", Status.MORE),
        ("request", b"GET / HTTP/1.1\r\nHost a\r\n\r\n", Status.BAD),
        ("request", b"GET / HTTP/1.1\nHost: a\n\n", Status.BAD),
        ("request", b'{"GET": 1}', Status.BAD),
        ("request", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", Status.BAD),
        ("request", b"HTTP/1.1 200 OK\r\n\r\n", Status.BAD),
        ("response", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Status.OK),
        ("response", b"HTTP/1.1 2", Status.MORE),
        ("response", b"HTTP/1.1 2000 OK\r\n\r\n", Status.BAD),
        ("response", b"GET / HTTP/1.1\r\n\r\n", Status.BAD),
    ],
)
def test_probe(role: str, data: bytes, answer: Status) -> None:
    assert probe(role, data) == answer


def test_probe_of_many_fields() -> None:
    assert probe("request", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n") == Status.OK


def test_another_role_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="role must be 'request' or 'response', got 'client'"):
        Http1Parser("client")


@pytest.mark.parametrize("size", [0, 1, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65])
@pytest.mark.parametrize("where", ["name", "value", "target"])
def test_every_stop_at_every_place_of_a_run(where: str, size: int) -> None:
    """Runs are scanned by vectors: each byte that may stop one, at each place, as the twin reads it."""
    for at in range(size):
        for stop in b"\x00\t\r\n :;\x1f\x7f\x80\xff":
            run = bytearray(b"a" * size)
            run[at] = stop
            name, value, target = (bytes(run) if where == part else b"x" for part in ("name", "value", "target"))
            data = b"GET /" + target + b" HTTP/1.1\r\n" + name + b": " + value + b"\r\nLast: y\r\n\r\n"
            parser = Http1Parser("request")
            reference = Http1Reference("request", data)
            assert (join_data(parser.feed(data)), parser.status) == (join_data(reference.tokens), reference.status), (
                data
            )
