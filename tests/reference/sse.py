# SPDX-License-Identifier: Apache-2.0
"""Server-sent events read the slow, obvious way: the algorithm of the WHATWG standard (9.2.6) over a whole body."""

from __future__ import annotations

import re


def events(body: bytes) -> list[tuple[bytes, bytes, int]]:
    """Type, data and flags (1 no blank line, 2 no end of the last line) of each event."""
    *lines, rest = re.split(rb"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf"))
    found: list[tuple[bytes, bytes, int]] = []
    kind, data = b"", []
    for line in lines:
        if line == b"":
            if data:
                found.append((kind, b"\n".join(data), 0))
            kind, data = b"", []
        else:
            kind = field(line, kind, data)
    if rest:
        kind = field(rest, kind, data)
    if data:
        found.append((kind, b"\n".join(data), 3 if rest else 1))
    return found


def field(line: bytes, kind: bytes, data: list[bytes]) -> bytes:
    """Process the field: appends to data, gives the type that now holds."""
    name, _, value = line.partition(b":")
    value = value.removeprefix(b" ")
    if name == b"data":
        data.append(value)
    return value if name == b"event" else kind
