# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor record`: captures a scope until it ends or is told to, and writes events.

The main thread is the loader's side: it follows processes and mappings, passes signals on, waits for the command. The
pipeline runs in a thread of its own and shares nothing with it but the ring, the channel and two requests.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from oisp_core.errors import ConfigError
from oisp_sensor import version
from oisp_sensor.cli.command import add_engine_options, error_line, size, usage_error
from oisp_sensor.cli.output import Outputs, add_output_options, argument_policy, make_engine, open_outputs
from oisp_sensor.export.jsonl import owner_of_files

if TYPE_CHECKING:
    from oisp_sensor.activity.stage import ActivityStage
    from oisp_sensor.capture import Capture, Scope
    from oisp_sensor.capture.spawn import Spawned
    from oisp_sensor.enrich.enricher import Enricher
    from oisp_sensor.pipeline import Pipeline

__all__ = ["command"]

EVENTS = "oisp-events.jsonl"
LINGER = 0.25  # seconds in which what a command's last children did still arrives
_PASSED_ON = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR2")


class Record:
    name = "record"
    help = "capture and write events"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.usage = "%(prog)s [options] -- COMMAND [ARGUMENT ...]\n       %(prog)s [options] (--pid N | --all | ...)"
        parser.description = (
            "Capture what a command and its descendants say to AI models, from before its first instruction, and exit "
            "as it does; or what running processes say, until Ctrl-C. Nothing outside the scope is captured. Needs "
            "Linux and root; under sudo the command runs as the calling user, who also owns the files."
        )
        scope = parser.add_argument_group("the scope, one of").add_mutually_exclusive_group()
        scope.add_argument("--pid", metavar="N", type=_number, action="append", help="this process and its children")
        scope.add_argument("--cgroup", metavar="PATH", help="all processes of a control group (version 2)")
        scope.add_argument("--container", metavar="ID", help="all processes of a container, by the beginning of its id")
        scope.add_argument("--exe", metavar="FILE", help="all processes that run this file, now or later")
        scope.add_argument("--user", metavar="NAME|UID", help="all processes of a user")
        scope.add_argument("--all", action="store_true", help="every process of this machine")
        parser.add_argument(
            "--library", metavar="FILE", action="append", help="probe this file only (may be given several times)"
        )
        parser.add_argument(
            "--ring-size", metavar="SIZE", type=size, help="of the buffer between kernel and sensor (16M)"
        )
        activity = parser.add_argument_group("what the processes do")
        activity.add_argument(
            "--activity",
            metavar="KINDS",
            type=_kinds,
            default=("process", "network"),
            help="events of these kinds, with commas between: process, network, file; or none (process,network)",
        )
        activity.add_argument(
            "--files",
            action="store_true",
            help="the same as adding file to --activity: its system-call tracepoint slows every process a little",
        )
        activity.add_argument(
            "--exclude-file", metavar="GLOB", action="append", default=[], help="no events of such files (* crosses /)"
        )
        add_output_options(parser, f"default: {EVENTS} with a COMMAND; else a view on a terminal, NDJSON into a pipe")
        parser.add_argument("--raw", metavar="FILE", help="also keep the captured plaintext, all of it, for `replay`")
        parser.add_argument("--report", metavar="FILE", help="write the account of the run as JSON")
        add_engine_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        scope = _scope(args)
        return _Run(args, scope).run()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a process id, got {text!r}")
    return int(text)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = () if text == "none" else tuple(word.strip() for word in text.split(","))
    for kind in kinds:
        if kind not in ("process", "network", "file"):
            raise argparse.ArgumentTypeError(f"expected process, network, file or none, got {kind!r}")
    return kinds


def _programs_for(args: argparse.Namespace) -> tuple[str, ...]:
    """The kernel's kinds: names of servers belong to the network."""
    kinds = {*args.activity, *(("file",) if args.files else ())}
    return tuple(kinds | {"dns"} if "network" in kinds else kinds)


