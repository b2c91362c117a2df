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
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Env
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import messages, program
from oisp_sensor.capture.activity import RING_BYTES as ACTIVITY_RING_BYTES
from oisp_sensor.capture.activity import ActivityPrograms, check_kinds
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.guard import Excess, Guard
from oisp_sensor.capture.loader import CONTROL_BYTES, Programs
from oisp_sensor.capture.resolve import likely_libraries, mapped_at_start
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.scope import Scope, start_time_ns
from oisp_sensor.capture.spawn import Identity, Spawned
from oisp_sensor.capture.targets import Attacher, Mapping, Target, examine, executable_mappings, open_mapping, open_same
from oisp_sensor.capture.watch import MappingWatch

RING_BYTES = 16 << 20
MAX_OVERHEAD = 0.05
_PROCESS = struct.Struct("<IHHQQQIIIIII")
_FORK, _EXEC, _EXIT = 1, 2, 3
_EVENTS = {_FORK: "fork", _EXEC: "exec", _EXIT: "exit"}
_MAX_LINKS = 256  # of single processes; beyond, a file is probed once for all that map it
_MAX_FILES = 65536  # inodes that are remembered
_KIND_PROCESS = 6
_TABLED = ("command", "pid", "exe")  # scopes whose members stand in the kernel's table
_BY_THREAD = 1  # status of an exec by a thread that was not the leader


@dataclass
class Loss:
    """What did not reach the ring, by cause; bytes of writes and of reads."""

    records: int = 0
    written: int = 0
    read: int = 0


@dataclass
class Spared:
    """What was not copied because of verdicts of one level; bytes of writes and of reads."""

    calls: int = 0
    written: int = 0
    read: int = 0


@dataclass
class Report:
    """What is attached, how, and what went wrong on the way."""

    scope: str
    variant: str
    uprobe_multi: bool
    addresses: bool
    targets: list[Target] = field(default_factory=list)
    late: int = 0  # processes that had a file mapped before its probes were there
    missed: int = 0  # processes that had a file mapped and were gone before it had probes
    unexamined: int = 0  # files mapped by processes that were gone before anybody could look
    mappings_lost: int = 0
    messages_lost: int = 0
    control_lost: int = 0
    detached: int = 0  # processes and files whose probes cost too much


