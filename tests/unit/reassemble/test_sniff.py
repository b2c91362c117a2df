# SPDX-License-Identifier: Apache-2.0
"""First bytes to protocol, and that no longer input changes an answer once it was given."""

from __future__ import annotations

import pytest

from oisp_core.reassemble.sniff import Sniffed, sniff_bytes

CASES = [
    (b"GET / HTTP/1.1\r\n", Sniffed.HTTP1_REQUEST),
    (b"POST http://a/v1 HTTP/1.1\r\n", Sniffed.HTTP1_REQUEST),
    (b"CONNECT api.example:443 HTTP/1.1\r\n", Sniffed.HTTP1_REQUEST),
    (b"OPTIONS * HTTP/1.1\r\n", Sniffed.HTTP1_REQUEST),
    (b"\r\nGET / HTTP/1.1\r\n", Sniffed.HTTP1_REQUEST),
    (b"PROPFIND /x HTTP/1.0\r\n", Sniffed.HTTP1_REQUEST),
    (b"HTTP/1.1 200 OK\r\n", Sniffed.HTTP1_RESPONSE),
    (b"HTTP/1.0 404", Sniffed.HTTP1_RESPONSE),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniffed.HTTP2_PREFACE),
    (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), Sniffed.HTTP2_SETTINGS),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", Sniffed.HTTP2_SETTINGS),
    (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01", Sniffed.HTTP2_FRAMES),
    (b"\x00\x00\x02\x00\x00\x00\x00\x00\x01hi\x00\x00\x05\x00\x01\x00\x00\x00\x01", Sniffed.HTTP2_FRAMES),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Sniffed.TLS),
    (b"\x17\x03\x03\x00\x20", Sniffed.TLS),
    (b'\x81\x07{"a":1}', Sniffed.WEBSOCKET),
    (b"\x81\x82\x01\x02\x03\x04\x7a\x7f", Sniffed.WEBSOCKET),
    (b"SSH-2.0-OpenSSH_9.6\r\n", Sniffed.UNKNOWN),
    (b'{"model": "x"}', Sniffed.UNKNOWN),
    (b"GET  /two-blanks HTTP/1.1\r\n", Sniffed.UNKNOWN),
    (b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff", Sniffed.UNKNOWN),
    (b"\x81\x05hello", Sniffed.UNKNOWN),
    (b"\x00" * 64, Sniffed.UNKNOWN),
]


@pytest.mark.parametrize(("data", "answer"), CASES)
def test_sniff(data: bytes, answer: Sniffed) -> None:
    assert sniff_bytes(data) == answer


def test_nothing_is_undecidable() -> None:
    assert sniff_bytes(b"") == Sniffed.MORE


@pytest.mark.parametrize(("data", "answer"), [c for c in CASES if c[1] in range(2, 6) or c[1] == Sniffed.TLS])
def test_what_comes_first_is_more_or_the_answer(data: bytes, answer: Sniffed) -> None:
    seen = [sniff_bytes(data[:size]) for size in range(1, len(data) + 1)]
    assert set(seen) <= {Sniffed.MORE, answer}
