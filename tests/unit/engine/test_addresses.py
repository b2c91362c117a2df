# SPDX-License-Identifier: Apache-2.0
"""Between whom a connection is, and which server was asked for: from ADDRESS records into events."""

from __future__ import annotations

import ipaddress
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.engine import Engine

CONN = 7
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"id":"x","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"yes"}}]}'


def padded(record: bytes) -> bytes:
    size = -(-len(record) // 8) * 8
    return struct.pack("<I", size) + record[4:].ljust(size - 4, b"\0")


def packed(ip: str) -> bytes:
    address = ipaddress.ip_address(ip)
    return b"\0" * 10 + b"\xff\xff" + address.packed if address.version == 4 else address.packed


def address(
    local: str = "", remote: str = "", ports: tuple[int, int] = (0, 0), sni: bytes = b"", alpn: bytes = b""
) -> bytes:
    ends = [packed(ip) if ip else bytes(16) for ip in (local, remote)]
    head = struct.pack("<IHHQQ16s16sHHHBB", 0, 4, 0, CONN, 1, *ends, *ports, 0, len(sni), len(alpn))
    return padded(head + sni + alpn)


def data(way: int, payload: bytes, offset: int = 0) -> bytes:
    head = struct.pack(
        "<IHHQQQQQQQIIIIIHBB", 0, 1, 0, CONN, 5, 6, offset, len(payload), 0, 1, 2, 2, 0, len(payload), 0, 88, way, 0
    )
    return padded(head + payload)


def opened() -> bytes:
    return struct.pack("<IHHQQQQIIIIQQQQ", 88, 2, 0, CONN, 1, 0, 1, 2, 2, 0, 0, 0, 0, 0, 0)


def events(*records: bytes, host: bytes = b"Host: api.openai.com\r\n", server: bool = False) -> list[dict[str, Any]]:
    length = str(len(BODY)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\n" + host + b"Content-Length: " + length + b"\r\n\r\n" + BODY
    response = b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(ANSWER)).encode() + b"\r\n\r\n" + ANSWER
    engine = Engine()
    engine.feed_packed(opened() + b"".join(records) + data(int(server), request) + data(int(not server), response))
    engine.close()
    return [json.loads(line) for line in engine.drain().splitlines()]


def alpn(*names: bytes) -> bytes:
    return b"".join(bytes([len(name)]) + name for name in names)


WHOLE = {
    "local": {"ip": "10.0.0.2", "port": 40000},
    "remote": {"ip": "2001:db8::1", "port": 443},
    "sni": "api.openai.com",
    "alpn": ["h2", "http/1.1"],
}


def test_request_and_response_say_it():
    record = address("10.0.0.2", "2001:db8::1", (40000, 443), b"api.openai.com", alpn(b"h2", b"http/1.1"))
    found = events(record)
    assert [event["event_type"] for event in found] == ["ai.request", "ai.response"]
    assert [event["ext"]["oisp"]["connection"] for event in found] == [WHOLE, WHOLE]


def test_what_is_not_known_is_not_there():
    assert all("connection" not in event["ext"]["oisp"] for event in events())
    [asked, _] = events(address(sni=b"api.openai.com"))
    assert asked["ext"]["oisp"]["connection"] == {"sni": "api.openai.com"}


def test_a_later_record_takes_the_place_of_the_first():
    [asked, _] = events(address(sni=b"a.example"), address("127.0.0.1", "127.0.0.1", (1, 2), b"b.example"))
    assert asked["ext"]["oisp"]["connection"] == {
        "local": {"ip": "127.0.0.1", "port": 1},
        "remote": {"ip": "127.0.0.1", "port": 2},
        "sni": "b.example",
    }


def test_the_name_of_the_handshake_stands_in_for_a_host_that_is_missing():
    """HTTP/1.0 has none; the provider and the endpoint are known all the same."""
    [asked, _] = events(address(sni=b"api.openai.com"), host=b"")
    assert asked["data"]["provider"] == {"name": "openai", "endpoint": "https://api.openai.com/v1/chat/completions"}
    [unknown, _] = events(host=b"")
    assert unknown["data"]["provider"] == {"name": "other", "endpoint": "/v1/chat/completions"}


@pytest.mark.parametrize("name", [b'a"b', b"a\nb", b"a b", b"\xff", b'","x":"'])
def test_a_name_that_is_none_is_left_out(name):
    [asked, _] = events(address("10.0.0.1", "10.0.0.2", (1, 443), name))
    assert set(asked["ext"]["oisp"]["connection"]) == {"local", "remote"}


@pytest.mark.parametrize("sizes", [(200, 0), (0, 200), (255, 255), (9, 0)])
def test_sizes_beyond_the_record_are_not_believed(sizes):
    record = bytearray(address("10.0.0.1", "10.0.0.2", (1, 443), b"example"))
    record[62:64] = bytes(sizes)
    found = events(bytes(record))
    assert len(found) == 2
    assert "connection" not in found[0]["ext"]["oisp"]


@given(
    st.ip_addresses(),
    st.ip_addresses(),
    st.tuples(*[st.integers(0, 65535)] * 2),
    st.binary(max_size=255),
    st.binary(max_size=255),
)
def test_whatever_it_says_events_are_json_and_addresses_right(local, remote, ports, sni, protocols):
    found = events(address(str(local), str(remote), ports, sni, protocols))
    assert len(found) == 2
    connection = found[0]["ext"]["oisp"].get("connection", {})
    if int(remote):
        assert packed(connection["local"]["ip"]) == packed(str(local))
        assert packed(connection["remote"]["ip"]) == packed(str(remote))
        assert (connection["local"]["port"], connection["remote"]["port"]) == ports
    assert "sni" not in connection or connection["sni"].encode() == sni
    assert sum(1 + len(name) for name in connection.get("alpn", ())) <= len(protocols)
