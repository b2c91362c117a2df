# SPDX-License-Identifier: Apache-2.0
from typing import NamedTuple

from oisp_core.engine import Engine
from oisp_sensor.capture.ringbuf import RingBuffer

OPENED: int
FULL: int
RAW_FAILED: int

class Opened(NamedTuple):
    conn: int
    ts_ns: int
    pid: int
    tid: int
    start_time_ns: int
    uid: int
    gid: int
    cgroup: int
    midway: bool
    server: bool
    point: str

class Feed:
    def __init__(
        self, ring: RingBuffer, engine: Engine | None, raw_fd: int = -1, *, page: object = None, resumed: bool = False
    ) -> None: ...
    def consume(self, budget: int = 4096) -> int: ...
    def keep_context(self, conn: int, members: bytes) -> None: ...
    @property
    def opened(self) -> Opened: ...
    @property
    def raw_error(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def payload(self) -> int: ...
    @property
    def raw_bytes(self) -> int: ...
