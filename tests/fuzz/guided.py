# SPDX-License-Identifier: Apache-2.0
"""libFuzzer over the engine's own code: the fuzz flavour (clang, with ASan and UBSan), one process for each target.

Why libFuzzer in this form: it is where clang is, which the kernel programs need anyway, and its driver is fifty lines
(driver.pyx) that work for every Python, while atheris is a wheel for some. The harnesses are Python; what is watched
is C.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.fuzz.mutate import CORPUS, corpus
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
FUZZER = BUILD / "libfuzzer.so"
CLANGS = ["clang", *(f"clang-{version}" for version in range(22, 13, -1))]
KEPT_MAX = 120
KEPT_BYTES = 600
"""Inputs of one target that `keep` leaves in the tree, and how long they may be."""


class NotHere(Exception):
    """What guided fuzzing lacks on this machine."""


class Toolchain:
    """A clang that has libFuzzer and a shared ASan. Raises NotHere."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise NotHere("guided fuzzing needs Linux")
        for name in CLANGS:
            self.clang = shutil.which(name) or ""
            if self.clang:
                break
        else:
            raise NotHere("guided fuzzing needs clang")
        machine = sysconfig.get_platform().rpartition("-")[2]
        self.fuzzer = self._library(f"libclang_rt.fuzzer_no_main-{machine}.a")
        self.asan = self._library(f"libclang_rt.asan-{machine}.so")

    def _library(self, name: str) -> Path:
        done = subprocess.run([self.clang, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        path = Path(done.stdout.strip())
        if not path.is_file():
            raise NotHere(f"{self.clang} has no {name}")
        return path

    def build(self) -> None:
        """The flavour and the driver; what did not change is not built again."""
        env = {**os.environ, "OISP_BUILD": "fuzz", "CC": self.clang, "LDSHARED": f"{self.clang} -shared"}
        command = [
            sys.executable,
            "setup.py",
            "-q",
            "build",
            "--build-base",
            str(BUILD),
            "--build-lib",
            str(BUILD / "lib"),
        ]
        run(command, env=env)
        whole = ["-Wl,--whole-archive", str(self.fuzzer), "-Wl,--no-whole-archive", "-l:libstdc++.so.6"]
        run([self.clang, "-shared", "-o", str(FUZZER), *whole, "-lpthread", "-ldl", "-lm"])
        source = Path(__file__).with_name("driver.pyx")
        made = BUILD / "driver.c"
        run([sys.executable, "-m", "cython", "-3", str(source), "-o", str(made)])
        include = sysconfig.get_path("include")
        target = BUILD / "lib" / "driver.so"
        run([self.clang, "-shared", "-fPIC", "-O1", "-w", f"-I{include}", str(made), "-o", str(target), str(FUZZER)])

    def env(self) -> dict[str, str]:
        # The hooks of coverage must be libFuzzer's, not the empty ones of ASan: it comes first. Python's own allocator
        # would hide overruns. What the interpreter keeps at exit is no leak of ours.
        return {
            **os.environ,
            "PYTHONPATH": f"{BUILD / 'lib'}{os.pathsep}{ROOT}",
            "PYTHONMALLOC": "malloc",
            "LD_PRELOAD": f"{FUZZER}:{self.asan}",
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:verify_asan_link_order=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        }


def run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def start(tools: Toolchain, name: str, *arguments: str) -> int:
    """libFuzzer over one target in a process of its own. It may start itself again, by the name of its program."""
    program = BUILD / f"run-{name}"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m tests.fuzz.guided {name} "$@"\n')
    program.chmod(0o755)
    return subprocess.run([str(program), *arguments], cwd=BUILD, env=tools.env(), check=False).returncode


def fuzz(tools: Toolchain, name: str, seconds: int, *, seed: int = 0) -> int:
    """One target for so long; answers the exit status. Findings stand in build/fuzz/findings."""
    work, findings = BUILD / "corpus" / name, BUILD / "findings"
    write_corpus(name, work)
    findings.mkdir(exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=1500", "-timeout=60", "-rss_limit_mb=4096"]
    options += ["-use_value_profile=1", "-print_funcs=0", f"-artifact_prefix={findings}/{name}-"]
    return start(tools, name, *options, str(work))


def write_corpus(name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in corpus(name):
        (folder / hashlib.sha256(data).hexdigest()[:20]).write_bytes(data)


def keep(tools: Toolchain, name: str) -> int:
    """Puts into the tree inputs that reach what the target's corpus reaches, as far as there is room."""
    work, least = BUILD / "corpus" / name, BUILD / "least" / name
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir(parents=True)
    if start(tools, name, "-merge=1", "-max_len=1500", str(least), str(work)):
        sys.exit(f"{name}: libFuzzer could not merge {work}")
    found = sorted(data for data in (path.read_bytes() for path in least.iterdir()) if len(data) <= KEPT_BYTES)
    step = max(1, -(-len(found) // KEPT_MAX))  # some of every kind: sorted, like lies beside like
    lines = [base64.b64encode(data).decode() for data in found[::step]]
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


def main() -> None:
    """One target in this process, which libFuzzer ends."""
    import driver  # type: ignore[import-not-found]

    TARGETS[sys.argv[1]].one(corpus(sys.argv[1])[0])  # what is made once is made before the clock runs
    arguments = [f"./run-{sys.argv[1]}", *sys.argv[2:]]
    driver.run(TARGETS[sys.argv[1]].one, [argument.encode() for argument in arguments])


if __name__ == "__main__":
    main()
