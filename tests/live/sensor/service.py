# SPDX-License-Identifier: Apache-2.0
"""A TLS server on loopback that answers like a provider and remembers what it was asked, and the client that asks.

The server runs in the test's process, on libraries that carry no probe. Wire bytes are kept as they were, so that the
sensor's account can be compared to the byte.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import trustme

ANSWER = "Forty-two, and not one more."

# argv: port, certificate, prompt, exit code. Waits for a line on its input where WAIT is set.
CLIENT = """
import json, os, socket, ssl, sys
if os.environ.get("WAIT"):
    print("ready", flush=True)
    sys.stdin.readline()
port, certificate, prompt, code = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}).encode()
head = ("POST /v1/chat/completions HTTP/1.1\\r\\nHost: api.openai.com\\r\\nContent-Type: application/json\\r\\n"
        "Authorization: Bearer sk-proj-invented-for-this-test-0123456789\\r\\n"
        "Content-Length: %d\\r\\n\\r\\n" % len(body))
context = ssl.create_default_context(cafile=certificate)
with socket.create_connection(("127.0.0.1", port)) as raw:
    with context.wrap_socket(raw, server_hostname="api.openai.com") as connection:
        connection.sendall(head.encode() + body)
        got = b""
        while piece := connection.recv(65536):
            got += piece
print(json.loads(got.partition(b"\\r\\n\\r\\n")[2])["choices"][0]["message"]["content"])
sys.exit(code)
"""


class Service:
    """`asked` has the bytes of each request, `answered` those of each response."""

    def __init__(self, folder: Path) -> None:
        authority = self.authority = trustme.CA()
        self.certificate = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.certificate)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("api.openai.com").configure_cert(self._context)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.asked: list[bytes] = []
        self.answered: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(plain,), daemon=True).start()

    def _answer(self, plain: socket.socket) -> None:
        with plain, self._context.wrap_socket(plain, server_side=True) as connection:
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65536)
            response = self._response()
            self.asked.append(head + b"\r\n\r\n" + body)
            self.answered.append(response)
            connection.sendall(response)
            with contextlib.suppress(OSError):  # the client is content with what it has
                connection.unwrap()

    @staticmethod
    def _response() -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
        answer: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-11-20"}
        body = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
