# SPDX-License-Identifier: Apache-2.0
"""A run as one self-contained HTML page: tables, and a plot of every case as SVG. No script, nothing is loaded."""

from __future__ import annotations

from html import escape

from oisp_bench.measure import CaseResult, EngineResult
from oisp_bench.results import Run, best

__all__ = ["page"]

STYLE = """
:root{color-scheme:light dark;--ours:#0b7a4b;--peer:#4064b0;--limit:#888;--ink:#222;--paper:#fff;--line:#ddd}
@media(prefers-color-scheme:dark){:root{--ours:#3fbf86;--peer:#7f9fe6;--limit:#999;--ink:#ddd;--paper:#161616;
--line:#333}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}
svg{width:100%;height:auto;margin:.6rem 0}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
.ours{fill:var(--ours)}.peer{fill:var(--peer)}.limit{fill:var(--limit)}
.whisker,.axis{stroke:var(--ink);stroke-width:1}.dot{opacity:.45}
.note{color:#b4690e}.bad{color:#c0392b}small{opacity:.75}
"""
METHOD = (
    "CPU time of one pinned thread, engines in turns, round by round. Bars are medians of the ratios to the Python "
    "pipeline, whiskers their quartiles, dots the rounds. Events were equal in every engine, field by field, before "
    "anything was timed."
)
LEFT, WIDTH, RIGHT, ROW = 130, 700, 70, 26


def page(run: Run) -> str:
    m, b = run.machine, run.build
    code = f"oisp {b.version}, machine code of the installed wheel" if b.wheel else f"not from a wheel: {b.why}"
    where = f"{m.cpu}, {m.cores} cores, kernel {m.kernel}, {m.system}, Python {m.python}, {m.date}"
    versions = ", ".join(f"{name} {version}" for name, version in m.versions.items())
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>oisp-bench</title>',
        f"<style>{STYLE}</style><h1>oisp-bench</h1><p>{escape(where)}<br>{escape(versions)}<br>",
        f'<span class="{"" if b.wheel else "bad"}">{escape(code)}</span></p>',
        f"<p><small>{METHOD}</small></p>",
        _summary(run),
    ]
    parts += [_case(case) for case in run.cases]
    return "\n".join(parts) + "</html>\n"


def _summary(run: Run) -> str:
    rows = []
    for case in run.cases:
        ours = best(case)
        link = f'<a href="#{escape(case.name)}">{escape(case.title)}</a>'
        if case.status != "right" or ours is None:
            rows.append(f'<tr><td>{link}<td colspan="4" class="bad">{escape(case.status)}')
            continue
        ratio = f"{ours.ratio.middle:.2f}" if ours.ratio else ""
        share = f"{ours.share.middle:.0%}" if ours.share else ""
        floor = f"{case.floor:g}" if case.floor else ""
        rows.append(f"<tr><td>{link}<td>{ours.ns_per_unit.middle:,.0f} ns/{case.unit}<td>{ratio}<td>{share}<td>{floor}")
    head = "<tr><th>traffic<th>time<th>× peer<th>of C limit<th>floor"
    return f"<table>{head}{''.join(rows)}</table>"


def _case(case: CaseResult) -> str:
    head = f'<h2 id="{escape(case.name)}">{escape(case.title)}</h2><p>{escape(case.analysis.strip())}</p>'
    if case.status != "right":
        return head + f'<p class="bad">{escape(case.status)}</p>'
    hits = f", template hit rate {case.hit_rate:.1%}" if case.hit_rate is not None else ""
    about = (
        f"{case.bytes / 1e6:.1f} MB, {case.segments} segments, {case.exchanges} exchanges, {case.deltas} deltas{hits}; "
        f"{sum(case.events.values())} events of {case.fields} fields; content {case.content}; traffic {case.digest}"
    )
    rows = "".join(_row(engine) for engine in case.engines)
    columns = f"<tr><th>engine<th>ns/{escape(case.unit)}<th>MB/s<th>× peer<th>quartiles<th>of C limit"
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in case.notes)
    return f"{head}<p><small>{escape(about)}</small></p>{_plot(case)}<table>{columns}{rows}</table>{notes}"


def _row(engine: EngineResult) -> str:
    cells = [escape(engine.name), f"{engine.ns_per_unit.middle:,.0f}", f"{engine.mb_per_s:,.0f}"]
    if engine.ratio:
        cells += [f"{engine.ratio.middle:.2f}", f"{engine.ratio.low:.2f} to {engine.ratio.high:.2f}"]
        cells.append(f"{engine.share.middle:.0%}" if engine.share else "")
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells)


def _plot(case: CaseResult) -> str:
    """Speed relative to the first peer, one bar an engine."""
    shown = [engine for engine in case.engines if engine.ratio]
    peer = next((engine for engine in shown if engine.role == "peer"), None)
    if peer is None:
        return ""
    most = max(e.ratio.high for e in shown if e.ratio) * 1.05
    wide = WIDTH - LEFT - RIGHT
    parts = []
    for index, engine in enumerate(shown):
        assert engine.ratio is not None
        y, ratio = index * ROW + 4, engine.ratio
        x = [LEFT + value / most * wide for value in (ratio.low, ratio.middle, ratio.high)]
        middle = y + (ROW - 8) / 2
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(engine.name)}</text>')
        parts.append(
            f'<rect class="{engine.role}" x="{LEFT}" y="{y}" width="{x[1] - LEFT:.1f}" height="{ROW - 8}" rx="2"/>'
        )
        for theirs, mine in zip(peer.rounds, engine.rounds, strict=True):
            dot = LEFT + min(theirs / mine, most) / most * wide
            parts.append(f'<circle class="dot" cx="{dot:.1f}" cy="{middle:.0f}" r="2" fill="currentColor"/>')
        parts.append(f'<path class="whisker" d="M{x[0]:.1f} {middle}H{x[2]:.1f}"/>')
        parts.append(f'<text x="{x[2] + 6:.1f}" y="{middle + 4:.0f}">{ratio.middle:.2f}</text>')
    height = len(shown) * ROW + 4
    axis = f'<path class="axis" d="M{LEFT} 0V{height}"/>'
    label = escape(f"{case.title}: speed relative to the Python pipeline")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}{axis}</svg>'
