# SPDX-License-Identifier: Apache-2.0
"""Generated files are what their generator makes of the field table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def generator(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "tools/gen_events.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nothing_is_stale(root: Path) -> None:
    run = generator(root, "--check")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    for folder in ("tools", "schema", "proto"):
        shutil.copytree(root / folder, tmp_path / folder)
    for name in ("oisp_core/events.py", "docs/CONFIDENCE.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / "oisp_core/include", tmp_path / "oisp_core/include")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "oisp_core/events.py",
        "oisp_core/include/oisp/contract.h",
        "schema/v0.1/envelope.schema.json",
        "schema/v0.1/common/host.schema.json",
        "schema/v0.1/events/ai.schema.json",
        "proto/oisp/v1/events.proto",
        "docs/CONFIDENCE.md",
    ],
)
def test_a_change_by_hand_is_found(copy: Path, name: str) -> None:
    assert generator(copy, "--check").returncode == 0
    (copy / name).write_text((copy / name).read_text() + " ")
    run = generator(copy, "--check")
    assert run.returncode == 1
    assert run.stdout.startswith(f"{name}: ")


def test_a_file_that_nothing_makes_is_found(copy: Path) -> None:
    (copy / "schema/v0.1/common/old.schema.json").write_text("{}")
    assert generator(copy, "--check").returncode == 1


def test_a_change_of_the_table_reaches_every_output(copy: Path) -> None:
    table = copy / "tools/fields/ai.yaml"
    table.write_text(
        table.read_text().replace("ollama, lmstudio, vllm, other]", "ollama, lmstudio, vllm, other, acme]")
    )
    assert generator(copy).returncode == 0
    assert '"acme"' in (copy / "oisp_core/events.py").read_text()
    assert 'X(ACME, "acme")' in (copy / "oisp_core/include/oisp/contract.h").read_text()
    assert "AI_PROVIDER_ACME = 17;" in (copy / "proto/oisp/v1/events.proto").read_text()
    schema = json.loads((copy / "schema/v0.1/envelope.schema.json").read_text())
    assert "acme" in json.dumps(schema["$defs"]["events/ai"]["$defs"]["AIProviderInfo"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("id: [1, string", "id: [1, strnig", "unknown type strnig"),
        ('name: [2, string, "Name for people."]', 'name: [1, string, "Name."]', "number 1 is taken"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(copy: Path, old: str, new: str, says: str) -> None:
    table = copy / "tools/fields/ai.yaml"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    run = generator(copy)
    assert run.returncode == 1
    assert says in run.stderr
