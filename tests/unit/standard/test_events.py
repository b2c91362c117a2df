# SPDX-License-Identifier: Apache-2.0
"""Reading and writing events as Structs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from oisp_core import events as e
from oisp_core.errors import EventError
from tests.reference import published
from tests.unit.standard.conftest import EXAMPLES, SHORT

MEMBERS = ["choices", "message", "role", "content", "usage", "total_tokens", "provider", "name", "model", "tool_calls"]


def load(root: Path, name: str) -> bytes:
    return (root / "examples" / f"{name}.json").read_bytes()


def test_data_is_the_struct_of_its_type(example: Path) -> None:
    event = e.decode(example.read_bytes())
    assert type(event.data) is e.EVENT_TYPES[event.event_type]


def texts(value: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Members that hold text and stand beside its hash: the object, the member, its hash."""
    if isinstance(value, dict):
        for name in ("content", "query", "content_preview", "result"):
            digest = value.get("content_hash" if name.startswith("content") else f"{name}_hash")
            if isinstance(value.get(name), str) and digest:
                yield value, value[name], digest
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_hashes_and_lengths_of_examples_can_be_recomputed() -> None:
    checked = 0
    for path in EXAMPLES:
        for holder, text, digest in texts(json.loads(path.read_text())):
            assert digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16], path
            assert holder.get("content_length", len(text)) == len(text), path
            checked += 1
    assert checked >= 15


def test_ids_of_examples_are_ulids_of_their_time_and_links_lead_to_events() -> None:
    documents = [json.loads(path.read_text()) for path in EXAMPLES if path.stem not in SHORT]
    known = {document["event_id"] for document in documents}
    for document in documents:
        assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", document["event_id"])
        ms = reduce(lambda n, c: n * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(c), document["event_id"][:10], 0)
        assert datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:23] == document["ts"][:23]
        assert {link["event_id"] for link in document.get("related_events", [])} <= known


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(), inner),
        max_leaves=20,
    )
)
def test_any_document_is_read_or_refused(document: Any) -> None:
    """Nothing but EventError leaves, and what is read is written back."""
    base = {
        "oisp_version": "0.1",
        "event_id": "1",
        "event_type": "ai.response",
        "ts": "2026-01-01T00:00:00Z",
        "source": {"collector": "x"},
        "confidence": {"level": "high", "completeness": "full"},
        "data": {},
    }
    for event in (document, {**base, "data": document}, {**base, "host": document}):
        try:
            text = json.dumps(event)
            back = e.encode(e.decode(text))
        except EventError:
            continue
        assert json.loads(back) == json.loads(text)


def test_every_event_type_has_an_example() -> None:
    seen = {json.loads(path.read_text())["event_type"] for path in EXAMPLES}
    assert seen == set(e.EVENT_TYPES)


def test_absent_is_unset_and_false(root: Path) -> None:
    event = e.decode(load(root, "ai-response-error"))
    assert isinstance(event.data, e.AIResponseData)
    assert event.data.usage is UNSET
    assert not event.data.choices


def test_unknown_types_stay_as_they_came() -> None:
    text = (
        b'{"oisp_version":"0.2","event_id":"1","event_type":"robot.moved","ts":"2026-01-01T00:00:00Z",'
        b'"source":{"collector":"x"},"confidence":{"level":"high","completeness":"full"},"data":{"n": 1.10, "a":[ ]}}'
    )
    event = e.decode(text)
    assert isinstance(event.data, msgspec.Raw)
    assert bytes(event.data) == b'{"n": 1.10, "a":[ ]}'
    assert b'"data":{"n": 1.10, "a":[ ]}' in e.encode(event)


def test_unknown_members_move_with_their_struct(root: Path) -> None:
    document = json.loads(load(root, "process-exec"))
    document["process"]["selinux"] = "unconfined"
    event = e.decode(json.dumps(document))
    assert isinstance(event.process, e.Process)
    other = e.decode(load(root, "process-exit"))
    other.process = event.process
    assert json.loads(e.encode(other))["process"]["selinux"] == "unconfined"


