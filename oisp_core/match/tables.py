# SPDX-License-Identifier: Apache-2.0
"""A compiled registry at rest: what its arrays are, how they are stored, and the check that comes before every use.

The stored form is one run of bytes: a magic, the length of a JSON header, the header (hashes of the sources and of what
follows, names, sizes of the arrays in order), then the arrays, each aligned to 8. It is read without copying. Whoever
wrote it, nothing in it is believed: `load` and `check` raise ValueError unless every number that a match follows stays
inside of the tables.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oisp_core import resources
from oisp_core.match import trie

__all__ = ["COMPILED", "DTYPES", "KEY_NODES_MAX", "Tables", "check", "dump", "load", "load_tables", "source_hash"]

MAGIC = b"OISPREG2"
COMPILER = "4"
"""Changes whenever the same files give other tables, so that stored ones are made anew."""
COMPILED = "compiled.bin"
FILE_BYTES = 4 << 20
STORED_BYTES = 64 << 20
"""Twenty times what 4,000 providers would need."""
KEY_NODES_MAX = 512
FORMS_MAX = 64
_AUTOMATON = {
    "next": np.uint32,
    "classes": np.uint8,
    "out_start": np.uint32,
    "outputs": np.uint32,
    "lengths": np.uint32,
}
_NAMES = ("values", "fields")


def _struct(fields: str) -> np.dtype[Any]:
    """`name:bytes` of each field, in order and without padding, as in the header."""
    kinds = {"1": "u1", "2": "<u2", "4": "<u4", "16": "S16"}
    return np.dtype([(name, kinds[size]) for name, size in (f.split(":") for f in fields.split())])


DTYPES: dict[str, np.dtype[Any]] = {
    "pool": np.dtype(np.uint8),
    "hosts": _struct("hash:4 at:4 size:4 first:4 count:4"),
    "suffixes": _struct("hash:4 at:4 size:4 first:4 count:4"),
    "links": _struct("at:4 size:4 port:2 provider:2 flags:1 account:1 reserved:2"),
    "edges": _struct("hash:4 parent:4 child:4 at:4 size:4"),
    "nodes": _struct("any:4 glob_first:4 glob_count:2 terminal:2"),
    "globs": _struct("child:4 prefix:4 prefix_size:4 suffix:4 suffix_size:4"),
    "terminals": _struct(
        "rules_first:4 gates_first:4 served_first:4 rules_count:2 gates_count:2 served_count:2 rank:2 anchored:1 "
        "model_from:1 model_to:1 region:1 project:1 organization:1 reserved:2"
    ),
    "rules": _struct(
        "name:4 name_size:4 provider:2 dialect:2 shape:2 terminal:2 variant_first:2 variant_count:1 "
        "kind:1 request_type:1 methods:1 flags:1 reserved:1"
    ),
    "variants": _struct("at:4 size:4 shape:2 dialect:2 kind:1 request_type:1 reserved:2"),
    "gates": np.dtype("<u2"),
    "served": np.dtype("<u2"),
    "shapes": _struct("first:4 all:2 any:2 none:2 model:2 multipart:1 answers:1 reserved:2"),
    "terms": _struct("node:2 types:1 reserved:1"),
    "key_edges": _struct("hash:4 at:4 size:4 parent:2 child:2"),
    "key_nodes": _struct("items:2 test_first:2 test_count:2 reserved:2"),
    "key_tests": _struct("at:4 size:4 node:2 mode:1 reserved:1"),
    "headers": _struct("hash:4 at:4 size:4 signal_first:4 signal_count:2 actions:2"),
    "signals": _struct("at:4 size:4 provider:2 mode:1 where:1"),
    "keys": _struct("prefix:16 size:1 auth:1 account:1 aws:1 provider:2 reserved:2"),
    "providers": _struct("id:4 id_size:4 key_first:4 key_count:2 name:1 auth_type:1"),
    "ports": _struct("port:2 provider:2"),
    "queries": _struct("at:4 size:4"),
    "any_gates": np.dtype("<u2"),
    "value_signals": np.dtype("<u2"),
}


@dataclass
class Tables:
    """A compiled registry: arrays, and the names that their numbers stand for. All of it can be stored and loaded."""

    arrays: dict[str, NDArray[Any]]
    automata: dict[str, trie.AutomatonArrays]
    names: dict[str, Any] = field(default_factory=dict)


def _layout(tables: Tables) -> list[tuple[str, NDArray[Any]]]:
    """Every array with its name, in the order in which they are stored."""
    parts = [(name, tables.arrays[name]) for name in DTYPES]
    for automaton in _NAMES:
        parts += [(f"{automaton}.{name}", tables.automata[automaton][name]) for name in _AUTOMATON]  # type: ignore[literal-required]
    return parts


def dump(tables: Tables, source: str) -> bytes:
    """The stored form. `source` is the hash of what was compiled. The same tables give the same bytes."""
    parts = _layout(tables)
    body = b"".join(array.tobytes() + bytes(-array.nbytes % 8) for _, array in parts)
    header = {
        "source": source,
        "digest": hashlib.sha256(body).hexdigest(),
        "names": tables.names,
        "sizes": [len(array) for _, array in parts],
    }
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % 8)
    return MAGIC + struct.pack("<I", len(text)) + text + body


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    if data[: len(MAGIC)] != MAGIC or len(data) < len(MAGIC) + 4:
        raise ValueError("registry tables: not a stored registry of this version")
    start = len(MAGIC) + 4
    (size,) = struct.unpack_from("<I", data, len(MAGIC))
    if start + size > len(data):
        raise ValueError("registry tables: the header is cut")
    header = json.loads(data[start : start + size])
    if not isinstance(header, dict) or not isinstance(header.get("names"), dict):
        raise ValueError("registry tables: no header")
    return header, start + size


def _words(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise ValueError(f"registry tables: {what} is no list of words")
    return value


def load(data: bytes, source: str) -> Tables | None:
    """The tables that `dump` stored, checked; None if other sources made them. ValueError if they are damaged."""
    try:
        header, at = _header(data)
        if header.get("source") != source:
            return None
        expected = list(DTYPES.items())
        expected += [(f"{a}.{name}", np.dtype(kind)) for a in _NAMES for name, kind in _AUTOMATON.items()]
        sizes = header["sizes"]
        if not isinstance(sizes, list) or len(sizes) != len(expected):
            raise ValueError("registry tables: sizes")
        if header.get("digest") != hashlib.sha256(memoryview(data)[at:]).hexdigest():
            raise ValueError("registry tables: bytes were changed or lost")
        arrays: dict[str, NDArray[Any]] = {}
        for (name, dtype), count in zip(expected, sizes, strict=True):
            at += -at % 8
            if not isinstance(count, int) or count < 0 or at + count * dtype.itemsize > len(data):
                raise ValueError(f"registry tables: {name} is cut")
            arrays[name] = np.frombuffer(data, dtype=dtype, count=count, offset=at)
            at += count * dtype.itemsize
    except (KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"registry tables: {error}") from error
    automata = {a: {name: arrays.pop(f"{a}.{name}") for name in _AUTOMATON} for a in _NAMES}
    tables = Tables(arrays, automata, header["names"])  # type: ignore[arg-type]
    check(tables)
    return tables


# (table, field, what it is an index into, whether the value is 1-based with 0 for "none")
_INDEXES = (
    ("links", "provider", "providers", True),
    ("edges", "child", "nodes", False),
    ("nodes", "any", "nodes", False),
    ("nodes", "terminal", "terminals", True),
    ("globs", "child", "nodes", False),
    ("rules", "provider", "providers", True),
    ("rules", "shape", "shapes", True),
    ("rules", "terminal", "terminals", True),
    ("variants", "shape", "shapes", True),
    ("shapes", "model", "key_nodes", False),
    ("key_edges", "parent", "key_nodes", False),
    ("key_edges", "child", "key_nodes", False),
    ("key_nodes", "items", "key_nodes", False),
    ("key_tests", "node", "key_nodes", False),
    ("signals", "provider", "providers", True),
    ("keys", "provider", "providers", True),
    ("ports", "provider", "providers", True),
)
# (table, first, count, what it is a range of)
_RANGES = (
    ("hosts", "at", "size", "pool"), ("hosts", "first", "count", "links"),
    ("suffixes", "at", "size", "pool"), ("suffixes", "first", "count", "links"),
    ("links", "at", "size", "pool"), ("edges", "at", "size", "pool"),
    ("nodes", "glob_first", "glob_count", "globs"),
    ("globs", "prefix", "prefix_size", "pool"), ("globs", "suffix", "suffix_size", "pool"),
    ("terminals", "rules_first", "rules_count", "rules"), ("terminals", "gates_first", "gates_count", "gates"),
    ("terminals", "served_first", "served_count", "served"),
    ("rules", "name", "name_size", "pool"), ("rules", "variant_first", "variant_count", "variants"),
    ("variants", "at", "size", "pool"), ("key_edges", "at", "size", "pool"),
    ("key_nodes", "test_first", "test_count", "key_tests"), ("key_tests", "at", "size", "pool"),
    ("headers", "at", "size", "pool"), ("headers", "signal_first", "signal_count", "signals"),
    ("signals", "at", "size", "pool"), ("providers", "id", "id_size", "pool"),
    ("providers", "key_first", "key_count", "keys"), ("queries", "at", "size", "pool"),
)  # fmt: skip
_PROBED = {"hosts": "count", "suffixes": "count", "edges": "child", "key_edges": "child", "headers": "size"}


def check(tables: Tables) -> None:
    """ValueError unless every number in `tables` that a match follows stays inside of them.

    A table that passes may still say wrong things; it cannot lead outside of memory or into a search without end.
    """
    arrays = tables.arrays
    _check_names(tables.names)

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise ValueError(f"registry tables: {what}")

    for name, dtype in DTYPES.items():
        need(
            name in arrays and arrays[name].dtype == dtype and arrays[name].ndim == 1,
            f"{name} is missing or of another type",
        )
    for table, column, other, one_based in _INDEXES:
        values = arrays[table][column]
        need(
            not len(values) or int(values.max()) < len(arrays[other]) + one_based,
            f"{table}.{column} leads outside of {other}",
        )
    for table, first, count, other in _RANGES:
        ends = arrays[table][first].astype(np.int64) + arrays[table][count]
        need(not len(ends) or int(ends.max()) <= len(arrays[other]), f"{table}.{first} leads outside of {other}")
    for name, empty in _PROBED.items():
        size = len(arrays[name])
        need(size >= 2 and size & (size - 1) == 0, f"{name} has no power of two of slots")
        need(int(np.count_nonzero(arrays[name][empty])) <= size // 2, f"{name} is too full")
    for name in ("gates", "any_gates"):
        need(not len(arrays[name]) or int(arrays[name].max()) < len(arrays["rules"]), f"{name} leads outside of rules")
    need(len(arrays["value_signals"]) <= len(tables.names["values"]), "value_signals has more entries than patterns")
    _check_more(tables, need)


def _check_more(tables: Tables, need: Any) -> None:
    arrays, names = tables.arrays, tables.names
    shapes = arrays["shapes"]
    ends = shapes["first"].astype(np.int64) + shapes["all"] + shapes["any"] + shapes["none"]
    need(not len(ends) or int(ends.max()) <= len(arrays["terms"]), "shapes.first leads outside of terms")
    need(0 < len(arrays["key_nodes"]) <= KEY_NODES_MAX, "too many body keys")
    need(
        not len(arrays["terms"]) or int(arrays["terms"]["node"].max()) < max(len(arrays["key_nodes"]), FORMS_MAX),
        "terms.node",
    )
    for i in np.flatnonzero(shapes["multipart"] == 0):
        part = arrays["terms"]["node"][int(shapes["first"][i]) : int(ends[i])]
        need(not len(part) or int(part.max()) < len(arrays["key_nodes"]), "terms.node leads outside of key_nodes")
    for i in np.flatnonzero(shapes["multipart"]):
        part = arrays["terms"]["node"][int(shapes["first"][i]) : int(ends[i])]
        need(not len(part) or int(part.max()) < FORMS_MAX, "too many form fields")
    need(len(arrays["nodes"]) > 0, "no root of paths")
    _check_depth(arrays, need)
    captures = arrays["terminals"]
    need(not len(captures) or bool((captures["model_to"] <= captures["model_from"]).all()), "terminals.model")
    need(
        not len(captures) or bool(((captures["model_from"] == 0) | (captures["model_to"] > 0)).all()), "terminals.model"
    )
    need(bool((arrays["keys"]["size"] <= 16).all()), "keys.size")
    need(len(names["providers"]) == len(arrays["providers"]), "names of providers")
    for table in ("rules", "variants"):
        values = arrays[table]["dialect"]
        need(not len(values) or int(values.max()) <= len(names["dialects"]), f"{table}.dialect")
    for column, words in (("kind", 11), ("request_type", 7)):
        for table in ("rules", "variants"):
            need(not len(arrays[table]) or int(arrays[table][column].max()) <= words, f"{table}.{column}")
    values = arrays["value_signals"]
    need(not len(values) or int(values.max()) < len(arrays["signals"]), "value_signals leads outside of signals")
    need(len(names["values"]) == 1 or len(values) == len(names["values"]), "value_signals does not fit its patterns")


def _check_depth(arrays: dict[str, NDArray[Any]], need: Any) -> None:
    """Children are always numbered above their parents, so that no walk comes back to where it was."""
    numbers = np.arange(len(arrays["nodes"]))
    used = arrays["edges"]["child"] > 0
    need(bool((arrays["edges"]["child"][used] > arrays["edges"]["parent"][used]).all()), "edges lead back")
    some = arrays["nodes"]["any"]
    need(bool(((some == 0) | (some > numbers)).all()), "nodes.any leads back")
    for i in np.flatnonzero(arrays["nodes"]["glob_count"]):
        first = int(arrays["nodes"]["glob_first"][i])
        children = arrays["globs"]["child"][first : first + int(arrays["nodes"]["glob_count"][i])]
        need(bool((children > i).all()), "globs lead back")
    used = arrays["key_edges"]["child"] > 0
    need(bool((arrays["key_edges"]["child"][used] > arrays["key_edges"]["parent"][used]).all()), "key_edges lead back")


def _check_names(names: dict[str, Any]) -> None:
    for what in ("providers", "dialects", "shapes", *_NAMES):
        _words(names.get(what), what)


def source_hash(*folders: Path | str) -> str:
    """SHA-256 over the names and bytes of the provider files, and over what this version makes of them."""
    digest = hashlib.sha256(COMPILER.encode())
    for folder in folders:
        for file in resources.files(folder, ".yaml"):
            content = resources.read_file(file, FILE_BYTES)
            digest.update(f"\0{file.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def load_tables(user_dir: Path | str | None = None) -> Tables:
    """The registry that ships, from its compiled form if that is up to date; with the user's files over it, compiled.

    ConfigError with the first mistake.
    """
    shipped = resources.data("semconv/providers")
    if user_dir is None:
        stored = shipped / COMPILED
        if stored.exists():
            try:
                tables = load(resources.read_file(stored, STORED_BYTES), source_hash(shipped))
            except ValueError:
                tables = None  # damaged: what it was made of is right here
            if tables is not None:
                return tables
    from oisp_core.match.compile import compile_folders  # reads YAML, which the compiled form spares

    return compile_folders(shipped, user_dir)
