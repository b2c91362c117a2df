# SPDX-License-Identifier: Apache-2.0
"""Compiled dialects at rest: what ships beside the YAML files, so that an engine is made in milliseconds.

It is made of the files by `tools/gen_semconv.py` and belongs to them and to the compiler by hash: where either changed,
or a byte of it, the files are compiled again, which takes a second and gives the same. Packaged data only: it is
believed like the code beside it, and nothing that a user names is read this way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oisp_core.resources import read_file

if TYPE_CHECKING:
    from oisp_core.decode.dialects import Compiled

__all__ = ["COMPILED", "dump", "load", "source_hash"]

COMPILED = "compiled.json"
_DERIVED = ("pool", "pooled")
_FILE_BYTES = 4 << 20
"""A hundred times the largest of these files."""


def source_hash(files: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of the files, and over the compiler."""
    digest = hashlib.sha256(read_file(Path(__file__).with_name("dialects.py"), _FILE_BYTES))
    for file in files:
        content = read_file(file, _FILE_BYTES)
        digest.update(f"\0{file.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def dump(compiled: Compiled, source: str) -> bytes:
    """The stored form, one table a line. The same tables give the same bytes."""
    tables = {name: rows for name, rows in vars(compiled).items() if name not in _DERIVED}
    tables["pool"] = compiled.pool.decode("latin-1")
    lines = ",\n".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in tables.items())
    body = f"{{{lines}}}\n"
    return f"{json.dumps([source, hashlib.sha256(body.encode()).hexdigest()])}\n{body}".encode()


def load(content: bytes, source: str, empty: Compiled) -> Compiled | None:
    """`empty` filled with what was stored; None if it is not of these files, or damaged."""
    head, _, body = content.partition(b"\n")
    try:
        if json.loads(head) != [source, hashlib.sha256(body).hexdigest()]:
            return None
    except ValueError:
        return None
    tables: dict[str, Any] = json.loads(body)
    empty.pool = bytearray(tables.pop("pool").encode("latin-1"))
    for name, rows in tables.items():
        setattr(empty, name, rows)
    return empty
