# SPDX-License-Identifier: Apache-2.0
"""What capture tells its owner, one small JSON message per packet of a SOCK_SEQPACKET pair, or by a call.

Nothing here comes out of traffic. What of it crosses the border to the worker, and how, is oisp_sensor/border.py.
"""

from __future__ import annotations

import socket

import msgspec


class Process(msgspec.Struct, tag="process", frozen=True):
    """A process of the scope: `event` is seen (it was there at the start), fork, exec or exit."""

    event: str
    pid: int
    start_time_ns: int  # since boot; pid and start time name a process for ever
    ppid: int = 0
    uid: int = 0
    gid: int = 0
    cgroup: int = 0
    ts_ns: int = 0  # monotonic
    status: int = 0  # exit: the wait status


class Attached(msgspec.Struct, tag="attached", frozen=True):
    """Probes were planted on a file. late: a process had it mapped already, its connections may be joined midway."""

    path: str
    build_id: str
    functions: tuple[str, ...]
    late: bool
    pid: int


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """A file that should be probed could not be."""

    path: str
    reason: str
    pid: int


class Missed(msgspec.Struct, tag="missed", frozen=True):
    """A process had the file mapped and was gone before it had probes: what it sent through it was not seen."""

    path: str
    pid: int
    reason: str = "the process had gone before its probes were planted"


class Detached(msgspec.Struct, tag="detached", frozen=True):
    """The guard took probes away: of this process, or (`shared`) of the file for all that map it."""

    path: str
    pid: int
    share: float  # of a core, that the probes cost the process
    traps: int  # a second
    shared: bool

    def __str__(self) -> str:
        what = f"{self.path}, for all that map it" if self.shared else f"process {self.pid} ({self.path})"
        cost = f"{100 * self.share:.1f} % of a core by {self.traps:,} traps a second"
        return f"detached from {what}: probes cost process {self.pid} {cost}, above --max-overhead"


Message = Process | Attached | Refused | Missed | Detached

_decoder = msgspec.json.Decoder(Message)
_encode = msgspec.json.encode
PACKET_BYTES = 16384


def send(to: socket.socket, message: Message) -> bool:
    """False when the receiver does not keep up (the caller counts it): the loader never waits for the pipeline."""
    try:
        to.send(_encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive(source: socket.socket) -> list[Message]:
    """All messages that wait."""
    found: list[Message] = []
    while True:
        try:
            packet = source.recv(PACKET_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        if not packet:
            return found
        found.append(_decoder.decode(packet))
