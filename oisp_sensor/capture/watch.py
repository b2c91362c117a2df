# SPDX-License-Identifier: Apache-2.0
"""Executable mappings of the scope as they happen, so that a library loaded later is probed at once.

A perf event of the software kind that counts nothing and reports mappings: the kernel writes one record per executable
mapping of the watched tasks. Unlike a tracepoint on mmap(2) it costs every other process of the machine nothing.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

from oisp_sensor.capture import kernel
from oisp_sensor.capture.scope import Scope
from oisp_sensor.capture.targets import Mapping

_MMAP2 = 10
_MAX_EVENTS = 256  # of 1024 descriptors that a process usually may have
_BODY = struct.Struct("<IIQQQIIQQII")  # pid tid addr len pgoff major minor inode generation prot flags
_TIME = struct.Struct("<Q")


class MappingWatch:
    """Opened per CPU, for tasks, a cgroup or everything. `lost` counts mappings that were not seen."""

    def __init__(self) -> None:
        self._events: list[int] = []
        self.machine_wide = False  # reports what is none of the scope's business, too
        self._rings: dict[int, tuple[int, kernel.PerfRing]] = {}  # cpu -> event, ring

    def add_task(self, pid: int) -> None:
        """One task and all that it creates from now on; FileNotFoundError or ProcessLookupError when it has gone."""
        self._open(pid, inherit=True)

    def add_process(self, pid: int) -> None:
        """Every thread that a running process has; each takes a descriptor per CPU. Where that would be too many, one
        per CPU reports all processes instead."""
        try:
            threads = sorted(int(p.name) for p in Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            return
        if self.machine_wide:
            return
        if (len(self._events) + len(threads) * len(_online_cpus())) > _MAX_EVENTS:
            self._open(-1, inherit=False)
            return
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                self.add_task(thread)

    def add_scope(self, scope: Scope) -> None:
        if scope.kind == "cgroup":
            folder = os.open(scope.cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._open(folder, inherit=False, cgroup=True)
            finally:
                os.close(folder)
        elif scope.kind == "pid":
            for pid in scope.pids:
                self.add_process(pid)
        elif scope.kind in ("uid", "exe", "all"):
            self._open(-1, inherit=False)

    def _open(self, pid: int, *, inherit: bool, cgroup: bool = False) -> None:
        self.machine_wide |= pid == -1
        for cpu in sorted(os.sched_getaffinity(0) | set(_online_cpus())):
            event = kernel.open_mapping_event(pid, cpu, inherit=inherit, cgroup=cgroup)
            self._events.append(event)
            if cpu in self._rings:
                kernel.redirect_mapping_event(event, self._rings[cpu][0])
            else:
                self._rings[cpu] = (event, kernel.PerfRing(event))

    @property
    def descriptors(self) -> list[int]:
        """Readable when something was mapped."""
        return [event for event, _ in self._rings.values()]

    @property
    def lost(self) -> int:
        return sum(ring.lost for _, ring in self._rings.values())

    def read(self) -> list[Mapping]:
        found = []
        for _, ring in self._rings.values():
            for kind, body in ring.read():
                if kind == _MMAP2 and len(body) > _BODY.size:
                    pid, _, start, size, _, major, minor, inode, generation, _, _ = _BODY.unpack_from(body)
                    path = os.fsdecode(body[_BODY.size :].split(b"\0", 1)[0])
                    if inode:  # not the vdso, not anonymous
                        identity = (major, minor, inode, generation)
                        (at,) = _TIME.unpack_from(body, len(body) - _TIME.size)
                        found.append(Mapping(pid, start, start + size, inode, path, identity, at))
        return found

    def close(self) -> None:
        for _, ring in self._rings.values():
            ring.close()
        for event in self._events:
            os.close(event)
        self._rings.clear()
        self._events.clear()


def _online_cpus() -> list[int]:
    found: list[int] = []
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
