# SPDX-License-Identifier: Apache-2.0
"""What crosses between the loader, which has power, and the worker, which reads hostile bytes.

One SOCK_SEQPACKET pair; a packet is one message in MessagePack. Descriptors go one way only, from the loader to the
worker. The loader takes the worker for an enemy: packets are bounded and typed, a wrong one ends the worker, none names
a path, and what a worker may ask is a number of a list that the loader made. Beside this channel the two share the
rings, and the page of counters (page.py).
"""

from __future__ import annotations

import array
import os
import select
import socket
from typing import Any, Literal

import msgspec

from oisp_sensor.capture.messages import Process
from oisp_sensor.enrich.procfs import RawProcess

__all__ = ["ToLoader", "ToWorker"]

PACKET_BYTES = 1 << 16  # facts of a process have up to 41 KiB
MOST_FDS = 16
TEXT_BYTES = 4096


# ---- to the worker ----


class OutputSpec(msgspec.Struct, frozen=True):
    """An output whose descriptor comes with the setup, in the order of `Setup.outputs`. rotate 0: never."""

    name: str
    rotate: int = 0
    stream: bool = False


class Setup(msgspec.Struct, tag="setup", frozen=True):
    """Descriptors: ring, page, the table of verdicts if `verdicts`, the ring of activity if `activity_bytes`, the
    recording if `raw`, then one for each output that is a file."""

    ring_bytes: int
    clock_base_ns: int
    boot_ns: int
    content: Literal["metadata", "redacted", "full"]
    chunks: bool
    cmdline: bool
    providers: str | None
    id_seed: int | None
    hash_key: bytes | None
    host: dict[str, Any]
    outputs: tuple[OutputSpec, ...]
    raw: bool
    verdicts: bool
    activity_bytes: int
    exclude_files: tuple[str, ...]
    view: str | None  # what the view at the terminal is of; None: there is no view
    moving: bool
    memory_bytes: int
    user: tuple[int, int] | None
    resumed: bool = False  # an earlier worker read this ring
    skip: bool = False  # and died of the record at which it stands


class Seen(msgspec.Struct, tag="seen_process", frozen=True):
    """What capture told of a process; at first sight and after an exec with what was read of it then. Ancestors that
    are outside the scope come before it, as RawProcess."""

    process: Process
    raw: RawProcess | None = None


class Names(msgspec.Struct, tag="names", frozen=True):
    """Answers WantNames; an empty text for what has no name."""

    users: dict[int, str]
    groups: dict[int, str]


class Output(msgspec.Struct, tag="output", frozen=True):
    """Go on in this descriptor from the next line on. Answers Rotate, or comes by itself (SIGHUP)."""

    number: int


class OutputFailed(msgspec.Struct, tag="output_failed", frozen=True):
    """The output could not be moved away or opened again: go on in the old one."""

    number: int
    reason: str


class Ask(msgspec.Struct, tag="ask", frozen=True):
    """Tell the account now."""


class Finish(msgspec.Struct, tag="finish", frozen=True):
    """Capture has ended: read what is there, write it, tell the account, end."""


# ---- to the loader ----


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """Everything is mapped and given up; `stats` names the counters in the page."""

    stats: tuple[str, ...]


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """It ends. `broken_pipe`: whoever reads the output has gone."""

    text: str
    exit_code: int = 2
    broken_pipe: bool = False


class Said(msgspec.Struct, tag="said", frozen=True):
    """One line for the user."""

    text: str


class Want(msgspec.Struct, tag="want", frozen=True):
    """The facts of a process of the scope."""

    pid: int
    start_ns: int


class WantNames(msgspec.Struct, tag="want_names", frozen=True):
    users: tuple[int, ...]
    groups: tuple[int, ...]


class Rotate(msgspec.Struct, tag="rotate", frozen=True):
    """Output `number` is full: move it away and open it anew."""

    number: int


class Exported(msgspec.Struct, frozen=True):
    name: str
    lines_taken: int
    lines_written: int
    lines_dropped: int
    bytes_written: int
    errors: int
    last_error: str


class Account(msgspec.Struct, tag="account", frozen=True):
    """Every stage's numbers. `final`: nothing comes after it."""

    ring: dict[str, int]
    engine: dict[str, int]
    enrich: dict[str, int]
    activity: dict[str, int]
    export: tuple[Exported, ...]
    lines: int
    final: bool = False


ToWorker = Setup | Seen | RawProcess | Names | Output | OutputFailed | Ask | Finish
ToLoader = Ready | Failed | Said | Want | WantNames | Rotate | Account

_encode = msgspec.msgpack.encode
_for_worker = msgspec.msgpack.Decoder(ToWorker)
_for_loader = msgspec.msgpack.Decoder(ToLoader)


class BadPeer(Exception):
    """What came is no message of this protocol; `before` are those that came before it."""

    def __init__(self, text: str, before: list[Any]) -> None:
        super().__init__(text)
        self.before = before


def pair() -> tuple[socket.socket, socket.socket]:
    """The loader's end and the worker's. Buffers hold some hundred messages."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return ours, theirs


def send(to: socket.socket, message: Any, fds: tuple[int, ...] = ()) -> bool:
    """False when the buffer is full. A peer that has gone is an OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        to.sendmsg([_encode(message)], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return False
    return True


def send_waiting(to: socket.socket, message: Any, seconds: float = 5.0) -> bool:
    """The worker's way: it has nothing better to do than to wait for its loader."""
    while not send(to, message):
        poll = select.poll()
        poll.register(to, select.POLLOUT)
        if not poll.poll(seconds * 1000):
            return False
    return True


def receive_at_loader(source: socket.socket, most: int = 256) -> tuple[list[Any], bool]:
    """Up to `most` messages that wait, and whether the worker has gone. Descriptors are never taken."""
    found: list[Any] = []
    while len(found) < most:
        try:
            packet = source.recv(PACKET_BYTES + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found, False
        except ConnectionError:
            return found, True
        if not packet:
            return found, True
        if len(packet) > PACKET_BYTES:
            raise BadPeer("a packet is too long", found)
        try:
            found.append(_for_loader.decode(packet))
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError) as error:
            raise BadPeer(str(error), found) from error
    return found, False


def receive_at_worker(source: socket.socket, wait_seconds: float = 0.0) -> tuple[Any, list[int]] | None:
    """The next message with its descriptors; None when none comes in time. EOFError: the loader has gone."""
    if wait_seconds:
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.poll(wait_seconds * 1000)
    room = socket.CMSG_LEN(MOST_FDS * array.array("i").itemsize)
    try:
        packet, ancillary, _, _ = source.recvmsg(PACKET_BYTES, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except ConnectionError as error:
        raise EOFError from error
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if not packet:
        raise EOFError
    try:
        return _for_worker.decode(packet), list(fds)
    except msgspec.DecodeError:
        for fd in fds:
            os.close(fd)
        raise
