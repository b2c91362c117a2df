# SPDX-License-Identifier: Apache-2.0
"""Events added up by provider and model: requests, tokens, latency, tools. Bounded: many latencies are sampled."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from oisp_core.errors import printable
from oisp_sensor.view.lines import model_of, provider_of
from oisp_sensor.view.pieces import at, duration

__all__ = ["Summary"]

_SAMPLES = 4096
_ROWS = 256


@dataclass
class Row:
    requests: int = 0
    responses: int = 0
    errors: int = 0
    partial: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latencies: list[int] = field(default_factory=list)

    def latency(self, fraction: float) -> int | None:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] if ordered else None


class Summary:
    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.tools: Counter[str] = Counter()
        self.processes: set[tuple[Any, Any]] = set()
        self._rows: dict[tuple[str, str], Row] = {}
        self._asked: dict[str, tuple[str, str]] = {}
        self._random = random.Random(0)

    def add(self, event: dict[str, Any]) -> None:
        kind = event.get("event_type")
        self.events[kind if isinstance(kind, str) else "?"] += 1
        if kind == "ai.request":
            self._request(event)
        elif kind in ("ai.response", "ai.embedding"):
            self._response(event)
        elif kind == "agent.tool_call":
            name = at(event, "data", "tool", "name") or at(event, "data", "tool_name")
            if isinstance(name, str) and (name in self.tools or len(self.tools) < _ROWS):
                self.tools[name] += 1
        pid = at(event, "process", "pid")
        if isinstance(pid, int) and len(self.processes) < 65536:
            self.processes.add((pid, str(at(event, "process", "start_time"))))

    def _row(self, provider: str, model: str) -> Row:
        key = (provider or "?", model or "?")
        if key not in self._rows and len(self._rows) >= _ROWS:
            key = ("(others)", "")
        return self._rows.setdefault(key, Row())

    def _request(self, event: dict[str, Any]) -> None:
        key = (provider_of(event), model_of(event))
        self._row(*key).requests += 1
        request_id = at(event, "data", "request_id")
        if isinstance(request_id, str):
            self._asked[request_id] = key
            if len(self._asked) > 65536:
                del self._asked[next(iter(self._asked))]

    def _response(self, event: dict[str, Any]) -> None:
        """Counted with the model that was asked for: answers name versions of it."""
        asked = self._asked.pop(str(at(event, "data", "request_id")), None)
        row = self._row(*(asked or (provider_of(event), model_of(event))))
        row.responses += 1
        row.errors += at(event, "data", "success") is False
        row.partial += at(event, "confidence", "completeness") == "partial"
        for name in ("prompt_tokens", "completion_tokens"):
            value = at(event, "data", "usage", name)
            if isinstance(value, int):
                setattr(row, name, getattr(row, name) + value)
        latency = at(event, "data", "latency_ms")
        if isinstance(latency, int):
            self._sample(row, latency)

    def _sample(self, row: Row, latency: int) -> None:
        if len(row.latencies) < _SAMPLES:
            row.latencies.append(latency)
        elif (place := self._random.randrange(row.responses)) < _SAMPLES:
            row.latencies[place] = latency

    def table(self) -> Table | None:
        """None where no model was asked."""
        if not self._rows:
            return None
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("provider", "model"):
            table.add_column(name, overflow="fold")
        for name in ("requests", "answers", "errors", "partial", "tokens in", "tokens out", "median", "p95"):
            table.add_column(name, justify="right", no_wrap=True)
        for (provider, model), row in sorted(self._rows.items(), key=lambda item: -item[1].requests):
            counts = (row.requests, row.responses, row.errors, row.partial, row.prompt_tokens, row.completion_tokens)
            times = (duration(row.latency(0.5)), duration(row.latency(0.95)))
            table.add_row(printable(provider), printable(model), *(f"{count:,}" for count in counts), *times)
        return table

    def lines(self) -> list[str]:
        """What the table does not say."""
        found = []
        if self.tools:
            calls = ", ".join(f"{printable(name)} {count:,}" for name, count in self.tools.most_common(12))
            found.append(f"tool calls: {calls}")
        total = sum(self.events.values())
        kinds = ", ".join(f"{printable(kind)} {count:,}" for kind, count in sorted(self.events.items()))
        processes = len(self.processes)
        found.append(
            f"{total:,} event{'' if total == 1 else 's'}"
            + (f" ({kinds})" if kinds else "")
            + (f" of {processes:,} process{'' if processes == 1 else 'es'}" if processes else "")
        )
        return found
