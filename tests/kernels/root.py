# SPDX-License-Identifier: Apache-2.0
"""A root filesystem for a guest, small enough to be its initramfs: this Python, the sensor, a TLS client, busybox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import oisp_core
import oisp_sensor
from oisp_sensor.demo.libraries import copy_libraries
from tests.live.sensor.service import ANSWER, CLIENT

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
export PATH=/bin PYTHONPATH=/oisp:/site LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
{python} /oisp/tests/kernels/guest.py
poweroff -f
"""

SERVER = """
import json, socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/cert.pem", "/key.pem")
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
choice = {"index": 0, "message": {"role": "assistant", "content": %r}, "finish_reason": "stop"}
body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o", "choices": [choice]}).encode()
plain, _ = server.accept()
with context.wrap_socket(plain, server_side=True) as taken:
    got = b""
    while b'"messages"' not in got:
        got += taken.recv(65536)
    head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %%d\\r\\n\\r\\n"
    taken.sendall(head %% len(body) + body)
"""

# Of the modules that the sensor and its tests import, those that are not of the standard library.
PROBE = """
import sys
sys.path[:0] = sys.argv[1:]
import oisp_sensor.__main__, oisp_sensor.recorder, oisp_sensor.worker, oisp_sensor.examiner, oisp_sensor.capture.targets
import oisp_sensor.cli.record, oisp_sensor.cli.doctor, oisp_sensor.activity.stage, oisp_core
import capstone, yaml, rich.console
print("\\n".join(sorted({name.split(".")[0] for name, m in sys.modules.items()
                         if "site-packages" in (getattr(m, "__file__", None) or "")})))
"""
OWN = ("harness", "records", "targets")
NOT_NEEDED = re.compile(
    r"^(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|distutils|pydoc_data|site-packages|config-.*|.*\.a)$"
)


def build(root: Path) -> None:
    """Fills the folder."""
    for name in ("proc", "sys", "dev", "tmp", "ssl", "site", "bin", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for name in ("sh", "mount", "mkdir", "ip", "poweroff", "true", "env", "sleep", "cat", "ls", "dmesg"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/tmp:/bin/sh\n", encoding="ascii")
    (root / "etc/group").write_text("root:x:0:\n", encoding="ascii")
    python = _python(root)
    _packages(root)
    _sensor(root)
    _clients(root)
    _libraries(root)
    init = root / "init"
    init.write_text(INIT.format(python=python), encoding="ascii")
    init.chmod(0o755)


def pack(root: Path, to: Path) -> None:
    script = f"cd {root} && find . -print0 | cpio --null -o -H newc --quiet | gzip -1 >{to}"
    subprocess.run(["sh", "-c", script], check=True)


def _python(root: Path) -> Path:
    """The interpreter where it is here: a worker that is started with -I looks for its library there."""
    real = Path(sys.executable).resolve()
    _copy(real, root)
    library = Path(sysconfig.get_path("stdlib"))

    def leave_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if NOT_NEEDED.match(name)} if Path(folder) == library else {"test"} & set(names)

    shutil.copytree(library, _under(root, library), ignore=leave_out, symlinks=True)
    return real


def _packages(root: Path) -> None:
    where = [str(Path(oisp_sensor.__file__).parents[1])]
    probe = subprocess.run([sys.executable, "-c", PROBE, *where], capture_output=True, text=True, check=True)
    site = Path(sysconfig.get_path("purelib"))
    for name in [*probe.stdout.split(), "capstone", "elftools"]:
        if name in ("oisp_core", "oisp_sensor") or (root / "site" / name).exists():
            continue
        for found in [site / name, *site.glob(f"{name}.libs"), *site.glob(f"{name}.*so"), *site.glob(f"{name}.py")]:
            if found.is_dir():
                shutil.copytree(
                    found, root / "site" / found.name, ignore=shutil.ignore_patterns("include", "__pycache__")
                )
            elif found.is_file():
                shutil.copy(found, root / "site" / found.name)


def _sensor(root: Path) -> None:
    oisp = root / "oisp"
    leave_out = shutil.ignore_patterns("*.pyx", "*.c", "*.h", "__pycache__", "*.pyi")
    for package in (oisp_core, oisp_sensor):
        folder = Path(package.__file__ or "").parent
        shutil.copytree(folder, oisp / folder.name, ignore=leave_out)
    examiner = oisp / "oisp_sensor/examiner.py"  # five seconds are few for a machine that is emulated
    text = examiner.read_text(encoding="utf-8")
    assert "\nSECONDS = 5.0" in text
    examiner.write_text(text.replace("\nSECONDS = 5.0", "\nSECONDS = 120.0"), encoding="utf-8")
    tree = Path(oisp_sensor.__file__).parents[1]
    for name in ("bpf/objects", "semconv", "schema"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, oisp / name)
    shutil.copy(TESTS.parent / "bpf/include/kernel.h", root / "kernel.h")
    for name in ("__init__.py", *(f"kernels/{n}.py" for n in ("guest", "btf")), *(f"live/capture/{n}.py" for n in OWN)):
        target = oisp / "tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TESTS / name, target)


def _clients(root: Path) -> None:
    source = TESTS / "live/capture/client.c"
    subprocess.run(["gcc", "-O1", "-o", str(root / "client"), str(source), "-lssl", "-lcrypto"], check=True)
    copies = copy_libraries(root / "private", None)
    for library in (copies.libssl, copies.libcrypto):
        shutil.copy(library, root / "ssl" / Path(library).name)
    shutil.rmtree(root / "private")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"]
    command += ["-keyout", str(root / "key.pem"), "-out", str(root / "cert.pem")]
    names = "subjectAltName=DNS:api.openai.com,DNS:localhost"
    subprocess.run([*command, "-addext", names], check=True, capture_output=True)
    (root / "client.py").write_text(CLIENT, encoding="utf-8")
    (root / "server.py").write_text(SERVER % ANSWER, encoding="utf-8")


def _libraries(root: Path) -> None:
    """What everything in the root is linked with."""
    objects = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink() and _is_elf(p)]
    named = subprocess.run(["ldd", *map(str, objects)], capture_output=True, text=True, check=False).stdout
    files = set(re.findall(r"(?:=> )?(/\S+) \(0x", named))
    for name in ("libbpf.so.1", "libgcc_s.so.1"):
        listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
        files |= set(re.findall(rf"{re.escape(name)} \(.*x86-64.*=> (\S+)", listed))
    for file in list(files):
        found = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
        files |= set(re.findall(r"(?:=> )?(/\S+) \(0x", found))
    for file in files:
        if not file.startswith(str(root)):
            _copy(Path(file), root)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _under(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy(path: Path, root: Path) -> None:
    to = _under(root, path)
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        shutil.copy(path.resolve(), to)


def missing_tools() -> Iterable[str]:
    return [t for t in ("qemu-system-x86_64", "busybox", "cpio", "gcc", "openssl", "ldd") if shutil.which(t) is None]


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
