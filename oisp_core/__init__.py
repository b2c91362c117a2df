# SPDX-License-Identifier: Apache-2.0
"""The parsing core of OISP: TLS plaintext in, OISP events out. No I/O, no clock, no threads, nothing of eBPF.

    from oisp_core import Engine

    engine = Engine(content="metadata")
    engine.feed(conn=1, direction=">", ts_ns=now, data=request_bytes)
    engine.feed(conn=1, direction="<", ts_ns=now, data=response_bytes)
    lines = engine.drain()  # NDJSON, one OISP event a line

What is listed in `__all__` is promised; the modules below are usable alone and documented in their stubs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oisp_core.engine import ABI_READ, ABI_WRITE, Engine, Request, Response
    from oisp_core.errors import (
        ConfigError,
        EngineBusyError,
        EventError,
        LimitError,
        OispError,
        RecordingError,
        ResourceError,
    )
    from oisp_core.limits import Limits
    from oisp_core.reassemble.tokens import Status

__all__ = [
    "ABI_READ",
    "ABI_WRITE",
    "ConfigError",
    "Engine",
    "EngineBusyError",
    "EventError",
    "LimitError",
    "Limits",
    "OispError",
    "RecordingError",
    "Request",
    "ResourceError",
    "Response",
    "Status",
    "get_include",
]

# Loaded when first asked for: who needs only an error or the validator does not pay for the engine and its tables.
_HOMES = {
    "oisp_core.engine": ("ABI_READ", "ABI_WRITE", "Engine", "Request", "Response"),
    "oisp_core.errors": (
        "ConfigError",
        "EngineBusyError",
        "EventError",
        "LimitError",
        "OispError",
        "RecordingError",
        "ResourceError",
    ),
    "oisp_core.limits": ("Limits",),
    "oisp_core.reassemble.tokens": ("Status",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def get_include() -> str:
    """Folder of the C headers (`#include "oisp/record.h"`), for extensions that `cimport oisp_core.capi`."""
    return str(Path(__file__).resolve().parent / "include")
