# SPDX-License-Identifier: Apache-2.0
"""Event ids of the sensor's own events: ULIDs (48 bits of milliseconds, 80 bits of chance), as the engine's are."""

from __future__ import annotations

import os
from random import Random

__all__ = ["Ulids"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Ulids:
    """With a `seed` the ids are the same in every run; `salt` keeps them apart from an engine's of that seed."""

    def __init__(self, seed: int | None = None, salt: str = "activity") -> None:
        self._random = None if seed is None else Random(f"{salt} {seed}")

    def __call__(self, ts_ns: int) -> str:
        chance = int.from_bytes(os.urandom(10), "big") if self._random is None else self._random.getrandbits(80)
        number = (ts_ns // 10**6 & (1 << 48) - 1) << 80 | chance
        return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
