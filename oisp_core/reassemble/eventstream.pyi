# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class EventStreamParser(Parser):
    """Reads AWS event-stream frames: EVENT tokens with the type in `name` and the payload in `data`.

    frame_max: bytes of one frame; beyond it the status is LIMIT.

    Flags of EVENT: 1 exception, 2 error. Flags of GAP: 1 a frame was in progress and is dropped, 2 bytes passed over
    while the next frame was looked for, 4 a frame whose checksum is wrong.
    """

    def __init__(self, *, frame_max: int = 25296896) -> None: ...
