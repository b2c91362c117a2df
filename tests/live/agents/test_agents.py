# SPDX-License-Identifier: Apache-2.0
"""Real agents as their registries carry them: an empty HOME, invented keys, and a network that is loopback alone."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.full, pytest.mark.usefixtures("require_bpf")]
CLAUDE_CODE = "@anthropic-ai/claude-code-linux-x64@2.1.331"


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if platform.machine() != "x86_64" or shutil.which("npm") is None:
        pytest.skip("a release for x86-64, taken with npm")
    folder = tmp_path_factory.mktemp("claude")
    command = ["npm", "pack", "--silent", CLAUDE_CODE]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if made.returncode:
        pytest.skip(f"npm does not give {CLAUDE_CODE}: {made.stderr[-200:]}")
    [archive] = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder)
    program = folder / "package" / "claude"
    program.chmod(0o755)
    return program


def test_claude_code(claude, certificate, tmp_path, row, pytestconfig):
    row("Claude Code 2.1.331", "BoringSSL, static, stripped", "client", "a prompt", "1")
    inside = 'ip link set lo up && exec "$@"'
    agent = ["/usr/bin/timeout", "-s", "KILL", "90", str(claude), "-p", "Say hello"]
    command = ["unshare", "-n", "/bin/sh", "-c", inside, "sh", sys.executable, "-m", "tests.live.agents.inside"]
    command += [*certificate, str(tmp_path), *agent]
    # Where the tests run, which beside a wheel is not where the sources are.
    folder = pytestconfig.rootpath
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=150)
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout.splitlines()[-1])
    assert (said["code"], said["lost"]) == (0, 0)
    assert "Hello from the double" in made.stdout.splitlines()[0]
    assert said["targets"] == [["BoringSSL without symbols", ["SSL_new", "SSL_read", "SSL_write"]]]
    assert not any(said["midway"])
    assert said["exact"]
    assert said["answers"]
    [request] = [e for e in said["events"] if e["event_type"] == "ai.request"]
    [response] = [e for e in said["events"] if e["event_type"] == "ai.response"]
    assert "user" in {m["role"] for m in request["data"]["messages"]}
    assert "Say hello" in json.dumps(request["data"]["messages"])
    assert "Hello from the double" in json.dumps(response["data"])
    assert response["confidence"]["completeness"] == "full"
