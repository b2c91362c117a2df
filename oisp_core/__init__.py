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

from pathlib import Path

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


def get_include() -> str:
    """Folder of the C headers (`#include "oisp/record.h"`), for extensions that `cimport oisp_core.capi`."""
    return str(Path(__file__).resolve().parent / "include")
