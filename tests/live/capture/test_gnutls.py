# SPDX-License-Identifier: Apache-2.0
"""GnuTLS: its own functions called through ctypes, and wget. The library is a private copy."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.live.capture.harness import python, watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

PAIR = """
import ctypes as c, socket, sys, threading
cert, key, size, clients, cork = sys.argv[1].encode(), sys.argv[2].encode(), *map(int, sys.argv[3:6])
lib = c.CDLL("libgnutls.so.30")
lib.gnutls_record_send.restype = lib.gnutls_record_recv.restype = c.c_ssize_t
for f in (lib.gnutls_record_send, lib.gnutls_record_recv):
    f.argtypes = [c.c_void_p, c.c_void_p, c.c_size_t]
def pattern(n, seed=0):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (n // 251 + 1))[:n]
def session(flags, fd, name=None):
    s, creds = c.c_void_p(), c.c_void_p()
    assert lib.gnutls_init(c.byref(s), flags) == 0
    assert lib.gnutls_certificate_allocate_credentials(c.byref(creds)) == 0
    if flags == 1:
        assert lib.gnutls_certificate_set_x509_key_file(creds, cert, key, 1) == 0
    assert lib.gnutls_set_default_priority(s) == 0
    assert lib.gnutls_credentials_set(s, 1, creds) == 0
    if name:
        assert lib.gnutls_server_name_set(s, 1, name, c.c_size_t(len(name))) == 0
    lib.gnutls_transport_set_int2(s, fd, fd)
    while (r := lib.gnutls_handshake(s)) < 0:
        assert r in (-28, -52), r
    return s
def send(s, data):
    sent = 0
    while sent < len(data):
        n = lib.gnutls_record_send(s, data[sent:], len(data) - sent)
        assert n > 0, n
        sent += n
def receive(s, n):
    block, got = c.create_string_buffer(20000), b""
    while len(got) < n:
        r = lib.gnutls_record_recv(s, block, 20000)
        assert r > 0, r
        got += block.raw[:r]
    return got
def serve(conn):
    s = session(1, conn.fileno())
    send(s, receive(s, size)[::-1])
    lib.gnutls_bye(s, 1); lib.gnutls_deinit(s); conn.close()
def ask(n):
    sock = socket.create_connection(listener.getsockname())
    s = session(2, sock.fileno(), b"localhost")
    if cork:
        lib.gnutls_record_cork(s)
    send(s, pattern(size, n))
    while cork and (r := lib.gnutls_record_uncork(s, 1)) < 0:
        assert r in (-28, -52), r
    assert receive(s, size) == pattern(size, n)[::-1]
    lib.gnutls_deinit(s); sock.close()
listener = socket.create_server(("127.0.0.1", 0))
def accept():
    for _ in range(clients):
        threading.Thread(target=serve, args=listener.accept()[:1]).start()
workers = [threading.Thread(target=accept)] + [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
[w.start() for w in workers]; [w.join() for w in workers]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"):
        found = Path(folder) / "libgnutls.so.30"
        if found.exists():
            copy = tmp_path_factory.mktemp("gnutls") / found.name
            shutil.copy(found.resolve(), copy)
            return copy
    unavailable("libgnutls is not installed", required=os.environ.get("OISP_REQUIRE_BPF") == "1")


CASES = {
    "small": (200, 1, 0, {}),
    "corked": (200, 1, 1, {}),
    "large": (3_000_000, 4, 0, {}),
    "perf": (3_000_000, 1, 0, {"multi": False}),
    "basic": (3_000_000, 1, 0, {"variant": "basic"}),
}


@pytest.mark.parametrize(("size", "clients", "cork", "way"), CASES.values(), ids=CASES)
def test_clients_and_servers(library, private_libssl, certificate, row, size, clients, cork, way):
    row("ctypes", "GnuTLS 3" + (", corked" if cork else ""), "both", size, f"{2 * clients} threads")
    env = {"LD_LIBRARY_PATH": str(library.parent)}
    command = python(PAIR, *certificate, str(size), str(clients), str(cork))
    run = watch(private_libssl, command, env=env, libraries=[library], **way)
    assert run.code == 0
    assert run.lost == 0
    asked = sorted(pattern(size, n) for n in range(clients))
    answered = sorted(pattern(size, n)[::-1] for n in range(clients))
    asking = [s for s in run.streams.values() if s.name == "localhost"]
    serving = [s for s in run.streams.values() if not s.name]
    assert sorted(bytes(s.written) for s in asking) == sorted(bytes(s.read) for s in serving) == asked
    assert sorted(bytes(s.read) for s in asking) == sorted(bytes(s.written) for s in serving) == answered
    assert not any(s.midway for s in run.streams.values())
    assert all(s.closed for s in run.streams.values())
    if run.report.addresses:
        there = {s.address for s in asking}
        assert {(c, d, a, b) for a, b, c, d in (s.address for s in serving)} == there


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *_: object) -> None:
        pass


def test_wget(library, private_libssl, certificate, tmp_path, row):
    row("wget", "GnuTLS 3", "client", 300_000, "1")
    wget = shutil.which("wget")
    linked = subprocess.run(["ldd", wget], capture_output=True, text=True, check=True).stdout if wget else ""
    if "libgnutls" not in linked:
        pytest.skip("no wget that is linked with GnuTLS")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    body, out = tmp_path / "body", tmp_path / "out"
    body.write_bytes(pattern(300_000))
    command = [wget, "-q", "-O", str(out), f"--ca-certificate={certificate[0]}", f"--post-file={body}"]
    command.append(f"https://localhost:{server.server_port}/v1/chat")
    run = watch(private_libssl, command, env={"LD_LIBRARY_PATH": str(library.parent)}, libraries=[library])
    server.shutdown()
    server.server_close()
    assert run.code == 0
    assert out.read_bytes() == pattern(300_000)[::-1]
    [stream] = run.streams.values()
    assert bytes(stream.written).startswith(b"POST /v1/chat HTTP/1.1\r\n")
    assert bytes(stream.written).endswith(pattern(300_000))
    assert bytes(stream.read).endswith(pattern(300_000)[::-1])
    assert (stream.name, stream.midway, run.lost) == ("localhost", False, 0)
