# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor doctor`: can this machine capture, what would be seen of a command, process or file, what is missing.

Nothing is attached and nothing is changed. Exit code 0 when capture can run (and, with a target, when something of it
would be seen), else 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from oisp_core.errors import ConfigError, printable
from oisp_sensor import version

if TYPE_CHECKING:
    from oisp_sensor.capture.probe import Check
    from oisp_sensor.capture.targets import Target

_LATER = "if it maps it later"
# What is not seen, whatever the machine can do.
OUT_OF_REACH = (
    "TLS stacks other than OpenSSL, BoringSSL, GnuTLS and Go's; rustls, NSS, Java and others are named where they are",
    "QUIC and HTTP/3, kernel TLS and SSL_sendfile (counted as a gap), plaintext that goes through io_uring",
    "what a program reads and writes through OpenSSL's BIO_f_ssl instead of SSL_read and SSL_write",
    "processes that another program starts on the command's behalf (docker, systemd-run): use --cgroup or --all",
)


@dataclass
class Library:
    """A file that a target maps, and what can be probed in it."""

    path: str
    usable: bool
    functions: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    error: str = ""
    when: str = ""
    foreign: str = ""  # a stack that is known by name alone


@dataclass
class Seen:
    """The answer for one target."""

    target: str
    kind: str
    files: int
    libraries: list[Library]
    notes: list[str]

    @property
    def usable(self) -> bool:
        return any(library.usable for library in self.libraries)


class Doctor:
    name = "doctor"
    help = "what can be captured here"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.description = (
            "Say what this machine gives capture, what is missing and how to get it; and, of a command, a running "
            "process or a file, which TLS library it uses and whether it would be seen. Attaches nothing."
        )
        parser.add_argument("target", metavar="CMD|PID|FILE", nargs="?", help="whose traffic would be captured")
        parser.add_argument("--json", action="store_true", help="as one JSON object")
        parser.add_argument("--systemd", action="store_true", help="print a systemd unit and do nothing else")

    def run(self, args: argparse.Namespace) -> int:
        if args.systemd:
            from oisp_sensor.cli._systemd import unit

            print(unit(_program()), end="")
            return 0
        from oisp_sensor.capture.probe import probe, ready

        seen = None if args.target is None else _look(args.target)
        checks = probe()
        good = ready(checks) and (seen is None or seen.usable)
        if args.json:
            print(msgspec.json.format(msgspec.json.encode(_document(checks, ready(checks), seen)), indent=2).decode())
        else:
            _print(checks, ready(checks), seen)
        return 0 if good else 1


def _program() -> str:
    """Where this program lies, as far as that can be told."""
    called = Path(sys.argv[0])
    if called.name == "oisp-sensor" and called.is_absolute():
        return str(called)
    beside = Path(sys.executable).with_name("oisp-sensor")
    return str(beside) if beside.exists() else f"{sys.executable} -m oisp_sensor"


# ---- one target ----


def _look(target: str) -> Seen:
    if sys.platform != "linux":
        raise ConfigError(key="doctor", message="targets can be looked at on Linux only")
    if target.isdecimal():
        return _process(int(target))
    path = Path(target)
    if "/" in target or path.is_file():
        if not path.is_file():
            raise ConfigError(target, message="there is no such file")
        if not os.access(path, os.X_OK) or ".so" in path.name:
            return _file(target)
        return _command(str(path))
    from oisp_sensor.capture import SpawnError
    from oisp_sensor.capture.spawn import find_command

    try:
        return _command(find_command(target, dict(os.environ)))
    except SpawnError as error:
        raise ConfigError(key=target, expected="a command, a process id or a file", got="none of these") from error


def _process(pid: int) -> Seen:
    from oisp_sensor.capture.targets import executable_mappings, open_mapping

    if not Path(f"/proc/{pid}").exists():
        raise ConfigError(key=str(pid), message="there is no such process")
    mappings = executable_mappings(pid)
    if not mappings and not os.access(f"/proc/{pid}/maps", os.R_OK):
        raise ConfigError(key=str(pid), message="its mappings cannot be read", hint="run as root")
    libraries: dict[tuple[int, int], Library] = {}
    for mapping in mappings:
        fd = open_mapping(mapping)
        if fd is None:
            continue
        try:
            info = os.fstat(fd)
            if (info.st_dev, info.st_ino) not in libraries:
                found = _examined(fd, mapping.path, "mapped now")
                if found is not None:
                    libraries[info.st_dev, info.st_ino] = found
        finally:
            os.close(fd)
    notes = ["connections that are open already would be joined midway"] if libraries else []
    return Seen(str(pid), "process", len(mappings), list(libraries.values()), notes)


