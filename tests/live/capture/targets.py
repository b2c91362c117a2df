# SPDX-License-Identifier: Apache-2.0
"""The Python programs that the tests watch: each is given a certificate and its key, and talks only to itself."""

from __future__ import annotations

import textwrap

_SETUP = """
import asyncio, os, socket, ssl, sys, threading, time
cert, key = sys.argv[1], sys.argv[2]
size = int(sys.argv[3]) if len(sys.argv) > 3 else 200
accept = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); accept.load_cert_chain(cert, key)
connect = ssl.create_default_context(cafile=cert)
def pattern(n, seed=0):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (n // 251 + 1))[:n]
def memory_pair():
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
    return client, server
def read_all(end, n):
    got = b""
    while len(got) < n:
        got += end.read(n - len(got))
    return got
def socket_server(answer):
    listener = socket.create_server(("127.0.0.1", 0))
    def one(c):
        c = accept.wrap_socket(c, server_side=True)
        answer(c); c.close()
    def loop():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(c,)).start()
    threading.Thread(target=loop, daemon=True).start()
    return listener
def recv_all(c, n):
    got = b""
    while len(got) < n:
        piece = c.recv(n - len(got))
        if not piece:
            break
        got += piece
    return got
"""


def pattern(size: int, seed: int = 0) -> bytes:
    """The same bytes that pattern() of the programs makes."""
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (size // 251 + 1))[:size]


def program(body: str) -> str:
    return _SETUP + textwrap.dedent(body)


MEMORY = program(
    """
    client, server = memory_pair()
    assert client.write(pattern(size)) == size
    assert read_all(server, size) == pattern(size)
    """
)

SIZES = program(
    """
    client, server = memory_pair()
    for n in map(int, sys.argv[4].split(",")):
        assert client.write(pattern(n, n)) == n
        assert read_all(server, n) == pattern(n, n)
    """
)

SOCKETS = program(
    """
    listener = socket_server(lambda c: c.sendall(pattern(len(recv_all(c, size)), 3)))
    c = connect.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost")
    c.sendall(pattern(size)); assert recv_all(c, size) == pattern(size, 3); c.close()
    """
)

THREADS = program(
    """
    def answer(c):
        n = recv_all(c, 1)[0]
        got = recv_all(c, 50 * 700)
        assert got == b"".join(pattern(700, n + i) for i in range(50)); c.sendall(pattern(size, n))
    listener = socket_server(answer)
    def one(n):
        c = connect.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost")
        c.sendall(bytes([n]))
        for i in range(50):
            c.sendall(pattern(700, n + i))
        assert recv_all(c, size) == pattern(size, n); c.close()
    workers = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    [w.start() for w in workers]; [w.join() for w in workers]
    """
)

ASYNC = program(
    """
    async def main():
        async def answer(reader, writer):
            got = await reader.readexactly(size)
            writer.write(got[::-1]); await writer.drain(); writer.close()
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=accept)
        address = server.sockets[0].getsockname()
        async def one(n):
            reader, writer = await asyncio.open_connection(*address, ssl=connect, server_hostname="localhost")
            writer.write(pattern(size, n)); await writer.drain()
            assert await reader.readexactly(size) == pattern(size, n)[::-1]
            writer.close()
        await asyncio.gather(*(one(n) for n in range(10)))
        server.close()
    asyncio.run(main())
    """
)

FORK = program(
    """
    client, server = memory_pair()
    client.write(pattern(100, 1)); read_all(server, 100)
    pid = os.fork()
    time.sleep(0.3)  # the child's probes are planted after the fork
    client.write(pattern(100, 2 if pid else 3))
    read_all(server, 100)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    """
)

ABANDON = program(
    """
    client, server = memory_pair()
    client.write(pattern(size)); read_all(server, size)
    os._exit(7)
    """
)

EXEC = program(
    """
    client, server = memory_pair()
    client.write(pattern(size)); read_all(server, size)
    os.execv("/bin/true", ["true"])
    """
)

REUSE = program(
    """
    for n in range(20):
        client, server = memory_pair()
        client.write(pattern(64, n)); read_all(server, 64)
        del client, server
    """
)

FLOOD = program(
    """
    client, server = memory_pair()
    for i in range(400):
        client.write(pattern(size, i)); read_all(server, size)
    """
)
