# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

@final
class SseParser:
    """Reads server-sent events from one body: EVENT tokens with `name` (the type, empty for none given) and `data`.

    event_max: bytes of one event, from its first line with content to its blank line; beyond it the status is LIMIT.

    Flags of EVENT: 1 the stream ended without its blank line, 2 and without the end of its last line, 4 lines of it may
    have been lost in a gap before it. Comments, `id` and `retry` give nothing.
    """

    def __init__(self, *, event_max: int = 16777216) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered: OK between events, MORE inside one."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def held(self) -> int:
        """Bytes allocated for an event in more than one piece."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the events that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here. The event in progress is dropped (GAP with flags 1)."""

    def finish(self) -> list[Token]:
        """Says that the stream ended: an event without its blank line is given out and marked."""

    def reset(self) -> None:
        """Back to the start of a stream, at offset 0."""
