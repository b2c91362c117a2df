# SPDX-License-Identifier: Apache-2.0
"""Where the data that ships with the package lies, and the only place in `oisp_core` that opens a file.

A wheel holds it under `oisp_core/_data/`; in a source tree, built in place or installed editable, the same folders
stand at the top level. One name works in both: `data("schema/v0.1/envelope.schema.json")`.
"""

from __future__ import annotations

from pathlib import Path

from oisp_core.errors import ResourceError

__all__ = ["data", "files", "names", "read", "read_file"]

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_data", _PACKAGE.parent)


def data(name: str) -> Path:
    """Path of the packaged file or folder `name`, written with `/` and relative to the top of the data.

    Raises ResourceError where it is not there, ValueError where `name` leaves the data.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        raise ValueError(f"a resource is named by a relative path without '..', not {name!r}")
    for root in _ROOTS:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise ResourceError(
        f"{name}: not found in this installation (looked in {', '.join(map(str, _ROOTS))}); reinstall oisp"
    )


def read(name: str) -> bytes:
    """Content of the packaged file `name`."""
    return data(name).read_bytes()


def names(folder: str, suffix: str = "") -> list[str]:
    """Names, usable with `read`, of all files below `folder` that end with `suffix`, sorted."""
    top = data(folder)
    found = (path.relative_to(top).as_posix() for path in top.rglob(f"*{suffix}") if path.is_file())
    return sorted(f"{folder}/{name}" for name in found)


def files(folder: Path | str, suffix: str) -> list[Path]:
    """The files of a folder that the user names, by suffix, sorted; not those of its subfolders."""
    return sorted(path for path in Path(folder).iterdir() if path.name.endswith(suffix) and path.is_file())


def read_file(path: Path | str, most: int) -> bytes:
    """A file that the user names. Raises OSError, and ValueError where it has more than `most` bytes."""
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most} bytes")
    return content
