# SPDX-License-Identifier: Apache-2.0
"""libbpf, opened at run time with prototypes of our own: it relocates and loads the packaged CO-RE objects.

Not a binding: only opening an object from memory, the settings before the load, the load, and the descriptors of its
maps and programs. Attaching goes through kernel.py, which needs no particular version of the library.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from pathlib import Path

from oisp_sensor.capture import elf
from oisp_sensor.capture.errors import CaptureError
from oisp_sensor.capture.kernel import BPF_TRACE_UPROBE_MULTI

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_LOG_BYTES = 16 << 20  # the longest log of the verifier; what it refused stands at its end
_LOG_KEPT = 64 << 10
_BUNDLED = Path(__file__).resolve().parents[1] / "_libs"

_PROTOTYPES = {
    "bpf_object__open_mem": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]),
    "bpf_object__load": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_object__close": (None, [ctypes.c_void_p]),
    "bpf_object__find_map_by_name": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "bpf_object__next_map": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
    "bpf_object__find_program_by_name": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "bpf_map__name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "bpf_map__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_map__reuse_fd": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "bpf_map__set_max_entries": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]),
    "bpf_map__initial_value": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]),
    "bpf_program__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_program__set_autoload": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_bool]),
    "bpf_program__set_expected_attach_type": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "libbpf_set_print": (ctypes.c_void_p, [ctypes.c_void_p]),
    "libbpf_version_string": (ctypes.c_char_p, []),
}


class Library:
    """The opened library. One per process: its log callback is global."""

    _opened: Library | None = None

    def __init__(self, path: str) -> None:
        self.path = path
        self.dll = ctypes.CDLL(path, use_errno=True)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self.dll, name)
            function.restype, function.argtypes = result, arguments
        self.version = self.dll.libbpf_version_string().decode().lstrip("v")
        self.log: list[str] = []
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
        self._callback = _PRINT(self._collect)
        self.dll.libbpf_set_print(ctypes.cast(self._callback, ctypes.c_void_p))

    def _collect(self, level: int, text: bytes, arguments: int) -> int:
        if level <= 1:  # LIBBPF_WARN, LIBBPF_INFO; debug is not kept
            block = ctypes.create_string_buffer(_LOG_BYTES)  # untouched pages cost nothing
            self._format(block, len(block), text, arguments)
            self.log.append(block.value[-_LOG_KEPT:].decode(errors="replace").rstrip())
        return 0

    @classmethod
    def open(cls) -> Library:
        """The copy bundled in the wheel, else the system's libbpf.so.1. Raises CaptureError where there is none."""
        if cls._opened is None:
            bundled = sorted(str(p) for p in _BUNDLED.glob("libbpf*.so*"))
            problems = []
            for path in [*bundled, "libbpf.so.1"]:
                try:
                    cls._opened = cls(path)
                    break
                except (OSError, AttributeError) as error:
                    problems.append(str(error))
            else:
                raise CaptureError(
                    "libbpf 1.0 or later cannot be opened (" + "; ".join(problems) + ")",
                    "install it: apt-get install libbpf1, or dnf install libbpf",
                )
        return cls._opened


class Object:
    """One packaged object: opened, adjusted, loaded. Closing it frees programs and maps that no link holds."""

    def __init__(self, image: bytes, name: str) -> None:
        self._lib = Library.open()
        self._image = image  # libbpf reads it until the load
        self._name = name
        self._lib.log.clear()
        self._object = self._lib.dll.bpf_object__open_mem(image, len(image), None)
        if not self._object:
            raise self._failure("cannot be opened")

    def _failure(self, what: str) -> CaptureError:
        """One line for the user; the verifier's whole word is in `detail`."""
        log = "\n".join(self._lib.log)
        told = next((line for line in log.splitlines() if "failed" in line), os.strerror(ctypes.get_errno()))
        return CaptureError(f"BPF object {self._name} {what}: {told.removeprefix('libbpf: ')}", detail=log)

    def _map(self, name: str) -> int:
        handle = self._lib.dll.bpf_object__find_map_by_name(self._object, name.encode())
        if not handle:
            raise CaptureError(f"BPF object {self._name} has no map {name}")
        return int(handle)

    def resize(self, name: str, entries: int) -> None:
        self._lib.dll.bpf_map__set_max_entries(self._map(name), entries)

    def share(self, name: str, fd: int) -> None:
        """Uses another object's map under this name; only before load()."""
        if self._lib.dll.bpf_map__reuse_fd(self._map(name), fd):
            raise self._failure(f"cannot share the map {name}")

    def settings(self, symbol: str, value: bytes) -> None:
        """Writes a constant of .rodata; only before load()."""
        offset, size = elf.object_symbol(self._image, symbol)
        if size != len(value):
            raise CaptureError(f"BPF object {self._name}: {symbol} has {size} bytes, not {len(value)}: a stale object")
        total = ctypes.c_size_t()
        handle = self._lib.dll.bpf_object__next_map(self._object, None)
        while handle and not self._lib.dll.bpf_map__name(handle).endswith(b".rodata"):
            handle = self._lib.dll.bpf_object__next_map(self._object, handle)
        block = self._lib.dll.bpf_map__initial_value(handle, ctypes.byref(total)) if handle else None
        if not block or offset + size > total.value:
            raise CaptureError(f"BPF object {self._name} has no settings block")
        ctypes.memmove(block + offset, value, size)

    def _program(self, name: str) -> int | None:
        return self._lib.dll.bpf_object__find_program_by_name(self._object, name.encode()) or None

    def make_multi(self, *names: str) -> None:
        """Loads these programs for uprobe_multi links (they then take no perf event)."""
        for name in names:
            self._lib.dll.bpf_program__set_expected_attach_type(self._program(name), BPF_TRACE_UPROBE_MULTI)

    def leave_out(self, name: str) -> None:
        handle = self._program(name)
        if handle:
            self._lib.dll.bpf_program__set_autoload(handle, False)

    def load(self) -> None:
        if self._lib.dll.bpf_object__load(self._object):
            raise self._failure("was refused by the kernel")
        self._image = b""

    def map_fd(self, name: str) -> int:
        return int(self._lib.dll.bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int | None:
        handle = self._program(name)
        return int(self._lib.dll.bpf_program__fd(handle)) if handle else None

    def close(self) -> None:
        if self._object:
            self._lib.dll.bpf_object__close(self._object)
            self._object = None
