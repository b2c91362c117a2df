# SPDX-License-Identifier: Apache-2.0
"""Rules of the writer that are worth a test by name: ids, time, endpoint, auth, confidence, what policy leaves."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from oisp_core import validate
from oisp_core.encode import _testing, writer

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SECRET = "xyzzy plugh"
POLICIES = {"metadata": 0, "redacted": 1, "full": 2}


def event(
    kind: str, x: dict[str, Any], f: dict[str, Any] | None = None, policy: int = 0, index: int = 0
) -> dict[str, Any]:
    facts = {"event_id": ULID, "ts_ns": 1_700_000_000_123_456_789} | (f or {})
    line = _testing.Writer(policy).encode(kind, _testing.Exchange(x), _testing.Facts(facts), index)
    assert validate.problems(line) == []
    found: dict[str, Any] = json.loads(line)
    return found


# -- ids


def number(ulid: str) -> int:
    value = 0
    for c in ulid:
        value = value * 32 + CROCKFORD.index(c)
    return value


def test_a_ulid_holds_its_millisecond() -> None:
    ulid = _testing.Writer(0, seed=(1, 2)).ulid(1_700_000_000_123_999_999)
    assert len(ulid) == 26
    assert number(ulid) >> 80 == 1_700_000_000_123
    assert number(ulid) < 1 << 128


def test_ulids_of_one_millisecond_count_up_whatever_lies_between() -> None:
    w = _testing.Writer(0, seed=(3, 4))
    times = [5_000_000, 5_000_000, 9_000_000, 5_999_999, 1_000_000, 5_000_001, 9_000_000]
    ids = [w.ulid(t) for t in times]
    for ms in (5, 9):
        same = [i for i, t in zip(ids, times, strict=True) if t // 1_000_000 == ms]
        assert same == sorted(same)
    assert len(set(ids)) == len(ids)


def test_a_seed_reproduces_the_ids_and_another_does_not() -> None:
    def ids(seed: tuple[int, int]) -> list[str]:
        w = _testing.Writer(0, seed=seed)
        return [w.ulid(10**18) for _ in range(100)]

    assert ids((1, 2)) == ids((1, 2))
    assert not set(ids((1, 2))) & set(ids((1, 3)))
    assert not set(ids((1, 2))) & set(ids((2, 2)))
    assert len(set(ids((0, 0)))) == 100


# -- time


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951782400 * 10**9 - 1, "2000-02-28T23:59:59.999999Z"),
        (951782400 * 10**9, "2000-02-29T00:00:00.000000Z"),
        (951868800 * 10**9, "2000-03-01T00:00:00.000000Z"),
        (4107542400 * 10**9, "2100-03-01T00:00:00.000000Z"),
        (1735689599 * 10**9 + 999_999_999, "2024-12-31T23:59:59.999999Z"),
    ],
)
def test_time_has_six_digits_and_a_z(ns: int, text: str) -> None:
    assert event("ai.request", {}, {"ts_ns": ns})["ts"] == text


# -- provider and auth


@pytest.mark.parametrize(
    ("authority", "path", "endpoint"),
    [
        (b"api.openai.com", b"/v1/x?key=AIzaSECRET", "https://api.openai.com/v1/x"),
        (b"user:SECRET@proxy:8443", b"/v1/x#SECRET", "https://proxy:8443/v1/x"),
        (b"[::1]:11434", b"/api/chat", "https://[::1]:11434/api/chat"),
        (b"", b"/v1/x", "/v1/x"),
        (b"host", b"", "https://host"),
    ],
)
def test_the_endpoint_has_neither_query_nor_user(authority: bytes, path: bytes, endpoint: str) -> None:
    data = event("ai.request", {}, {"scheme": b"https", "authority": authority, "path": path}, policy=2)["data"]
    assert data["provider"]["endpoint"] == endpoint
    assert "SECRET" not in json.dumps(data)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (b"sk-proj-0123456789abcdef", "sk-proj-"),
        (b"0123456789abcdef", "01234567"),
        (b"0123456789abcde", "0123456"),
        (b"ollama", "oll"),
        (b"x", None),
        ("schlüssel-über-alles".encode(), "schlüss"),
    ],
)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_key_shows_at_most_eight_bytes_and_never_more_than_half(key: bytes, prefix: str | None, policy: int) -> None:
    auth = event("ai.request", {}, {"verdict": {"auth_type": 1, "key": key}}, policy)["data"]["auth"]
    assert auth.get("key_prefix") == prefix
    assert auth["key_hash"] == writer.text_digest(key)[0]
    assert key.decode() not in json.dumps(auth, ensure_ascii=False)


def test_a_model_of_the_path_is_percent_decoded() -> None:
    data = event("ai.request", {}, {"verdict": {"model": b"us.amazon.nova-lite-v1%3A0"}})["data"]
    assert data["model"] == {"id": "us.amazon.nova-lite-v1:0"}


# -- confidence


def test_loss_makes_partial_and_never_high() -> None:
    lost = {"level": 1, "response_lost": 512, "over_limit": 3, "response_spared": 9}
    confidence = event("ai.response", {}, {"confidence": lost})["confidence"]
    assert confidence["level"] == "medium"
    assert confidence["completeness"] == "partial"
    assert confidence["limitations"] == ["response_bytes_lost=512", "response_bytes_spared=9", "bytes_over_limit=3"]


def test_spared_bytes_alone_are_no_loss() -> None:
    confidence = event("ai.request", {}, {"confidence": {"level": 1, "request_spared": 9}}, 2)["confidence"]
    assert (confidence["level"], confidence["completeness"]) == ("high", "full")


def test_metadata_says_what_it_did() -> None:
    confidence = event("ai.request", {"messages": [{"role": 2, "content": SECRET}]})["confidence"]
    assert confidence["completeness"] == "metadata_only"
    assert confidence["redaction_applied"] is True
    assert confidence["redaction_profile"] == "metadata"
    assert confidence["reasons"] == ["content_by_policy"]


def test_full_claims_no_redaction() -> None:
    confidence = event("ai.request", {"messages": [{"role": 2, "content": SECRET}]}, policy=2)["confidence"]
    assert confidence["completeness"] == "full"
    assert "redaction_applied" not in confidence


def test_a_cut_or_rewritten_text_is_said() -> None:
    x = {"messages": [{"role": 2, "content": (1, b"cut", 1 | 2)}]}
    for policy in (0, 2):
        confidence = event("ai.request", x, {"confidence": {"level": 1}}, policy)["confidence"]
        assert confidence["completeness"] == "partial"
        assert confidence["level"] == "medium"
        assert "text_rewritten" in confidence["reasons"]


def test_without_context_it_says_so_and_names_itself() -> None:
    found = event("ai.request", {})
    assert found["source"] == {"collector": "oisp_core"}
    assert "context" in found["confidence"]["missing"]


def test_context_is_spliced_in() -> None:
    context = b'"host":{"hostname":"h"},"source":{"collector":"oisp-sensor","capture_method":"ebpf_uprobe"}'
    found = event("ai.request", {}, {"context": context, "context_has_source": 1})
    assert found["host"] == {"hostname": "h"}
    assert found["source"]["collector"] == "oisp-sensor"
    assert "context" not in found["confidence"]["missing"]


@pytest.mark.parametrize(
    ("members", "answer"),
    [
        (b'"host":{"hostname":"h"}', 0),
        (b'"host":{} , "source":{"collector":"x"}', 1),
        (b'"process":{"env":{"source":"x"}},"ts_mono":5', 0),
        (b"", -1),
        (b'"host":{},', -1),
        (b'"host":{},"host":{}', -1),
        (b'"host":{}}', -1),
        (b'{"host":{}}', -1),
        (b'"confidence":{}', -1),
        (b'"event_id":"x"', -1),
        (b'"host":\n{}', -1),
        (b'"host":{"a":"\xff"}', -1),
        (b'"h\\u006fst":{}', -1),
    ],
)
def test_what_may_be_spliced_in(members: bytes, answer: int) -> None:
    assert _testing.context_check(members) == answer


# -- content


def everything(text: str) -> dict[str, Any]:
    """An exchange that holds `text` wherever content can stand."""
    arguments = json.dumps({"a": text})
    return {
        "flags": 1,
        "system": text,
        "messages": [
            {"role": 2, "content": text},
            {"role": 0, "raw_role": "other", "content": text},
            {"role": 4, "call_id": "c", "content": (2, json.dumps([text]).encode())},
            {"role": 1, "flags": 2, "content": text},
        ],
        "tools": [{"name": "t", "type": 1, "description": text}],
        "stop": (2, json.dumps([text]).encode()),
        "choices": [{"content": text, "reasoning": text, "refusal": text, "finish": 1}],
        "calls": [
            {"id": "1", "name": "bash", "arguments": arguments},
            {"id": "2", "name": "x", "arguments": (2, arguments.encode())},
            {"id": "3", "name": "y", "arguments": text},
            {"id": "4", "name": "z", "arguments": text, "custom": 1},
        ],
        "answers": [{"call_id": "1", "content": text}, {"call_id": "2", "content": (2, arguments.encode())}],
        "error_type": "t",
        "error_message": text,
        "chunk_content": text,
        "chunk_call": 1,
        "chunk_arguments": text,
    }


def test_redacted_masks_and_is_full_where_there_is_nothing() -> None:
    secret = "mail jane@mail.example.org now"
    for kind, index in ALL:
        assert "jane@" not in json.dumps(event(kind, everything(secret), policy=1, index=index))
    held = event("ai.request", everything(secret), policy=1)
    assert held["data"]["messages"][0]["content"] == "mail [REDACTED:email] now"
    confidence = held["confidence"]
    assert (confidence["completeness"], confidence["redaction_profile"]) == ("redacted", "redacted")
    plain = event("ai.request", everything(SECRET), policy=1)
    assert plain["data"]["messages"][0]["content"] == SECRET
    assert plain["confidence"]["completeness"] == "full"
    assert "redaction_applied" not in plain["confidence"]


ALL = [
    ("ai.request", 0), ("ai.response", 0), ("ai.embedding", 0), ("ai.streaming_chunk", 0), ("agent.tool_call", 0),
    ("agent.tool_call", 1), ("agent.tool_call", 2), ("agent.tool_call", 3), ("agent.tool_result", 0),
    ("agent.tool_result", 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "index"), ALL)
def test_under_metadata_no_content_leaves(kind: str, index: int) -> None:
    text = json.dumps(event(kind, everything(SECRET), index=index))
    assert "xyzzy" not in text
    assert "plugh" not in text


@pytest.mark.parametrize(("kind", "index"), [row for row in ALL if row[0] != "ai.embedding"])
def test_under_full_all_content_is_there(kind: str, index: int) -> None:
    assert SECRET in json.dumps(event(kind, everything(SECRET), policy=2, index=index))


def test_what_is_left_out_is_named() -> None:
    request = event("ai.request", everything(SECRET))["confidence"]["missing"]
    assert {"tools.description", "parameters.stop"} <= set(request)
    response = event("ai.response", everything(SECRET))["confidence"]["missing"]
    assert {"reasoning", "error.message"} <= set(response)
    assert "arguments" in event("agent.tool_call", everything(SECRET))["confidence"]["missing"]
    assert "delta.content" in event("ai.streaming_chunk", everything(SECRET))["confidence"]["missing"]


def test_the_system_prompt_of_its_own_place_is_no_message() -> None:
    x = {"system": SECRET, "messages": [{"role": 1, "flags": 2, "content": SECRET}, {"role": 2, "content": "hi"}]}
    found = event("ai.request", x, policy=2)
    assert found["data"]["messages"] == [{"role": "user", "content": "hi"}]
    assert found["data"]["messages_count"] == 1
    assert found["data"]["system_prompt_hash"] == writer.text_digest(SECRET)[0]
    assert found["ext"]["oisp"]["system_prompt"] == SECRET
    assert event("ai.request", x)["ext"]["oisp"]["system_prompt_length"] == len(SECRET)


def test_the_system_prompt_among_the_messages_stays_there() -> None:
    x = {"messages": [{"role": 1, "content": "a"}, {"role": 2, "content": "b"}, {"role": 1, "content": "c"}]}
    found = event("ai.request", x, policy=2)
    assert [m["role"] for m in found["data"]["messages"]] == ["system", "user", "system"]
    assert found["data"]["system_prompt_hash"] == writer.text_digest("ac")[0]
    assert "system_prompt" not in found["ext"]["oisp"]


def test_arguments_that_are_no_object_are_left_out_and_kept_raw() -> None:
    found = event("agent.tool_call", everything(SECRET), policy=2, index=2)
    assert "arguments" not in found["data"]
    assert "arguments" in found["confidence"]["missing"]
    assert found["ext"]["oisp"]["raw"]["arguments"] == SECRET
    assert event("agent.tool_call", everything(SECRET), policy=2, index=3)["data"]["arguments"] == {"input": SECRET}


def test_links() -> None:
    other = ULID[:-1] + "0"
    x = everything("x")
    assert event("ai.response", x, {"request_event": other})["related_events"] == [
        {"event_id": other, "relationship": "caused_by"}
    ]
    assert event("agent.tool_call", x, {"response_event": other})["related_events"] == [
        {"event_id": other, "relationship": "caused_by"}
    ]
    assert event("agent.tool_result", x, {"parent_event": other})["related_events"] == [
        {"event_id": other, "relationship": "parent"}
    ]
    orphan = event("agent.tool_result", x)
    assert "related_events" not in orphan
    assert "parent" in orphan["confidence"]["missing"]


def test_a_number_that_is_none_is_left_out() -> None:
    x = {"temperature": (2, b'"hot"'), "top_p": (2, b"1e999"), "max_tokens": (2, b"1.5"), "stop": (2, b"[1]")}
    found = event("ai.request", x, policy=2)
    assert "parameters" not in found["data"]
    assert found["ext"]["oisp"]["raw"] == {"max_tokens": "1.5"}
    assert "parameters.stop" in found["confidence"]["missing"]


def test_whole_lines_or_nothing() -> None:
    line = _testing.Writer(2).encode("ai.request", _testing.Exchange(everything("a\nb\u2028")), _testing.Facts({}))
    assert line.count(b"\n") == 1
    assert re.fullmatch(rb"\{.*\}\n", line)
