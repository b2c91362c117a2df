# SPDX-License-Identifier: Apache-2.0
"""The packaged CO-RE objects: one per program, architecture and variant."""

from __future__ import annotations

from pathlib import Path

from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.kernel import architecture

PROGRAMS = ("tls", "activity")
VARIANTS = ("modern", "basic")
_PACKAGED = Path(__file__).resolve().parents[1] / "_data" / "bpf"
_SOURCE_TREE = Path(__file__).resolve().parents[2] / "bpf" / "objects"


def path(program: str, variant: str, arch: str = "") -> Path:
    """The object's file. A wheel has them in the package, a source tree under bpf/objects."""
    arch = arch or architecture()
    for root in (_PACKAGED, _SOURCE_TREE):
        file = root / arch / f"{program}.{variant}.bpf.o"
        if file.is_file():
            return file
    raise CaptureError(
        f"this installation has no kernel program {program} for {arch} ({variant})",
        "capture runs on x86_64 and aarch64; reinstall oisp there",
    )
