# SPDX-License-Identifier: Apache-2.0
"""The packaged CO-RE objects: one per architecture and variant, and the choice among them."""

from __future__ import annotations

from pathlib import Path

from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.kernel import architecture

VARIANTS = ("modern", "basic")
_PACKAGED = Path(__file__).resolve().parents[1] / "_data" / "bpf"
_SOURCE_TREE = Path(__file__).resolve().parents[2] / "bpf" / "objects"


def path(variant: str, arch: str = "") -> Path:
    """The object's file. A wheel has them in the package, a source tree under bpf/objects."""
    arch = arch or architecture()
    for root in (_PACKAGED, _SOURCE_TREE):
        file = root / arch / f"tls.{variant}.bpf.o"
        if file.is_file():
            return file
    raise CaptureError(
        f"this installation has no kernel program for {arch} ({variant})",
        "capture runs on x86_64 and aarch64; reinstall oisp there",
    )
