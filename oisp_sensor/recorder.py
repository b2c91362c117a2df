# SPDX-License-Identifier: Apache-2.0
"""One run of `record`: the loader's process. It captures, serves the worker, passes signals on, waits for the command.

It reads no traffic: events are made in the worker (worker.py), which this process starts before it probes anything and
which has given up its power before the command runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from oisp_core.errors import ConfigError, printable
from oisp_sensor import border, version
from oisp_sensor.capture import Capture, CaptureError, Scope, kernel, recording
from oisp_sensor.capture.capture import RING_BYTES, Report
from oisp_sensor.capture.probe import probe
from oisp_sensor.capture.spawn import Identity, Spawned, calling_user, identity
from oisp_sensor.cli.account import Account
from oisp_sensor.cli.command import error_line, read_hash_key
from oisp_sensor.cli.output import open_for_worker
from oisp_sensor.cli.record import uid_of
from oisp_sensor.confine import (
    KEPT,
    KEPT_FOR_CALLER,
    KEPT_WITHOUT_MULTI,
    effective_capabilities,
    keep,
    least_user,
)
from oisp_sensor.enrich.host import boot_ns, host_facts
from oisp_sensor.examiner import Examiner
from oisp_sensor.export.files import owner_of_files
from oisp_sensor.metrics import MetricsFile, render
from oisp_sensor.notify import notify
from oisp_sensor.supervisor import Output, Supervisor

__all__ = ["Recorder"]

METRICS_SECONDS = 10.0
LINGER = 0.25  # seconds in which what a command's last children did still arrives
MEMORY = 640 << 20  # of the worker: the engine's own bounds (256 MiB held, 16 MiB of output) and an interpreter
_PASSED_ON = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR2")


class _Signals:
    """What was asked for by signals since the last look. Handlers only set flags."""

    def __init__(self) -> None:
        self.ended = 0  # the signal that ends the capture
        self.to_pass_on: list[int] = []
        self.reopen = False
        self.account = False

    @contextmanager
    def taken(self, *, with_command: bool) -> Iterator[None]:
        handlers: dict[int, Any] = {signal.SIGHUP: self._hup, signal.SIGUSR1: self._usr1}
        for name in _PASSED_ON if with_command else ("SIGTERM", "SIGINT"):
            handlers[getattr(signal, name)] = self._pass_on if with_command else self._end
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hup(self, number: int, frame: FrameType | None) -> None:
        self.reopen = True

    def _usr1(self, number: int, frame: FrameType | None) -> None:
        self.account = True

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.to_pass_on.append(number)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ended = number


def _activity_kinds(args: argparse.Namespace) -> tuple[str, ...]:
    """The kernel's kinds: names of servers belong to the network."""
    kinds = {*args.activity, *(("file",) if args.files else ())}
    return tuple(kinds | {"dns"} if "network" in kinds else kinds)


def _user(args: argparse.Namespace) -> Identity | None:
    """Whom the command runs as; None: as this process does."""
    if args.as_user is None:
        return calling_user()
    uid = uid_of(args.as_user, "--as")
    if os.geteuid() != 0 and uid != os.geteuid():
        raise ConfigError(key="--as", message="only root can run a command as another user", hint="use sudo")
    return identity(uid)


