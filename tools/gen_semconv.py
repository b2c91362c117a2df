# SPDX-License-Identifier: Apache-2.0
"""Writes what is made of semconv: the JSON Schema of provider files, the compiled forms of providers and dialects.

    python tools/gen_semconv.py [--check]

With --check nothing is written; exit 1 if a file is not what it would be. The same files give the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from oisp_core.decode import stored
from oisp_core.decode.dialects import compile_dialects
from oisp_core.match.compile import compile_folders
from oisp_core.match.fingerprints import json_schema
from oisp_core.match.tables import COMPILED, dump, source_hash
from oisp_core.resources import files

ROOT = Path(__file__).resolve().parents[1]
PROVIDERS = ROOT / "semconv" / "providers"
DIALECTS = ROOT / "semconv" / "dialects"
SCHEMA = ROOT / "schema" / "v0.1" / "semconv" / "provider.schema.json"


def generated() -> dict[Path, bytes]:
    """Content of each generated file."""
    dialects = files(DIALECTS, ".yaml")
    return {
        SCHEMA: (json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n").encode(),
        PROVIDERS / COMPILED: dump(compile_folders(PROVIDERS), source_hash(PROVIDERS)),
        DIALECTS / stored.COMPILED: stored.dump(compile_dialects(dialects), stored.source_hash(dialects)),
    }


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = {p: content for p, content in generated().items() if not p.exists() or p.read_bytes() != content}
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what tools/gen_semconv.py writes: run it")
        return 1 if stale else 0
    for path, content in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
