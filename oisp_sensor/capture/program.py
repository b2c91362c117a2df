# SPDX-License-Identifier: Apache-2.0
"""The numbers that the kernel programs and the loader share: functions, scope modes, settings, map layouts.

The counterpart of `bpf/include/control.h`; a test reads that file and compares.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SCOPE_TREE, SCOPE_CGROUP, SCOPE_UID, SCOPE_ALL = 1, 2, 3, 4
CLOCK_TICK_NS = 10_000_000

LOSS_CONTROL = 0
LOSS_CAUSES = {1: "ring_full", 2: "fault", 3: "state", 4: "too_large"}
LOSS = struct.Struct("<QQQ")

HANDLE = struct.Struct("<QII")
CONN_SIZE = 128
MEMBER = struct.Struct("<Q")


COOKIE_RETURN = 256


@dataclass(frozen=True)
class Probe:
    """One function that may be probed: its number, and at which ends."""

    number: int
    entry: bool
    exits: bool


PROBES = {
    "SSL_read": Probe(1, True, True),
    "SSL_write": Probe(2, True, True),
    "SSL_read_ex": Probe(3, True, True),
    "SSL_write_ex": Probe(4, True, True),
    "SSL_write_ex2": Probe(5, True, True),
    "SSL_new": Probe(6, False, True),
    "SSL_free": Probe(7, True, False),
    "SSL_clear": Probe(8, True, False),
    "SSL_shutdown": Probe(9, True, True),
    "SSL_up_ref": Probe(10, True, False),
    "SSL_accept": Probe(11, True, False),
    "SSL_set_accept_state": Probe(11, True, False),
    "SSL_ctrl": Probe(12, True, False),
}
MOVERS = frozenset({"SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_write_ex2"})


@dataclass
class Settings:
    """`struct settings`: written into the object before it is loaded."""

    mode: int
    follow: bool = True
    self_pid: int = 0
    worker_pid: int = 0
    uid: int = 0
    cgroup_level: int = 0
    cgroup: int = 0
    wake_bytes: int = 0

    def pack(self) -> bytes:
        return struct.pack(
            "<IIIIIIQQ",
            self.mode,
            self.follow,
            self.self_pid,
            self.worker_pid,
            self.uid,
            self.cgroup_level,
            self.cgroup,
            self.wake_bytes,
        )
