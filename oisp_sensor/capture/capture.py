# SPDX-License-Identifier: Apache-2.0
"""One capture: a scope, the programs loaded for it, the files that carry probes, the command that it started.

Used by one thread. start() loads and attaches what is known; poll() follows what happens (new mappings, processes) and
must be called often, or wait in it: a library that is mapped meanwhile carries no probes until then.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Mapping as Env
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import messages, program
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.loader import CONTROL_BYTES, Programs
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.scope import Scope, start_time_ns
from oisp_sensor.capture.spawn import Identity, Spawned
from oisp_sensor.capture.targets import Attacher, Mapping, Target, examine, executable_mappings, open_mapping
from oisp_sensor.capture.watch import MappingWatch

RING_BYTES = 16 << 20
_PROCESS = struct.Struct("<IHHQQQIIIIII")
_EVENTS = {1: "fork", 2: "exec", 3: "exit"}
_KIND_PROCESS = 6


@dataclass
class Loss:
    """What did not reach the ring, by cause; bytes of writes and of reads."""

    records: int = 0
    written: int = 0
    read: int = 0


@dataclass
class Report:
    """What is attached, how, and what went wrong on the way."""

    scope: str
    variant: str
    uprobe_multi: bool
    targets: list[Target] = field(default_factory=list)
    late: int = 0
    mappings_lost: int = 0
    messages_lost: int = 0
    control_lost: int = 0


class Capture:
    """Context manager; close() removes every probe. `libraries`: probe these files and no others."""

    def __init__(
        self,
        scope: Scope,
        *,
        ring_bytes: int = RING_BYTES,
        libraries: Sequence[str | os.PathLike[str]] | None = None,
        variant: str = "",
    ) -> None:
        if ring_bytes < 1 << 16 or ring_bytes & (ring_bytes - 1) or ring_bytes > 1 << 30:
            raise CaptureError(f"the ring has a power of two of bytes from 64 KiB to 1 GiB, not {ring_bytes}")
        self.scope = scope
        self.ring_bytes = ring_bytes
        self._only = None if libraries is None else _identities(libraries)
        self._libraries = [] if libraries is None else [os.fspath(p) for p in libraries]
        self._variant = variant
        self._programs: Programs | None = None
        self._watch = MappingWatch()
        self._targets: dict[tuple[int, int], Target | None] = {}
        self._child: Spawned | None = None
        self._late = 0
        self._messages_lost = 0
        self._last_losses: dict[str, Loss] = {}
        self.channel, self._channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- life ----

    def start(self) -> None:
        """Loads the programs and attaches what is already there. Nothing is probed before this."""
        self._programs = Programs(self.scope, self.ring_bytes, self._variant)
        self._control = RingBuffer(self._programs.control_fd, CONTROL_BYTES)
        self._attacher = Attacher(self._programs.uprobes, multi=self._programs.multi, cookies=self._programs.cookies)
        self._epoll = select.epoll()
        self._epoll.register(self._programs.control_fd, select.EPOLLIN)
        self._programs.follow_processes()
        for path in self._libraries:
            self._attach_path(path)
        self._watch.add_scope(self.scope)
        self._follow_watch()
        for pid in self._present():
            self._enter_scope(pid)
            self._scan(pid)

    def spawn(
        self,
        argv: Sequence[str],
        env: Env[str, str] | None = None,
        cwd: str | None = None,
        user: Identity | None = None,
    ) -> Spawned:
        """Starts the command of a command scope: in scope, and watched, before its first instruction. See Spawned."""
        if self.scope.kind != "command" or self._programs is None:
            raise CaptureError("only a started capture of a command spawns one")
        child = Spawned(argv, dict(os.environ if env is None else env), cwd, user)
        try:
            self._enter_scope(child.pid)
            self._watch.add_task(child.pid)
            self._follow_watch()
        except BaseException:
            child.abandon()
            raise
        self._child = child
        child.release()
        return child

    def poll(self, timeout: float = 0.0) -> int:
        """Handles what happened, after waiting up to `timeout` seconds for something. Answers how much it was."""
        self._epoll.poll(timeout)
        handled = self._read_control()
        # Files that look like TLS first: every file that stands before them costs them their head start.
        for mapping in sorted(self._watch.read(), key=lambda m: "ssl" not in m.path):
            handled += 1
            self._see(mapping)
        return handled

    def fileno(self) -> int:
        """For a caller's own event loop: readable when poll() has something to do."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Detaches. Records that wait in the ring stay readable for whoever has it mapped."""
        for target in self._targets.values():
            if target is not None:
                self._attacher.detach(target)
        if self._programs is not None:
            self._last_losses = self.losses()
            self._epoll.close()
            self._control.close()
            self._programs.close()
            self._programs = None
        self._watch.close()
        self._channel.close()
        self.channel.close()

    # ---- what it tells ----

    @property
    def ring_fd(self) -> int:
        if self._programs is None:
            raise CaptureError("capture has not been started")
        return self._programs.ring_fd

    def losses(self) -> dict[str, Loss]:
        """By cause, since the start: exact, counted where the loss happened. After close(), as it was then."""
        if self._programs is None:
            return self._last_losses
        found = {}
        for cause, name in program.LOSS_CAUSES.items():
            value = self._programs.losses.get(cause.to_bytes(4, "little"))
            found[name] = Loss(*program.LOSS.unpack(value)) if value else Loss()
        return found

    def report(self) -> Report:
        programs = self._programs
        control = programs.losses.get(bytes(4)) if programs else None
        return Report(
            scope=self.scope.label,
            variant=programs.variant if programs else "",
            uprobe_multi=bool(programs and programs.multi),
            targets=[t for t in self._targets.values() if t is not None],
            late=self._late,
            mappings_lost=self._watch.lost,
            messages_lost=self._messages_lost,
            control_lost=program.LOSS.unpack(control)[0] if control else 0,
        )

    # ---- processes ----

    def _tell(self, message: messages.Message) -> None:
        if not messages.send(self._channel, message):
            self._messages_lost += 1

    def _enter_scope(self, pid: int) -> None:
        """Puts a process that is there into the kernel's table (tree scopes) and tells of it."""
        assert self._programs is not None
        try:
            start = start_time_ns(pid)
        except OSError:
            return
        if self.scope.kind in ("command", "pid"):
            self._programs.scope.put(pid.to_bytes(4, "little"), program.MEMBER.pack(start))
        self._tell(messages.Process("seen", pid, start))

    def _present(self) -> list[int]:
        """Processes that are in scope already."""
        if self.scope.kind == "pid":
            return list(self.scope.pids)
        if self.scope.kind == "cgroup":
            return [int(p) for f in Path(self.scope.cgroup).rglob("cgroup.procs") for p in f.read_text().split()]
        if self.scope.kind == "command":
            return []
        pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
        return [pid for pid in pids if pid != os.getpid() and self._wanted(pid)]

    def _wanted(self, pid: int) -> bool:
        """For what the machine-wide watch reports: is this process of the scope?"""
        if self.scope.kind != "uid":
            return pid != os.getpid()
        try:
            return Path(f"/proc/{pid}").stat().st_uid == self.scope.uid
        except OSError:
            return False

    def _read_control(self) -> int:
        records = self._control.records()
        for record in records:
            if len(record) < _PROCESS.size or record[4] != _KIND_PROCESS:
                continue
            _, _, _, ts, start, cgroup, event, pid, ppid, uid, gid, status = _PROCESS.unpack_from(record)
            name = _EVENTS.get(event, str(event))
            self._tell(messages.Process(name, pid, start, ppid, uid, gid, cgroup, ts, status))
            if event != 1:
                self._sweep(pid)
        return len(records)

    def _sweep(self, pid: int) -> None:
        """The basic programs cannot walk their table of handles when a process ends: it is done here."""
        assert self._programs is not None
        if self._programs.variant != "basic":
            return
        for key in self._programs.conns.all_keys():
            if program.HANDLE.unpack(key)[1] == pid:
                self._programs.conns.remove(key)

    # ---- files ----

    def _follow_watch(self) -> None:
        for descriptor in self._watch.descriptors:
            with contextlib.suppress(FileExistsError):
                self._epoll.register(descriptor, select.EPOLLIN)

    def _scan(self, pid: int) -> None:
        for mapping in executable_mappings(pid):
            self._see(mapping, running=True)

    def _see(self, mapping: Mapping, *, running: bool = False) -> None:
        if self.scope.kind in ("uid", "all") and not self._wanted(mapping.pid):
            return
        fd = open_mapping(mapping)
        if fd is None:
            return
        try:
            self._attach(fd, mapping.path, mapping.pid, late=True)
        finally:
            os.close(fd)

    def _attach_path(self, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CaptureError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            target = self._attach(fd, path, 0, late=False)
        finally:
            os.close(fd)
        if target is None or not target.usable or target.error:
            reason = "exports no TLS function that is known" if target is None else _reason(target)
            raise CaptureError(f"{path}: cannot be probed: {reason}")

    def _attach(self, fd: int, path: str, pid: int, *, late: bool) -> Target | None:
        info = os.fstat(fd)
        key = (info.st_dev, info.st_ino)
        if key in self._targets or (self._only is not None and key not in self._only):
            return self._targets.get(key)
        found = examine(fd, path)
        if found is None:
            self._targets[key] = None
            return None
        target, plan = found
        self._targets[key] = target
        target.late = late
        if target.usable and not target.error:
            self._attacher.attach(fd, target, plan)
        if target.descriptors:
            self._late += late
            self._tell(messages.Attached(path, target.build_id, target.functions, late, pid))
        else:
            self._tell(messages.Refused(path, _reason(target), pid))
        return target


def _reason(target: Target) -> str:
    return target.error or "; ".join(f"{name}: {why}" for name, why in target.refused.items())


def _identities(paths: Sequence[str | os.PathLike[str]]) -> set[tuple[int, int]]:
    found = set()
    for path in paths:
        try:
            info = Path(path).stat()
        except OSError as error:
            raise CaptureError(f"{os.fspath(path)}: {error.strerror}") from error
        found.add((info.st_dev, info.st_ino))
    return found
