# SPDX-License-Identifier: Apache-2.0
"""Rivals in C: llhttp, out of the source distribution of httptools, and nghttp2, out of the system's library.

    python -m benchmarks.rivals          fetch the sources of llhttp into build/rivals/ with pip

Neither is needed: what is not there is left out of the tables, and said to be.
"""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["llhttp_sources", "nghttp2_library"]

FOLDER = Path(__file__).resolve().parents[1] / "build" / "rivals"


def llhttp_folder() -> Path | None:
    """vendor/llhttp of the release of httptools that is installed, once it has been fetched."""
    try:
        folder = FOLDER / f"httptools-{version('httptools')}" / "vendor" / "llhttp"
    except PackageNotFoundError:
        return None
    return folder if (folder / "src" / "llhttp.c").is_file() else None


def llhttp_sources() -> tuple[list[Path], list[Path]]:
    """C files and folders of headers."""
    folder = llhttp_folder()
    if folder is None:
        raise FileNotFoundError("llhttp is not here: python -m benchmarks.rivals")
    return [folder / "src" / name for name in ("api.c", "http.c", "llhttp.c")], [folder / "include"]


def nghttp2_library() -> str | None:
    return ctypes.util.find_library("nghttp2")


def fetch() -> Path:
    """The release of httptools that is installed, as sources; only vendor/llhttp of it is unpacked."""
    release = version("httptools")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--no-binary", "httptools", f"httptools=={release}"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([*command, "-d", place], check=True)
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as file:
            members = [m for m in file.getmembers() if m.name.startswith(f"httptools-{release}/vendor/llhttp/")]
            file.extractall(FOLDER, members, filter="data")
    found = llhttp_folder()
    if found is None:
        raise FileNotFoundError(f"httptools {release} brings no sources of llhttp")
    return found


if __name__ == "__main__":
    print(fetch())
