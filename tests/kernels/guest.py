# SPDX-License-Identifier: Apache-2.0
"""Runs inside a guest of an older kernel: real capture, and what came of it as lines `OISP {...}` on the console."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SIZE = 1_000_000
PRIVATE = SimpleNamespace(libssl="/ssl/libssl.so.3", env={"LD_LIBRARY_PATH": "/ssl", "PATH": "/bin"})
WAYS: dict[str, dict[str, Any]] = {
    "multi": {"variant": "modern"},
    "perf": {"variant": "modern", "multi": False},
    "basic": {"variant": "basic"},
}


def say(step: str, **what: Any) -> None:
    print("OISP " + json.dumps({"step": step, **what}), flush=True)


def guarded(step: str, run: Callable[[], dict[str, Any]], **more: Any) -> None:
    started = time.monotonic()
    try:
        found = run()
    except BaseException as error:
        what = getattr(error, "what", str(error))
        found = {"ok": False, "why": f"{type(error).__name__}: {what}"[:2000], "trace": traceback.format_exc()[-1500:]}
    say(step, **more, **found, seconds=round(time.monotonic() - started, 1))


def doctor() -> dict[str, Any]:
    from oisp_sensor.capture.probe import probe, ready

    checks = probe()
    return {"ok": ready(checks), "checks": {check.name: [check.ok, check.found] for check in checks}}


def btf() -> dict[str, Any]:
    from tests.kernels.btf import structs, wanted

    known = structs(Path("/sys/kernel/btf/vmlinux").read_bytes())
    read = wanted(Path("/kernel.h").read_text(encoding="utf-8"))
    absent = [
        f"{name}.{field}" for name, fields in read.items() for field in fields if field not in known.get(name, ())
    ]
    return {"ok": True, "read": sum(map(len, read.values())), "absent": sorted(absent)}


def load(program: str, variant: str) -> dict[str, Any]:
    from oisp_sensor.capture import Scope, objects
    from oisp_sensor.capture.libbpf import Library, Object

    made = Object(objects.path(program, variant).read_bytes(), f"{program}.{variant}")
    # With the settings of a real scope: what they rule out the verifier never walks through.
    settings = Scope.command().settings(1 << 20)
    if program == "tls":
        settings.plaintext = settings.guard = True
    made.settings("oisp_settings", settings.pack())
    try:
        made.load()
    except BaseException:
        return {"ok": False, "log": "\n".join(Library.open().log)[-3000:]}
    made.close()
    return {"ok": True}


def capture(way: str) -> dict[str, Any]:
    from tests.live.capture.harness import watch
    from tests.live.capture.targets import pattern

    run = watch(PRIVATE, ["/client", "ints", "/cert.pem", "/key.pem", str(SIZE)], **WAYS[way])
    streams = list(run.streams.values())
    written = [bytes(s.written) for s in streams if s.written]
    read = [bytes(s.read) for s in streams if s.read]
    assert run.report is not None
    return {
        "ok": run.code == 0 and written == read == [pattern(SIZE)] and run.lost == 0,
        "code": run.code,
        "written": [len(w) for w in written],
        "lost": run.lost,
        "variant": run.report.variant,
        "multi": run.report.uprobe_multi,
        "addresses": run.report.addresses,
        "midway": any(s.midway for s in streams),
    }


CHILDREN = """
import os, socket, sys
for number in range(20):
    pid = os.posix_spawn("/bin/true", ["true", str(number)], {})
    os.waitpid(pid, 0)
server = socket.create_server(("127.0.0.1", 0))
for number in range(20):
    with socket.create_connection(server.getsockname()) as client:
        taken, _ = server.accept()
        taken.sendall(b"x" * 100); taken.close()
        while client.recv(1000): pass
for number in range(20):
    with open(f"/tmp/f{number}", "wb", buffering=0) as out: out.write(b"y" * 9)
    os.unlink(f"/tmp/f{number}")
"""


def activity() -> dict[str, Any]:
    from collections import Counter

    from oisp_sensor.activity import ActivityEvents
    from oisp_sensor.activity.ids import Ulids
    from oisp_sensor.activity.stage import ActivityStage
    from oisp_sensor.capture import Capture, Scope, kernel
    from oisp_sensor.enrich.enricher import ArgumentPolicy, Enricher

    events = ActivityEvents(Enricher(ArgumentPolicy("full")), clock_base_ns=kernel.clock_base_ns(), new_id=Ulids(1))
    lines = b""
    with Capture(Scope.command(), libraries=[], activity=("process", "network", "dns", "file")) as started:
        started.start()
        assert started.activity is not None, started.activity_refused
        stage = ActivityStage(started.activity.ring_fd, started.activity.ring_bytes, events)
        child = started.spawn([sys.executable, "-S", "-c", CHILDREN])
        while (code := child.poll()) is None:
            started.poll(0.05)
            lines += stage.take()
        time.sleep(0.5)
        losses = started.activity_losses()
        refused = started.activity_refused
    lines += stage.finish()
    found = [json.loads(line) for line in lines.splitlines()]
    found = [e for e in found if not e["event_type"].startswith("file.") or "/tmp/f" in json.dumps(e["data"])]
    told = Counter(event["event_type"] for event in found)
    return {"ok": code == 0, "told": told, "losses": losses, "refused": refused}


STDIO = """
import subprocess, sys
child = "import sys; [print(line, end='', flush=True) for line in sys.stdin]"
said = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\\n' + bytes(range(32, 127)) * 100
p = subprocess.run([sys.executable, "-S", "-c", child], input=said, stdout=subprocess.PIPE)
assert p.stdout == said
"""


def extra(**options: Any) -> dict[str, Any]:
    from tests.live.capture.harness import watch

    run = watch(PRIVATE, [sys.executable, "-S", "-c", textwrap.dedent(STDIO)], libraries=[], **options)
    sizes = [[len(s.read), len(s.written)] for s in run.streams.values()]
    return {"ok": run.code == 0, "sizes": sizes, "lost": run.lost}


def record() -> dict[str, Any]:
    """The whole sensor, worker and all, on a client in Python."""
    server = subprocess.Popen([sys.executable, "/server.py"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    client = ["env", "LD_LIBRARY_PATH=/ssl", sys.executable, "/client.py", port, "/cert.pem", "What now?", "0"]
    words = ["record", "--library", "/ssl/libssl.so.3", "--content", "full", "--out", "/tmp/e.jsonl", "--", *client]
    done = subprocess.run([sys.executable, "-m", "oisp_sensor", *words], capture_output=True, text=True, check=False)
    server.terminate()
    try:
        text = Path("/tmp/e.jsonl").read_text(encoding="utf-8")
        kinds = [json.loads(line)["event_type"] for line in text.splitlines()]
    except OSError:
        kinds = []
    return {"ok": done.returncode == 0, "out": done.stdout, "said": done.stderr[-1500:], "kinds": kinds}


def main() -> None:
    say("start", kernel=platform.release())
    guarded("doctor", doctor)
    guarded("btf", btf)
    for program in ("tls", "activity"):
        for variant in ("modern", "basic"):
            guarded("load", lambda p=program, v=variant: load(p, v), program=program, variant=variant)
    for way in WAYS:
        guarded("capture", lambda w=way: capture(w), way=way)
    guarded("activity", activity)
    guarded("stdio", lambda: extra(stdio=True))
    guarded("plaintext", lambda: extra(plaintext=True))
    guarded("record", record)
    say("end")


if __name__ == "__main__":
    os.environ.setdefault("HOME", "/tmp")
    main()
