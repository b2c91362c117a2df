# SPDX-License-Identifier: Apache-2.0
"""The machine, once per run: names, versions, and what of cloud and container is readable without asking a network."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["boot_ns", "container_of", "host_facts", "read_bounded"]

_ARCH = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "i386": "i686",
    "i686": "i686",
}
_OS = {"linux": "linux", "darwin": "darwin", "win32": "windows"}
_SMALL = 1 << 16
_VENDORS = (
    ("Amazon", "aws"),
    ("Google", "gcp"),
    ("Microsoft", "azure"),
    ("DigitalOcean", "digitalocean"),
)
_CLOUDS = {"aws", "gcp", "azure", "digitalocean"}
_CONTAINER_ID = re.compile(r"(?:\A|[/:\-])(?P<id>[0-9a-f]{64})(?:\.scope)?(?:/|\Z)")
_POD_UID = re.compile(r"pod(?P<uid>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_RUNTIMES = (("docker", "docker"), ("cri-containerd", "containerd"), ("crio", "crio"), ("libpod", "podman"))


def read_bounded(path: str | Path, limit: int = _SMALL) -> str:
    """Text of a small file, or nothing."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def host_facts(root: Path = Path("/")) -> dict[str, Any]:
    """The `host` member. `root` is for tests."""
    facts: dict[str, Any] = {"hostname": platform.node()[:255], "os": _system(), "arch": _arch()}
    if not facts["hostname"]:
        del facts["hostname"]
    release = _os_release(read_bounded(root / "etc/os-release") or read_bounded(root / "usr/lib/os-release"))
    if release:
        facts["os_version"] = release
    elif sys.platform != "linux":
        facts["os_version"] = platform.version()
    if sys.platform == "linux":
        facts["kernel_version"] = os.uname().release
    device = device_id(read_bounded(root / "etc/machine-id"))
    if device:
        facts["device_id"] = device
    cloud = cloud_facts(root)
    if cloud:
        facts["cloud"] = cloud
    return facts


def boot_ns() -> int:
    """Unix nanoseconds when the machine started."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.time_ns() - time.clock_gettime_ns(clock)


def _system() -> str:
    return "freebsd" if sys.platform.startswith("freebsd") else _OS.get(sys.platform, "other")


def _arch() -> str:
    machine = platform.machine().lower()
    return _ARCH.get(machine, "arm" if machine.startswith("arm") else "other")


def _os_release(text: str) -> str:
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return (values.get("PRETTY_NAME") or values.get("VERSION_ID") or "").strip("\"' ")[:128]


def device_id(machine_id: str) -> str:
    """machine-id(5) is confidential and asks to be hashed with something of the application's own."""
    text = machine_id.strip()
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        return ""
    return hashlib.sha256(b"oisp device_id\n" + text.encode()).hexdigest()[:32]


def cloud_facts(root: Path) -> dict[str, str]:
    """From firmware strings and what cloud-init left behind."""
    facts: dict[str, str] = {}
    vendor = read_bounded(root / "sys/class/dmi/id/sys_vendor", 256).strip()
    provider = next((name for word, name in _VENDORS if vendor.startswith(word)), "")
    if provider == "azure" and not _is_azure(root):
        provider = ""  # Hyper-V on somebody's desk
    if provider:
        facts["provider"] = provider
    if provider == "aws":
        board = read_bounded(root / "sys/class/dmi/id/board_asset_tag", 256).strip()
        if re.fullmatch(r"i-[0-9a-f]{8,17}", board):
            facts["instance_id"] = board
        kind = read_bounded(root / "sys/class/dmi/id/product_name", 256).strip()
        if re.fullmatch(r"[a-z0-9\-]{2,24}\.[a-z0-9\-]{2,24}", kind):
            facts["instance_type"] = kind
    return facts | _cloud_init(root)


def _is_azure(root: Path) -> bool:
    tag = read_bounded(root / "sys/class/dmi/id/chassis_asset_tag", 256).strip()
    return tag == "7783-7084-3265-9085-8269-3286-77"  # the tag by which cloud-init knows Azure


def _cloud_init(root: Path) -> dict[str, str]:
    text = read_bounded(root / "run/cloud-init/instance-data.json", 1 << 20)
    try:
        found = msgspec.json.decode(text.encode()).get("v1", {})
    except (msgspec.DecodeError, AttributeError, ValueError):
        return {}
    facts: dict[str, str] = {}
    if not isinstance(found, dict):
        return facts
    name = found.get("cloud_name")
    if name in _CLOUDS:
        facts["provider"] = name
    for key, member in (("region", "region"), ("instance_id", "instance_id"), ("instance_type", "instance_type")):
        value = found.get(key)
        if facts and isinstance(value, str) and 0 < len(value) <= 128:
            facts[member] = value
    return facts


def container_of(cgroup: str) -> tuple[dict[str, str], dict[str, str]]:
    """`host.container` and `host.k8s` as far as the path of a control group tells; else empty."""
    found = _CONTAINER_ID.search(cgroup)
    if not found:
        return {}, {}
    container = {"id": found["id"]}
    runtime = next((name for word, name in _RUNTIMES if word in cgroup), "")
    if runtime:
        container["runtime"] = runtime
    pod = _POD_UID.search(cgroup)
    return container, {"pod_uid": pod["uid"].replace("_", "-")} if pod else {}
