# SPDX-License-Identifier: Apache-2.0
"""The stages in order: ring -> engine -> exporters, with the context of each connection put in on the way.

It meets capture only at descriptors (the ring, the recording) and one channel of small messages, so that a process
border can lie there. Everything is bounded: the ring by its size, the engine by its limits, its output by being drained
after every batch; what does not get through is counted where it is dropped, and `account` tells it.

One thread calls turn() and finish(); any thread may set the two requests.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from oisp_core.engine import Engine
from oisp_sensor.activity.stage import ActivityStage
from oisp_sensor.capture import messages
from oisp_sensor.capture.feed import FULL, OPENED, RAW_FAILED, Feed
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.enrich.enricher import Enricher
from oisp_sensor.export.exporter import Exporter

__all__ = ["Notes", "Pipeline", "Sink"]

BATCH = 4096  # records between two looks at the channel and the output
WAIT_MS = 50
_NOTES = 256


class Sink(Protocol):
    """Who takes lines besides the exporters: a view."""

    def write(self, lines: bytes) -> None: ...


@dataclass
class Notes:
    """What capture told besides processes, for the summary."""

    attached: list[messages.Attached] = field(default_factory=list)
    refused: list[messages.Refused] = field(default_factory=list)


class Pipeline:
    """`ring_fd` and `channel` are borrowed and may be closed by their owner once the pipeline has been finished."""

    def __init__(
        self,
        *,
        ring_fd: int,
        ring_bytes: int,
        channel: socket.socket,
        engine: Engine,
        enricher: Enricher,
        exporters: Sequence[Exporter],
        view: Sink | None = None,
        raw_fd: int = -1,
        activity: ActivityStage | None = None,
        on_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ring = RingBuffer(ring_fd, ring_bytes)
        self._feed = Feed(self._ring, engine, raw_fd)
        self._raw = raw_fd >= 0
        self._channel = channel
        self._engine = engine
        self._enricher = enricher
        self._exporters = exporters
        self._view = view
        self._activity = activity
        self._on_error = on_error
        self._said: set[str] = set()
        self.notes = Notes()
        self.lines = 0
        self.reopen = threading.Event()  # SIGHUP: outputs are to be opened again
        self._ask = threading.Event()
        self._answer: dict[str, Any] = {}
        self._answered = threading.Event()

    # ---- the loop ----

    def turn(self, wait_ms: int = WAIT_MS) -> None:
        """Waits for records, at most so long, and takes what is there through all stages."""
        if self.reopen.is_set():
            self.reopen.clear()
            for exporter in self._exporters:
                exporter.reopen()
            self._look_at_errors()
        self._listen()
        if self._ring.wait(wait_ms):
            self._take()
        self._engine.advance(time.time_ns())
        self._deliver()
        if self._activity is not None:
            self._hand_out(self._activity.take())
        if self._ask.is_set():
            self._ask.clear()
            self._answer = self.account()
            self._answered.set()

    def finish(self) -> None:
        """Capture has stopped: takes what waits in the ring, gives out what is in flight, ends all outputs."""
        self._listen()
        while self._ring.pending:
            before = self._feed.records
            self._take()
            if self._feed.records == before:
                break  # what is left was never finished by its writer
        self._engine.close()
        self._deliver()
        if self._activity is not None:
            self._hand_out(self._activity.finish())
        for exporter in self._exporters:
            exporter.close()
        self._look_at_errors()
        self._ring.close()

    def _take(self) -> None:
        """Until the ring is empty. What arrives meanwhile is taken as well, a bounded number of batches long."""
        for _ in range(64):
            before = self._feed.records
            stop = self._feed.consume(BATCH)
            if stop & OPENED:
                self._listen()  # who this is was told before
                self._introduce()
            if stop & RAW_FAILED:
                self._raw_failed()
            if stop & FULL or self._feed.records - before >= BATCH:
                self._deliver()
            if not stop and not self._ring.pending:
                return
            if self._feed.records == before and not stop:
                return  # the next record is still being written

    def _introduce(self) -> None:
        """Before the first byte of a connection is read, the engine learns whose it is."""
        opened = self._feed.opened
        members = self._enricher.members(opened.pid, opened.start_time_ns, opened.uid, opened.gid)
        self._engine.set_context(opened.conn, members.allowed)
        if self._raw:
            self._feed.keep_context(opened.conn, members.whole)

    def _listen(self) -> None:
        for message in messages.receive(self._channel):
            if isinstance(message, messages.Process):
                self._enricher.see(message.event, message.pid, message.start_time_ns, message.ppid, message.uid)
            elif isinstance(message, messages.Attached):
                self._note(self.notes.attached, message)
            else:
                self._note(self.notes.refused, message)

    @staticmethod
    def _note(notes: list[Any], message: Any) -> None:
        if len(notes) < _NOTES:
            notes.append(message)

    def _deliver(self) -> None:
        self._hand_out(self._engine.drain())

    def _hand_out(self, lines: bytes) -> None:
        if not lines:
            return
        self.lines += lines.count(b"\n")
        for exporter in self._exporters:
            exporter.write(lines)
        if self._view is not None:
            self._view.write(lines)
        self._look_at_errors()

    # ---- what went wrong, said once each ----

    def _look_at_errors(self) -> None:
        for exporter in self._exporters:
            self._say_once(exporter.written.last_error)

    def _raw_failed(self) -> None:
        self._say_once(f"the recording ends here: {os.strerror(self._feed.raw_error)}")

    def _say_once(self, text: str) -> None:
        if text and text not in self._said and len(self._said) < 64:
            self._said.add(text)
            self._on_error(text)

    # ---- the account ----

    def account(self) -> dict[str, Any]:
        """Every stage's numbers. Only by the thread that calls turn(), or after finish()."""
        return {
            "ring": {
                "records": self._feed.records,
                "bytes": self._feed.bytes,
                "raw_bytes": self._feed.raw_bytes,
                "raw_error": self._feed.raw_error,
            },
            "engine": dict(self._engine.stats()),
            "enrich": {"processes_read": self._enricher.read, "processes_missed": self._enricher.missed},
            "activity": self._activity.account() if self._activity is not None else {},
            "export": [_exported(exporter) for exporter in self._exporters],
            "lines": self.lines,
        }

    def account_from_outside(self, timeout: float = 2.0) -> dict[str, Any]:
        """The same, by another thread while turn() is running; empty when there is no answer in time."""
        self._answered.clear()
        self._ask.set()
        return self._answer if self._answered.wait(timeout) else {}


def _exported(exporter: Exporter) -> dict[str, Any]:
    written = exporter.written
    return {
        "name": exporter.name,
        "lines_taken": written.lines_taken,
        "lines_written": written.lines_written,
        "lines_dropped": written.lines_dropped,
        "bytes_written": written.bytes_written,
        "errors": written.errors,
        "last_error": written.last_error,
    }
