# SPDX-License-Identifier: Apache-2.0
from typing import Literal, final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

ROLES: dict[str, int]

@final
class Http2Parser:
    """Reads one direction of an HTTP/2 connection: frames and header blocks to tokens, each with its stream.

    role: "request" for what the client sends, "response" for what the server sends.
    midway: the connection was joined in its middle. A boundary is looked for, and fields that are not known are marked.
    head_max, fields_max: bytes and fields of one header block that are given out.
    table_max: bytes of the dynamic table that are kept.

    A head is FIELD tokens (pseudo fields among them) and HEAD_END, whose flags are a `BodyKind` and `HeadFlags`;
    then DATA, GAP, TRAILER and END. Raises ValueError for another role. Wire data never raises: `status` says BAD, and
    stays so until `resync()` or `reset()`.
    """

    def __init__(
        self,
        role: Literal["request", "response"],
        *,
        midway: bool = False,
        head_max: int = 262144,
        fields_max: int = 256,
        table_max: int = 65536,
    ) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered: OK between frames, MORE inside one or inside a header block."""

    @property
    def idle(self) -> bool:
        """Between frames, and not inside a header block."""

    @property
    def seeking(self) -> bool:
        """A boundary is looked for."""

    @property
    def offset(self) -> int:
        """In the stream, of the next byte that `feed` takes."""

    @property
    def skipped(self) -> int:
        """Bytes passed over while a boundary was looked for."""

    @property
    def held(self) -> int:
        """Bytes allocated for a frame in more than one piece, or for a search; 0 outside of them."""

    @property
    def memory(self) -> int:
        """Bytes of all that the parser holds, its table included."""

    def feed(self, data: Buffer) -> list[Token]:
        """Reads `data` and gives the tokens that it completes."""

    def gap(self, size: int) -> list[Token]:
        """Says that `size` bytes are missing here: GAP where it is arithmetic, BAD where a frame head may be lost."""

    def finish(self) -> list[Token]:
        """Says that the stream ended. Status MORE: inside a frame."""

    def resync(self) -> None:
        """After BAD: look for the next boundary. A segment that begins with a frame head is one at once."""

    def setting(self, identifier: int | None, value: int = 0) -> None:
        """Says what the other direction's SETTINGS token said; None: some of its SETTINGS were lost.

        Raises ValueError for numbers that no setting can have.
        """

    def reset(self) -> None:
        """Back to the start of a connection, at offset 0."""

def role_of(data: Buffer) -> Literal["request", "response"] | None:
    """Which side sends such frames? Told by the first field of a HEADERS frame; None where there is none to tell."""
