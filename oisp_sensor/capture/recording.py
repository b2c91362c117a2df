# SPDX-License-Identifier: Apache-2.0
"""Recordings: a header, then the records of oisp/record.h as they left the ring.

A recording holds plaintext whatever the content policy is. Files are made 0600, never through a symbolic link, never
over an existing file. The reader takes nothing on trust: every mistake in a file is a RecordingError that names the
file, the offset and what was expected there.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from oisp_core.errors import RecordingError
from oisp_sensor.capture import kernel

MAGIC = b"OISIOSP\x01"
VERSION = 1
HEADER = struct.Struct("<8sIIQII")
RECORD = struct.Struct("<IHH")
CONTEXT = struct.Struct("<IHHQII")
_MAX_HEADER = 1 << 20
_MAX_RECORD = 1 << 20  # a data record has at most 16,472 bytes; a context as much as its JSON members
_ALIGN = 8
KIND_CONTEXT = 7


def header(info: dict[str, Any], clock_base_ns: int | None = None) -> bytes:
    """The beginning of a recording. `info` (host, scope, tool) goes in as JSON."""
    text = json.dumps(info, separators=(",", ":")).encode()
    size = HEADER.size + len(text)
    whole = -(-size // _ALIGN) * _ALIGN
    base = kernel.clock_base_ns() if clock_base_ns is None else clock_base_ns
    return HEADER.pack(MAGIC, VERSION, whole, base, len(text), 0) + text + bytes(whole - size)


def create(path: str | os.PathLike[str], info: dict[str, Any], clock_base_ns: int | None = None) -> int:
    """Makes a new recording and writes its header; the descriptor is for a Feed, and the caller's to close."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_APPEND
    fd = os.open(path, flags, 0o600)
    try:
        _write_all(fd, header(info, clock_base_ns))
    except OSError:
        os.close(fd)
        raise
    return fd


def context_record(conn: int, members: bytes) -> bytes:
    """A CONTEXT record: what set_context() is given, kept for a replay."""
    size = CONTEXT.size + len(members)
    whole = -(-size // _ALIGN) * _ALIGN
    return CONTEXT.pack(whole, KIND_CONTEXT, 0, conn, len(members), 0) + members + bytes(whole - size)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Recording:
    """An opened recording, mapped; iterating gives one memoryview per record, valid until close()."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER.size:
                raise RecordingError(self.path, 0, f"a header of {HEADER.size} bytes", f"{size} bytes")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        try:
            self._read_header()
        except RecordingError:
            self.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._view.release()
        with contextlib.suppress(BufferError):  # a record is still held, by a traceback: the map goes with it
            self._map.close()

    def _read_header(self) -> None:
        magic, version, size, self.clock_base_ns, json_size, _ = HEADER.unpack_from(self._view)
        if magic != MAGIC:
            raise RecordingError(self.path, 0, f"the magic {MAGIC!r}", magic)
        if version != VERSION:
            raise RecordingError(self.path, 8, f"version {VERSION}", version)
        if size % _ALIGN or not HEADER.size <= size <= min(_MAX_HEADER, len(self._view)):
            raise RecordingError(self.path, 12, "a header size within the file, multiple of 8", size)
        if HEADER.size + json_size > size:
            raise RecordingError(self.path, 24, f"a JSON size of at most {size - HEADER.size}", json_size)
        text = bytes(self._view[HEADER.size : HEADER.size + json_size])
        try:
            self.info = json.loads(text) if text else {}
        except ValueError as error:
            raise RecordingError(self.path, HEADER.size, "a JSON object", str(error)) from error
        self.header_size = size

    def __iter__(self) -> Iterator[memoryview]:
        """Raises RecordingError at the first record that is cut or malformed; those before it were given."""
        at, end = self.header_size, len(self._view)
        while at < end:
            if end - at < RECORD.size:
                raise RecordingError(self.path, at, f"a record's head of {RECORD.size} bytes", f"{end - at} bytes")
            size = RECORD.unpack_from(self._view, at)[0]
            if size % _ALIGN or not RECORD.size <= size <= _MAX_RECORD:
                raise RecordingError(self.path, at, f"a record size from 8 to {_MAX_RECORD}, multiple of 8", size)
            if size > end - at:
                raise RecordingError(self.path, at, f"a record of {size} bytes", f"{end - at} bytes before the end")
            yield self._view[at : at + size]
            at += size
