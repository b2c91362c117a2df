# SPDX-License-Identifier: Apache-2.0
"""numpy, imported at its first use: only what reads ELF files needs it, in a process of its own, and the loader and the
worker, which import the modules that do, are 14 MB smaller without.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["np"]


class _Numpy:
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("numpy"), name)


np: Any = _Numpy()
