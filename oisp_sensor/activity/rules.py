# SPDX-License-Identifier: Apache-2.0
"""Which files are worth an event. Reading libraries, modules and caches is how every program starts: left out, counted.

What is written, deleted or renamed is told wherever it is, but for caches: somebody looks for a changed library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import translate
from re import compile as pattern

__all__ = ["CACHES", "READ_ONLY", "FileRules"]

# Not told when they are only read.
READ_ONLY = (
    "*.so",
    "*.so.*",
    "*.pyc",
    "*.pyd",
    "*.pth",
    "*/site-packages/*",
    "*/dist-packages/*",
    "*/lib/python3*",
    "*/node_modules/*",
    "/usr/lib/*",
    "/usr/lib64/*",
    "/lib/*",
    "/lib64/*",
    "/usr/share/locale/*",
    "/usr/share/zoneinfo/*",
    "/etc/ld.so.*",
    "/etc/locale*",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/gai.conf",
    "/etc/localtime",
)
# Not told at all.
CACHES = ("*/__pycache__/*", "*/.cache/*", "/var/cache/*", "/dev/*", "/memfd:*")


class FileRules:
    """`exclude`: patterns of the user's own, in which * crosses slashes; `defaults` off tells every file."""

    def __init__(self, exclude: Sequence[str] = (), *, defaults: bool = True) -> None:
        self._never = _any((*(CACHES if defaults else ()), *exclude))
        self._read = _any(READ_ONLY if defaults else ())

    def tells(self, path: str, *, changed: bool) -> bool:
        if self._never is not None and self._never(path):
            return False
        return changed or self._read is None or not self._read(path)


def _any(globs: Sequence[str]) -> Callable[[str], object] | None:
    return pattern("|".join(translate(glob) for glob in globs)).match if globs else None
