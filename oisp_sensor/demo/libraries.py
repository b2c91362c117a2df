# SPDX-License-Identifier: Apache-2.0
"""Private copies of the OpenSSL libraries, for targets that must be probed without touching anybody else.

A uprobe belongs to a file: every process that maps the system's libssl would run it. A copy in a private folder is
another file, and only the processes that are started with its folder on LD_LIBRARY_PATH map it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class NoPrivateLibrary(Exception):
    """This interpreter's OpenSSL cannot be replaced by a copy; the message says why."""


@dataclass(frozen=True)
class PrivateLibraries:
    folder: Path
    libssl: Path
    libcrypto: Path

    @property
    def env(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.folder)}


@cache
def libraries_of(program: str) -> tuple[Path, Path]:
    """libssl and libcrypto as the dynamic loader would find them for this file."""
    try:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPrivateLibrary(f"ldd cannot read {program}: {error}") from error
    paths = [Path(found) for found in re.findall(r"=> (/\S*/lib(?:ssl|crypto)\.so\S*)", listed)]
    ssl = next((path for path in paths if path.name.startswith("libssl")), None)
    crypto = next((path for path in paths if path.name.startswith("libcrypto")), None)
    if ssl is None or crypto is None:
        raise NoPrivateLibrary(f"{program} has no shared libssl and libcrypto (linked in, or another TLS library)")
    return ssl, crypto


def copy_libraries(folder: Path, program: str | None = None) -> PrivateLibraries:
    """Copy what `program` (default: this interpreter's `_ssl`) loads into `folder`, which is made if absent."""
    if program is None:
        import _ssl

        program = getattr(_ssl, "__file__", None)
        if program is None:
            raise NoPrivateLibrary(f"{sys.executable} has OpenSSL built in")
    ssl, crypto = libraries_of(program)
    folder.mkdir(parents=True, exist_ok=True)
    for library in (ssl, crypto):
        shutil.copy(library.resolve(), folder / library.name)  # under the soname that the loader looks for
    return PrivateLibraries(folder, folder / ssl.name, folder / crypto.name)
