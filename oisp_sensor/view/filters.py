# SPDX-License-Identifier: Apache-2.0
"""Which events to show. A tool call has no provider and no model of its own: it has those of the response behind it."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from oisp_core.errors import ConfigError
from oisp_sensor.view.lines import model_of, provider_of
from oisp_sensor.view.pieces import at

__all__ = ["Filter", "moment"]

_RELATIVE = re.compile(r"(\d+)\s*(s|min|m|h|d)\Z")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_REMEMBERED = 65536


def moment(text: str, flag: str, now: datetime | None = None) -> str:
    """`10m` (ago), `14:30` (today, UTC) or RFC 3339, as the text with which a `ts` compares."""
    now = now or datetime.now(UTC)
    relative = _RELATIVE.match(text.strip())
    try:
        if relative:
            when = now - timedelta(seconds=int(relative[1]) * _UNITS[relative[2]])
        elif re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text):
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M")
            when = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
        else:
            when = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        expected = "RFC 3339 (2026-01-31T12:00:00Z), a time of today in UTC (14:30) or an age (90s, 10m, 2h, 1d)"
        raise ConfigError(key=flag, expected=expected, got=text) from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Filter:
    """Empty values let everything through. Words are looked for as parts, without regard to case."""

    process: str = ""
    provider: str = ""
    model: str = ""
    types: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        self._sources: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def lets_through(self, event: dict[str, Any]) -> bool:
        provider, model = self._source(event)
        stamp = event.get("ts")
        stamp = stamp if isinstance(stamp, str) else ""
        return (
            (not self.since or stamp >= self.since)
            and (not self.until or stamp < self.until)
            and (not self.types or _of_type(event, self.types))
            and (not self.process or self._process(event))
            and (not self.provider or self.provider.lower() in provider.lower())
            and (not self.model or self.model.lower() in model.lower())
        )

    def _process(self, event: dict[str, Any]) -> bool:
        process = event.get("process")
        if self.process.isdecimal():
            return bool(at(process, "pid") == int(self.process))
        names = (at(process, "name"), at(process, "exe"), at(process, "cmdline"), at(event, "app", "name"))
        return any(self.process.lower() in name.lower() for name in names if isinstance(name, str))

    def _source(self, event: dict[str, Any]) -> tuple[str, str]:
        """Its own provider and model, else those of an event that it names as its cause."""
        provider, model = provider_of(event), model_of(event)
        if not (provider and model):
            for known in self._causes(event):
                provider, model = provider or known[0], model or known[1]
        own = event.get("event_id")
        if isinstance(own, str) and (provider or model):
            self._sources[own] = (provider, model)
            if len(self._sources) > _REMEMBERED:
                self._sources.popitem(last=False)
        return provider, model

    def _causes(self, event: dict[str, Any]) -> list[tuple[str, str]]:
        related = event.get("related_events")
        names = [at(one, "event_id") for one in related] if isinstance(related, list) else []
        return [self._sources[name] for name in names if isinstance(name, str) and name in self._sources]


def _of_type(event: dict[str, Any], types: tuple[str, ...]) -> bool:
    """`ai` stands for all of `ai.*`."""
    kind = event.get("event_type")
    return isinstance(kind, str) and any(kind == name or kind.startswith(f"{name}.") for name in types)
