# SPDX-License-Identifier: Apache-2.0
"""What the double says, before any wire format: a plain answer, and how it is chosen from the request.

A request may choose with the header `X-Double`, words apart: a scenario (`text`, `tools`, `parallel`, `thinking`,
`unicode`, `length`, `refusal`, `empty`), an error (`401`, `429`, `500`, `529`, `error-in-stream`, `cut`) and how it is
sent (`gzip`, `odd-chunks`, `length-framed`, `close`, `slow`, `no-padding`, `cached`). Without it: tools are called
while the conversation holds no result of one, then the results are put into words.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

SCENARIOS = frozenset({"text", "tools", "parallel", "thinking", "unicode", "length", "refusal", "empty"})
ERRORS = frozenset({"401", "429", "500", "529", "error-in-stream", "cut"})
SENDING = frozenset({"gzip", "odd-chunks", "length-framed", "close", "slow", "no-padding", "cached"})


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: dict[str, Any]

    @property
    def text(self) -> str:
        """The arguments as the model wrote them: OpenAI's wire carries this string."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Usage:
    """Counted as a reader would expect: prompt with cached tokens inside, completion with reasoning inside."""

    prompt: int
    completion: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass
class Answer:
    text: str = ""
    thinking: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish: str = "stop"  # stop, length, tool_calls, content_filter
    usage: Usage = field(default_factory=lambda: Usage(1, 1))


def options(header: str) -> frozenset[str]:
    words = frozenset(header.split())
    unknown = words - SCENARIOS - ERRORS - SENDING
    if unknown:
        raise ValueError(f"X-Double: unknown word {sorted(unknown)[0]!r}")
    return words


def tokens(text: str) -> int:
    return max(1, len(text) // 4)


@dataclass(frozen=True)
class Asked:
    """The parts of a request that an answer depends on, whatever API it came through."""

    prompt_text: str
    tools: list[str]
    results: list[str]  # texts of the tool results at the end of the conversation
    question: str


def choose(asked: Asked, words: frozenset[str], rng: random.Random) -> Answer:
    answer = _answer(asked, words, rng)
    said = answer.text + answer.thinking + "".join(call.text for call in answer.calls)
    prompt = tokens(asked.prompt_text)
    answer.usage = Usage(
        prompt=prompt,
        completion=tokens(said),
        cached=prompt // 2 if "cached" in words else 0,
        cache_write=prompt // 8 if "cached" in words else 0,
        reasoning=tokens(answer.thinking) if answer.thinking else 0,
    )
    return answer


def _answer(asked: Asked, words: frozenset[str], rng: random.Random) -> Answer:
    if "empty" in words:
        return Answer()
    if "refusal" in words:
        return Answer(text="I can't help with that.", finish="content_filter")
    if "length" in words:
        return Answer(text="This sentence goes on and on until the limit of tokens cuts it in the mid", finish="length")
    if "unicode" in words:
        return Answer(
            text='Zürich → 東京: 🧭 “quotes”, \\ backslash, \t tab, \u2028 and "JSON {\\"in\\": text}".\n👩‍🔬 done.'
        )
    if "thinking" in words:
        return Answer(text="It is 42.", thinking="The question has a known answer. Let me recall it: 42.")
    if asked.tools and (words & {"tools", "parallel"} or (not asked.results and "text" not in words)):
        return Answer(text=_announce(words), calls=_calls(asked, words, rng), finish="tool_calls")
    if asked.results:
        return Answer(text=_in_words(asked.results))
    return Answer(text=f"You asked: {asked.question.strip()[:200]} — here is a short answer, streamed piece by piece.")


def _announce(words: frozenset[str]) -> str:
    return "" if "parallel" in words else "Let me look at the files first."


def _calls(asked: Asked, words: frozenset[str], rng: random.Random) -> list[ToolCall]:
    """One call for the first tool, or one for each where several are offered and the request may want them all."""
    names = asked.tools if "tools" not in words else asked.tools[:1]
    return [ToolCall(_id(rng, 24), name, _arguments(name)) for name in names[:3]]


def _arguments(name: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {
        "read_file": {"path": "notes.txt"},
        "run_command": {"argv": ["wc", "-l", "notes.txt"]},
        "get_weather": {"city": "Zürich", "unit": "celsius", "days": 3},
    }
    return known.get(name, {})


def _in_words(results: list[str]) -> str:
    parts = [" ".join(text.split())[:160] for text in results]
    return "From the tools: " + "; ".join(parts) + ". That answers the question."


def _id(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789", k=length))


def pieces(text: str, rng: random.Random, mean: int = 7) -> list[str]:
    """The text cut into runs of random length, as tokens cut it."""
    out: list[str] = []
    at = 0
    while at < len(text):
        size = rng.randint(1, 2 * mean)
        out.append(text[at : at + size])
        at += size
    return out