class Capture:
    """Context manager; close() removes every probe.

    `libraries`: probe these files and no others. Files that the command is likely to map are probed before it runs;
    with `eager` off only when a process of the scope maps them. With `per_process` off, files are probed for all that
    map them also in the scopes of a command and of processes: others then pay for traps, and no child is too fast.
    `activity`: kinds of what processes do (`process`, `network`, `dns`, `file`), into a ring of their own.
    `max_overhead`: the share of a core that probes may cost one process before they are taken away (0: any).
    `uretprobes`: also functions whose ends cannot be told, where uretprobes do no harm (see uretprobes.py).
    With `plaintext`, HTTP on TCP sockets without TLS is captured too (models that run on this machine).
    With `stdio`, JSON-RPC on the standard streams of servers that the scope starts is (MCP); every system call of the
    machine then costs a little.
    `variant` (modern, basic) and `multi` (off: one perf event per probe) take the choice from the kernel's abilities.
    `tell` takes what would else go into `channel`; `examiner` reads a file in place of this process.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        ring_bytes: int = RING_BYTES,
        libraries: Sequence[str | os.PathLike[str]] | None = None,
        eager: bool = True,
        per_process: bool = True,
        plaintext: bool = False,
        uretprobes: bool = False,
        stdio: bool = False,
        variant: str = "",
        multi: bool = True,
        max_overhead: float = MAX_OVERHEAD,
        activity: Sequence[str] = (),
        activity_ring_bytes: int = ACTIVITY_RING_BYTES,
        tell: Callable[[messages.Message], None] | None = None,
        examiner: Callable[[int, str], Target | None] = examine,
    ) -> None:
        if ring_bytes < 1 << 16 or ring_bytes & (ring_bytes - 1) or ring_bytes > 1 << 30:
            raise CaptureError(f"the ring has a power of two of bytes from 64 KiB to 1 GiB, not {ring_bytes}")
        self.scope = scope
        self.ring_bytes = ring_bytes
        self._only = None if libraries is None else _identities(libraries)
        self._libraries = [] if libraries is None or not eager else [os.fspath(p) for p in libraries]
        self._eager = eager
        self._teller = tell
        self._examine = examiner
        self._variant = variant
        self._multi = multi
        self._uretprobes = uretprobes
        self._max_overhead = max_overhead
        self._guard: Guard | None = None
        self._spared_pids: set[int] = set()  # processes that the guard has detached
        self._detached = 0
        self._activity_kinds = check_kinds(activity)
        self._activity_ring_bytes = activity_ring_bytes
        self.activity: ActivityPrograms | None = None
        self.activity_refused: dict[str, str] = {}
        self._programs: Programs | None = None
        self._watch = MappingWatch()
        self._per_process = per_process
        self._plaintext = plaintext
        self._stdio = stdio
        self._targets: dict[tuple[int, int], Target | None] = {}
        self._known: dict[tuple[int, ...], Target | None] = {}  # by the identity that mapping events give
        self._forked: dict[int, list[Target]] = {}  # children that have had no exec, and what they inherited unprobed
        self._child: Spawned | None = None
        self._addresses = False
        self._late = self._missed = self._unexamined = 0
        self._messages_lost = 0
        self._last_losses: dict[str, Loss] = {}
        self._last_spared: dict[str, Spared] = {}
        self.channel, self._channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- life ----

    def start(self) -> None:
        """Loads the programs and attaches what is already there. Nothing is probed before this."""
        self._programs = Programs(
            self.scope,
            self.ring_bytes,
            self._variant,
            multi=self._multi,
            plaintext=self._plaintext,
            guard=self._max_overhead > 0,
            stdio=self._stdio,
        )
        self._control = RingBuffer(self._programs.control_fd, CONTROL_BYTES)
        self._attacher = Attacher(self._programs.uprobes, multi=self._programs.multi, cookies=self._programs.cookies)
        self._per_process &= self._attacher.per_process and self.scope.kind in ("command", "pid")
        if self._max_overhead > 0:
            costs, attacher = self._programs.costs, self._attacher
            self._guard = Guard(costs, self._max_overhead, lambda: attacher.trap_ns(costs))
        self._epoll = select.epoll()
        self._epoll.register(self._programs.control_fd, select.EPOLLIN)
        if self._uretprobes and not (self._programs.multi and self._attacher.per_process):
            raise CaptureError("uretprobes are planted process by process, which takes Linux 6.10 and later")
        if self._activity_kinds:
            self._start_activity(self._programs)
        self._programs.follow_processes()
        self._addresses = self._programs.follow_sockets()
        if self._plaintext and not (self._addresses and self._programs.variant == "modern"):
            raise CaptureError("plaintext HTTP is captured on Linux 6.3 and later: this kernel lacks what it takes")
        if self._stdio and not self._programs.follow_stdio():
            raise CaptureError("standard streams are captured on Linux 5.17 and later: this kernel lacks what it takes")
        for path in self._libraries:
            self._attach_library(path)
        if self.scope.kind == "exe" and self._eager:
            for path in mapped_at_start(self.scope.exe, {}):
                self._prepare(path, 0)
        self._watch.add_scope(self.scope)
        self._follow_watch()
        for pid in self._present():
            self._enter_scope(pid)
            self._scan(pid)

    def _start_activity(self, programs: Programs) -> None:
        """What cannot be had of it is said in `activity_refused`; TLS is captured all the same."""
        refused: dict[str, str] = {}
        # Files have the largest program: what a kernel says to it is no word about the other kinds.
        others = tuple(kind for kind in self._activity_kinds if kind != "file")
        for kinds in filter(None, dict.fromkeys((self._activity_kinds, others))):
            try:
                self.activity = ActivityPrograms(
                    self.scope, programs.scope_fd, kinds, programs.variant, self._activity_ring_bytes
                )
                break
            except CaptureError as error:
                refused |= dict.fromkeys(("file",) if "file" in kinds else kinds, str(error))
        if self.activity is None:
            self.activity_refused = refused
            return
        self.activity.refused |= refused
        self.activity.attach()
        self.activity_refused = self.activity.refused

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
        env = dict(os.environ if env is None else env)
        child = Spawned(argv, env, cwd, user)
        try:
            self._enter_scope(child.pid)
            self._watch.add_task(child.pid)
            self._follow_watch()
            known = [*self._libraries, *mapped_at_start(child.file, env, cwd), *likely_libraries(child.file, env)]
            for path in known if self._eager else ():
                self._prepare(path, child.pid)
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
        for excess in () if self._guard is None else self._guard.look():
            handled += 1
            self._relieve(excess)
        return handled

    def fileno(self) -> int:
        """For a caller's own event loop: readable when poll() has something to do."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Detaches. Records that wait in the ring stay readable for whoever has it mapped."""
        if self._programs is not None:
            self._attacher.detach_all(t for t in self._targets.values() if t is not None)
            self._last_losses = self.losses()
            self._last_spared = self.spared()
            self._epoll.close()
            self._control.close()
            if self.activity is not None:
                self.activity.close()
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

    @property
    def verdicts_fd(self) -> int:
        """Of the table that the worker maps (VerdictTable)."""
        if self._programs is None:
            raise CaptureError("capture has not been started")
        return self._programs.verdicts_fd

    def spared(self) -> dict[str, Spared]:
        """By level of the verdict, since the start. After close(), as it was then."""
        if self._programs is None:
            return self._last_spared
        found = {}
        for name, level in program.VERDICT_LEVELS.items():
            value = self._programs.spared.get(level.to_bytes(4, "little"))
            found[name] = Spared(*program.SPARED.unpack(value)) if value else Spared()
        return found

    def losses(self) -> dict[str, Loss]:
        """By cause, since the start: exact, counted where the loss happened. After close(), as it was then."""
        if self._programs is None:
            return self._last_losses
        found = {}
        for cause, name in program.LOSS_CAUSES.items():
            value = self._programs.losses.get(cause.to_bytes(4, "little"))
            found[name] = Loss(*program.LOSS.unpack(value)) if value else Loss()
        return found

    def members(self) -> list[int]:
        """Processes of the scope that run now, in the scopes of a command, of processes and of an executable: what a
        command left behind when it ended. Empty in other scopes, whose members nobody counts."""
        if self._programs is None or self.scope.kind not in _TABLED:
            return []
        return sorted(int.from_bytes(key, "little") for key in self._programs.scope.all_keys())

    def activity_losses(self) -> dict[str, int]:
        """Records of activity that found no room, by kind."""
        return self.activity.losses() if self.activity is not None else {}

    def report(self) -> Report:
        programs = self._programs
        control = programs.losses.get(bytes(4)) if programs else None
        return Report(
            scope=self.scope.label,
            variant=programs.variant if programs else "",
            uprobe_multi=bool(programs and programs.multi),
            addresses=self._addresses,
            targets=[t for t in self._targets.values() if t is not None],
            late=self._late + sum(map(len, self._forked.values())),
            missed=self._missed,
            unexamined=self._unexamined,
            mappings_lost=self._watch.lost,
            messages_lost=self._messages_lost,
            detached=self._detached,
            control_lost=program.LOSS.unpack(control)[0] if control else 0,
        )

    # ---- processes ----

    def _tell(self, message: messages.Message) -> None:
        if self._teller is not None:
            self._teller(message)
        elif not messages.send(self._channel, message):
            self._messages_lost += 1

    def _enter_scope(self, pid: int) -> None:
        """Puts a process that is there into the kernel's table (tree scopes) and tells of it."""
        assert self._programs is not None
        try:
            start = start_time_ns(pid)
        except OSError:
            return
        if self.scope.kind in _TABLED:
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
        if self.scope.kind == "exe":
            return [pid for pid in pids if pid != os.getpid() and _runs(pid, self.scope.exe)]
        return [pid for pid in pids if pid != os.getpid() and self._wanted(pid)]

    def _wanted(self, pid: int) -> bool:
        """For what a machine-wide watch reports: is this process of the scope?"""
        assert self._programs is not None
        if self.scope.kind in _TABLED:
            return self._programs.scope.get(pid.to_bytes(4, "little")) is not None
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
            if event == _FORK:
                self._forget(pid, ts, gone=True)  # of an earlier owner of this number, when its exit was lost
                self._inherit(ppid, pid, ts)
            else:
                # After an exec by a thread the links lead to the leader that it replaced.
                self._forget(pid, ts, gone=event == _EXIT or status == _BY_THREAD)
                self._sweep(pid)
            if event == _EXEC and status == _BY_THREAD:
                self._inherit(pid, pid, ts)
        return len(records)

    def _sweep(self, pid: int) -> None:
        """The basic programs cannot walk their table of handles when a process ends: it is done here."""
        assert self._programs is not None
        if self._programs.variant != "basic":
            return
        for table in (self._programs.conns, self._programs.goroutines):
            for key in table.all_keys():
                if program.HANDLE.unpack(key)[1] == pid:
                    table.remove(key)

    # ---- files ----

    def _follow_watch(self) -> None:
        for descriptor in self._watch.descriptors:
            with contextlib.suppress(FileExistsError):
                self._epoll.register(descriptor, select.EPOLLIN)

    def _scan(self, pid: int) -> None:
        for mapping in executable_mappings(pid):
            self._see(mapping)

    def _see(self, mapping: Mapping) -> None:
        """A process has mapped a file."""
        known = self._known.get(mapping.identity, self) if mapping.identity else self
        if known is None or (self._watch.machine_wide and not self._wanted(mapping.pid)):
            return
        target = known if isinstance(known, Target) else self._look(mapping)
        if target is not None:
            target.mapped[mapping.pid] = mapping.at
            self._attach(target, mapping.pid, mapping.at)

    def _look(self, mapping: Mapping) -> Target | None:
        """The target that a mapped file is. When the process has gone, the file may still be where it was."""
        fd = open_mapping(mapping)
        if fd is None and mapping.identity:
            fd = open_same(mapping)
            self._unexamined += fd is None
        if fd is None:
            return None
        target = self._classify(fd, mapping.path)
        if mapping.identity:
            if len(self._known) >= _MAX_FILES:
                self._known.clear()  # they are looked up again
            self._known[mapping.identity] = target
        return target

    def _classify(self, fd: int, path: str) -> Target | None:
        """The target that an opened file is, once per inode; takes the descriptor over."""
        info = os.fstat(fd)
        key = (info.st_dev, info.st_ino)
        if len(self._targets) >= _MAX_FILES:
            self._targets = {k: t for k, t in self._targets.items() if t is not None}
        if key not in self._targets and (self._only is None or key in self._only):
            target = self._targets[key] = self._examine(fd, path)
            if target is not None:
                target.file = fd
                target.uretprobes = self._uretprobes
                if not target.usable:
                    self._tell(messages.Refused(path, target.why(), 0))
                return target
        os.close(fd)
        return self._targets.get(key)

    def _attach(self, target: Target, pid: int, mapped_at: int | None, *, forked: bool = False) -> None:
        """mapped_at: when the process mapped the file, None when it has not yet."""
        if not target.usable or pid in self._spared_pids:
            return
        shared = not self._per_process or self._links() >= _MAX_LINKS
        key = 0 if shared else pid
        fresh = key not in target.held and 0 not in target.held and self._attacher.attach(target, key)
        late = mapped_at is not None and not target.probed_before(pid, mapped_at)
        missed = late and key not in target.held and 0 not in target.held
        if target.error:
            self._tell(messages.Refused(target.path, target.why(), pid))
        elif missed:
            target.missed += 1
            self._missed += 1
            self._tell(messages.Missed(target.path, pid))
        elif late and forked:
            self._forked.setdefault(pid, []).append(target)
        elif late:
            self._count_late(target)
        if fresh or (late and not missed):
            self._tell(messages.Attached(target.path, target.build_id, target.functions, late, pid))

    def _count_late(self, target: Target) -> None:
        target.late += 1
        self._late += 1

    # ---- the guard ----

    def _relieve(self, excess: Excess) -> None:
        """Takes the probes from a process that they cost too much: its own, and those of its files that it shares with
        all that map them. It is not probed again."""
        assert self._programs is not None
        mapped = {mapping.inode for mapping in executable_mappings(excess.pid)}
        for target in self._targets.values():
            if target is None:
                continue
            own, shared = excess.pid in target.held, 0 in target.held and target.inode in mapped
            if own:
                self._attacher.detach(target, excess.pid)
            if shared:
                self._attacher.detach(target, 0)
                target.error = f"its probes cost a process {excess.share:.1%} of a core"
            if own or shared:
                self._detached += 1
                self._tell(messages.Detached(target.path, excess.pid, excess.share, excess.traps, shared))
        self._spared_pids.add(excess.pid)

    def _links(self) -> int:
        return sum(len(target.held) for target in self._targets.values() if target is not None)

    def _inherit(self, parent: int, child: int, at: int) -> None:
        """A child of a fork has its parent's mappings, but not its parent's probes. What others of the scope use, it
        may map as soon as it execs: a link for a process that never does costs next to nothing."""
        for target in self._targets.values():
            if target is not None and target.held:
                inherited = child != parent and target.mapped.get(parent, at + 1) <= at
                if inherited:
                    target.mapped[child] = at
                self._attach(target, child, at if inherited else None, forked=True)

    def _forget(self, pid: int, at: int, *, gone: bool) -> None:
        """Its address space has ended: by exec, or with the process. What it mapped after that is another one's."""
        if gone:
            self._spared_pids.discard(pid)
        inherited = self._forked.pop(pid, ())  # an exec leaves it before anything can use it
        for used in inherited if gone else ():
            self._count_late(used)
        for target in self._targets.values():
            if target is not None:
                if target.mapped.get(pid, at) < at:
                    del target.mapped[pid]
                if gone and pid in target.held:
                    self._attacher.detach(target, pid)

    def _prepare(self, path: str, pid: int) -> None:
        """A file that the command may map: probed before it does. What cannot be opened shows up when it is mapped."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        target = self._classify(fd, path)
        if target is not None:
            self._attach(target, pid, None)

    def _attach_library(self, path: str) -> None:
        """One of `libraries`: what cannot be probed is the caller's mistake."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CaptureError(f"{path}: cannot be opened: {error.strerror}") from error
        target = self._classify(fd, path)
        if target is None:
            raise CaptureError(f"{path}: cannot be probed: it exports no TLS function that is known")
        if not target.usable:
            raise CaptureError(f"{path}: cannot be probed: {target.why()}")
        if not self._per_process:
            self._attach(target, 0, None)


def _runs(pid: int, file: str) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").samefile(file)
    except OSError:
        return False


def _identities(paths: Sequence[str | os.PathLike[str]]) -> set[tuple[int, int]]:
    found = set()
    for path in paths:
        try:
            info = Path(path).stat()
        except OSError as error:
            raise CaptureError(f"{os.fspath(path)}: {error.strerror}") from error
        found.add((info.st_dev, info.st_ino))
    return found
