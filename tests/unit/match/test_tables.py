# SPDX-License-Identifier: Apache-2.0
"""The compiled registry at rest, the words of verdicts, and what is generated."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oisp_core import resources
from oisp_core.match import tables as stored
from oisp_core.match import words
from oisp_core.match.compile import compile_folders, rule_hash
from oisp_core.match.rules import Registry
from oisp_core.match.tables import COMPILED, DTYPES, dump, load, load_tables, source_hash

PROVIDERS = resources.data("semconv/providers")


@pytest.fixture(scope="module")
def compiled() -> bytes:
    return dump(compile_folders(PROVIDERS), source_hash(PROVIDERS))


def test_compiling_is_pure(compiled: bytes) -> None:
    assert dump(compile_folders(PROVIDERS), source_hash(PROVIDERS)) == compiled


def test_what_ships_is_up_to_date(compiled: bytes) -> None:
    assert (PROVIDERS / COMPILED).read_bytes() == compiled, "run tools/gen_semconv.py"


def test_generated_files(repo_root: Path) -> None:
    tool = module_at(repo_root / "tools" / "gen_semconv.py")
    for path, content in tool.generated().items():
        assert path.read_bytes() == content, f"{path} is not what tools/gen_semconv.py writes"


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stored_and_loaded_is_the_same(compiled: bytes) -> None:
    source = source_hash(PROVIDERS)
    again = load(compiled, source)
    assert again is not None
    assert dump(again, source) == compiled
    assert (
        Registry(again, ["openai.chat"]).match("POST", "/v1/chat/completions", "api.openai.com").dialect
        == "openai.chat"
    )


def test_other_sources(compiled: bytes) -> None:
    assert load(compiled, "0" * 64) is None


@pytest.mark.parametrize("cut", [0, 1, 8, 11, 12, 100, 5000, -1])
def test_cut_files(compiled: bytes, cut: int) -> None:
    with pytest.raises(ValueError, match="registry tables"):
        load(compiled[:cut], source_hash(PROVIDERS))


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9, 0.9999])
def test_one_bit_is_enough(compiled: bytes, at: float) -> None:
    damaged = bytearray(compiled)
    damaged[int(len(compiled) * at)] ^= 1
    with pytest.raises(ValueError, match=r"registry tables|char \d+"):
        load(bytes(damaged), source_hash(PROVIDERS))


def test_a_damaged_file_is_made_anew_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bytes
) -> None:
    folder = tmp_path / "providers"
    shutil.copytree(PROVIDERS, folder)
    monkeypatch.setattr(resources, "data", lambda name: folder)
    for damaged in (b"", compiled[:2000], compiled[:60_000] + b"\xff" * 4000 + compiled[64_000:]):
        (folder / COMPILED).write_bytes(damaged)
        assert Registry(load_tables()).match("POST", "/v1/chat/completions", "api.openai.com").provider == "openai"
    (folder / "own.yaml").write_text("provider: {id: own, name: Own}\n")  # now the compiled form is of other sources
    (folder / COMPILED).write_bytes(compiled)
    assert "own" in Registry(load_tables()).providers


@pytest.mark.parametrize(
    ("table", "column"), [(t, c) for t, c, *_ in stored._INDEXES] + [(t, c) for t, c, *_ in stored._RANGES]
)
def test_an_index_out_of_bounds_is_refused(compiled: bytes, table: str, column: str) -> None:
    tables = load(compiled, source_hash(PROVIDERS))
    assert tables is not None
    array = tables.arrays[table].copy()
    array[column][len(array) // 2] = np.iinfo(array[column].dtype).max
    tables.arrays[table] = array
    with pytest.raises(ValueError, match="registry tables"):
        Registry(tables)


def test_a_table_without_an_empty_slot_is_refused(compiled: bytes) -> None:
    tables = load(compiled, source_hash(PROVIDERS))
    assert tables is not None
    full = tables.arrays["hosts"].copy()
    full["count"] = 1
    tables.arrays["hosts"] = full
    with pytest.raises(ValueError, match="too full"):
        Registry(tables)


def test_structs_are_those_of_the_header(repo_root: Path) -> None:
    header = (Path(resources.__file__).parent / "include" / "oisp" / "rules.h").read_text()
    sizes = dict(re.findall(r"sizeof\((oisp_rule\w*)\) == (\d+)", header))
    names = {
        "hosts": "host",
        "suffixes": "host",
        "edges": "edge",
        "links": "link",
        "nodes": "node",
        "globs": "token_glob",
        "terminals": "terminal",
        "variants": "variant",
        "shapes": "shape",
        "terms": "term",
        "key_edges": "key_edge",
        "key_nodes": "key_node",
        "key_tests": "key_test",
        "headers": "header",
        "signals": "signal",
        "keys": "key",
        "providers": "provider",
        "ports": "port",
    }
    assert DTYPES["rules"].itemsize == int(sizes["oisp_rule"])
    for table, name in names.items():
        assert DTYPES[table].itemsize == int(sizes[f"oisp_rule_{name}"]), table


def test_words_are_those_of_the_contract() -> None:
    folder = Path(resources.__file__).parent / "include" / "oisp"
    contract = (folder / "contract.h").read_text()

    def listed(macro: str) -> tuple[str, ...]:
        body = re.search(rf"#define {macro}\(X\)(.*?)\n\n", contract, re.DOTALL)
        assert body is not None
        return tuple(re.findall(r'X\(\w+, "(\w+)"\)', body[1]))

    assert listed("OISP_PROVIDER_NAMES") == words.PROVIDER_NAMES
    assert listed("OISP_AUTH_TYPES") == words.AUTH_TYPES
    assert listed("OISP_ACCOUNT_TYPES") == words.ACCOUNT_TYPES
    assert listed("OISP_REQUEST_TYPES") == words.REQUEST_TYPES
    assert listed("OISP_LEVELS") == words.LEVELS
    assert listed("OISP_DETECTION_METHODS") == words.DETECTION_METHODS
    verdict = (folder / "verdict.h").read_text()
    assert len(words.EVIDENCE) == len(re.findall(r"OISP_EVIDENCE_\w+ = ", verdict))
    assert len(words.KINDS) == len(re.findall(r"OISP_KIND_\w+ = ", verdict)) - 1


def test_the_hash_reaches_every_part() -> None:
    seen = {rule_hash(bytes([i]) * n, 0, seed) for i in range(1, 50) for n in range(1, 20) for seed in (0, 1, 7)}
    assert len(seen) > 49 * 19 * 3 * 0.999