def _command(file: str) -> Seen:
    from oisp_sensor.capture.resolve import likely_libraries, mapped_at_start

    start = mapped_at_start(file, os.environ)
    alone = len(start) <= 1  # linked statically: it loads nothing later
    later = [] if alone else [path for path in likely_libraries(file, os.environ) if path not in start]
    files = [(path, "mapped at its start") for path in start] + [(path, _LATER) for path in later]
    # What it may map later is worth a line only where that would be seen.
    libraries = [found for found in _opened(files) if found.usable or found.when != _LATER or not found.foreign]
    notes = ["links no shared library: only TLS functions of its own could be probed"] if alone else []
    if not alone and not any(library.usable and library.when == "mapped at its start" for library in libraries):
        notes.append("maps no TLS library at its start; one that it loads later (an interpreter does) is probed then")
    return Seen(file, "command", len(start), libraries, notes)


def _file(path: str) -> Seen:
    return Seen(path, "file", 1, list(_opened([(path, "")])), [])


def _opened(files: Iterable[tuple[str, str]]) -> Iterator[Library]:
    """Each file once, by whatever name it comes first."""
    seen = set()
    for path, when in files:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            yield Library(path, False, error=f"cannot be opened: {error.strerror}", when=when)
            continue
        try:
            info = os.fstat(fd)
            found = None if (info.st_dev, info.st_ino) in seen else _examined(fd, path, when)
            seen.add((info.st_dev, info.st_ino))
        finally:
            os.close(fd)
        if found is not None:
            yield found


def _examined(fd: int, path: str, when: str) -> Library | None:
    """None: it exports nothing that would be probed."""
    from oisp_sensor.capture.targets import examine

    target: Target | None = examine(fd, path)
    if target is None:
        return None
    usable = target.usable and not target.error
    foreign = target.runtime if not target.functions and not target.refused else ""
    return Library(
        path, usable, list(target.functions), dict(target.refused), target.build_id, target.error, when, foreign
    )


# ---- the answer ----


def _document(checks: list[Check], ready: bool, seen: Seen | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": version(),
        "ready": ready,
        "checks": [asdict(check) for check in checks],
        "kept": {name: reason for name, (_, reason) in _kept(checks).items()},
        "out_of_reach": list(OUT_OF_REACH),
    }
    if seen is not None:
        document["target"] = {**asdict(seen), "usable": seen.usable}
    return document


def _print(checks: list[Check], ready: bool, seen: Seen | None) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = "ok     " if check.ok else ("MISSING" if check.required else "without")
        print(f"{mark}  {check.name:<{width}}  {printable(check.found)}")
        if not check.ok and check.remedy:
            print(f"{'':<9}{'':<{width}}  -> {printable(check.remedy)}")
    print("\nCapture can run." if ready else "\nCapture cannot run: see MISSING. Everything else works.")
    if seen is not None:
        _print_target(seen)
    if sys.platform == "linux":
        _print_power(checks)
    print("\nNot seen by this version:")
    for line in OUT_OF_REACH:
        print(f"  {line}")


def _kept(checks: list[Check]) -> dict[str, tuple[int, str]]:
    """What the loader keeps while it captures."""
    if sys.platform != "linux":
        return {}
    from oisp_sensor.confine import KEPT, KEPT_FOR_CALLER, KEPT_WITHOUT_MULTI
    from oisp_sensor.export.files import owner_of_files

    multi = any(check.name == "uprobe_multi" and check.ok for check in checks)
    found = KEPT if multi else KEPT | KEPT_WITHOUT_MULTI
    return found | KEPT_FOR_CALLER if owner_of_files() is not None else found


def _print_power(checks: list[Check]) -> None:
    from oisp_sensor.confine import USER, least_user

    print("\nWhile it captures, the process that attaches probes and reads no traffic keeps:")
    kept = _kept(checks)
    width = max(map(len, kept))
    for name, (_, reason) in kept.items():
        print(f"  {name:<{width}}  {reason}")
    user = least_user()
    name = "this user: changing it needs CAP_SETUID and CAP_SETGID" if user is None else user.name
    own = "" if user is not None and user.name == USER else f" (an account `{USER}` would be used if there were one)"
    print(f"The process that reads traffic keeps nothing and runs as {name}{own}.")


def _print_target(seen: Seen) -> None:
    files = f"{seen.files} file{'' if seen.files == 1 else 's'} looked at"
    print(f"\n{seen.kind} {printable(seen.target)} ({files})")
    for library in seen.libraries:
        when = f"  [{library.when}]" if library.when else ""
        print(f"  {'probed' if library.usable else 'NOT probed'}: {printable(library.path)}{when}")
        if library.functions:
            print(f"    functions: {', '.join(library.functions)}")
        for name, reason in library.refused.items():
            print(f"    refused: {name}: {printable(reason)}")
        if library.error:
            print(f"    {printable(library.error)}")
    if not seen.libraries:
        print("  no TLS library that is known: nothing of it would be seen")
    for note in seen.notes:
        print(f"  {note}")


command = Doctor()
