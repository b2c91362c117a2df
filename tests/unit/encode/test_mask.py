# SPDX-License-Identifier: Apache-2.0
"""Secrets and personal data of a known form are masked; what only looks like them is not; JSON stays JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oisp_core import Engine, validate
from oisp_core.encode import _testing
from oisp_core.engine import Request, Response

SECRETS = {
    "key": [
        "sk-proj-Ab3dE5fG7hJ9kL1mN3pQ5rS7",
        "sk-ant-api03-Ab3dE5fG7hJ9kL1m-N3pQ5rS7_xyz",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdefghijklmnopqrstuv",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "xoxb-123456789012-abcdefghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpM",
        "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY12",
    ],
    "email": ["jane.doe+test@mail.example.co.uk", "j@x.org", "a_b%c@sub-domain.example.com"],
    "card": ["4111 1111 1111 1111", "5500-0055-5555-5559", "378282246310005"],
    "phone": ["+49 30 901820", "+1-415-555-2671", "(415) 555-2671", "415-555-2671", "415.555.2671"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "ssn": ["078-05-1120"],
}
ASSIGNED = [
    ("password: {}", "hunter2!"),
    ("OPENAI_API_KEY={}", "0123abcd"),
    ('\\"token\\": \\"{}\\"', "t0p-s3cret"),
    ("Authorization: Bearer {}", "abcdefgh12345678"),
    ("curl -H 'Authorization: Basic {}'", "dXNlcjpwYXNz"),
    ("postgres://{}@db.example:5432/x", "admin:hunter2"),
    ("client_secret = '{}'", "zzzz-yyyy"),
]
INNOCENT = [
    "The tokens: 4096, of which 12 are cached.",
    "Version 1.2.3.4 of 2024-10-11 at 10:30:00",
    "call_0123456789abcdef and toolu_01A09q90qw90lq917835lq9",
    "a sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "/usr/lib/python3/dist-packages/some_very_long_module_name/with_parts.py",
    "user@localhost and @decorator and a@b",
    "1234567890123456 4111 1111 1111 1112",
    "https://example.com:8443/path?x=1",
    "the password is a word; token by token",
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678901234567890123456789012345678901234567890",
    "über 東京 🧭 \\n\\t\\\\ \\u2028 end",
]
WRAPS = ["{}", "see {} there", "({})", "\\n{}\\n", "«{}»", "x={};", "\\u00e9{}"]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in SECRETS.items() for text in texts])
@pytest.mark.parametrize("wrap", WRAPS)
def test_known_forms_are_masked(kind: str, text: str, wrap: str) -> None:
    found, masks = _testing.masked(wrap.format(text).encode()) or (b"", 0)
    assert found.decode() == wrap.format(f"[REDACTED:{kind}]")
    assert masks == 1


@pytest.mark.parametrize(("form", "text"), ASSIGNED)
def test_what_is_assigned_to_a_secret_name_is_masked(form: str, text: str) -> None:
    found, _ = _testing.masked(form.format(text).encode()) or (b"", 0)
    assert found.decode() == form.format("[REDACTED:secret]")


def test_a_private_key_is_masked_whole_and_without_its_end() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\\nMIIEow\\nabc/+=\\n-----END RSA PRIVATE KEY-----"
    assert _testing.masked(f"a {key} b".encode()) == (b"a [REDACTED:private_key] b", 1)
    assert _testing.masked(key[:50].encode()) == (b"[REDACTED:private_key]", 1)
    public = b"-----BEGIN CERTIFICATE-----\\nMIIEow\\n-----END CERTIFICATE-----"
    assert _testing.masked(public) == (public, 0)


@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert _testing.masked(text.encode()) == (text.encode(), 0)


@pytest.mark.parametrize("text", ["\\u0073k-proj-Ab3dE5fG7hJ9kL1mN3", "jane\\u0040example.com"])
def test_plain_text_behind_escapes_is_withheld_whole(text: str) -> None:
    assert _testing.masked(text.encode()) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "hunter2", "n": 1}, {"password": "[REDACTED:secret]", "n": 1}),
        ({"card": 4111111111111111}, {"card": "[REDACTED:card]"}),
        ({"token": 123456789, "b": [1]}, {"token": "[REDACTED:secret]", "b": [1]}),
        (
            {"token": None, "password": {"a": "b"}, "secret": True},
            {"token": None, "password": {"a": "b"}, "secret": True},
        ),
        ({"to": ["a@x.org", "b"]}, {"to": ["[REDACTED:email]", "b"]}),
        ({"tokens": 4096, "x": -1.5e10}, {"tokens": 4096, "x": -1.5e10}),
        (["password", "hunter2"], ["password", "hunter2"]),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_values_stay_json(value: Any, expected: Any, separators: tuple[str, str]) -> None:
    found, _ = _testing.masked(json.dumps(value, separators=separators).encode(), value=True) or (b"", 0)
    assert json.loads(found) == expected


MARKS = ["token", "password", ":", "=", " ", '"', "\\", "\n", "é", "x", "7", "://", "@", "-", "bearer "]
PIECES = st.sampled_from([text for texts in SECRETS.values() for text in texts] + MARKS)
WORDS = st.lists(PIECES, max_size=6).map("".join)
VALUES = st.recursive(
    WORDS | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
CALM = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@CALM
@given(VALUES, st.booleans())
def test_whatever_comes_in_json_comes_out(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    found = _testing.masked(body, value=True)
    if found is not None:
        again = _testing.masked(found[0], value=True)
        json.loads(found[0])
        assert again is not None


@CALM
@given(WORDS, st.booleans())
def test_whatever_comes_in_text_comes_out(text: str, ascii_only: bool) -> None:
    found = _testing.masked(json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1])
    if found is not None:
        assert isinstance(json.loads(b'"' + found[0] + b'"'), str)


def test_events_under_redacted_keep_the_text_around() -> None:
    engine = Engine(content="redacted", id_seed=1)
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"to": "jane@mail.example.org", "n": 3}'},
    }
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "write to jane@mail.example.org, please"}]}
    message = {"role": "assistant", "content": "done, nothing secret", "tool_calls": [call]}
    asked = Request(method="POST", url="https://api.openai.com/v1/chat/completions", body=json.dumps(body).encode())
    reply = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    engine.exchange(asked, Response(status=200, headers=[("Content-Type", "application/json")], body=reply))
    lines = engine.drain().splitlines()
    assert [validate.problems(line) for line in lines] == [[], [], []]
    request, response, tool = (json.loads(line) for line in lines)
    said = request["data"]["messages"][0]
    assert said["content"] == "write to [REDACTED:email], please"
    assert said["content_length"] == len("write to jane@mail.example.org, please")
    assert said["content_hash"].startswith("sha256:")
    assert request["confidence"]["completeness"] == "redacted"
    assert request["confidence"]["redaction_profile"] == "redacted"
    assert response["data"]["choices"][0]["message"]["content"] == "done, nothing secret"
    assert tool["data"]["arguments"] == {"to": "[REDACTED:email]", "n": 3}
    assert b"jane" not in b"".join(lines)
