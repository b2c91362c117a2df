# SPDX-License-Identifier: Apache-2.0
"""The program that `oisp-bench live` watches: python live_target.py CERTIFICATE KEY

Reads lines `verb size count` and answers each with the nanoseconds of CPU time that one call took; the time of its
children counts, for it is they that are watched. Standard library alone, so that it starts with any environment.
"""

from __future__ import annotations

import os
import resource
import socket
import ssl
import sys
import time

BODY = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"a"}]}'
ASKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer sk-invented-0123456789\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'


def pair(certificate: str, key: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Client and server of one TLS connection, in memory."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(certificate, key)
    connecting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connecting.check_hostname = False
    connecting.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = connecting.wrap_bio(down, up), accepting.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    while waiting:
        for one in list(waiting):
            try:
                one.do_handshake()
                waiting.remove(one)
            except ssl.SSLWantReadError:
                continue
    return client, server


def passed(one: ssl.SSLObject, other: ssl.SSLObject, data: bytes, count: int) -> int:
    """CPU time of writing it at one end and reading it at the other, so often."""
    size = len(data)
    begin = time.process_time_ns()
    for _ in range(count):
        one.write(data)
        left = size - len(other.read(size))
        while left:
            left -= len(other.read(left))
    return time.process_time_ns() - begin


def stream(size: int, count: int) -> int:
    """An answer of a model, event by event."""
    client, server = pair(*sys.argv[1:3])
    passed(client, server, ASKED, 1)
    passed(server, client, HEAD, 1)
    event = EVENT % (b"x" * max(1, size - len(EVENT) - 6))
    return passed(server, client, b"%x\r\n%s\r\n" % (len(event), event), count)


def unknown(size: int, count: int) -> int:
    """Bytes that are no protocol, on a connection that has been dismissed by then."""
    client, server = pair(*sys.argv[1:3])
    data = (bytes(range(128, 256)) * (size // 128 + 1))[:size]
    passed(client, server, data, 50)
    time.sleep(0.2)
    return passed(client, server, data, count)


def spent() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return int(sum(one.ru_utime + one.ru_stime for one in used) * 1e9)


def process(size: int, count: int) -> int:
    begin = spent()
    for _ in range(count):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return spent() - begin


def file(size: int, count: int) -> int:
    begin = time.process_time_ns()
    for _ in range(count):
        fd = os.open(sys.argv[2], os.O_RDONLY)
        os.read(fd, 64)
        os.close(fd)
    return time.process_time_ns() - begin


def connect(size: int, count: int) -> int:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        begin = time.process_time_ns()
        for _ in range(count):
            with socket.create_connection(server.getsockname()), server.accept()[0]:
                continue
        return time.process_time_ns() - begin


VERBS = {"stream": stream, "unknown": unknown, "process": process, "file": file, "connect": connect}


def main() -> None:
    for line in sys.stdin:
        verb, size, count = line.split()
        print(VERBS[verb](int(size), int(count)) / int(count), flush=True)


if __name__ == "__main__":
    main()
