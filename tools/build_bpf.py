# SPDX-License-Identifier: Apache-2.0
"""Builds the CO-RE objects under bpf/objects: one per program, architecture and variant.

`build_bpf.py` writes them; `build_bpf.py --check` only compares. The compiler is pinned to clang 14, because another
version gives other bytes. The hash of all sources is inside each object.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADERS = ("bpf/include/kernel.h", "bpf/include/control.h", "bpf/include/scope.h", "oisp_core/include/oisp/record.h")
# Program -> all that it is made of, the C file first.
PROGRAMS = {
    "tls": ("bpf/tls.bpf.c", *HEADERS),
    "activity": ("bpf/activity.bpf.c", *HEADERS, "oisp_core/include/oisp/activity.h"),
}
ARCHITECTURES = {"x86_64": "OISP_X86_64", "aarch64": "OISP_AARCH64"}
# 5.12 brought the atomics of -mcpu=v3, 5.17 bpf_loop.
VARIANTS = {"modern": ["-mcpu=v3", "-DOISP_MODERN"], "basic": ["-mcpu=v2"]}
CLANG = "clang-14"
STRIP = "llvm-strip-14"


def source_hash(program: str) -> str:
    """SHA-256 over names and contents of everything that an object is made of."""
    digest = hashlib.sha256()
    for name in PROGRAMS[program]:
        content = (ROOT / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def missing_tools() -> list[str]:
    return [tool for tool in (CLANG, STRIP) if shutil.which(tool) is None]


def build(program: str, arch: str, variant: str, out: Path) -> None:
    """Compiles one object; run from the root, so that no path of this machine gets into it."""
    command = [CLANG, "-g", "-O2", "-target", "bpf", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unused-variable"]
    command += [f"-D{ARCHITECTURES[arch]}", f'-DOISP_SOURCE_HASH="{source_hash(program)}"', *VARIANTS[variant]]
    command += ["-D__bpf__", "-Ibpf/include", "-Ioisp_core/include", "-fdebug-compilation-dir=."]
    subprocess.run([*command, "-c", PROGRAMS[program][0], "-o", out], cwd=ROOT, check=True)
    subprocess.run([STRIP, "-g", out], check=True)


def target(program: str, arch: str, variant: str) -> Path:
    return ROOT / "bpf" / "objects" / arch / f"{program}.{variant}.bpf.o"


def main(arguments: list[str]) -> int:
    absent = missing_tools()
    if absent:
        print(f"{', '.join(absent)}: not found; apt-get install clang-14 llvm-14", file=sys.stderr)
        return 2
    stale = 0
    with tempfile.TemporaryDirectory() as folder:
        for which in itertools.product(PROGRAMS, ARCHITECTURES, VARIANTS):
            fresh = Path(folder) / ".".join(which)
            build(*which, fresh)
            kept = target(*which)
            if kept.exists() and kept.read_bytes() == fresh.read_bytes():
                continue
            stale += 1
            print(f"{kept.relative_to(ROOT)}: {'differs' if '--check' in arguments else 'written'}")
            if "--check" not in arguments:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(fresh.read_bytes())
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
