# SPDX-License-Identifier: Apache-2.0
from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

class Parser:
    """What the parsers have in common: bytes go in, in pieces of any size, and tokens come out.

    Not for use by itself. Bytes of the wire never raise; `status` says what they are.
    """

    @property
    def status(self) -> Status:
        """What the last call answered: OK between messages, MORE inside one; BAD and LIMIT stay until `reset`."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def held(self) -> int:
        """Bytes allocated for what came in more than one piece."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the tokens that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here."""

    def finish(self) -> list[Token]:
        """Says that the stream ended."""

    def reset(self) -> None:
        """Back to the start of a stream, at offset 0."""
