# SPDX-License-Identifier: Apache-2.0
"""HTTP without TLS, as models on this machine speak it: whole, once, and nothing that is not HTTP."""

from __future__ import annotations

import shutil

import pytest

from oisp_sensor.capture.capture import Loss
from tests.live.capture import targets
from tests.live.capture.harness import python, watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

HTTP = targets.program(
    """
    import http.client, http.server
    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
            self.wfile.write(body[::-1])
        def log_message(self, *a): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    def ask(n):
        c = http.client.HTTPConnection(*server.server_address)
        for i in range(2):
            c.request("POST", f"/api/chat/{n}", pattern(size, n)); answer = c.getresponse().read()
            assert answer == pattern(size, n)[::-1]
        c.close()
    workers = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    [w.start() for w in workers]; [w.join() for w in workers]
    server.shutdown(); server.server_close(); time.sleep(0.1)
    """
)

OTHERS = targets.program(
    """
    # A database client that sends its password, a mail client, a key-value store, and TLS: none is HTTP.
    listener = socket.create_server(("127.0.0.1", 0))
    def accept():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            while c.recv(4096):
                c.send(b"+OK ready\\r\\n")
    threading.Thread(target=accept, daemon=True).start()
    said = [b"\\0\\0\\0\\x21\\0\\3\\0\\0user\\0me\\0", b"p\\0\\0\\0\\x0asecret-password\\0", b"EHLO localhost\\r\\n",
            b"AUTH PLAIN c2VjcmV0\\r\\n",
            b"*2\\r\\n$4\\r\\nAUTH\\r\\n$6\\r\\nsecret\\r\\n", b"GETEX secret\\r\\n", b"POSTED secret",
            b"HTTP", b"GET"]
    for text in said:
        c = socket.create_connection(listener.getsockname())
        for _ in range(2):
            c.send(text); c.recv(100)
        c.send(b"GET /late HTTP/1.1\\r\\n\\r\\n"); c.recv(100); c.close()
    """
)

NODE = """
const http = require("http");
const [size, count] = process.argv.slice(1).map(Number);
const server = http.createServer((q, a) => {
  const got = []; q.on("data", (p) => got.push(p)); q.on("end", () => a.end(Buffer.concat(got).reverse()));
});
server.listen(0, "127.0.0.1", async () => {
  await Promise.all([...Array(count).keys()].map((n) => new Promise((done) => {
    const r = http.request({port: server.address().port, method: "POST", path: "/v1/" + n}, (a) => {
      const got = []; a.on("data", (p) => got.push(p)); a.on("end", done); });
    for (const half of [0, 1]) r.write(Buffer.alloc(size / 2, n + 1));
    r.end();
  })));
  server.close(); server.closeAllConnections();
});
"""


@pytest.mark.parametrize("size", [200, 3_000_000])
def test_python(private_libssl, certificate, row, size):
    row("Python http.client, http.server", "none", "both", size, "8 threads")
    command = python(HTTP, *certificate, str(size))
    run = watch(private_libssl, command, libraries=[], plaintext=True, ring_bytes=1 << 27)
    assert (run.code, run.losses) == (0, {name: Loss() for name in run.losses})
    asking = [s for s in run.streams.values() if s.written.startswith(b"POST")]
    serving = [s for s in run.streams.values() if s.read.startswith(b"POST")]
    assert (len(asking), len(serving)) == (4, 4)
    assert sorted(bytes(s.written) for s in asking) == sorted(bytes(s.read) for s in serving)
    assert sorted(bytes(s.read) for s in asking) == sorted(bytes(s.written) for s in serving)
    for s in asking:
        n = int(bytes(s.written[: s.written.index(b" HTTP")]).rsplit(b"/", 1)[1])
        assert bytes(s.written).count(pattern(size, n)) == 2
        assert bytes(s.read).count(pattern(size, n)[::-1]) == 2
    there = {s.address for s in asking}
    assert {(c, d, a, b) for a, b, c, d in (s.address for s in serving)} == there
    assert not any(s.midway for s in run.streams.values())
    assert all(s.closed for s in run.streams.values())


def test_node_writes_many_buffers_at_once(private_libssl, row):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    row("Node http", "none", "both", 100_000, "4 requests")
    run = watch(private_libssl, [node, "-e", NODE, "100000", "4"], libraries=[], plaintext=True)
    assert (run.code, run.lost) == (0, 0)
    asking = [s for s in run.streams.values() if s.written.startswith(b"POST")]
    serving = [s for s in run.streams.values() if s.read.startswith(b"POST")]
    assert sorted(bytes(s.written) for s in asking) == sorted(bytes(s.read) for s in serving)
    assert sorted(bytes(s.read) for s in asking) == sorted(bytes(s.written) for s in serving)
    for n in range(4):
        assert sum(bytes(s.written).count(bytes([n + 1])) >= 100_000 for s in asking) == 1


def test_what_is_not_http_is_not_copied(private_libssl, certificate):
    run = watch(private_libssl, python(OTHERS, *certificate), libraries=[], plaintext=True)
    assert run.code == 0
    assert run.records == []


def test_tls_is_seen_once(private_libssl, certificate):
    run = watch(private_libssl, python(targets.SOCKETS, *certificate, "5000"), plaintext=True)
    assert run.code == 0
    assert sorted(len(s.written) for s in run.streams.values()) == [5000, 5000]


def test_without_asking_for_it_there_is_none(private_libssl, certificate):
    run = watch(private_libssl, python(HTTP, *certificate, "200"), libraries=[])
    assert (run.code, run.records) == (0, [])
