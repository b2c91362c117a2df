# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status

__all__ = ["Inflater", "parse_codings"]

@final
class Inflater:
    """Undoes content codings as the bytes come.

    codings: names in the order in which they were applied (as Content-Encoding gives them), or one name.
        `deflate-raw` is what permessage-deflate of WebSocket uses: a message, then 00 00 ff ff.
    ratio: output to input beyond which it is a bomb, once there is more than 1 MiB of output.

    Raises ValueError for a coding that is not known, ModuleNotFoundError where its codec is not installed. Coded data
    never raises: `status` says BAD or LIMIT, and stays so.
    """

    def __init__(self, codings: str | Iterable[str] = (), *, ratio: int = 1000) -> None: ...
    @property
    def status(self) -> Status:
        """What the last call answered."""

    def decode(self, data: Buffer, *, max: int = 16777216) -> bytes:
        """What `data` gives by now, at most `max` bytes. LIMIT: there was more, or it is a bomb; BAD: corrupt."""

    def end(self) -> Status:
        """Says that the coded bytes ended: OK, or MORE if they were cut."""

def parse_codings(value: Buffer) -> list[str] | None:
    """The codings of a Content-Encoding value, in order; None if one of them is not known, or there are too many."""
