# SPDX-License-Identifier: Apache-2.0
"""System calls that Python does not offer: bpf(2) on maps and links, perf_event_open(2), openat2(2).

Numbers and layouts are the kernel's user ABI. Every descriptor that comes out of here is close-on-exec: a link that a
child inherits would keep its probes alive after us. Errors are OSError with the call's name in place of a file name.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import struct
import time
from pathlib import Path

_SYSCALLS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "openat2": 437},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "openat2": 437},
}

BPF_MAP_LOOKUP_ELEM = 1
BPF_MAP_UPDATE_ELEM = 2
BPF_MAP_DELETE_ELEM = 3
BPF_MAP_GET_NEXT_KEY = 4
BPF_PROG_LOAD = 5
BPF_RAW_TRACEPOINT_OPEN = 17
BPF_LINK_CREATE = 28

BPF_PROG_TYPE_KPROBE = 2
BPF_PERF_EVENT = 41  # enum bpf_attach_type
BPF_TRACE_UPROBE_MULTI = 48
BPF_F_UPROBE_MULTI_RETURN = 1

PERF_TYPE_SOFTWARE = 1
PERF_COUNT_SW_DUMMY = 9
PERF_SAMPLE_TIME = 4
PERF_FLAG_FD_CLOEXEC = 8
PERF_FLAG_PID_CGROUP = 4
PERF_EVENT_IOC_ENABLE = 0x2400
PERF_EVENT_IOC_SET_OUTPUT = 0x2405
PERF_EVENT_IOC_SET_BPF = 0x40042408
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def architecture() -> str:
    """Name of the machine as the packaged objects are named: x86_64 or aarch64, or what it is if we have none."""
    return platform.machine()


def _call(name: str, *arguments: object) -> int:
    numbers = _SYSCALLS.get(architecture())
    if numbers is None:
        raise OSError(38, f"no system call table for {architecture()}", name)
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(numbers[name]), *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return int(result)


def _bpf(command: int, attributes: bytes) -> int:
    # 128 bytes: kernels accept a longer union as long as what they do not know is zero.
    block = ctypes.create_string_buffer(attributes, 128)
    return _call("bpf", ctypes.c_int(command), block, ctypes.c_uint(len(block)))


def _address(block: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(block)


class Map:
    """A map by descriptor (borrowed), with keys and values of fixed size as bytes."""

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.fd = fd
        self._key = ctypes.create_string_buffer(key_size)
        self._next = ctypes.create_string_buffer(key_size)
        self._value = ctypes.create_string_buffer(value_size)

    def _element(self, command: int, target: ctypes.Array[ctypes.c_char]) -> None:
        _bpf(command, struct.pack("<IIQQQ", self.fd, 0, _address(self._key), _address(target), 0))

    def get(self, key: bytes) -> bytes | None:
        self._key.raw = key
        try:
            self._element(BPF_MAP_LOOKUP_ELEM, self._value)
        except FileNotFoundError:
            return None
        return self._value.raw

    def put(self, key: bytes, value: bytes) -> None:
        self._key.raw, self._value.raw = key, value
        self._element(BPF_MAP_UPDATE_ELEM, self._value)

    def remove(self, key: bytes) -> bool:
        self._key.raw = key
        try:
            # Without a value: the kernel refuses what a command does not take.
            _bpf(BPF_MAP_DELETE_ELEM, struct.pack("<IIQ", self.fd, 0, _address(self._key)))
        except FileNotFoundError:
            return False
        return True

    def all_keys(self, limit: int = 1 << 20) -> list[bytes]:
        """All keys, as far as a walk without a lock gives them (a key removed meanwhile restarts the walk)."""
        found: dict[bytes, None] = {}
        attributes = struct.pack("<IIQQ", self.fd, 0, 0, _address(self._next))
        while len(found) < limit:
            try:
                _bpf(BPF_MAP_GET_NEXT_KEY, attributes)
            except FileNotFoundError:
                break
            key = self._next.raw
            if key in found:
                break
            found[key] = None
            self._key.raw = key
            attributes = struct.pack("<IIQQ", self.fd, 0, _address(self._key), _address(self._next))
        return list(found)


def open_raw_tracepoint(name: str, program: int) -> int:
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(BPF_RAW_TRACEPOINT_OPEN, struct.pack("<QII", _address(text), program, 0))


def link_uprobe_multi(
    program: int, path: str, offsets: list[int], cookies: list[int], pid: int = 0, *, returns: bool = False
) -> int:
    """One link for all offsets of one file; pid 0 is every process that maps it. `returns`: uretprobes of what begins
    there."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    offset_block = ctypes.create_string_buffer(struct.pack(f"<{len(offsets)}Q", *offsets))
    cookie_block = ctypes.create_string_buffer(struct.pack(f"<{len(cookies)}Q", *cookies))
    attributes = struct.pack(
        "<IIIIQQQQIIIi",
        program,
        0,
        BPF_TRACE_UPROBE_MULTI,
        0,
        _address(text),
        _address(offset_block),
        0,
        _address(cookie_block),
        len(offsets),
        BPF_F_UPROBE_MULTI_RETURN if returns else 0,
        pid,
        0,
    )
    return _bpf(BPF_LINK_CREATE, attributes)


def filters_by_process() -> bool:
    """The pid of a uprobe_multi link was one thread until Linux 6.10 (and 6.9.5, 6.6.35: not told apart here)."""
    return kernel_version() >= (6, 10)


