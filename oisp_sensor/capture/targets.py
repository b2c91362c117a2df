# SPDX-License-Identifier: Apache-2.0
"""Which mapped files hold functions to probe, and the probes on them.

A file is judged by what it exports, once per inode, never by its name: wheels carry `libssl-3e69.so`. It is opened as
the process mapped it, and what was opened must be the inode that was mapped: a link inside a container never leads to a
file of the host. Files are hostile; reading them is bounded by elf.py.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import elf, functions, kernel
from oisp_sensor.capture.program import MOVERS, PROBES

_NAMES = frozenset(PROBES)


@dataclass(frozen=True)
class Mapping:
    """An executable mapping of a file, as /proc/PID/maps or the kernel's event gives it."""

    pid: int
    start: int
    end: int
    inode: int
    path: str


@dataclass
class Target:
    """One file with probes: what `doctor` and the summary show."""

    path: str
    device: int
    inode: int
    build_id: str = ""
    functions: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    late: bool = False  # attached while a process had it mapped already
    error: str = ""
    descriptors: list[int] = field(default_factory=list, repr=False)

    @property
    def usable(self) -> bool:
        return any(name in MOVERS for name in self.functions)


@dataclass
class Plan:
    """The offsets of one file: (offset, function number) for each end."""

    entries: list[tuple[int, int]] = field(default_factory=list)
    exits: list[tuple[int, int]] = field(default_factory=list)


def executable_mappings(pid: int) -> list[Mapping]:
    """Of files, by /proc/PID/maps; empty when the process has gone."""
    found = []
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            for line in file:
                fields = line.rstrip(b"\n").split(None, 5)
                if len(fields) == 6 and fields[1][2:3] == b"x" and fields[4] != b"0":
                    start, _, end = fields[0].partition(b"-")
                    found.append(Mapping(pid, int(start, 16), int(end, 16), int(fields[4]), os.fsdecode(fields[5])))
    except OSError:
        return []
    return found


def open_mapping(mapping: Mapping) -> int | None:
    """The mapped file, read-only, or None: the mapping or the process has gone, or it is no regular file."""
    link = f"/proc/{mapping.pid}/map_files/{mapping.start:x}-{mapping.end:x}"
    try:
        # The link leads to the mapped file itself. Opening a device could act on it, so look first.
        if stat.S_ISREG(Path(link).stat().st_mode):
            return os.open(link, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        pass
    return _open_below_root(mapping)


def _open_below_root(mapping: Mapping) -> int | None:
    try:
        root = os.open(f"/proc/{mapping.pid}/root", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = kernel.open_in_root(root, mapping.path)
    except OSError:
        return None
    finally:
        os.close(root)
    try:
        info = os.fstat(found)
        if info.st_ino == mapping.inode and stat.S_ISREG(info.st_mode):
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        pass
    finally:
        os.close(found)
    return None


def examine(fd: int, path: str) -> tuple[Target, Plan] | None:
    """What could be probed in an opened file; None when it exports nothing that we know."""
    info = os.fstat(fd)
    target = Target(path, info.st_dev, info.st_ino)
    plan = Plan()
    try:
        with elf.Elf(fd) as file:
            found = file.functions(_NAMES)
            if not MOVERS & found.keys():
                return None
            target.build_id = file.build_id()
            for _, function in sorted(found.items()):
                _plan_function(file, function, target, plan)
    except elf.ElfError as error:
        target.error = str(error)
    return target, plan


def _plan_function(file: elf.Elf, function: elf.Function, target: Target, plan: Plan) -> None:
    probe = PROBES[function.name]
    if probe.exits:
        exits = functions.find_exits(file, function)
        if exits.refused:
            target.refused[function.name] = exits.refused
            return
        plan.exits += [(offset, probe.number) for offset in exits.offsets]
    if probe.entry:
        plan.entries.append((function.offset, probe.number))
    target.functions += (function.name,)


class Attacher:
    """Plants probes. `programs` gives the descriptor of a loaded program by name."""

    def __init__(self, programs: dict[str, int], *, multi: bool, cookies: bool) -> None:
        self._programs = programs
        self._multi = multi
        self._cookies = cookies
        self._uprobe_type = 0 if multi else kernel.uprobe_type()

    def attach(self, fd: int, target: Target, plan: Plan) -> None:
        """Fills target.descriptors, or target.error and plants nothing."""
        path = f"/proc/self/fd/{fd}"
        try:
            self._read_pages(fd, plan)
            # Exits first: an entry without its exit would be taken for a call that never returned.
            target.descriptors += self._plant(path, "leave", plan.exits)
            target.descriptors += self._plant(path, "enter", plan.entries)
        except OSError as error:
            target.error = f"{error.filename or 'attach'}: {error.strerror}"
            self.detach(target)

    def detach(self, target: Target) -> None:
        for descriptor in target.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        target.descriptors.clear()

    def _read_pages(self, fd: int, plan: Plan) -> None:
        """Into the page cache: the kernel plants its breakpoints without having to read the file then."""
        for offset, _ in plan.entries + plan.exits:
            os.pread(fd, 16, offset)

    def _plant(self, path: str, end: str, places: list[tuple[int, int]]) -> list[int]:
        if not places:
            return []
        if self._multi:
            offsets, numbers = [o for o, _ in places], [n for _, n in places]
            return [kernel.link_uprobe_multi(self._programs[f"{end}_any"], path, offsets, numbers)]
        held: list[int] = []
        try:
            for offset, number in places:
                program = self._programs[f"{end}_any" if self._cookies else f"{end}_{number}"]
                cookie = number if self._cookies else 0
                held += kernel.attach_uprobe(self._uprobe_type, program, path, offset, cookie)
        except OSError:
            for descriptor in held:
                os.close(descriptor)
            raise
        return held
