# SPDX-License-Identifier: Apache-2.0
"""A slow, obvious reader of the record ABI: what the tests compare captures with."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

DATA, OPEN, CLOSE = 1, 2, 3
_DATA = struct.Struct("<IHH7QQQ5IHBB")
_CONN = struct.Struct("<IHHQQQQIIIIQQQQ")
_NAMES = {1: "data", 2: "open", 3: "close", 4: "address", 5: "lost", 6: "process", 7: "context"}


@dataclass
class Stream:
    """One connection: its bytes by direction, holes as zeros, and what was said of it."""

    pid: int
    written: bytearray = field(default_factory=bytearray)
    read: bytearray = field(default_factory=bytearray)
    missing: list[int] = field(default_factory=lambda: [0, 0])
    sequence: list[int] = field(default_factory=lambda: [0, 0])
    midway: bool = False
    server: bool = False
    closed: tuple[int, int, int, int] | None = None  # written, read, lost of each


def summary(records: list[bytes]) -> list[str]:
    return [_NAMES[struct.unpack_from("<H", r, 4)[0]] for r in records]


def streams(records: list[bytes]) -> dict[int, Stream]:
    found: dict[int, Stream] = {}
    for record in records:
        size, kind, flags = struct.unpack_from("<IHH", record)
        assert size == len(record)
        assert size % 8 == 0
        if kind == DATA:
            _data(found, record, flags)
        elif kind in (OPEN, CLOSE):
            fields = _CONN.unpack(record)
            stream = found.setdefault(fields[3], Stream(fields[7]))
            stream.midway |= bool(flags & 1)
            stream.server |= bool(flags & 2)
            if kind == CLOSE:
                assert stream.closed is None
                stream.closed = fields[11:15]
    return found


def _data(found: dict[int, Stream], record: bytes, flags: int) -> None:
    (_, _, _, conn, entered, returned, offset, call_size, _, start, pid, _, _, captured, sequence, head, way, _) = (
        struct.unpack_from("<IHHQQQQQQQIIIIIHBB", record)
    )
    stream = found.setdefault(conn, Stream(pid))
    assert (stream.pid, head) == (pid, 88)
    assert entered <= returned
    assert start
    assert captured <= min(call_size, 16384)
    stream.server |= bool(flags & 2)
    assert sequence >= stream.sequence[way]
    stream.sequence[way] = sequence + 1
    target = stream.read if way else stream.written
    assert offset >= len(target)
    stream.missing[way] += offset - len(target)
    target += bytes(offset - len(target))
    target += record[head : head + captured]
    assert not any(record[head + captured :])
