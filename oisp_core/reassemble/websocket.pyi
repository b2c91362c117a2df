# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

@final
class WebSocketParser:
    """Reads one direction of a WebSocket: EVENT tokens with one whole message, unmasked, in `data`.

    message_max: bytes of one message; beyond it the status is LIMIT.

    Flags of EVENT: 1 text, 2 binary, 16 compressed. END is the close frame: code in `number`, reason in `data`.
    """

    def __init__(self, *, message_max: int = 16777216) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered: OK between messages, MORE inside one."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def held(self) -> int:
        """Bytes allocated for a message in more than one piece."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the messages that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here. The message in progress is dropped; BAD where a head may be lost."""

    def finish(self) -> list[Token]:
        """Says that the stream ended. MORE: inside a message."""

    def reset(self) -> None:
        """Back to the start of a stream, at offset 0."""
