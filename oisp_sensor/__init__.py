# SPDX-License-Identifier: Apache-2.0
"""Everything that touches the machine: capture, enrichment, export, the command line."""

from __future__ import annotations

__all__ = ["version"]


def version() -> str:
    """Version of the installed distribution; `0+unknown` in a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("oisp")
    except PackageNotFoundError:
        return "0+unknown"
