# SPDX-License-Identifier: Apache-2.0
from os import PathLike
from typing import Any, Final, Literal

import msgspec
from typing_extensions import Buffer

from oisp_core.events import Event
from oisp_core.limits import Limits
from oisp_core.match.rules import Registry
from oisp_core.match.tables import Tables
from oisp_core.reassemble.tokens import Status

__all__ = ["ABI_READ", "ABI_WRITE", "Engine", "Request", "Response"]

ABI_WRITE: Final = "write"
ABI_READ: Final = "read"

_Direction = Literal[">", "<", "write", "read"]

class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is already framed, for `Engine.exchange`. Times are Unix nanoseconds."""

    method: str
    url: str
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    ts_ns: int = 0
    ts_end_ns: int | None = None

class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The response to a `Request`. `complete=False`: it was cut. messages: of a WebSocket, after a status of 101:
    direction (">" or "<"), data, time in Unix nanoseconds.
    """

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    ts_ns: int = 0
    ts_end_ns: int | None = None
    complete: bool = True
    messages: list[tuple[str, bytes, int]] = []

class Engine:
    """Plaintext of connections in, OISP events out.

    One engine serves one caller at a time: a second thread that calls meanwhile gets `EngineBusyError`. Data is
    borrowed until the call returns. Bytes from the wire never raise; what is wrong with them stands in the confidence
    of the events and in `stats()`.
    """

    def __init__(
        self,
        *,
        content: Literal["metadata", "redacted", "full"] = "metadata",
        chunks: bool = False,
        providers: str | PathLike[str] | Registry | Tables | None = None,
        id_seed: int | None = None,
        hash_key: bytes | None = None,
        limits: Limits | dict[str, int] | None = None,
        clock_base_ns: int | None = None,
    ) -> None:
        """content: what of texts leaves the engine (docs/PRIVACY.md). chunks: an `ai.streaming_chunk` for each delta.
        providers: a folder of provider files that adds to and overrides the packaged ones, or a compiled registry.
        id_seed: 0 <= id_seed < 2**128; with it, ids are reproducible. hash_key: at least 16 bytes; hashes of texts are
        then HMAC-SHA-256. limits: the bounds. clock_base_ns: Unix time of the records' time 0, for `feed_packed`.

        Raises ConfigError (an unknown policy, a short key, a provider file that is wrong) and LimitError.
        """

    def feed(self, conn: int, direction: _Direction, ts_ns: int, data: Buffer, offset: int | None = None) -> Status:
        """Bytes of one direction of connection `conn` (0 <= conn < 2**64), seen at `ts_ns` (Unix nanoseconds).

        direction: ">" client to server, "<" server to client; or ABI_WRITE and ABI_READ, what a process wrote and read,
        where it is found from the bytes which of them carries the requests. offset: of data[0] in the stream of its
        direction; a jump is a loss of known size, bytes that came before are dropped. Without offsets loss cannot be
        known.

        Answers Status.OK, or Status.FULL when the output limit is reached: that input was taken whole; drain before
        the next call, which takes nothing until then.
        """

    def feed_packed(self, buffer: Buffer) -> Status:
        """A recording (header and records), or bare ABI records (`oisp/record.h`), whole.

        A recording sets the clock base; bare records use `clock_base_ns`. Raises RecordingError, with the offset,
        before anything is taken: a wrong version, a truncated record, a size that is none. Answers like `feed`.
        """

    def gap(self, conn: int, direction: _Direction, length: int | None = None) -> None:
        """`length` bytes of that direction are known to be missing here; None: a number that nobody knows."""

    def exchange(self, request: Request, response: Response | None = None) -> Status:
        """One exchange that is already framed (HAR, a proxy, an SDK). None: there was no response. As `feed`."""

    def set_context(self, conn: int, members: bytes) -> None:
        """Ready-encoded JSON members (`"host":{...},"process":{...}`, in one line, no braces around) for all later
        events of the connection: of host, actor, process, app, web_context, source. Where none were set, events say
        `missing: context`, and `source.collector` is `oisp_core`. Raises ConfigError if they are not that.
        """

    def advance(self, now_ns: int) -> None:
        """Unix time goes on: what waited too long is given out as far as it is known. The engine has no clock."""

    def close(self, conn: int | None = None, ts_ns: int | None = None) -> None:
        """The connection has ended: exchanges in flight are emitted as `partial`. None: all of them, as at the end of a
        capture. A connection that is not known is no error."""

    def drain(self) -> bytes:
        """The events so far: NDJSON, whole lines. The engine's buffer is wiped."""

    def events(self) -> list[Event]:
        """`drain()` decoded to Structs (`oisp_core.events`): a line is handed out once."""

    def verdicts(self) -> list[tuple[int, str, str]]:
        """What has changed since the last call: (conn, level, rule). level "nothing": the connection was dismissed, its
        bytes are not needed. "head": of each call the first KiB is enough, while a long body that is not AI goes by;
        "all": again every byte. Only records that say what was left out (OISP_RECORD_SHORT) are understood then."""

    def stats(self) -> dict[str, Any]:
        """Counters since the engine was made; the names are those of `oisp_counters` in `oisp/message.h`."""
