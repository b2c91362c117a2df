# SPDX-License-Identifier: Apache-2.0
"""What the engine writes keeps to the contract: every event of every recorded exchange, under every policy.

This looks at the form alone; whether an event says what the exchange said is tested where exchanges are decoded.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest

from oisp_core import Engine, Request, Response, Status, events
from oisp_core.validate import Schema
from tests.reference import published
from tests.unit.standard.conftest import ROOT

if TYPE_CHECKING:
    from tests.conftest import Corpus

ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HASH = re.compile(r"(hmac-)?sha256:[0-9a-f]{16}")
FIRST_NS = 1_772_442_902_000_000_000
# Places whose content is the wire's own JSON.
WIRE = {"arguments", "raw", "metadata", "result"}


@cache
def words(table: str) -> set[str]:
    header = (ROOT / "oisp_core/include/oisp/confidence.h").read_text()
    body = re.search(rf"#define {table}\(X\)(.*?[^\\])\n", header, re.DOTALL)
    assert body is not None
    return set(re.findall(r'X\(\w+, "([^"]+)"\)', body[1]))


@cache
def as_published(event_type: str | None) -> Schema:
    """The envelope, or the payload of an event type."""
    body = published.envelope() if event_type is None else published.payload(event_type)
    return Schema({"$id": f"https://example.org/{event_type}", **body})


def exchanges(corpus: Corpus) -> Iterator[tuple[Request, Response]]:
    at = FIRST_NS
    for row in corpus.exchanges():
        if row.get("ws") or row.get("grpc") or not row.get("url"):
            continue
        at += 1_000_000_007
        yield (
            Request(
                method=row["method"],
                url=row["url"],
                headers=[(name, value) for name, value in row["request_headers"]],
                body=base64.b64decode(row["request_body"] or ""),
                ts_ns=at,
            ),
            Response(
                status=row["status"],
                headers=[(n, v) for n, v in row["response_headers"] if n.lower() != "content-encoding"],
                body=base64.b64decode(row["response_body"] or ""),
                ts_ns=at + 250_000_000,
            ),
        )


@pytest.fixture(scope="module", params=["metadata", "redacted", "full"])
def lines(request: pytest.FixtureRequest, corpus: Corpus) -> list[bytes]:
    engine = Engine(content=request.param, chunks=True, id_seed=7)
    out = []
    for asked, answered in exchanges(corpus):
        while engine.exchange(asked, answered) == Status.FULL:
            out += engine.drain().splitlines()
        out += engine.drain().splitlines()
    engine.close()
    out += engine.drain().splitlines()
    return out


def test_there_is_something_to_look_at(lines: list[bytes]) -> None:
    seen = Counter(json.loads(line)["event_type"] for line in lines)
    assert {"ai.request", "ai.response", "ai.streaming_chunk", "agent.tool_call", "agent.tool_result"} <= set(seen)
    assert seen["ai.request"] > 100


def test_every_line_is_valid(lines: list[bytes]) -> None:
    """By the Structs, which agree with our schema, and as published: so the short form is never written."""
    for line in lines:
        event = events.decode(line, strict=True)
        document = json.loads(line)
        assert as_published(None).problems(document) == [], line[:200]
        event_type = {"rag.retrieve": "agent.rag_retrieve"}.get(event.event_type, event.event_type)
        assert as_published(event_type).problems(document["data"]) == [], line[:200]


def test_every_line_reads_the_same_everywhere_and_is_written_back(lines: list[bytes]) -> None:
    for line in lines:
        document = json.loads(line)
        assert msgspec.json.decode(line) == document
        assert orjson.loads(line) == document
        assert json.loads(events.encode(events.decode(line))) == document


def test_ids_times_and_hashes_have_their_form(lines: list[bytes]) -> None:
    ids = []
    for line in lines:
        document = json.loads(line)
        ids.append(document["event_id"])
        assert ULID.fullmatch(document["event_id"])
        assert TIME.fullmatch(document["ts"])
        assert document["oisp_version"] == "0.1"
        for name, value in members(document):
            if name.endswith("_hash") or name == "hash":
                assert HASH.fullmatch(value), (name, value)
            assert value is not None, name
    assert len(set(ids)) == len(ids)


def test_confidence_uses_words_of_the_closed_lists(lines: list[bytes]) -> None:
    for line in lines:
        confidence = json.loads(line)["confidence"]
        assert set(confidence.get("reasons", [])) <= words("OISP_REASONS")
        assert set(confidence.get("missing", [])) <= words("OISP_MISSINGS")
        for limitation in confidence.get("limitations", []):
            assert re.fullmatch(
                r"(request|response)_bytes_(lost|spared)=\d+|bytes_over_limit=\d+|loss_undetectable", limitation
            )


def test_links_lead_to_earlier_events(lines: list[bytes]) -> None:
    seen: dict[str, str] = {}
    kinds = {
        "ai.response": {"ai.request"},
        "ai.embedding": {"ai.request"},
        "agent.tool_call": {"ai.response"},
        "agent.tool_result": {"agent.tool_call"},
        "ai.streaming_chunk": {"ai.request"},
        "rag.retrieve": {"ai.response"},  # what a provider looked up for its answer
    }
    linked = 0
    for line in lines:
        document = json.loads(line)
        for link in document.get("related_events", []):
            assert seen[link["event_id"]] in kinds[document["event_type"]]
            assert link["relationship"] == ("parent" if document["event_type"] == "agent.tool_result" else "caused_by")
            linked += 1
        seen[document["event_id"]] = document["event_type"]
    assert linked > 100


def members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield name, member
            if name not in WIRE:
                yield from members(member)
    elif isinstance(value, list):
        for item in value:
            yield from members(item)
