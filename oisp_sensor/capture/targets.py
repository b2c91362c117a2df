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
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import boringssl, elf, foreign, functions, golang, guard, kernel, program, uretprobes
from oisp_sensor.capture.program import (
    COOKIE_AFTER,
    COOKIE_RETURN,
    COOKIE_SHARED,
    GNUTLS,
    GO,
    GO_NUMBERS,
    MOVERS,
    OPENSSL,
    PROBES,
)

_SIGNS = frozenset({"SSL_read", "gnutls_record_recv", *foreign.SYMBOLS})
_CLOSERS = 16


@dataclass(frozen=True)
class Mapping:
    """An executable mapping of a file, as /proc/PID/maps or the kernel's event gives it."""

    pid: int
    start: int
    end: int
    inode: int
    path: str
    identity: tuple[int, ...] = ()  # device, inode, generation as the kernel names them; empty when not known
    at: int = 0  # when, on the monotonic clock; 0: some time ago


@dataclass
class Plan:
    """The places in one file: (offset, function number) for each end."""

    entries: list[tuple[int, int]] = field(default_factory=list)
    exits: list[tuple[int, int]] = field(default_factory=list)
    shared: list[tuple[int, int]] = field(default_factory=list)  # exits where others return too
    unknown: list[tuple[int, int]] = field(default_factory=list)  # entries of functions whose exits cannot be told

    def places(self) -> list[tuple[int, int]]:
        """(offset, cookie), returns first: an entry without its return would be a call that never ends. Two functions
        may end in the same third one: its RET is probed once."""
        found = {at: number | COOKIE_RETURN | COOKIE_SHARED for at, number in self.shared}
        found |= {at: number | COOKIE_RETURN for at, number in self.exits}
        return list(found.items()) + self.entries


@dataclass
class Target:
    """One file that exports what is probed: what `doctor` and the summary show."""

    path: str
    device: int
    inode: int
    build_id: str = ""
    runtime: str = ""  # what it is, where that says more than its functions do: the version of Go
    functions: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    through: dict[str, str] = field(default_factory=dict)  # functions that end in another one, where they are seen
    error: str = ""
    late: int = 0  # processes that had it mapped before their probes were there
    missed: int = 0  # processes that had it mapped and were gone before they had probes
    plan: Plan = field(default_factory=Plan, repr=False)
    file: int = field(default=-1, repr=False)  # held open: what is attached later is the same inode
    mapped: dict[int, int] = field(default_factory=dict, repr=False)  # processes that have it mapped, and since when
    held: dict[int, list[int]] = field(default_factory=dict, repr=False)  # process (0: all) -> descriptors
    since: dict[int, int] = field(default_factory=dict, repr=False)  # process (0: all) -> when its probes stood

    uretprobes: bool = False  # asked for: `plan.unknown` is probed with them, where nothing speaks against it

    @property
    def usable(self) -> bool:
        return not self.error and any(name in MOVERS for name in (*self.functions, *self.returned))

    @property
    def returned(self) -> tuple[str, ...]:
        """Functions that only a uretprobe can see the end of."""
        numbers = {number for _, number in self.plan.unknown} if self.uretprobes else set()
        return tuple(name for name in self.refused if name in PROBES and PROBES[name].number in numbers)

    def probed_before(self, pid: int, mapped_at: int) -> bool:
        """The probes stood when this process mapped the file: nothing of it can have gone by."""
        return any(0 < self.since.get(key, 0) <= mapped_at for key in (pid, 0))

    def why(self) -> str:
        """Why it carries no probes."""
        return self.error or "; ".join(f"{name}: {why}" for name, why in self.refused.items())


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


