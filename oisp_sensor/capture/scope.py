# SPDX-License-Identifier: Apache-2.0
"""What is captured, and nothing else: a command's tree, processes, a cgroup, a user, or everything.

The filter itself runs in the kernel (bpf/tls.bpf.c); here a scope is only described and checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import program
from oisp_sensor.capture.errors import CaptureError


@dataclass(frozen=True)
class Scope:
    """Make one with the class methods; `kind` is command, pid, cgroup, uid or all."""

    kind: str
    pids: tuple[int, ...] = ()
    follow: bool = True
    cgroup: str = ""
    uid: int = 0
    label: str = field(default="", compare=False)

    @classmethod
    def command(cls) -> Scope:
        """A command that Capture.spawn() starts, and its descendants."""
        return cls("command", label="command")

    @classmethod
    def pid(cls, *pids: int, follow: bool = True) -> Scope:
        """Running processes; with `follow` also the children they start from now on."""
        for pid in pids:
            if not Path(f"/proc/{pid}/stat").exists():
                raise CaptureError(f"there is no process {pid}")
        return cls("pid", pids=pids, follow=follow, label="pid " + ",".join(map(str, pids)))

    @classmethod
    def of_cgroup(cls, path: str) -> Scope:
        """Every process of a cgroup (version 2) and of those below it; `path` as under the unified mount point."""
        folder = unified_root() / path.lstrip("/")
        if not (folder / "cgroup.procs").exists():
            raise CaptureError(f"{path!r} is no cgroup of the unified hierarchy ({unified_root()})")
        return cls("cgroup", cgroup=str(folder), label=f"cgroup {path}")

    @classmethod
    def user(cls, uid: int) -> Scope:
        """Every process whose real user id this is."""
        return cls("uid", uid=uid, label=f"uid {uid}")

    @classmethod
    def everything(cls) -> Scope:
        """Every process of the machine but this one."""
        return cls("all", label="all")

    def settings(self, wake_bytes: int) -> program.Settings:
        mode = {
            "command": program.SCOPE_TREE,
            "pid": program.SCOPE_TREE,
            "cgroup": program.SCOPE_CGROUP,
            "uid": program.SCOPE_UID,
            "all": program.SCOPE_ALL,
        }[self.kind]
        made = program.Settings(mode, self.follow, self_pid=os.getpid(), wake_bytes=wake_bytes, uid=self.uid)
        if self.kind == "cgroup":
            # The inode of a cgroup's folder is the id that the kernel's helper gives.
            made.cgroup = Path(self.cgroup).stat().st_ino
            made.cgroup_level = len(Path(self.cgroup).relative_to(unified_root()).parts)
        return made


def unified_root() -> Path:
    """Mount point of cgroup version 2."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1])
    raise CaptureError("no cgroup version 2 hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def start_time_ns(pid: int) -> int:
    """Start of a process in nanoseconds since boot, to the clock tick. FileNotFoundError when it has gone."""
    with Path(f"/proc/{pid}/stat").open("rb") as file:
        line = file.read(4096)
    return int(line[line.rindex(b")") + 2 :].split()[19]) * program.CLOCK_TICK_NS
