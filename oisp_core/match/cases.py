# SPDX-License-Identifier: Apache-2.0
"""The tests that provider files carry: requests that must match, near misses that must not.

They run through the same questions as live traffic: the head, the body, then a response. Where a case names none, a
plain JSON answer stands in, so that nothing stays undecided.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from oisp_core.errors import ConfigError
from oisp_core.match.fingerprints import Case, Provider
from oisp_core.match.rules import Registry
from oisp_core.match.verdict import Verdict

__all__ = ["ask", "run_cases"]

_PLAIN = {"content-type": "application/json"}
# key of `expect` -> attribute of the verdict
_EXPECTED = {
    "kind": "kind",
    "request_type": "request_type",
    "model": "model",
    "region": "region",
    "organization": "organization",
    "project": "project",
    "auth": "auth_type",
    "account": "account_type",
    "provider": "provider",
}


def ask(registry: Registry, case: Case) -> Verdict:
    """The verdict on a case, the response included."""
    url = urlsplit(case.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    response = case.response or {}
    headers = list(case.headers)
    if url.scheme in ("ws", "wss") and not any(name.lower() == "upgrade" for name, _ in headers):
        headers.append(("Upgrade", "websocket"))
    return registry.match(
        case.method,
        target,
        url.netloc,
        headers,
        case.body.encode() if case.body is not None else None,
        status=response.get("status", 200),
        response_headers=tuple((response.get("headers") or _PLAIN).items()),
    )


def _mistakes(case: Case, verdict: Verdict, dialects: Iterable[str]) -> list[tuple[str, object]]:
    if case.expect is None:
        return [("no AI request", verdict.rule)] if verdict.state != "none" else []
    if verdict.state != "ai":
        return [("an AI request", f"no match ({', '.join(verdict.evidence) or 'nothing fits'})")]
    out: list[tuple[str, object]] = []
    for key, attribute in _EXPECTED.items():
        if key in case.expect and getattr(verdict, attribute) != case.expect[key]:
            out.append((f"{key} {case.expect[key]}", getattr(verdict, attribute)))
    wanted = case.expect.get("dialect")
    if wanted and wanted in dialects and verdict.dialect != wanted:
        out.append((f"dialect {wanted}", verdict.dialect))
    if "host" in verdict.evidence and verdict.provider != case.provider:
        out.append((f"provider {case.provider}", verdict.provider))
    return out


def run_cases(registry: Registry, providers: Iterable[Provider]) -> list[ConfigError]:
    """What the tests of these providers find wrong. Dialects that the registry does not know are not compared."""
    known = set(registry.dialects)
    errors = []
    for provider in providers:
        for case in provider.tests:
            group = "near_miss" if case.expect is None else "match"
            for expected, got in _mistakes(case, ask(registry, case), known):
                errors.append(
                    ConfigError(
                        case.file,
                        case.line,
                        f"{provider.id}.tests.{group}",
                        expected,
                        got,
                        message=f"{case.method} {case.url}",
                    )
                )
    return errors
