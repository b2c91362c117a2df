# SPDX-License-Identifier: Apache-2.0
"""Tells a service manager how far we are: sd_notify(3), which is one datagram to the socket that it names.

Anybody may use it to wait until capture stands: nothing of what happens after READY=1 is missed.
"""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify"]


def notify(state: str) -> bool:
    """False where nobody asked for it. A manager that does not listen is its own problem."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return False
    address = "\0" + where[1:] if where[0] == "@" else where
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.settimeout(1.0)
        end.sendto(state.encode(), address)
        return True
    return False
