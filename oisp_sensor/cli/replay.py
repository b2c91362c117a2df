# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor replay`: the events of a recording, through the same engine as live, under any policy.

The recording is looked through before anything is written: one that is cut or broken gives an error that names the
place, and no half output.
"""

from __future__ import annotations

import argparse
import struct
from itertools import islice
from typing import TYPE_CHECKING, Any

from oisp_core.errors import ConfigError, RecordingError
from oisp_sensor.cli.command import add_engine_options, error_line
from oisp_sensor.cli.output import Outputs, add_output_options, argument_policy, make_engine, open_outputs

if TYPE_CHECKING:
    from oisp_sensor.capture.recording import Recording
    from oisp_sensor.enrich.enricher import ArgumentPolicy

_BATCH = 256
_TURN_NS = 50_000_000  # live, the engine hears of the time as often
_HEAD = struct.Struct("<IHH")
_CONTEXT = struct.Struct("<IHHQII")
_KIND_CONTEXT = 7
# Where a record has its time, by kind; of a data record the return of the call.
_TIME_AT = {1: 24, 2: 16, 3: 16, 4: 16, 5: 16, 6: 8}


class Replay:
    name = "replay"
    help = "make events from a recording"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.description = (
            "Make events from a recording that `record --raw` wrote, through the same engine, under any policy. Needs "
            "neither root nor Linux."
        )
        parser.add_argument("file", metavar="FILE", help="the recording")
        parser.add_argument("--partial", action="store_true", help="take a recording that breaks off up to there")
        add_output_options(parser, "default: a readable view on a terminal, NDJSON into a pipe")
        add_engine_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        from oisp_sensor.capture.recording import Recording

        try:
            recording = Recording(args.file)
        except OSError as error:
            raise ConfigError(args.file, message=f"cannot be read: {error.strerror or error}") from error
        with recording:
            end, fault = _whole_records(recording)
            if fault is not None and not args.partial:
                raise RecordingError(
                    fault.file,
                    fault.offset,
                    fault.expected,
                    fault.got,
                    message="broken (--partial takes what is before)",
                )
            engine = make_engine(args, recording.clock_base_ns)
            outputs = open_outputs(args, args.file, moving=False)
            try:
                _Player(engine, outputs, argument_policy(args)).play(recording, end)
            finally:
                outputs.close()
        if fault is not None:
            error_line(str(fault))
        for exporter in outputs.exporters:
            if exporter.written.lines_dropped:
                error_line(f"{exporter.written.last_error}: {exporter.written.lines_dropped:,} events were not written")
                return 2
        if outputs.view is not None:
            outputs.view.sums()
        return 0


def _whole_records(recording: Recording) -> tuple[int, RecordingError | None]:
    """How many records are whole, and what is wrong after them."""
    count = 0
    try:
        for _ in recording:
            count += 1
    except RecordingError as fault:
        return count, fault
    return count, None


class _Player:
    def __init__(self, engine: Any, outputs: Outputs, policy: ArgumentPolicy) -> None:
        self._engine = engine
        self._outputs = outputs
        self._policy = policy

    def play(self, recording: Recording, end: int) -> None:
        told = 0
        for number, record in enumerate(islice(recording, end)):
            kind = _HEAD.unpack_from(record)[1]
            time = self._time(kind, record)
            if time >= told + _TURN_NS:
                told = time
                self._engine.advance(recording.clock_base_ns + time)
                self._deliver()
            if kind == _KIND_CONTEXT and len(record) >= _CONTEXT.size:
                self._context(record)
                continue
            if self._engine.feed_packed(record) or number % _BATCH == 0:
                self._deliver()
        self._engine.close()
        self._deliver()

    @staticmethod
    def _time(kind: int, record: memoryview) -> int:
        at = _TIME_AT.get(kind)
        return 0 if at is None or len(record) < at + 8 else int.from_bytes(record[at : at + 8], "little")

    def _context(self, record: memoryview) -> None:
        """Recorded whole; what of it is said is this run's policy."""
        from oisp_sensor.enrich.enricher import with_policy

        _, _, _, conn, size, _ = _CONTEXT.unpack_from(record)
        members = with_policy(bytes(record[_CONTEXT.size : _CONTEXT.size + size]), self._policy)
        if members:
            self._engine.set_context(conn, members)

    def _deliver(self) -> None:
        lines = self._engine.drain()
        if lines:
            for exporter in self._outputs.exporters:
                exporter.write(lines)
            if self._outputs.view is not None:
                self._outputs.view.write(lines)


command = Replay()
