# SPDX-License-Identifier: Apache-2.0
"""A run as it is stored: one JSON document, read back by `compare`, the report and the README's table."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from oisp_bench.machine import Build, Machine
from oisp_bench.measure import CaseResult, EngineResult
from oisp_bench.scaling import Scaling
from oisp_bench.spread import Spread
from oisp_core.errors import ConfigError

__all__ = ["Run", "best", "beyond_noise", "changes", "encoded", "put", "read", "write"]

FORMAT = 1


class Run(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    machine: Machine
    build: Build
    cpu: int | None
    cases: list[CaseResult]
    scaling: Scaling | None = None
    scalar: list[CaseResult] = []  # some of the cases again, without vector instructions


def write(run: Run, path: Path) -> None:
    put(path, encoded(run))


def encoded(value: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def put(path: Path, text: bytes) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(path.name + f".{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            file.write(text)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(path, message=f"cannot be written: {error.strerror}") from None


def read(path: Path) -> Run:
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except OSError as error:
        raise ConfigError(path, message=f"cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(path, message=f"no result of oisp-bench: {error}") from None
    if run.format != FORMAT:
        raise ConfigError(path, key="format", expected=str(FORMAT), got=run.format)
    return run


def best(case: CaseResult) -> EngineResult | None:
    """The engine's first way of being fed: the one that the floors speak of."""
    return next((engine for engine in case.engines if engine.role == "ours"), None)


class Change(msgspec.Struct, frozen=True):
    case: str
    engine: str
    before: Spread
    after: Spread
    verdict: str  # slower, faster, same

    @property
    def factor(self) -> float:
        return self.after.middle / self.before.middle


def changes(before: Run, after: Run) -> list[Change]:
    """Ratios of two runs. Beyond noise is where the quartiles do not overlap and the medians differ by 3 % or more."""
    earlier = {case.name: case for case in before.cases}
    found = []
    for case in after.cases:
        old = earlier.get(case.name)
        if old is None:
            continue
        known = {engine.name: engine for engine in old.engines}
        for engine in case.engines:
            was = known.get(engine.name)
            if engine.role != "ours" or was is None or engine.ratio is None or was.ratio is None:
                continue
            found.append(Change(case.name, engine.name, was.ratio, engine.ratio, beyond_noise(was.ratio, engine.ratio)))
    return found


def beyond_noise(before: Spread, after: Spread) -> str:
    """Of two speeds, or of two times with the later one first."""
    factor = after.middle / before.middle
    if after.high < before.low and factor < 0.97:
        return "slower"
    if after.low > before.high and factor > 1.03:
        return "faster"
    return "same"
