# SPDX-License-Identifier: Apache-2.0
"""How it runs on somebody's server: what the loader keeps, what it tells of itself, what it spares the kernel."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from oisp_sensor.confine import KEPT
from tests.live.sensor.conftest import Bench
from tests.live.sensor.test_worker import status

pytestmark = pytest.mark.live

# Talks what is no protocol of ours: 300 pieces of 1,000 bytes each way.
TALK = """
import socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as raw:
    with context.wrap_socket(raw, server_hostname="api.openai.com") as connection:
        for _ in range(300):
            connection.sendall(b"\\x01\\x02\\x03\\xff" * 250)
            got = 0
            while got < 1000:
                got += len(connection.recv(1000 - got))
            time.sleep(0.002)
"""


def echo(bench: Bench) -> int:
    """A server that gives back what it gets, once; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    bench.service.authority.issue_cert("api.openai.com").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            while piece := connection.recv(65536):
                connection.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.mark.parametrize("dismiss", [True, False])
def test_what_is_not_ai_is_not_copied(bench: Bench, dismiss: bool) -> None:
    """Spared, captured and lost are together what was sent."""
    port = echo(bench)
    report = bench.folder / "report.json"
    client = bench.client()
    command = [*client[: client.index("-c") + 1], TALK, str(port), bench.service.certificate]
    done = bench.record(command, "--report", str(report), *([] if dismiss else ["--no-dismiss"]))
    assert done.returncode == 0, done.stderr
    account = json.loads(report.read_text(encoding="utf-8"))
    spared = sum(one["written"] + one["read"] for one in account["capture"]["spared"].values())
    lost = sum(one["written"] + one["read"] for one in account["capture"]["losses"].values())
    assert spared + account["ring"]["payload"] + lost == 600_000
    assert (spared > 300_000) == dismiss
    assert account["engine"]["lost_bytes"] == 0


def test_the_loader_keeps_what_it_needs(bench: Bench, until: Callable[..., None]) -> None:
    client = bench.waiting_client()
    process = bench.start_probing("--pid", str(client.pid), "--out", str(bench.events_file))
    held = int(status(process.pid)["CapEff"], 16)
    assert held == int(status(process.pid)["CapPrm"], 16)
    kept = sum(1 << number for number, _ in KEPT.values())
    assert held & ~kept == 0
    assert held & 1 << KEPT["CAP_BPF"][0]
    client.communicate("go\n", timeout=60)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert len(bench.events()) == 2


def test_metrics_are_a_file_that_is_always_whole(bench: Bench) -> None:
    path, report = bench.folder / "sensor.prom", bench.folder / "report.json"
    done = bench.record(bench.client(), "--metrics", str(path), "--report", str(report))
    assert done.returncode == 0, done.stderr
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = dict(line.rsplit(" ", 1) for line in lines)
    account = json.loads(report.read_text(encoding="utf-8"))
    assert float(found["oisp_sensor_events_total"]) == account["lines"] == 2
    assert float(found["oisp_sensor_plaintext_bytes_total"]) == account["ring"]["payload"] > 0
    assert float(found["oisp_sensor_records_total"]) == account["ring"]["records"]
    assert 0 < float(found['oisp_sensor_process_cpu_seconds_total{process="worker"}']) < 60
    assert float(found['oisp_sensor_process_resident_bytes{process="worker"}']) > 1 << 20
    assert {entry.name for entry in bench.folder.iterdir() if "prom" in entry.name} == {"sensor.prom"}
    assert path.stat().st_mode & 0o777 == 0o644


def test_metrics_that_cannot_be_written_stop_nothing(bench: Bench) -> None:
    folder = bench.folder / "gone"
    folder.mkdir()
    command = ["sh", "-c", f'rm -rf {folder}; "$@"', "sh", *bench.client()]
    done = bench.record(command, "--metrics", str(Path(folder) / "sensor.prom"))
    assert done.returncode == 0
    assert done.stderr.count("metrics cannot be written: No such file or directory") == 1
    assert len(bench.events()) == 2
