# SPDX-License-Identifier: Apache-2.0
"""Writes readable lines: coloured onto a terminal, plain into anything else."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from oisp_sensor.view.lines import describe
from oisp_sensor.view.pieces import SHOWN, Line
from oisp_sensor.view.summary import Summary

__all__ = ["Printer", "console_on"]

STYLES = {
    "time": "dim",
    "who": "cyan",
    "request": "bold blue",
    "response": "bold green",
    "tool": "magenta",
    "error": "bold red",
    "warning": "yellow",
    "text": "",
    "dim": "dim",
    "plain": "",
}


# What is piped has no width: a file, a pager, a log. Enough that no column of the summary is squeezed out.
PIPED_WIDTH = 200


def console_on(stream: Any) -> Console:
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


class Printer:
    def __init__(self, console: Console, limit: int | None = SHOWN) -> None:
        self._console = console
        self._limit = limit

    def event(self, event: dict[str, Any]) -> None:
        for line in describe(event, self._limit):
            self.line(line)

    def line(self, line: Line) -> None:
        if self._console.is_terminal:
            wrap = self._limit is None
            text = Text.assemble(
                *((piece.text, STYLES[piece.role]) for piece in line), no_wrap=not wrap, overflow="ellipsis"
            )
            self._console.print(text)
        else:
            self._console.file.write("".join(piece.text for piece in line).rstrip() + "\n")

    def summary(self, summary: Summary) -> None:
        table = summary.table()
        if table is not None:
            self._console.print()
            self._console.print(table, crop=False)
        for line in summary.lines():
            self._console.print(line, soft_wrap=True)
