# SPDX-License-Identifier: Apache-2.0
"""What a command is, and the small things that several of them share: sizes, durations, flags of the engine.

A command's module has an object named `command`. It is imported only when the command is asked for, so it may import
what it needs at its top.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Protocol

from oisp_core.errors import ConfigError
from oisp_sensor.settings import CONTENT, add_config_option

__all__ = ["Verb", "add_engine_options", "error_line", "read_hash_key", "size", "usage_error"]

_SIZE = re.compile(r"(\d+)\s*([kmg]?)(?:i?b)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
HASH_KEY_BYTES = (16, 4096)


class Verb(Protocol):
    """One verb of the command line. `run` answers the exit code; what a user did wrong it raises as OispError."""

    name: str
    help: str

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def size(text: str) -> int:
    """`64M`, `1GiB`, `65536`: bytes, by powers of 1024."""
    found = _SIZE.match(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: expected a number with K, M or G, such as 64M")
    return int(found[1]) * _UNITS[found[2].lower()]


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Flags that `record` and `replay` share: they mean the same engine."""
    engine = parser.add_argument_group("what the events hold")
    engine.add_argument(
        "--content",
        choices=CONTENT,
        default="metadata",
        help="texts of prompts, answers and tools: only lengths and hashes (metadata, the default), with what looks "
        "like personal data or secrets taken out (redacted), or whole (full)",
    )
    engine.add_argument("--chunks", action="store_true", help="also one event per piece of a streamed answer")
    engine.add_argument("--hash-key", metavar="FILE", help="make hashes HMAC-SHA-256 with this file's bytes as key")
    engine.add_argument("--no-cmdline", action="store_true", help="leave out the arguments of command lines")
    engine.add_argument("--providers", metavar="DIR", help="provider files of your own, over those that ship")
    add_config_option(parser)
    engine.add_argument("--id-seed", metavar="N", type=int, help="reproducible event ids (for tests and comparisons)")


def read_hash_key(path: str | None) -> bytes | None:
    """The key's bytes, one line end at the end left out."""
    if path is None:
        return None
    least, most = HASH_KEY_BYTES
    try:
        with Path(path).open("rb") as file:
            key = file.read(most + 3)
    except OSError as error:
        raise ConfigError(path, key="--hash-key", message=f"cannot be read: {error.strerror}") from error
    key = key.removesuffix(b"\n").removesuffix(b"\r")
    if not least <= len(key) <= most:
        raise ConfigError(path, key="--hash-key", expected=f"{least} to {most} bytes", got=f"{len(key)} bytes")
    return key


def usage_error(message: str, hint: str | None = None) -> ConfigError:
    """A mistake on the command line that argparse cannot see."""
    return ConfigError(message=message, hint=hint)


def error_line(text: str) -> None:
    """One line for the user, on the error stream, in the form of every message of this program."""
    try:
        print(f"oisp-sensor: {text}", file=sys.stderr, flush=True)
    except OSError:
        os.set_blocking(2, True)  # a command that shares our terminal may have made it non-blocking
