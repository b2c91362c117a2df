# SPDX-License-Identifier: Apache-2.0
"""The view of a running capture on a terminal: events as they come, and a line of sums that stays at the bottom."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
from rich.live import Live
from rich.text import Text

from oisp_sensor.view.printer import Printer, console_on
from oisp_sensor.view.summary import Summary

__all__ = ["LiveView"]

REFRESH = 4  # of the bottom line, a second


class LiveView:
    """Takes lines as an exporter does. Used by one thread between start() and stop()."""

    def __init__(self, what: str, *, moving: bool = True) -> None:
        self._console = console_on(sys.stdout)
        self._printer = Printer(self._console)
        self._what = what
        self._decoder = msgspec.json.Decoder(dict[str, Any])
        self.summary = Summary()
        self._live = Live(get_renderable=self._bottom, console=self._console, auto_refresh=False, transient=True)
        self._moving = moving
        self._refreshed = 0.0

    def start(self) -> None:
        if self._moving:
            self._live.start()

    def stop(self) -> None:
        if self._moving:
            self._live.stop()

    def write(self, lines: bytes) -> None:
        for line in lines.splitlines():
            event = self._decoder.decode(line)
            self.summary.add(event)
            self._printer.event(event)

    def tick(self) -> None:
        """To be called often: draws the bottom line some times a second. No thread is needed for it."""
        now = time.monotonic()
        if self._moving and now - self._refreshed >= 1 / REFRESH:
            self._refreshed = now
            self._live.refresh()

    def sums(self) -> None:
        self._printer.summary(self.summary)

    def _bottom(self) -> Text:
        events = self.summary.events
        counts = (
            f"{events['ai.request']:,} requests",
            f"{events['ai.response']:,} answers",
            f"{events['agent.tool_call']:,} tool calls",
            f"{len(self.summary.processes):,} processes",
        )
        return Text(f"capturing {self._what}: {', '.join(counts)}  (Ctrl-C ends)", style="reverse", no_wrap=True)
