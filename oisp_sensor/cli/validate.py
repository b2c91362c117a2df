# SPDX-License-Identifier: Apache-2.0
"""Checks the events in each FILE (JSON or JSONL, gzip or not) against the schema.

Prints one line per error, `file:line: JSON path: reason`, to standard output and a summary to standard error.
Exit status: 0 when all is valid, 1 when something is not, 2 when a file could not be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from oisp_core.errors import printable
from oisp_core.validate import Problem, Validator
from oisp_sensor.cli._documents import Document, documents, line_of, line_of_fault

REPORT_EVERY = 256  # documents between two looks at the progress bar


class Validate:
    name = "validate"
    help = "check events against the schema of OISP"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("files", metavar="FILE", nargs="+", help="file of events, or - for standard input")
        parser.add_argument(
            "--max-errors",
            metavar="N",
            type=_count,
            default=100,
            help="print at most N errors of each file, then only count them; 0 prints all (default: 100)",
        )
        parser.add_argument("-q", "--quiet", action="store_true", help="print errors only: no summary, no progress bar")

    def run(self, args: argparse.Namespace) -> int:
        run = _Run(args.max_errors)
        with _progress(args.files, args.quiet) as progress:
            for name in args.files:
                run.file(name, progress)
        if not args.quiet:
            print(run.summary(), file=sys.stderr)
        return run.status


command = Validate()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return int(text)


class _Run:
    """What was found so far."""

    def __init__(self, most: int) -> None:
        self.status = 0
        self._most = most
        self._validator = Validator()
        self._events = 0
        self._invalid = 0
        self._errors = 0

    def file(self, name: str, progress: Progress | None) -> None:
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as raw:
                self._read(name, raw, progress)
        except OSError as error:
            print(f"oisp-sensor: {printable(name)}: {error.strerror or error}", file=sys.stderr)
            self.status = 2

    def _read(self, name: str, raw: BinaryIO, progress: Progress | None) -> None:
        shown = printable("<stdin>" if name == "-" else name)
        errors = 0
        at = 0
        for number, document in enumerate(documents(raw, name)):
            if progress is not None and number % REPORT_EVERY == 0 and raw.seekable():
                progress.advance(progress.task_ids[0], raw.tell() - at)
                at = raw.tell()
            found = self._document(document)
            for line, problem in found:
                errors += 1
                if errors <= self._most or not self._most:
                    print(f"{shown}:{line}: {problem.path}: {printable(problem.reason)}")
        if errors > self._most > 0:
            print(f"{shown}: {errors - self._most} more errors; --max-errors 0 prints them")
        if progress is not None and raw.seekable():
            progress.advance(progress.task_ids[0], raw.tell() - at)
        self._errors += errors
        if errors:
            self.status = self.status or 1

    def _document(self, document: Document) -> Iterator[tuple[int, Problem]]:
        if document.fault is not None:
            yield document.line, Problem("$", document.fault)
            return
        self._events += 1
        found = self._validator.problems(document.text)
        self._invalid += bool(found)
        for problem in found:
            path = document.path + problem.path.removeprefix("$")
            yield _line(document, path, problem.reason), Problem(path, problem.reason)

    def summary(self) -> str:
        events = f"{self._events} event{'s' if self._events != 1 else ''}"
        if not self._errors:
            return f"{events}: valid"
        return f"{events}: {self._invalid} invalid, {self._errors} error{'s' if self._errors != 1 else ''}"


def _line(document: Document, path: str, reason: str) -> int:
    if document.whole is None:
        return document.line
    if reason.startswith("not JSON"):
        return line_of_fault(document.whole, reason)
    return line_of(document.whole, path)


@contextmanager
def _progress(files: list[str], quiet: bool) -> Iterator[Progress | None]:
    """A bar over the bytes of all files, where standard error is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("validating"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # Lines printed meanwhile go above the bar, but a standard output that is no terminal must get its own.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        sizes = [Path(name).stat().st_size for name in files if Path(name).is_file()]
        progress.add_task("", total=sum(sizes) or None)
        yield progress
