# SPDX-License-Identifier: Apache-2.0
"""The cases: TOML files in benchmarks/cases/ that name traffic, engines, the right answer and what to think of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from oisp_core.errors import ConfigError

__all__ = ["Case", "Expected", "load", "recorded", "select"]


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known beforehand: the corpus itself, and how many events of each kind it makes."""

    digest: str = ""
    events: dict[str, int] = {}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the report. `floor` and `aim` are ratios to the first peer."""

    name: str = ""
    title: str
    group: str
    analysis: str
    corpus: dict[str, Any]
    unit: Literal["segment", "exchange", "delta", "byte"] = "segment"
    content: Literal["metadata", "redacted", "full"] = "full"
    chunks: bool = False
    engines: tuple[str, ...] = ("packed", "calls")
    peers: tuple[str, ...] = ("peer",)
    limit: bool = True
    floor: float | None = None
    aim: float | None = None
    expected: Expected = Expected()


def folder() -> Path:
    """Packaged, or in the tree."""
    here = Path(__file__).resolve().parent
    for path in (here / "_data" / "cases", here.parent / "benchmarks" / "cases"):
        if path.is_dir():
            return path
    raise ConfigError(message="the cases are not in this installation", hint="reinstall oisp")


def load(path: Path) -> Case:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, message=f"no TOML: {error}") from None
    try:
        return msgspec.convert({**values, "name": path.stem}, Case)
    except msgspec.ValidationError as error:
        raise ConfigError(path, message=str(error)) from None


def recorded(path: Path) -> Case:
    """Recorded traffic. The Python pipeline knows what the generator makes and no more: it has no part in it."""
    folder = path.is_dir()
    return Case(
        name=path.name,
        title=f"Recorded: {path.name}",
        group="recorded",
        analysis="What a corpus that nobody made for this costs: few streams are long, and hardly two exchanges alike.",
        corpus={"kind": "recorded", "path": str(path)},
        unit="exchange" if folder else "segment",
        engines=("packed", "calls") if folder else ("packed",),
        peers=(),
        limit=False,
    )


def select(names: Iterable[str] = ()) -> list[Case]:
    """All, or those named: a name, a beginning of names, a group, or the path of a file."""
    cases = [load(path) for path in sorted(folder().glob("*.toml"))]
    wanted = list(names)
    if not wanted:
        return cases
    found: dict[str, Case] = {}
    for name in wanted:
        if name.endswith(".toml"):
            path = Path(name)
            if not path.is_file():
                raise ConfigError(path, message="no such file")
            found[name] = load(path)
            continue
        fits = [case for case in cases if case.name == name] or [
            case for case in cases if case.group == name or case.name.startswith(name)
        ]
        if not fits:
            raise ConfigError(key="CASE", expected=[case.name for case in cases], got=name)
        found |= {case.name: case for case in fits}
    return list(found.values())
