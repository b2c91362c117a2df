# SPDX-License-Identifier: Apache-2.0
"""Make `oisp_sensor/demo/recording.oisp`: capture the demo agent live (root, eBPF) with `--raw` and keep the recording.

What is written holds the demo's invented keys and texts, and nothing of the machine: the tool refuses a recording in
which the machine's name, a home folder or the tree's path is found.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from oisp_sensor.demo import run

ROOT = Path(__file__).resolve().parents[1]
SIZE_MAX = 256 * 1024


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
        data = raw.read_bytes()
    found = betrayals(data)
    if found:
        sys.exit(f"make_demo_recording.py: not written: the recording names {', '.join(found)}")
    if len(data) > SIZE_MAX:
        sys.exit(f"make_demo_recording.py: not written: {len(data)} bytes, more than {SIZE_MAX}")
    run.RECORDING.write_bytes(data)
    print(f"{run.RECORDING.name}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