def kernel_version() -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def supports_uprobe_multi() -> bool:
    """Linux 6.6 and later: a program of that attach type loads, and a link for a folder fails as "not a file"."""
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
    instructions = ctypes.create_string_buffer(code)
    license_text = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", BPF_PROG_TYPE_KPROBE, 2, _address(instructions), _address(license_text))
    attributes = attributes.ljust(68, b"\0") + struct.pack("<I", BPF_TRACE_UPROBE_MULTI)
    try:
        program = _bpf(BPF_PROG_LOAD, attributes)
    except OSError:
        return False
    try:
        os.close(link_uprobe_multi(program, "/", [0], [0]))
    except OSError as error:
        return error.errno == 9  # EBADF: it understood, and "/" is no regular file
    finally:
        os.close(program)
    return True


def _perf_attributes(
    kind: int, config: int, flags: int, wakeup: int, config1: int = 0, config2: int = 0, *, timed: bool = False
) -> bytes:
    sample = PERF_SAMPLE_TIME if timed else 0
    head = struct.pack("<IIQQQQQIIQQ", kind, 112, config, 0, sample, 0, flags, wakeup, 0, config1, config2)
    return (head.ljust(92, b"\0") + struct.pack("<i", time.CLOCK_MONOTONIC if timed else 0)).ljust(112, b"\0")


def uprobe_type() -> int:
    return int(Path("/sys/bus/event_source/devices/uprobe/type").read_text())


def attach_uprobe(kind: int, program: int, path: str, offset: int, cookie: int, pid: int = -1) -> list[int]:
    """A perf-event uprobe: the descriptors to hold. kind: uprobe_type(). A cookie needs Linux 5.15; 0 asks for none."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    block = ctypes.create_string_buffer(_perf_attributes(kind, 0, 0, 1, _address(text), offset), 112)
    event = _call(
        "perf_event_open",
        block,
        ctypes.c_int(pid),
        ctypes.c_int(-1 if pid > 0 else 0),
        ctypes.c_int(-1),
        ctypes.c_ulong(PERF_FLAG_FD_CLOEXEC),
    )
    try:
        if cookie:
            link = _bpf(BPF_LINK_CREATE, struct.pack("<IIIIQ", program, event, BPF_PERF_EVENT, 0, cookie))
            descriptors = [link, event]
        else:
            _ioctl(event, PERF_EVENT_IOC_SET_BPF, program)
            descriptors = [event]
        _ioctl(event, PERF_EVENT_IOC_ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return descriptors


def _ioctl(fd: int, request: int, argument: int) -> None:
    ctypes.set_errno(0)
    if _libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(request), ctypes.c_ulong(argument)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "ioctl")


def open_mapping_event(pid: int, cpu: int, *, inherit: bool, cgroup: bool = False) -> int:
    """A perf event that only reports executable mappings of a task (pid), a cgroup (pid is its descriptor) or, with
    pid -1, of the CPU. Each record ends with its time on CLOCK_MONOTONIC."""
    # mmap, mmap2, and a wakeup counted in bytes: one counted in events counts samples only, and there are none.
    flags = 1 << 8 | 1 << 23 | 1 << 14
    flags |= 1 << 18 | 1 << 25  # sample_id_all, use_clockid
    if inherit:
        flags |= 1 << 1
    attributes = _perf_attributes(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY, flags, 1, timed=True)
    block = ctypes.create_string_buffer(attributes, 112)
    open_flags = PERF_FLAG_FD_CLOEXEC | (PERF_FLAG_PID_CGROUP if cgroup else 0)
    return _call(
        "perf_event_open",
        block,
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(-1),
        ctypes.c_ulong(open_flags),
    )


def redirect_mapping_event(event: int, to: int) -> None:
    _ioctl(event, PERF_EVENT_IOC_SET_OUTPUT, to)


class PerfRing:
    """The mapped ring of a perf event, read as (type, body) records. `lost` counts what the kernel says it dropped."""

    PAGES = 16  # 64 KiB: some 500 mappings between two looks

    def __init__(self, event: int) -> None:
        self._page = mmap.PAGESIZE
        self._size = self.PAGES * self._page
        self._map = mmap.mmap(event, self._size + self._page)
        self.lost = 0

    def read(self) -> list[tuple[int, bytes]]:
        # x86 and the interpreter's own work order the loads; on arm64 the kernel's store-release of data_head is
        # paired with the barrier that the system call of poll() is.
        (head,) = struct.unpack_from("<Q", self._map, 1024)
        (tail,) = struct.unpack_from("<Q", self._map, 1032)
        records = []
        while tail < head:
            at = tail % self._size
            kind, _, size = struct.unpack("<IHH", self._slice(at, 8))
            if size < 8:
                break
            records.append((kind, self._slice(at + 8, size - 8)))
            if kind == 2:  # PERF_RECORD_LOST: id, lost
                self.lost += struct.unpack_from("<QQ", records[-1][1])[1]
            tail += size
        struct.pack_into("<Q", self._map, 1032, tail)
        return records

    def _slice(self, at: int, size: int) -> bytes:
        at %= self._size
        first = self._map[self._page + at : self._page + min(at + size, self._size)]
        return first if len(first) == size else first + self._map[self._page : self._page + size - len(first)]

    def close(self) -> None:
        self._map.close()


def open_in_root(root: int, path: str) -> int:
    """Opens a regular file for reading below a folder, symbolic links resolved inside it: what a container's link
    names is never a file of the host."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    how = ctypes.create_string_buffer(
        struct.pack("<QQQ", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), 24
    )
    return _call("openat2", ctypes.c_int(root), text, how, ctypes.c_size_t(24))


def clock_base_ns() -> int:
    """Unix nanoseconds at monotonic zero: the narrowest of a few readings."""
    best = min(_clock_pair() for _ in range(8))
    return best[1]


def _clock_pair() -> tuple[int, int]:
    before = time.monotonic_ns()
    unix = time.time_ns()
    after = time.monotonic_ns()
    return after - before, unix - (before + after) // 2
