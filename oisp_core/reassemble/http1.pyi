# SPDX-License-Identifier: Apache-2.0
from typing import Literal, final

from typing_extensions import Buffer

from oisp_core.reassemble.face import Parser
from oisp_core.reassemble.tokens import Status

ROLES: dict[str, int]

def role_number(role: str) -> int:
    """The kind of start line that a role reads. Raises ValueError for a role that is none."""

@final
class Http1Parser(Parser):
    """Reads one direction of an HTTP/1.x connection: heads, bodies, trailers, one message after the other.

    role: "request" or "response", which of the two this direction carries.
    head_max: bytes of one head (or trailer section); beyond it the status is LIMIT.
    fields_max: fields in one head.

    A body comes as DATA tokens, one a piece. `gap`: GAP where it is arithmetic, status BAD where a head may be lost.
    `finish`: MORE inside a head, of which nothing was given out.

    Raises ValueError for another role. Wire data never raises: `status` says BAD or LIMIT, and
    stays so until `reset()`.
    """

    def __init__(
        self, role: Literal["request", "response"], *, head_max: int = 65536, fields_max: int = 256
    ) -> None: ...
    @property
    def idle(self) -> bool:
        """Between messages."""

    @property
    def unused(self) -> bytes:
        """After UPGRADE: what the last `feed` did not take, of the protocol that follows."""

    def expect(self, method: bytes) -> None:
        """Says the method of the next request, in order.

        The final answer to HEAD has no body, and after 2xx to CONNECT another protocol follows.
        """

    def tunnel(self) -> None:
        """Between messages: the other direction said that another protocol follows. UPGRADE comes next."""

def probe(role: Literal["request", "response"], data: Buffer) -> Status:
    """Does `data` begin with a whole valid head, of which nothing has to be forgiven? OK, MORE for "may be", BAD."""
