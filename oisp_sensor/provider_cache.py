# SPDX-License-Identifier: Apache-2.0
"""The compiled form of a user's provider files, kept so that the next start need not compile them again.

The cache belongs to the user who runs: a folder of mode 0700 in that user's own cache folder (as root never one that an
inherited HOME or XDG_CACHE_HOME names), files of mode 0600. A file is found under the hash of all files that went into
it, and read only if it is a regular file of this user that nobody else may write. What is in it is checked like all
that comes from outside: a damaged file is made anew. Where no cache can be kept, everything works, only slower.
"""

from __future__ import annotations

import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oisp_core import resources
from oisp_core.match.tables import Tables, dump, load, load_tables, source_hash

__all__ = ["provider_tables"]

KEPT = 8
"""Compiled registries that stay: one per folder that a user has, and some to change between."""
MOST_BYTES = 64 << 20


def provider_tables(user_dir: Path | str | None, cache: Path | None = None) -> Tables | None:
    """What to give `Engine(providers=...)`: the shipped files and those of `user_dir`; None for the shipped ones alone.

    Raises ConfigError if a file of the user is wrong.
    """
    if user_dir is None:
        return None
    if not Path(user_dir).is_dir():
        return load_tables(user_dir)  # which says what is wrong
    source = source_hash(resources.data("semconv/providers"), user_dir)
    name = f"providers-{source}.bin"
    with _folder(cache or _default()) as folder:
        if folder is None:
            return load_tables(user_dir)
        with suppress(OSError, ValueError):
            tables = load(_read(folder, name), source)
            if tables is not None:
                return tables
        tables = load_tables(user_dir)
        with suppress(OSError):
            _write(folder, name, dump(tables, source))
            _prune(folder)
        return tables


def _default() -> Path:
    """The cache folder of the user whose rights this process has, whatever its environment says."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named and Path(named).is_absolute() and os.geteuid() == os.getuid() != 0:
        return Path(named) / "oisp"
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a user without an entry, as in some containers
        home = "/nonexistent"
    return Path(home) / ".cache" / "oisp"


def _private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


@contextmanager
def _folder(path: Path) -> Iterator[int | None]:
    """The folder, open, or None where it cannot be this user's alone."""
    handle = None
    try:
        with suppress(OSError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            found = os.fstat(handle)
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                os.close(handle)
                handle = None
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _read(folder: int, name: str) -> bytes:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _private(found) or found.st_size > MOST_BYTES:
            raise OSError("not a file of this user's own")
        return file.read(MOST_BYTES)


def _write(folder: int, name: str, content: bytes) -> None:
    """Whole or not at all: another process may read or write the same name meanwhile."""
    new = f".{name}.{secrets.token_hex(8)}"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise


def _prune(folder: int) -> None:
    """Only the newest stay."""
    ours = [name for name in os.listdir(folder) if name.startswith("providers-") and name.endswith(".bin")]
    ages = {name: os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns for name in ours}
    for name in sorted(ours, key=ages.__getitem__, reverse=True)[KEPT:]:
        os.unlink(name, dir_fd=folder)
