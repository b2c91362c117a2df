# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

from oisp_core.reassemble.tokens import Status, Token

@final
class HpackDecoder:
    """Reads the header blocks of one direction of an HTTP/2 connection, in their order (RFC 7541).

    table_max: bytes of the dynamic table that are kept; fields that refer to older entries are unknown.
    fields_max, list_max: fields, and bytes of their names and values with 32 more for each, that one block gives.

    Wire data never raises: `status` says BAD, and stays so until `reset()`.
    """

    def __init__(self, *, table_max: int = 65536, fields_max: int = 256, list_max: int = 262144) -> None: ...
    @property
    def status(self) -> Status:
        """What the last block gave: OK or BAD."""

    @property
    def certain(self) -> bool:
        """False when the table may hold entries that were never seen here: see `lost()`."""

    @property
    def unknown(self) -> int:
        """Fields of the last block that were not known, in whole or by name."""

    @property
    def limited(self) -> bool:
        """The last block had more than fields_max or list_max let out."""

    @property
    def table_size(self) -> int:
        """Of the entries that are kept, as RFC 7541 section 4.1 counts it."""

    @property
    def table_max(self) -> int:
        """What the encoder last set, 4096 before that."""

    @property
    def table(self) -> list[tuple[bytes | None, bytes | None]]:
        """The entries that are known, newest first; None for a name or value that is not."""

    @property
    def held(self) -> int:
        """Bytes allocated for the table."""

    def decode(self, data: Buffer) -> list[Token]:
        """Reads one whole header block and gives its FIELD tokens, each with its place in the block.

        A field whose name is not known has flag 2 and no name; one that is not known at all is only counted.
        Flag 1: the sender asks that it is never put into a table.
        """

    def lost(self) -> None:
        """Says that blocks are missing here: only what is inserted from here on is known, until all else is gone."""

    def allow(self, size: int | None) -> None:
        """Says the SETTINGS_HEADER_TABLE_SIZE that the reader of these blocks announced; None: it is not known.

        Raises ValueError for a size that has not 32 bits.
        """

    def reset(self) -> None:
        """Back to the start of a connection."""

def huffman_decode(data: Buffer) -> bytes | None:
    """Decodes one string with the code of RFC 7541 appendix B; None where it is not valid."""
