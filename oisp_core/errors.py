# SPDX-License-Identifier: Apache-2.0
"""The tree of errors.

Only what a user or an embedder did wrong raises: a bad file, a bad setting, an engine used from two threads. Bytes
from the wire never raise; what is wrong with them becomes a status, a counter and the confidence of an event.

Every message is one line that names place, expectation and finding. What comes out of a file is quoted and shortened,
so that hostile bytes reach neither a terminal nor a log as they are. The command line prints `str(error)` and exits
with `error.exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from typing import Any

__all__ = [
    "ConfigError",
    "EngineBusyError",
    "EventError",
    "LimitError",
    "OispError",
    "RecordingError",
    "ResourceError",
    "printable",
]

_SHOWN = 80


def printable(text: str) -> str:
    """`text` with escapes in place of everything that a terminal would act upon."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _place(file: str | PathLike[str] | None, line: int | None) -> str:
    name = "" if file is None else printable(fspath(file))
    if line is None:
        return name
    return f"{name}:{line}" if name else f"line {line}"


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _expectation(expected: str | Iterable[str]) -> str:
    if isinstance(expected, str):
        return expected
    words = list(expected)
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


class OispError(Exception):
    """Root of all errors that this project raises on purpose."""

    exit_code = 2


class ConfigError(OispError, ValueError):
    """A setting or a file that the user wrote is wrong.

    `file`, `line` (from 1) and `key` (a dotted path, or the name of a flag) say where; `expected` is a phrase, or the
    words that are allowed; `got` is what was found; `message` says what is wrong where that is not plain from the rest;
    `hint` says what to do.
    """

    def __init__(
        self,
        file: str | PathLike[str] | None = None,
        line: int | None = None,
        key: str | None = None,
        expected: str | Iterable[str] | None = None,
        got: Any = None,
        *,
        message: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.file = None if file is None else fspath(file)
        self.line = line
        self.key = key
        self.expected = None if expected is None else _expectation(expected)
        self.got = got
        self.message = message
        self.hint = hint
        super().__init__(self._render())

    def _render(self) -> str:
        what = []
        if self.message:
            what.append(printable(self.message))
        if self.expected is not None:
            what.append(f"expected {printable(self.expected)}")
        if self.got is not None:
            what.append(f"got {_quoted(self.got)}")
        if self.hint:
            what.append(printable(self.hint))
        where = [part for part in (_place(self.file, self.line), printable(self.key or "")) if part]
        return ": ".join([*where, "; ".join(what) or "not valid"])

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"message": self.message, "hint": self.hint}
        return _rebuild, (type(self), (self.file, self.line, self.key, self.expected, self.got), state)


class RecordingError(OispError, ValueError):
    """A recording that cannot be read: not one, of a version that is not known, or cut.

    `offset` counts bytes from the start of the file; everything before it was read and is valid.
    """

    def __init__(
        self,
        file: str | PathLike[str] | None = None,
        offset: int | None = None,
        expected: str | Iterable[str] | None = None,
        got: Any = None,
        *,
        message: str | None = None,
    ) -> None:
        self.file = None if file is None else fspath(file)
        self.offset = offset
        self.expected = None if expected is None else _expectation(expected)
        self.got = got
        self.message = message
        super().__init__(self._render())

    def _render(self) -> str:
        what = [printable(self.message)] if self.message else []
        if self.expected is not None:
            what.append(f"expected {printable(self.expected)}")
        if self.got is not None:
            what.append(f"got {_quoted(self.got)}")
        where = _place(self.file, None) or "recording"
        if self.offset is not None:
            where += f": byte {self.offset}"
        return f"{where}: {'; '.join(what) or 'not a readable recording'}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), (self.file, self.offset, self.expected, self.got), {"message": self.message})


class EventError(OispError, ValueError):
    """A document that is not a valid OISP event. `path` is a JSON path such as `$.data.messages[0].role`."""

    exit_code = 1

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{printable(path)}: {printable(reason)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class LimitError(OispError, ValueError):
    """A limit was set to a value outside what the engine can keep to."""

    def __init__(self, name: str, got: Any, least: int | None = None, most: int | None = None) -> None:
        self.name = name
        self.got = got
        self.least = least
        self.most = most
        low = "0" if least is None else str(least)
        bounds = f"at least {low}" if most is None else f"{low} to {most}"
        super().__init__(f"limits.{printable(name)}: expected an integer, {bounds}; got {_quoted(got)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.got, self.least, self.most)


class EngineBusyError(OispError, RuntimeError):
    """An engine was called while another thread was inside it. One engine belongs to one thread at a time."""

    def __init__(
        self, message: str = "the engine is in use by another thread: one engine, one thread at a time"
    ) -> None:
        super().__init__(message)


class ResourceError(OispError, FileNotFoundError):
    """Data that ships with the package is not there: the installation is incomplete."""


def _rebuild(kind: type[OispError], args: tuple[Any, ...], named: dict[str, Any]) -> OispError:
    return kind(*args, **named)
