# SPDX-License-Identifier: Apache-2.0
from typing import final

from typing_extensions import Buffer

@final
class Scanner:
    """The scanning functions of one table: the best of this processor, or the one named.

    Each takes any contiguous buffer and gives an index into it, or its length where nothing was found.

    Raises LookupError for a table that this processor does not have.
    """

    def __init__(self, name: str | None = None) -> None: ...
    @property
    def name(self) -> str:
        """`scalar`, `sse2`, `avx2` or `neon`."""

    def find(self, data: Buffer, byte: int) -> int:
        """Index of the first `byte` (0 to 255)."""

    def find_eol(self, data: Buffer) -> int:
        """Index of the first CR or LF."""

    def find_string_stop(self, data: Buffer) -> int:
        """Index of the first byte that is no plain ASCII inside a JSON string: quote, backslash, < 0x20, >= 0x80."""

    def find_string_break(self, data: Buffer) -> tuple[int, bool]:
        """The same, past escapes of two bytes; and whether there was one."""

    def find_quote(self, data: Buffer) -> int:
        """Index of the first quote, backslash or byte below 0x20."""

    def find_structure(self, data: Buffer) -> int:
        """Index of the first quote, brace or square bracket."""

    def utf8_prefix(self, data: Buffer) -> int:
        """Length of the longest prefix that is valid UTF-8 (RFC 3629)."""

    def utf8_count(self, data: Buffer) -> int:
        """Code points in valid UTF-8: bytes that continue no other."""

def available() -> list[str]:
    """Names of the tables that this processor can run, best first."""
