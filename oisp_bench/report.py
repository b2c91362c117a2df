# SPDX-License-Identifier: Apache-2.0
"""A run for people: tables with bars on a terminal, and the table of the README."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oisp_bench.live import Live
from oisp_bench.measure import CaseResult, EngineResult
from oisp_bench.results import Change, Run, best
from oisp_bench.scaling import Scaling
from oisp_bench.spread import Spread

__all__ = ["print_case", "print_changes", "print_head", "print_live", "print_scaling", "readme_table"]

BAR = 8


def print_head(console: Console, run: Run) -> None:
    m, b = run.machine, run.build
    console.print(f"[bold]{m.cpu}[/], {m.cores} cores, kernel {m.kernel}, {m.system}, Python {m.python}, {m.date}")
    console.print(f"scan: {m.simd}; " + ", ".join(f"{name} {version}" for name, version in m.versions.items()))
    if b.wheel:
        console.print(f"oisp {b.version}, machine code of the installed wheel (engine {b.engine_sha256})")
    else:
        console.print(f"[red]not the machine code of an installed wheel[/]: {b.why}; not for publication")
    if m.load > m.cores * 0.75:
        console.print(f"[yellow]the machine is busy (load {m.load}): trust the ratios, not the nanoseconds[/]")


def print_case(console: Console, case: CaseResult) -> None:
    console.print()
    console.print(f"[bold]{case.name}[/]  {case.title}")
    if case.status != "right":
        console.print(Text(f"  {case.status}", style="red"))
        return
    console.print(Text("  " + _about(case), style="dim"))
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("engine", no_wrap=True)
    hits = "" if case.hit_rate is None else f"{case.hit_rate:.1%}"
    for column in (f"ns/{case.unit}", "MB/s", "x peer", "(quartiles)", "hits" if hits else "", "of C limit"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    fastest = max((e.ratio.middle for e in case.engines if e.ratio), default=1.0)
    for engine in case.engines:
        table.add_row(*_row(engine, fastest, hits if engine.role == "ours" else ""))
    console.print(table)
    console.print(Text("  " + case.analysis.strip(), style="italic dim"))
    for note in [*case.notes, *_floor(case)]:
        console.print(Text(f"  {note}", style="yellow"))


def _about(case: CaseResult) -> str:
    parts = [f"{case.bytes / 1e6:.1f} MB", f"{case.segments} segments", f"{case.exchanges} exchanges"]
    if case.deltas:
        parts.append(f"{case.deltas} deltas")
    parts.append(f"{sum(case.events.values())} events of {case.fields} fields, equal in all engines")
    parts.append(f"traffic {case.digest}")
    return ", ".join(parts)


def _row(engine: EngineResult, fastest: float, hits: str) -> list[str | Text]:
    name = Text(engine.name, style="bold" if engine.role == "ours" else "")
    row: list[str | Text] = [name, f"{engine.ns_per_unit.middle:,.0f}", f"{engine.mb_per_s:,.0f}"]
    if engine.ratio is None:
        return [*row, "", "", hits, "", ""]
    r = engine.ratio
    share = f"{engine.share.middle:.0%}" if engine.share else ""
    bar = Text("█" * max(1, round(BAR * r.middle / fastest)), style="green" if engine.role == "ours" else "blue")
    return [*row, f"{r.middle:.2f}", f"({r.low:.2f}..{r.high:.2f})", hits, share, bar]


def _floor(case: CaseResult) -> list[str]:
    ours = best(case)
    if ours is None or ours.ratio is None or case.floor is None or ours.ratio.middle >= case.floor:
        return []
    return [f"below the floor of {case.floor:g}"]


def print_changes(console: Console, changes: list[Change]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("case", "engine", "before", "after", "change", ""):
        table.add_column(column, justify="left" if column in {"case", "engine", ""} else "right")
    colours = {"slower": "red", "faster": "green", "same": "dim"}
    for change in changes:
        word = Text(change.verdict if change.verdict != "same" else "within noise", style=colours[change.verdict])
        table.add_row(
            change.case, change.engine, _spread(change.before), _spread(change.after), f"{change.factor - 1:+.1%}", word
        )
    console.print(table)


def _spread(s: Spread, digits: int = 2) -> str:
    digits = digits if s.middle < 1000 else 0
    return f"{s.middle:,.{digits}f} ({s.low:,.{digits}f}..{s.high:,.{digits}f})"


def print_scaling(console: Console, s: Scaling) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    if s.threads is None:
        table.add_row("two engines on two threads", f"not measured, this process has {s.cpus} CPU")
    else:
        table.add_row("two engines on two threads, times the speed of one", _spread(s.threads))
    table.add_row(f"64 active connections among {s.idle_connections:,}, times the cost of 64 alone", _spread(s.idle))
    table.add_row("a segment of a dismissed connection, ns", _spread(s.dismissed))
    for name, size in s.memory.items():
        table.add_row(f"memory of a connection, {name}, bytes", f"{size:,}")
    for name, per in s.body.items():
        table.add_row(f"request of {name} bytes: ns of a further byte", _spread(per, 3))
    for name, per in s.deltas.items():
        table.add_row(f"stream of {name} deltas: ns of a further delta", _spread(per))
    console.print(table)


def print_live(console: Console, live: Live) -> None:
    """What the sensor added to a call, group by group."""
    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for column in ("alone", "watched", "added, ns (quartiles)", ""):
        table.add_column(column, justify="right", no_wrap=True)
    group = ""
    for row in live.rows:
        if row.group != group:
            group = row.group
            table.add_row(Text(group, style="bold"))
        table.add_row(
            f"  {row.name}",
            f"{row.off.middle:,.0f}",
            f"{row.on.middle:,.0f}",
            _spread(row.added, 0),
            f"{row.share:+.1%}",
        )
    console.print(table)
    for name, account in live.account.items():
        lost = {key: value for key, value in account.get("lost", {}).items() if value} if account else {}
        console.print(f"{name}: " + (f"lost {lost}" if lost else "nothing was lost in the last run"))


# --- the README's table ---

BEGIN = "<!-- oisp-bench: made from benchmarks/result.json by `oisp-bench readme`; do not edit -->"
END = "<!-- oisp-bench: end -->"


def readme_table(run: Run) -> str:
    m, b = run.machine, run.build
    lines = [
        BEGIN,
        "",
        "| Traffic | ns | × the Python pipeline | quartiles | one call a segment | of the C limit | hits |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *map(_readme_row, run.cases),
    ]
    versions = ", ".join(
        f"{name} {m.versions[name]}"
        for name in ("httptools", "msgspec", "ahocorasick_rs", "xxhash")
        if name in m.versions
    )
    code = f"oisp {b.version} from its wheel" if b.wheel else f"not from a wheel ({b.why})"
    lines += ["", *_readme_notes(run)]
    lines += [
        f"{m.cpu}, {m.cores} cores, Linux {m.kernel}, Python {m.python}, {versions}; {code}; {m.date}.",
        "",
        END,
    ]
    return "\n".join(lines)


def _readme_row(case: CaseResult) -> str:
    ours = best(case)
    if case.status != "right" or ours is None:
        return f"| {case.title} | | {case.status} | | | | |"
    share = f"{ours.share.middle:.0%}" if ours.share else ""
    hits = f"{case.hit_rate:.0%}" if case.hit_rate is not None else ""
    ratio = quartiles = calls = ""
    if ours.ratio is not None:
        what = " (bare SHA-256)" if any(engine.name == "sha256" for engine in case.engines) else ""
        ratio, quartiles = (
            f"**{_short(ours.ratio.middle)}**{what}",
            f"{_short(ours.ratio.low)} to {_short(ours.ratio.high)}",
        )
    other = next((engine for engine in case.engines if engine.name == "calls"), None)
    if other is not None and other.ratio is not None:
        calls = _short(other.ratio.middle)
    time = f"{ours.ns_per_unit.middle:,.0f} / {case.unit}"
    return f"| {case.title} | {time} | {ratio} | {quartiles} | {calls} | {share} | {hits} |"


def _short(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _readme_notes(run: Run) -> list[str]:
    """What does not fit the table: the scalar path, and what grows."""
    lines = []
    scalar = [
        f"{case.title}: {_short(ours.ratio.middle)}"
        for case in run.scalar
        if (ours := best(case)) is not None and ours.ratio is not None
    ]
    if scalar:
        lines.append(f"Without vector instructions (`OISP_SIMD=scalar`): {'; '.join(scalar)}.")
    if run.scaling is not None:
        s = run.scaling
        told = (
            []
            if s.threads is None
            else [f"two engines on two threads run at {_spread(s.threads)} times the speed of one"]
        )
        told.append(f"64 active connections among {s.idle_connections:,} cost {_spread(s.idle)} times what 64 alone do")
        told.append(f"a segment of a dismissed connection takes {s.dismissed.middle:.0f} ns")
        lines.append(f"Medians and quartiles: {'; '.join(told)}.")
    return [line for text in lines for line in (text, "")]
