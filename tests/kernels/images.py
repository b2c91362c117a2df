# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels, downloaded and unpacked beside the build, never installed.

The newest of each series is taken, from package lists of their own: the machine's sources stay as they are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "bookworm-backports"}


class NoImage(Exception):
    """Why there is none."""


@dataclass(frozen=True)
class Image:
    series: str
    release: str
    kernel: Path  # bzImage


def fetch(series: str, cache: Path) -> Image:
    """The kernel of a series, from the cache if it is there."""
    folder = cache / series
    found = sorted(folder.glob("unpacked/boot/vmlinuz-*"))
    if not found:
        _download(series, folder)
        found = sorted(folder.glob("unpacked/boot/vmlinuz-*"))
    if not found:
        raise NoImage(f"the package of {series} has no kernel in it")
    return Image(series, found[-1].name.removeprefix("vmlinuz-"), found[-1])


def _download(series: str, folder: Path) -> None:
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoImage(f"{tool} is not installed: kernels come as Debian packages")
    if not KEYRING.exists():
        raise NoImage(f"{KEYRING} is missing (debian-archive-keyring)")
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    source = folder / "sources.list"
    source.write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITES[series]} main\n", encoding="ascii")
    options = [f"Dir::Etc::SourceList={source}", "Dir::Etc::SourceParts=/dev/null", "APT::Sandbox::User=root"]
    options += [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}/cache"]
    own = [word for option in options for word in ("-o", option)]
    _run(["apt-get", *own, "-qq", "update"], folder)
    pattern = rf"^linux-image-{re.escape(series)}\.[0-9].*-cloud-amd64$"
    names = _run(["apt-cache", *own, "search", "--names-only", pattern], folder).splitlines()
    if not names:
        raise NoImage(f"{MIRROR} {SUITES[series]} has no cloud kernel of {series}")
    package = max((line.split()[0] for line in names), key=_numbers)
    _run(["apt-get", *own, "-qq", "download", package], folder)
    (deb,) = folder.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "-x", str(deb), str(folder / "unpacked")], folder)
    deb.unlink()


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise NoImage(f"{command[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout
