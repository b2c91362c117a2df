# SPDX-License-Identifier: Apache-2.0
"""The page of counters that loader and worker share, so that the account stays exact when a worker dies.

A worker writes what it has done as it does it; the loader reads it after the worker's end, at whatever instruction that
came. The page is a sealed memfd: nobody can shorten it under the other's feet. What stands in it is the worker's word:
the loader adds it up and prints it, and relies on it for nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any

__all__ = ["EXPORT", "STATS", "Page"]

BYTES = 4096
NOWHERE = (1 << 64) - 1
# Slots of 8 bytes. The first are written by capture/feed.pyx, record by record (the same numbers stand there).
POSITION = 0  # of the record that is being handled, in the ring: equal to the reader's if it died of it
RAW_BYTES = 1
RAW_ERROR = 2
JOINED = 3  # connections that were in use before this worker
SETS = (8, 16)  # written in turn; the one that ends at the reader's position is exact
AFTER, RECORDS, RECORD_BYTES, PAYLOAD, OPEN_CONNECTIONS, OPEN_EXCHANGES = range(6)
SKIPPED = 24  # records that an earlier worker died of
SKIPPED_BYTES = 25
SKIPPED_PAYLOAD = 26
LINES = 32  # drained from the engine
BEAT = 33  # CLOCK_MONOTONIC of the last turn
CPU = 34  # nanoseconds of processor time
MEMORY = 35  # resident bytes, the most there were
READING = 36  # 1 while records are handled: a beat that stands still then is a worker that hangs
STATS = 64  # engine.stats(), in its order
MOST_STATS = 128
EXPORT = 256  # of each exporter:
EXPORT_SLOTS = 8
TAKEN, WRITTEN, DROPPED, WRITTEN_BYTES, ERRORS, COMMITTED = range(6)
MOST_EXPORTERS = 16


class Page:
    """`fd` is owned. Values are unsigned numbers of 64 bits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, BYTES)
        self.slots = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls) -> Page:
        fd = os.memfd_create("oisp-account", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd)

    def __getitem__(self, slot: int) -> int:
        return self.slots[slot]

    def __setitem__(self, slot: int, value: int) -> None:
        self.slots[slot] = value & 0xFFFFFFFFFFFFFFFF

    def clear(self) -> None:
        """For the next worker; the position stays, it says what the last one died of."""
        for slot in range(1, len(self.slots)):
            self.slots[slot] = 0

    def put_stats(self, stats: dict[str, int]) -> None:
        for slot, value in zip(range(STATS, STATS + MOST_STATS), stats.values(), strict=False):
            self[slot] = value

    def export(self, number: int) -> int:
        """First slot of an exporter."""
        return EXPORT + EXPORT_SLOTS * number

    def close(self) -> None:
        if self.fd >= 0:
            self.slots.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1

    # ---- what it says ----

    def taken(self, position: int | None = None) -> list[int]:
        """The set of counters that is exact at this position of the reader; the newest where none is named."""
        sets = [list(self.slots[at : at + 6]) for at in SETS]
        most = NOWHERE - 1 if position is None else position
        return max((one for one in sets if one[AFTER] <= most), key=lambda one: one[AFTER], default=[0] * 6)

    def stages(self, stats: list[str], exports: list[str], position: int | None = None) -> dict[str, Any]:
        """The stages' account as `Pipeline.account` gives it, of a worker that did not live to tell."""
        taken = self.taken(position)
        return {
            "ring": {
                "records": taken[RECORDS],
                "bytes": taken[RECORD_BYTES],
                "payload": taken[PAYLOAD],
                "raw_bytes": self[RAW_BYTES],
                "raw_error": self[RAW_ERROR],
                "records_skipped": self[SKIPPED],
                "bytes_skipped": self[SKIPPED_BYTES],
                "payload_skipped": self[SKIPPED_PAYLOAD],
                "connections_joined": self[JOINED],
            },
            "engine": {name: self[STATS + i] for i, name in enumerate(stats[:MOST_STATS])},
            "export": [self._exported(number, name) for number, name in enumerate(exports)],
            "lines": self[LINES],
        }

    def _exported(self, number: int, name: str) -> dict[str, Any]:
        at = self.export(number)
        taken, written = self[at + TAKEN], self[at + WRITTEN]
        return {
            "name": name,
            "lines_taken": max(taken, self[LINES]),
            "lines_written": written,
            "lines_dropped": max(taken, self[LINES]) - written,
            "bytes_written": self[at + WRITTEN_BYTES],
            "errors": self[at + ERRORS],
            "last_error": "",
        }
