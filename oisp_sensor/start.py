# SPDX-License-Identifier: Apache-2.0
"""Starts a fresh interpreter that will give up its power: no environment of ours, no path but ours, one channel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from oisp_sensor import border

__all__ = ["start_confined"]

_PACKAGES = ("oisp_sensor", "oisp_core", "msgspec", "rich", "yaml", "numpy")
# Of our environment it sees only what a terminal and a loader of libraries need.
_ENVIRONMENT = (
    "COLORTERM", "COLUMNS", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LINES", "NO_COLOR", "TERM", "TZ",
)  # fmt: skip
# Libraries that would start threads of their own: what is confined has one.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1")


def start_confined(boot: str, stdout: int | None = None) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """`boot` gets the number of its channel's descriptor and the folders that it may import from. Raises OSError."""
    ours, theirs = border.pair()
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
    words = [sys.executable, "-I", "-c", boot, str(theirs.fileno()), *_folders()]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            env=environment,
            cwd="/",
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _folders() -> list[str]:
    """Where this interpreter found what is imported: `-I` takes no path from the environment."""
    found = []
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parents[1] if spec.submodule_search_locations else Path(spec.origin).parent
            found.append(str(folder))
    return list(dict.fromkeys(found))
