# SPDX-License-Identifier: Apache-2.0
"""The stage of the pipeline that reads the activity ring. It holds a mapping of the ring and nothing else."""

from __future__ import annotations

import time

from oisp_sensor.activity.events import ActivityEvents
from oisp_sensor.capture.ringbuf import RingBuffer

__all__ = ["ActivityStage"]

BATCH = 4096


class ActivityStage:
    """`ring_fd` is borrowed, and may be closed once this has been made."""

    def __init__(self, ring_fd: int, ring_bytes: int, events: ActivityEvents) -> None:
        self._ring = RingBuffer(ring_fd, ring_bytes)
        self._events = events
        self.records = 0

    def take(self) -> bytes:
        """Lines of what waits, a bounded number of records long."""
        records = self._ring.records(BATCH)
        self.records += len(records)
        return self._events.take(records) + self._events.advance(time.monotonic_ns())

    @property
    def pending(self) -> int:
        return int(self._ring.pending)

    def finish(self) -> bytes:
        lines = b""
        while self._ring.pending:
            before = self.records
            lines += self.take()
            if self.records == before:
                break  # what is left was never finished by its writer
        lines += self._events.finish()
        self._ring.close()
        return lines

    def account(self) -> dict[str, int]:
        return {"records": self.records, **self._events.account()}