def test_decode_takes_what_buffers_there_are(root: Path) -> None:
    text = load(root, "agent-tool-call")
    for form in (text, bytearray(text), memoryview(text), text.decode()):
        assert e.decode(form) == e.decode(text)


def test_decode_lines_skips_only_empty_ones(root: Path) -> None:
    line = e.encode(e.decode(load(root, "agent-tool-call")))
    assert len(list(e.decode_lines(line + b"\n\n" + line + b"\n"))) == 2


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        (b"", "$", "not JSON"),
        (b"{", "$", "not JSON"),
        (b"\xff", "$", "not JSON"),
        (b"[" * 100_000, "$", "not JSON"),
        (b"[]", "$", "Expected `object`"),
        (b'{"oisp_version":1}', "$.oisp_version", "Expected `str`"),
        (b"{}", "$", "missing required field"),
    ],
)
def test_errors_say_where_and_why(text: bytes, path: str, reason: str) -> None:
    with pytest.raises(EventError) as caught:
        e.decode(text)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_errors_inside_data_and_lists_have_whole_paths(root: Path) -> None:
    text = load(root, "ai-request-openai").replace(b'"role": "user"', b'"role": "owner"')
    with pytest.raises(EventError) as caught:
        e.decode(text)
    assert str(caught.value) == "$.data.messages[1].role: Invalid enum value 'owner'"


def test_made_events_are_valid() -> None:
    event = e.Event(
        oisp_version="0.1",
        event_id="01JGXYZ123ABC456DEF",
        event_type="process.exit",
        ts="2026-01-01T00:00:00.000000Z",
        source=e.Source(collector="test"),
        confidence=e.Confidence(level="high", completeness="full"),
        data=e.ProcessExitData(exit_code=0),
    )
    assert e.decode(e.encode(event), strict=True) == event


def test_short_form_expands_to_what_was_published(root: Path) -> None:
    for name in ("ai-request-short-form", "agent-tool-call-short-form"):
        event = json.loads(e.encode(e.expand(e.decode(load(root, name)))))
        jsonschema.validate(event, published.envelope())
        jsonschema.validate(event["data"], published.payload(event["event_type"]))


def test_short_request_keeps_everything(root: Path) -> None:
    event = e.expand(e.decode(load(root, "ai-request-short-form")))
    data: Any = json.loads(e.encode(event))["data"]
    assert data == {
        "provider": {"name": "openai", "endpoint": "https://api.openai.com/v1/chat/completions"},
        "model": {"id": "gpt-4o"},
        "streaming": True,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Fix the bug in main.rs"},
        ],
        "messages_count": 2,
        "tools": [{"name": "read_file", "type": "function"}, {"name": "write_file", "type": "function"}],
        "tools_count": 2,
        "estimated_tokens": 1234,
    }


def test_short_tool_call_keeps_everything(root: Path) -> None:
    event = json.loads(e.encode(e.expand(e.decode(load(root, "agent-tool-call-short-form")))))
    assert event["data"]["tool"] == {"name": "write_file"}
    assert event["data"]["call_id"] == "call_abc123"
    assert event["related_events"] == [{"event_id": "01JGXYZ123ABC456DEF", "relationship": "parent"}]
    assert event["ext"] == {"oisp": {"trace_id": "tr_01JGXYZ..."}}
    assert "trace" not in event


def test_unknown_provider_in_short_form_becomes_other(root: Path) -> None:
    text = load(root, "ai-request-short-form").replace(b'"openai"', b'"acme"')
    event = json.loads(e.encode(e.expand(e.decode(text))))
    assert event["data"]["provider"]["name"] == "other"
    assert event["ext"]["oisp"]["provider"] == "acme"


def test_the_full_form_wins_over_the_short_one(root: Path) -> None:
    document = json.loads(load(root, "agent-tool-call"))
    document["data"] |= {"tool_name": "other", "tool_call_id": "other"}
    event = json.loads(e.encode(e.expand(e.decode(json.dumps(document)))))
    assert event == json.loads(load(root, "agent-tool-call"))
