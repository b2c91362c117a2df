# SPDX-License-Identifier: Apache-2.0
"""Events as NDJSON into a file or a stream: whole lines or none.

Files are made 0600, no symbolic link is followed in their last part, and rotation and reopening happen relative to the
folder that was opened at the start, so that nobody can put another in its place. A file that exists is appended to, if
it is a plain file of this user with one name only. Under sudo new files belong to the calling user.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

from oisp_core.errors import ConfigError
from oisp_sensor.export.exporter import Written

__all__ = ["FileExporter", "StreamExporter", "open_exporter", "owner_of_files"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
ROTATE_LEAST = 4096
PRIVATE = 0o600


def owner_of_files() -> tuple[int, int] | None:
    """Under sudo, the calling user: files are theirs."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return None
    return int(uid), int(gid)


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

    def reopen(self) -> None:
        """A stream has no name under which it could be opened again."""

    def close(self) -> None:
        """The descriptor stays open: it was not opened here."""


class FileExporter:
    """Into the file `path`. With `rotate_bytes` the file is moved to `path.TIME` before it would grow beyond."""

    def __init__(
        self, path: str | os.PathLike[str], *, rotate_bytes: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        self.name = os.fspath(path)
        self.written = Written()
        if rotate_bytes is not None and rotate_bytes < ROTATE_LEAST:
            raise ConfigError(key="--rotate", expected=f"at least {ROTATE_LEAST} bytes", got=rotate_bytes)
        self._rotate = rotate_bytes
        self._owner = owner
        target = Path(path)
        self._base = target.name
        if self._base in ("", "..") or self.name.endswith("/"):
            raise ConfigError(self.name, expected="the name of a file")
        try:
            self._folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(self.name, message=f"its folder cannot be opened: {error.strerror}") from error
        self._fd = -1
        try:
            self._fd = self._open()
        except OSError as error:
            os.close(self._folder)
            raise ConfigError(self.name, message=_reason(error)) from error
        except ConfigError:
            os.close(self._folder)
            raise

    def _open(self) -> int:
        try:
            fd = os.open(self._base, _FLAGS | os.O_EXCL, PRIVATE, dir_fd=self._folder)
            made = True
        except FileExistsError:
            fd = os.open(self._base, _FLAGS & ~os.O_CREAT, dir_fd=self._folder)
            made = False
        try:
            info = os.fstat(fd)
            self._regular = stat.S_ISREG(info.st_mode)
            if made:
                os.fchmod(fd, PRIVATE)
                if self._owner is not None:
                    os.fchown(fd, *self._owner)
            elif self._regular:
                self._check_found(info)
            elif not (stat.S_ISFIFO(info.st_mode) or os.fstat(fd).st_rdev == os.makedev(1, 3)):  # /dev/null
                raise ConfigError(self.name, expected="a plain file, a named pipe or /dev/null")
            os.set_blocking(fd, True)
            self._size = info.st_size
            if self._regular and self._size and not self._ends_a_line():
                self._size += os.write(fd, b"\n")  # what broke off there stays one broken line, and does not spoil ours
        except (OSError, ConfigError):
            os.close(fd)
            raise
        return fd

    def _ends_a_line(self) -> bool:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._base, flags, dir_fd=self._folder)
        try:
            return os.pread(fd, 1, self._size - 1) == b"\n"
        finally:
            os.close(fd)

    def _check_found(self, info: os.stat_result) -> None:
        """Somebody else's file, or a second name of one, is not written to with our rights."""
        mine = {os.geteuid()} | ({self._owner[0]} if self._owner else set())
        if info.st_uid not in mine:
            raise ConfigError(self.name, expected="a file of this user", got=f"a file of uid {info.st_uid}")
        if info.st_nlink > 1:
            raise ConfigError(self.name, message=f"has {info.st_nlink} names (hard links)", expected="one")

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
        self._move_away()
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

    def _move_away(self) -> None:
        """Renames without ever overwriting, then goes on in a new file. What cannot be renamed goes on growing."""
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f".{now % 10**9 // 1000:06d}Z"
        try:
            os.link(
                self._base,
                f"{self._base}.{stamp}",
                src_dir_fd=self._folder,
                dst_dir_fd=self._folder,
                follow_symlinks=False,
            )
            os.unlink(self._base, dir_fd=self._folder)
        except OSError as error:
            self._failed("cannot be rotated", error)
            self._rotate = None
            return
        self.reopen()

    def reopen(self) -> None:
        """Opens the name again; where that fails, goes on in the file that is open."""
        try:
            fresh = self._open()
        except (OSError, ConfigError) as error:
            self._failed("cannot be reopened", error)
            self._rotate = None
            return
        os.close(self._fd)
        self._fd = fresh

    def _failed(self, what: str, error: OSError | ConfigError) -> None:
        self.written.errors += 1
        reason = error.strerror if isinstance(error, OSError) else str(error)
        self.written.last_error = f"{self.name}: {what}: {reason}"

    def close(self) -> None:
        if self._fd < 0:
            return
        os.close(self._fd)
        os.close(self._folder)
        self._fd = -1


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and none is followed"
    if error.errno == errno.ENXIO:
        return "is a named pipe that nobody reads"
    return f"cannot be opened: {error.strerror}"


def open_exporter(path: str, *, rotate_bytes: int | None = None) -> FileExporter | StreamExporter:
    """`-` is standard output."""
    if path == "-":
        return StreamExporter(1)
    return FileExporter(path, rotate_bytes=rotate_bytes, owner=owner_of_files())
