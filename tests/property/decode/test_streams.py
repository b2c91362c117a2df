# SPDX-License-Identifier: Apache-2.0
"""Learned templates change nothing: a stream decoded with them equals one with a full pass over each event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects

FOLDER = Path(__file__).resolve().parents[3] / "semconv" / "dialects"
DIALECTS: Dialects = load_dialects(FOLDER)
CALM = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))

# fmt: off
PIECES = st.sampled_from([
    '"a"', '" word"', '""',
    r'"\n"', r'"\ud83d"', r'"\ude00"', r'"\ud83d\ude00"', '"é"', '"\\x"', '"\t"', '"\x80"', r'"\"}"',
    "null", "7", '["x"]', '{"a":"b"}', '"', "01",
])
# fmt: on
NUMBERS = st.sampled_from(["0", "1", "2", "-3", "1.5", "1e2", "01", "x", '"1"'])
BLANKS = st.sampled_from(["", " ", "     ", "\n", "x"])
CHAT = (
    '{"id":"c","model":"m","seq":%(n)s,"choices":[{"index":%(i)s,"delta":{"content":%(t)s},"finish_reason":%(f)s}],"p":%(o)s%(b)s}',
    '{"id":"c","model":"m","choices":[{"index":%(i)s,"delta":{"reasoning_content":%(t)s,"reasoning":%(o)s}}]%(b)s}',
    '{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":%(i)s,"function":{"arguments":%(t)s}}]}}],"p":%(o)s}',
    '{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":%(i)s,"id":%(o)s,"function":{"name":"f","arguments":%(t)s}}]}}]}',
)
MESSAGES = (
    '{"type":"content_block_delta","index":%(i)s,"delta":{"type":"text_delta","text":%(t)s}%(b)s}',
    '{"type":"content_block_delta","index":%(i)s,"delta":{"type":"thinking_delta","thinking":%(t)s}%(b)s}',
    '{"delta":{"partial_json":%(t)s,"type":"input_json_delta"},"index":%(i)s,"type":"content_block_delta"%(b)s}',
    '{"type":"content_block_start","index":%(i)s,"content_block":{"type":"tool_use","id":%(o)s,"name":"f","input":{}}}',
)
RESPONSES = (
    '{"type":"response.output_text.delta","sequence_number":%(n)s,"output_index":%(i)s,"delta":%(t)s,"obfuscation":%(o)s%(b)s}',
    '{"type":"response.function_call_arguments.delta","output_index":%(i)s,"delta":%(t)s,"sequence_number":%(n)s}',
    '{"type":"response.output_item.added","output_index":%(i)s,"item":{"type":"function_call","id":"i","call_id":%(o)s,"name":"f"}}',
    '{"type":"response.completed","response":{"id":"r","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":%(t)s}]}]}}',
)

# Usage in every event: only the last one counts, unless they do not say the same things.
GEMINI = (
    '{"candidates":[{"content":{"parts":[{"text":%(t)s}],"role":"model"},"index":%(i)s}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":%(n)s,"totalTokenCount":%(m)s,"details":[{"modality":"TEXT","tokenCount":%(m)s}]},"modelVersion":"g"}',
    '{"candidates":[{"content":{"parts":[{"text":%(t)s,"thought":true}]},"index":0}],"usageMetadata":{"promptTokenCount":%(n)s,"thoughtsTokenCount":%(m)s},"responseId":%(o)s}',
    '{"candidates":[{"content":{"parts":[{"text":%(t)s}]},"index":0}],"usageMetadata":{"promptTokenCount":%(n)s,"toolUsePromptTokenCount":%(m)s,"totalTokenCount":null,"serviceTier":%(o)s%(b)s}}',
    '{"candidates":[{"content":{"parts":[{"text":%(t)s}]},"index":0}]%(b)s}',
    '{"candidates":[{"finishReason":%(f)s}],"usageMetadata":{"candidatesTokenCount":%(n)s,"cachedContentTokenCount":%(m)s}}',
)
COUNTED = (
    '{"choices":[{"index":0,"delta":{"content":%(t)s}}],"usage":{"prompt_tokens":%(n)s,"completion_tokens":%(m)s,"prompt_tokens_details":{"cached_tokens":%(n)s}}%(b)s}',
    '{"choices":[{"index":0,"delta":{"reasoning_content":%(t)s}}],"usage":{"completion_tokens":%(n)s,"total_tokens":%(m)s,"note":%(o)s}}',
    '{"choices":[{"index":0,"delta":{"content":%(t)s}}],"usage":null}',
    '{"choices":[],"usage":{"total_tokens":%(n)s}}',
)


def events(shapes: tuple[str, ...]) -> st.SearchStrategy[list[bytes]]:
    usual = st.sampled_from(['"a"', '" b"', '"cc"'])
    fields = {
        "t": st.one_of(usual, usual, PIECES),
        "o": st.one_of(usual, PIECES),
        "n": st.one_of(st.integers(0, 9).map(str), NUMBERS),
        "m": st.one_of(st.integers(0, 99).map(str), NUMBERS),
        "i": st.sampled_from(["0", "0", "0", "1", "null"]),
        "f": st.sampled_from(["null", "null", '"stop"']),
        "b": st.one_of(st.just(""), BLANKS),
    }
    one = st.tuples(st.sampled_from(shapes), st.fixed_dictionaries(fields)).map(lambda t: t[0] % t[1])
    run = st.tuples(one, st.integers(1, 3)).map(lambda t: [t[0]] * t[1])
    return st.lists(run, min_size=2, max_size=12).map(
        lambda runs: [text.encode("latin-1") for texts in runs for text in texts]
    )


@pytest.mark.parametrize(
    ("name", "shapes"), [("openai.chat", CHAT), ("anthropic.messages", MESSAGES), ("openai.responses", RESPONSES)]
)
@CALM
@given(st.data())
def test_templates_change_nothing(name: str, shapes: tuple[str, ...], data: st.DataObject) -> None:
    learning, scanning = Decoder(DIALECTS, name), Decoder(DIALECTS, name, learn=False)
    for event in data.draw(events(shapes)):
        assert learning.event(event) == scanning.event(event)
        assert learning.chunk() == scanning.chunk(), event
        assert learning.value() == scanning.value(), event
    assert scanning.fitted == 0
    assert learning.finish(200) == scanning.finish(200)


@pytest.mark.parametrize(("name", "shapes"), [("gemini.stream", GEMINI), ("openai.chat", COUNTED)])
@CALM
@given(st.data())
def test_counters_may_be_read_late(name: str, shapes: tuple[str, ...], data: st.DataObject) -> None:
    """Looked at now and then only: to look reads them."""
    learning, scanning = Decoder(DIALECTS, name), Decoder(DIALECTS, name, learn=False)
    runs = st.sampled_from([*shapes[:1] * 4, *shapes]).flatmap(lambda shape: events((shape,)))
    for run in data.draw(st.lists(runs, min_size=1, max_size=4)):
        for event in run:
            assert learning.event(event) == scanning.event(event)
            assert learning.chunk() == scanning.chunk(), event
        if data.draw(st.booleans()):
            assert learning.value() == scanning.value(), run
    assert learning.finish(200) == scanning.finish(200)


@pytest.mark.parametrize("bad", [r'"\x"', '"\t"', '"\xe9"'])
def test_usage_that_is_no_json_is_mended_when_it_comes_again(bad: str) -> None:
    decoder = Decoder(DIALECTS, "openai.chat")
    for note in ('"a"', bad, '"b"', bad):
        decoder.event((COUNTED[1] % {"t": '"a"', "n": 1, "m": 2, "o": note}).encode("latin-1"))
    assert decoder.finish(200)["usage"]["raw"]["note"] in ("\ufffd", "\ufffdx", " ")


def test_counters_are_learned() -> None:
    decoder = Decoder(DIALECTS, "gemini.stream")
    for i in range(50):
        decoder.event((GEMINI[0] % {"t": f'"w{i} "', "i": 0, "n": i, "m": i * 7}).encode())
    assert decoder.fitted >= 45
    found: dict[str, Any] = decoder.finish(200)
    assert (found["usage"]["completion"], found["usage"]["total"]) == (49, 343)
    assert found["usage"]["raw"]["details"] == [{"modality": "TEXT", "tokenCount": 343}]
    assert found["choices"][0]["content"] == "".join(f"w{i} " for i in range(50))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("openai.chat", CHAT[0]), ("anthropic.messages", MESSAGES[0]), ("openai.responses", RESPONSES[0])],
)
def test_steady_state_is_learned(name: str, shape: str) -> None:
    decoder = Decoder(DIALECTS, name)
    texts = [f" word{i}" for i in range(50)]
    for i, text in enumerate(texts):
        fields = {
            "t": json.dumps(text),
            "o": '"' + "x" * (i % 5) + '"',
            "n": str(i),
            "i": "0",
            "f": "null",
            "b": " " * (i % 3),
        }
        decoder.event((shape % fields).encode())
    assert decoder.fitted >= 45
    found: dict[str, Any] = decoder.finish(200)
    assert found["choices"][0]["content"] == "".join(texts)
