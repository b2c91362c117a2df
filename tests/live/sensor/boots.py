# SPDX-License-Identifier: Apache-2.0
"""Workers that misbehave: what the real sensor starts in place of its own worker, in a process of the test.

Each is the real worker with one thing changed after it gave up its power, or in the way it reads.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# The sensor's command line, with another start of the worker.
SENSOR = """
import sys
import oisp_sensor.supervisor as supervisor
from oisp_sensor.cli import main
supervisor.BOOT = sys.argv[1]
sys.exit(main(sys.argv[2:]))
"""

_BEGIN = """
import sys; sys.path[:0] = [p for p in sys.argv[2:] if p not in sys.path]
import oisp_sensor.worker as worker
"""
_END = "\nworker.main(int(sys.argv[1]))\n"

# Tries everything that a filter can forbid, and tells what came of it.
FORBIDDEN = """
import ctypes, json, mmap, os, socket
from oisp_sensor import border, seccomp
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    answer = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if answer < 0 else 0
def act(function):
    try:
        function()
    except OSError as error:
        return error.errno
    return 0
def tries(self):
    known = seccomp.numbers()
    # uretprobe and uprobe of x86_64 pass every filter by the kernel's design, and kill who calls them by hand.
    numbers = set(range(480)) - set(known.values()) - {335, 336}
    found = {f"call {n}": call(n, -1, 0, 0, 0, 0, 0) for n in sorted(numbers)}
    parent = os.getppid()
    found |= {
        "open": act(lambda: os.open("/etc/passwd", os.O_RDONLY)),
        "create": act(lambda: os.open("/tmp/never", os.O_WRONLY | os.O_CREAT)),
        "stat": act(lambda: os.stat("/")),
        "list": act(lambda: os.listdir("/")),
        "fork": act(os.fork),
        "execute": act(lambda: os.execv("/bin/true", ["true"])),
        "socket": act(lambda: socket.socket()),
        "socketpair": act(lambda: socket.socketpair()),
        "signal the loader": act(lambda: os.kill(parent, 0)),
        "become root": act(lambda: os.setuid(0)),
        "own descriptor": act(lambda: os.dup(1)),
        "executable memory": act(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)),
        "type into a terminal": call(known["ioctl"], 1, 0x5412, 0),
        "set a terminal": call(known["ioctl"], 1, 0x5402, 0),
        "copy a descriptor": call(known["fcntl"], 1, 0, 0),
    }
    allowed = {name: answer for name, answer in found.items() if answer != 1}
    self._loader.say(border.Said(json.dumps({"tried": len(found), "allowed": allowed})))
    return work(self)
work = worker.Worker._work
worker.Worker._work = tries
"""

# Dies of every record that holds the word.
FRAGILE = """
import ctypes, mmap
import oisp_sensor.pipeline as pipeline
from oisp_sensor import page as slots
class Fragile:
    def __init__(self, ring, engine, raw_fd, *, page, resumed):
        self._feed = Feed(ring, engine, raw_fd, page=page, resumed=resumed)
        self._ring, self._page, self._data = ring, page, seen[0]
    def consume(self, budget):
        at = mmap.PAGESIZE + (self._ring.position & (self._ring.size - 1))
        size = int.from_bytes(self._data[at : at + 4], "little") & 0x3FFFFFFF
        if self._ring.pending and b"KILL-THE-READER" in self._data[at + 8 : at + 8 + size]:
            self._page[slots.POSITION] = self._ring.position
            ctypes.string_at(0)
        return self._feed.consume(1)
    def __getattr__(self, name):
        return getattr(self._feed, name)
def mapped(fd, size):
    seen.append(mmap.mmap(fd, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE))
    return RingBuffer(fd, size)
seen = []
Feed, RingBuffer = pipeline.Feed, worker.RingBuffer
pipeline.Feed, worker.RingBuffer = Fragile, mapped
"""

# Dies as soon as it works.
SHORT_LIVED = """
import ctypes
worker.Worker._work = lambda self: ctypes.string_at(0)
"""

# Says what is no message of the protocol, again and again.
LIAR = """
from oisp_sensor import border
def lie(self):
    self._loader._channel.send(b"\\\\xff" * 100)
    while self._loader.next(1.0) is not None or not self._loader.gone:
        pass
worker.Worker._work = lie
"""


def boot(change: str) -> str:
    return _BEGIN + change + _END


def sensor(change: str) -> list[str]:
    """`oisp-sensor` whose worker is changed so."""
    return [sys.executable, "-c", SENSOR, boot(change)]


def said(stderr: str) -> dict[str, Any]:
    """What FORBIDDEN told."""
    line = next(line for line in stderr.splitlines() if '{"tried' in line)
    found: dict[str, Any] = json.loads(line[line.index("{") :])
    return found
