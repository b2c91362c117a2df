# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class NdjsonParser(Parser):
    """Reads JSON values one after the other: EVENT tokens with the text of one value in `data`.

    array: the values are the elements of one array that streams, not lines.
    value_max: bytes of one value; beyond it the status is LIMIT.

    `gap`, lines: the value in progress is dropped, reading goes on at the next line end; array: BAD.

    Flags of EVENT: 1 the stream ended inside the value, 2 and it is cut, 8 a line end stands inside a string of it.
    """

    def __init__(self, *, array: bool = False, value_max: int = 16777216) -> None: ...
