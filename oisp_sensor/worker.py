# SPDX-License-Identifier: Apache-2.0
"""The process that reads hostile bytes: engine, masking, outputs, view. It has no power.

The loader starts it as a fresh interpreter (`-I`), hands it its descriptors, and answers what it asks (border.py). It
maps the ring and the page, imports and tries everything that it will need, then gives up its user, its capabilities and
nearly all system calls (confine.py), and only then reads the first record. It holds no probe, no link and no map: when
it dies, capture goes on and another one takes over. When the loader dies, it reads what the ring still holds, writes it
and ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

import msgspec

from oisp_core.engine import Engine
from oisp_core.errors import OispError
from oisp_sensor import border, seccomp
from oisp_sensor import page as slots
from oisp_sensor.activity import ActivityEvents, FileRules, names
from oisp_sensor.activity.ids import Ulids
from oisp_sensor.activity.stage import ActivityStage
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.verdicts import VerdictTable
from oisp_sensor.confine import confine
from oisp_sensor.enrich.enricher import ArgumentPolicy, Enricher
from oisp_sensor.enrich.mask import Hasher
from oisp_sensor.enrich.procfs import ProcessFacts, RawProcess, parse
from oisp_sensor.export.exporter import Exporter
from oisp_sensor.export.files import Opened, SourceError, opened
from oisp_sensor.export.jsonl import FileExporter, StreamExporter
from oisp_sensor.page import Page
from oisp_sensor.pipeline import Pipeline

__all__ = ["Worker", "main"]

_ANSWER_SECONDS = 2.0  # for the loader to answer; it has other work
_NAMES = 4096


class Loader:
    """The channel, as this side sees it. What comes while an answer is waited for is kept."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._kept: list[tuple[Any, list[int]]] = []
        self.gone = False

    def next(self, wait_seconds: float = 0.0) -> tuple[Any, list[int]] | None:
        if self._kept:
            return self._kept.pop(0)
        return self._receive(wait_seconds)

    def _receive(self, wait_seconds: float) -> tuple[Any, list[int]] | None:
        if self.gone:
            return None
        try:
            return border.receive_at_worker(self._channel, wait_seconds)
        except EOFError:
            self.gone = True
            return None

    def say(self, message: Any) -> bool:
        if self.gone:
            return False
        try:
            return border.send_waiting(self._channel, message)
        except OSError:
            self.gone = True
            return False

    def ask(self, question: Any, wanted: Any) -> tuple[Any, list[int]] | None:
        """Sends it and waits for the message that `wanted` knows as its answer. None: none came in time."""
        if not self.say(question):
            return None
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not self.gone:
            got = self._receive(left)
            if got is not None and wanted(got[0]):
                return got
            if got is not None:
                self._kept.append(got)
        return None


class RemoteFile:
    """An output that the loader opens."""

    def __init__(self, loader: Loader, number: int) -> None:
        self._loader = loader
        self._number = number

    def rotate(self) -> Opened:
        got = self._loader.ask(border.Rotate(self._number), self._is_answer)
        if got is None:
            raise SourceError("cannot be rotated: no answer")
        message, fds = got
        if isinstance(message, border.OutputFailed) or len(fds) != 1:
            raise SourceError(getattr(message, "reason", "cannot be rotated"))
        return opened(fds[0])

    def _is_answer(self, message: Any) -> bool:
        return isinstance(message, (border.Output, border.OutputFailed)) and message.number == self._number

    def reopen(self) -> Opened:
        raise SourceError("is opened by the loader")

    def close(self) -> None:
        """Nothing is held."""


