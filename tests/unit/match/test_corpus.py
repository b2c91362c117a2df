# SPDX-License-Identifier: Apache-2.0
"""Verdicts on recorded traffic: with its own hosts, and with every host replaced by one that nobody knows."""

from __future__ import annotations

import base64
import importlib.util
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from oisp_core.match.rules import Registry, load_registry
from oisp_core.match.verdict import Verdict

GATEWAY = "gateway.internal:8443"
# Path and body of these are those of any REST service: behind an unknown host nothing tells them from one.
PLAIN_REST = "openai.other"


@pytest.fixture(scope="module")
def render(corpus: Any) -> ModuleType:
    spec = importlib.util.spec_from_file_location("corpus_render", corpus.render_py)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def registry(corpus: Any) -> Registry:
    return load_registry(sorted({t["api"] for t in corpus.truth().values()} - {"other"}))


def ask(registry: Registry, render: ModuleType, row: dict[str, Any], host: str | None) -> Verdict:
    url = urlsplit(row["url"] or "wss://example.invalid/v1/realtime")
    target = url.path + (f"?{url.query}" if url.query else "")
    authority = host or url.netloc
    if row.get("ws"):
        key = "Bearer sk-proj-" + "T" * 40  # what render.py sends in every handshake
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Authorization", key)]
        first = next(m["text"] for m in row["ws"] if "text" in m)
        return registry.match(row["method"], target, authority, headers, first.encode())
    if row.get("grpc"):
        headers = [("content-type", "application/grpc"), ("authorization", "Bearer xai-" + "T" * 80)]
        return registry.match("POST", target, authority, headers, b"\0\0\0\0\3abc", status=200)
    return registry.match(
        row["method"], target, authority, render.wire_headers(row, "request"), base64.b64decode(row["request_body"]),
        status=row["status"], response_headers=render.wire_headers(row, "response"),
    )  # fmt: skip


def mistakes(truth: dict[str, Any], verdict: Verdict, unknown_host: bool) -> list[str]:
    if truth["kind"] == "none":
        return ["taken for AI"] if verdict.state != "none" else []
    if unknown_host and truth["api"] == PLAIN_REST:
        return []
    out = []
    if verdict.state != "ai":
        return [f"state {verdict.state}"]
    if verdict.kind != truth["kind"]:
        out.append(f"kind {verdict.kind}")
    if verdict.dialect != truth["api"]:
        out.append(f"dialect {verdict.dialect}")
    provider = truth.get("provider")
    if provider and verdict.provider_name != provider and not (unknown_host and verdict.provider_name == "other"):
        out.append(f"provider {verdict.provider_name}")
    return out


@pytest.mark.parametrize("host", [None, GATEWAY])
def test_no_verdict_is_wrong(corpus: Any, registry: Registry, render: ModuleType, host: str | None) -> None:
    truth = corpus.truth()
    rows = corpus.exchanges()
    assert len(rows) == 796
    wrong = []
    for row in rows:
        verdict = ask(registry, render, row, host)
        for mistake in mistakes(truth[row["id"]], verdict, host is not None):
            expected = {k: truth[row["id"]].get(k) for k in ("kind", "api", "provider")}
            wrong.append(f"{row['id']} {row['method']} {row['url']}: {mistake}, expected {expected}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)


def test_levels(corpus: Any, registry: Registry, render: ModuleType) -> None:
    """Before the payload is decoded nothing is sure: medium with a known host, at most medium without."""
    for row in corpus.exchanges():
        known, unknown = (ask(registry, render, row, host) for host in (None, GATEWAY))
        if known.state == "ai" and "host" in known.evidence:
            assert (known.level, known.method) == ("medium", "known_endpoint")
        if unknown.state == "ai":
            assert "host" not in unknown.evidence
            assert unknown.level == ("medium" if {"path", "body", "model"} <= set(unknown.evidence) else "inferred")
