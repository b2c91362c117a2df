# SPDX-License-Identifier: Apache-2.0
"""What `./oisp run` starts: the demo agent under `oisp-sensor record`, or its recording where nothing can be captured.

Both ways go through the commands that a user would type. Only the agent is probed, through private copies of its TLS
libraries in a temporary folder; the provider double runs outside the capture, on the system's own.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from oisp_sensor.demo.double import Double, running
from oisp_sensor.demo.libraries import NoPrivateLibrary, PrivateLibraries, copy_libraries

EVENTS = "oisp-events-demo.jsonl"
RECORDING = Path(__file__).parent / "recording.oisp"
AGENT = [sys.executable, "-P", "-m", "oisp_sensor.demo.agent"]
# Shaped like real keys, so that the events show how keys are reported, and good for nothing.
KEYS = {
    "OPENAI_API_KEY": "sk-proj-demo-key-that-opens-nothing-00000000",
    "ANTHROPIC_API_KEY": "sk-ant-api03-demo-key-that-opens-nothing-0000",
}


def sensor(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "oisp_sensor", *arguments]


def obstacle() -> str | None:
    """Why the agent cannot be captured on this machine, in a few words; None where it can."""
    if sys.platform != "linux":
        return f"eBPF needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "eBPF needs root: sudo ./oisp run"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF"
    if not Path("/sys/bus/event_source/devices/uprobe").exists():
        return "this kernel has no uprobes"
    for library in ("libelf.so.1", "libbpf.so.1"):
        if not loadable(library):
            return f"{library} is not installed"
    absent = [name for name in ("openai", "anthropic", "trustme") if find_spec(name) is None]
    return f"the demo needs {', '.join(absent)}: pip install 'oisp[demo]'" if absent else None


def loadable(library: str) -> bool:
    bundled = Path(__file__).parents[1] / "_libs" / library
    for name in (str(bundled), library):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


@contextmanager
def workshop() -> Iterator[Path]:
    """A private folder; under sudo it belongs to the caller, whom `record` runs the agent as."""
    with tempfile.TemporaryDirectory(prefix="oisp-demo-") as name:
        folder = Path(name)
        yield folder


def give(folder: Path) -> None:
    """Under sudo the agent runs as the calling user and must read what was prepared for it."""
    user = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and user.isdigit():
        group = os.environ.get("SUDO_GID", user)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, int(user), int(group), follow_symlinks=False)


def agent_environment(double: Double, libraries: PrivateLibraries, home: Path) -> dict[str, str]:
    """Nothing of the caller's but where programs are: the demo reads no key and no setting of theirs."""
    kept = {
        name: os.environ[name] for name in ("PATH", "TERM", "COLUMNS", "SUDO_UID", "SUDO_GID") if name in os.environ
    }
    root = str(Path(__file__).parents[2])
    return {
        **kept,
        **double.env,
        **KEYS,
        **libraries.env,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": root,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def capture(events: Path, *options: str) -> int:
    """Capture one run of the agent into `events`; more options for `record` may follow. Returns its exit code."""
    with workshop() as folder:
        home = folder / "home"
        home.mkdir()
        served = folder / "double"
        served.mkdir()
        libraries = copy_libraries(folder / "lib")
        with running(served) as double:
            give(folder)
            environment = agent_environment(double, libraries, home)
            command = sensor("record", "--content", "full", "--library", str(libraries.libssl), "--out", str(events))
            # The library path is for the agent alone: the sensor itself stays on the system's libraries.
            inside = ["env", f"LD_LIBRARY_PATH={libraries.folder}", *AGENT]
            outside = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
            return subprocess.run([*command, *options, "--", *inside], env=outside, check=False).returncode


def replay(events: Path) -> int:
    command = sensor("replay", "--content", "full", "--out", str(events), str(RECORDING))
    return subprocess.run(command, check=False).returncode


def live(events: Path) -> int:
    print("Capturing the demo agent (OpenAI and Anthropic SDKs over TLS to a provider double on loopback).")
    print("This demo asks for --content full, so that texts are shown; the default is metadata.", flush=True)
    return capture(events)


def main() -> int:
    events = Path(EVENTS)
    if not os.access(Path.cwd(), os.W_OK):
        events = Path(tempfile.mkdtemp(prefix="oisp-demo-")) / EVENTS
    events.unlink(missing_ok=True)
    reason = obstacle()
    if reason is None:
        try:
            status = live(events)
        except NoPrivateLibrary as error:
            reason = str(error)
    if reason is not None:
        print(f"Nothing can be captured here ({reason}); replaying the bundled recording instead.", flush=True)
        status = replay(events)
    if status == 0:
        status = subprocess.run(sensor("show", str(events)), check=False).returncode
        size = os.get_terminal_size().columns if sys.stdout.isatty() else shutil.get_terminal_size().columns
        print(f"{'-' * min(size, 40)}\nThe events are in {events} (one JSON object a line).")
    return status
