# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class GrpcParser(Parser):
    """Reads gRPC's length-prefixed messages: EVENT tokens with one message in `data`.

    message_max: bytes of one message; beyond it the status is LIMIT.

    `gap`: its message is dropped; BAD where a prefix may be lost.

    Flags of EVENT: 16 compressed, 128 the trailers of gRPC-Web.
    """

    def __init__(self, *, message_max: int = 16777216) -> None: ...
