# SPDX-License-Identifier: Apache-2.0
"""What a measured engine is: made for a corpus, run as often as wanted, the same events each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Runner", "Sink"]

Sink = Callable[[bytes], object]


class Runner(Protocol):
    """Everything that can be done before the clock starts is done when it is made."""

    def prepare(self) -> object:
        """Before each run, not timed: what it saw before is forgotten, what it allocated may stay."""
        ...

    def run(self, sink: Sink) -> object:
        """The corpus once from its first byte to its last event; NDJSON goes to `sink`, some hundred KB at a time."""
        ...
