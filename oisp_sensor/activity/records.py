# SPDX-License-Identifier: Apache-2.0
"""Records of oisp/activity.h, taken apart: each with the texts that its thread wrote before it.

Texts and the record that they belong to come from one thread, in this order, but records of other threads lie between.
What a full ring has swallowed shows as `whole` being false; nothing here raises for what a record holds.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

TEXT, PROCESS, NETWORK, DNS, FILE = 16, 17, 18, 19, 20
KINDS = (TEXT, PROCESS, NETWORK, DNS, FILE)
FORK, EXEC, EXIT = 1, 2, 3
CONNECT, ACCEPT, FLOW, INTERIM = 1, 2, 3, 4
QUERY, ANSWER = 1, 2
OPEN, CLOSE, DELETE, RENAME, RMDIR = 1, 2, 3, 4, 5
CREATED, TRUNCATED, INHERITED, AT_END = 1, 2, 4, 8
EXE, PROGRAM_FILE, DIRECTORY, ARGUMENTS, PATH, NAME, BASE, NEW_NAME, NEW_BASE = range(1, 10)
CUT, FAULT = 1, 2
SCRIPT = 1  # flag of an EXEC: the program runs a file that is not itself

_HEAD = struct.Struct("<IHHIHHII")
_BASE = struct.Struct("<IHHQQQIIIIIHH")
_PROCESS = struct.Struct("<IIQQQQ")
_NETWORK = struct.Struct("<QQQQQQ16s16sHHHBB")
_DNS = struct.Struct("<Q16sHHI")
_FILE = struct.Struct("<QQQQQQIIIIII")
_THREADS = 4096  # with texts that wait for their record
_TEXTS = 64  # of one record: 32 pieces of arguments and some paths

Address = IPv4Address | IPv6Address
NOWHERE = IPv4Address(0)


@dataclass
class Text:
    data: bytes
    flags: int
    index: int

    def __str__(self) -> str:
        return self.data.decode("utf-8", "replace")


@dataclass
class Happening:
    """What all have in common. Times are the kernel's: monotonic, `start_time` since boot."""

    ts: int
    start_time: int
    pid: int
    tid: int
    uid: int
    gid: int
    ppid: int
    event: int
    flags: int
    texts: dict[int, list[Text]] = field(default_factory=dict)
    whole: bool = True

    def text(self, slot: int) -> str:
        found = self.texts.get(slot)
        return str(found[0]) if found else ""


@dataclass
class ProcessEvent(Happening):
    status: int = 0
    child: int = 0
    child_start: int = 0
    arguments_size: int = 0
    user_ns: int = 0
    system_ns: int = 0

    def arguments(self) -> list[str]:
        """As far as they are here: each argument ends in a NUL, the last one perhaps not."""
        pieces = sorted(self.texts.get(ARGUMENTS, []), key=lambda piece: piece.index)
        block = b"".join(piece.data for piece in pieces)
        words = block.split(b"\0")
        return [word.decode("utf-8", "replace") for word in (words[:-1] if words[-1:] == [b""] else words)]

    def arguments_complete(self) -> bool:
        return sum(len(piece.data) for piece in self.texts.get(ARGUMENTS, [])) == self.arguments_size


@dataclass
class NetworkEvent(Happening):
    socket: int = 0
    opened: int = 0
    sent: int = 0
    received: int = 0
    packets_sent: int = 0
    packets_received: int = 0
    local: Address = NOWHERE
    remote: Address = NOWHERE
    local_port: int = 0
    remote_port: int = 0
    error: int = 0
    accepted: bool = False


@dataclass
class DnsMessage(Happening):
    asked: int = 0
    server: Address = NOWHERE
    local_port: int = 0
    server_port: int = 0
    payload: bytes = b""


@dataclass
class FileEvent(Happening):
    file: int = 0
    opened: int = 0
    inode: int = 0
    size: int = 0
    read: int = 0
    written: int = 0
    device: int = 0
    open_flags: int = 0
    mode: int = 0
    state: int = 0
    fd: int = 0


class Assembler:
    """take() gives what a record completes, or None: a text, or a record that is none of ours (counted)."""

    def __init__(self) -> None:
        self._texts: OrderedDict[int, list[tuple[int, Text]]] = OrderedDict()
        self.malformed = 0

    def take(self, record: bytes) -> Happening | None:
        if len(record) < _HEAD.size:
            self.malformed += 1
            return None
        kind = int.from_bytes(record[4:6], "little")
        if kind == TEXT:
            self._text(record)
            return None
        if kind not in KINDS or len(record) < _BASE.size:
            self.malformed += 1
            return None
        try:
            return self._happening(kind, record)
        except struct.error:
            self.malformed += 1
            return None

    def _text(self, record: bytes) -> None:
        _, _, _, tid, slot, flags, size, index = _HEAD.unpack_from(record)
        if _HEAD.size + size > len(record):
            self.malformed += 1
            return
        waiting = self._texts.setdefault(tid, [])
        if len(waiting) < _TEXTS:
            waiting.append((slot, Text(record[_HEAD.size : _HEAD.size + size], flags, index)))
        while len(self._texts) > _THREADS:
            self._texts.popitem(last=False)

    def _happening(self, kind: int, record: bytes) -> Happening:
        _, _, flags, ts, start, _, pid, tid, uid, gid, ppid, event, expected = _BASE.unpack_from(record)
        who = (ts, start, pid, tid, uid, gid, ppid, event, flags)
        at = _BASE.size
        made: Happening
        if kind == PROCESS:
            made = ProcessEvent(*who, {}, True, *_PROCESS.unpack_from(record, at))
        elif kind == NETWORK:
            made = self._network(who, record)
        elif kind == DNS:
            asked, server, local_port, server_port, size = _DNS.unpack_from(record, at)
            payload = record[at + _DNS.size : at + _DNS.size + size]
            made = DnsMessage(*who, {}, True, asked, address(server), local_port, server_port, payload)
        else:
            made = FileEvent(*who, {}, True, *_FILE.unpack_from(record, at)[:11])
        if expected:
            self._give_texts(made, expected)
        return made

    @staticmethod
    def _network(who: tuple[Any, ...], record: bytes) -> NetworkEvent:
        made = NetworkEvent(*who)
        (
            made.socket,
            made.opened,
            made.sent,
            made.received,
            made.packets_sent,
            made.packets_received,
            local,
            remote,
            made.local_port,
            made.remote_port,
            made.error,
            accepted,
            _,
        ) = _NETWORK.unpack_from(record, _BASE.size)
        made.local, made.remote, made.accepted = address(local), address(remote), bool(accepted)
        return made

    def _give_texts(self, made: Happening, expected: int) -> None:
        """The last `expected` texts of the thread: older ones belong to a record that was lost."""
        waiting = self._texts.pop(made.tid, [])
        made.whole = len(waiting) >= expected
        for slot, text in waiting[-expected:]:
            made.texts.setdefault(slot, []).append(text)
            made.whole = made.whole and not text.flags


def address(raw: bytes) -> Address:
    """IPv4 stands as ::ffff:a.b.c.d."""
    found = ip_address(raw)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
