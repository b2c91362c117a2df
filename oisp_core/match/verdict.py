# SPDX-License-Identifier: Apache-2.0
"""What the registry says of one message, in words. The engine works with `oisp_verdict` (verdict.h) instead."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """None where nothing is known. `state` is none, undecided or ai; the rest are words of the contract and of rules.h.

    `model`, `region` and the like are as they stand in the request: percent-encoded where the path is. `key` is the
    credential itself: mask it before it leaves the process.
    """

    state: str
    kind: str | None
    request_type: str | None
    provider: str | None
    provider_name: str | None
    dialect: str | None
    auth_type: str | None
    account_type: str | None
    level: str | None
    method: str | None
    evidence: tuple[str, ...]
    rule: str | None
    model: str | None
    key: str | None
    region: str | None
    organization: str | None
    project: str | None
