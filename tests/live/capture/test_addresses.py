# SPDX-License-Identifier: Apache-2.0
"""Addresses and server names of connections, compared with what the programs themselves see."""

from __future__ import annotations

import json

import pytest

from tests.conftest import unavailable
from tests.live.capture import targets
from tests.live.capture.harness import python, watch

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

BLOCKING = targets.program(
    """
    import json
    seen, lock = [], threading.Lock()
    connect.set_alpn_protocols(["h2", "http/1.1"])
    def note(c, role):
        with lock:
            seen.append([role, *c.getsockname()[:2], *c.getpeername()[:2]])
    family, host = (socket.AF_INET6, "::1") if sys.argv[5] == "6" else (socket.AF_INET, "127.0.0.1")
    listener = socket.create_server((host, 0), family=family)
    def answer():
        for _ in range(5):
            c, _ = listener.accept(); c = accept.wrap_socket(c, server_side=True); note(c, "server")
            c.sendall(recv_all(c, size)[::-1]); c.close()
    worker = threading.Thread(target=answer); worker.start()
    for n in range(5):
        c = socket.create_connection(listener.getsockname()[:2])
        c = connect.wrap_socket(c, server_hostname="localhost"); note(c, "client")
        c.sendall(pattern(size, n)); recv_all(c, size); c.close()
    worker.join()
    json.dump(seen, open(sys.argv[4], "w"))
    """
)

ASYNC = targets.program(
    """
    import json
    seen = []
    def note(writer, role):
        s = writer.get_extra_info("socket"); seen.append([role, *s.getsockname()[:2], *s.getpeername()[:2]])
    async def main():
        async def answer(reader, writer):
            note(writer, "server")
            got = await reader.readexactly(size)
            writer.write(got[::-1]); await writer.drain(); writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=accept)
        address = server.sockets[0].getsockname()
        async def one(n):
            reader, writer = await asyncio.open_connection(*address, ssl=connect, server_hostname="localhost")
            note(writer, "client")
            writer.write(pattern(size, n)); await writer.drain()
            await reader.readexactly(size); writer.close()
        await asyncio.gather(*(one(n) for n in range(10)))
        server.close()
    asyncio.run(main())
    json.dump(seen, open(sys.argv[4], "w"))
    """
)


def run(private_libssl, certificate, tmp_path, script, size, family="4"):
    out = tmp_path / "seen.json"
    done = watch(private_libssl, python(script, *certificate, str(size), str(out), family))
    assert done.code == 0
    if not done.report.addresses:
        unavailable("this kernel has no socket tracepoints (6.3)", required=False)
    seen = sorted(map(tuple, json.loads(out.read_text())))
    found = [("server" if s.server else "client", *s.address) for s in done.streams.values() if s.address]
    return done, seen, sorted(found)


@pytest.mark.parametrize("family", ["4", "6"])
def test_blocking_sockets(private_libssl, certificate, tmp_path, family):
    done, seen, found = run(private_libssl, certificate, tmp_path, BLOCKING, 3000, family)
    assert found == seen
    assert {s.name for s in done.clients} == {"localhost"}
    assert {s.name for s in done.servers} == {""}
    assert {s.offers for s in done.clients} == {("h2", "http/1.1")}
    assert {s.offers for s in done.servers} == {()}


def test_ciphertext_that_goes_through_memory(private_libssl, certificate, tmp_path):
    _, seen, found = run(private_libssl, certificate, tmp_path, ASYNC, 3000)
    assert found == seen


def test_an_address_is_never_one_of_another_connection(private_libssl, certificate, tmp_path):
    """Large writes leave in pieces: then it may stay unknown, but what is said is true."""
    _, seen, found = run(private_libssl, certificate, tmp_path, ASYNC, 700_000)
    assert set(found) <= set(seen)


def test_without_sockets_there_are_no_addresses(private_libssl, certificate):
    done = watch(private_libssl, python(targets.MEMORY, *certificate))
    assert [s.address for s in done.streams.values()] == [None, None]
    assert [(s.name, s.offers) for s in done.clients] == [("localhost", ())]
