# SPDX-License-Identifier: Apache-2.0
"""The sensor's own numbers as Prometheus text: for a file that a collector picks up, replaced as a whole each time.

Nothing of what was captured is in it but counts. Every number is one that a stage counted itself (cli/account.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oisp_core.errors import ConfigError
from oisp_sensor import version

if TYPE_CHECKING:
    from oisp_sensor.cli.account import Account

__all__ = ["MetricsFile", "render"]

_Sample = tuple[Mapping[str, str], float]


class MetricsFile:
    """`path`, in a folder that is opened once. A reader sees an old file or a new one, never half of one."""

    def __init__(self, path: str) -> None:
        self.path = path
        target = Path(path)
        self._name = target.name
        if self._name in ("", "..") or path.endswith("/"):
            raise ConfigError(path, key="--metrics", expected="the name of a file")
        try:
            self._folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(path, key="--metrics", message=f"its folder: {error.strerror}") from error

    def write(self, text: str) -> None:
        """Raises OSError; the old file stays then."""
        fresh = f".{self._name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(fresh, flags, 0o644, dir_fd=self._folder)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                os.fchmod(fd, 0o644)  # counts only: for whoever collects them
                file.write(text)
            os.rename(fresh, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=self._folder)
            raise

    def close(self) -> None:
        os.close(self._folder)


def render(account: Account, usage: Mapping[str, tuple[int, int]]) -> str:
    """`usage`: by process, nanoseconds of processor time and resident bytes."""
    stages, report = account.stages, account.report
    ring, workers = stages["ring"], stages["workers"]
    losses, exports = account.losses.items(), stages["export"]
    families = [
        _family("info", "gauge", "The sensor that tells this.", [({"version": version(), "scope": report.scope}, 1)]),
        _one("uptime_seconds", "gauge", "Since capture began.", round(account.seconds, 3)),
        _one("records_total", "counter", "Records taken from the ring.", ring.get("records", 0)),
        _one("plaintext_bytes_total", "counter", "Bytes of plaintext in them.", ring.get("payload", 0)),
        _family(
            "lost_records_total",
            "counter",
            "Records that never reached the ring, by cause.",
            [({"cause": cause}, loss.records) for cause, loss in losses],
        ),
        _family(
            "lost_bytes_total",
            "counter",
            "Bytes of plaintext in them.",
            [
                ({"cause": cause, "direction": way}, count)
                for cause, loss in losses
                for way, count in (("write", loss.written), ("read", loss.read))
            ],
        ),
        _family(
            "spared_bytes_total",
            "counter",
            "Bytes that were not copied: of connections that are not AI.",
            [
                ({"level": level, "direction": way}, count)
                for level, spared in account.spared.items()
                for way, count in (("write", spared.written), ("read", spared.read))
            ],
        ),
        _family(
            "activity_lost_total",
            "counter",
            "Records of activity that never reached their ring.",
            [({"kind": kind}, count) for kind, count in account.activity_losses.items()],
        ),
        _one("events_total", "counter", "Events made.", stages["lines"]),
        _by_output("events_written_total", "Events that an output took.", exports, "lines_written"),
        _by_output("events_dropped_total", "Events that an output did not take.", exports, "lines_dropped"),
        _family(
            "engine_total",
            "counter",
            "Counters of the engine.",
            [({"counter": name}, count) for name, count in stages["engine"].items() if not _is_gauge(name)],
        ),
        _family(
            "engine",
            "gauge",
            "What the engine holds.",
            [({"what": name}, count) for name, count in stages["engine"].items() if _is_gauge(name)],
        ),
        _one("targets", "gauge", "Files that carry probes.", len(report.targets)),
        _one("refused", "gauge", "Files that could not be probed.", len(account.notes.refused)),
        _one("late_total", "counter", "Processes that had a library before its probes.", report.late),
        _one("missed_total", "counter", "Processes that were gone before their probes.", report.missed),
        _one("detached_total", "counter", "Processes and files whose probes cost too much.", report.detached),
        _one("worker_deaths_total", "counter", "Workers that died.", workers["deaths"]),
        _one("records_skipped_total", "counter", "Records that a worker died of.", ring.get("records_skipped", 0)),
        _one("exchanges_unfinished_total", "counter", "Exchanges cut by a death.", workers["exchanges_unfinished"]),
        _family(
            "process_cpu_seconds_total",
            "counter",
            "Processor time of the sensor itself.",
            [({"process": name}, cpu / 10**9) for name, (cpu, _) in usage.items()],
        ),
        _family(
            "process_resident_bytes",
            "gauge",
            "Memory of the sensor itself, at its highest.",
            [({"process": name}, size) for name, (_, size) in usage.items()],
        ),
    ]
    return "".join(families)


def _is_gauge(name: str) -> bool:
    return name.endswith("_open") or name in ("held_bytes", "output_bytes")


def _by_output(name: str, text: str, exports: Iterable[Mapping[str, Any]], key: str) -> str:
    return _family(name, "counter", text, [({"output": one["name"]}, one[key]) for one in exports])


def _one(name: str, kind: str, text: str, value: float) -> str:
    return _family(name, kind, text, [({}, value)])


def _family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> str:
    full = f"oisp_sensor_{name}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{full}{{{inner}}} {value:g}" if isinstance(value, float) else f"{full}{{{inner}}} {value}")
    return "\n".join(lines).replace("{} ", " ") + "\n"


def _escaped(text: str) -> str:
    """As the exposition format asks: backslash, quote, line feed."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
