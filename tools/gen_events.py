# SPDX-License-Identifier: Apache-2.0
"""Everything that is generated from the field table (tools/fields/), in one run.

    python tools/gen_events.py            write the files
    python tools/gen_events.py --check    write nothing; name the files that differ and exit with 1

Needs PyYAML only. What is made of what stands in tools/fields/README.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fieldtable
import gen_confidence
import gen_contract
import gen_proto
import gen_schema
import gen_structs

ROOT = Path(__file__).resolve().parent.parent


def generate() -> dict[str, str]:
    """Path from the top of the tree -> text."""
    table = fieldtable.load()
    files = {f"schema/v0.1/{name}": text for name, text in gen_schema.generate(table).items()}
    files |= {f"proto/oisp/v1/{name}": text for name, text in gen_proto.generate(table).items()}
    files["oisp_core/events.py"] = gen_structs.generate(table)
    files["oisp_core/include/oisp/contract.h"] = gen_contract.generate(table)
    files["docs/CONFIDENCE.md"] = gen_confidence.generate(ROOT)
    return files


def stale(files: dict[str, str]) -> list[str]:
    """Files that differ from what would be generated, and files in generated folders that nothing generates."""
    differ = [p for p, text in files.items() if not (ROOT / p).exists() or (ROOT / p).read_text() != text]
    folders = ("schema/v0.1/common", "schema/v0.1/events", "proto")
    present = {p.relative_to(ROOT).as_posix() for folder in folders for p in (ROOT / folder).rglob("*.*")}
    return differ + sorted(p for p in present if p not in files)


def main(arguments: list[str]) -> int:
    files = generate()
    if arguments == ["--check"]:
        for path in stale(files):
            print(f"{path}: not what tools/gen_events.py makes of the field table")
        return 1 if stale(files) else 0
    for path, text in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
