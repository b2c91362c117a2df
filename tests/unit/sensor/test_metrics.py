# SPDX-License-Identifier: Apache-2.0
"""The sensor's own numbers as Prometheus text: every line parses, and the file is whole at any moment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oisp_core.errors import ConfigError
from oisp_sensor.capture.capture import Loss, Report
from oisp_sensor.cli.account import Account
from oisp_sensor.metrics import MetricsFile, render
from oisp_sensor.supervisor import Notes

_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"(?P<name>[a-z_]+)(?:\{{(?P<labels>{_LABEL}(?:,{_LABEL})*)\}})? (?P<value>[0-9.e+-]+)\Z")


def account(path: str = "events.jsonl") -> Account:
    export = {"name": path, "lines_taken": 7, "lines_written": 6, "lines_dropped": 1, "bytes_written": 99}
    stages = {
        "ring": {"records": 12, "payload": 3456, "records_skipped": 1},
        "engine": {"requests": 4, "connections_open": 2, "held_bytes": 5},
        "enrich": {},
        "export": [export],
        "lines": 7,
        "workers": {"deaths": 1, "exchanges_unfinished": 1, "connections_cut": 1},
    }
    losses = {"ring_full": Loss(3, 100, 20)}
    return Account(stages, losses, Report("all", "modern", True, True, late=2), Notes(), 1.5, {"process": 4})


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            found[line.rpartition(" ")[0]] = float(match["value"])
    return found


def test_every_number() -> None:
    text = render(account(), {"worker": (2_500_000_000, 1 << 20)})
    found = samples(text)
    expected = {
        "oisp_sensor_records_total": 12,
        "oisp_sensor_plaintext_bytes_total": 3456,
        'oisp_sensor_lost_records_total{cause="ring_full"}': 3,
        'oisp_sensor_lost_bytes_total{cause="ring_full",direction="write"}': 100,
        'oisp_sensor_lost_bytes_total{cause="ring_full",direction="read"}': 20,
        'oisp_sensor_activity_lost_total{kind="process"}': 4,
        'oisp_sensor_events_written_total{output="events.jsonl"}': 6,
        'oisp_sensor_events_dropped_total{output="events.jsonl"}': 1,
        'oisp_sensor_engine_total{counter="requests"}': 4,
        'oisp_sensor_engine{what="connections_open"}': 2,
        "oisp_sensor_late_total": 2,
        "oisp_sensor_worker_deaths_total": 1,
        "oisp_sensor_records_skipped_total": 1,
        'oisp_sensor_process_cpu_seconds_total{process="worker"}': 2.5,
        'oisp_sensor_process_resident_bytes{process="worker"}': 1 << 20,
    }
    assert expected.items() <= found.items()
    # Each family is described once, before its samples.
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert {key.partition("{")[0] for key in found} <= set(names)


@pytest.mark.parametrize("path", ['quo"te', "back\\slash", "line\nfeed"])
def test_hostile_names(path: str) -> None:
    assert samples(render(account(path), {}))


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "sensor.prom"
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    made = MetricsFile(str(path))
    made.write("one 1\n")
    with path.open(encoding="utf-8") as reader:
        made.write("two 2\n")
        assert reader.read() == "one 1\n"
    assert path.read_text(encoding="utf-8") == "two 2\n"
    assert not path.is_symlink()
    assert victim.read_text() == "precious"
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["sensor.prom", "victim"]
    made.close()


@pytest.mark.parametrize("path", ["/no/such/folder/x", "folder/", ".."])
def test_mistakes(path: str) -> None:
    with pytest.raises(ConfigError):
        MetricsFile(path)
