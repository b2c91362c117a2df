# SPDX-License-Identifier: Apache-2.0
"""Where the events of `record` and `replay` go: a file, standard output, or a view for whoever sits at the terminal."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oisp_core.errors import ConfigError
from oisp_sensor.cli.command import read_hash_key, size, usage_error
from oisp_sensor.export.jsonl import ROTATE_LEAST, open_exporter

if TYPE_CHECKING:
    from oisp_sensor.enrich.enricher import ArgumentPolicy
    from oisp_sensor.export.exporter import Exporter
    from oisp_sensor.supervisor import Output
    from oisp_sensor.view.live import LiveView

__all__ = [
    "EVENTS",
    "Outputs",
    "add_output_options",
    "argument_policy",
    "make_engine",
    "open_for_worker",
    "open_outputs",
]

EVENTS = "oisp-events.jsonl"


def add_output_options(parser: argparse.ArgumentParser, default: str) -> None:
    output = parser.add_argument_group("where they go")
    output.add_argument("--out", metavar="FILE", help=f"append the events to FILE; - is standard output ({default})")
    output.add_argument(
        "--rotate", metavar="SIZE", type=size, help="before FILE grows beyond SIZE (64M, 1G), move it to FILE.TIME"
    )


@dataclass
class Outputs:
    exporters: list[Exporter]
    view: LiveView | None

    def close(self) -> None:
        for exporter in self.exporters:
            exporter.close()


def open_outputs(args: argparse.Namespace, what: str, *, default: str | None = None, moving: bool = True) -> Outputs:
    """`default`: the file where none is named. Without: NDJSON on a piped standard output, else a view."""
    path = args.out or default
    check_rotation(args, path)
    exporters = [open_exporter(path, rotate_bytes=args.rotate)] if path else []
    if default is not None or path == "-":
        return Outputs(list(exporters), None)
    if not sys.stdout.isatty():
        return Outputs(list(exporters) or [open_exporter("-")], None)
    from oisp_sensor.view.live import LiveView

    return Outputs(list(exporters), LiveView(what, moving=moving))


def open_for_worker(args: argparse.Namespace) -> tuple[list[Output], bool]:
    """The same for `record`, whose worker writes and opens nothing: what it is given, and whether it draws a view."""
    from oisp_sensor.export.files import OutputFile, owner_of_files
    from oisp_sensor.supervisor import Output

    path = args.out or (EVENTS if args.rest else None)
    check_rotation(args, path)
    outputs: list[Output] = []
    if path not in (None, "-"):
        file = OutputFile(path, owner_of_files())
        try:
            outputs.append(Output(path, file, file.open(), args.rotate or 0))
        except ConfigError:
            file.close()
            raise
    if args.rest or path == "-":
        return outputs or [Output("-")], False
    if not sys.stdout.isatty():
        return outputs or [Output("-")], False
    return outputs, True


def check_rotation(args: argparse.Namespace, path: str | None) -> None:
    if args.rotate is None:
        return
    if path in (None, "-"):
        raise usage_error("--rotate needs --out FILE", "standard output cannot be rotated")
    if args.rotate < ROTATE_LEAST:
        raise ConfigError(key="--rotate", expected=f"at least {ROTATE_LEAST} bytes", got=args.rotate)


def make_engine(args: argparse.Namespace, clock_base_ns: int) -> Any:
    """The engine that these flags ask for."""
    from oisp_core.engine import Engine
    from oisp_sensor.provider_cache import provider_tables

    return Engine(
        content=args.content,
        chunks=args.chunks,
        providers=provider_tables(args.providers),
        id_seed=args.id_seed,
        hash_key=read_hash_key(args.hash_key),
        clock_base_ns=clock_base_ns,
    )


def argument_policy(args: argparse.Namespace) -> ArgumentPolicy:
    from oisp_sensor.enrich.enricher import ArgumentPolicy
    from oisp_sensor.enrich.mask import Hasher

    return ArgumentPolicy(args.content, not args.no_cmdline, Hasher(read_hash_key(args.hash_key)))
