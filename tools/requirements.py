# SPDX-License-Identifier: Apache-2.0
"""Print the requirements of some groups of pyproject.toml, one a line: `requirements.py build test lint`.

`build` means what building needs; every group includes the project's own dependencies. pip could install
`.[test]` itself, but would build the project for it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def expand(groups: dict[str, list[str]], name: str) -> list[str]:
    if name not in groups:
        sys.exit(f"requirements.py: pyproject.toml has no group {name!r}; it has {', '.join(sorted(groups))}")
    lines: list[str] = []
    for line in groups[name]:
        own = re.fullmatch(r"oisp\[([\w,-]+)\]", line)
        lines += [inner for part in own[1].split(",") for inner in expand(groups, part)] if own else [line]
    return lines


def main(names: list[str]) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = dict(settings["project"]["optional-dependencies"])
    groups["build"] = [*settings["build-system"]["requires"], "build>=1.2"]
    lines = [*settings["project"]["dependencies"]]
    for name in names:
        lines += expand(groups, name)
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(sys.argv[1:])
