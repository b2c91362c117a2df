# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

CAPABILITIES: tuple[str, ...]
COMPONENTS: tuple[str, ...]
SERVICES: tuple[str, ...]

class Models:
    """The table of models. `text` is that of semconv/models.tsv; a malformed line raises ConfigError."""

    def __new__(cls, text: bytes, file: str = "models.tsv") -> Models: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def find(self, provider: str, name: str) -> tuple[dict[str, Any], bool] | None:
        """(facts, priced), or None. `priced` is false where the facts are those of another provider's model, or of the
        model behind a free or tuned variant: then its prices do not hold."""

    def cost(
        self,
        provider: str,
        name: str,
        *,
        prompt: int,
        completion: int | None = None,
        cached: int | None = None,
        cache_write: int | None = None,
        cache_write_1h: int | None = None,
        reasoning: int | None = None,
        audio_in: int | None = None,
        audio_out: int | None = None,
        audio_cached: int | None = None,
        service: str = "",
    ) -> tuple[float, float, float] | None:
        """(input, output, request) in US dollars, or None where no price is known for this or the numbers contradict
        each other; most models have no price of a request itself, which is 0 then. Tokens are those of an event: prompt
        includes cached and cache writes, completion includes reasoning, and both their audio; `audio_cached` is that
        part of `audio_in` which was read from a cache."""

    @staticmethod
    def audio_of(usage: bytes) -> tuple[int, int, int]:
        """Tokens of audio that a provider's usage object (JSON) counts: of the prompt, of the answer, of the cache."""

    def time_find(self, provider: str, name: str, rounds: int) -> bool:
        """Looks it up `rounds` times. For benchmarks."""
