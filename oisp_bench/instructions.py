# SPDX-License-Identifier: Apache-2.0
"""Instructions of the hot stages, counted by callgrind: the same on every machine for one compiler.

Times say how fast a machine is that day; these say what the code does. Only `Engine.feed_packed` counts, of an engine
that has seen other traffic of the same kind and has its memory by then.

    python -m oisp_bench.instructions             count, and compare with what is stored
    python -m oisp_bench.instructions --store     count, and store it for this compiler

The suite holds the counts to what is stored, within 3 %. A change that moves them on purpose stores them anew, in the
commit that moves them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which
from typing import Any

from oisp_core.errors import OispError

__all__ = ["STAGES", "TOLERANCE", "compiler", "count", "stored"]

TOLERANCE = 0.03
# name -> traffic, and what one unit of it is
STAGES: dict[str, tuple[dict[str, Any], str]] = {
    "delta, OpenAI": (
        {"kind": "streamed", "seed": 1, "dialect": "openai", "streams": 2, "deltas": 300},
        "deltas",
    ),
    "delta, OpenAI with obfuscation": (
        {"kind": "streamed", "seed": 1, "dialect": "openai_obfuscated", "streams": 2, "deltas": 300},
        "deltas",
    ),
    "delta, Anthropic": (
        {"kind": "streamed", "seed": 1, "dialect": "anthropic", "streams": 2, "deltas": 300},
        "deltas",
    ),
    "delta, Responses": (
        {"kind": "streamed", "seed": 1, "dialect": "responses", "streams": 2, "deltas": 300},
        "deltas",
    ),
    "exchange of 2 KB, OpenAI": (
        {"kind": "request_response", "seed": 1, "provider": "openai", "size": 2000, "exchanges": 40, "connections": 4},
        "exchanges",
    ),
    "exchange of 20 KB, Anthropic": (
        {
            "kind": "request_response",
            "seed": 1,
            "provider": "anthropic",
            "size": 20000,
            "exchanges": 10,
            "connections": 2,
        },
        "exchanges",
    ),
    "delta, OpenAI over HTTP/2": (
        {"kind": "http2", "seed": 1, "connections": 1, "batches": 1, "streams": 4, "deltas": 150},
        "deltas",
    ),
    "exchange that is not AI": ({"kind": "noise", "seed": 1, "exchanges": 80, "connections": 8}, "exchanges"),
}


def folder() -> Path:
    return Path(__file__).resolve().parents[1] / "benchmarks"


def compiler() -> str:
    """All that decides how many instructions the same sources take: what compiled the machine code that is loaded, the
    C library and interpreter that it calls, the scanning functions chosen here. Counts are stored for each."""
    from oisp_core import engine
    from oisp_core.simd.scan import Scanner

    code = Path(str(engine.__file__)).read_bytes()
    found = re.search(rb"GCC: \([^)]*\) ([\d.]+)|(clang version [\d.]+)", code)
    name = "unknown" if found is None else f"gcc {found[1].decode()}" if found[1] else found[2].decode()
    cython = re.search(rb"_cython_(\d[\d_]*\d)", code)
    parts = [name, f"Cython {cython[1].decode().replace('_', '.') if cython else 'unknown'}"]
    parts += [" ".join(platform.libc_ver()).strip() or "unknown C library"]
    parts += [f"Python {sys.version_info[0]}.{sys.version_info[1]}", platform.machine(), Scanner().name]
    return ", ".join(parts)


def stored(file: Path | None = None) -> dict[str, dict[str, float]]:
    path = file or folder() / "instructions.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def count(timeout: float = 900) -> dict[str, float]:
    """Instructions of a unit of each stage. Raises OispError where valgrind is not installed or fails."""
    if which("valgrind") is None:
        raise OispError("valgrind is not installed: it counts the instructions")
    with tempfile.TemporaryDirectory() as place:
        units, files = _traffic(Path(place))
        code = f"import sys; sys.path[:] = {sys.path!r}; from oisp_bench.instructions import target; target({files!r})"
        options = ["--tool=callgrind", f"--callgrind-out-file={place}/out"]
        options += [f"--toggle-collect={_symbol('feed_packed')}", f"--dump-before={_symbol('drain')}"]
        command = ["valgrind", "--quiet", *options, sys.executable, "-P", "-c", code]
        environment = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=place
        )
        if done.returncode != 0:
            raise OispError(f"valgrind failed: {done.stderr.strip()[-400:]}")
        totals = [_total(Path(place) / f"out.{2 * number + 2}") for number in range(len(units))]
    return {name: total / units[name] for name, total in zip(units, totals, strict=True)}


def _traffic(place: Path) -> tuple[dict[str, int], list[str]]:
    """Made outside of valgrind, which is fifty times slower: of each stage other traffic, then what is counted."""
    from oisp_bench import corpora

    units: dict[str, int] = {}
    files = []
    for number, (name, (parameters, unit)) in enumerate(STAGES.items()):
        for seed in (2, 1):
            corpus = corpora.make(name, {**parameters, "seed": seed})
            file = place / f"{number}.{seed}"
            file.write_bytes(b"".join(corpus.packed()))
            files.append(str(file))
        units[name] = getattr(corpus, unit)
    return units, files


def _symbol(method: str) -> str:
    """What the compiled engine calls this method: callgrind wants it whole."""
    from oisp_core import engine

    found = re.search(
        rb"__pyx_pw_\w*Engine_\d+" + method.encode() + rb"(?=\0)", Path(str(engine.__file__)).read_bytes()
    )
    if found is None:
        raise OispError("the engine's machine code has no symbols: it was stripped")
    return found[0].decode()


def _total(path: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    if found is None:
        raise OispError(f"callgrind wrote no total into {path.name}")
    return int(found[1])


def target(files: list[str]) -> None:
    """What runs under valgrind: a new engine for every two files, a drain after each."""
    from oisp_core import Engine

    for number, file in enumerate(files):
        if number % 2 == 0:
            engine = Engine(content="full", id_seed=1)
        engine.feed_packed(Path(file).read_bytes())
        engine.close()
        engine.drain()


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--store", action="store_true", help="store it in benchmarks/instructions.json")
    args = options.parse_args()
    try:
        found = count()
    except OispError as error:
        print(f"oisp-bench: {error}", file=sys.stderr)
        return error.exit_code
    known, here = stored(), compiler()
    for name, value in found.items():
        was = known.get(here, {}).get(name)
        print(f"{name:34} {value:10.0f}" + (f"  {value / was - 1:+.1%}" if was else ""))
    if args.store:
        known[here] = {name: round(value, 1) for name, value in found.items()}
        (folder() / "instructions.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
