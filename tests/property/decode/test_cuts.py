# SPDX-License-Identifier: Apache-2.0
"""A document cut at any byte gives what stands before the cut, and never another value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects

DIALECTS: Dialects = load_dialects(Path(__file__).resolve().parents[3] / "semconv" / "dialects")

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief. \u00e9\U0001f600"},
        {
            "content": [{"text": "See", "type": "text"}, {"type": "image_url", "image_url": {"url": "x"}}],
            "role": "user",
        },
        {
            "role": "assistant",
            "tool_calls": [{"function": {"arguments": '{"a": 1}', "name": "f"}, "id": "c1", "type": "function"}],
        },
        {"tool_call_id": "c1", "content": "sunny", "role": "tool"},
    ],
    "temperature": 12.5,
    "max_tokens": 100,
    "stream": True,
    "tools": [{"type": "function", "function": {"name": "f", "description": 'does "f"'}}],
    "model": "gpt-4o",
}
ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
    "content": [
        {"type": "text", "text": "Hello \u4e16\u754c"},
        {"input": {"q": [1, 2, {"z": None}]}, "name": "g", "id": "t1", "type": "tool_use"},
    ],
    "stop_reason": "tool_use", "usage": {"input_tokens": 10, "output_tokens": 20},
}  # fmt: skip
TEXTS = {"content", "reasoning", "refusal", "description", "system", "arguments"}


def value_of(decoder: Decoder) -> dict[str, Any]:
    """Without the part that the system prompt adds at the front: a cut may come before it."""
    found = decoder.value()
    found["messages"] = [message for message in found["messages"] if not message["flags"] & 2]
    return found


def at_most(found: Any, whole: Any, key: str = "") -> None:
    """Every value is the whole one's, absent, or (of texts) its beginning."""
    if isinstance(found, dict) and isinstance(whole, dict) and key != "arguments":
        for name, value in found.items():
            at_most(value, whole.get(name), name)
    elif isinstance(found, list) and isinstance(whole, list):
        assert len(found) <= len(whole)
        for one, other in zip(found, whole, strict=False):
            at_most(one, other, key)
    elif key in TEXTS and isinstance(found, str) and isinstance(whole, str):
        assert whole.startswith(found), key
    elif key in ("server", "custom"):
        assert whole or not found, key
    elif key not in ("flags", "text_flags", "success", "images", "has_system", "type", "role", "finish", "message"):
        assert found is None or found == whole, (key, found, whole)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_request_cut_anywhere(ascii_only: bool) -> None:
    body = json.dumps(CHAT, ensure_ascii=ascii_only).encode()
    decoder = Decoder(DIALECTS, "openai.chat")
    assert decoder.request(body) == 0
    whole = value_of(decoder)
    for cut in range(len(body)):
        decoder.reset()
        assert decoder.request(body[:cut], False) == (1 if cut else 0)
        found = value_of(decoder)
        assert bool(found["flags"] & 128) == (cut > 0)
        at_most(found, whole)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_answer_cut_anywhere(ascii_only: bool) -> None:
    body = json.dumps(ANSWER, ensure_ascii=ascii_only).encode()
    decoder = Decoder(DIALECTS, "anthropic.messages")
    assert decoder.response(body) == 0
    whole = value_of(decoder)
    for cut in range(len(body)):
        decoder.reset()
        assert decoder.response(body[:cut], False) == 1
        at_most(value_of(decoder), whole)


def test_every_row_cut_here_and_there(corpus: Any) -> None:
    """Real bodies, cut at a few places each: no crash, no longer value."""
    import base64

    truth = corpus.truth()
    for number, row in enumerate(corpus.exchanges()):
        api = truth[row["id"]]["api"]
        body = base64.b64decode(row["request_body"] or "")[:20000]
        if api not in ("openai.chat", "anthropic.messages", "openai.responses") or number % 3 or not body:
            continue
        decoder = Decoder(DIALECTS, api)
        decoder.request(body, False)
        whole = value_of(decoder)
        for cut in range(1, len(body), max(1, len(body) // 40)):
            decoder.reset()
            decoder.request(body[:cut], False)
            at_most(value_of(decoder), whole)
