# SPDX-License-Identifier: Apache-2.0
"""Any head and any body give a verdict, never an exception; bodies are judged as a reader of the whole JSON would."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.match.compile import compile_semconv
from oisp_core.match.fingerprints import Endpoint, Semconv, Shape, read_documents, read_semconv
from oisp_core.match.rules import Registry, load_registry
from oisp_core.resources import data
from tests.reference.match import shape_fits

REGISTRY = load_registry(["openai.chat", "anthropic.messages"])
SEMCONV = read_semconv(read_documents(data("semconv/providers")))
SHAPES: dict[str, dict[str, Any]] = {}
for _document in read_documents(data("semconv/providers")):
    SHAPES |= _document.value.get("shapes", {})
JSON_SHAPES = [name for name, shape in SHAPES.items() if "form" not in shape]

text = st.binary(max_size=40)
words = st.sampled_from(
    [
        b"/v1/",
        b"chat/",
        b"completions",
        b"messages",
        b"models/",
        b":",
        b"%3A",
        b"//",
        b"?key=",
        b"&",
        b"#",
        b"api.openai.com",
        b"x.openai.azure.com",
        b"bedrock-runtime.",
        b".amazonaws.com",
        b"https://",
        b"localhost:11434",
        b"@",
        b"[::1]",
        b".",
    ]
)
messy = st.lists(st.one_of(words, text), max_size=10).map(b"".join)
names = st.sampled_from(
    [b"Authorization", b"x-api-key", b"content-type", b"Upgrade", b"Cookie", b"accept", b"openai-version"]
)
fields = st.lists(st.tuples(st.one_of(names, text), messy), max_size=8)


@given(
    text,
    messy,
    messy,
    fields,
    st.one_of(st.none(), st.binary(max_size=300)),
    messy,
    st.booleans(),
    st.integers(0, 65535),
)
@settings(deadline=None)
def test_any_head(
    method: bytes, target: bytes, host: bytes, sent: Any, body: bytes | None, sni: bytes, partial: bool, port: int
) -> None:
    for verb in (method, b"POST", b"GET"):
        verdict = REGISTRY.match(
            verb, target, host, sent, body, sni=sni, partial=partial, port=port, status=200, response_headers=sent
        )
        assert verdict.state in ("none", "ai")
        if verdict.state == "ai":
            assert verdict.kind
            assert verdict.level in ("medium", "inferred")
            assert verdict.provider_name


_TERMS = {t for s in SHAPES.values() for part in ("all", "any", "none") for t in s.get(part, ())}
_PATHS = {t.partition("=")[0].partition(":")[0].rstrip("^*").replace("[]", ".") for t in _TERMS}
keys = st.sampled_from(sorted({key for path in _PATHS for key in path.split(".") if key}))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        ["2.0", "session.update", "response.create", "tools/call", 'a "quote"', "back\\slash", "{Get{A(nearText:"]
    ),
)
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=14,
)


def one_shape(name: str) -> Registry:
    """A registry in which one path asks for one shape, and nothing else is known."""
    shape = SHAPES[name]
    semconv = Semconv(shapes={name: Shape(name, *(tuple(shape.get(k, ())) for k in ("all", "any", "none")))})
    semconv.paths = [Endpoint("it", ("/it",), 2, 1, 1, "", name)]
    tables, errors = compile_semconv(semconv)
    assert tables is not None, errors
    return Registry(tables)


ALONE = {name: one_shape(name) for name in JSON_SHAPES}


@given(st.sampled_from(JSON_SHAPES), st.one_of(documents, st.dictionaries(keys, documents, max_size=5)), st.booleans())
@settings(max_examples=600, deadline=None)
def test_bodies_are_judged_like_the_twin_judges_them(name: str, document: Any, spaced: bool) -> None:
    body = json.dumps(document, ensure_ascii=False, indent=1 if spaced else None).encode()
    # A test of a text sees it as it is written on the wire: escapes are not undone there.
    if len(body) >= 4096 or b"\\" in body:
        return
    verdict = ALONE[name].match("POST", "/it", "gw", (), body)
    assert (verdict.state == "ai") is shape_fits(SHAPES[name], body), (name, body)


@given(st.dictionaries(keys, documents, max_size=5), st.integers(0, 400))
@settings(deadline=None)
def test_a_cut_body_is_open_or_as_the_whole(document: Any, cut: int) -> None:
    """What was cut never says no where the whole says yes."""
    body = json.dumps(document).encode()
    whole = REGISTRY.match("POST", "/v1/chat/completions", "gw", (), body)
    part = REGISTRY.match("POST", "/v1/chat/completions", "gw", (), body[:cut])
    if whole.state == "ai":
        assert part.state in ("ai", "undecided")


def test_the_shapes_are_all_asked() -> None:
    assert len(JSON_SHAPES) > 60
