# SPDX-License-Identifier: Apache-2.0
"""Starting the command that is to be watched: held before its exec, and otherwise as if nobody watched.

The child is forked, waits at a pipe until the parent has put it into the scope, then becomes the command. What it
inherits is what this process was started with: standard streams, limits, signal mask, inherited descriptors. What this
interpreter changed for itself (ignored SIGPIPE and SIGXFSZ) is changed back. If the parent dies first, the command does
not run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oisp_sensor.capture.errors import SpawnError

# Signals that somebody may send to us and mean the command.
FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT")
)
# The terminal sends these to its whole foreground group: the command has them already.
_OF_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH})
_STATUS = struct.Struct("<i")
# Read when this module is imported: before anybody here handles a signal.
_IGNORED_AT_START = frozenset(n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN)
_MASK_AT_START = signal.pthread_sigmask(signal.SIG_BLOCK, ())


@dataclass(frozen=True)
class Identity:
    """Who the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    name: str


def calling_user() -> Identity | None:
    """The user behind sudo, or None: then the command runs as this process does."""
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if os.geteuid() != 0 or uid == 0:
        return None
    return identity(uid, gid)


def identity(uid: int, gid: int | None = None) -> Identity:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        group = uid if gid is None else gid
        return Identity(uid, group, (group,), "/", str(uid))
    group = entry.pw_gid if gid is None else gid
    return Identity(uid, group, tuple(os.getgrouplist(entry.pw_name, group)), entry.pw_dir, entry.pw_name)


class Spawned:
    """A child that waits at the gate until release()."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], cwd: str | None, user: Identity | None) -> None:
        if not argv:
            raise SpawnError("no command was given", 127)
        self.argv = list(argv)
        self.file = find_command(argv[0], env)
        self._exit: int | None = None
        if user is not None:
            env = {**env, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}
        gate_read, self._gate = os.pipe2(os.O_CLOEXEC)
        self._status, status_write = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            _become(self.file, self.argv, env, cwd, user, gate_read, status_write)
        os.close(gate_read)
        os.close(status_write)

    def release(self) -> None:
        """Lets it exec. Raises SpawnError when that fails; the child is then gone."""
        os.write(self._gate, b"x")
        os.close(self._gate)
        self._gate = -1
        answer = os.read(self._status, _STATUS.size)
        os.close(self._status)
        self._status = -1
        if len(answer) == _STATUS.size:
            self.wait()
            number = _STATUS.unpack(answer)[0]
            raise SpawnError(
                f"{self.argv[0]}: cannot be executed: {os.strerror(number)}", 127 if number == errno.ENOENT else 126
            )

    def abandon(self) -> None:
        """Before release(): the command does not run."""
        for name in ("_gate", "_status"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)
        self.wait()

    def poll(self) -> int | None:
        """Its exit code as a shell gives it (128 + signal), or None while it runs."""
        if self._exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit = exit_code(status)
        return self._exit

    def wait(self) -> int:
        if self._exit is None:
            self._exit = exit_code(os.waitpid(self.pid, 0)[1])
        return self._exit

    def forward(self, number: int) -> None:
        """Passes a signal on, unless the terminal gave it to the command as well."""
        if number in _OF_TERMINAL and _in_foreground():
            return
        if self._exit is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _in_foreground() -> bool:
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)


def find_command(name: str, env: dict[str, str]) -> str:
    """The file that execvp would take, by the command's own PATH."""
    if "/" in name:
        return name
    for folder in env.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(folder or ".") / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise SpawnError(f"{name}: command not found", 127)


def _become(
    file: str, argv: list[str], env: dict[str, str], cwd: str | None, user: Identity | None, gate: int, status: int
) -> None:
    """In the child: waits, then execs. Never returns."""
    try:
        if os.read(gate, 1) != b"x":
            os._exit(125)
        if user is not None:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        if cwd is not None:
            os.chdir(cwd)
        _restore_signals()
        os.execve(file, argv, env)  # noqa: S606 (no shell is the point)
    except OSError as error:
        os.write(status, _STATUS.pack(error.errno or errno.EIO))
    finally:
        os._exit(126)


def _restore_signals() -> None:
    """Handlers become defaults at exec by themselves, also of what was ignored before them; and what Python ignores at
    its start would stay ignored."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED_AT_START - {signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _MASK_AT_START)