def _scope(args: argparse.Namespace) -> Scope:
    """What was asked for; the mistakes in it before anything is loaded."""
    if sys.platform != "linux":
        raise usage_error(f"record needs Linux, and this is {sys.platform}", "replay, show and validate work here")
    from oisp_sensor.capture import Scope

    named = [flag for flag in ("pid", "cgroup", "container", "exe", "user", "all") if getattr(args, flag)]
    if args.rest and named:
        raise usage_error(f"a COMMAND is a scope of its own: leave out --{named[0]}")
    if args.rest:
        return Scope.command()
    if args.pid:
        return Scope.pid(*args.pid)
    if args.cgroup:
        return Scope.of_cgroup(args.cgroup)
    if args.container:
        return Scope.container(args.container)
    if args.exe:
        return Scope.executable(args.exe)
    if args.user:
        return Scope.user(_uid(args.user))
    if args.all:
        return Scope.everything()
    raise usage_error(
        "nothing to capture",
        "give `-- COMMAND ...`, --pid N, --cgroup PATH, --container ID, --exe FILE, --user NAME or --all",
    )


def _uid(text: str) -> int:
    import pwd

    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError as error:
        raise ConfigError(key="--user", expected="a user of this machine", got=text) from error


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


class _Run:
    def __init__(self, args: argparse.Namespace, scope: Scope) -> None:
        from oisp_sensor.capture import kernel

        self._args = args
        self._scope = scope
        self._signals = _Signals()
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._clock_base_ns = kernel.clock_base_ns()  # one for the engine and the recording, so that a replay agrees

    def run(self) -> int:
        from oisp_sensor.capture import Capture
        from oisp_sensor.capture.capture import RING_BYTES

        args = self._args
        ring_bytes = RING_BYTES if args.ring_size is None else args.ring_size
        with (
            Capture(
                self._scope, ring_bytes=ring_bytes, libraries=args.library, activity=_programs_for(args)
            ) as capture,
            self._signals.taken(with_command=bool(args.rest)),
        ):
            self._start_capture(capture)
            for kind, reason in capture.activity_refused.items():
                error_line(f"no events of {kind}: {reason}")
            outputs = open_outputs(args, self._scope.label, default=EVENTS if args.rest else None)
            try:
                with self._recording() as raw_fd:
                    return self._capture(capture, outputs, raw_fd)
            finally:
                outputs.close()

    def _start_capture(self, capture: Capture) -> None:
        """Where it fails for want of rights or of something in the kernel, `doctor` knows better what is missing."""
        from oisp_sensor.capture import CaptureError

        try:
            capture.start()
        except (CaptureError, OSError) as error:
            from oisp_sensor.capture.probe import probe

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
        from oisp_sensor.capture import recording
        from oisp_sensor.enrich.host import host_facts

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

    def _capture(self, capture: Capture, outputs: Outputs, raw_fd: int) -> int:
        # Of its own, so that the pipeline goes on while capture detaches.
        ring_fd = os.dup(capture.ring_fd)
        channel = capture.channel.dup()
        try:
            pipeline = self._pipeline(capture, outputs, raw_fd, ring_fd, channel)
            return self._watch(capture, pipeline, outputs)
        finally:
            os.close(ring_fd)
            channel.close()

    def _watch(self, capture: Capture, pipeline: Pipeline, outputs: Outputs) -> int:
        child = self._spawn(capture)
        if outputs.view is not None:
            outputs.view.start()
        worker = threading.Thread(target=self._work, args=(pipeline,), name="pipeline")
        worker.start()
        try:
            code = self._follow(capture, pipeline, child)
        finally:
            if child is None or child.poll() is not None:
                self._linger(capture)
            report = capture.report()
            capture.close()
            self._stop.set()
            worker.join()
            if outputs.view is not None:
                outputs.view.stop()
        if self._failure is not None and not isinstance(self._failure, BrokenPipeError):
            raise self._failure
        from oisp_sensor.cli.account import Account

        account = Account(
            pipeline.account(),
            capture.losses(),
            report,
            pipeline.notes,
            time.monotonic() - self._started,
            capture.activity_losses(),
        )
        self._conclude(account, outputs)
        if self._failure is not None and child is None:
            raise self._failure
        return code

    def _pipeline(
        self, capture: Capture, outputs: Outputs, raw_fd: int, ring_fd: int, channel: socket.socket
    ) -> Pipeline:
        from oisp_sensor.enrich.enricher import Enricher
        from oisp_sensor.pipeline import Pipeline

        enricher = Enricher(argument_policy(self._args))
        return Pipeline(
            ring_fd=ring_fd,
            ring_bytes=capture.ring_bytes,
            channel=channel,
            engine=make_engine(self._args, self._clock_base_ns),
            enricher=enricher,
            activity=self._activity(capture, enricher),
            exporters=outputs.exporters,
            view=outputs.view,
            raw_fd=raw_fd,
            on_error=error_line,
        )

    def _activity(self, capture: Capture, enricher: Enricher) -> ActivityStage | None:
        if capture.activity is None:
            return None
        from oisp_sensor.activity import ActivityEvents, FileRules
        from oisp_sensor.activity.ids import Ulids
        from oisp_sensor.activity.stage import ActivityStage

        events = ActivityEvents(
            enricher,
            clock_base_ns=self._clock_base_ns,
            new_id=Ulids(self._args.id_seed),
            rules=FileRules(self._args.exclude_file),
        )
        return ActivityStage(capture.activity.ring_fd, capture.activity.ring_bytes, events)

    def _spawn(self, capture: Capture) -> Spawned | None:
        if not self._args.rest:
            return None
        from oisp_sensor.capture.spawn import calling_user

        return capture.spawn(self._args.rest, user=calling_user())

    def _work(self, pipeline: Pipeline) -> None:
        """The pipeline's thread. What it fails of ends the capture."""
        try:
            while not self._stop.is_set():
                pipeline.turn()
            pipeline.finish()
        except BaseException as error:
            self._failure = error

    def _follow(self, capture: Capture, pipeline: Pipeline, child: Spawned | None) -> int:
        """Until the command has ended, the processes have gone, or somebody wants it to end."""
        signals = self._signals
        while self._failure is None or child is not None:
            capture.poll(0.05)
            while signals.to_pass_on and child is not None:
                child.forward(signals.to_pass_on.pop(0))
            if signals.reopen:
                signals.reopen = False
                pipeline.reopen.set()
            if signals.account:
                signals.account = False
                self._print_account(capture, pipeline)
            if child is not None and (code := child.poll()) is not None:
                return code
            if child is None and (signals.ended or self._all_gone()):
                break
        return 0

    def _all_gone(self) -> bool:
        return self._scope.kind == "pid" and not any(Path(f"/proc/{pid}").exists() for pid in self._scope.pids)

    def _linger(self, capture: Capture) -> None:
        """Processes that end together with the command: their records and messages are still on their way."""
        capture.poll(0)
        deadline = time.monotonic() + LINGER
        while time.monotonic() < deadline and capture.poll(0.02):
            pass

    def _print_account(self, capture: Capture, pipeline: Pipeline) -> None:
        """SIGUSR1: one line of JSON on the error stream."""
        import msgspec

        from oisp_sensor.cli.account import Account

        elapsed = time.monotonic() - self._started
        account = Account(
            pipeline.account_from_outside(),
            capture.losses(),
            capture.report(),
            pipeline.notes,
            elapsed,
            capture.activity_losses(),
        )
        print(msgspec.json.encode(account.as_dict()).decode(), file=sys.stderr, flush=True)

    # ---- at the end ----

    def _conclude(self, account: Any, outputs: Outputs) -> None:
        if self._args.report is not None:
            account.write(self._args.report)
        if outputs.view is not None:
            outputs.view.sums()
        from oisp_sensor.view.printer import console_on

        console = console_on(sys.stderr)
        files = [exporter.name for exporter in outputs.exporters if exporter.name != "-"]
        for line in account.lines(files, self._args.raw):
            console.print(line, soft_wrap=True)


command = Record()
