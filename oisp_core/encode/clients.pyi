# SPDX-License-Identifier: Apache-2.0
from typing import Any, Final

LISTS: Final[tuple[str, ...]]
TEXTS: Final[tuple[str, ...]]
CATEGORIES: Final[tuple[str, ...]]
TYPES: Final[tuple[str, ...]]
AGENTS: Final[tuple[str, ...]]
WORDS: Final[dict[str, tuple[str, ...]]]
PRODUCT: Final[int]
PREFIX: Final[int]
VALUE: Final[int]
ANY: Final[int]

def read_clients(text: bytes, file: object) -> list[Any]: ...

class Clients:
    def __init__(self, text: bytes, file: object = "clients.yaml") -> None: ...
    def __len__(self) -> int: ...
    def find(self, headers: list[tuple[str, str]]) -> dict[str, Any]: ...
