# SPDX-License-Identifier: Apache-2.0
"""HPACK: the vectors, with the table after each block; bounds, memory, and the decoder's Python face."""

from __future__ import annotations

import hpack
import pytest

from oisp_core.reassemble.hpack import HpackDecoder, huffman_decode
from oisp_core.reassemble.tokens import Status
from tests.reference.vectors import Vector, escape, line, load


def played(vector: Vector) -> list[str]:
    """The log of a vector: fields, then status and table after each block."""
    decoder = HpackDecoder(**{k: int(v) for k, v in vector.options.items()})
    log = []
    for step in vector.steps:
        if isinstance(step, bytes):
            log += [line(token) for token in decoder.decode(step)]
            certain = "certain" if decoder.certain else "unsure"
            table = f"{decoder.table_size}/{decoder.table_max}"
            log.append(f"= {decoder.status.name} unknown={decoder.unknown} table={table} {certain}")
            for entry in decoder.table:
                log.append("  " + " ".join("?" if text is None else escape(text) for text in entry))
        elif step[0] == "lost":
            decoder.lost()
        elif step[0] == "allow":
            decoder.allow(int(step[1]))
        elif step[0] != "block":
            raise ValueError(f"{vector}: no call {step[0]!r}")
    return log


@pytest.mark.parametrize("vector", load("hpack"), ids=str)
def test_vector(vector: Vector) -> None:
    assert played(vector) == vector.log


def test_an_empty_block_gives_nothing() -> None:
    decoder = HpackDecoder()
    assert decoder.decode(b"") == []
    assert decoder.status == Status.OK


def test_failure_is_sticky_until_reset() -> None:
    decoder = HpackDecoder()
    decoder.decode(b"\x80")
    assert decoder.status == Status.BAD
    assert decoder.decode(b"\x82") == []
    decoder.reset()
    assert [t.data for t in decoder.decode(b"\x82")] == [b"GET"]


@pytest.mark.parametrize("fields", [1, 63, 64, 65, 200])
def test_more_fields_than_tokens_in_the_array(fields: int) -> None:
    given = [(b"x-%d" % n, b"%d" % n) for n in range(fields)]
    decoder = HpackDecoder()
    tokens = decoder.decode(hpack.Encoder().encode(given))
    assert [(t.name, t.data) for t in tokens] == given
    assert [t.offset for t in tokens] == sorted(t.offset for t in tokens)


def test_more_fields_than_the_bound_are_read_and_not_given() -> None:
    encoder, decoder = hpack.Encoder(), HpackDecoder(fields_max=5)
    given = [(b"x-%d" % n, b"%d" % n) for n in range(9)]
    assert len(decoder.decode(encoder.encode(given))) == 5
    assert decoder.limited
    assert [(t.name, t.data) for t in decoder.decode(encoder.encode(given[8:]))] == given[8:]
    assert not decoder.limited


def test_a_block_that_would_be_large_is_bounded() -> None:
    """One byte can refer to an entry of 4 KiB: 16 KiB of them would be 64 MiB."""
    decoder = HpackDecoder(fields_max=100_000)
    decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000)
    tokens = decoder.decode(b"\xbe" * 16000)
    assert sum(len(t.data) for t in tokens) <= 262144
    assert decoder.limited


def test_entries_beyond_what_is_kept_are_unknown() -> None:
    encoder, decoder = hpack.Encoder(), HpackDecoder(table_max=4096)
    encoder.header_table_size = 16384
    decoder.allow(16384)
    given = [(f"x-{n}".encode(), b"v" * 100) for n in range(60)]
    decoder.decode(encoder.encode(given))
    tokens = decoder.decode(encoder.encode(given))
    known = [(t.name, t.data) for t in tokens]
    assert 0 < len(known) < 60
    assert known == given[-len(known) :]
    assert decoder.unknown == 60 - len(known)
    assert decoder.status == Status.OK
    assert decoder.held <= 4096 + 2048


def test_an_entry_larger_than_what_is_kept_takes_its_place() -> None:
    decoder = HpackDecoder(table_max=4096)
    decoder.allow(65536)
    decoder.decode(b"\x3f\xe1\xff\x03" + b"\x40\x01a\x01b")
    decoder.decode(b"\x40\x01n\x7f\x81\x7f" + b"v" * 16384)
    assert decoder.table == [(None, None)]
    decoder.decode(b"\x40\x01c\x01d")
    assert [t.data for t in decoder.decode(b"\xbe")] == [b"d"]
    assert decoder.decode(b"\xbf") == []
    assert (decoder.status, decoder.unknown) == (Status.OK, 1)


def test_a_full_table_takes_little_more_than_its_bytes() -> None:
    for name, value in ((1, 0), (3, 4), (20, 40), (40, 900), (1, 4000)):
        encoder, decoder = hpack.Encoder(), HpackDecoder()
        for n in range(400):
            decoder.decode(encoder.encode([(f"{n:0{name}}", "v" * value)], huffman=False))
        assert decoder.held <= 5136, (name, value, decoder.held)


def test_a_name_that_stands_in_the_entry_that_it_evicts() -> None:
    """RFC 7541 section 4.4: a new entry may refer to the name of an entry that is evicted for it."""
    decoder = HpackDecoder()
    decoder.decode(b"\x3f\x21" + b"\x40\x04name\x05value")
    assert [(t.name, t.data) for t in decoder.decode(b"\x7e\x06other!")] == [(b"name", b"other!")]
    assert decoder.table == [(b"name", b"other!")]


def test_a_size_has_32_bits() -> None:
    with pytest.raises(ValueError, match="a table size has 32 bits"):
        HpackDecoder().allow(1 << 32)


@pytest.mark.parametrize("text", [b"", b"www.example.com", bytes(range(256)), b"\xff" * 40, b"0" * 1000])
def test_huffman(text: bytes) -> None:
    encoder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    coded = encoder.encode(text)
    assert huffman_decode(coded) == text
    assert huffman_decode(coded + b"\xff") is None
