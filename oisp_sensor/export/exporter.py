# SPDX-License-Identifier: Apache-2.0
"""What every exporter is: it takes whole NDJSON lines, says what became of them, and never blocks for ever.

One file per target. An exporter is used by one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Exporter", "Written"]


@dataclass
class Written:
    """The account of one exporter. lines_taken = lines_written + lines_dropped once it is closed."""

    lines_taken: int = 0
    lines_written: int = 0
    lines_dropped: int = 0
    bytes_written: int = 0
    errors: int = 0
    last_error: str = ""


class Exporter(Protocol):
    name: str
    written: Written

    @property
    def committed(self) -> int:
        """Bytes up to where what it wrote is whole lines; 0 where it does not append to a file."""

    def write(self, lines: bytes) -> None:
        """Takes whole lines, each with its line end. What cannot be delivered is counted in `written`."""

    def reopen(self) -> None:
        """The target was moved away (SIGHUP): go on with a new one."""

    def close(self) -> None:
        """Delivers what is held; `written` is final then."""
