# SPDX-License-Identifier: Apache-2.0
"""The loader's half of the border: starts the worker, serves what it asks, starts another one when it dies.

It tells the worker of processes, with what /proc says of them; opens outputs and hands them over; adds up the account
of all workers that there were. It never waits for the worker but at the start and at the end, and believes nothing that
it says: a message that is none ends that worker.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from oisp_core.errors import OispError
from oisp_sensor import border
from oisp_sensor import page as slots
from oisp_sensor.capture import messages
from oisp_sensor.enrich.procfs import TICK_NS, RawProcess, parent_of, read_raw
from oisp_sensor.enrich.users import group_name, user_name
from oisp_sensor.export.files import Opened, OutputFile, SourceError
from oisp_sensor.page import Page
from oisp_sensor.start import start_confined

__all__ = ["Notes", "Output", "Supervisor", "WorkerError"]

BOOT = (
    "import sys; sys.path[:0] = [p for p in sys.argv[2:] if p not in sys.path]; "
    "from oisp_sensor.worker import main; main(int(sys.argv[1]))"
)
READY_SECONDS = 60.0
END_SECONDS = 30.0
HANG_NS = 30 * 10**9
MOST_DEATHS = 5
DEATHS_WITHIN = 60.0
_QUEUE = 16384  # messages that wait for the worker
_KEPT_BYTES = 8 << 20  # of /proc, for a worker that comes later
_ANCESTORS = 8
_NOTES = 256


class WorkerError(OispError):
    """What the worker said before it ended; `exit_code` is its own."""

    def __init__(self, text: str, exit_code: int = 2) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass
class Notes:
    """What capture told besides processes, for the summary."""

    attached: list[messages.Attached] = field(default_factory=list)
    refused: list[messages.Refused] = field(default_factory=list)
    missed: list[messages.Missed] = field(default_factory=list)
    detached: list[messages.Detached] = field(default_factory=list)


@dataclass
class Output:
    """One output: a file, with the descriptor that the worker has of it, or a stream."""

    name: str
    file: OutputFile | None = None
    first: Opened | None = None
    rotate_bytes: int = 0
    least: int = 0  # its size when the worker got it: never shortened below
    fd: int = field(default=-1, repr=False)

    def __post_init__(self) -> None:
        if self.first is not None:
            self.hold(self.first)

    def hold(self, fresh: Opened) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.least, self.regular = fresh

    def cut(self, committed: int) -> None:
        """Takes a line back that the worker died in."""
        if self.fd < 0 or not self.regular:
            return
        whole = max(committed, self.least)
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_size > whole:
                os.ftruncate(self.fd, whole)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.file is not None:
            self.file.close()


class Death(NamedTuple):
    """A worker that ended before it was told to."""

    at: float  # monotonic
    status: int  # as wait(2) gives it
    exchanges: int  # that it had begun and not finished
    connections: int


class _Waiting(NamedTuple):
    """A message for the worker; descriptors that are `owned` are closed once they are sent."""

    message: Any
    fds: tuple[int, ...] = ()
    owned: bool = False

    def discard(self) -> None:
        for fd in self.fds if self.owned else ():
            os.close(fd)


class Supervisor:
    """`wanted` answers whether a process that the worker asks for is of the scope; `account` gets what the worker
    tells when it was asked to. Used by one thread."""

    def __init__(
        self,
        *,
        wanted: Callable[[int], bool],
        outputs: Sequence[Output] = (),
        on_said: Callable[[str], None] = lambda text: None,
        on_account: Callable[[dict[str, Any]], None] = lambda stages: None,
        stdout: int | None = None,
    ) -> None:
        self._wanted = wanted
        self.outputs = list(outputs)
        self._on_said = on_said
        self._on_account = on_account
        self._stdout = stdout
        self._page = Page.create()
        self._setup: border.Setup | None = None
        self._descriptors: tuple[int, ...] = ()
        self._raw_fd, self._raw_base = -1, 0
        self._position: mmap.mmap | None = None
        self._skip = False
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._queue: deque[_Waiting] = deque()
        self._facts: OrderedDict[tuple[int, int], RawProcess] = OrderedDict()
        self._facts_bytes = 0
        self._told: OrderedDict[int, int] = OrderedDict()
        self._stats: tuple[str, ...] = ()
        self._past: list[dict[str, Any]] = []
        self._final: dict[str, Any] | None = None
        self._finishing = False
        self.deaths: list[Death] = []
        self.ready = False
        self.failure: BaseException | None = None
        self.messages_lost = 0
        self.notes = Notes()

    # ---- life ----

    def launch(self) -> None:
        """Starts a worker, which imports what it needs meanwhile."""
        self._page[slots.BEAT] = time.monotonic_ns()
        try:
            self._process, self._channel = start_confined(BOOT, self._stdout)
        except OSError as error:
            raise WorkerError(f"the worker cannot be started: {error.filename}: {error.strerror}", 1) from error
        self.ready = False

    def begin(self, setup: border.Setup, ring_fd: int, raw_fd: int, *more: int) -> None:
        """Gives the worker its work. `more`: the table of verdicts and the ring of activity, as far as the setup says
        that they are there. Descriptors are borrowed until close()."""
        self._setup = setup
        self._descriptors = (ring_fd, self._page.fd, *more, *((raw_fd,) if setup.raw else ()))
        if setup.raw:
            self._raw_fd, self._raw_base = raw_fd, os.fstat(raw_fd).st_size
        self._page[slots.POSITION] = slots.NOWHERE
        # Of the ring only the page with the reader's position: no traffic is in it.
        self._position = mmap.mmap(ring_fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
        self._send_setup(setup)

    def _send_setup(self, setup: border.Setup) -> None:
        files = tuple(output.fd for output in self.outputs if output.file is not None)
        waiting, self._queue = self._queue, deque()
        self._put(setup, (*self._descriptors, *files))
        self._queue += waiting

    @property
    def _has_been_ready(self) -> bool:
        """A worker was: that it may have died since, and another one is starting, is no failure to start."""
        return bool(self._stats)

    def wait_ready(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Until the worker has given up its power. Raises WorkerError where it cannot work."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._has_been_ready:
            self.serve()
            meanwhile()
            if isinstance(self.failure, OispError):
                raise self.failure
            if self.deaths and not self._has_been_ready:
                raise WorkerError(f"the worker cannot start ({_ending(self.deaths[0].status)})", 1)
            if time.monotonic() > deadline:
                raise WorkerError("the worker did not start in time", 1)
            self._wait(0.02)

    def finish(self) -> None:
        """Capture has ended: the worker reads what is left and tells its account."""
        self._finishing = True
        self._put(border.Finish())
        deadline = time.monotonic() + END_SECONDS
        while self._final is None and self._process is not None and time.monotonic() < deadline:
            self.serve()
            self._wait(0.05)
        if self._final is None and self._process is not None:
            self._process.kill()
            self._bury()
        elif self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def close(self) -> None:
        """No worker is left after it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for output in self.outputs:
            output.close()
        self._page.close()
        if self._position is not None:
            self._position.close()

    def fileno(self) -> int:
        """Readable when serve() has something to do; -1 while there is no worker."""
        return -1 if self._channel is None else self._channel.fileno()

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        if self._channel is not None:
            poll.register(self._channel, select.POLLIN | (select.POLLOUT if self._queue else 0))
        poll.poll(seconds * 1000)

    # ---- what the worker is told ----

    def tell(self, message: messages.Message) -> None:
        """What capture has to say: of processes to the worker, of files into the notes."""
        if isinstance(message, messages.Process):
            self._tell_process(message)
        elif isinstance(message, messages.Attached):
            self._note(self.notes.attached, message)
        elif isinstance(message, messages.Missed):
            self._note(self.notes.missed, message)
        elif isinstance(message, messages.Detached):
            self._note(self.notes.detached, message)
            self._on_said(str(message))
        else:
            self._note(self.notes.refused, message)

    @staticmethod
    def _note(notes: list[Any], message: Any) -> None:
        if len(notes) < _NOTES:
            notes.append(message)

    def _tell_process(self, process: messages.Process) -> None:
        raw = None
        if process.event in ("seen", "exec"):
            raw = read_raw(process.pid, process.start_time_ns)
            if raw is not None:
                self._keep(raw)
                self._tell_ancestors(raw)
        self._remember_told(process.pid, process.start_time_ns // TICK_NS)
        self._put(border.Seen(process, raw), losable=True)

    def _remember_told(self, pid: int, ticks: int) -> None:
        self._told[pid] = ticks
        self._told.move_to_end(pid)
        while len(self._told) > _QUEUE:
            self._told.popitem(last=False)

    def _tell_ancestors(self, raw: RawProcess) -> None:
        """Nearest first, up to one that was told already."""
        found = raw
        for _ in range(_ANCESTORS):
            parent = parent_of(found.stat)
            if not parent or parent in self._told:
                return
            above = read_raw(parent)
            if above is None or above.start_ns > found.start_ns:
                return
            self._remember_told(parent, above.start_ns // TICK_NS)
            self._keep(above)
            self._put(above, losable=True)
            found = above

    def _keep(self, raw: RawProcess) -> None:
        key = (raw.pid, raw.start_ns // TICK_NS)
        old = self._facts.pop(key, None)
        if old is not None:
            self._facts_bytes -= _weight(old)
        self._facts[key] = raw
        self._facts_bytes += _weight(raw)
        while self._facts_bytes > _KEPT_BYTES:
            self._facts_bytes -= _weight(self._facts.popitem(last=False)[1])

    def reopen(self) -> None:
        """SIGHUP: every file is opened again by its name."""
        for number, output in enumerate(self.outputs):
            if output.file is not None:
                self._hand_over(number, output, output.file.reopen)

    def ask_account(self) -> None:
        self._put(border.Ask())

    def _put(self, message: Any, fds: tuple[int, ...] = (), *, owned: bool = False, losable: bool = False) -> None:
        if losable and len(self._queue) >= _QUEUE:
            self.messages_lost += 1
            return
        self._queue.append(_Waiting(message, fds, owned))
        self._flush()

    def _flush(self) -> None:
        if self._setup is None:
            return  # the setup is the first thing that a worker hears
        while self._queue and self._channel is not None:
            try:
                if not border.send(self._channel, self._queue[0].message, self._queue[0].fds):
                    return
            except OSError:
                return  # it has gone: serve() will see
            self._queue.popleft().discard()

    # ---- what the worker wants ----

    def serve(self) -> None:
        """Takes what the worker said, and looks after it."""
        if self._channel is None:
            return
        self._flush()
        try:
            found, gone = border.receive_at_loader(self._channel)
        except border.BadPeer as error:
            found = error.before
            self._on_said(f"the worker said what is no message: {error}")
            gone = True
            if self._process is not None:
                self._process.kill()
        for message in found:
            self._take(message)
        if gone:
            self._bury()
        elif self._hangs():
            self._on_said("the worker hangs and is ended")
            assert self._process is not None
            self._process.kill()

    def _hangs(self) -> bool:
        if not self.ready or self._process is None or not self._page[slots.READING]:
            return False
        return time.monotonic_ns() - min(self._page[slots.BEAT], time.monotonic_ns()) > HANG_NS

    def _take(self, message: Any) -> None:
        if isinstance(message, border.Want):
            self._answer(message)
        elif isinstance(message, border.WantNames):
            users = {uid: user_name(uid) for uid in message.users[:64]}
            self._put(border.Names(users, {gid: group_name(gid) for gid in message.groups[:64]}))
        elif isinstance(message, border.Rotate):
            if 0 <= message.number < len(self.outputs):
                output = self.outputs[message.number]
                if output.file is not None and output.rotate_bytes:
                    self._hand_over(message.number, output, output.file.rotate)
        elif isinstance(message, border.Said):
            self._on_said(message.text[: border.TEXT_BYTES])
        elif isinstance(message, border.Ready):
            self.ready = True
            self._stats = message.stats
        elif isinstance(message, border.Failed):
            error = BrokenPipeError() if message.broken_pipe else WorkerError(message.text, message.exit_code)
            self.failure = self.failure or error
        elif message.final:
            self._final = _stages(message)
        else:
            self._on_account(self._sum([*self._past, _stages(message)]))

    def _answer(self, want: border.Want) -> None:
        """The facts of a process of the scope, fresh or as they were when it was first seen."""
        ticks = want.start_ns // TICK_NS
        raw = None
        if self._told.get(want.pid) == ticks or self._wanted(want.pid):
            raw = read_raw(want.pid, want.start_ns)
            if raw is not None:
                self._tell_ancestors(raw)
            else:
                raw = self._facts.get((want.pid, ticks))
        if raw is None:
            self._put(RawProcess(want.pid, want.start_ns, found=False))
            return
        if raw.start_ns != want.start_ns:  # /proc knows it to the tick only
            raw = RawProcess(want.pid, want.start_ns, True, *_parts(raw))
        self._put(raw)

    def _hand_over(self, number: int, output: Output, opened: Callable[[], Opened]) -> None:
        try:
            fresh = opened()
        except SourceError as error:
            self._put(border.OutputFailed(number, str(error)))
            return
        output.hold(fresh)
        self._put(border.Output(number), (os.dup(output.fd),), owned=True)

    # ---- when it dies ----

    def _bury(self) -> None:
        """Its account is in the page; another one goes on, unless it was told to end or this happens too often."""
        assert self._process is not None
        assert self._channel is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        status = self._process.returncode
        self._process = None
        self._channel.close()
        self._channel = None
        if self._final is not None or self.failure is not None:
            return
        self._account_for(status)
        if self._setup is None or not self._may_restart():
            return
        self._on_said(f"the worker died ({_ending(status)}); another one goes on behind the record that it read")
        self.launch()
        for waiting in self._queue:  # what was meant for the dead: outputs that are given anew, answers
            waiting.discard()
        news = (border.Seen, RawProcess)
        self._queue = deque(waiting for waiting in self._queue if isinstance(waiting.message, news))
        self._setup = msgspec.structs.replace(self._setup, resumed=True, skip=self._skip)
        self._send_setup(self._setup)
        if self._finishing:
            self._put(border.Finish())

    def _account_for(self, status: int) -> None:
        page, position = self._page, self._read_position()
        self._skip = page[slots.POSITION] == position
        taken = page.taken(position)
        death = Death(time.monotonic(), status, taken[slots.OPEN_EXCHANGES], taken[slots.OPEN_CONNECTIONS])
        self.deaths.append(death)
        self._past.append(page.stages(list(self._stats), [output.name for output in self.outputs], position))
        for number, output in enumerate(self.outputs):
            output.cut(page[page.export(number) + slots.COMMITTED])
            if output.fd >= 0:
                output.least = os.fstat(output.fd).st_size
        if self._raw_fd >= 0:
            self._raw_base += page[slots.RAW_BYTES]
            with contextlib.suppress(OSError):
                if os.fstat(self._raw_fd).st_size > self._raw_base:
                    os.ftruncate(self._raw_fd, self._raw_base)
        page.clear()
        page[slots.POSITION] = slots.NOWHERE

    def _read_position(self) -> int:
        """Where the reader of the ring stands."""
        return 0 if self._position is None else int.from_bytes(self._position[:8], sys.byteorder)

    def _may_restart(self) -> bool:
        if len(self.deaths) == 1 and not self._has_been_ready:
            return False  # it never worked: wait_ready() says so
        recent = [death for death in self.deaths if death.at > time.monotonic() - DEATHS_WITHIN]
        if len(recent) < MOST_DEATHS:
            return True
        text = f"the worker died {len(recent)} times within {DEATHS_WITHIN:.0f} seconds ({_ending(recent[-1].status)})"
        self.failure = WorkerError(f"{text}: capture ends", 1)
        return False

    # ---- the account ----

    def account(self) -> dict[str, Any]:
        """Every stage's numbers, of all workers together. After finish()."""
        return self._sum(self._past if self._final is None else [*self._past, self._final])

    def live(self) -> dict[str, Any]:
        """The same while it runs, as far as the page knows."""
        names = [output.name for output in self.outputs]
        return self._sum([*self._past, self._page.stages(list(self._stats), names)])

    def usage(self) -> tuple[int, int]:
        """Processor nanoseconds and most resident bytes of the worker that runs."""
        return self._page[slots.CPU], self._page[slots.MEMORY]

    def _sum(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        empty = {"ring": {}, "engine": {}, "enrich": {}, "activity": {}, "export": [], "lines": 0}
        total: dict[str, Any] = empty if not parts else _added(parts)
        total["workers"] = {
            "deaths": len(self.deaths),
            "exchanges_unfinished": sum(death.exchanges for death in self.deaths),
            "connections_cut": sum(death.connections for death in self.deaths),
        }
        return total


def _added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    last = parts[-1]
    exports = [dict(one) for one in last["export"]]
    for part in parts[:-1]:
        for total, one in zip(exports, part["export"], strict=False):
            for key, value in one.items():
                if isinstance(value, int):
                    total[key] += value
    stages = {
        stage: _sums([part.get(stage, {}) for part in parts]) for stage in ("ring", "engine", "enrich", "activity")
    }
    return {
        **stages,
        "export": exports,
        "lines": sum(part["lines"] for part in parts),
    }


def _sums(parts: list[dict[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in parts:
        for key, value in part.items():
            found[key] = found.get(key, 0) + value
    return found


def _stages(message: border.Account) -> dict[str, Any]:
    export = [{name: getattr(one, name) for name in one.__struct_fields__} for one in message.export]
    return {
        "ring": message.ring,
        "engine": message.engine,
        "enrich": message.enrich,
        "activity": message.activity,
        "export": export,
        "lines": message.lines,
    }


def _weight(raw: RawProcess) -> int:
    return 256 + sum(map(len, _parts(raw)))


def _parts(raw: RawProcess) -> tuple[bytes, ...]:
    return raw.stat, raw.status, raw.cmdline, raw.cgroup, raw.sessionid, raw.exe, raw.cwd


def _ending(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit code {status}"
