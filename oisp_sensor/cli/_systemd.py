# SPDX-License-Identifier: Apache-2.0
"""The systemd unit that `doctor --systemd` prints: the whole machine, with as little power as capture can do with.

It ships as a file (oisp-sensor.service) with a mark where the path of the program goes.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["unit"]


def unit(program: str) -> str:
    """`program`: the path of oisp-sensor."""
    return (
        files("oisp_sensor").joinpath("oisp-sensor.service").read_text(encoding="utf-8").replace("@PROGRAM@", program)
    )