class Remembered:
    """Names of users and groups, asked for once each."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def user(self, uid: int) -> str:
        return self._find(self._users, uid) or ""

    def group(self, gid: int) -> str:
        return self._find(self._groups, gid) or str(gid)

    def _find(self, known: dict[int, str], number: int) -> str:
        if number not in known:
            users, groups = ((number,), ()) if known is self._users else ((), (number,))
            got = self._loader.ask(border.WantNames(users, groups), lambda m: isinstance(m, border.Names))
            if got is None or len(known) >= _NAMES:
                return ""
            self._users.update(got[0].users)
            self._groups.update(got[0].groups)
        return known.get(number, "")


class Worker:
    def __init__(self, channel: socket.socket) -> None:
        self._loader = Loader(channel)
        self._finishing = False
        self._hup: list[tuple[int, int]] = []
        self.view: Any = None

    def run(self) -> int:
        got = self._loader.next(60.0)
        if got is None or not isinstance(got[0], border.Setup):
            return 1
        try:
            self._prepare(*got)
        except OispError as error:
            self._loader.say(border.Failed(str(error)[: border.TEXT_BYTES], error.exit_code))
            return error.exit_code
        self._loader.say(border.Ready(tuple(self._engine.stats())))
        return self._work()

    # ---- before ----

    def _prepare(self, setup: border.Setup, fds: list[int]) -> None:
        """Everything that needs power or files, then none of it any more."""
        ring_fd, page_fd, *rest = fds
        verdicts = VerdictTable(rest.pop(0)) if setup.verdicts else None
        if verdicts is not None and setup.resumed:
            verdicts.reset()  # those of a worker that died: this one knows none of its connections
        activity_fd = rest.pop(0) if setup.activity_bytes else -1
        raw_fd = rest.pop(0) if setup.raw else -1
        self._page = Page(page_fd)
        self._ring = RingBuffer(ring_fd, setup.ring_bytes)
        self._engine = self._make_engine(setup)
        self._exporters = [self._exporter(number, spec, rest) for number, spec in enumerate(setup.outputs)]
        known = Remembered(self._loader)
        policy = ArgumentPolicy(setup.content, setup.cmdline, Hasher(setup.hash_key))
        self._enricher = Enricher(
            policy, host=setup.host, boot_ns=setup.boot_ns, reader=self._facts, names=(known.user, known.group)
        )
        activity = self._activity(setup, activity_fd)
        if setup.view is not None:
            from oisp_sensor.view.live import LiveView

            self.view = LiveView(setup.view, moving=setup.moving)
        self._try_everything(setup)
        confine(setup.user, memory_bytes=setup.memory_bytes, rules=seccomp.WORKER)
        self._skip(setup)
        self._pipeline = Pipeline(
            ring=self._ring,
            page=self._page,
            engine=self._engine,
            enricher=self._enricher,
            exporters=self._exporters,
            view=self.view,
            raw_fd=raw_fd,
            activity=activity,
            verdicts=verdicts,
            resumed=setup.resumed,
            listen=self._listen,
            on_error=self._complain,
        )

    def _complain(self, text: str) -> None:
        self._loader.say(border.Said(text[: border.TEXT_BYTES]))

    @staticmethod
    def _make_engine(setup: border.Setup) -> Engine:
        from oisp_sensor.provider_cache import provider_tables

        return Engine(
            content=setup.content,
            chunks=setup.chunks,
            providers=provider_tables(setup.providers),
            id_seed=setup.id_seed,
            hash_key=setup.hash_key,
            clock_base_ns=setup.clock_base_ns,
        )

    def _activity(self, setup: border.Setup, ring_fd: int) -> ActivityStage | None:
        if not setup.activity_bytes:
            return None
        names.load()
        events = ActivityEvents(
            self._enricher,
            clock_base_ns=setup.clock_base_ns,
            new_id=Ulids(setup.id_seed),
            rules=FileRules(setup.exclude_files),
        )
        return ActivityStage(ring_fd, setup.activity_bytes, events)

    def _exporter(self, number: int, spec: border.OutputSpec, fds: list[int]) -> Exporter:
        if spec.stream:
            return StreamExporter(1, spec.name)
        source = RemoteFile(self._loader, number)
        made = FileExporter.over(spec.name, opened(fds.pop(0)), source, spec.rotate or None)
        made.on_change = lambda: self._pipeline.publish_export(number, made)
        return made

    def _try_everything(self, setup: border.Setup) -> None:
        """What Python imports or opens at first use, it must have done before no file can be opened."""
        time.localtime()
        engine = Engine(content=setup.content)
        engine.exchange(*_example())
        lines = engine.drain()
        msgspec.json.decode(lines.splitlines()[0])
        warm = Enricher(ArgumentPolicy(setup.content, setup.cmdline), host=setup.host, boot_ns=setup.boot_ns)
        warm.see("seen", os.getpid(), 0)
        warm.members(os.getpid(), 0)
        if self.view is not None:
            _try_view(lines)
        with contextlib.suppress(ValueError):
            raise ValueError("\N{HORIZONTAL ELLIPSIS}")

    def _skip(self, setup: border.Setup) -> None:
        """The record that the last worker died of is not read again."""
        if setup.skip:
            size, payload = self._ring.skip()
            self._page[slots.SKIPPED] = bool(size)
            self._page[slots.SKIPPED_BYTES] = size
            self._page[slots.SKIPPED_PAYLOAD] = payload

    # ---- while ----

    def _work(self) -> int:
        if self.view is not None:
            self.view.start()
        try:
            while not self._finishing and not self._loader.gone:
                self._pipeline.turn()
            self._pipeline.finish()
        except BrokenPipeError as error:
            self._stop_view()
            self._tell(final=True)
            self._loader.say(border.Failed(str(error), broken_pipe=True))
            return 1
        self._stop_view()
        if self.view is not None:
            self.view.sums()
            with contextlib.suppress(OSError):
                sys.stdout.flush()
        self._tell(final=True)
        return 0

    def _stop_view(self) -> None:
        if self.view is not None:
            with contextlib.suppress(OSError):
                self.view.stop()

    def _tell(self, *, final: bool) -> None:
        told = self._pipeline.account()
        told["export"] = tuple(border.Exported(**one) for one in told["export"])
        self._loader.say(border.Account(**told, final=final))

    def _listen(self) -> None:
        while (got := self._loader.next()) is not None:
            self._take(*got)

    def _take(self, message: Any, fds: list[int]) -> None:
        if isinstance(message, border.Seen):
            p = message.process
            told = p.event in ("seen", "exec")
            self._enricher.see(p.event, p.pid, p.start_time_ns, p.ppid, p.uid, told=told, raw=message.raw)
        elif isinstance(message, RawProcess):
            self._enricher.ancestor(message)
        elif isinstance(message, border.Output) and len(fds) == 1:
            self._switch(message.number, fds[0])
        elif isinstance(message, border.OutputFailed):
            exporter = self._exporters[message.number]
            if isinstance(exporter, FileExporter):
                exporter.failed(message.reason)
        elif isinstance(message, border.Ask):
            self._tell(final=False)
        elif isinstance(message, border.Finish):
            self._finishing = True

    def _switch(self, number: int, fd: int) -> None:
        exporter = self._exporters[number]
        if isinstance(exporter, FileExporter):
            exporter.switch(opened(fd))

    def _facts(self, pid: int, start_ns: int | None) -> ProcessFacts | None:
        """Of a process of the scope that nobody told of. Ancestors are told, never asked for."""
        if start_ns is None:
            return None
        got = self._loader.ask(
            border.Want(pid, start_ns), lambda m: isinstance(m, RawProcess) and m.pid == pid and m.start_ns == start_ns
        )
        return parse(got[0]) if got is not None and got[0].found else None


def _example() -> tuple[Any, Any]:
    from oisp_core.engine import Request, Response

    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}'
    answer = b'{"id":"x","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
    kind = [("content-type", "application/json")]
    url = "https://api.openai.com/v1/chat/completions"
    return Request(method="POST", url=url, headers=kind, body=body), Response(status=200, headers=kind, body=answer)


def _try_view(lines: bytes) -> None:
    """Draws once, into nothing."""
    from io import StringIO

    from rich.console import Console
    from rich.live import Live

    from oisp_sensor.view.printer import Printer
    from oisp_sensor.view.summary import Summary

    console = Console(file=StringIO(), force_terminal=True, width=80, highlight=False, markup=False, emoji=False)
    summary = Summary()
    printer = Printer(console)
    with Live("x", console=console, auto_refresh=False, transient=True) as live:
        for line in lines.splitlines():
            event = msgspec.json.decode(line)
            printer.event(event)
            summary.add(event)
        live.refresh()
    printer.summary(summary)
    console.print("\N{SNOWMAN} \N{CJK UNIFIED IDEOGRAPH-4E00}")


def main(channel: int) -> NoReturn:
    """With the descriptor of the channel. Signals are the loader's business."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with socket.socket(fileno=channel) as end:
        code = Worker(end).run()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
