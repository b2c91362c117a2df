# SPDX-License-Identifier: Apache-2.0
"""The numbers that the kernel programs and the loader share: functions, scope modes, settings, map layouts.

The counterpart of `bpf/include/control.h`; a test reads that file and compares.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SCOPE_TREE, SCOPE_CGROUP, SCOPE_UID, SCOPE_ALL, SCOPE_EXE = 1, 2, 3, 4, 5
CLOCK_TICK_NS = 10_000_000

LOSS_CONTROL = 0
LOSS_CAUSES = {1: "ring_full", 2: "fault", 3: "state", 4: "too_large"}
LOSS = struct.Struct("<QQQ")

VERDICT_SLOTS = 65536
VERDICT_LEVELS = {"head": 1, "nothing": 2}
SPARED = struct.Struct("<QQQ")
COST = struct.Struct("<QQ")

HANDLE = struct.Struct("<QII")
CONN_SIZE = 152
THREAD_SIZE = 1024  # at least that of struct thread: its values are not read
MEMBER = struct.Struct("<Q")


COOKIE_RETURN = 256
COOKIE_SHARED = 512
COOKIE_AFTER = 1024


@dataclass(frozen=True)
class Probe:
    """One function that may be probed: its number and what control.h calls it, and at which ends."""

    number: int
    label: str
    entry: bool
    exits: bool
    mover: bool = False  # it moves plaintext: a file without any is no target


OPENSSL = {
    "SSL_read": Probe(1, "READ", True, True, True),
    "SSL_write": Probe(2, "WRITE", True, True, True),
    "SSL_read_ex": Probe(3, "READ_EX", True, True, True),
    "SSL_write_ex": Probe(4, "WRITE_EX", True, True, True),
    "SSL_write_ex2": Probe(5, "WRITE_EX2", True, True, True),
    "SSL_new": Probe(6, "NEW", True, True),
    "SSL_free": Probe(7, "FREE", True, False),
    "SSL_clear": Probe(8, "CLEAR", True, False),
    "SSL_shutdown": Probe(9, "SHUTDOWN", True, True),
    "SSL_up_ref": Probe(10, "UP_REF", True, False),
    "SSL_accept": Probe(11, "ACCEPT", True, False),
    "SSL_set_accept_state": Probe(11, "ACCEPT", True, False),
    "SSL_ctrl": Probe(12, "CTRL", True, False),
    "SSL_set_connect_state": Probe(20, "HANDSHAKE", True, False),
    "SSL_connect": Probe(20, "HANDSHAKE", True, False),
    "SSL_do_handshake": Probe(20, "HANDSHAKE", True, False),
    "SSL_set_tlsext_host_name": Probe(24, "HOST_NAME", True, False),
    "SSL_do_handshake (begins)": Probe(25, "BEGIN", True, False),
    "SSL_set_alpn_protos": Probe(26, "ALPN", True, False),
    "SSL_CTX_set_alpn_protos": Probe(27, "CONTEXT_ALPN", True, False),
    "SSL_sendfile": Probe(21, "SENDFILE", True, True),
}
GO = {
    "crypto/tls.(*Conn).Read": Probe(13, "GO_READ", True, True, True),
    "crypto/tls.(*Conn).Write": Probe(14, "GO_WRITE", True, True, True),
    "crypto/tls.(*Conn).Close": Probe(15, "GO_CLOSE", True, False),
    "crypto/tls.(*Conn).clientHandshake": Probe(16, "GO_CLIENT", True, False),
    "crypto/tls.(*Conn).serverHandshake": Probe(17, "GO_SERVER", True, False),
}
GNUTLS = {
    "gnutls_record_recv": Probe(18, "RECV", True, True, True),
    "gnutls_record_send": Probe(19, "SEND", True, True, True),
    "gnutls_record_send2": Probe(19, "SEND", True, True, True),
    "gnutls_record_uncork": Probe(23, "UNCORK", True, True),
    "gnutls_handshake": Probe(20, "HANDSHAKE", True, False),
    "gnutls_deinit": Probe(7, "FREE", True, False),
    "gnutls_server_name_set": Probe(22, "SERVER_NAME", True, False),
}
PROBES = OPENSSL | GO | GNUTLS
MOVERS = frozenset(name for name, probe in PROBES.items() if probe.mover)
GO_NUMBERS = frozenset(probe.number for probe in GO.values())


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
    exe_inode: int = 0
    exe_device: int = 0
    plaintext: bool = False
    guard: bool = False

    def pack(self) -> bytes:
        return struct.pack(
            "<IIIIIIQQQIIII",
            self.mode,
            self.follow,
            self.self_pid,
            self.worker_pid,
            self.uid,
            self.cgroup_level,
            self.cgroup,
            self.wake_bytes,
            self.exe_inode,
            self.exe_device,
            self.plaintext,
            self.guard,
            0,
        )
