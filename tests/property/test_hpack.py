# SPDX-License-Identifier: Apache-2.0
"""HPACK against the `hpack` package and against its slow twin, with blocks lost and with bytes changed."""

from __future__ import annotations

import hpack
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.reassemble.hpack import HpackDecoder, huffman_decode
from oisp_core.reassemble.tokens import Status
from tests.reference.hpack import Bad, Decoder, huffman

NAMES = [b":method", b":path", b":status", b"content-type", b"x-a", b"x-b", b"x-long-name-of-a-field" * 3, b"cookie"]
VALUES = [b"", b"GET", b"200", b"/", b"v" * 40, b"some text", bytes(range(256)), b"w" * 3000]
fields = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | st.binary(min_size=1, max_size=20), st.sampled_from(VALUES) | st.binary(max_size=60)
    ),
    max_size=8,
)
blocks = st.lists(
    st.tuples(fields, st.booleans(), st.sampled_from([None, None, None, 0, 64, 200, 1000, 4096])),
    min_size=1,
    max_size=12,
)


def encoded(plan: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> list[bytes]:
    encoder = hpack.Encoder()
    made = []
    for given_fields, coded, size in plan:
        if size is not None:
            encoder.header_table_size = size
        made.append(bytes(encoder.encode(given_fields, huffman=coded)))
    return made


@given(blocks)
def test_blocks_are_read_as_another_decoder_reads_them(plan: list) -> None:
    ours, theirs = HpackDecoder(), hpack.Decoder()
    for (given_fields, _, _), block in zip(plan, encoded(plan), strict=True):
        found = [(t.name, t.data) for t in ours.decode(block)]
        assert found == given_fields
        assert found == [(bytes(n), bytes(v)) for n, v in theirs.decode(block, raw=True)]
        assert ours.table == [(bytes(n), bytes(v)) for n, v in theirs.header_table.dynamic_entries]
        assert ours.table_size == theirs.header_table._current_size
        assert (ours.status, ours.unknown, ours.certain) == (Status.OK, 0, True)


@given(blocks, st.sets(st.integers(0, 11), min_size=1))
def test_a_lost_block_never_makes_a_wrong_field(plan: list, gone: set[int]) -> None:
    """What is given is what was sent, in its order; the rest is counted; what is known is exactly what can be."""
    ours, twin = HpackDecoder(), Decoder()
    for index, ((given_fields, _, _), block) in enumerate(zip(plan, encoded(plan), strict=True)):
        if index in gone:
            ours.lost()
            twin.lost()
            continue
        tokens = ours.decode(block)
        rest = iter(given_fields)
        for token in tokens:
            if token.flags & 2:
                assert any(value == token.data for _, value in rest)
            else:
                assert any(field == (token.name, token.data) for field in rest), (token, given_fields)
        nameless = sum(token.flags >> 1 & 1 for token in tokens)
        assert len(tokens) - nameless + ours.unknown == len(given_fields)
        assert [(t.offset, None if t.flags & 2 else t.name, t.data) for t in tokens] == [
            (place, name, value) for place, name, value, _ in twin.decode(block)
        ]
        assert ours.unknown == twin.unknown
        assert ours.certain == (not twin.unsure)
        assert ours.table == twin.table


def compare(ours: HpackDecoder, twin: Decoder, block: bytes) -> bool:
    """The same answer to any bytes. False: both refuse them."""
    tokens = ours.decode(block)
    try:
        expected, status = twin.decode(block), Status.OK
    except Bad as error:
        expected, status = error.args[0], Status.BAD
    assert [(t.offset, None if t.flags & 2 else t.name, t.data, bool(t.flags & 1)) for t in tokens] == expected
    assert (ours.status, ours.unknown) == (status, twin.unknown)
    assert ours.table == twin.table
    return status == Status.OK


@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans())
def test_any_bytes_are_read_as_the_twin_reads_them(given_blocks: list[bytes], lost: bool) -> None:
    ours, twin = HpackDecoder(), Decoder()
    if lost:
        ours.lost()
        twin.lost()
    for block in given_blocks:
        if not compare(ours, twin, block):
            break


@given(blocks, st.integers(0, 300), st.integers(0, 7))
def test_changed_bits_are_read_as_the_twin_reads_them(plan: list, place: int, bit: int) -> None:
    ours, twin = HpackDecoder(), Decoder()
    for block in encoded(plan):
        changed = bytearray(block)
        if place < len(changed):
            changed[place] ^= 1 << bit
        if not compare(ours, twin, bytes(changed)):
            break


@given(st.binary(max_size=80) | st.binary(max_size=30).map(lambda b: b + b"\xff" * 3))
def test_huffman_is_read_as_the_twin_reads_it(data: bytes) -> None:
    try:
        expected = huffman(data)
    except Bad:
        expected = None
    assert huffman_decode(data) == expected
    try:
        theirs = hpack.huffman_table.decode_huffman(data)
    except HPACKError:
        theirs = None
    assert expected == theirs
