# SPDX-License-Identifier: Apache-2.0
"""Make `oisp_sensor/demo/recording.oisp`: capture the demo agent live (root, eBPF) with `--raw` and keep the recording.

What is written holds the demo's invented keys and texts, and nothing of the machine: who stood behind the connections
is replaced by an invented user of an invented host, and the tool refuses a recording in which the tree's path, a home
folder or the machine's name is still found.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from oisp_sensor.capture import recording
from oisp_sensor.demo import run

ROOT = Path(__file__).resolve().parents[1]
SIZE_MAX = 256 * 1024


HOST = {"hostname": "demo", "os": "linux", "arch": "x86_64"}
ACTOR = {"uid": 1000, "gid": 1000, "user": "demo", "is_elevated": False}
COMMAND = ["python3", "-m", "oisp_sensor.demo.agent"]
PROCESS = {"exe": "/usr/bin/python3", "name": "python3", "cwd": "/home/demo", "cmdline": " ".join(COMMAND)}


def invented(members: bytes) -> bytes:
    """The context of a connection with nobody real in it; identifiers and times of the process stay."""
    known = json.loads(b"{" + members + b"}")
    kept = {name: known["process"][name] for name in ("pid", "start_time") if name in known["process"]}
    known["host"], known["actor"] = HOST, ACTOR
    known["process"] = {**kept, **PROCESS, "cmdline_args": COMMAND}
    known["source"].pop("sensor_host", None)
    return json.dumps(known, separators=(",", ":")).encode()[1:-1]


def anonymous(path: Path) -> bytes:
    with recording.Recording(path) as original:
        info = {**original.info, "host": HOST}
        parts = [recording.header(info, original.clock_base_ns)]
        for record in original:
            kind = recording.RECORD.unpack_from(record)[1]
            if kind == recording.KIND_CONTEXT:
                _, _, _, conn, size, _ = recording.CONTEXT.unpack_from(record)
                start = recording.CONTEXT.size
                parts.append(recording.context_record(conn, invented(bytes(record[start : start + size]))))
            else:
                parts.append(bytes(record))
        record.release()
    return b"".join(parts)


def betrayals(data: bytes) -> list[str]:
    """What of this machine stands in the recording."""
    names = {platform.node(), str(ROOT), str(Path.home()), os.environ.get("USER", ""), tempfile.gettempdir()}
    return sorted(name for name in names if len(name) > 4 and name.encode() in data)


def main() -> int:
    obstacle = run.obstacle()
    if obstacle:
        sys.exit(f"make_demo_recording.py: nothing can be captured here: {obstacle}")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "recording.oisp"
        status = run.capture(Path(folder) / "events.jsonl", "--raw", str(raw))
        if status:
            return status
        data = anonymous(raw)
    found = betrayals(data)
    if found:
        sys.exit(f"make_demo_recording.py: not written: the recording names {', '.join(found)}")
    if len(data) > SIZE_MAX:
        sys.exit(f"make_demo_recording.py: not written: {len(data)} bytes, more than {SIZE_MAX}")
    (ROOT / "oisp_sensor" / "demo" / run.RECORDING.name).write_bytes(data)
    print(f"{run.RECORDING.name}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
