# SPDX-License-Identifier: Apache-2.0
"""Capture against own processes that load a private copy of libssl: bytes, account, scope, life."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter

import pytest

from oisp_sensor.capture import Capture, Scope, messages
from oisp_sensor.capture.ringbuf import RingBuffer
from tests.live.capture.records import DATA, streams, summary

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]


def run(private, script: str, *arguments: str, variant: str = "") -> tuple[list[bytes], list, int, dict]:
    """Runs a Python script as the command of a capture; all records, all messages, the exit code, the losses."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    records: list[bytes] = []
    told: list = []
    with Capture(Scope.command(), libraries=[private.libssl], variant=variant) as capture:
        capture.start()
        ring = RingBuffer(capture.ring_fd, capture.ring_bytes)
        child = capture.spawn(command, env=private.env)
        while child.poll() is None:
            capture.poll(0.05)
            records += ring.records()
        capture.poll()
        records += ring.records()
        told += messages.receive(capture.channel)
        losses = capture.losses()
        ring.close()
    return records, told, child.wait(), losses


MEMORY_PAIR = """
    import ssl, sys
    size, cert, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    accept = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); accept.load_cert_chain(cert, key)
    connect = ssl.create_default_context(cafile=cert)
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = accept.wrap_bio(a, b, server_side=True)
    client = connect.wrap_bio(b, a, server_hostname="localhost")
    done = set()
    while len(done) < 2:
        for end in (client, server):
            try:
                end.do_handshake(); done.add(end)
            except ssl.SSLWantReadError:
                pass
    pattern = bytes(i * 7 % 251 for i in range(size))
    assert client.write(pattern) == size
    got = b""
    while len(got) < size:
        got += server.read(1 << 20)
    assert got == pattern
"""


@pytest.mark.parametrize("size", [1, 200, 16384, 16385, 3_000_000])
def test_bytes_are_exact(private_libssl, certificate, size):
    records, told, code, losses = run(private_libssl, MEMORY_PAIR, str(size), *certificate)
    assert code == 0
    pattern = bytes(i * 7 % 251 for i in range(size))
    found = streams(records)
    assert sorted(len(f.written) for f in found.values()) == [0, size]
    client = next(f for f in found.values() if f.written)
    server = next(f for f in found.values() if f.read)
    assert bytes(client.written) == pattern
    assert bytes(server.read) == pattern
    assert server.server
    assert not client.server
    assert not any(loss.records for loss in losses.values())
    events = [m.event for m in told if isinstance(m, messages.Process)]
    assert events == ["seen", "exec", "exit"]


def test_every_connection_opens_and_closes(private_libssl, certificate):
    records, _, _, _ = run(private_libssl, MEMORY_PAIR, "200", *certificate)
    assert Counter(summary(records)) == {"open": 2, "data": 2, "close": 2}
    assert all(r[4] == DATA or len(r) == 88 for r in records)
