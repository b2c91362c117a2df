# SPDX-License-Identifier: Apache-2.0
"""Kernels that servers really run: Debian 11, 12 and its backports, under QEMU's software emulation.

`make test-kernels`. Each boots with an initramfs of this Python and this sensor, captures for real, and tells on its
console what came of it (guest.py). Which kernel can do what stands in EXPECTED; docs/CAPTURE.md says the same in words.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.kernels import images, root

pytestmark = pytest.mark.full

SECONDS = 900  # of one boot: two or three minutes on an idle machine
SERIES = tuple(images.SUITES)

# What is not there yet: the object `modern` from 5.17, uprobe_multi from 6.6, socket tracepoints from 6.3.
EXPECTED: dict[str, dict[str, Any]] = {
    "5.10": {"modern": False, "multi": False, "addresses": False, "files": False},
    "6.1": {"modern": True, "multi": False, "addresses": False, "files": True},
    "6.12": {"modern": True, "multi": True, "addresses": True, "files": True},
}


@pytest.fixture(scope="session")
def cache(repo_root: Path) -> Path:
    folder = repo_root / "build" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def image(cache: Path) -> Callable[[str], images.Image]:
    def get(series: str) -> images.Image:
        try:
            return images.fetch(series, cache)
        except images.NoImage as error:
            unavailable(f"no kernel {series}: {error}", required=False)

    return get


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    absent = list(root.missing_tools())
    if absent:
        unavailable(f"{', '.join(absent)} not installed", required=False)
    folder = tmp_path_factory.mktemp("guest")
    root.build(folder / "root")
    root.pack(folder / "root", folder / "initramfs.gz")
    return folder / "initramfs.gz"


@pytest.fixture(scope="session")
def boot(image: Callable[[str], images.Image], initramfs: Path) -> Callable[[str], dict[str, Any]]:
    """What a guest said: step (and what it was done with) -> its words. Each kernel is booted once."""
    done: dict[str, dict[str, Any]] = {}

    def run(series: str) -> dict[str, Any]:
        if series not in done:
            done[series] = _boot(image(series), initramfs)
        return done[series]

    return run


def _boot(kernel: images.Image, initramfs: Path) -> dict[str, Any]:
    # One processor: with several, emulation (QEMU 7.2) was seen to run into code that another one was patching. And
    # a kernel that does not use cmpxchg16b (feature 141), which was seen to fault; programs may.
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1536"]
    command += ["-kernel", str(kernel.kernel), "-initrd", str(initramfs), "-nographic", "-no-reboot", "-nic", "none"]
    command += ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off clearcpuid=141"]
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        console, _ = guest.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        guest.kill()
        console, _ = guest.communicate()
    text = console.decode(errors="replace")
    said: dict[str, Any] = {"console": text[-6000:]}
    for line in text.splitlines():
        if "OISP {" in line:
            words = json.loads(line[line.index("OISP {") + 5 :])
            keys = [
                name
                for name in ("program", "variant", "way")
                if name in words and (name != "variant" or "way" not in words)
            ]
            key = [words.pop("step"), *(words.pop(name) for name in keys)]
            said[" ".join(key)] = words
    return said


@pytest.mark.parametrize("series", SERIES)
def test_fields_that_are_read_are_there(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    """Offsets are relocated against BTF when an object is loaded; one that is not there would read as nothing."""
    found = boot(series)["btf"]
    assert found["read"] > 60
    # Those of another architecture; and a type that has no name there (a member is found by its own and its struct's).
    assert set(found["absent"]) == {
        "pt_regs.regs",
        "pt_regs.orig_x0",
        "pt_regs.syscallno",
        "atomic_counter.counter",
    }


@pytest.mark.parametrize("series", SERIES)
def test_the_guest_came_to_its_end(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    said = boot(series)
    assert "end" in said, said["console"]
    assert said["start"]["kernel"].startswith(series)
    assert said["doctor"]["ok"], said["doctor"]


@pytest.mark.parametrize("series", SERIES)
def test_each_object_is_loaded_or_refused(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    said = boot(series)
    for program in ("tls", "activity"):
        assert said[f"load {program} basic"]["ok"], said[f"load {program} basic"]
        assert said[f"load {program} modern"]["ok"] == EXPECTED[series]["modern"], said[f"load {program} modern"]


@pytest.mark.parametrize("way", ["multi", "perf", "basic"])
@pytest.mark.parametrize("series", SERIES)
def test_capture_is_byte_for_byte(boot: Callable[[str], dict[str, Any]], series: str, way: str) -> None:
    expected = EXPECTED[series]
    found = boot(series)[f"capture {way}"]
    if way != "basic" and not expected["modern"]:
        assert not found["ok"]
        return
    assert found["ok"], found
    assert not found["midway"]
    assert found["multi"] == (way == "multi" and expected["multi"])
    assert found["addresses"] == expected["addresses"]


@pytest.mark.parametrize("series", SERIES)
def test_the_whole_sensor(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    found = boot(series)["record"]
    assert found["ok"], found
    assert [kind for kind in found["kinds"] if kind.startswith("ai.")] == ["ai.request", "ai.response"]
    assert {"process.exec", "process.exit", "network.connect"} <= set(found["kinds"])


@pytest.mark.parametrize("series", SERIES)
def test_activity(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    found = boot(series)["activity"]
    assert found["ok"], found
    assert not any(found["losses"].values())
    told = found["told"]
    assert (told["process.fork"], told["process.exec"], told["process.exit"]) == (20, 21, 21)
    assert told["network.connect"] == told["network.accept"] == 20
    assert told["network.flow"] == 40
    if EXPECTED[series]["files"]:
        assert found["refused"] == {}
        assert told["file.write"] == told["file.delete"] == 20
    else:
        assert found["refused"] == {"file": "needs Linux 5.17"}


@pytest.mark.parametrize("series", SERIES)
def test_what_a_kernel_cannot_do_is_one_line(boot: Callable[[str], dict[str, Any]], series: str) -> None:
    said, expected = boot(series), EXPECTED[series]
    assert said["stdio"]["ok"] == expected["modern"], said["stdio"]
    assert said["plaintext"]["ok"] == expected["addresses"], said["plaintext"]
    for step in ("stdio", "plaintext"):
        if not said[step]["ok"]:
            assert said[step]["why"].startswith("CaptureError: ")
            assert "Linux" in said[step]["why"]
            assert "\n" not in said[step]["why"]
    if expected["modern"]:
        assert said["stdio"]["sizes"] == [[9546, 9546]]
