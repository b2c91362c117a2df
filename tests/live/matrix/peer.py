# SPDX-License-Identifier: Apache-2.0
"""The other end, in the process of the test: a TLS server that keeps every byte it received and sent, by connection.

It speaks just enough HTTP/1.1 for real clients: each request with a body is answered with that body backwards.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading


class Peer:
    def __init__(self, certificate: tuple[str, str]) -> None:
        self.received: list[bytearray] = []
        self.sent: list[bytearray] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._context.set_alpn_protocols(["http/1.1"])
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def answer(self, body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[::-1]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        received, sent = bytearray(), bytearray()
        with contextlib.suppress(OSError), self._context.wrap_socket(sock, server_side=True) as conn:
            self.received.append(received)
            self.sent.append(sent)
            start = 0
            while (end := self._head(conn, received, start)) >= 0:
                head = bytes(received[start:end]).lower()
                length = re.search(rb"\r\ncontent-length: *(\d+)", head)
                if b"expect: 100-continue" in head:
                    self._send(conn, sent, b"HTTP/1.1 100 Continue\r\n\r\n")
                start = end + (int(length[1]) if length else 0)
                if not self._fill(conn, received, start):
                    return
                self._send(conn, sent, self.answer(bytes(received[end:start])))

    def _head(self, conn: ssl.SSLSocket, received: bytearray, start: int) -> int:
        while (at := received.find(b"\r\n\r\n", start)) < 0:
            if not self._fill(conn, received, len(received) + 1):
                return -1
        return at + 4

    def _fill(self, conn: ssl.SSLSocket, received: bytearray, size: int) -> bool:
        while len(received) < size:
            piece = conn.recv(65536)
            if not piece:
                return False
            received += piece
        return True

    def _send(self, conn: ssl.SSLSocket, sent: bytearray, data: bytes) -> None:
        sent += data
        conn.sendall(data)
