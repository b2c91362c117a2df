# SPDX-License-Identifier: Apache-2.0
"""What a connection costs while nothing happens, as the allocator counts it, and that closing it gives it back."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

import pytest
from hpack import Encoder

from oisp_core import Engine
from tests.reference.wire import START, answer, request

COUNT = 1500
RECORD_OPEN = 2
HOST_OF_NOBODY = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.environ.get("OISP_FLAVOUR") == "debug", reason="glibc is asked; ASan has its own"
)


class _Mallinfo(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]


def allocated() -> int:
    """Bytes in use, with what the allocator adds to each."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("needs glibc 2.33")
    libc.mallinfo2.restype = _Mallinfo
    info = libc.mallinfo2()
    return int(info.field7 + info.field4)  # uordblks: in use; hblkhd: mapped


def dismissed(engine: Engine, conn: int) -> None:
    """It speaks no protocol that is known."""
    engine.feed(conn, ">", START, b"\x00\x01\x02\x03 not a protocol " * 10)


def unseen(engine: Engine, conn: int) -> None:
    """An open was said; no byte has come."""
    body = struct.pack("<QQQQIIIIQQQQ", conn, 1000, 0, 5, 7, 7, 0, 0, 0, 0, 0, 0)
    engine.feed_packed(struct.pack("<IHH", 8 + len(body), RECORD_OPEN, 0) + body)


def idle(engine: Engine, conn: int) -> None:
    """Between two exchanges of a client that is no AI's."""
    engine.feed(conn, ">", START, HOST_OF_NOBODY)
    engine.feed(conn, "<", START, NOTHING)


def idle_ai(engine: Engine, conn: int) -> None:
    """Between two exchanges of one that is."""
    engine.feed(conn, ">", START, request())
    engine.feed(conn, "<", START, answer())


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


MORE = [(f"x-{i}", "v" * 60) for i in range(60)]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
ASKED = [(":method", "GET"), (":scheme", "https"), (":authority", "example.org"), (":path", "/"), *MORE]
ASKS = PREFACE + frame(1, 5, 1, Encoder().encode(ASKED))
ANSWERS = frame(4, 0, 0) + frame(4, 1, 0) + frame(1, 5, 1, Encoder().encode([(":status", "204"), *MORE]))


def http2(engine: Engine, conn: int) -> None:
    """After one exchange that filled the tables of both directions, 4 KiB as HPACK counts each."""
    engine.feed(conn, ">", START, ASKS)
    engine.feed(conn, "<", START, ANSWERS)


def cost(enter: Callable[[Engine, int], None]) -> float:
    """Bytes of one connection, of thousands; the engine and what it makes once are not counted."""
    engine = Engine(id_seed=1, clock_base_ns=START)
    for conn in range(COUNT, 2 * COUNT):  # the map of connections has its final size
        enter(engine, conn)
    engine.drain()
    engine.verdicts()
    for conn in range(COUNT, 2 * COUNT):
        engine.close(conn)
    engine.drain()
    before = allocated()
    for conn in range(COUNT):
        enter(engine, conn)
        engine.drain()
    engine.verdicts()
    return (allocated() - before) / COUNT


@pytest.mark.parametrize(
    ("enter", "most"), [(unseen, 128), (dismissed, 128), (idle, 1024), (idle_ai, 1024), (http2, 12 * 1024)]
)
def test_a_connection_costs_at_most(enter: Callable[[Engine, int], None], most: int) -> None:
    spent = cost(enter)
    print(f"{enter.__name__}: {spent:.0f} bytes")
    assert 0 < spent <= most
