# SPDX-License-Identifier: Apache-2.0
"""Recorded exchanges that nobody of this project wrote: each body through its dialect, each field against the truth."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, load_dialects
from tests.reference.streams import FRAMINGS

ROLES = {1: "system", 2: "user", 3: "assistant", 4: "tool", 5: "function"}
FINISHES = {0: None, 1: "stop", 2: "length", 3: "tool_calls", 4: "content_filter", 5: "error", 6: "other"}
CONTRACT_ROLES = set(ROLES.values())
# Rows without a body of JSON, or whose messages come over other borders than these.
OTHER_BORDERS = {"xai.grpc", "openai.realtime", "gemini.live", "mcp"}


def model_of_path(url: str) -> str | None:
    path = urlsplit(url).path.lstrip("/").split("/")
    for before, word in pairwise(path):
        if before in ("model", "models", "deployments"):
            return unquote(word if before == "model" else word.partition(":")[0])
    return None


def decode(dialects: Dialects, dialect: str, row: dict[str, Any]) -> dict[str, Any]:
    decoder = Decoder(dialects, dialect)
    decoder.reset(model_of_path(row["url"]), urlsplit(row["url"]).path.encode())
    decoder.request(base64.b64decode(row["request_body"] or ""))
    body = base64.b64decode(row["response_body"] or "")
    if body:
        headers = {name.lower(): value for name, value in row["response_headers"]}
        framing = decoder.framing(headers.get("content-type", "").encode(), body[:4096])
        split = FRAMINGS[framing]
        if split is None:
            decoder.response(body)
        else:
            for name, data in split(body):
                decoder.event(data, name)
    return decoder.finish(row["status"])


def arguments(value: Any) -> Any:
    """Calls are compared as what their arguments mean."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            return json.loads(value, strict=False)
        except ValueError:
            return value
    return value


def calls(found: list[dict[str, Any]], *, server: bool | None) -> list[tuple[Any, ...]]:
    return [
        (c["id"] or None, c["name"], arguments(c["arguments"]))
        for c in found
        if server is None or c["server"] == server
    ]


def answer(result: dict[str, Any]) -> tuple[Any, ...]:
    value = result["text"] if "text" in result else result.get("value")
    return (result.get("id"), as_text(value))


def as_text(value: Any) -> Any:
    """Truth has some JSON of the wire as text."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def compare(found: dict[str, Any], truth: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """field -> (found, true) for each field that truth names."""
    usage = truth.get("usage") or {}
    pairs: dict[str, tuple[Any, Any]] = {
        "model_requested": (found["model_requested"], truth.get("model_requested")),
        "streaming_requested": (bool(found["stream"]), truth.get("streaming_requested")),
        "messages": (sum(not m["flags"] & 2 for m in found["messages"]), truth.get("messages")),
        "roles": (
            [ROLES[m["role"]] if not m["raw_role"] else m["raw_role"] for m in found["messages"] if not m["flags"] & 2],
            truth.get("roles"),
        ),
        "has_system": (found["has_system"], truth.get("has_system")),
        "tools": (
            [t["name"] for t in found["tools"]],
            [t["name"] for t in truth["tools"]] if truth.get("tools") is not None else None,
        ),
        "images": (found["images"], truth.get("images")),
        "tool_results": (
            [(a["call_id"], "" if a["content"] is None else as_text(a["content"])) for a in found["answers"]],
            [answer(r) for r in truth["tool_results"]] if "tool_results" in truth else None,
        ),
        "history_tool_calls": (
            # Some providers' truth leaves out what ran at the provider; these calls only name results.
            calls(found["history"], server=None if "bedrock" in truth["api"] else False),
            [(c["id"], c["name"], arguments(c.get("arguments"))) for c in truth["history_tool_calls"]]
            if "history_tool_calls" in truth
            else None,
        ),
        "success": (found["success"], truth.get("success")),
        "response_id": (found["response_id"], truth.get("response_id")),
        "model_answered": (found["model_answered"], truth.get("model_answered")),
        "texts": ([c["content"] or "" for c in found["choices"]], truth.get("texts")),
        "reasoning": ("".join(c["reasoning"] or "" for c in found["choices"]), truth.get("reasoning")),
        "tool_calls": (
            calls(found["calls"], server=False),
            [(c.get("id") or None, c["name"], arguments(c.get("arguments"))) for c in truth["tool_calls"]]
            if "tool_calls" in truth
            else None,
        ),
        "server_tools": (
            [(c["id"], c["name"]) for c in found["calls"] if c["server"]],
            [(c.get("id"), c.get("name")) for c in truth["server_tools"]] if "server_tools" in truth else None,
        ),
        "finish": (FINISHES[found["finish"]], truth.get("finish")),
        "finish_raw": (found["finish_raw"], truth.get("finish_raw")),
        "embedding_count": (found["embedding_count"], truth.get("embedding_count")),
        "dimensions": (found["dimensions"], truth.get("dimensions")),
        "input_count": (found["input_count"], truth.get("input_count")),
        "error.message": (as_text((found["error"] or {}).get("message")), (truth.get("error") or {}).get("message")),
        "usage.prompt_all": (found["usage"]["prompt"], usage.get("prompt_all")),
        "usage.completion_all": (found["usage"]["completion"], usage.get("completion_all")),
        "usage.cached": (found["usage"]["cached"], usage.get("cached")),
        "usage.reasoning": (found["usage"]["reasoning"], usage.get("reasoning")),
        "usage.cache_write": (found["usage"]["cache_write"], usage.get("cache_write")),
        "usage.total": (found["usage"]["total"], usage.get("total")),
    }
    # "Empty or null means absent."
    pairs = {name: (f if f != "" else None, t if t != "" else None) for name, (f, t) in pairs.items()}
    absent_matters = {"finish", "finish_raw", "reasoning"} if "finish" in truth else set()
    return {name: pair for name, pair in pairs.items() if pair[1] is not None or name in absent_matters}


@pytest.fixture(scope="module")
def dialects() -> Dialects:
    return load_dialects()


def test_every_row_of_every_dialect(corpus: Any, dialects: Dialects, capsys: pytest.CaptureFixture[str]) -> None:
    right: Counter[tuple[str, str]] = Counter()
    wrong: dict[tuple[str, str], list[str]] = {}
    truth = corpus.truth()
    for row in corpus.exchanges():
        true = truth[row["id"]]
        if true["api"] in OTHER_BORDERS or true["api"] not in dialects.names or true["kind"] == "none":
            continue
        for name, (found, expected) in compare(decode(dialects, true["api"], row), true).items():
            if found == expected:
                right[true["api"], name] += 1
            else:
                wrong.setdefault((true["api"], name), []).append(f"{row['id']}: {found!r} is not {expected!r}")
    with capsys.disabled():
        print_table(right, wrong)
    assert right, "no row of the corpus has a dialect"
    assert not wrong, "\n".join(f"{api} {name}: {case}" for (api, name), cases in wrong.items() for case in cases)[
        :20000
    ]


def print_table(right: Counter[tuple[str, str]], wrong: dict[tuple[str, str], list[str]]) -> None:
    print()
    for api, name in sorted({*right, *wrong}):
        print(f"  {api:38}{name:22}{right[api, name]:6} right{len(wrong.get((api, name), ())):6} wrong")
