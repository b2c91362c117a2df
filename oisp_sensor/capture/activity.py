# SPDX-License-Identifier: Apache-2.0
"""The kernel programs of bpf/activity.bpf.c: loaded onto the scope of a capture, attached kind by kind.

Not here: what becomes of their records (`oisp_sensor.activity`), which asks for no privilege.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Sequence

from oisp_sensor.capture import kernel, objects
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.libbpf import Object
from oisp_sensor.capture.scope import Scope

KINDS = ("process", "network", "dns", "file")
RING_BYTES = 4 << 20

_TRACEPOINTS = {
    "process": {
        "sched_process_fork": "on_fork",
        "sched_process_exec": "on_exec",
        "sched_process_exit": "on_exit",
    },
    "network": {"inet_sock_set_state": "on_state"},
    "dns": {"net_dev_queue": "on_packet_out", "netif_receive_skb": "on_packet_in"},
    "file": {"sys_exit": "on_syscall"},
}
_LOSSES = ("text", "process", "network", "dns", "file", "table", "file_open")
_COUNT = struct.Struct("<Q")


class ActivityPrograms:
    """`scope_fd`: the table of a scope that another object keeps. close() detaches; the ring stays readable."""

    def __init__(self, scope: Scope, scope_fd: int, kinds: tuple[str, ...], variant: str, ring_bytes: int) -> None:
        self.kinds = kinds
        self.refused: dict[str, str] = {}
        self._links: list[int] = []
        self._closed = False
        self._last: dict[str, int] = {}
        self._object = Object(objects.path("activity", variant).read_bytes(), f"activity.{variant}")
        try:
            self._object.resize("activity", ring_bytes)
            self._object.share("scope", scope_fd)
            self._object.settings("oisp_settings", scope.settings(ring_bytes // 4).pack())
            self._leave_out(variant)
            self._object.load()
        except BaseException:
            self._object.close()
            raise
        self.ring_bytes = ring_bytes
        self.ring_fd = self._object.map_fd("activity")
        self._counts = kernel.Map(self._object.map_fd("activity_losses"), 4, _COUNT.size)

    def _leave_out(self, variant: str) -> None:
        """What was not asked for is not even loaded; but the end of a process ends its files."""
        if variant == "basic" and "file" in self.kinds:
            self.kinds = tuple(kind for kind in self.kinds if kind != "file")
            self.refused["file"] = "needs Linux 5.17"
        for kind in set(_TRACEPOINTS) - set(self._followed()):
            for name in _TRACEPOINTS[kind].values():
                self._object.leave_out(name)

    def _followed(self) -> list[str]:
        return [kind for kind in KINDS if kind in self.kinds or (kind == "process" and "file" in self.kinds)]

    def attach(self) -> None:
        """Before the programs that keep the scope are: they forget a process when it exits."""
        for kind in self._followed():
            for tracepoint, name in _TRACEPOINTS[kind].items():
                try:
                    self._links.append(kernel.open_raw_tracepoint(tracepoint, self._object.program_fd(name) or -1))
                except OSError as error:
                    self.refused[kind] = f"tracepoint {tracepoint}: {error.strerror}"

    def losses(self) -> dict[str, int]:
        """Records that did not get into the ring, by kind, and `table`: states that found no room. After close(), as
        it was then."""
        if self._closed:
            return self._last
        found = {}
        for index, name in enumerate(_LOSSES):
            value = self._counts.get(index.to_bytes(4, "little"))
            found[name] = _COUNT.unpack(value)[0] if value else 0
        return found

    def close(self) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):
                os.close(link)
        self._links.clear()
        self._last = self.losses()
        self._closed = True
        self._object.close()


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise CaptureError(f"no such activity: {', '.join(unknown)}", f"one of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in kinds)
