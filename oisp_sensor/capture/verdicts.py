# SPDX-License-Identifier: Apache-2.0
"""The table by which the worker spares the kernel programs work: no system call, one store per verdict.

A slot holds an id and a level in one 8-byte value; a foreign id in it is no verdict, so that a collision costs only
what could have been spared. Verdicts may be stale by a few calls; what they leave out is counted as spared, never lost.
"""

from __future__ import annotations

import mmap

from oisp_sensor.capture.program import VERDICT_LEVELS, VERDICT_SLOTS


def slot_of(conn: int) -> int:
    return (conn ^ conn >> 16) & (VERDICT_SLOTS - 1)


class VerdictTable:
    """Maps the table behind `fd` (borrowed); needs no privilege after that."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 8 * VERDICT_SLOTS)
        self._slots = memoryview(self._map).cast("Q")  # whole values: never half of one

    def set(self, conn: int, level: str) -> None:
        """From now on of this connection: "head" the first KiB of each call, "nothing" no byte."""
        self._slots[slot_of(conn)] = (conn << 2 & (1 << 64) - 1) | VERDICT_LEVELS[level]

    def clear(self, conn: int) -> None:
        """Everything again, if the slot is still this connection's."""
        slot = slot_of(conn)
        if self._slots[slot] >> 2 == conn & (1 << 62) - 1:
            self._slots[slot] = 0

    def reset(self) -> None:
        """No verdict of anybody: for a reader that begins without knowing the connections."""
        self._map[:] = bytes(8 * VERDICT_SLOTS)

    def close(self) -> None:
        self._slots.release()
        self._map.close()
