# SPDX-License-Identifier: Apache-2.0
"""Text: what is hashed and counted, what may be passed through, and that anyone can recompute a hash in three lines."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest

from oisp_core.encode import _testing, writer

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def marker(form: int, data: bytes, **writer_options: Any) -> dict[str, Any]:
    """The redaction marker of a message whose content has this form."""
    x = _testing.Exchange({"messages": [{"role": 2, "content": (form, data)}]})
    line = _testing.Writer(0, **writer_options).encode("ai.request", x, _testing.Facts({"event_id": ULID}))
    found: dict[str, Any] = json.loads(line)["data"]["messages"][0]["content"]["$redacted"]
    return found


def test_a_hash_is_recomputed_in_three_lines() -> None:
    original = 'Où est la clé ? 🔑\n"là"'
    digest = hashlib.sha256(original.encode()).hexdigest()
    wire = json.dumps(original).encode()[1:-1]
    assert marker(1, wire) == {"reason": "policy", "original_length": len(original), "hash": f"sha256:{digest[:16]}"}


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (rb"\ud83d\ude00", "😀"),
        (rb"\uD83D\uDE00", "😀"),
        (rb"\ud83d", "\ufffd"),
        (rb"\ude00", "\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83dx", "\ufffdx"),
        (rb"\ud83d\n", "\ufffd\n"),
        (rb"\u0000\u001f", "\x00\x1f"),
        (rb"\"\\\/\b\f\n\r\t", '"\\/\b\f\n\r\t'),
        (rb"\u00e9\u20ac", "é€"),
        ("naïve 漢字 😀".encode(), "naïve 漢字 😀"),
        (b"", ""),
    ],
)
def test_strings_are_digested_unescaped(wire: bytes, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert marker(1, wire) == {"reason": "policy", "original_length": len(text), "hash": f"sha256:{digest}"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": 1 ,\n "b": [ 1, 2 ],\t"c": "x  y"}', '{"a":1,"b":[1,2],"c":"x  y"}'),
        (b' {"b": 1, "a": "\\u00e9 \\" "}\r\n', '{"b":1,"a":"\\u00e9 \\" "}'),
        (b'"a string"', '"a string"'),
    ],
)
def test_json_is_digested_without_blanks_between_tokens(data: bytes, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert marker(2, data) == {"reason": "policy", "original_length": len(text), "hash": f"sha256:{digest}"}


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\xe2\x82", b"\xe2\x82x", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\x80b"],
)
def test_invalid_bytes_count_as_python_counts_them(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert writer.text_digest(data) == writer.text_digest(text)
    assert marker(3, data)["original_length"] == len(text)
    assert marker(3, data)["hash"] == writer.text_digest(text)[0]


def test_long_texts_cross_the_blocks_of_the_digest() -> None:
    random.seed(7)
    pieces = ["a", "é", "漢", "😀", "\n", '"', "\\", "x" * 15, "word " * 20, "\x01"]
    for size in (4080, 4090, 4096, 4100, 9000, 70000):
        text = ""
        while len(text.encode()) < size:
            text += random.choice(pieces)
        for ascii_only in (True, False):
            wire = json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1]
            assert (marker(1, wire)["hash"], marker(1, wire)["original_length"]) == writer.text_digest(text)


def test_a_key_makes_it_hmac() -> None:
    assert marker(1, b"text", hash_key=b"k")["hash"] == writer.text_digest("text", b"k")[0]
    assert writer.text_digest("text", b"k")[0].startswith("hmac-sha256:")
    assert writer.text_digest("text", b"k") != writer.text_digest("text", b"l")


def test_lone_surrogates_of_python_count_as_one() -> None:
    assert writer.text_digest("a\ud800b") == writer.text_digest("a\ufffdb")


GOOD = [
    "{}", "[]", '""', "0", "-0.5e+10", "1e308", "true", "false", "null", ' { "a" : [ 1 , { } ] } ', '"\\ud83d\\ude00"',
    '"\\ufffd"', '"é😀"', "[" * 256 + "]" * 256, "1" * 309, "1.7976931348623157e308", "0.00001e307",
    '{"a":1,"a":2}', '"\x7f"', "1E2", "-1",
]  # fmt: skip
BAD = [
    "", " ", "{", "}", "[1,]", '{"a":1,}', '{"a"}', "{1:2}", "01", "1.", ".5", "+1", "1e", "NaN", "Infinity", "1e999",
    "-1e999", "1" * 310, "1.7976931348623159e+308", "2e308",
    '"\\ud800"', '"\\ude00\\ud83d"', '"\\x"', '"\\u12"', '"\n"', '"a', "nul", "truex", "[1 2]",
    "{} {}", "[" * 257 + "]" * 257, '"\\', '"\\"', "[[[", '{"a":[}', "//", "'a'",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_passes_the_check_passes_every_parser(text: str) -> None:
    import msgspec
    import orjson

    assert _testing.json_check(text.encode()) == text.strip()[0]
    json.loads(text)
    msgspec.json.decode(text)
    orjson.loads(text)


@pytest.mark.parametrize("text", BAD)
def test_what_some_parser_refuses_is_refused(text: str) -> None:
    assert _testing.json_check(text.encode()) is None


@pytest.mark.parametrize("data", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xe2\x82"', b"\xef\xbb\xbf{}"])
def test_invalid_utf8_is_refused(data: bytes) -> None:
    assert _testing.json_check(data) is None


@pytest.mark.parametrize("key", [None, b"k" * 20])
def test_many_texts_are_each_digested_for_themselves(key: bytes | None) -> None:
    """Two at a time, of any lengths: around a block, around the buffer of a lane, empty ones, more than are sorted."""
    rng = random.Random(11)
    words = ["word ", "\n", '"', "\\", "é", "漢", "😀", "\t", "a" * 63, "b" * 129, "c" * 2048]
    for count in [0, 1, 2, 3, 5, 17, 33, 80]:
        texts = ["".join(rng.choices(words, k=rng.choice((0, 1, 2, 8, 30)))) for _ in range(count)]
        texts += ["x" * n for n in (55, 56, 63, 64, 65, 119, 120, 2047, 2048, 2049) if count > 2]
        contents: list[Any] = [(1, json.dumps(text, ensure_ascii=rng.random() < 0.5).encode()[1:-1]) for text in texts]
        contents[1:1] = [(2, b'[1, "a"]'), (3, b"plain")] if count else []
        texts[1:1] = ['[1,"a"]', "plain"] if count else []
        x = _testing.Exchange({"messages": [{"role": 2, "content": content} for content in contents]})
        line = _testing.Writer(0, hash_key=key).encode("ai.request", x, _testing.Facts({"event_id": ULID}))
        for text, message in zip(texts, json.loads(line)["data"]["messages"], strict=True):
            digest, length = writer.text_digest(text, key)
            plain = hashlib.sha256(text.encode()).hexdigest()[:16]
            assert key is not None or digest == f"sha256:{plain}"
            wanted = {"reason": "policy", "original_length": length, "hash": digest}
            assert message["content"]["$redacted"] == wanted
            assert (message["content_hash"], message["content_length"]) == (digest, len(text))
