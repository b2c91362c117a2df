# SPDX-License-Identifier: Apache-2.0
"""What the fixtures give and the tests read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = {
    "OPENAI_API_KEY": "sk-proj-invented-for-this-test-0123456789",
    "ANTHROPIC_API_KEY": "sk-ant-api03-invented-for-this-test-01234",
}


@dataclass
class Captured:
    events: list[dict[str, Any]]
    rows: list[dict[str, Any]]  # the double's log of this capture alone
    stdout: str
    stderr: str
    returncode: int
    path: Path

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event_type"] == kind]


def sensor(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "oisp_sensor", *arguments]
