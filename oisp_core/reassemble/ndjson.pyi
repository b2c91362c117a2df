# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

@final
class NdjsonParser:
    """Reads JSON values one after the other: EVENT tokens with the text of one value in `data`.

    array: the values are the elements of one array that streams, not lines.
    value_max: bytes of one value; beyond it the status is LIMIT.

    Flags of EVENT: 1 the stream ended inside the value, 2 and it is cut, 8 a line end stands inside a string of it.
    """

    def __init__(self, *, array: bool = False, value_max: int = 16777216) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered: OK between values, MORE inside one."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def held(self) -> int:
        """Bytes allocated for a value in more than one piece."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the values that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here. Lines: the value in progress is dropped. Array: BAD."""

    def finish(self) -> list[Token]:
        """Says that the stream ended. MORE: the array was not closed."""

    def reset(self) -> None:
        """Back to the start of a stream, at offset 0."""
