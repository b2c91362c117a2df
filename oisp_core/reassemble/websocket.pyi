# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class WebSocketParser(Parser):
    """Reads one direction of a WebSocket: EVENT tokens with one whole message, unmasked, in `data`.

    message_max: bytes of one message; beyond it the status is LIMIT.

    Flags of EVENT: 1 text, 2 binary, 16 compressed. END is the close frame: code in `number`, reason in `data`.
    """

    def __init__(self, *, message_max: int = 16777216) -> None: ...