class Recorder:
    def __init__(self, args: argparse.Namespace, scope: Scope) -> None:
        self._args = args
        self._scope = scope
        self._signals = _Signals()
        self._started = time.monotonic()
        self._clock_base_ns = kernel.clock_base_ns()  # one for the engine and the recording, so that a replay agrees
        self._examiner = Examiner()
        self._capture: Capture
        self._supervisor: Supervisor
        self._outputs: list[Output] = []
        self._report: Report | None = None
        self._user = _user(args)
        self._metrics = None if args.metrics is None else MetricsFile(args.metrics)
        self._metrics_at = 0.0
        self._left: list[str] = []

    def run(self) -> int:
        """The exit code: the command's, or 0."""
        args = self._args
        ring_bytes = RING_BYTES if args.ring_size is None else args.ring_size
        hash_key = read_hash_key(args.hash_key)
        with (
            Capture(
                self._scope,
                ring_bytes=ring_bytes,
                libraries=args.library,
                plaintext=args.plaintext,
                uretprobes=args.uretprobes,
                max_overhead=args.max_overhead / 100,
                stdio=args.stdio,
                activity=_activity_kinds(args),
                tell=self._tell,
                examiner=self._examiner.examine,
            ) as capture,
            closing(self._examiner),
            self._signals.taken(with_command=bool(args.rest)),
        ):
            self._capture = capture
            self._supervisor = Supervisor(
                wanted=self._wanted, on_said=error_line, on_account=self._print_account, stdout=self._stdout()
            )
            try:
                return self._run(hash_key)
            finally:
                self._supervisor.close()

    def _stdout(self) -> int | None:
        """The worker has our standard output only where it writes there."""
        to_stream = self._args.out == "-" or not (self._args.rest or self._args.out)
        return 1 if to_stream or (not self._args.rest and sys.stdout.isatty()) else None

    def _run(self, hash_key: bytes | None) -> int:
        # With a command it imports while the programs are loaded; what runs already is captured first: the ring waits.
        self._examiner.start()
        early = bool(self._args.rest) and effective_capabilities() != 0
        if early:
            self._supervisor.launch()
        self._start_capture()
        if not early:
            self._supervisor.launch()
        for kind, reason in self._capture.activity_refused.items():
            error_line(f"no events of {kind}: {reason}")
        outputs, view = open_for_worker(self._args)
        self._supervisor.outputs[:] = self._outputs = outputs
        with ExitStack() as stack:
            ring_fd, *more = self._descriptors(stack)
            raw_fd = stack.enter_context(self._recording())
            self._supervisor.begin(self._setup(hash_key, view, raw_fd >= 0), ring_fd, raw_fd, *more)
            self._supervisor.wait_ready(lambda: self._capture.poll(0))
            return self._watch()

    def _descriptors(self, stack: ExitStack) -> list[int]:
        """Ring, verdicts, activity: copies of the worker's own, so that it goes on while capture detaches."""
        capture = self._capture
        found = [capture.ring_fd]
        found += [capture.verdicts_fd] if self._dismisses else []
        found += [] if capture.activity is None else [capture.activity.ring_fd]
        copies = [os.dup(fd) for fd in found]
        for fd in copies:
            stack.callback(os.close, fd)
        return copies

    @property
    def _dismisses(self) -> bool:
        """A recording holds everything, whatever it is."""
        return not self._args.no_dismiss and self._args.raw is None

    def _setup(self, hash_key: bytes | None, view: bool, raw: bool) -> border.Setup:
        args = self._args
        specs = [border.OutputSpec(o.name, o.rotate_bytes, o.file is None) for o in self._outputs]
        return border.Setup(
            ring_bytes=self._capture.ring_bytes,
            clock_base_ns=self._clock_base_ns,
            boot_ns=boot_ns(),
            content=args.content,
            chunks=args.chunks,
            cmdline=not args.no_cmdline,
            providers=None if args.providers is None else str(Path(args.providers).absolute()),
            id_seed=args.id_seed,
            hash_key=hash_key,
            host=host_facts(),
            outputs=tuple(specs),
            raw=raw,
            verdicts=self._dismisses,
            activity_bytes=0 if self._capture.activity is None else self._capture.activity.ring_bytes,
            exclude_files=tuple(args.exclude_file),
            view=self._scope.label if view else None,
            moving=True,
            memory_bytes=MEMORY,
            user=None if (user := least_user()) is None else (user.uid, user.gid),
        )

    def _start_capture(self) -> None:
        """Where it fails for want of rights or of something in the kernel, `doctor` knows better what is missing."""
        try:
            self._capture.start()
        except (CaptureError, OSError) as error:
            lacking = next((check for check in probe() if check.required and not check.ok), None)
            if lacking is not None:
                remedy = f"; {lacking.remedy}" if lacking.remedy else ""
                raise CaptureError(f"nothing can be captured here: {lacking.name}: {lacking.found}{remedy}") from error
            if isinstance(error, CaptureError):
                raise
            raise CaptureError(f"capture cannot start: {error.filename or 'kernel'}: {error.strerror}") from error

    @contextmanager
    def _recording(self) -> Iterator[int]:
        path = self._args.raw
        if path is None:
            yield -1
            return
        info = {"tool": f"oisp-sensor {version()}", "scope": self._scope.label, "host": host_facts()}
        try:
            fd = recording.create(path, info, self._clock_base_ns)
        except OSError as error:
            hint = "a recording is never written over" if isinstance(error, FileExistsError) else None
            raise ConfigError(path, key="--raw", message=f"cannot be made: {error.strerror}", hint=hint) from error
        owner = owner_of_files()
        if owner is not None:
            os.fchown(fd, *owner)
        error_line(f"{path} will hold the captured plaintext, keys and prompts included, whatever --content says")
        try:
            yield fd
        finally:
            os.close(fd)

    # ---- while it runs ----

    def _tell(self, message: Any) -> None:
        self._supervisor.tell(message)

    def _wanted(self, pid: int) -> bool:
        """A process that nobody told of may be asked for only where the scope is not a list of processes."""
        return self._scope.kind not in ("command", "pid")

    def _watch(self) -> int:
        child = self._spawn()
        keep(number for number, _ in self._capabilities().values())
        notify("READY=1")
        code = 0
        try:
            code = self._follow(child)
        finally:
            if child is None or child.poll() is not None:
                self._linger()
            notify("STOPPING=1")
            self._detach()
            self._supervisor.finish()
        report = self._report
        failure = self._supervisor.failure
        if failure is not None and not isinstance(failure, BrokenPipeError) and child is None:
            self._conclude(report)
            raise failure
        self._conclude(report)
        if failure is not None:
            if child is None:
                raise failure
            error_line(str(failure))
        return code

    def _capabilities(self) -> dict[str, tuple[int, str]]:
        """What is needed from here on: the command has been started, with all that it had."""
        found = dict(KEPT)
        if not self._capture.report().uprobe_multi or kernel.kernel_version() < (5, 9):
            found |= KEPT_WITHOUT_MULTI
        return found | KEPT_FOR_CALLER if owner_of_files() is not None else found

    def _detach(self) -> None:
        """Every probe goes. What the ring holds stays readable."""
        if self._report is None:
            self._report = self._capture.report()
            self._left = self._left_running()
            self._capture.close()

    def _left_running(self) -> list[str]:
        """Processes of a command's tree that outlive it: nobody captures them from now on."""
        if not self._args.rest:
            return []
        found = []
        for pid in self._capture.members():
            try:
                name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
            except OSError:
                continue
            found.append(f"{pid} ({printable(name)})")
        return found

    def _spawn(self) -> Spawned | None:
        if not self._args.rest:
            return None
        return self._capture.spawn(self._args.rest, user=self._user)

    def _follow(self, child: Spawned | None) -> int:
        """Until the command has ended, the processes have gone, or somebody wants it to end."""
        signals, supervisor = self._signals, self._supervisor
        while supervisor.failure is None or child is not None:
            self._wait(0.05)
            if self._report is None:
                self._capture.poll(0)
            supervisor.serve()
            self._tell_metrics()
            if supervisor.failure is not None:
                self._detach()  # nobody reads any more: the command goes on by itself
            while signals.to_pass_on and child is not None:
                child.forward(signals.to_pass_on.pop(0))
            if signals.reopen:
                signals.reopen = False
                supervisor.reopen()
            if signals.account:
                signals.account = False
                supervisor.ask_account()
            if child is not None and (code := child.poll()) is not None:
                return code
            if child is None and (signals.ended or self._all_gone()):
                break
        return 0

    def _wait(self, seconds: float) -> None:
        """For something of capture or of the worker."""
        poll = select.poll()
        if self._report is None:
            poll.register(self._capture.fileno(), select.POLLIN)
        if self._supervisor.fileno() >= 0:
            poll.register(self._supervisor.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)

    def _all_gone(self) -> bool:
        return self._scope.kind == "pid" and not any(Path(f"/proc/{pid}").exists() for pid in self._scope.pids)

    def _linger(self) -> None:
        """Processes that end together with the command: their records and messages are still on their way."""
        if self._report is not None:
            return
        self._capture.poll(0)
        deadline = time.monotonic() + LINGER
        while time.monotonic() < deadline and self._capture.poll(0.02):
            self._supervisor.serve()

    def _account(self, stages: dict[str, Any], report: Any = None) -> Account:
        elapsed = time.monotonic() - self._started
        supervisor = self._supervisor
        found = replace(report or self._report or self._capture.report())
        found.messages_lost += supervisor.messages_lost
        losses = self._capture.losses()
        activity, spared = self._capture.activity_losses(), self._capture.spared()
        return Account(stages, losses, found, supervisor.notes, elapsed, activity, spared)

    def _print_account(self, stages: dict[str, Any]) -> None:
        """SIGUSR1: one line of JSON on the error stream."""
        print(msgspec.json.encode(self._account(stages).as_dict()).decode(), file=sys.stderr, flush=True)

    def _tell_metrics(self, stages: dict[str, Any] | None = None) -> None:
        """Every ten seconds, and at the end with `stages`."""
        now = time.monotonic()
        if self._metrics is None or (stages is None and now < self._metrics_at):
            return
        self._metrics_at = now + METRICS_SECONDS
        own = resource.getrusage(resource.RUSAGE_SELF)
        usage = {"loader": (time.process_time_ns(), own.ru_maxrss * 1024), "worker": self._supervisor.usage()}
        text = render(self._account(self._supervisor.live() if stages is None else stages), usage)
        try:
            self._metrics.write(text)
        except OSError as error:
            error_line(f"{self._metrics.path}: metrics cannot be written: {error.strerror}")
            self._metrics = None

    # ---- at the end ----

    def _conclude(self, report: Any) -> None:
        from oisp_sensor.view.printer import console_on

        account = self._account(self._supervisor.account(), report)
        self._tell_metrics(account.stages)
        if self._args.report is not None:
            account.write(self._args.report)
        console = console_on(sys.stderr)
        files = [output.name for output in self._outputs if output.file is not None]
        for line in account.lines(files, self._args.raw):
            console.print(line, soft_wrap=True)
        if self._left:
            shown = ", ".join(self._left[:8]) + (f" and {len(self._left) - 8} more" if len(self._left) > 8 else "")
            console.print(f"  ! still running: {shown}; what they do from now on is not captured", soft_wrap=True)
