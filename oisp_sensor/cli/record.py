# SPDX-License-Identifier: Apache-2.0
"""`oisp-sensor record`: captures a scope until it ends or is told to, and writes events.

Here are its words; one run of it is recorder.py.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from oisp_core.errors import ConfigError
from oisp_sensor.cli.command import add_engine_options, size, usage_error
from oisp_sensor.cli.output import EVENTS, add_output_options

if TYPE_CHECKING:
    from oisp_sensor.capture import Scope

__all__ = ["command"]


class Record:
    name = "record"
    help = "capture and write events"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.usage = "%(prog)s [options] -- COMMAND [ARGUMENT ...]\n       %(prog)s [options] (--pid N | --all | ...)"
        parser.description = (
            "Capture what a command and its descendants say to AI models, from before its first instruction, and exit "
            "as it does; or what running processes say, until Ctrl-C. Nothing outside the scope is captured. Needs "
            "Linux and root; under sudo the command runs as the calling user, who also owns the files."
        )
        scope = parser.add_argument_group("the scope, one of").add_mutually_exclusive_group()
        scope.add_argument("--pid", metavar="N", type=_number, action="append", help="this process and its children")
        scope.add_argument("--cgroup", metavar="PATH", help="all processes of a control group (version 2)")
        scope.add_argument("--container", metavar="ID", help="all processes of a container, by the beginning of its id")
        scope.add_argument("--exe", metavar="FILE", help="all processes that run this file, now or later")
        scope.add_argument("--user", metavar="NAME|UID", help="all processes of a user")
        scope.add_argument("--all", action="store_true", help="every process of this machine")
        parser.add_argument(
            "--as", metavar="USER", dest="as_user", help="run the COMMAND as this user (under sudo: as the caller)"
        )
        parser.add_argument(
            "--library", metavar="FILE", action="append", help="probe this file only (may be given several times)"
        )
        parser.add_argument(
            "--plaintext", action="store_true", help="also HTTP without TLS, as models on this machine speak it"
        )
        parser.add_argument(
            "--stdio",
            action="store_true",
            help="also MCP over the standard streams of servers that the scope starts; slows every process a little",
        )
        parser.add_argument(
            "--ring-size", metavar="SIZE", type=size, help="of the buffer between kernel and sensor (16M)"
        )
        parser.add_argument(
            "--no-dismiss", action="store_true", help="copy also the bytes of connections that are known not to be AI"
        )
        parser.add_argument(
            "--max-overhead",
            metavar="PERCENT",
            type=_percent,
            default=5.0,
            help="of one core that probes may cost a process before they are taken from it (5; 0: no bound)",
        )
        parser.add_argument(
            "--uretprobes",
            action="store_true",
            help="also functions whose returns cannot be told, by uretprobes, in processes that they do not harm",
        )
        activity = parser.add_argument_group("what the processes do")
        activity.add_argument(
            "--activity",
            metavar="KINDS",
            type=_kinds,
            default=("process", "network"),
            help="events of these kinds, with commas between: process, network, file; or none (process,network)",
        )
        activity.add_argument(
            "--files",
            action="store_true",
            help="the same as adding file to --activity: its system-call tracepoint slows every process a little",
        )
        activity.add_argument(
            "--exclude-file", metavar="GLOB", action="append", default=[], help="no events of such files (* crosses /)"
        )
        add_output_options(parser, f"default: {EVENTS} with a COMMAND; else a view on a terminal, NDJSON into a pipe")
        parser.add_argument("--raw", metavar="FILE", help="also keep the captured plaintext, all of it, for `replay`")
        parser.add_argument("--report", metavar="FILE", help="write the account of the run as JSON")
        parser.add_argument(
            "--metrics", metavar="FILE", help="the sensor's own numbers, every 10 s, as Prometheus text"
        )
        add_engine_options(parser)

    def run(self, args: argparse.Namespace) -> int:
        scope = _scope(args)
        from oisp_sensor.recorder import Recorder

        return Recorder(args, scope).run()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a process id, got {text!r}")
    return int(text)


def _percent(text: str) -> float:
    try:
        found = float(text.removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 10_000:
        raise argparse.ArgumentTypeError(f"expected a percentage such as 5, got {text!r}")
    return found


def _kinds(text: str) -> tuple[str, ...]:
    kinds = () if text == "none" else tuple(word.strip() for word in text.split(","))
    for kind in kinds:
        if kind not in ("process", "network", "file"):
            raise argparse.ArgumentTypeError(f"expected process, network, file or none, got {kind!r}")
    return kinds


def _scope(args: argparse.Namespace) -> Scope:
    """What was asked for; the mistakes in it before anything is loaded."""
    if sys.platform != "linux":
        raise usage_error(f"record needs Linux, and this is {sys.platform}", "replay, show and validate work here")
    from oisp_sensor.capture import Scope

    named = [flag for flag in ("pid", "cgroup", "container", "exe", "user", "all") if getattr(args, flag)]
    if args.rest and named:
        raise usage_error(f"a COMMAND is a scope of its own: leave out --{named[0]}")
    if args.as_user is not None and not args.rest:
        raise usage_error("--as is for a COMMAND", "give `-- COMMAND ...`")
    if args.rest:
        return Scope.command()
    if args.pid:
        return Scope.pid(*args.pid)
    if args.cgroup:
        return Scope.of_cgroup(args.cgroup)
    if args.container:
        return Scope.container(args.container)
    if args.exe:
        return Scope.executable(args.exe)
    if args.user:
        return Scope.user(uid_of(args.user, "--user"))
    if args.all:
        return Scope.everything()
    raise usage_error(
        "nothing to capture",
        "give `-- COMMAND ...`, --pid N, --cgroup PATH, --container ID, --exe FILE, --user NAME or --all",
    )


def uid_of(text: str, flag: str) -> int:
    """By number or by name."""
    import pwd

    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError as error:
        raise ConfigError(key=flag, expected="a user of this machine", got=text) from error


command = Record()
