# SPDX-License-Identifier: Apache-2.0
"""Node: OpenSSL inside the executable, ciphertext through memory, JavaScript that runs inside SSL_read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.live.capture.harness import watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]

SCRIPT = """
const fs = require("fs"), tls = require("tls");
const [cert, key, size, out] = process.argv.slice(1);
const n = Number(size), seen = [];
const pattern = Buffer.alloc(n);
for (let i = 0; i < n; i++) pattern[i] = i % 251 * 7 % 251;
const note = (s, role) => seen.push([role, s.localAddress, s.localPort, s.remoteAddress, s.remotePort]);
const server = tls.createServer({cert: fs.readFileSync(cert), key: fs.readFileSync(key)}, (s) => {
  note(s, "server");
  let got = 0;
  s.on("data", (piece) => { got += piece.length; if (got === n) s.end(Buffer.from("answer")); });
});
server.listen(0, "127.0.0.1", () => {
  let left = 4;
  for (let i = 0; i < 4; i++) {
    const c = tls.connect({port: server.address().port, host: "127.0.0.1", servername: "localhost",
                           ca: fs.readFileSync(cert)}, () => { note(c, "client"); c.write(pattern); });
    c.on("data", () => {});
    c.on("end", () => { c.end(); if (--left === 0) { server.close(); fs.writeFileSync(out, JSON.stringify(seen)); } });
  }
});
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    copy = tmp_path_factory.mktemp("node") / "node"
    shutil.copy(Path(found).resolve(), copy)
    return copy


@pytest.mark.parametrize("size", [500, 3_000_000])
def test_node(node, private_libssl, certificate, tmp_path, size):
    out = tmp_path / "seen.json"
    command = [str(node), "-e", SCRIPT, *certificate, str(size), str(out)]
    # A distribution's Node loads OpenSSL as a library, others carry it inside.
    inside = b"SSL_read" in node.read_bytes()
    run = watch(private_libssl, command, libraries=[node if inside else private_libssl.libssl])
    assert run.code == 0
    assert run.lost == 0
    assert [bytes(c.written) for c in run.clients] == [pattern(size)] * 4
    assert [bytes(c.read) for c in run.clients] == [b"answer"] * 4
    assert [bytes(s.read) for s in run.servers] == [pattern(size)] * 4
    assert {c.name for c in run.clients} == {"localhost"}
    assert not any(s.midway for s in run.streams.values())
    seen = {tuple(item) for item in json.loads(out.read_text())}
    said = {("server" if s.server else "client", *s.address) for s in run.streams.values() if s.address}
    assert said <= seen
    assert said or not run.report.addresses
