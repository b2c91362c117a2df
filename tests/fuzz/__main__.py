# SPDX-License-Identifier: Apache-2.0
"""Fuzz the parsers and the engine: guided by coverage where clang is, by mutation elsewhere.

A finding is kept in build/fuzz/findings (guided), or printed; `--replay FILE` runs one again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import guided, mutate
from tests.fuzz.targets import TARGETS


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    options.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all of them")
    options.add_argument("--seconds", type=int, default=60, help="of all together (60)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--mutate", action="store_true", help="do not guide")
    options.add_argument("--keep", action="store_true", help="put what guided runs found into tests/fuzz/corpus")
    options.add_argument("--replay", type=Path, metavar="FILE", help="one input, of one target")
    args = options.parse_args()
    names = args.targets or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            options.error(f"no target {name!r}; there are: {', '.join(TARGETS)}")
    if args.replay:
        if len(args.targets) != 1:
            options.error("--replay needs one target")
        TARGETS[names[0]].one(args.replay.read_bytes())
        return 0
    seconds = max(1, args.seconds // len(names))
    try:
        tools = None if args.mutate else guided.Toolchain()
    except guided.NotHere as lacking:
        print(f"{lacking}: seeds are mutated instead", file=sys.stderr)
        tools = None
    if tools is None:
        for name in names:
            print(f"{name}: {mutate.run(name, seed=args.seed, seconds=seconds)} inputs", flush=True)
        return 0
    tools.build()
    failed = [name for name in names if guided.fuzz(tools, name, seconds, seed=args.seed)]
    if args.keep:
        for name in names:
            print(f"{name}: {guided.keep(tools, name)} inputs kept")
    print(f"findings: {', '.join(failed)}; see {guided.BUILD / 'findings'}" if failed else "no findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
