# SPDX-License-Identifier: Apache-2.0
"""A folder of plain files in place of /proc."""

from __future__ import annotations

from pathlib import Path

START = 4242


def make(
    proc: Path,
    pid: int = 7,
    *,
    comm: bytes = b"agent",
    ppid: int = 1,
    start: int = START,
    cmdline: bytes = b"agent\0-x\0",
    status: bytes = b"Uid:\t1000\t0\t0\t0\nGid:\t1001\t0\t0\t0\nGroups:\t4 27\n",
    cgroup: bytes = b"0::/user.slice\n",
    exe: str = "/usr/bin/agent",
    tty: int = 0x8803,
) -> Path:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    fields = [b"S", str(ppid).encode(), b"5", b"6", str(tty).encode(), *[b"0"] * 14, str(start).encode(), b"0", b"0"]
    (folder / "stat").write_bytes(str(pid).encode() + b" (" + comm + b") " + b" ".join(fields) + b"\n")
    (folder / "cmdline").write_bytes(cmdline)
    (folder / "status").write_bytes(status)
    (folder / "cgroup").write_bytes(cgroup)
    (folder / "sessionid").write_bytes(b"3")
    (folder / "exe").symlink_to(exe)
    (folder / "cwd").symlink_to("/srv")
    return folder
