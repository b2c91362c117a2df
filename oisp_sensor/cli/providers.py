# SPDX-License-Identifier: Apache-2.0
"""Which AI providers are known, what is known of one, and whether files of one's own are right."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from oisp_core.errors import ConfigError
from oisp_core.match.cases import run_cases
from oisp_core.match.fingerprints import Endpoint, Provider
from oisp_core.match.rules import Registry
from oisp_core.match.words import ACCOUNT_TYPES, AUTH_TYPES, KINDS, METHODS, PROVIDER_NAMES
from oisp_sensor.cli import _registry
from oisp_sensor.settings import add_config_option

__all__ = ["command"]

WIDE = 240


class Providers:
    name = "providers"
    help = "list the providers that are known, check files of your own"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.description = (
            "Without a word: list. Files are checked against the format, each other and their own tests."
        )
        parser.add_argument("--providers", metavar="DIR", help="provider files of your own, over those that ship")
        add_config_option(parser)
        verbs = parser.add_subparsers(dest="what", metavar="list|show|check")
        verbs.add_parser("list", help="one line per provider (default)")
        show = verbs.add_parser("show", help="all that is known of one provider")
        show.add_argument("id", metavar="ID")
        check = verbs.add_parser("check", help="check provider files: exit 1 if anything is wrong")
        check.add_argument("paths", metavar="FILE", nargs="*", help="file or folder; without one, those that ship")
        check.add_argument("--allow-incomplete", action="store_true", help="no tests and no facts needed")

    def run(self, args: argparse.Namespace) -> int:
        if args.what == "check":
            return _check(args.paths, args.allow_incomplete)
        loaded = _registry.load(args.providers)
        if args.what == "show":
            return _show(loaded, args.id)
        return _list(loaded.semconv.providers)


command = Providers()


def _list(providers: Iterable[Provider]) -> int:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("ID", "NAME", "KIND", "PROVIDER.NAME", "HOSTS"):
        table.add_column(title, no_wrap=title != "HOSTS")
    for p in sorted(providers, key=lambda p: p.id):
        hosts = [h.pattern + (f":{h.port}" if h.port else "") for h in p.hosts]
        shown = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
        table.add_row(p.id, p.name, p.kind, PROVIDER_NAMES[p.provider_name - 1], shown or "(any: by path and body)")
    # Where nobody looks, lines are whole: another program reads them.
    width = None if sys.stdout.isatty() else WIDE
    Console(highlight=False, markup=False, width=width).print(table)
    return 0


def _show(loaded: _registry.Loaded, wanted: str) -> int:
    found = next((p for p in loaded.semconv.providers if p.id == wanted), None)
    if found is None:
        near = [p.id for p in loaded.semconv.providers if wanted.lower() in p.id or wanted.lower() in p.name.lower()]
        hint = f"did you mean {', '.join(near[:5])}?" if near else "`oisp-sensor providers` lists them"
        raise ConfigError(key="providers show", expected="the id of a provider", got=wanted, hint=hint)
    for line in _facts(found, loaded.registry):
        print(line)
    return 0


def _facts(p: Provider, registry: Registry) -> Iterable[str]:
    yield f"{p.name} ({p.id})"
    yield f"  file            {p.file}"
    yield f"  kind            {p.kind}"
    yield f"  provider.name   {PROVIDER_NAMES[p.provider_name - 1]}"
    yield f"  OpenTelemetry   {p.otel_name}"
    for key in ("homepage", "docs", "note"):
        if key in p.about:
            yield f"  {key:<15} {p.about[key]}"
    if p.hosts or p.ports:
        yield "Hosts"
    for h in p.hosts:
        account = f"  account {ACCOUNT_TYPES[h.account - 1]}" if h.account else ""
        yield f"  {h.pattern}{f':{h.port}' if h.port else ''}{account}"
    for port in p.ports:
        yield f"  port {port} of this machine or a private network (names it, proves nothing)"
    if p.keys:
        yield "Credentials"
    for k in p.keys:
        account = f", account {ACCOUNT_TYPES[k.account - 1]}" if k.account else ""
        what = f"AWS signature for {k.prefix}" if k.aws else f"{k.prefix}..."
        yield f"  {what}: {AUTH_TYPES[k.auth - 1]}{account}"
    if p.signals:
        yield "Header fields"
    for s in p.signals:
        test = ("", f" is {s.text}", f" begins with {s.text}", f" holds {s.text}")[s.mode]
        yield f"  {s.header}{test} in the {'request' if s.where == 1 else 'response'}"
    yield "Endpoints"
    for e in p.endpoints:
        yield from _endpoint(e, registry)
    if p.facts:
        yield "Facts"
    for fact in p.facts:
        yield f"  {fact['fact']}"
        yield f"    {fact['source']}, {fact['date']}"


def _endpoint(e: Endpoint, registry: Registry) -> Iterable[str]:
    methods = (
        "WebSocket"
        if e.websocket
        else "gRPC"
        if e.grpc
        else ", ".join(m for m, bit in METHODS.items() if e.methods & bit)
    )
    kind = KINDS[e.kind - 1] if e.kind else "not AI"
    kinds = dict.fromkeys(KINDS[v.kind - 1] if v.kind else "not AI" for v in e.variants)
    others = f" ({', '.join(k for k in kinds if k != kind)} by model or body)" if e.variants else ""
    decoder = f", {e.dialect}" if e.dialect else ""
    if e.dialect and e.dialect not in registry.dialects:
        decoder += " (no decoder yet)"
    yield f"  {e.name}: {kind}{others}{decoder}"
    for path in e.paths:
        yield f"    {methods} {path}"


def _unread(endpoints: Iterable[Endpoint], dialects: Iterable[str]) -> list[tuple[Endpoint, str]]:
    """Endpoints with a dialect, or that of a variant, that nothing reads."""
    named = ((e, d) for e in endpoints for d in dict.fromkeys((e.dialect, *(v.dialect for v in e.variants))))
    return [(e, d) for e, d in named if d and d not in dialects]


def _no_dialect(p: Provider, e: Endpoint, dialect: str) -> ConfigError:
    return ConfigError(
        p.file,
        p.lines.get(e.name),
        f"{p.id}.endpoints.{e.name}.dialect",
        "a dialect of semconv/dialects, or one that `undecoded` lists",
        dialect,
        hint="without it the endpoint is known, but nothing reads its bodies",
    )


def _check(paths: list[str], allow_incomplete: bool) -> int:
    over = [d for path in paths for d in _registry.documents(path)]
    mine = {d.file for d in over}
    semconv, tables, errors = _registry.read(over)
    wanted = [p for p in semconv.providers if not mine or p.file in mine]
    problems = [str(e) for e in errors]
    dialects = _registry.dialect_names()
    if tables is not None:
        registry = Registry(tables, dialects)
        problems += [str(e) for e in run_cases(registry, wanted)]
    unknown = [(p, e, d) for p in wanted for e, d in _unread(p.endpoints, dialects)]
    problems += [str(_no_dialect(p, e, d)) for p, e, d in unknown if d not in semconv.undecoded]
    shared = {d for _, d in _unread(semconv.paths, dialects)}
    problems += [f"paths: no dialect is called {d!r}" for d in sorted(shared.difference(semconv.undecoded))]
    if not allow_incomplete:
        problems += [str(g) for g in semconv.gaps if not mine or g.file in mine]
    for line in dict.fromkeys(problems):
        print(line)
    tests = sum(len(p.tests) for p in wanted)
    names = "problem" if len(problems) == 1 else "problems"
    print(f"{len(wanted)} providers, {tests} tests: " + (f"{len(problems)} {names}" if problems else "all is well"))
    undecoded = sorted({d for _, _, d in unknown if d in semconv.undecoded})
    if undecoded:
        print(f"recognised, not decoded (known endpoint, no content): {', '.join(undecoded)}")
    decoded = sorted(d for d in semconv.undecoded if d in dialects)
    if decoded and not mine:
        print(f"decoded by now, to be taken from `undecoded`: {', '.join(decoded)}")
    return 1 if problems else 0
