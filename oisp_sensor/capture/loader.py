# SPDX-License-Identifier: Apache-2.0
"""Loads the kernel programs for one scope: variant chosen by asking the kernel, maps sized, tracepoints attached."""

from __future__ import annotations

import contextlib
import os

from oisp_sensor.capture import kernel, objects, program
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.libbpf import Object
from oisp_sensor.capture.scope import Scope

_TRACEPOINTS = {
    "sched_process_fork": "on_fork",
    "sched_process_exec": "on_exec",
    "sched_process_exit": "on_exit",
}
# Hit by sockets only, unlike system calls; Linux 6.3 and later. Without them connections have no addresses.
_SOCKET_TRACEPOINTS = {"sock_send_length": "on_send", "sock_recv_length": "on_receive"}
CONTROL_BYTES = 256 << 10


class Programs:
    """The loaded object: its maps, its uprobe programs by name, and how they are to be attached."""

    def __init__(
        self,
        scope: Scope,
        ring_bytes: int,
        variant: str = "",
        *,
        multi: bool = True,
        plaintext: bool = False,
        guard: bool = False,
        stdio: bool = False,
    ) -> None:
        self.multi = False
        self._allow_multi = multi
        self._plaintext = plaintext
        self._guard = guard
        self._stdio = stdio
        self.variant = variant
        self._links: list[int] = []
        self._object = self._load(scope, ring_bytes, [variant] if variant else list(objects.VARIANTS))
        self.ring_fd = self._object.map_fd("ring")
        self.control_fd = self._object.map_fd("control")
        self.scope_fd = self._object.map_fd("scope")
        self.scope = kernel.Map(self.scope_fd, 4, program.MEMBER.size)
        self.losses = kernel.Map(self._object.map_fd("losses"), 4, program.LOSS.size)
        self.verdicts_fd = self._object.map_fd("verdicts")
        self.spared = kernel.Map(self._object.map_fd("spared"), 4, program.SPARED.size)
        self.costs = kernel.Map(self._object.map_fd("costs"), 4, program.COST.size)
        self.goroutines = kernel.Map(self._object.map_fd("goroutines"), program.HANDLE.size, program.THREAD_SIZE)
        self.threads = kernel.Map(self._object.map_fd("threads"), 8, program.THREAD_SIZE)
        self.conns = kernel.Map(self._object.map_fd("conns"), program.HANDLE.size, program.CONN_SIZE)
        self.uprobes = self._uprobe_programs()

    @property
    def cookies(self) -> bool:
        return self.variant == "modern"

    def _load(self, scope: Scope, ring_bytes: int, variants: list[str]) -> Object:
        refusals = []
        for variant in variants:
            try:
                loaded = self._load_variant(scope, ring_bytes, variant)
            except CaptureError as error:
                refusals.append(error)
                continue
            self.variant = variant
            return loaded
        raise refusals[-1]

    def _load_variant(self, scope: Scope, ring_bytes: int, variant: str) -> Object:
        made = Object(objects.path("tls", variant).read_bytes(), f"tls.{variant}")
        try:
            made.resize("ring", ring_bytes)
            made.resize("control", CONTROL_BYTES)
            settings = scope.settings(ring_bytes // 4)
            settings.plaintext = self._plaintext
            settings.guard = self._guard
            made.settings("oisp_settings", settings.pack())
            if not self._stdio:
                made.leave_out("on_syscall")
            if variant == "modern" and self._allow_multi and kernel.supports_uprobe_multi():
                made.make_multi("probe_any")
                self.multi = True
            made.load()
        except BaseException:
            made.close()
            self.multi = False
            raise
        return made

    def _uprobe_programs(self) -> dict[str, int]:
        if self.cookies:
            names = ["probe_any"]
        else:
            names = ["leave_call", "leave_shared", "leave_6", "leave_go_call"]
            names += [f"enter_{p.number}" for p in program.PROBES.values() if p.entry]
        found = {name: self._object.program_fd(name) for name in names}
        return {name: fd for name, fd in found.items() if fd is not None}

    def follow_processes(self) -> None:
        for tracepoint, name in _TRACEPOINTS.items():
            fd = self._object.program_fd(name)
            if fd is None:
                raise CaptureError(f"the kernel program has no {name}: a stale object")
            try:
                self._links.append(kernel.open_raw_tracepoint(tracepoint, fd))
            except OSError as error:
                raise CaptureError(f"tracepoint {tracepoint} cannot be attached: {error.strerror}") from error

    def follow_sockets(self) -> bool:
        """False where the kernel does not have these tracepoints."""
        wanted = _SOCKET_TRACEPOINTS | ({"inet_sock_set_state": "on_state"} if self._plaintext else {})
        for tracepoint, name in wanted.items():
            fd = self._object.program_fd(name)
            try:
                self._links.append(kernel.open_raw_tracepoint(tracepoint, fd if fd is not None else -1))
            except OSError:
                return False
        return True

    def follow_stdio(self) -> bool:
        """False where the kernel does not have what it takes."""
        fd = self._object.program_fd("on_syscall")
        if fd is None:
            return False
        try:
            self._links.append(kernel.open_raw_tracepoint("sys_exit", fd))
        except OSError:
            return False
        return True

    def close(self) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):
                os.close(link)
        self._links.clear()
        self._object.close()
