# SPDX-License-Identifier: Apache-2.0
"""What is taken out of command lines: tests/vectors/sensor/mask.tsv, and what holds for any arguments."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_sensor.enrich.mask import MASK, Hasher, mask, shorten

VECTORS = Path(__file__).parents[2] / "vectors" / "sensor" / "mask.tsv"
ROWS = [line.split("\t") for line in VECTORS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_there_are_vectors() -> None:
    assert len(ROWS) > 40
    assert all(len(row) == 2 for row in ROWS)


@pytest.mark.parametrize(("given_json", "expected"), ROWS)
def test_mask(given_json: str, expected: str) -> None:
    assert mask(json.loads(given_json)) == json.loads(expected)


@pytest.mark.parametrize(("given_json", "expected"), ROWS)
def test_masking_twice_changes_nothing(given_json: str, expected: str) -> None:
    assert mask(json.loads(expected)) == json.loads(expected)


@given(st.lists(st.text(max_size=60), max_size=8))
def test_the_number_of_arguments_stays(arguments: list[str]) -> None:
    assert len(mask(arguments)) == len(arguments)


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=20, max_size=40))
def test_a_key_never_stays(tail: str) -> None:
    key = f"sk-{tail}"
    for arguments in (
        ["x", "--api-key", key],
        ["x", f"--anything={key}"],
        ["x", f"https://h/?z={key}"],
        ["sh", "-c", f"A={key}; b"],
        ["x", f'{{"a":"{key}"}}'],
    ):
        assert not any(key in word for word in mask(arguments))


@pytest.mark.parametrize(
    "piece", ["a://", "x=", "authorization:", '"a":"', "x-" * 30, "sk-", "bearer ", "eyJ", "@", "\\"]
)
def test_hostile_arguments_cost_no_more_than_their_length(piece: str) -> None:
    word = (piece * (16384 // len(piece)))[:16384]
    started = time.perf_counter()
    mask(["tool", word])
    assert time.perf_counter() - started < 2


def test_what_may_be_a_prompt_becomes_length_and_hash() -> None:
    text = "Fix the bug in main.rs\N{SNOWMAN}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert shorten(["agent", text, "x" * 128, "x" * 129], Hasher())[:3] == [
        "agent",
        f"<{len(text)} characters, sha256:{digest}>",
        "x" * 128,
    ]
    assert shorten(["x" * 129], Hasher())[0].startswith("<129 characters, sha256:")


def test_a_key_makes_it_hmac() -> None:
    import hmac

    expected = hmac.new(b"k" * 16, b"a b", hashlib.sha256).hexdigest()[:16]
    assert shorten(["a b"], Hasher(b"k" * 16)) == [f"<3 characters, hmac-sha256:{expected}>"]


def test_mask_is_what_it_says() -> None:
    assert MASK not in json.dumps([row[0] for row in ROWS])
