# SPDX-License-Identifier: Apache-2.0
"""What is captured, and nothing else: a command's tree, processes, a cgroup, a container, a user, a program, or all.

The filter itself runs in the kernel (bpf/tls.bpf.c); here a scope is only described and checked.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from oisp_sensor.capture import program
from oisp_sensor.capture.errors import CaptureError


@dataclass(frozen=True)
class Scope:
    """Make one with the class methods; `kind` is command, pid, cgroup, uid, exe or all."""

    kind: str
    pids: tuple[int, ...] = ()
    follow: bool = True
    cgroup: str = ""
    uid: int = 0
    exe: str = ""
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
    def container(cls, name: str) -> Scope:
        """Every process of a container, by its id or the beginning of it: the cgroup that its runtime made for it."""
        if not re.fullmatch(r"[0-9a-f]{6,64}", name):
            raise CaptureError(
                f"{name!r} is no container id", "give 6 to 64 hexadecimal digits, as `docker ps` and `crictl ps` show"
            )
        root = unified_root()
        # docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope; with the cgroupfs driver ID alone
        pattern = re.compile(rf"(?:[a-z-]+-)?{name}[0-9a-f]*(?:\.scope)?")
        found = sorted(p for p in root.rglob("*") if pattern.fullmatch(p.name) and (p / "cgroup.procs").exists())
        tops = [p for p in found if not any(other in p.parents for other in found)]
        if len(tops) != 1:
            raise CaptureError(
                f"no container {name} runs here" if not tops else f"{name} is the beginning of {len(tops)} containers",
                f"containers are looked for by the names of their cgroups below {root}",
            )
        made = cls.of_cgroup(str(tops[0].relative_to(root)))
        return cls("cgroup", cgroup=made.cgroup, label=f"container {name}")

    @classmethod
    def executable(cls, path: str) -> Scope:
        """Every process that runs this file, now or later; their children as long as they run it too."""
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):
                raise CaptureError(f"{path}: no regular file")
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}") from error
        return cls("exe", exe=str(Path(path).resolve()), label=f"executable {path}")

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
            "exe": program.SCOPE_EXE,
        }[self.kind]
        made = program.Settings(mode, self.follow, self_pid=os.getpid(), wake_bytes=wake_bytes, uid=self.uid)
        if self.kind == "cgroup":
            # The inode of a cgroup's folder is the id that the kernel's helper gives.
            made.cgroup = Path(self.cgroup).stat().st_ino
            made.cgroup_level = len(Path(self.cgroup).relative_to(unified_root()).parts)
        if self.kind == "exe":
            made.exe_device, made.exe_inode = kernel_identity(self.exe)
        return made


def kernel_identity(path: str) -> tuple[int, int]:
    """(device, inode) of a file as the kernel has them inside: on some file systems stat(2) says another device. A
    mapping of our own shows them."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ):
        wanted = os.fstat(file.fileno()).st_ino
        for line in Path("/proc/self/maps").read_bytes().splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and int(fields[4]) == wanted and os.fsdecode(fields[5]) == path:
                major, _, minor = fields[3].partition(b":")
                return int(major, 16) << 20 | int(minor, 16), wanted
    raise CaptureError(f"{path}: the kernel's name for it cannot be told")


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
