# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class SseParser(Parser):
    """Reads server-sent events from one body: EVENT tokens with `name` (the type, empty for none given) and `data`.

    event_max: bytes of one event, from its first line with content to its blank line; beyond it the status is LIMIT.

    `gap`: the event in progress is dropped (GAP with flags 1). `finish`: an event without its blank line is given out.

    Flags of EVENT: 1 the stream ended without its blank line, 2 and without the end of its last line, 4 lines of it may
    have been lost in a gap before it. Comments, `id` and `retry` give nothing.
    """

    def __init__(self, *, event_max: int = 16777216) -> None: ...
