# SPDX-License-Identifier: Apache-2.0
"""What content may leave the engine, as a table that can be read and printed.

The rows are those that the writer runs (`include/oisp/policy.h`), not a copy. Not here: the writer, and the rules for
processes and files, which the sensor applies where it reads them; `docs/PRIVACY.md` shows both.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from oisp_core.encode.writer import policy_table

__all__ = ["POLICIES", "Action", "Row", "rows"]

POLICIES = ("metadata", "redacted", "full")


class Action(Enum):
    """What happens to a field. The value is how the document says it."""

    KEEP = "kept"
    MARK = "marker"
    DROP = "left out"
    HIDE = "never"
    MASK = "masked"


class Row(NamedTuple):
    """`events` and `path` say where the field stands; `stays` what is said of it although the content is not there."""

    name: str
    events: str
    path: str
    metadata: Action
    redacted: Action
    full: Action
    stays: str


def rows() -> list[Row]:
    """The table, in the order of the header."""
    return [
        Row(name, events, path, Action[metadata], Action[redacted], Action[full], stays)
        for name, events, path, metadata, redacted, full, stays in policy_table()
    ]
