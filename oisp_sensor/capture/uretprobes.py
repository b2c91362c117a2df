# SPDX-License-Identifier: Apache-2.0
"""Where a uretprobe would harm the process that it is in, and why: one table.

A uretprobe replaces the return address of a call. RETs are probed instead; uretprobes come only on request, for
functions whose RETs cannot be told. Go is not in the table: its functions never get one, since its runtime reads return
addresses when a stack grows, and ends the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import kernel

__all__ = ["TABLE", "Machine", "harm"]

Version = tuple[int, int]
_EVERY: Version = (1 << 16, 0)


@dataclass(frozen=True)
class Machine:
    """What the rules look at: kernel, processor, and what the process has switched on. pid 0: nobody in particular."""

    version: Version = field(default_factory=kernel.kernel_version)
    architecture: str = field(default_factory=kernel.architecture)
    cpu: frozenset[str] = frozenset()
    status: str = ""  # /proc/PID/status
    pid: int = 0

    @classmethod
    def of(cls, pid: int) -> Machine:
        """Raises OSError when the process has gone."""
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace") if pid else ""
        return cls(cpu=_cpu_flags(), status=status, pid=pid)


@dataclass(frozen=True)
class Rule:
    """Kernels from `since` up to, not including, `until`, where `applies`."""

    since: Version
    until: Version
    applies: Callable[[Machine], bool]
    reason: str


TABLE = (
    Rule(
        (0, 0), _EVERY, lambda m: m.pid == 0, "it would be in every process that maps the file, and not all are known"
    ),
    # The trampoline ends in a system call from 6.11 on; seccomp filters let it through from 6.14 on. A process may set
    # its filter at any time, so that one without is no safer.
    Rule(
        (6, 11),
        (6, 14),
        lambda m: m.architecture == "x86_64",
        "before Linux 6.14 a seccomp filter kills a process for the system call that a uretprobe returns by",
    ),
    # Of kernels with user shadow stacks (6.6), those up to 6.11 do not change the copy of the return address there.
    Rule(
        (6, 6),
        (6, 11),
        lambda m: m.architecture == "x86_64" and "user_shstk" in m.cpu,
        "before Linux 6.11 a process with a shadow stack is killed when the return address differs from it",
    ),
    Rule(
        (6, 13),
        (6, 18),
        lambda m: m.architecture == "aarch64" and "gcs" in m.cpu,
        "before Linux 6.18 a process with a guarded control stack is killed when the return address differs from it",
    ),
    Rule(
        (0, 0),
        (6, 14),
        lambda m: "\nSeccomp:\t1" in m.status,
        "the process is in strict seccomp mode, which allows no system call that a uretprobe may need",
    ),
)


def harm(pid: int, machine: Machine | None = None) -> str:
    """Why this process must not get one; empty: nothing is known that speaks against it."""
    try:
        here = Machine.of(pid) if machine is None else machine
    except OSError:
        return "the process has gone"
    for rule in TABLE:
        if rule.since <= here.version < rule.until and rule.applies(here):
            return rule.reason
    return ""


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
