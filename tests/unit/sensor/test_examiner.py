# SPDX-License-Identifier: Apache-2.0
"""Reading ELF in a process of its own: the same answers, and whatever that process does, a bounded one."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="capture is Linux's")

if sys.platform == "linux":
    from oisp_sensor import examiner as module
    from oisp_sensor.capture.targets import examine
    from oisp_sensor.examiner import Examiner, executable_ranges

HEAD = "import sys; sys.path[:0] = [p for p in sys.argv[2:] if p not in sys.path]\n"
TAIL = "\nimport oisp_sensor.examiner as e\ne.main(int(sys.argv[1]))"
# Replaces what reads the file, once its process has warmed up.
REPLACED = """
import oisp_sensor.capture.targets as targets
real = targets.examine
def examine(fd, path):
    return real(fd, path) if fd_is_own(fd) else changed(fd)
def fd_is_own(fd):
    import os
    return os.readlink(f"/proc/self/fd/{fd}") == os.path.realpath(sys.executable) if not confined else False
confined = []
import oisp_sensor.seccomp as seccomp
install = seccomp.install
def installing(rules):
    confined.append(1)
    install(rules)
seccomp.install = installing
targets.examine = examine
"""


@pytest.fixture
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Examiner]:
    changed = getattr(request, "param", "")
    if changed:
        monkeypatch.setattr(module, "BOOT", HEAD + changed + REPLACED + TAIL)
    examiner = Examiner()
    examiner.start()
    yield examiner
    examiner.close()


def mapped_libraries() -> list[str]:
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sorted({line.split(None, 5)[5] for line in lines if "r-xp" in line and line.count("/") and "[" not in line})


def ask(examiner: Examiner, path: str | Path) -> Any:
    fd = os.open(path, os.O_RDONLY)
    try:
        return examiner.examine(fd, str(path)), examine(fd, str(path))
    finally:
        os.close(fd)


def test_the_same_as_in_this_process(made: Examiner, tmp_path: Path) -> None:
    """Of everything that this interpreter has mapped, and of what is no ELF file at all."""
    (tmp_path / "text").write_text("no program")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes(Path(sys.executable).read_bytes()[:3000])
    paths = [*mapped_libraries()[:25], *(str(tmp_path / name) for name in ("text", "empty", "cut"))]
    for path in paths:
        there, here = ask(made, path)
        assert there == here, path


LOOPS = "def changed(fd):\n    while True: pass\n"
DIES = "def changed(fd):\n    import ctypes; ctypes.string_at(0)\n"
FLOODS = """
def changed(fd):
    target = targets.Target("x", 0, 0)
    target.error = "x" * (1 << 20)
    return target
"""
OUTSIDE = """
def changed(fd):
    target = targets.Target("x", 0, 0, functions=("SSL_read",))
    target.plan.entries.append((5, 1))
    return target
"""
OUTSIDE_TOO = OUTSIDE.replace("plan.entries", "plan.unknown")
IN_GO = OUTSIDE.replace("plan.entries", "plan.unknown").replace("(5, 1)", "(5, 13)")
TRIES = """
import os, socket
def act(function):
    try:
        function()
    except OSError as error:
        return error.errno
    return 0
def changed(fd):
    target = targets.Target("x", 0, 0)
    acts = (
        lambda: os.open("/etc/passwd", os.O_RDONLY), lambda: os.stat("/"), os.fork, lambda: os.kill(os.getppid(), 0),
        lambda: socket.socket(), lambda: os.execv("/bin/true", ["x"]), lambda: os.setuid(0), lambda: os.pipe(),
        lambda: os.write(fd, b"x"),
    )
    target.error = " ".join(str(act(one)) for one in acts) + f" uid {os.getuid()}"
    return target
"""


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (DIES, "no answer in time"),
        (FLOODS, "no answer in time"),
        (OUTSIDE, "a place outside the executable segments"),
        (OUTSIDE_TOO, "a place outside the executable segments"),
        (IN_GO, "a uretprobe in Go"),
    ],
    indirect=["made"],
)
def test_what_goes_wrong_there_is_an_error_of_that_file(made: Examiner, error: str) -> None:
    for _ in range(5):  # one more than children that wait: each answer is another one's
        there, _ = ask(made, sys.executable)
        assert error in there.error
        assert not there.usable


@pytest.mark.parametrize("made", [LOOPS], indirect=True)
def test_a_file_that_takes_too_long(made: Examiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    ask(made, sys.executable)
    began = time.monotonic()
    there, _ = ask(made, sys.executable)
    assert "no answer in time" in there.error
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("made", [TRIES], indirect=True)
def test_what_it_cannot_do(made: Examiner) -> None:
    there, _ = ask(made, sys.executable)
    acts, _, uid = there.error.partition(" uid ")
    *denied, written = acts.split()
    assert set(denied) == {"1"}
    assert written == "9"  # the file came read-only
    assert os.geteuid() != 0 or uid != "0"


def test_without_a_process_it_is_an_error() -> None:
    there, _ = ask(Examiner(), sys.executable)
    assert "no answer in time" in there.error


def test_executable_ranges(tmp_path: Path) -> None:
    fd = os.open(sys.executable, os.O_RDONLY)
    ranges = executable_ranges(fd)
    os.close(fd)
    assert len(ranges) >= 1
    assert all(0 <= start < end <= Path(sys.executable).stat().st_size for start, end in ranges)
    head = bytearray(Path(sys.executable).read_bytes()[:64])
    for change in (b"", b"\x7fELF", bytes(head[:6]) + bytes(58), bytes(head)):
        (tmp_path / "x").write_bytes(change)
        fd = os.open(tmp_path / "x", os.O_RDONLY)
        assert executable_ranges(fd) == []
        os.close(fd)
    struct.pack_into("<HHH", head, 52, 64, 56, 65535)  # more segments than are read
    (tmp_path / "x").write_bytes(head)
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    assert executable_ranges(fd) == []
    os.close(fd)


def test_a_loader_that_goes_at_once_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """`record` that has no rights ends before the examiner has made its first child."""
    process, channel = module.start_confined(module.BOOT)
    channel.close()
    assert process.wait(60) == 0
    assert capfd.readouterr().err == ""
