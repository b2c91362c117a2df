# SPDX-License-Identifier: Apache-2.0
"""What this machine gives capture, and what is missing.

Every answer is an attempt, not a version looked up: the programs are loaded, a link is tried. Nothing is attached.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oisp_sensor.capture import kernel, objects
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.scope import Scope

_CAPABILITIES = {
    "CAP_BPF": (39, "loads the programs and reads their maps"),
    "CAP_PERFMON": (38, "attaches probes and reads the mappings of the scope"),
    "CAP_SYS_PTRACE": (19, "opens files as processes of other users mapped them"),
    "CAP_DAC_READ_SEARCH": (2, "reads libraries below folders of other users"),
    "CAP_SYS_ADMIN": (21, "opens /proc/PID/map_files; perf-event uprobes where the kernel has no uprobe_multi"),
}
# CAP_SYS_ADMIN stands in for the two that were split off it.
_ADMIN_COVERS = frozenset({"CAP_BPF", "CAP_PERFMON"})


@dataclass(frozen=True)
class Check:
    """One thing that capture needs or can use."""

    name: str
    ok: bool
    found: str
    required: bool = True
    remedy: str = ""


def probe() -> list[Check]:
    """All checks, in the order in which one depends on another. Works without root, and then says so."""
    checks = [_platform()]
    if not checks[0].ok:
        return checks
    for check in (_btf, _lockdown, _root, _libbpf, _objects, _uprobes, _uprobe_multi, _cgroups, _programs):
        checks.append(_guarded(check))
    return checks


def ready(checks: list[Check]) -> bool:
    """Whether capture can run."""
    return all(check.ok for check in checks if check.required)


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except OSError as error:
        return Check(check.__name__.strip("_"), False, f"cannot be told: {error.strerror}")


def _platform() -> Check:
    system, machine = platform.system(), kernel.architecture()
    if sys.platform != "linux":
        return Check("kernel", False, system, remedy="capture needs Linux; everything else works here")
    found = f"{platform.release()} {machine}"
    if kernel.kernel_version() < (5, 8):
        return Check("kernel", False, found, remedy="a kernel from 5.8 on has the ring buffer that capture writes to")
    return Check("kernel", True, found)


def _btf() -> Check:
    file = Path("/sys/kernel/btf/vmlinux")
    if file.exists():
        return Check("BTF", True, f"{file}, {file.stat().st_size >> 10} KiB")
    return Check("BTF", False, "none", remedy="a kernel with CONFIG_DEBUG_INFO_BTF: Debian 11, Ubuntu 20.10, RHEL 8.2")


def _lockdown() -> Check:
    file = Path("/sys/kernel/security/lockdown")
    try:
        mode = file.read_text().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return Check("lockdown", True, "not in use")
    remedy = "boot with lockdown=integrity: this mode forbids BPF to read memory" if mode == "confidentiality" else ""
    return Check("lockdown", mode != "confidentiality", mode, remedy=remedy)


def _root() -> Check:
    effective = int(_status_field("CapEff"), 16)
    admin = bool(effective >> 21 & 1)
    absent = [
        name
        for name, (bit, _) in _CAPABILITIES.items()
        if not effective >> bit & 1 and not (admin and name in _ADMIN_COVERS)
    ]
    if not absent:
        return Check("capabilities", True, "all that are needed")
    reasons = "; ".join(f"{name}: {_CAPABILITIES[name][1]}" for name in absent)
    return Check("capabilities", False, f"without {', '.join(absent)}", remedy=f"run as root ({reasons})")


def _status_field(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return "0"


def _libbpf() -> Check:
    from oisp_sensor.capture.libbpf import Library

    try:
        library = Library.open()
    except CaptureError as error:
        return Check("libbpf", False, error.what, remedy=error.remedy)
    return Check("libbpf", True, f"{library.version} ({library.path})")


def _objects() -> Check:
    found = []
    for variant in objects.VARIANTS:
        try:
            found.append(objects.path("tls", variant).name)
        except CaptureError as error:
            return Check("kernel programs", False, error.what, remedy=error.remedy)
    return Check("kernel programs", True, ", ".join(found))


def _uprobes() -> Check:
    try:
        return Check("uprobes", True, f"event source {kernel.uprobe_type()}")
    except OSError:
        return Check("uprobes", False, "none", remedy="a kernel built with CONFIG_UPROBE_EVENTS")


def _uprobe_multi() -> Check:
    if not kernel.supports_uprobe_multi():
        found = "not in this kernel, or not allowed: one perf event per probe"
        return Check("uprobe_multi", False, found, required=False, remedy="Linux 6.6 or later")
    per_process = kernel.filters_by_process()
    found = "per process: others do not trap" if per_process else "for all that map a file (per process: Linux 6.10)"
    return Check("uprobe_multi", True, found, required=False)


def _cgroups() -> Check:
    from oisp_sensor.capture.scope import unified_root

    try:
        return Check("cgroup v2", True, str(unified_root()), required=False)
    except CaptureError as error:
        return Check("cgroup v2", False, error.what, required=False, remedy=error.remedy)


def _programs() -> Check:
    """Loads them, as a capture would, and lets them go."""
    from oisp_sensor.capture.loader import Programs

    if os.geteuid() != 0 and not int(_status_field("CapEff"), 16) >> 39 & 1:
        return Check("load", False, "not tried without the capabilities above", remedy="run as root")
    try:
        loaded = Programs(Scope.command(), 1 << 16)
    except CaptureError as error:
        return Check("load", False, error.what, remedy=error.remedy)
    found = f"{loaded.variant} programs, {'uprobe_multi' if loaded.multi else 'perf events'}"
    loaded.close()
    return Check("load", True, found)
