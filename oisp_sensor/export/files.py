# SPDX-License-Identifier: Apache-2.0
"""Opens output files, for whoever writes into them: the same process, or one that may open nothing itself.

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
from typing import NamedTuple, Protocol

from oisp_core.errors import ConfigError

__all__ = ["Opened", "OutputFile", "Source", "SourceError", "owner_of_files"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
PRIVATE = 0o600


def owner_of_files() -> tuple[int, int] | None:
    """Under sudo, the calling user: files are theirs."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return None
    return int(uid), int(gid)


class Opened(NamedTuple):
    """A descriptor to append to; the taker owns it."""

    fd: int
    size: int
    regular: bool


def opened(fd: int) -> Opened:
    """What a descriptor that came from elsewhere is."""
    info = os.fstat(fd)
    return Opened(fd, info.st_size, stat.S_ISREG(info.st_mode))


class SourceError(Exception):
    """The file could not be moved away or opened again; the text says which and why."""


class Source(Protocol):
    """Where an exporter gets its descriptors from."""

    def rotate(self) -> Opened:
        """Moves the full file away and opens the name anew. SourceError: go on in the old one."""

    def reopen(self) -> Opened:
        """Opens the name again, which may lead to another file by now. SourceError: go on in the old one."""

    def close(self) -> None: ...


class OutputFile:
    """The file `path`. Rotated, it becomes `path.TIME`."""

    def __init__(self, path: str | os.PathLike[str], owner: tuple[int, int] | None = None) -> None:
        self.name = os.fspath(path)
        self._owner = owner
        target = Path(path)
        self._base = target.name
        if self._base in ("", "..") or self.name.endswith("/"):
            raise ConfigError(self.name, expected="the name of a file")
        try:
            self._folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(self.name, message=f"its folder cannot be opened: {error.strerror}") from error

    def open(self) -> Opened:
        """For the first time: what is wrong is the user's mistake."""
        try:
            return self._open()
        except OSError as error:
            raise ConfigError(self.name, message=_reason(error)) from error

    def _open(self) -> Opened:
        try:
            fd = os.open(self._base, _FLAGS | os.O_EXCL, PRIVATE, dir_fd=self._folder)
            made = True
        except FileExistsError:
            fd = os.open(self._base, _FLAGS & ~os.O_CREAT, dir_fd=self._folder)
            made = False
        try:
            info = os.fstat(fd)
            regular = stat.S_ISREG(info.st_mode)
            if made:
                os.fchmod(fd, PRIVATE)
                if self._owner is not None:
                    os.fchown(fd, *self._owner)
            elif regular:
                self._check_found(info)
            elif not (stat.S_ISFIFO(info.st_mode) or os.fstat(fd).st_rdev == os.makedev(1, 3)):  # /dev/null
                raise ConfigError(self.name, expected="a plain file, a named pipe or /dev/null")
            os.set_blocking(fd, True)
            size = info.st_size
            if regular and size and not self._ends_a_line(size):
                size += os.write(fd, b"\n")  # what broke off there stays one broken line, and does not spoil ours
        except (OSError, ConfigError):
            os.close(fd)
            raise
        return Opened(fd, size, regular)

    def _ends_a_line(self, size: int) -> bool:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._base, flags, dir_fd=self._folder)
        try:
            return os.pread(fd, 1, size - 1) == b"\n"
        finally:
            os.close(fd)

    def _check_found(self, info: os.stat_result) -> None:
        """Somebody else's file, or a second name of one, is not written to with our rights."""
        mine = {os.geteuid()} | ({self._owner[0]} if self._owner else set())
        if info.st_uid not in mine:
            raise ConfigError(self.name, expected="a file of this user", got=f"a file of uid {info.st_uid}")
        if info.st_nlink > 1:
            raise ConfigError(self.name, message=f"has {info.st_nlink} names (hard links)", expected="one")

    def rotate(self) -> Opened:
        """Renames without ever overwriting, then opens a new file."""
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
            raise SourceError(f"cannot be rotated: {error.strerror}") from error
        return self.reopen()

    def reopen(self) -> Opened:
        try:
            return self._open()
        except OSError as error:
            raise SourceError(f"cannot be reopened: {error.strerror}") from error
        except ConfigError as error:
            raise SourceError(f"cannot be reopened: {error}") from error

    def close(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and none is followed"
    if error.errno == errno.ENXIO:
        return "is a named pipe that nobody reads"
    return f"cannot be opened: {error.strerror}"
