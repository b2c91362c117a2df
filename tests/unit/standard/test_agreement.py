# SPDX-License-Identifier: Apache-2.0
"""Structs, our validator and JSON Schema accept and reject the same documents.

Every example is broken in every place, and all three are asked. The library `jsonschema` is the oracle, and slow (some
milliseconds a document): it is asked about a part, another one for each example. The long form makes all documents, and
asks about one in seven. The differences that are meant are listed at the end, each with a test that it is as described.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from oisp_core import events
from oisp_core._events_codec import RFC3339
from oisp_core.errors import EventError
from oisp_core.validate import Schema, Validator
from tests.reference.mutations import mutations

FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time")
def _date_time(value: object) -> bool:
    return not isinstance(value, str) or msgspec_accepts_time(value)


def msgspec_accepts_time(value: str) -> bool:
    try:
        msgspec.convert(value, events.Timestamp)
    except msgspec.ValidationError:
        return False
    return True


@pytest.fixture(scope="module")
def oracle(envelope: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(envelope, format_checker=FORMATS)


@pytest.fixture(scope="module")
def ours(envelope: dict[str, Any]) -> Schema:
    return Schema(envelope)


def structs_accept(document: bytes) -> bool:
    try:
        events.decode(document, strict=True)
    except EventError:
        return False
    return True


def broken(example: Path, share: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """One in `share` of the mutations, numbered; which ones depends on the example."""
    first = zlib.crc32(example.name.encode()) % share
    chosen = islice(mutations(json.loads(example.read_text())), first, None, share)
    return ((number, done, make()) for number, (done, make) in enumerate(chosen))


def check(example: Path, ours: Schema, oracle: jsonschema.Draft202012Validator, share: int, asked: int) -> int:
    """How many were valid and invalid; the oracle is asked about one in `asked`."""
    valid = invalid = 0
    for number, done, document in broken(example, share):
        by_structs = structs_accept(msgspec.json.encode(document))
        assert by_structs is (not ours.problems(document)), done
        if number % asked == 0:
            assert by_structs is oracle.is_valid(document), done
        valid, invalid = valid + by_structs, invalid + (not by_structs)
    return min(valid, invalid)


def test_all_three_agree(example: Path, ours: Schema, oracle: jsonschema.Draft202012Validator) -> None:
    assert check(example, ours, oracle, 29, 6) > 3


@pytest.mark.full
def test_all_three_agree_on_every_document(
    example: Path, ours: Schema, oracle: jsonschema.Draft202012Validator
) -> None:
    assert check(example, ours, oracle, 1, 7) > 50


def written_back(example: Path, share: int) -> int:
    kept = 0
    for _, done, document in broken(example, share):
        try:
            event = events.decode(msgspec.json.encode(document))
        except EventError:
            continue
        assert json.loads(events.encode(event)) == document, done
        kept += 1
    return kept


def test_what_is_read_is_written_back(example: Path) -> None:
    """Unknown members too, wherever they stand; and the short form stays what it is."""
    assert written_back(example, 29) > 3


@pytest.mark.full
def test_every_document_that_is_read_is_written_back(example: Path) -> None:
    assert written_back(example, 1) > 50


# --- differences that are meant ---------------------------------------------------------------------------------------

BASE = (
    b'{"oisp_version":"0.1","event_id":"1","event_type":"ai.response","ts":"2026-01-01T00:00:00Z",'
    b'"source":{"collector":"x"},"confidence":{"level":"high","completeness":"full"},"data":{%s}}'
)


def test_time_is_asserted_here_and_an_annotation_for_plain_json_schema(envelope: dict[str, Any]) -> None:
    text = (BASE % b"").replace(b"2026-01-01T00:00:00Z", b"yesterday")
    assert not structs_accept(text)
    assert jsonschema.Draft202012Validator(envelope).is_valid(json.loads(text))


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (b'"usage":{"total_cost_usd":1e400}', "a number that no double holds"),
        (b'"provider_request_id":"\\ud800"', "half of a surrogate pair"),
        (b'"usage":{"total_cost_usd":NaN}', "not JSON, though Python's json reads it"),
    ],
)
def test_what_cannot_be_written_as_json_again_is_rejected(envelope: dict[str, Any], member: bytes, why: str) -> None:
    assert not structs_accept(BASE % member), why
    assert Validator().problems(BASE % member)
    assert jsonschema.Draft202012Validator(envelope).is_valid(json.loads(BASE % member)), why


def test_reading_keeps_members_of_the_envelope_that_validation_rejects(envelope: dict[str, Any]) -> None:
    text = (BASE % b"").replace(b'"data"', b'"color":"red","data"')
    event = events.decode(text)
    assert event.unknown == {"color": "red"}
    assert json.loads(events.encode(event)) == json.loads(text)
    assert not structs_accept(text)
    assert not jsonschema.Draft202012Validator(envelope).is_valid(json.loads(text))


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-01-01T00:00:00Z", True),
        ("2026-01-01t00:00:00.123456789z", True),
        ("2026-06-30T23:59:60Z", True),
        ("2026-01-01T00:00:00-23:59", True),
        ("2026-01-01T00:00:00", False),
        ("2026-01-01 00:00:00Z", False),
        ("2026-01-01T24:00:00Z", False),
        ("2026-00-01T00:00:00Z", False),
        ("2026-01-01T00:00:00Z\n", False),
        ("2026-01-01T00:00:00.Z", False),
        ("2026-01-01T00:00Z", False),
    ],
)
def test_rfc3339(text: str, valid: bool) -> None:
    assert RFC3339.startswith("^")
    assert msgspec_accepts_time(text) is valid
