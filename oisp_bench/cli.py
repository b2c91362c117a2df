# SPDX-License-Identifier: Apache-2.0
"""The command line of `oisp-bench`. Exit codes: 0 done, 1 the answer is no (wrong events, slower), 2 a mistake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oisp_core.errors import ConfigError, OispError

if TYPE_CHECKING:
    from rich.console import Console

    from oisp_bench import results

__all__ = ["main", "parser"]

SCALAR = ("chat-2k", "chat-20k", "sse-openai", "sse-anthropic", "noise")


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="oisp-bench",
        description="How fast the engine is: every engine's events are checked before anything is timed.",
        allow_abbrev=False,
    )
    verbs = whole.add_subparsers(dest="verb", metavar="COMMAND", title="commands", required=True)
    run = verbs.add_parser("run", help="measure cases (all of them without CASE)", allow_abbrev=False)
    run.add_argument("cases", nargs="*", metavar="CASE", help="a name or its beginning, a group, or a TOML file")
    run.add_argument("--rounds", type=_count, default=11, metavar="N", help="rounds of each case (default 11)")
    run.add_argument(
        "--seconds", type=float, default=20.0, help="begin no round of a case after this time (default 20)"
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="store the result for `compare`")
    run.add_argument(
        "--store",
        type=Path,
        metavar="FILE",
        help="everything that the README quotes, into FILE: all cases, some without vector instructions, and `scale`",
    )
    run.add_argument(
        "--corpus",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="recorded traffic: a recording of the sensor, or a folder of exchanges (docs/PERFORMANCE.md)",
    )
    run.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots, in one file")
    compare = verbs.add_parser(
        "compare", help="two stored results, of `run` or of `make bench`: what changed beyond noise", allow_abbrev=False
    )
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    listing = verbs.add_parser("list", help="the cases, and the engines that can run here", allow_abbrev=False)
    listing.add_argument("cases", nargs="*", metavar="CASE")
    corpus = verbs.add_parser("corpus", help="make the traffic of a case, as a recording", allow_abbrev=False)
    corpus.add_argument("cases", nargs="+", metavar="CASE")
    corpus.add_argument("--out", type=Path, metavar="FILE", help="write it here, for `oisp-sensor replay` (one CASE)")
    scale = verbs.add_parser("scale", help="threads, a million silent connections, memory, growth", allow_abbrev=False)
    scale.add_argument("--idle", type=_count, default=1_000_000, metavar="N", help="silent ones (default 1000000)")
    scale.add_argument("--rounds", type=_count, default=11, metavar="N", help="rounds of each (default 11)")
    scale.add_argument("--json", type=Path, metavar="FILE", help="add it to this stored result")
    live = verbs.add_parser("live", help="what capture costs the watched and others (root)", allow_abbrev=False)
    live.add_argument("groups", nargs="*", metavar="GROUP", help="tls, activity; without one, all")
    live.add_argument("--rounds", type=_count, default=7, metavar="N", help="with and without the sensor (default 7)")
    live.add_argument("--json", type=Path, metavar="FILE", help="store the result")
    record = verbs.add_parser("record", help="record a command's traffic as a corpus (root)", allow_abbrev=False)
    record.usage = "%(prog)s --out FILE [--library FILE] [--plaintext] -- COMMAND [ARGUMENT ...]"
    record.add_argument("--out", type=Path, metavar="FILE", required=True, help="for `run --corpus FILE`: plaintext")
    record.add_argument("--library", metavar="FILE", action="append", default=[], help="probe this file only")
    record.add_argument("--plaintext", action="store_true", help="also HTTP without TLS")
    record.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    readme = verbs.add_parser("readme", help="print the table of the README from a stored result", allow_abbrev=False)
    readme.add_argument("result", type=Path)
    readme.add_argument("--write", type=Path, metavar="FILE", help="put it into this README, in place of what it has")
    return whole


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: expected 1 or more")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        code: int = globals()[f"_{args.verb}"](args)
        sys.stdout.flush()
        return code
    except OispError as error:
        print(f"oisp-bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from oisp_bench import cases, machine, measure, report, results

    chosen = [cases.recorded(path) for path in args.corpus]
    if args.cases or not chosen:
        chosen += cases.select(args.cases)
    if args.store and (args.cases or args.corpus):
        raise ConfigError(key="--store", message="stores all cases: name none, and no corpus")
    console, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    cpus = measure.allowed()
    here, build, cpu = machine.machine(), machine.build(), measure.pinned()
    done: list[measure.CaseResult] = []
    run = results.Run(machine=here, build=build, cpu=cpu, cases=done)
    report.print_head(console, run)
    with progress.status("") as status:
        for case in chosen:
            one = measure.measure(case, rounds=args.rounds, seconds=args.seconds, say=status.update)
            done.append(one)
            report.print_case(console, one)
        if args.store:
            measure.allow(cpus)
            run = _completed(run, console, status.update)
    for path in (args.json, args.store):
        if path:
            results.write(run, path)
    if args.html:
        from oisp_bench.html import page

        results.put(args.html, page(run).encode())
    return 0 if all(case.status == "right" for case in [*done, *run.scalar]) else 1


def _completed(run: results.Run, console: Console, say: Callable[[str], None]) -> results.Run:
    """With the figures of the scalar path, for which another process is needed, and of what grows."""
    import subprocess
    import tempfile

    import msgspec

    from oisp_bench import report, results, scaling

    say("without vector instructions")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "scalar.json"
        command = [sys.executable, "-P", "-m", "oisp_bench", "run", *SCALAR, "--rounds", "7", "--json", str(file)]
        environment = {**os.environ, "OISP_SIMD": "scalar", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False, timeout=600)
        scalar = results.read(file).cases
    for case in scalar:
        report.print_case(console, case)
    found = scaling.measure_scaling(say=say)
    report.print_scaling(console, found)
    return msgspec.structs.replace(run, scalar=scalar, scaling=found)


def _compare(args: argparse.Namespace) -> int:
    from rich.console import Console

    from oisp_bench import report, results, stages

    console = Console(highlight=False)
    if _is_stages(args.before) and _is_stages(args.after):
        drift, moved = stages.changes(stages.read(args.before), stages.read(args.after))
        console.print(f"nanoseconds a unit; the rivals took {drift - 1:+.1%}, which is the machine's and is taken out")
        report.print_changes(console, moved)
        return 1 if any(change.verdict == "slower" for change in moved) else 0
    before, after = results.read(args.before), results.read(args.after)
    if before.machine.cpu != after.machine.cpu:
        console.print(f"[yellow]two machines: {before.machine.cpu} and {after.machine.cpu}[/]")
    found = results.changes(before, after)
    report.print_changes(console, found)
    return 1 if any(change.verdict == "slower" for change in found) else 0


def _is_stages(path: Path) -> bool:
    """Stored by pytest-benchmark, not by `run`."""
    try:
        return b'"machine_info"' in path.read_bytes()
    except OSError:
        return False


def _list(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from oisp_bench import cases
    from oisp_bench.engines import REGISTRY, missing

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("case", "group", "engines", "floor", "title"):
        table.add_column(column)
    for case in cases.select(args.cases):
        floor = "" if case.floor is None else f"{case.floor:g}"
        table.add_row(case.name, case.group, ", ".join([*case.engines, *case.peers]), floor, case.title)
    console.print(table)
    for name, factory in REGISTRY.items():
        lacks = missing(factory)
        state = f" (not here: {lacks} is not installed)" if lacks else ""
        console.print(f"{name}: {factory.about}{state}", soft_wrap=True)
    return 0


def _corpus(args: argparse.Namespace) -> int:
    from oisp_bench import cases, corpora, results

    chosen = cases.select(args.cases)
    if args.out and len(chosen) != 1:
        raise ConfigError(key="--out", message=f"takes one case, {len(chosen)} are named")
    for case in chosen:
        made = corpora.make(case.name, case.corpus, f"{case.name}.toml")
        print(
            f"{case.name}  {made.digest}  {made.size} bytes  {len(made.segments)} segments  {made.exchanges} exchanges"
        )
        if args.out:
            results.put(args.out, made.recording())
    return 0


def _scale(args: argparse.Namespace) -> int:
    import msgspec
    from rich.console import Console

    from oisp_bench import report, results, scaling

    progress = Console(stderr=True, highlight=False)
    with progress.status("") as status:
        found = scaling.measure_scaling(idle=args.idle, rounds=args.rounds, say=status.update)
    report.print_scaling(Console(highlight=False), found)
    if args.json:
        run = results.read(args.json)
        results.write(msgspec.structs.replace(run, scaling=found), args.json)
    return 0


def _live(args: argparse.Namespace) -> int:
    from rich.console import Console

    from oisp_bench import live, machine, report, results

    known = [group.name for group in live.GROUPS]
    for name in args.groups:
        if name not in known:
            raise ConfigError(key="GROUP", expected=known, got=name)
    here, build = machine.machine(), machine.build()
    with Console(stderr=True, highlight=False).status("") as status:
        rows, account = live.measure_live(args.groups, rounds=args.rounds, say=status.update)
    found = live.Live(machine=here, build=build, rows=rows, account=account)
    report.print_live(Console(highlight=False), found)
    if args.json:
        results.put(args.json, results.encoded(found))
    return 0


def _record(args: argparse.Namespace) -> int:
    """The sensor does it; what it wrote is read again before it is called a corpus."""
    import subprocess

    from oisp_bench import recorded

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise ConfigError(key="COMMAND", message="is missing", hint="oisp-bench record --out FILE -- COMMAND")
    words = [word for file in args.library for word in ("--library", file)]
    words += ["--plaintext"] if args.plaintext else []
    sensor = [sys.executable, "-P", "-m", "oisp_sensor", "record", "--raw", str(args.out), "--out", os.devnull]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*sensor, "--no-dismiss", "--activity", "none", *words, "--", *command], env=environment, check=False
    )
    if not args.out.is_file():
        return done.returncode or 2
    corpus = recorded.load(args.out)
    print(f"{corpus.name}  {corpus.digest}  {corpus.size} bytes  {len(corpus.segments)} segments")
    return done.returncode


def _readme(args: argparse.Namespace) -> int:
    from oisp_bench import report, results

    table = report.readme_table(results.read(args.result))
    if args.write is None:
        print(table)
        return 0
    try:
        text = args.write.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(args.write, message=f"cannot be read: {error.strerror}") from None
    before, begin, rest = text.partition(report.BEGIN)
    _, end, after = rest.partition(report.END)
    if not begin or not end:
        raise ConfigError(args.write, expected=f"the lines {report.BEGIN} and {report.END}", got="neither")
    results.put(args.write, (before + table + after).encode())
    return 0
