# SPDX-License-Identifier: Apache-2.0
from enum import IntEnum

from typing_extensions import Buffer

class Sniffed(IntEnum):
    """What bytes can be told to be; see oisp/sniff.h."""

    MORE = 0
    UNKNOWN = 1
    HTTP1_REQUEST = 2
    HTTP1_RESPONSE = 3
    HTTP2_PREFACE = 4
    HTTP2_SETTINGS = 5
    HTTP2_FRAMES = 6
    TLS = 7
    WEBSOCKET = 8

def sniff_bytes(data: Buffer) -> Sniffed:
    """What the first bytes of a direction, or of a segment in its middle, very likely are.

    MORE asks for the same bytes with some more behind them.
    """
