# SPDX-License-Identifier: Apache-2.0
"""Why a request counts as AI traffic, or does not: which rules hit, which lost, and how sure the answer is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from oisp_core.errors import ConfigError
from oisp_core.match.explain import Explanation, explain, mask
from oisp_core.match.fingerprints import Case
from oisp_core.match.verdict import Verdict
from oisp_core.match.words import METHODS
from oisp_sensor.cli import _registry
from oisp_sensor.cli.command import usage_error
from oisp_sensor.settings import add_config_option

__all__ = ["command"]

BODY_BYTES = 1 << 20
"""Of the file given with --body. The registry looks at 4 KiB; the rest is only read to explain it."""


class Explain:
    name = "explain"
    help = "say why a URL or a request counts as AI, or not"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("url", metavar="URL")
        parser.add_argument("--method", metavar="METHOD", help="default: POST, or GET for a WebSocket")
        parser.add_argument("--header", metavar="'NAME: VALUE'", action="append", default=[], help="of the request")
        parser.add_argument("--body", metavar="FILE", help="the request's body (- for standard input)")
        parser.add_argument("--status", metavar="CODE", type=int, default=200, help="of the response (default: 200)")
        parser.add_argument(
            "--response-header", metavar="'NAME: VALUE'", action="append", default=[], help="of the response"
        )
        parser.add_argument("--providers", metavar="DIR", help="provider files of your own, over those that ship")
        add_config_option(parser)

    def run(self, args: argparse.Namespace) -> int:
        case = _case(args)
        loaded = _registry.load(args.providers)
        for line in _lines(explain(loaded.registry, loaded.semconv, case)):
            print(line)
        return 0


command = Explain()


def _case(args: argparse.Namespace) -> Case:
    url = args.url if "://" in args.url else f"https://{args.url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.netloc:
        raise usage_error(f"{args.url!r} is no URL: expected https://host/path")
    method = (args.method or ("GET" if parts.scheme in ("ws", "wss") else "POST")).upper()
    if method not in METHODS and not method.isalpha():
        raise usage_error(f"{method!r} is no method: expected one of {', '.join(METHODS)}")
    headers = tuple(_header(h, "--header") for h in args.header)
    answers = dict(_header(h, "--response-header") for h in args.response_header)
    answers.setdefault("content-type", "application/json")
    response = {"status": args.status, "headers": answers}
    return Case("", method, url, headers, _body(args.body), response, {}, "", None)


def _header(text: str, flag: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise usage_error(f"{flag}: expected 'NAME: VALUE', got {text!r}")
    return name.strip(), value.strip()


def _body(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with Path("/dev/stdin" if path == "-" else path).open("rb") as file:
            return file.read(BODY_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(path, key="--body", message=f"cannot be read: {error.strerror}") from error


def _lines(explanation: Explanation) -> Iterable[str]:
    for step in explanation.steps:
        yield step.question
        yield from (f"  + {hit}" for hit in step.hits)
        yield from (f"  - {miss}" for miss in step.misses)
    yield "Verdict"
    yield from (f"  {line}" for line in _verdict(explanation.verdict))


def _verdict(v: Verdict) -> Iterable[str]:
    if v.state == "undecided":
        yield "undecided: a WebSocket's first message, or the response, has to say"
        return
    if v.state == "none":
        why = (
            "its host is never AI"
            if "never" in v.evidence
            else "known, and not AI"
            if v.rule
            else "nothing is sure enough"
        )
        yield f"not AI traffic: {why}" + (f" (endpoint {v.rule})" if v.rule else "")
        return
    yield f"AI traffic: {v.kind} (request_type {v.request_type}), endpoint {v.rule}"
    yield f"provider    {v.provider or 'not known'} (provider.name {v.provider_name})"
    yield f"dialect     {v.dialect or 'none: known endpoint, no decoder'}"
    yield f"confidence  {v.level}, by {v.method}, from {', '.join(v.evidence)}"
    if "host" in v.evidence:
        yield "            high, once the payload names a model"
    elif v.level == "inferred":
        yield "            medium, if path, body and a model in the payload agree"
    for name in ("model", "region", "organization", "project"):
        if getattr(v, name):
            yield f"{name:<12}{getattr(v, name)}"
    account = f", account {v.account_type}" if v.account_type else ""
    yield f"auth        {v.auth_type}{account}" + (f" ({mask(v.key)})" if v.key else "")
