# SPDX-License-Identifier: Apache-2.0
"""A slow, obvious reader of the record ABI: what the tests compare captures with."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

DATA, OPEN, CLOSE, ADDRESS = 1, 2, 3, 4
_DATA = struct.Struct("<IHH7QQQ5IHBB")
LOST = 5
_LOST = struct.Struct("<IHHQQQQQII")
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
    opened: bool = False
    midway: bool = False
    server: bool = False
    address: tuple[str, int, str, int] | None = None  # local, remote
    name: str = ""
    offers: tuple[str, ...] = ()  # protocols of the ClientHello
    told_lost: list[int] = field(default_factory=lambda: [0, 0])  # by LOST records
    told_records: int = 0
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
        elif kind == ADDRESS:
            _address(found, record)
        elif kind == LOST:
            _lost(found, record)
        elif kind in (OPEN, CLOSE):
            fields = _CONN.unpack(record)
            stream = found.setdefault(fields[3], Stream(fields[7]))
            stream.midway |= bool(flags & 1)
            stream.server |= bool(flags & 2)
            assert (kind == OPEN) != stream.opened or kind == CLOSE
            stream.opened = True
            if kind == CLOSE:
                assert stream.closed is None
                stream.closed = fields[11:15]
    return found


def _lost(found: dict[int, Stream], record: bytes) -> None:
    _, _, _, conn, _, written, read, records, cause, _ = _LOST.unpack(record)
    assert cause in (1, 2, 3, 4)
    if conn == 0:
        return
    stream = found[conn]
    assert stream.closed is None
    assert written or read
    assert records
    stream.told_lost[0] += written
    stream.told_lost[1] += read
    stream.told_records += records


def _address(found: dict[int, Stream], record: bytes) -> None:
    _, _, _, conn, _, local, remote, local_port, remote_port, _, name, alpn = struct.unpack_from(
        "<IHHQQ16s16sHHHBB", record
    )
    assert len(record) == 64 + -(-(name + alpn) // 8) * 8
    stream = found[conn]
    assert stream.opened
    assert stream.address is None
    if any(remote):
        stream.address = (ip(local), local_port, ip(remote), remote_port)
    stream.name = record[64 : 64 + name].decode()
    stream.offers = tuple(_protocols(record[64 + name : 64 + name + alpn]))
    assert not any(record[64 + name + alpn :])


def _protocols(listed: bytes) -> Iterator[str]:
    while listed:
        yield listed[1 : 1 + listed[0]].decode()
        listed = listed[1 + listed[0] :]


def ip(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


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
