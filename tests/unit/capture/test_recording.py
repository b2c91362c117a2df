# SPDX-License-Identifier: Apache-2.0
"""Recordings: what is written is read, and every damage is named with its place."""

from __future__ import annotations

import json
import os
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.errors import RecordingError
from oisp_sensor.capture import recording
from oisp_sensor.capture.recording import Recording


def record(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", 8 + len(body), kind, 0) + body


def made(tmp_path, *records: bytes, info=None):
    path = tmp_path / "recording"
    fd = recording.create(path, info if info is not None else {"host": "h"}, clock_base_ns=17)
    os.write(fd, b"".join(records))
    os.close(fd)
    return path


def test_what_is_written_is_read(tmp_path):
    context = recording.context_record(5, b'"host":{}')
    path = made(tmp_path, record(2, b"a" * 80), context, record(99, b""), info={"scope": "pid 1", "é": [1]})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Recording(path) as found:
        assert (found.clock_base_ns, found.info) == (17, {"scope": "pid 1", "é": [1]})
        assert [bytes(r) for r in found] == [record(2, b"a" * 80), context, record(99, b"")]


def test_the_header_is_the_one_of_the_abi():
    head = recording.header({}, clock_base_ns=9)
    assert struct.unpack_from("<Q", head) == (0x0150534F4953494F,)
    assert struct.unpack_from("<IIQII", head, 8) == (1, 40, 9, 2, 0)
    assert head[32:] == b"{}" + bytes(6)


def test_nothing_is_written_over_or_through_a_link(tmp_path):
    path = made(tmp_path)
    with pytest.raises(FileExistsError):
        recording.create(path, {})
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        recording.create(link, {})
    assert not (tmp_path / "elsewhere").exists()


DAMAGES = [
    ("empty", lambda b: b"", 0, "a header of 32 bytes; got '0 bytes'"),
    ("short", lambda b: b[:31], 0, "a header of 32 bytes"),
    ("magic", lambda b: b"PCAP" + b[4:], 0, "magic"),
    ("version", lambda b: b[:8] + struct.pack("<I", 2) + b[12:], 8, "version 1; got 2"),
    ("header size", lambda b: b[:12] + struct.pack("<I", 44) + b[16:], 12, "header size"),
    ("header size beyond", lambda b: b[:12] + struct.pack("<I", 1 << 16) + b[16:], 12, "header size"),
    ("json size", lambda b: b[:24] + struct.pack("<I", 1 << 20) + b[28:], 24, "a JSON size"),
    ("json", lambda b: b[:32] + b"[" + b[33:], 32, "a JSON object"),
]


@pytest.mark.parametrize(("name", "damage", "offset", "words"), DAMAGES, ids=[d[0] for d in DAMAGES])
def test_damaged_headers(tmp_path, name, damage, offset, words):
    path = made(tmp_path, record(2, bytes(80)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordingError) as caught:
        Recording(path)
    assert (caught.value.file, caught.value.offset) == (str(path), offset)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"abc", "a record's head of 8 bytes; got '3 bytes'"),
        (struct.pack("<IHH", 16, 1, 0), "a record of 16 bytes; got '8 bytes before the end'"),
        (struct.pack("<IHH", 0, 1, 0), "a record size"),
        (struct.pack("<IHH", 12, 1, 0) + bytes(8), "a record size"),
        (struct.pack("<IHH", 1 << 21, 1, 0) + bytes(8), "a record size"),
    ],
)
def test_damaged_records_come_after_the_good_ones(tmp_path, tail, words):
    path = made(tmp_path, record(2, bytes(80)), tail)
    with Recording(path) as found:
        items = iter(found)
        assert bytes(next(items)) == record(2, bytes(80))
        with pytest.raises(RecordingError) as caught:
            next(items)
    assert caught.value.offset == path.stat().st_size - len(tail)
    assert words in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_end_in_an_answer(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "recording"
    path.write_bytes(recording.header({}, clock_base_ns=0) + content)
    taken, stopped = 0, None
    with Recording(path) as found:
        try:
            for item in found:
                taken += len(item)
        except RecordingError as error:
            stopped = error.offset
    assert stopped == found.header_size + taken if stopped is not None else taken == len(content)


def test_the_json_is_one_object(tmp_path):
    with Recording(made(tmp_path)) as found:
        assert json.dumps(found.info) == '{"host": "h"}'
