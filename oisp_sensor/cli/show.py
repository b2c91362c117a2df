# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor show`: event files as text. A line that is no event is counted, and never ends the reading."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from oisp_core.errors import ConfigError, printable
from oisp_sensor.cli._documents import Document, documents
from oisp_sensor.cli.command import error_line
from oisp_sensor.view.filters import Filter, moment
from oisp_sensor.view.pieces import SHOWN
from oisp_sensor.view.printer import Printer, console_on
from oisp_sensor.view.summary import Summary


class Show:
    name = "show"
    help = "read event files as text"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.description = (
            "Print the events in each FILE (JSONL or JSON, gzip or not; - is standard input) as text, oldest first as "
            "they stand there: who asked which model what, how long it took, which tools it called; then sums."
        )
        parser.add_argument("files", metavar="FILE", nargs="+", help="file of events, or - for standard input")
        chosen = parser.add_argument_group("which events")
        chosen.add_argument("--process", metavar="PID|NAME", default="", help="of this process id, or named like this")
        chosen.add_argument("--provider", metavar="NAME", default="", help="to a provider named like this")
        chosen.add_argument("--model", metavar="NAME", default="", help="to a model named like this")
        chosen.add_argument(
            "--type",
            metavar="TYPE",
            action="append",
            default=[],
            help="of this type: ai.request, or ai for all of them",
        )
        chosen.add_argument(
            "--since", metavar="TIME", help="from then on: RFC 3339, 14:30 (today, UTC) or an age (10m)"
        )
        chosen.add_argument("--until", metavar="TIME", help="before then")
        how = parser.add_argument_group("how")
        how.add_argument("--long", action="store_true", help="whole texts and every message, not only the last one")
        how.add_argument("--summary", action="store_true", help="only the sums")
        how.add_argument("--json", action="store_true", help="the lines themselves, as they stand in the file")

    def run(self, args: argparse.Namespace) -> int:
        chosen = Filter(
            process=args.process,
            provider=args.provider,
            model=args.model,
            types=tuple(args.type),
            since=moment(args.since, "--since") if args.since else "",
            until=moment(args.until, "--until") if args.until else "",
        )
        reading = _Reading(chosen, args)
        for name in args.files:
            reading.file(name)
        reading.end()
        return 0


class _Reading:
    def __init__(self, chosen: Filter, args: argparse.Namespace) -> None:
        self._chosen = chosen
        self._json = args.json
        self._quiet = args.summary
        self._printer = Printer(console_on(sys.stdout), None if args.long else SHOWN)
        self._summary = Summary()
        self._broken = 0
        self._first_broken = ""
        self._decoder = msgspec.json.Decoder(dict[str, Any])

    def file(self, name: str) -> None:
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as raw:
                self._read(name, raw)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ConfigError(name, message=f"cannot be read: {error.strerror or error}") from error

    def _read(self, name: str, raw: BinaryIO) -> None:
        for document in documents(raw, name):
            event = self._event(document)
            if event is None:
                self._broken += 1
                self._first_broken = self._first_broken or f"{printable(name)}:{document.line}"
            elif self._chosen.lets_through(event):
                self._show(event, document)

    def _event(self, document: Document) -> dict[str, Any] | None:
        """Readable is enough here; `validate` says what is right."""
        if document.fault is not None:
            return None
        try:
            event = self._decoder.decode(document.text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return event if isinstance(event.get("event_type"), str) else None

    def _show(self, event: dict[str, Any], document: Document) -> None:
        self._summary.add(event)
        if self._json:
            sys.stdout.buffer.write(b" ".join(document.text.split(b"\n")).strip() + b"\n")
        elif not self._quiet:
            self._printer.event(event)

    def end(self) -> None:
        if not self._json:
            self._printer.summary(self._summary)
        if self._broken:
            sys.stdout.flush()
            lines = "1 line is no event" if self._broken == 1 else f"{self._broken:,} lines are no events"
            error_line(f"{lines} (first: {self._first_broken}); `oisp-sensor validate` says why")


command = Show()
