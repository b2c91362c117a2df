# SPDX-License-Identifier: Apache-2.0
from typing import Any

__all__ = ["Limit"]

class Limit:
    """The ceiling in C: framing, the host's hash and the cutting of event streams, without JSON and without output."""

    def __new__(cls, buffers: list[bytes], connections: int, hosts: list[bytes], plain: bool) -> Limit:
        """plain: the same job with byte-by-byte parsing and memchr, which the ceiling must beat."""

    def prepare(self) -> None:
        """Nothing: a run forgets what it saw."""

    def run(self, sink: Any = None) -> dict[str, int]:
        """All buffers once. Counts of segments, messages, fields, bytes of bodies, events and known hosts."""
