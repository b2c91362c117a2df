# SPDX-License-Identifier: Apache-2.0
"""ELF files are hostile too: each is read in a process of its own that has one read-only descriptor and a deadline.

The loader starts one interpreter (`-I`) that imports what reads ELF, gives up its user and capabilities, and then forks
a child per file, some ahead of need. The child gives up its system calls as well (seccomp.HELPER), waits at a socket of
its own for the file, answers with one packet and ends. The parent reads no file and ends each child when the loader is
done with it, in time or not. What comes back is taken for what it is, the
word of a process that a file may have taken over: bounded, typed, and only offsets inside that file's executable
segments are used.
"""

from __future__ import annotations

import array
import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from typing import Any, NoReturn

import msgspec

from oisp_sensor import seccomp
from oisp_sensor.confine import confine, least_user
from oisp_sensor.start import start_confined

__all__ = ["Examiner", "main"]

BOOT = (
    "import sys; sys.path[:0] = [p for p in sys.argv[2:] if p not in sys.path]; "
    "from oisp_sensor.examiner import main; main(int(sys.argv[1]))"
)
SECONDS = 5.0  # for one file: a Node executable with its 300,000 symbols takes 0.2
MEMORY = 1 << 30
ANSWER_BYTES = 1 << 17
_MOST_PLACES = 4096
_SEGMENTS = 1024
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _EXECUTE = 1, 1
_NUMBER = struct.Struct("<I")
_NONE = b"\xc0"  # MessagePack for None
SPARE = 3  # children that wait for a file


class Examiner:
    """The loader's side. Used by one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self) -> None:
        """It imports while the caller goes on. Where it cannot be started, no file is probed, and each says why."""
        with contextlib.suppress(OSError):
            self._process, self._channel = start_confined(BOOT)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None

    def examine(self, fd: int, path: str) -> Any:
        """What targets.examine() answers, of a file (borrowed) that this process does not read."""
        from oisp_sensor.capture.targets import Target

        info = os.fstat(fd)
        answer = self._ask(fd)
        if answer == b"":
            return None
        target = Target(path, info.st_dev, info.st_ino)
        if answer is None:
            target.error = "could not be examined: no answer in time"
            return target
        try:
            found = msgspec.msgpack.decode(answer, type=Target)
            _check(found, fd)
        except (msgspec.DecodeError, ValueError, OSError) as error:
            target.error = f"could not be examined: {error}"[:200]
            return target
        found.path, found.device, found.inode = path, info.st_dev, info.st_ino
        found.file, found.late, found.missed = -1, 0, 0
        found.mapped, found.held, found.since = {}, {}, {}
        return found

    def _ask(self, fd: int) -> bytes | None:
        """The child's packet; empty: nothing is there to probe; None: it did not answer."""
        try:
            number, child = self._next()
        except (OSError, EOFError, struct.error):
            return None
        with child:
            try:
                rights = array.array("i", (fd,))
                child.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL)
                child.settimeout(SECONDS)
                packet = child.recv(ANSWER_BYTES + 1)
            except OSError:
                packet = b""
        self._done(number)
        if not packet or len(packet) > ANSWER_BYTES:
            return None
        return b"" if packet == _NONE else packet

    def _next(self) -> tuple[int, socket.socket]:
        """A child that waits for its file."""
        if self._channel is None:
            raise EOFError
        self._channel.settimeout(10 * SECONDS)  # while it starts
        packet, fds, _, _ = socket.recv_fds(self._channel, _NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC)
        if len(fds) != 1:
            raise EOFError
        return _NUMBER.unpack(packet)[0], socket.socket(fileno=fds[0])

    def _done(self, number: int) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send(_NUMBER.pack(number), socket.MSG_NOSIGNAL)


def _check(found: Any, fd: int) -> None:
    """Whatever it says, a probe goes only where the file holds code that is mapped to be run."""
    from oisp_sensor.capture.program import GO_NUMBERS

    places = found.plan.places() + found.plan.unknown
    if any(number in GO_NUMBERS for _, number in found.plan.unknown):
        raise ValueError("a uretprobe in Go")
    if len(places) > _MOST_PLACES:
        raise ValueError(f"{len(places)} places to probe")
    code = executable_ranges(fd)
    for offset, _ in places:
        if not any(start <= offset < end for start, end in code):
            raise ValueError("a place outside the executable segments")


def executable_ranges(fd: int) -> list[tuple[int, int]]:
    """Offsets of a file that a loader maps executable, by its program headers; nothing else of it is read."""
    head = os.pread(fd, _EHDR.size, 0)
    if len(head) < _EHDR.size or head[:6] != b"\x7fELF\x02\x01":
        return []
    fields = _EHDR.unpack(head)
    at, size, count = fields[5], fields[9], fields[10]
    if size != _PHDR.size or count > _SEGMENTS or at > 1 << 40:
        return []
    table = os.pread(fd, size * count, at)
    found = []
    for i in range(len(table) // size):
        kind, flags, offset, _, _, in_file, _, _ = _PHDR.unpack_from(table, i * size)
        if kind == _PT_LOAD and flags & _EXECUTE and in_file < 1 << 40 and offset < 1 << 40:
            found.append((offset, offset + in_file))
    return found


# ---- the process that forks, and its children ----


def main(channel: int) -> NoReturn:
    import capstone  # noqa: F401  (its library cannot be opened once this process is confined)

    from oisp_sensor.capture.late import np
    from oisp_sensor.capture.targets import examine

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with open(sys.executable, "rb") as file:  # noqa: PTH123  (what is imported at first use is imported now)
        examine(file.fileno(), "")
    np.isin(np.arange(2), [0])
    user = least_user()
    confine(None if user is None else (user.uid, user.gid), memory_bytes=MEMORY, rules=None)
    end = socket.socket(fileno=channel)
    children: set[int] = set()
    with contextlib.suppress(ConnectionError):  # the loader has gone, maybe before the first child was made
        _serve(end, children)
    for child in children:
        _end(child)
    os._exit(0)


def _serve(end: socket.socket, children: set[int]) -> None:
    """A new child for each that was used, until the loader closes its end."""
    for _ in range(SPARE):
        _fork(end, children)
    while len(packet := end.recv(_NUMBER.size)) == _NUMBER.size:
        number = _NUMBER.unpack(packet)[0]
        if number in children:
            children.remove(number)
            _end(number)
            _fork(end, children)


def _fork(channel: socket.socket, children: set[int]) -> None:
    """One more child, its socket handed to the loader; by the number that the loader knows it by."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            channel.close()
            ours.close()
            _look(theirs)
        children.add(child)
        socket.send_fds(channel, [_NUMBER.pack(child)], [ours.fileno()])


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _look(end: socket.socket) -> NoReturn:
    """In the child: one file, one answer."""
    from oisp_sensor.capture.targets import examine

    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
        seccomp.install(seccomp.HELPER)
        _, fds, _, _ = socket.recv_fds(end, 16, 1)
        if len(fds) == 1:
            answer = msgspec.msgpack.encode(examine(fds[0], ""))
            if len(answer) <= ANSWER_BYTES:
                end.send(answer)
    finally:
        os._exit(0)
