# SPDX-License-Identifier: Apache-2.0
"""Runs an own process under capture, with private libraries, and keeps everything that was said of it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oisp_sensor.capture import Capture, Scope, messages
from oisp_sensor.capture.capture import Report
from oisp_sensor.capture.ringbuf import RingBuffer
from tests.live.capture.records import Stream, streams


@dataclass
class Run:
    records: list[bytes] = field(default_factory=list)
    told: list[messages.Message] = field(default_factory=list)
    code: int = -1
    losses: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None

    @property
    def streams(self) -> dict[int, Stream]:
        return streams(self.records)

    @property
    def clients(self) -> list[Stream]:
        return [s for s in self.streams.values() if not s.server]

    @property
    def servers(self) -> list[Stream]:
        return [s for s in self.streams.values() if s.server]

    def processes(self, event: str) -> list[messages.Process]:
        return [m for m in self.told if isinstance(m, messages.Process) and m.event == event]

    @property
    def lost(self) -> int:
        return sum(loss.records for loss in self.losses.values())


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script), *arguments]


def watch(
    private: Any, command: Sequence[str], *, consume: bool = True, env: dict[str, str] | None = None, **options: Any
) -> Run:
    """The command of a command scope, until it ends. With `consume` off the ring is only read afterwards."""
    run = Run()
    options.setdefault("libraries", [private.libssl])
    options.setdefault("ring_bytes", 1 << 26)  # all that a test moves: a busy machine may be slow to read it
    with Capture(Scope.command(), **options) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        child = capture.spawn(command, env={**private.env, **(env or {})})
        while child.poll() is None:
            capture.poll(0.02)
            if consume:
                run.records += ring.records()
        capture.poll()
        run.records += ring.records()
        run.told += messages.receive(capture.channel)
        run.losses = capture.losses()
        run.report = capture.report()
        run.code = child.wait()
        ring.close()
    return run


def open_descriptors() -> list[str]:
    """What this process holds that could keep a probe alive."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if "bpf" in target or "perf_event" in target:
            found.append(target)
    return found
