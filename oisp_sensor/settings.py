# SPDX-License-Identifier: Apache-2.0
"""Settings that hold for every run: `/etc/oisp/sensor.yaml`, then `$XDG_CONFIG_HOME/oisp/sensor.yaml` over it.

What stands there takes the place of a flag's default; a flag on the command line wins. With `--config FILE` that file
is read in place of both. Not here: anything that widens what is captured, or where it goes: a scope is asked for, each
time.

Contract. A file is checked whole, and its first mistake is a ConfigError with file, line and key. A file that somebody
else could have written is refused: it must belong to root or to the user who runs, and nobody else may write to it.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Container
from pathlib import Path
from typing import Any

from oisp_core.errors import ConfigError

__all__ = ["KEYS", "add_config_option", "default_files", "read"]

ETC = Path("/etc/oisp/sensor.yaml")
MOST = 65_536
"""Bytes of one file; there is no more to say than a dozen lines."""

CONTENT = ("metadata", "redacted", "full")

# Each is the flag of the same name, `-` for `_`: words that are allowed, str (a path, from the file's folder) or bool.
KEYS: dict[str, Any] = {"providers": str, "content": CONTENT, "chunks": bool, "hash_key": str, "no_cmdline": bool}


def add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings to use in place of /etc/oisp/sensor.yaml and ~/.config/oisp/sensor.yaml",
    )


def default_files() -> list[Path]:
    """Those that are read without `--config`, the weaker one first."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(home) if home.startswith("/") else Path.home() / ".config"
    return [ETC, folder / "oisp" / "sensor.yaml"]


def read(named: str | None, flags: Container[str]) -> dict[str, Any]:
    """What is set, of those flags. `named`: the file that `--config` names."""
    found: dict[str, Any] = {}
    for file in [Path(named)] if named is not None else default_files():
        found |= _settings(file, needed=named is not None)
    return {key: value for key, value in found.items() if key in flags}


def _settings(file: Path, *, needed: bool) -> dict[str, Any]:
    raw = _content(file, needed=needed)
    if raw is None:
        return {}
    from oisp_core.match.shape import Bool, Struct, Text, load_document  # where there is a file

    kinds = {key: Bool() if kind is bool else Text(words=() if kind is str else kind) for key, kind in KEYS.items()}
    document = load_document(file, raw)
    if not document.errors and document.value is not None:
        Struct(kinds).check(document.value, (), document)
    if document.errors:
        raise min(document.errors, key=lambda error: error.line or 0)
    folder = file.absolute().parent
    settings: dict[str, Any] = document.value or {}
    return {key: str(folder / value) if KEYS[key] is str else value for key, value in settings.items()}


def _content(file: Path, *, needed: bool) -> bytes | None:
    """None: there is no such file, and none is needed. Owner and mode are those of what is read, not of its name."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not needed:
            return None
        raise ConfigError(file, message=f"cannot be read: {error.strerror}") from error
    except OSError as error:
        if not needed and not _reachable(file):
            return None
        raise ConfigError(file, message=f"cannot be read: {error.strerror}") from error
    try:
        _refuse(file, os.fstat(descriptor))
        raw = os.read(descriptor, MOST + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MOST:
        raise ConfigError(file, expected=f"at most {MOST} bytes")
    return raw


def _reachable(file: Path) -> bool:
    """Whether its folders let this user as far as the file. Behind another user's home, which HOME still names after a
    change of user, are no settings of this user's."""
    try:
        file.stat()
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _refuse(file: Path, status: os.stat_result) -> None:
    owner = status.st_uid
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(file, expected="a file", got=stat.filemode(status.st_mode))
    if owner not in (0, os.geteuid()):
        expected = "a file of root or of the user who runs"
        raise ConfigError(file, message="belongs to another user", expected=expected, got=f"uid {owner}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = oct(stat.S_IMODE(status.st_mode))
        raise ConfigError(file, message="others can write to it", got=mode, hint="chmod go-w")
