# SPDX-License-Identifier: Apache-2.0
"""What capture would see of a file, a process or a command, and what it would not: the second half of `doctor`.

Nothing is attached and nothing is run. Files are opened as a capture would open them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Env
from collections.abc import Sequence
from dataclasses import dataclass, field

from oisp_sensor.capture import elf
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.resolve import likely_libraries, mapped_at_start
from oisp_sensor.capture.spawn import find_command
from oisp_sensor.capture.targets import Target, examine, executable_mappings, open_mapping

# Functions by which a TLS stack that is not captured gives itself away.
_OTHER_STACKS = {
    "PR_Write": "NSS",
    "wolfSSL_write": "wolfSSL",
    "mbedtls_ssl_write": "Mbed TLS",
    "s2n_send": "s2n",
    "rustls_connection_write": "rustls",
}
_QUIC = {"lsquic_engine_new": "QUIC", "quiche_connect": "QUIC", "ngtcp2_conn_client_new_versioned": "QUIC"}
_NAMES = frozenset(_OTHER_STACKS) | frozenset(_QUIC)


@dataclass
class Finding:
    """One file: `target` when it exports what is probed, else the names of other stacks that it carries."""

    path: str
    target: Target | None = None
    unseen: list[str] = field(default_factory=list)
    error: str = ""
    perhaps: bool = False  # not needed by the command itself, but where it would find it if it asked


@dataclass
class Inspection:
    """`subject` as the user named it, and its files that have to do with TLS, of `files` that were looked at."""

    subject: str
    files: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def captured(self) -> bool:
        """Something that is mapped for certain can be probed."""
        return any(f.target is not None and f.target.usable and not f.perhaps for f in self.findings)


def inspect_file(path: str) -> Inspection:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CaptureError(f"{path}: cannot be opened: {error.strerror}") from error
    return _collect(path, [(path, fd)])


def inspect_process(pid: int) -> Inspection:
    """A running process, by what it has mapped now."""
    mappings = {m.inode: m for m in executable_mappings(pid)}
    if not mappings:
        raise CaptureError(f"process {pid}: there is none, or its mappings may not be read")
    opened = [(m.path, open_mapping(m)) for m in mappings.values()]
    return _collect(f"pid {pid}", [(path, fd) for path, fd in opened if fd is not None])


def inspect_command(argv: Sequence[str], env: Env[str, str] | None = None, cwd: str | None = None) -> Inspection:
    """A command that was not started: its executable, what it needs, and copies of libssl that it may load later."""
    env = dict(os.environ if env is None else env)
    file = find_command(argv[0], env)
    opened = []
    certain = mapped_at_start(file, env, cwd)
    for path in dict.fromkeys([*certain, *likely_libraries(file, env)]):
        try:
            opened.append((path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)))
        except OSError:
            continue
    found = _collect(" ".join(argv), opened)
    for finding in found.findings:
        finding.perhaps = finding.path not in certain
    return found


def _collect(subject: str, opened: list[tuple[str, int]]) -> Inspection:
    found = Inspection(subject)
    seen: set[tuple[int, int]] = set()
    for path, fd in opened:
        try:
            info = os.fstat(fd)
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            found.files += 1
            finding = _look(path, fd)
            if finding is not None:
                found.findings.append(finding)
        finally:
            os.close(fd)
    return found


def _look(path: str, fd: int) -> Finding | None:
    try:
        with elf.Elf(fd) as file:
            names = file.functions(_NAMES)
            unseen = {(_OTHER_STACKS | _QUIC)[name] for name in names}
    except elf.ElfError as error:
        return Finding(path, error=str(error))
    target = examine(fd, path)
    if target is None and not unseen:
        return None
    return Finding(path, target, sorted(unseen))
