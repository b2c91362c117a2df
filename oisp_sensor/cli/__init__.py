# SPDX-License-Identifier: Apache-2.0
"""The command line: finds the command that is asked for, runs it, and is the one place that prints errors.

Only the module of that command is imported, so that `--help` answers at once. Exit codes: 0 done, 1 the answer is no
(an invalid event), 2 a mistake of the user or of the installation, 130 interrupted; `record -- COMMAND` gives the
command's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from oisp_sensor.cli.command import Verb

__all__ = ["COMMANDS", "main"]

# Name -> one line for the overview, so that no module is imported for it.
COMMANDS = {
    "record": "capture a command, a process or the machine, and write events",
    "replay": "make events from a recording",
    "show": "read event files as text: who asked which model what",
    "validate": "check events against the schema",
    "providers": "list the providers that are known, check files of your own",
    "explain": "say why a URL or a request counts as AI, or not",
    "doctor": "say what can be captured here, and what is missing",
}
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(words)
        finally:  # also of --help, which leaves by SystemExit
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What reads our output has gone: nothing to say, and nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(words: list[str]) -> int:
    words, rest = _split(words)
    wanted = next((word for word in words if not word.startswith("-")), None)
    parser, commands, verb = _parsers(wanted)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        hint = "; a command goes after `--`" if wanted == "record" and not unknown[0].startswith("-") else ""
        verb.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if args.command_name is None:
        parser.print_help()
        return 2
    from oisp_core.errors import OispError  # not for --help: it brings the engine with it

    try:
        if hasattr(args, "config"):
            from oisp_sensor import settings

            verb.set_defaults(**settings.read(args.config, vars(args)))
            args = parser.parse_args(words)
        args.rest = rest
        return commands[args.command_name].run(args)
    except OispError as error:
        from oisp_sensor.cli.command import error_line

        error_line(str(error))
        return error.exit_code


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """`record ... -- COMMAND`: what follows the first `--` is the command's, whatever it looks like."""
    if words[:1] == ["record"] and "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    return words, []


def _parsers(wanted: str | None) -> tuple[argparse.ArgumentParser, dict[str, Verb], argparse.ArgumentParser]:
    """The parser of all, the command that is wanted, and the parser that speaks of mistakes: that command's own."""
    from oisp_sensor import version

    parser = argparse.ArgumentParser(
        prog="oisp-sensor",
        description="Sees what AI agents do on this machine, and writes it as OISP events.",
        epilog="`oisp-sensor COMMAND --help` says more.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"oisp-sensor {version()}")
    verbs = parser.add_subparsers(dest="command_name", metavar="COMMAND", title="commands")
    loaded: dict[str, Verb] = {}
    speaker = parser
    for name, line in COMMANDS.items():
        module = f"oisp_sensor.cli.{name}"
        if find_spec(module) is None:
            continue
        if name != wanted:
            verbs.add_parser(name, help=line)
            continue
        source = import_module(module)
        loaded[name] = command = cast("Verb", source.command)
        speaker = verbs.add_parser(
            name,
            help=line,
            allow_abbrev=False,
        )
        command.prepare_parser(speaker)
    return parser, loaded, speaker
