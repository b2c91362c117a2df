# SPDX-License-Identifier: Apache-2.0
"""Reading and writing events as Structs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from msgspec import UNSET

from oisp_core import events as e
from oisp_core.errors import EventError
from tests.reference import published
from tests.unit.standard.conftest import EXAMPLES


def load(root: Path, name: str) -> bytes:
    return (root / "examples" / f"{name}.json").read_bytes()


def test_data_is_the_struct_of_its_type(example: Path) -> None:
    event = e.decode(example.read_bytes())
    assert type(event.data) is e.EVENT_TYPES[event.event_type]


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
