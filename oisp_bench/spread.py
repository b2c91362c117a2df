# SPDX-License-Identifier: Apache-2.0
"""A median and its quartiles."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

__all__ = ["Spread", "spread"]


class Spread(msgspec.Struct, frozen=True):
    """Quartiles."""

    low: float
    middle: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return Spread(ordered[len(ordered) // 4], statistics.median(ordered), ordered[-1 - len(ordered) // 4])
