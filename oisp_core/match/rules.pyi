# SPDX-License-Identifier: Apache-2.0
"""Verdicts: is a message AI traffic, whose, of which kind, and how sure is that."""

from collections.abc import Iterable
from os import PathLike

from typing_extensions import Buffer

from oisp_core.match.tables import Tables
from oisp_core.match.verdict import Verdict

__all__ = ["Registry", "load_registry"]

class Registry:
    """The compiled rules. Immutable: any number of engines and threads may share one.

    `dialect_names` are the dialects that can be decoded, in their order. An endpoint whose dialect is not among them is
    known all the same, without a decoder; `missing_dialects` names those.

    Raises ValueError if `tables` hold a number that leads outside of them.
    """

    providers: list[str]
    dialects: list[str]
    missing_dialects: list[str]

    def __init__(self, tables: Tables, dialect_names: Iterable[str] = ()) -> None: ...
    def match(
        self,
        method: str | bytes,
        target: str | bytes,
        authority: str | bytes = "",
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        body: Buffer | None = None,
        *,
        sni: str | bytes = "",
        port: int = 0,
        plaintext: bool = False,
        partial: bool = False,
        status: int | None = None,
        response_headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    ) -> Verdict:
        """What the engine would be told of this message: the head, then the body if it is asked for, then the response.

        `target` is path and query (or an absolute URL, as a proxy gets it), `authority` the Host with its port, `port`
        the server's where the authority names none. Of `body` the first 4 KiB are looked at. With `status` the
        response's head is asked too; without it the verdict may stay undecided. `partial`: some fields are unknown.
        """

def load_registry(dialect_names: Iterable[str], user_dir: str | PathLike[str] | Tables | None = None) -> Registry:
    """The registry that ships, with the provider files of `user_dir` over it; or of tables that were compiled before.

    Raises ConfigError with file, line and key of the first mistake, and how many more there are.
    """
