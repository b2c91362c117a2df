# SPDX-License-Identifier: Apache-2.0
"""Requests beyond the recorded ones (tests/vectors/match/requests.yaml): with their own host, and behind a gateway."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from oisp_core.decode.dialects import load_dialects
from oisp_core.match.rules import Registry, load_registry
from oisp_core.match.verdict import Verdict

VECTORS = Path(__file__).resolve().parents[2] / "vectors/match/requests.yaml"
GATEWAY = "gateway.internal:8443"


def rows() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(VECTORS.read_bytes())
    assert len(loaded) > 150
    return loaded


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(list(load_dialects().names))


def ask(registry: Registry, row: dict[str, Any], host: str | None = None) -> Verdict:
    url = urlsplit(row["url"])
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = dict(row.get("headers") or {})
    body = row["body"].encode() if "body" in row else None
    if body is not None:
        headers.setdefault("content-type", "application/json")
    return registry.match(
        row.get("method", "POST"), target, host or url.netloc, list(headers.items()), body,
        status=200, response_headers=[("content-type", row.get("answer", "application/json"))],
    )  # fmt: skip


def mistakes(row: dict[str, Any], verdict: Verdict, own_host: bool) -> list[str]:
    got = verdict.kind if verdict.state == "ai" else verdict.state
    if got != row["is"]:
        return [f"expected {row['is']}, got {got}"]
    wanted = {k: row[k] for k in ("dialect", "model", "provider") if k in row and (own_host or k != "provider")}
    return [f"expected {k} {v}, got {getattr(verdict, k)}" for k, v in wanted.items() if getattr(verdict, k) != v]


@pytest.mark.parametrize("host", [None, GATEWAY])
def test_each_is_what_it_is(registry: Registry, host: str | None) -> None:
    asked = [r for r in rows() if not (host and r.get("gateway") == "lost")]
    wrong = [
        f"{r.get('method', 'POST')} {r['url']}: {m}"
        for r in asked
        for m in mistakes(r, ask(registry, r, host), host is None)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_came_before_makes_no_difference(registry: Registry) -> None:
    """A verdict belongs to a message: fifty ordinary requests say nothing about the chat after them."""
    wanted = rows()
    alone = {r["url"] + r.get("body", ""): ask(registry, r) for r in wanted}
    ordinary = [r for r in wanted if r["is"] == "none"]
    rng = random.Random(1)
    for chat in (r for r in wanted if r["is"] == "chat"):
        for r in (*rng.choices(ordinary, k=50), chat):
            assert ask(registry, r) == alone[r["url"] + r.get("body", "")]
