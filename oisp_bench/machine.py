# SPDX-License-Identifier: Apache-2.0
"""Where numbers come from: the machine, the versions, and whether the code that runs is that of an installed wheel."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import msgspec

import oisp_core
from oisp_core.simd import scan

__all__ = ["Build", "Machine", "build", "machine"]

RIVALS = (
    "httptools", "msgspec", "orjson", "ahocorasick_rs", "xxhash", "pyahocorasick", "hyperscan", "h11", "h2", "hpack",
    "hyperframe", "pysimdjson", "httpx-sse", "brotli", "backports.zstd",
)  # fmt: skip


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    cores: int
    kernel: str
    system: str
    python: str
    compiler: str
    simd: str
    date: str
    load: float
    versions: dict[str, str]


class Build(msgspec.Struct, frozen=True):
    """`wheel`: the loaded machine code is, byte for byte, what an installed wheel recorded. Else `why` says more."""

    version: str
    wheel: bool
    why: str
    engine_sha256: str


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.platform()


def versions() -> dict[str, str]:
    found = {}
    for name in RIVALS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> Machine:
    return Machine(
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        system=system_name(),
        python=platform.python_version(),
        compiler=platform.python_compiler(),
        simd=scan.Scanner().name,
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load=round(os.getloadavg()[0], 2),
        versions=versions(),
    )


def build() -> Build:
    """Every compiled module that is loaded is compared with the hashes that the installer recorded."""
    try:
        recorded = importlib.metadata.distribution("oisp")
    except importlib.metadata.PackageNotFoundError:
        return _unofficial("oisp is not installed: this is a source tree")
    known = {
        str(Path(str(entry.locate())).resolve()): entry.hash
        for entry in recorded.files or ()
        if str(entry).endswith(".so")
    }
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not name.startswith(("oisp_core.", "oisp_bench.")) or not file or not file.endswith(".so"):
            continue
        entry = known.get(str(Path(file).resolve()))
        if entry is None:
            return _unofficial(f"{name} is loaded from {_short(file)}, which no wheel installed")
        if entry.mode != "sha256" or entry.value != _record_hash(Path(file)):
            return _unofficial(f"{name} was changed after it was installed")
    return Build(recorded.version, True, "", _engine_hash())


def _short(file: str) -> str:
    """The last parts, so that no report holds somebody's folders."""
    return "/".join(Path(file).parts[-3:])


def _record_hash(path: Path) -> str:
    import base64

    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def _engine_hash() -> str:
    spec = importlib.util.find_spec("oisp_core.engine")
    assert spec is not None
    assert spec.origin is not None
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]


def _unofficial(why: str) -> Build:
    return Build(getattr(oisp_core, "__version__", "unknown"), False, why, _engine_hash())
