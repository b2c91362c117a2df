# SPDX-License-Identifier: Apache-2.0
"""Any document, in any order of keys, with any text, cut anywhere: the decoder says what the twin says, or less."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects
from tests.reference import dialects as twin

FOLDER = Path(__file__).resolve().parents[3] / "semconv" / "dialects"
NAMES = (
    "openai.chat",
    "anthropic.messages",
    "openai.responses",
    "gemini.generate",
    "bedrock.converse",
    "cohere.v2.chat",
)
DIALECTS: Dialects = load_dialects(FOLDER)
TWINS = {name: twin.Dialect(FOLDER, name) for name in NAMES}
CALM = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


# --- documents: mostly the words of the dialect, in any shape ---------------------------------------------------------


def words_of(doc: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(doc, str):
        found |= set(twin.re.findall(r"[A-Za-z0-9_.\-]+", doc)) | {
            w for s in twin.steps(doc) if not s.startswith("[") for w in [s]
        }
    for item in doc.values() if isinstance(doc, dict) else doc if isinstance(doc, list) else ():
        found |= words_of(item)
    return found


def write(value: Any) -> str:
    if isinstance(value, list) and value[0] == "raw":
        return str(value[1])
    if isinstance(value, list) and value[0] == "object":
        return "{" + ", ".join(f"{write(key)}: {write(item)}" for key, item in value[1]) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(write(item) for item in value[1]) + "]"
    return json.dumps(value, ensure_ascii=False)


ODD_TEXT = st.sampled_from(
    [
        r'"\ud83d\ude00"',
        r'"\ud83d"',
        r'"\ude00"',
        r'"a\ud83d"',
        r'"\ude00b"',
        '"a\\x"',
        '"a\tb"',
        '"\\u12"',
        '"é\\u00e9"',
        r'"\"\\\/\b\n"',
        '"\\u0074ext"',
    ]
).map(lambda text: ["raw", text])
NUMBERS = st.sampled_from(["0", "7", "-1", "7.0", "1.5", "1e3", "12345678901234567890", "1E400"]).map(
    lambda text: ["raw", text]
)


@cache
def documents(name: str, section: str) -> st.SearchStrategy[str]:
    words = sorted(words_of(twin.Dialect(FOLDER, name).doc[section]))
    keys = st.sampled_from(words)
    texts = st.one_of(st.sampled_from(words), st.text(max_size=6), ODD_TEXT)
    leaves = st.one_of(texts, NUMBERS, st.booleans(), st.none())
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda items: ["array", items]),
            st.lists(st.tuples(keys, inner), max_size=5).map(lambda pairs: ["object", pairs]),
            shaped(name, section, inner),
        ),
        max_leaves=30,
    ).map(write)


def shaped(name: str, section: str, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that one of the dialect's own paths runs through, with its selectors fulfilled."""
    paths = sorted(p for p in strings(twin.Dialect(FOLDER, name).doc[section]) if p != ".")
    return st.tuples(st.sampled_from(paths), inner, st.booleans()).map(lambda t: grow(twin.steps(t[0]), t[1], t[2]))


def strings(doc: Any) -> set[str]:
    if isinstance(doc, str):
        return {doc}
    items = doc.values() if isinstance(doc, dict) else doc if isinstance(doc, list) else ()
    return {text for item in items for text in strings(item)}


def grow(steps: list[str], value: Any, last: bool) -> Any:
    if not steps:
        return value
    rest = grow(steps[1:], value, last)
    step = steps[0]
    if step == "[*]":
        return ["array", [rest]]
    if step.startswith("["):
        found = twin.re.fullmatch(r"\[(!?)([^=!\]]+)(?:(!?=)([^\]]+))?\]", step)
        if not found or found[3] != "=" or not (isinstance(rest, list) and rest[0] == "object"):
            return rest
        pair = (found[2], found[4].split("|")[0].replace("*", "x"))
        return ["object", [*rest[1], pair] if last else [pair, *rest[1]]]
    return ["object", [(step, rest)]]


# --- against the twin -------------------------------------------------------------------------------------------------


def decode(name: str, section: str, body: bytes, complete: bool = True) -> tuple[int, dict[str, Any]]:
    decoder = Decoder(DIALECTS, name)
    status = getattr(decoder, section)(body, complete)
    return status, decoder.value()


def same_request(found: dict[str, Any], true: dict[str, Any]) -> None:
    found["messages"] = [m for m in found["messages"] if not m["flags"] & 2]
    shift = bool(found["system"])
    for answer in found["answers"]:
        answer["message"] -= shift
    for name, value in true.items():
        if name in ("messages", "tools", "history", "answers"):
            assert len(found[name]) == len(value), name
            for one, other in zip(found[name], value, strict=True):
                assert {key: one[key] for key in other} == other, name
        else:
            assert found[name] == value, name


def same_response(found: dict[str, Any], true: dict[str, Any]) -> None:
    for name in ("response_id", "model_answered", "service_tier", "embedding_count", "dimensions"):
        assert found[name] == true[name], name
    for name, value in true["counts"].items():
        assert found["usage"][name] == value, name
    assert bool(found["error"]) == true["error"]
    if true["error"]:
        assert found["error"]["message"] == true["error_message"]
    for name in ("choices", "calls"):
        kept = [one for one in true[name] if name == "calls" or any(v for k, v in one.items() if k != "index")]
        got = [
            one
            for one in found[name]
            if name == "calls" or any(one[k] for k in ("content", "reasoning", "refusal", "finish_raw"))
        ]
        assert len(got) == len(kept), name
        for one, other in zip(sorted(got, key=lambda c: c.get("index", 0)), kept, strict=True):
            assert {key: one[key] for key in other} == other, name


@pytest.mark.parametrize("name", NAMES)
@CALM
@given(st.data())
def test_requests(name: str, data: st.DataObject) -> None:
    body = data.draw(documents(name, "request")).encode("utf-8", "surrogatepass")
    status, found = decode(name, "request", body)
    assert status == 0
    same_request(found, TWINS[name].request(body))


@pytest.mark.parametrize("name", NAMES)
@CALM
@given(st.data())
def test_responses(name: str, data: st.DataObject) -> None:
    body = data.draw(documents(name, "response")).encode("utf-8", "surrogatepass")
    status, found = decode(name, "response", body)
    assert status == 0
    same_response(found, TWINS[name].response(body))
