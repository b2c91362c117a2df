# SPDX-License-Identifier: Apache-2.0
"""Files of dialects: each mistake names its file, line and key, and all are told at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oisp_core.decode import dialects as module
from oisp_core.decode import stored
from oisp_core.decode.dialects import Compiled, compile_dialects, load_dialects, parse_path
from oisp_core.errors import ConfigError
from oisp_core.resources import data, files


def write(folder: Path, text: str, name: str = "x") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def test_slots_are_those_of_the_header(repo_root: Path) -> None:
    header = (repo_root / "oisp_core/include/oisp/dialect.h").read_text()
    texts, others = (
        re.findall(r"X\((\w+)\)", re.search(rf"#define OISP_{kind}_SLOTS\(X\)(.*?)\n\n", header, re.S)[1])  # type: ignore[index]
        for kind in ("TEXT", "OTHER")
    )
    assert [name.upper() for name in module.TEXT_SLOTS] == texts
    assert [name.upper() for name in module.OTHER_SLOTS] == others


def test_all_shipped_dialects_compile() -> None:
    names = load_dialects().names
    assert {"openai.chat", "anthropic.messages", "gemini.stream", "bedrock.invoke"} <= set(names)
    assert len(names) == len(set(names))


A_FIELD = "  messages:\n    A:\n      "


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("dialect: x\nframing: sse\nrequest:\n  modle: model\n", 4, ["request.modle", "model"]),
        ("dialect: x\nframing: carrier-pigeon\n", 2, ["framing", "ndjson"]),
        ("dialect: x\nrequest:\n  model: 'a[=b]'\n", 3, ["request.model", "selector"]),
        ("dialect: x\nrequest:\n  messages:\n    role: role\n", 3, ["request.messages", "each"]),
        ("dialect: x\nmaps:\n  finish:\n    end: halt\n", 4, ["maps.finish.end", "tool_calls"]),
        ("dialect: x\nresponse: y\n", 2, ["response", "y"]),
        ("dialect: x\nrequest:\n  model: {path: a, kinds: letters}\n", 3, ["request.model.kinds", "string"]),
        ("dialect: x\nusage: excludes_all\n", 2, ["usage", "prompt_excludes_cache"]),
        ("dialect: x\nstreams: {paths: /a}\n", 2, ["streams", "path"]),
        ("dialect: x\nprotobuf:\n  roots: {request: A}\n", 3, ["protobuf.roots"]),
        (f"dialect: x\nprotobuf:\n  roots: {{request: A}}\n{A_FIELD}1: text word\n", 6, ["protobuf.A.1", "string"]),
        (
            f"dialect: x\nprotobuf:\n  roots: {{request: A}}\n{A_FIELD}one: text string\n",
            6,
            ["protobuf.A.one", "number"],
        ),
        (f"dialect: x\nprotobuf:\n  roots: {{request: A}}\n{A_FIELD}1: a[] A inline\n", 6, ["protobuf.A.1", "inline"]),
        ("dialect: x\ndialect: y\n", None, ["stands twice"]),
        ("- a\n", 1, ["dialect"]),
        ("dialect: [\n", None, []),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, line: int | None, words: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        compile_dialects([file])
    assert caught.value.file == str(file)
    if line is not None:
        assert caught.value.line == line
    for word in words:
        assert word in str(caught.value)


def test_all_mistakes_are_told(tmp_path: Path) -> None:
    one = write(tmp_path, "dialect: a\nrequest:\n  modle: model\n  mesages: 1\n", "a")
    two = write(tmp_path, "dialect: a\nframing: smoke\n", "b")
    with pytest.raises(ExceptionGroup) as caught:
        compile_dialects([one, two])
    assert len(caught.value.exceptions) == 5
    assert all(isinstance(error, ConfigError) for error in caught.value.exceptions)


def test_a_folder_without_dialects_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\*\.yaml"):
        load_dialects(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_dialects(tmp_path / "nowhere")


def test_paths() -> None:
    assert parse_path("a.b[*].c") == [("key", "a"), ("key", "b"), ("element", None), ("key", "c")]
    assert parse_path(".") == []
    kind, selector = parse_path("[type!=a|b].x")[0]
    assert (kind, selector) == ("select", ("type", ("a", "b"), True))


@pytest.mark.parametrize("path", ["a..b", "[a", "a[=b]", "a[*", "é"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"is no (key|selector)"):
        parse_path(path)


def test_what_is_stored_is_what_the_files_say(tmp_path: Path) -> None:
    found = files(data("semconv/dialects"), ".yaml")
    compiled = compile_dialects(found)
    source = stored.source_hash(found)
    content = stored.dump(compiled, source)
    again = stored.load(content, source, Compiled())
    assert again is not None
    assert stored.dump(again, source) == content
    assert (data("semconv/dialects") / stored.COMPILED).read_bytes() == content, "run tools/gen_semconv.py"
    assert load_dialects().names == tuple(compiled.names)


def test_what_is_damaged_or_of_other_files_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    source = stored.source_hash([tmp_path / "a.yaml"])
    content = stored.dump(Compiled(), source)
    assert stored.load(content, source, Compiled()) is not None
    (tmp_path / "a.yaml").write_text("a: 2\n")
    assert stored.load(content, stored.source_hash([tmp_path / "a.yaml"]), Compiled()) is None
    for at in (0, 10, len(content) // 2, len(content) - 2):
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        assert stored.load(damaged, source, Compiled()) is None
    assert stored.load(b"", source, Compiled()) is None
