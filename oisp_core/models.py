# SPDX-License-Identifier: Apache-2.0
"""The registry of models that ships with the package: read once, on first use, and shared."""

from __future__ import annotations

from functools import cache

from oisp_core import resources
from oisp_core.encode.models import Models

__all__ = ["Models", "registry"]


@cache
def registry() -> Models:
    """`semconv/models.tsv` as a table. Some milliseconds the first time."""
    return Models(resources.read("semconv/models.tsv"), "semconv/models.tsv")
