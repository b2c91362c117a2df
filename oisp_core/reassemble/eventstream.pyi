# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

@final
class EventStreamParser:
    """Reads AWS event-stream frames: EVENT tokens with the type in `name` and the payload in `data`.

    frame_max: bytes of one frame; beyond it the status is LIMIT.

    Flags of EVENT: 1 exception, 2 error. Flags of GAP: 1 a frame was in progress and is dropped, 2 bytes passed over
    while the next frame was looked for, 4 a frame whose checksum is wrong.
    """

    def __init__(self, *, frame_max: int = 25296896) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered: OK between frames, MORE inside one."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def held(self) -> int:
        """Bytes allocated for a frame in more than one piece."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the frames that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here. The frame in progress is dropped."""

    def finish(self) -> list[Token]:
        """Says that the stream ended. MORE: inside a frame."""

    def reset(self) -> None:
        """Back to the start of a stream, at offset 0."""
