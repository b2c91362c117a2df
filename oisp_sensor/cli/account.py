# SPDX-License-Identifier: Apache-2.0
"""The account of a run: what was captured, what was lost and where, what was written. Every number is one that a stage
counted itself: the kernel's programs, the engine's `stats()`, the exporters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from oisp_core.errors import ConfigError, printable
from oisp_sensor.export.files import owner_of_files
from oisp_sensor.export.jsonl import FileExporter

if TYPE_CHECKING:
    from oisp_sensor.capture.capture import Loss, Report, Spared
    from oisp_sensor.supervisor import Notes

__all__ = ["Account"]

# Engine counters that are worth a word at the end, and the word. All of them stand in --report.
_ENGINE_DOUBTS = {
    "lost_bytes": "bytes missing in connections",
    "resync_bytes": "bytes passed over while looking for a boundary",
    "over_limit_bytes": "bytes beyond a limit",
    "events_lost": "events lost for want of memory",
    "connections_evicted": "connections dropped at the limit",
    "unpaired_requests": "requests without a certain response",
    "unpaired_responses": "responses without a certain request",
}
_CAUSES = {
    "ring_full": "the buffer was full (a larger --ring-size helps)",
    "fault": "memory could not be read",
    "state": "calls that had begun before capture",
    "too_large": "beyond the size of one call",
}


def human(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"


@dataclass
class Account:
    stages: dict[str, Any]
    losses: dict[str, Loss]
    report: Report
    notes: Notes
    seconds: float
    activity_losses: dict[str, int] = field(default_factory=dict)
    spared: dict[str, Spared] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        report = self.report
        targets = [
            {"path": target.path, "build_id": target.build_id, "functions": list(target.functions), "late": target.late}
            for target in report.targets
        ]
        capture = {
            "scope": report.scope,
            "variant": report.variant,
            "targets": targets,
            "refused": [{"path": refused.path, "reason": refused.reason} for refused in self.notes.refused],
            "detached": [msgspec.to_builtins(one) for one in self.notes.detached],
            "late": report.late,
            "missed": report.missed,
            "unexamined": report.unexamined,
            "losses": {cause: asdict(loss) for cause, loss in self.losses.items()},
            "spared": {level: asdict(spared) for level, spared in self.spared.items()},
            "activity_losses": self.activity_losses,
            "mappings_lost": report.mappings_lost,
            "messages_lost": report.messages_lost,
            "control_lost": report.control_lost,
        }
        return {"seconds": round(self.seconds, 3), "capture": capture, **self.stages}

    def write(self, path: str) -> None:
        """As one JSON line, into a new or an own file, like the events."""
        exporter = FileExporter(path, owner=owner_of_files())
        exporter.write(msgspec.json.encode(self.as_dict()) + b"\n")
        exporter.close()
        if exporter.written.lines_dropped:
            raise ConfigError(path, key="--report", message=exporter.written.last_error)

    def lines(self, files: Sequence[str], raw: str | None) -> list[str]:
        """For a person: first what there is, then everything that there is not."""
        engine, ring = self.stages["engine"], self.stages["ring"]
        lost = sum(loss.records for loss in self.losses.values())
        connections = engine.get("connections", 0)
        seen = f"{human(engine.get('bytes', 0))} of plaintext in {ring['records']:,} records, {lost:,} lost"
        events = f"{self.stages['lines']:,} events of {connections:,} connection{_s(connections)}"
        found = [f"oisp-sensor: {events}; {seen}"]
        found += [f"  events: {printable(os.fspath(name))}" for name in files]
        if raw is not None:
            found.append(f"  recording: {printable(raw)} ({human(ring['raw_bytes'])})")
        return found + [f"  ! {text}" for text in self._doubts()]

    def _doubts(self) -> list[str]:
        engine = self.stages["engine"]
        found = [
            f"{loss.records:,} records lost ({human(loss.written + loss.read)}): {_CAUSES.get(cause, cause)}"
            for cause, loss in self.losses.items()
            if loss.records
        ]
        found += [
            f"{count:,} records of activity lost ({kind})" for kind, count in self.activity_losses.items() if count
        ]
        activity = self.stages.get("activity") or {}
        if activity.get("nameless"):
            found.append(f"{activity['nameless']:,} files could not be named")
        found += [f"{engine[name]:,} {words}" for name, words in _ENGINE_DOUBTS.items() if engine.get(name)]
        found += [
            f"{export['lines_dropped']:,} events were not written: {printable(export['last_error'])}"
            for export in self.stages["export"]
            if export["lines_dropped"]
        ]
        report = self.report
        found += self._deaths()
        for count, words in (
            (report.missed, "processes were gone before their TLS library had probes"),
            (report.unexamined, "files were mapped by processes that were gone before anybody could look"),
            (report.control_lost, "process events lost"),
            (report.mappings_lost, "mappings lost: a library may carry no probes"),
            (report.messages_lost, "messages lost between loader and pipeline"),
        ):
            if count:
                found.append(f"{count:,} {words}")
        found += [printable(str(one)) for one in self.notes.detached]
        found += [f"not probed: {printable(one.path)}: {printable(one.reason)}" for one in self.notes.refused]
        if not report.targets:
            found.append("no TLS library that can be probed was loaded; `oisp-sensor doctor COMMAND` says more")
        return found

    def _deaths(self) -> list[str]:
        """Workers that ended before they were told to, and what went with them."""
        workers, ring = self.stages.get("workers", {}), self.stages["ring"]
        deaths = workers.get("deaths", 0)
        if not deaths:
            return []
        skipped = ring.get("records_skipped", 0)
        text = (
            f"the worker died {'once' if deaths == 1 else f'{deaths:,} times'}: "
            f"{skipped:,} record{_s(skipped)} skipped ({human(ring.get('bytes_skipped', 0))}), "
            f"{workers['exchanges_unfinished']:,} exchanges unfinished, "
            f"{ring.get('connections_joined', 0):,} connections joined midway"
        )
        return [text]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