def open_same(mapping: Mapping) -> int | None:
    """The file under the path that the kernel named, if it is the inode that was mapped: for a process that has gone
    and with it the way to what it saw."""
    major, minor = mapping.identity[:2]
    try:
        if not stat.S_ISREG(Path(mapping.path).stat().st_mode):
            return None
        fd = os.open(mapping.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    info = os.fstat(fd)
    if (os.major(info.st_dev), os.minor(info.st_dev), info.st_ino) == (major, minor, mapping.inode):
        return fd
    os.close(fd)
    return None


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


def examine(fd: int, path: str) -> Target | None:
    """What could be probed in an opened file (borrowed); None when it has nothing that we know."""
    info = os.fstat(fd)
    target = Target(path, info.st_dev, info.st_ino)
    try:
        with elf.Elf(fd) as file:
            found = _known_functions(file, target)
            if not found and not target.refused:
                if not target.runtime:
                    return None
                target.error = f"{target.runtime}: this TLS stack is not captured"
            target.build_id = file.build_id()
            for _, function in sorted(found.items()):
                _plan_function(file, function, target)
            for name, through in target.through.items():
                if through not in target.functions:
                    target.refused[name] = f"it leaves by a jump to {through}, which is not probed"
    except elf.ElfError as error:
        target.error = str(error)
    return target


def _known_functions(file: elf.Elf, target: Target) -> dict[str, elf.Function]:
    """Every stack that we know has one function by which it is told; nearly every file has none, and is done with at
    one look. A file may carry more than one stack."""
    signs = file.functions(_SIGNS)
    found: dict[str, elf.Function] = {}
    for stack in (OPENSSL, GNUTLS):
        if any(name in stack for name in signs):
            found |= file.functions(frozenset(stack))
    if not any(name in OPENSSL for name in found) and (hidden := boringssl.look(file)) is not None:
        target.runtime = "BoringSSL without symbols"
        found |= hidden.functions
        if hidden.refused:
            target.refused["BoringSSL"] = hidden.refused
    if golang.is_go(file):
        program = golang.read(file, frozenset(GO))
        target.runtime = program.version
        found |= program.functions
        if program.refused:
            target.refused["Go"] = program.refused
    if not found and not target.refused:
        target.runtime = foreign.look(file, frozenset(signs))
    return found


def _plan_function(file: elf.Elf, function: elf.Function, target: Target) -> None:
    probe = PROBES[function.name]
    if probe.exits:
        exits = functions.find_exits(file, function)
        if exits.through in PROBES:
            target.through[function.name] = exits.through  # what it does is seen there
            return
        if exits.refused:
            target.refused[function.name] = exits.refused
            if probe.number not in GO_NUMBERS:
                target.plan.unknown.append((function.offset, probe.number))
            return
        target.plan.exits += [(offset, probe.number) for offset in exits.offsets]
        target.plan.shared += [(offset, probe.number) for offset in exits.shared]
    if probe.entry:
        target.plan.entries.append((function.offset, probe.number))
    target.functions += (function.name,)


def _basic_program(cookie: int) -> str:
    """Without cookies each entry has its own program; a return finds its call by the stack pointer."""
    number = cookie & (COOKIE_RETURN - 1)
    if not cookie & COOKIE_RETURN:
        return f"enter_{number}"
    if number in GO_NUMBERS:
        return "leave_go_call"
    if cookie & COOKIE_SHARED:
        return "leave_shared"
    return "leave_6" if number == PROBES["SSL_new"].number else "leave_call"


class Attacher:
    """Plants probes. `programs` gives the descriptor of a loaded program by name."""

    def __init__(self, programs: dict[str, int], *, multi: bool, cookies: bool) -> None:
        self._programs = programs
        self._multi = multi
        self._cookies = cookies
        self._uprobe_type = 0 if multi else kernel.uprobe_type()
        # A pid spares the processes that are none of our business their traps.
        self.per_process = multi and kernel.filters_by_process()
        self._closers = ThreadPoolExecutor(_CLOSERS, "detach")

    def attach(self, target: Target, pid: int) -> bool:
        """For one process, or with pid 0 for all that map the file. On failure target.error says why; a process that
        has gone is no failure of the target."""
        path = f"/proc/self/fd/{target.file}"
        try:
            for offset, _ in target.plan.places():
                # Into the page cache: the kernel plants its breakpoints without having to read the file then.
                os.pread(target.file, 16, offset)
            held = self._plant(path, target.plan.places(), pid) if target.plan.places() else []
            held += self._plant_returns(target, path, pid)
            if not held:
                return False
            target.held[pid] = held
            target.since[pid] = time.monotonic_ns()
        except ProcessLookupError:
            return False
        except OSError as error:
            target.error = f"{error.filename or 'attach'}: {error.strerror}"
            return False
        return True

    def _plant(self, path: str, places: list[tuple[int, int]], pid: int) -> list[int]:
        if self._multi:
            offsets, cookies = [at for at, _ in places], [cookie for _, cookie in places]
            return [kernel.link_uprobe_multi(self._programs["probe_any"], path, offsets, cookies, pid)]
        held: list[int] = []
        try:
            for offset, cookie in places:
                program = self._programs["probe_any" if self._cookies else _basic_program(cookie)]
                held += kernel.attach_uprobe(self._uprobe_type, program, path, offset, cookie if self._cookies else 0)
        except OSError:
            _close_all(held)
            raise
        return held

    def _plant_returns(self, target: Target, path: str, pid: int) -> list[int]:
        """Of functions whose ends are not known: entry and uretprobe, if that is wanted and does no harm."""
        places = target.plan.unknown if target.uretprobes else []
        if not places:
            return []
        why = uretprobes.harm(pid) if self._multi else "this kernel has no uprobe_multi"
        if why:
            for name in target.returned:
                target.refused[name] = f"{target.refused[name].partition('; ')[0]}; no uretprobe: {why}"
            return []
        starts, numbers = [at for at, _ in places], [number for _, number in places]
        after = [number | COOKIE_RETURN | COOKIE_AFTER for number in numbers]
        program = self._programs["probe_any"]
        returns = kernel.link_uprobe_multi(program, path, starts, after, pid, returns=True)
        return [returns, kernel.link_uprobe_multi(program, path, starts, numbers, pid)]

    def trap_ns(self, costs: kernel.Map) -> int:
        """What a trap costs a process here, without the program that it runs."""
        own = os.getpid().to_bytes(4, "little")
        costs.remove(own)
        measured = guard.measure_trap(self._plant_one)
        traps, ns = program.COST.unpack(costs.get(own) or bytes(program.COST.size))
        if measured is None or traps < guard.TRIALS:
            return guard.FALLBACK_NS
        return max(measured - int(ns) // int(traps), 1)

    def _plant_one(self, fd: int, offset: int) -> Callable[[], None]:
        number = PROBES["SSL_write"].number
        held = self._plant(f"/proc/self/fd/{fd}", [(offset, number)], os.getpid() if self.per_process else 0)

        def detach() -> None:
            self._closers.submit(_close_all, held)

        return detach

    def detach(self, target: Target, pid: int) -> None:
        """Of a process that ended. The kernel waits for all CPUs when a link closes: not here."""
        held = target.held.pop(pid, [])
        target.since.pop(pid, None)
        if held:
            self._closers.submit(_close_all, held)

    def detach_all(self, targets: Iterable[Target]) -> None:
        """Everything, and only then returns; nothing is attached after it."""
        for target in targets:
            for held in target.held.values():
                # Each waits for the grace period of its own probe: together they wait once.
                for descriptor in held:
                    self._closers.submit(_close_all, [descriptor])
            target.held.clear()
            if target.file >= 0:
                os.close(target.file)
                target.file = -1
        self._closers.shutdown(wait=True)


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
