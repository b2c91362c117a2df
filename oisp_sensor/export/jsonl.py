# SPDX-License-Identifier: Apache-2.0
"""Events as NDJSON into a file or a stream: whole lines or none.

Who opens files, and how, is export/files.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from oisp_core.errors import ConfigError
from oisp_sensor.export.exporter import Written
from oisp_sensor.export.files import Opened, OutputFile, Source, SourceError, owner_of_files

__all__ = ["FileExporter", "StreamExporter", "open_exporter", "owner_of_files"]

ROTATE_LEAST = 4096


class StreamExporter:
    """Onto a descriptor that is open already (standard output). A reader that has gone raises BrokenPipeError."""

    def __init__(self, fd: int, name: str = "-") -> None:
        self.name = name
        self.written = Written()
        self._fd = fd

    def write(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.written.lines_taken += count
        view = memoryview(lines)
        while view:
            try:
                done = os.write(self._fd, view)
            except BlockingIOError:
                os.set_blocking(self._fd, True)
                continue
            view = view[done:]
        self.written.lines_written += count
        self.written.bytes_written += len(lines)

    @property
    def committed(self) -> int:
        return 0

    def reopen(self) -> None:
        """A stream has no name under which it could be opened again."""

    def close(self) -> None:
        """The descriptor stays open: it was not opened here."""


class FileExporter:
    """Into the file `path`. With `rotate_bytes` the file is moved to `path.TIME` before it would grow beyond."""

    def __init__(
        self, path: str | os.PathLike[str], *, rotate_bytes: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        if rotate_bytes is not None and rotate_bytes < ROTATE_LEAST:
            raise ConfigError(key="--rotate", expected=f"at least {ROTATE_LEAST} bytes", got=rotate_bytes)
        file = OutputFile(path, owner)
        try:
            first = file.open()
        except ConfigError:
            file.close()
            raise
        self._begin(os.fspath(path), first, file, rotate_bytes)

    @classmethod
    def over(cls, name: str, first: Opened, source: Source, rotate_bytes: int | None = None) -> FileExporter:
        """Into a descriptor that somebody else opened, and will open again when asked."""
        made = cls.__new__(cls)
        made._begin(name, first, source, rotate_bytes)
        return made

    def _begin(self, name: str, first: Opened, source: Source, rotate_bytes: int | None) -> None:
        self.name = name
        self.written = Written()
        self.on_change: Callable[[], None] = _nothing
        self._source = source
        self._rotate = rotate_bytes
        self._fd, self._size, self._regular = first

    @property
    def committed(self) -> int:
        """Bytes of the file that is open up to where its lines are whole."""
        return self._size

    def write(self, lines: bytes) -> None:
        """Whole lines or none: where the disk is full, what was begun is taken back and counted as dropped."""
        start = 0
        while start < len(lines):
            end = self._fitting(lines, start)
            self._write(lines[start:end])
            start = end

    def _fitting(self, lines: bytes, start: int) -> int:
        """Up to where lines go into the file that is open; moves a full one away. An empty file takes any line."""
        if self._rotate is None or self._size + len(lines) - start <= self._rotate:
            return len(lines)
        end = lines.rfind(b"\n", start, start + max(0, self._rotate - self._size)) + 1
        if end > start:
            return end
        if self._size == 0:
            return lines.index(b"\n", start) + 1
        self._change(self._source.rotate)
        return self._fitting(lines, start)

    def _write(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.written.lines_taken += count
        done = 0
        try:
            while done < len(lines):
                done += os.write(self._fd, memoryview(lines)[done:])
        except BrokenPipeError:
            raise
        except OSError as error:
            whole = lines.rfind(b"\n", 0, done) + 1
            if self._regular and whole < done:
                os.ftruncate(self._fd, self._size + whole)
            kept = lines.count(b"\n", 0, whole)
            self.written.lines_dropped += count - kept
            self.written.errors += 1
            self.written.last_error = f"{self.name}: {error.strerror}"
            count, done = kept, whole
        self.written.lines_written += count
        self.written.bytes_written += done
        self._size += done
        self.on_change()

    def _change(self, opened: Callable[[], Opened]) -> None:
        """To another file between two lines; where that fails, on in the file that is open, which goes on growing."""
        try:
            fresh = opened()
        except SourceError as error:
            self.failed(str(error))
            return
        self.switch(fresh)

    def switch(self, fresh: Opened) -> None:
        os.close(self._fd)
        self._fd, self._size, self._regular = fresh
        self.on_change()

    def reopen(self) -> None:
        """Opens the name again; where that fails, goes on in the file that is open."""
        self._change(self._source.reopen)

    def failed(self, reason: str) -> None:
        self._rotate = None
        self.written.errors += 1
        self.written.last_error = f"{self.name}: {reason}"

    def close(self) -> None:
        if self._fd < 0:
            return
        os.close(self._fd)
        self._source.close()
        self._fd = -1


def _nothing() -> None:
    """Nobody wants to know."""


def open_exporter(path: str, *, rotate_bytes: int | None = None) -> FileExporter | StreamExporter:
    """`-` is standard output."""
    if path == "-":
        return StreamExporter(1)
    return FileExporter(path, rotate_bytes=rotate_bytes, owner=owner_of_files())
