# SPDX-License-Identifier: Apache-2.0
"""The provider files as `providers` and `explain` want them: read with their lines, compiled, with what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oisp_core import resources
from oisp_core.decode.dialects import load_dialects
from oisp_core.errors import ConfigError
from oisp_core.match.compile import compile_semconv, first_error
from oisp_core.match.fingerprints import Semconv, read_documents, read_semconv
from oisp_core.match.rules import Registry
from oisp_core.match.shape import Document, load_document
from oisp_core.match.tables import Tables

__all__ = ["Loaded", "dialect_names", "load", "read"]


@dataclass
class Loaded:
    semconv: Semconv
    registry: Registry


def dialect_names() -> list[str]:
    """Dialects that can be decoded."""
    return list(load_dialects().names)


def read(over: list[Document]) -> tuple[Semconv, Tables | None, list[ConfigError]]:
    """The shipped files with those of the user over them; every mistake, none raised.

    What a broken file says is not in the tables, so that the others can be tested all the same.
    """
    semconv = read_semconv(read_documents(resources.data("semconv/providers")), over)
    tables, errors = compile_semconv(semconv)
    return semconv, tables, [*semconv.errors, *errors]


def documents(path: str) -> list[Document]:
    """One file, or the files of a folder."""
    return read_documents(path) if Path(path).is_dir() else [load_document(path)]


def load(directory: str | None) -> Loaded:
    """Ready to be asked. ConfigError with the first mistake."""
    semconv, tables, errors = read(read_documents(directory) if directory else [])
    if tables is None or errors:
        raise first_error(errors) or ConfigError(message="the provider files do not compile")
    return Loaded(semconv, Registry(tables, dialect_names()))
