# SPDX-License-Identifier: Apache-2.0
"""Whatever an exchange holds, each line of the writer is the event that the slow twin builds, parses in json, msgspec
and orjson, and is valid under the published schema."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core import validate
from oisp_core.encode import _testing
from tests.reference.writer import FULL, JSON, METADATA, PLAIN, STRING, SYSTEM, Twin

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "/": "\\/"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["", "\u2028\u2029", "\x00\x1f\x7f", '"\\', "😀" * 9, "é" * 33, "a" * 5000, "\ufffd", "</script>", "$redacted"]
)


def escaped(char: str, how: int) -> str:
    """One of the ways to write a character inside a JSON string."""
    if how == 1 and char in SHORT:
        return SHORT[char]
    if how >= 2 or ord(char) < 0x20 or char in '"\\':
        data = char.encode("utf-16-be")
        form = "\\u{:04x}" if how % 2 else "\\u{:04X}"
        return "".join(form.format(int.from_bytes(data[i : i + 2], "big")) for i in range(0, len(data), 2))
    return char


@st.composite
def wire_string(draw: st.DrawFn) -> tuple[int, bytes]:
    text = draw(TEXT)
    how = draw(st.lists(st.integers(0, 4), min_size=1, max_size=8))
    return STRING, "".join(escaped(c, how[i % len(how)]) for i, c in enumerate(text)).encode()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def wire_json(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> tuple[int, bytes]:
    indent = draw(st.sampled_from([None, 0, 2]))
    ascii_only = draw(st.booleans())
    return JSON, json.dumps(draw(values), indent=indent, ensure_ascii=ascii_only).encode()


OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)
PLAINS = st.tuples(st.just(PLAIN), st.binary(max_size=30) | TEXT.map(str.encode))
STRINGS = st.none() | wire_string()
# A name can come in any form; a flag says that it was cut or rewritten.
ANY = st.none() | wire_string() | wire_json() | PLAINS | st.tuples(st.just(STRING), st.just(b"cut"), st.integers(0, 3))
ARGUMENTS = (
    st.none()
    | wire_json(OBJECTS)
    | wire_json(OBJECTS).map(lambda t: (STRING, json.dumps(t[1].decode()).encode()[1:-1]))
    | wire_string()
    | st.sampled_from(["", "{}", "[]", '{"a":1e999}', '{"a":"\\ud800"}', '{"a":1}x', "null", '{"a":' + "[" * 300 + "1"])
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.integers(0, 5),
        "images": st.integers(0, 2),
        "flags": st.sampled_from([0, 0, 0, 2]),
        "content": ANY,
        "raw_role": STRINGS,
        "call_id": STRINGS,
        "name": ANY,
    }
)
TOOL = st.fixed_dictionaries({"type": st.integers(0, 5), "name": ANY, "description": ANY, "raw_type": STRINGS})
NAMES = st.none() | wire_string() | st.sampled_from(["bash", "Edit", "read_file", "web-search", "nothing known"])
CALL = st.fixed_dictionaries(
    {
        "id": STRINGS,
        "name": NAMES,
        "type": STRINGS,
        "arguments": ARGUMENTS,
        "server_name": STRINGS,
        "server": st.integers(0, 1),
        "custom": st.sampled_from([0, 0, 1]),
    }
)
CHOICE = st.fixed_dictionaries(
    {
        "role": st.integers(0, 5),
        "finish": st.integers(0, 6),
        "images": st.integers(0, 1),
        "content": ANY,
        "reasoning": STRINGS,
        "refusal": STRINGS,
        "finish_raw": st.none() | st.sampled_from(["stop", "end_turn", (JSON, b'"length"'), (JSON, b"1"), ""]),
    }
)
ANSWER = st.fixed_dictionaries(
    {
        "call_id": STRINGS,
        "name": NAMES,
        "content": st.none() | wire_string() | wire_json(),
        "success": st.integers(-1, 1),
        "server": st.integers(0, 1),
    }
)
TOKENS = st.integers(0, 1 << 53)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda v: (JSON, json.dumps(v).encode()))
WHOLE = st.none() | st.integers(-(10**9), 10**18).map(lambda v: (JSON, str(v).encode()))


def some(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


EXCHANGE = some(
    {
        "flags": st.sampled_from([0, 1, SYSTEM, SYSTEM | 1]),
        "images": st.integers(0, 3),
        "model_requested": ANY,
        "system": STRINGS,
        "tool_choice": ANY,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "max_tokens": WHOLE,
        "stop": st.none() | wire_json(st.lists(TEXT, max_size=3) | TEXT),
        "conversation": STRINGS,
        "messages": st.lists(MESSAGE, max_size=4),
        "tools": st.lists(TOOL, max_size=3),
        "response_id": ANY,
        "model_answered": ANY,
        "error_type": STRINGS,
        "error_message": ANY,
        "error_code": ANY,
        "service_tier": STRINGS,
        "finish": st.integers(0, 6),
        "finish_raw": st.none() | st.sampled_from(["stop", "max_tokens", (JSON, b"7")]),
        "success": st.integers(0, 1),
        "choices": st.lists(CHOICE, max_size=3),
        "usage": some(
            {
                "prompt": TOKENS,
                "completion": TOKENS,
                "total": TOKENS,
                "cached": TOKENS,
                "cache_write": TOKENS,
                "conventions": st.integers(0, 3),
                "reasoning": TOKENS,
                "raw": wire_json(OBJECTS.filter(bool)),
            }
        ),
        "input_count": st.integers(1, 9),
        "embedding_count": st.integers(1, 9),
        "dimensions": st.integers(1, 4096),
        "chunk_index": st.integers(0, 9),
        "chunk_role": st.integers(0, 5),
        "chunk_finish": st.integers(0, 6),
        "chunk_call": st.integers(0, 1),
        "chunk_content": STRINGS,
        "chunk_arguments": STRINGS,
    }
)
SLICE = st.binary(max_size=20)
FACTS = some(
    {
        "context": st.sampled_from([b'"host":{"hostname":"h"},"process":{"pid":1}', b'"actor":{"uid":0}']),
        "provider_id": SLICE,
        "dialect": SLICE,
        "scheme": st.sampled_from([b"https", b"http"]),
        "authority": st.sampled_from([b"api.openai.com", b"u:p@[::1]:8080", b"u:p@ss@h", b"@"]) | SLICE,
        "path": st.sampled_from([b"/v1/chat/completions?key=SECRET", b"/v1#SECRET"]) | SLICE,
        "connection": st.sampled_from([b'"remote":{"ip":"::1","port":443}', b'"sni":"a.b","alpn":["h2","http/1.1"]']),
        "tool_name": st.sampled_from([b"bash", b"\xff\xfe"]),
        "status": st.integers(100, 599),
        "streamed": st.integers(0, 1),
        "latency_ns": st.integers(0, 10**13),
        "first_token_ns": st.integers(0, 10**13),
        "request_event": st.just(OTHER),
        "response_event": st.just(OTHER),
        "parent_event": st.just(OTHER),
        "request_id": st.just(OTHER),
        "verdict": some(
            {
                "kind": st.integers(0, 11),
                "request_type": st.integers(0, 7),
                "provider_name": st.integers(0, 16),
                "auth_type": st.integers(0, 6),
                "account_type": st.integers(0, 4),
                "key": st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=60).map(str.encode),
                "region": SLICE,
                "organization": SLICE,
                "project": SLICE,
            }
        ),
        "confidence": some(
            {
                "level": st.integers(0, 4),
                "completeness": st.integers(0, 6),
                "request_lost": st.sampled_from([0, 7, 1 << 63]),
                "response_lost": st.sampled_from([0, 7]),
                "request_spared": st.sampled_from([0, 7]),
                "response_spared": st.sampled_from([0, 7]),
                "over_limit": st.sampled_from([0, 7]),
            }
        ),
    }
)
EVENTS = ["ai.request", "ai.response", "ai.embedding", "ai.streaming_chunk", "agent.tool_call", "agent.tool_result"]


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    """Reasons and missing are sets; the writer gives them in the order of their table."""
    confidence = dict(event["confidence"])
    for name in ("reasons", "missing"):
        confidence[name] = set(confidence.get(name, ()))
    return event | {"confidence": confidence}


def differences(got: Any, expected: Any, path: str = "$") -> list[tuple[str, Any, Any]]:
    """Where two events differ, so that a failure shows that and not two whole lines."""
    if isinstance(got, dict) and isinstance(expected, dict):
        names = [*got, *(name for name in expected if name not in got)]
        pairs = [(name, got.get(name, "(absent)"), expected.get(name, "(absent)")) for name in names]
    elif isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(got, expected, strict=True))]
    else:
        return [] if type(got) is type(expected) and got == expected else [(path, got, expected)]
    return [found for name, a, b in pairs for found in differences(a, b, f"{path}.{name}")]


def check(line: bytes, expected: dict[str, Any]) -> None:
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert not any(byte < 0x20 for byte in line[:-1])
    event = json.loads(line)
    assert differences(comparable(event), comparable(expected)) == []
    assert msgspec.json.decode(line)["event_type"] == orjson.loads(line)["event_type"] == event["event_type"]
    assert validate.problems(line) == []


CASE = given(
    x=EXCHANGE,
    f=FACTS,
    policy=st.sampled_from([METADATA, FULL]),
    key=st.none() | st.just(b"a key of the operator"),
    kind=st.sampled_from(EVENTS),
    call=CALL,
    answer=ANSWER,
    ts_ns=st.integers(0, 4102444800 * 10**9),
)


def equals_twin(x: Any, f: Any, policy: int, key: bytes | None, kind: str, call: Any, answer: Any, ts_ns: int) -> None:
    x = x | {"calls": [call], "answers": [answer]}
    f = f | {"event_id": ULID, "ts_ns": ts_ns}
    for m in x.get("messages", ()):
        m["raw"] = int(m["raw_role"] is not None)
    line = _testing.Writer(policy, hash_key=key).encode(kind, _testing.Exchange(x), _testing.Facts(f))
    check(line, Twin(policy, key).event(kind, x, f))


@settings(max_examples=150, deadline=None)
@CASE
def test_the_writer_equals_its_twin(**case: Any) -> None:
    equals_twin(**case)


@pytest.mark.full
@settings(max_examples=10000, deadline=None)
@CASE
def test_the_writer_equals_its_twin_at_length(**case: Any) -> None:
    equals_twin(**case)
