# SPDX-License-Identifier: Apache-2.0
"""Why a verdict is what it is: which rules hit, which lost and to what.

This walks the provider files themselves, slowly and in words, beside the verdict of the compiled tables. It decides
nothing: where the two would differ, the verdict is the tables', and a test holds them together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from oisp_core.match.cases import ask
from oisp_core.match.fingerprints import _TERM, Case, Endpoint, Host, Provider, Semconv, path_forms, path_tokens
from oisp_core.match.rules import Registry
from oisp_core.match.verdict import Verdict
from oisp_core.match.words import KINDS, METHODS

__all__ = ["Explanation", "Step", "explain", "mask"]

WINDOW = 4096
NAMES_SHOWN = 3


@dataclass
class Step:
    """One question, what answered it, and what did not."""

    question: str
    hits: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)


@dataclass
class Explanation:
    steps: list[Step]
    verdict: Verdict


def mask(credential: str) -> str:
    """What may be shown of a credential: its first eight characters."""
    return credential[:8] + "..." if len(credential) > 8 else "..."


def _host_regex(pattern: str) -> str:
    parts = re.split(r"(\{[a-z_]+\}|\*)", pattern)
    return "".join(r".+" if p == "*" else r"[^.]+" if p.startswith("{") else re.escape(p) for p in parts)


def _split_host(netloc: str) -> tuple[str, int]:
    netloc = netloc.rpartition("@")[2].lower()
    host, _, port = netloc.rpartition(":")
    if host and port.isdigit() and not netloc.endswith("]"):
        return host.rstrip("."), int(port)
    return netloc.rstrip("."), 0


def _host_fits(host: Host, name: str, port: int) -> bool:
    return (not host.port or host.port == port) and re.fullmatch(_host_regex(host.pattern), name) is not None


def _token_fits(pattern: str, token: str) -> bool:
    if pattern.startswith("{") and pattern.endswith("}"):
        return not token.startswith(":")
    if "{" in pattern:
        prefix, suffix = pattern.partition("{")[0], pattern.partition("}")[2]
        return token.startswith(prefix) and token.endswith(suffix) and len(token) > len(prefix) + len(suffix)
    return pattern == token


def _path_fits(path: str, tokens: list[str]) -> bool:
    for form in path_forms(path):
        anchored = path.startswith("^")
        if len(form) <= len(tokens) and (not anchored or len(form) == len(tokens)):
            tail = tokens[len(tokens) - len(form) :]
            if all(_token_fits(p, t) for p, t in zip(form, tail, strict=True)):
                return True
    return False


def _endpoints(semconv: Semconv) -> Iterator[tuple[str, Provider | None, Endpoint]]:
    for provider in semconv.providers:
        for endpoint in provider.endpoints:
            yield provider.id, provider, endpoint
    for endpoint in semconv.paths:
        yield "any host", None, endpoint


def _host_step(semconv: Semconv, name: str, port: int) -> tuple[Step, set[str]]:
    step = Step(f"Is the host known? {name}" + (f", port {port}" if port else ""))
    owners = set()
    for host in semconv.never:
        if _host_fits(host, name, port):
            step.hits.append(f"{host.pattern}: never AI ({host.never})")
    for provider in semconv.providers:
        for host in provider.hosts:
            if _host_fits(host, name, port):
                step.hits.append(f"{host.pattern}: {provider.name} ({provider.id})")
                owners.add(provider.id)
        if port in provider.ports:
            step.misses.append(f"port {port} is usual for {provider.name}; that proves nothing, it only names")
    if not step.hits:
        step.misses.append("no provider has it: path and body must say")
    return step, owners


def _path_step(semconv: Semconv, case: Case, path: str, owners: set[str]) -> tuple[Step, list[Endpoint]]:
    step = Step(f"Is the path one of an endpoint? {case.method} {path}")
    tokens = path_tokens(path)
    found: list[tuple[int, str, Provider | None, Endpoint, str]] = []
    for who, provider, endpoint in _endpoints(semconv):
        for pattern in endpoint.paths:
            if _path_fits(pattern, tokens):
                found.append((len(path_tokens(pattern)), who, provider, endpoint, pattern))
    found.sort(key=lambda f: -f[0])
    # A known host at a path that it is not known for is asked as an unknown one, if everybody knows the path.
    own = any(not _lost(case, owners, provider, endpoint) for _, _, provider, endpoint, _ in found)
    candidates: list[Endpoint] = []
    lines: dict[tuple[bool, str], list[str]] = {}
    for _, who, provider, endpoint, pattern in found:
        everywhere = provider is None and not own
        lost = _lost(case, set() if everywhere else owners, provider, endpoint)
        if not lost:
            candidates.append(endpoint)
        kind = KINDS[endpoint.kind - 1] if endpoint.kind else "not AI"
        text = f"{pattern}: {kind}" + (f", dialect {endpoint.dialect}" if endpoint.dialect else "")
        text += f"; lost, {lost}" if lost else "; the body has to say" if owners and everywhere else ""
        lines.setdefault((not lost, text), []).append(f"{who}.{endpoint.name}" if provider else who)
    for (hit, text), names in lines.items():
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        (step.hits if hit else step.misses).append(f"{text} ({', '.join(names[:NAMES_SHOWN])}{more})")
    if not found:
        step.misses.append("no endpoint ends like this")
    return step, candidates


def _lost(case: Case, owners: set[str], provider: Provider | None, endpoint: Endpoint) -> str:
    """Why an endpoint whose path fits does not count, or nothing."""
    if not endpoint.methods & METHODS.get(case.method, 32):
        return "other method"
    if owners and (provider is None or provider.id not in owners):
        return "other host"
    if not owners and not (endpoint.shape or endpoint.alone):
        return "counts on a known host only"
    return ""


def _header_step(semconv: Semconv, case: Case, verdict: Verdict) -> Step:
    step = Step("What do the header fields say?")
    headers = {name.lower(): value for name, value in case.headers}
    answers = {name.lower(): value for name, value in ((case.response or {}).get("headers") or {}).items()}
    for provider in semconv.providers:
        for signal in provider.signals:
            where, fields = ("request", headers) if signal.where == 1 else ("response", answers)
            value = fields.get(signal.header)
            if value is None:
                continue
            low = value.strip().lower()
            fits = (True, low == signal.text, low.startswith(signal.text), signal.text in low)[signal.mode]
            what = f"{signal.header} in the {where}"
            if fits:
                step.hits.append(f"{what}: {provider.name}" if signal.names_provider else f"{what}: look at the body")
    if verdict.key:
        step.hits.append(f"credential {mask(verdict.key)}: {verdict.auth_type}" + _owner(semconv, verdict))
    else:
        step.misses.append("no credential")
    return step


def _owner(semconv: Semconv, verdict: Verdict) -> str:
    names = [
        p.name
        for p in semconv.providers
        for k in p.keys
        if not k.aws and k.names_provider and (verdict.key or "").startswith(k.prefix)
    ]
    return f", shaped like one of {', '.join(dict.fromkeys(names))}" if names else ""


def _values(value: Any, steps: list[str]) -> list[Any]:
    if not steps:
        return [value]
    if steps[0] == "[]":
        return [v for item in value for v in _values(item, steps[1:])] if isinstance(value, list) else []
    return _values(value[steps[0]], steps[1:]) if isinstance(value, dict) and steps[0] in value else []


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = {str: "string", type(None): "null", dict: "object", list: "array"}
    return names.get(type(value), "number")


def _holds(term: str, document: Any) -> bool:
    match = _TERM.fullmatch(term)
    assert match is not None
    values = _values(document, re.findall(r"\[\]|[^.\[\]]+", match["path"]))
    if match["mode"]:
        texts = [v for v in values if isinstance(v, str)]
        wanted = match["value"]
        if match["mode"] == "=":
            return wanted in texts
        return any(v.startswith(wanted) if match["mode"] == "^=" else wanted in v for v in texts)
    types = (match["types"] or "").split("|")
    return any(types == [""] or _kind_of(v) in types for v in values)


def _body_step(semconv: Semconv, case: Case, candidates: list[Endpoint], known: bool) -> Step | None:
    names = [v.shape for e in candidates for v in e.variants if v.shape]
    names += [] if known else [e.shape for e in candidates if e.shape]
    if not names:
        return None
    step = Step("Does the body have the shape?")
    if case.body is None:
        step.misses.append("no body was given")
        return step
    try:
        document = json.loads(case.body)
    except ValueError:
        step.misses.append("the body is no JSON document (forms and cut bodies are judged by the tables alone)")
        return step
    if len(case.body.encode()) > WINDOW:
        step.misses.append(f"of this body only the first {WINDOW} bytes are looked at; what follows is about all of it")
    for name in dict.fromkeys(names):
        shape = semconv.shapes[name]
        missing = [t for t in shape.all if not _holds(t, document)]
        if shape.any and not any(_holds(t, document) for t in shape.any):
            missing.append(f"one of {', '.join(shape.any)}")
        forbidden = [t for t in shape.none if _holds(t, document)]
        if shape.form:
            missing.append(f"form fields {', '.join(shape.form)}")
        if missing or forbidden:
            lacks = [f"lacks {m}" for m in missing] + [f"has {t}, which it must not" for t in forbidden]
            step.misses.append(f"{name}: {'; '.join(lacks)}")
        else:
            step.hits.append(name)
    return step


def explain(registry: Registry, semconv: Semconv, case: Case) -> Explanation:
    """The verdict on a request (with its response, if the case has one), and the way to it."""
    verdict = ask(registry, case)
    url = urlsplit(case.url)
    name, port = _split_host(url.netloc)
    host, owners = _host_step(semconv, name, port)
    steps = [host]
    if "never" not in verdict.evidence:
        path, candidates = _path_step(semconv, case, url.path or "/", owners)
        steps += [path, _header_step(semconv, case, verdict)]
        candidates = candidates or ([] if owners else _any_path(semconv))
        asked = bool(owners) and any(
            e for p in semconv.providers if p.id in owners for e in p.endpoints if e in candidates
        )
        body = _body_step(semconv, case, candidates, asked)
        steps += [body] if body else []
    return Explanation(steps, verdict)


def _any_path(semconv: Semconv) -> list[Endpoint]:
    return [e for _, _, e in _endpoints(semconv) if e.any_path]
