# SPDX-License-Identifier: Apache-2.0
"""Which files a command will map at its start: its executable, a script's interpreter, and their needed libraries.

Follows what ld.so(8) does with LD_PRELOAD, RPATH, LD_LIBRARY_PATH, RUNPATH, /etc/ld.so.cache and the default folders,
without running anything. An answer that is wrong costs only a head start: what is really mapped is seen when it is.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from oisp_sensor.capture import elf

_CACHE = Path("/etc/ld.so.cache")
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_DEFAULTS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_MAX_FILES = 512
_MAX_SCRIPTS = 4  # what the kernel follows of #! in a row
_MAX_CACHE = 16 << 20


def mapped_at_start(file: str, env: Mapping[str, str], cwd: str | None = None) -> list[str]:
    """Existing files, the executable first; empty when it is nothing that can be read."""
    search = _Search(env, cwd or str(Path.cwd()))
    executable = _interpreter(search.absolute(file))
    if executable is None:
        return []
    search.follow(executable)
    for name in re.split(r"[: ]", env.get("LD_PRELOAD", "")):
        if name:
            search.need(name, [])
    return list(search.found)


def likely_libraries(file: str, env: Mapping[str, str]) -> list[str]:
    """Copies of libssl that the command may map later (Python does so at `import ssl`): beside it and on its paths."""
    folders = [str(Path(file).resolve().parent.parent / "lib")]
    folders += [p for p in re.split("[:;]", env.get("LD_LIBRARY_PATH", "")) if p]
    found = [str(path) for folder in folders for path in sorted(Path(folder).glob("libssl*.so*"))[:8]]
    for name, paths in read_cache(_CACHE).items():
        if name.startswith("libssl"):
            found += paths
    return list(dict.fromkeys(found))


def _interpreter(path: str) -> str | None:
    """The ELF file that runs: of a script, what its first line names."""
    for _ in range(_MAX_SCRIPTS):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            head = os.read(fd, 256) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
        if not head.startswith(b"#!"):
            return path
        words = head[2:].split(b"\n", 1)[0].split()
        if not words:
            return None
        path = os.fsdecode(words[0])
        if Path(path).name == "env" and len(words) > 1:
            path = _on_path(os.fsdecode(words[-1])) or path
    return None


def _on_path(name: str) -> str | None:
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(folder) / name
        if candidate.is_file():
            return str(candidate)
    return None


class _Search:
    def __init__(self, env: Mapping[str, str], cwd: str) -> None:
        self._cwd = cwd
        self._library_path = [p for p in re.split("[:;]", env.get("LD_LIBRARY_PATH", "")) if p]
        self._cache: dict[str, list[str]] | None = None
        self.found: dict[str, None] = {}

    def absolute(self, path: str) -> str:
        return str(Path(self._cwd) / path)

    def follow(self, path: str) -> None:
        """The file and, breadth first, what it needs."""
        todo = [path]
        while todo and len(self.found) < _MAX_FILES:
            path = todo.pop(0)
            if path in self.found:
                continue
            self.found[path] = None
            dynamic = _dynamic(path)
            if dynamic is None:
                continue
            origin = str(Path(path).resolve().parent)
            before = [] if dynamic.runpath else _folders(dynamic.rpath, origin)
            after = _folders(dynamic.runpath, origin)
            for name in dynamic.needed:
                answer = self._locate(name, before, after)
                if answer:
                    todo.append(answer)

    def need(self, name: str, folders: list[str]) -> None:
        answer = self._locate(name, folders, [])
        if answer:
            self.follow(answer)

    def _locate(self, name: str, before: list[str], after: list[str]) -> str | None:
        if "/" in name:
            return self.absolute(name)
        for folder in [*before, *self._library_path, *after]:
            candidate = Path(self._cwd) / folder / name
            if candidate.is_file():
                return str(candidate)
        if self._cache is None:
            self._cache = read_cache(_CACHE)
        for path in [*self._cache.get(name, []), *(f"{folder}/{name}" for folder in _DEFAULTS)]:
            if Path(path).is_file() and _dynamic(path) is not None:
                return path
        return None


def _folders(text: str, origin: str) -> list[str]:
    return [p.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for p in text.split(":") if p]


def _dynamic(path: str) -> elf.Dynamic | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        with elf.Elf(fd) as file:
            return file.dynamic()
    except (elf.ElfError, OSError):
        return None
    finally:
        os.close(fd)


def read_cache(file: Path) -> dict[str, list[str]]:
    """Library name to paths, of the cache format of glibc since 2.2; empty for anything else."""
    try:
        if file.stat().st_size > _MAX_CACHE:
            return {}
        content = file.read_bytes()
    except OSError:
        return {}
    start = content.find(_CACHE_MAGIC)
    if start < 0 or len(content) < start + 48:
        return {}
    (count,) = struct.unpack_from("<I", content, start + 20)
    found: dict[str, list[str]] = {}
    for i in range(min(count, 65536)):
        at = start + 48 + 24 * i
        if at + 24 > len(content):
            break
        _, key, value = struct.unpack_from("<iII", content, at)
        name, path = _text(content, start + key), _text(content, start + value)
        if name and path:
            found.setdefault(name, []).append(path)
    return found


def _text(content: bytes, at: int) -> str:
    end = content.find(b"\0", at, at + 4096)
    return os.fsdecode(content[at:end]) if 0 <= at < end else ""
