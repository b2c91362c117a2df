# SPDX-License-Identifier: Apache-2.0
"""The stages in order: ring -> engine -> exporters, with the context of each connection put in on the way.

It runs in the worker (worker.py) and needs no power: the ring is mapped, outputs are open, what is known of processes
is told. Everything is bounded: the ring by its size, the engine by its limits, its output by being drained after every
batch; what does not get through is counted where it is dropped. The counters lie in the page that the loader sees, so
that they outlive the worker. Used by one thread.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from oisp_core.engine import Engine
from oisp_sensor import page as slots
from oisp_sensor.activity.stage import ActivityStage
from oisp_sensor.capture.feed import FULL, OPENED, RAW_FAILED, Feed
from oisp_sensor.capture.ringbuf import RingBuffer
from oisp_sensor.capture.verdicts import VerdictTable
from oisp_sensor.enrich.enricher import Enricher
from oisp_sensor.export.exporter import Exporter
from oisp_sensor.page import Page

__all__ = ["Pipeline", "Sink"]

BATCH = 4096  # records between two looks at the channel and the output
WAIT_MS = 50
_SLICE_NS = 20_000_000  # between two looks at what the process itself used


class Sink(Protocol):
    """Who takes lines besides the exporters: a view."""

    def write(self, lines: bytes) -> None: ...

    def tick(self) -> None: ...


class Pipeline:
    """`listen` takes what waits on the channel; it is called before anything that needs to know of a process."""

    def __init__(
        self,
        *,
        ring: RingBuffer,
        page: Page,
        engine: Engine,
        enricher: Enricher,
        exporters: Sequence[Exporter],
        view: Sink | None = None,
        raw_fd: int = -1,
        verdicts: VerdictTable | None = None,
        activity: ActivityStage | None = None,
        resumed: bool = False,
        listen: Callable[[], None] = lambda: None,
        on_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ring = ring
        self._page = page
        self._feed = Feed(ring, engine, raw_fd, page=page.slots, resumed=resumed)
        self._raw = raw_fd >= 0
        self._engine = engine
        self._enricher = enricher
        self._exporters = exporters
        self._view = view
        self._activity = activity
        self._listen = listen
        self._verdicts = verdicts
        self._on_error = on_error
        self._said: set[str] = set()
        self._measured = 0
        self.lines = 0
        for number, exporter in enumerate(exporters):
            self.publish_export(number, exporter)

    # ---- the loop ----

    def turn(self, wait_ms: int = WAIT_MS) -> None:
        """Waits for records, at most so long, and takes what is there through all stages."""
        self._listen()
        if self._ring.wait(wait_ms):
            self._take()
        self._engine.advance(time.time_ns())
        self._deliver()
        if self._activity is not None:
            self._hand_out(self._activity.take())
        self._tell_verdicts()
        self._publish()
        if self._view is not None:
            self._view.tick()

    def _tell_verdicts(self) -> None:
        if self._verdicts is None:
            return
        for conn, level, _ in self._engine.verdicts():
            if level == "all":
                self._verdicts.clear(conn)
            else:
                self._verdicts.set(conn, level)

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
        self._publish()

    def _take(self) -> None:
        """Until the ring is empty. What arrives meanwhile is taken as well, a bounded number of batches long."""
        for _ in range(64):
            before = self._feed.records
            self._page[slots.READING] = 1
            stop = self._feed.consume(BATCH)
            self._page[slots.READING] = 0
            if stop & OPENED:
                self._listen()  # who this is was told before
                self._introduce()
            if stop & RAW_FAILED:
                self._raw_failed()
            if stop & FULL or self._feed.records - before >= BATCH:
                self._deliver()
                self._tell_verdicts()
                self._publish()
            if not stop and not self._ring.pending:
                return
            if self._feed.records == before and not stop:
                return  # the next record is still being written

    def _introduce(self) -> None:
        """Before the first byte of a connection is read, the engine learns whose it is."""
        opened = self._feed.opened
        members = self._enricher.members(opened.pid, opened.start_time_ns, opened.uid, opened.gid, opened.point)
        self._engine.set_context(opened.conn, members.allowed)
        if self._raw:
            self._feed.keep_context(opened.conn, members.whole)

    def _deliver(self) -> None:
        self._hand_out(self._engine.drain())

    def _hand_out(self, lines: bytes) -> None:
        if not lines:
            return
        self.lines += lines.count(b"\n")
        self._page[slots.LINES] = self.lines
        for number, exporter in enumerate(self._exporters):
            exporter.write(lines)
            self.publish_export(number, exporter)
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

    def _publish(self) -> None:
        """What the loader may want to know of a worker that cannot tell any more."""
        now = time.monotonic_ns()
        self._page[slots.BEAT] = now
        if now - self._measured < _SLICE_NS:
            return
        self._measured = now
        self._page.put_stats(self._engine.stats())
        self._page[slots.CPU] = time.process_time_ns()
        self._page[slots.MEMORY] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def publish_export(self, number: int, exporter: Exporter) -> None:
        at, written = self._page.export(number), exporter.written
        self._page[at + slots.COMMITTED] = exporter.committed
        self._page[at + slots.WRITTEN_BYTES] = written.bytes_written
        self._page[at + slots.ERRORS] = written.errors
        self._page[at + slots.DROPPED] = written.lines_dropped
        self._page[at + slots.TAKEN] = written.lines_taken
        self._page[at + slots.WRITTEN] = written.lines_written

    def account(self) -> dict[str, Any]:
        """Every stage's numbers."""
        return {
            "ring": {
                "records": self._feed.records,
                "bytes": self._feed.bytes,
                "payload": self._feed.payload,
                "raw_bytes": self._feed.raw_bytes,
                "raw_error": self._feed.raw_error,
                "records_skipped": self._page[slots.SKIPPED],
                "bytes_skipped": self._page[slots.SKIPPED_BYTES],
                "payload_skipped": self._page[slots.SKIPPED_PAYLOAD],
                "connections_joined": self._page[slots.JOINED],
                "malformed": self._ring.malformed,
            },
            "engine": dict(self._engine.stats()),
            "enrich": {"processes_read": self._enricher.read, "processes_missed": self._enricher.missed},
            "activity": self._activity.account() if self._activity is not None else {},
            "export": [_exported(exporter) for exporter in self._exporters],
            "lines": self.lines,
        }


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
