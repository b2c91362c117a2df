# SPDX-License-Identifier: Apache-2.0
"""The policy table: what the document says is what the writer runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from oisp_core.policy import Action, rows


def test_documents_are_what_the_code_makes(repo_root: Path) -> None:
    run = subprocess.run(
        [sys.executable, "tools/gen_privacy.py", "--check"], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_stricter_policies_never_show_more() -> None:
    order = [Action.KEEP, Action.MASK, Action.MARK, Action.DROP, Action.HIDE]
    assert len(rows()) >= 15
    for row in rows():
        strictness = [order.index(action) for action in (row.metadata, row.redacted, row.full)]
        assert strictness == sorted(strictness, reverse=True), row.name


def test_under_metadata_only_a_choice_of_tools_is_kept() -> None:
    assert [row.name for row in rows() if row.metadata is Action.KEEP] == ["TOOL_CHOICE"]


def test_credentials_leave_under_no_policy() -> None:
    hidden = {row.name for row in rows() if row.full is Action.HIDE}
    assert hidden == {"CREDENTIAL", "URL_QUERY"}
