# SPDX-License-Identifier: Apache-2.0
"""The context of a connection: valid members of an event, the right process, nothing that the policy keeps back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.engine import Engine
from oisp_core.validate import problems
from oisp_sensor.enrich.app import app_facts
from oisp_sensor.enrich.enricher import LIVES, ArgumentPolicy, Enricher, with_policy
from oisp_sensor.enrich.host import cloud_facts, container_of, host_facts
from oisp_sensor.enrich.mask import Hasher
from oisp_sensor.enrich.procfs import TICK_NS
from tests.unit.sensor.proctree import START, make

HOST = {"hostname": "h", "os": "linux"}
BOOT = 1_700_000_000_000_000_000
PROMPT = "agent\0-p\0Tell me a secret\0--api-key\0abc\0"


def enricher(proc: Path, content: str = "metadata", **options: Any) -> Enricher:
    return Enricher(ArgumentPolicy(content, **options), host=HOST, proc=str(proc), boot_ns=BOOT)


def decoded(members: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(b"{" + members + b"}")
    return loaded


def context(made: Enricher, pid: int = 7, start: int = START) -> dict[str, Any]:
    return decoded(made.members(pid, start * TICK_NS).allowed)


def event(context: dict[str, Any]) -> bytes:
    required = {"oisp_version": "0.1", "event_id": "x", "event_type": "ai.request", "ts": "2026-01-01T00:00:00.000000Z"}
    return json.dumps(
        {**required, "confidence": {"level": "high", "completeness": "full"}, "data": {}, **context}
    ).encode()


def test_the_members_are_those_of_a_valid_event(tmp_path: Path) -> None:
    make(tmp_path, 5, ppid=0, comm=b"init")
    make(tmp_path, ppid=5)
    found = context(enricher(tmp_path))
    assert not problems(event(found))
    assert found["host"] == HOST
    assert found["actor"]["uid"] == 1000
    assert found["actor"]["is_elevated"] is True  # its effective uid is 0
    assert found["process"]["start_time"] == "2023-11-14T22:14:02.420000Z"
    assert found["process"]["parent"] == {"pid": 5, "exe": "/usr/bin/agent", "name": "init"}
    assert found["source"]["collector"] == "oisp-sensor"
    Engine().set_context(1, enricher(tmp_path).members(7, START * TICK_NS).allowed)


def test_the_host_of_this_machine_is_valid() -> None:
    assert not problems(event({"host": host_facts(), "source": {"collector": "x"}}))


@pytest.mark.parametrize(
    ("content", "cmdline", "expected"),
    [
        ("metadata", True, ["agent", "-p", "<16 characters, sha256:", "--api-key", "[masked]"]),
        ("redacted", True, ["agent", "-p", "Tell me a secret", "--api-key", "[masked]"]),
        ("full", True, ["agent", "-p", "Tell me a secret", "--api-key", "[masked]"]),
        ("full", False, None),
        ("metadata", False, None),
    ],
)
def test_arguments_by_policy(tmp_path: Path, content: str, cmdline: bool, expected: list[str] | None) -> None:
    make(tmp_path, cmdline=PROMPT.encode())
    members = enricher(tmp_path, content, cmdline=cmdline).members(7, START * TICK_NS)
    process = decoded(members.allowed)["process"]
    if expected is None:
        assert "cmdline" not in process
        assert "cmdline_args" not in process
    else:
        assert all(got.startswith(wanted) for got, wanted in zip(process["cmdline_args"], expected, strict=True))
    assert ("Tell me" in members.allowed.decode()) == (cmdline and content != "metadata")
    # What a recording keeps is whole, but for credentials; a replay under the same policy says the same as live.
    assert "Tell me a secret" in members.whole.decode()
    assert "abc" not in members.whole.decode()
    assert with_policy(members.whole, ArgumentPolicy(content, cmdline)) == members.allowed


@given(st.binary(max_size=200))
def test_foreign_members_of_a_recording_are_survived(members: bytes) -> None:
    assert isinstance(with_policy(members, ArgumentPolicy()), bytes)


def test_a_key_reaches_the_hashes(tmp_path: Path) -> None:
    make(tmp_path, cmdline=PROMPT.encode())
    found = context(enricher(tmp_path, hasher=Hasher(b"k" * 16)))
    assert found["process"]["cmdline_args"][2].startswith("<16 characters, hmac-sha256:")


def test_a_process_that_is_gone_is_named_by_what_was_read_at_first_sight(tmp_path: Path) -> None:
    folder = make(tmp_path)
    made = enricher(tmp_path)
    made.see("exec", 7, START * TICK_NS, 1, 1000)
    shutil.rmtree(folder)
    made.see("exit", 7, START * TICK_NS)
    assert context(made)["process"]["exe"] == "/usr/bin/agent"


def test_a_child_without_exec_is_what_its_parent_was(tmp_path: Path) -> None:
    make(tmp_path)
    made = enricher(tmp_path)
    made.see("exec", 7, START * TICK_NS)
    made.see("fork", 8, (START + 5) * TICK_NS, 7)
    found = context(made, 8, START + 5)
    assert (found["process"]["pid"], found["process"]["ppid"]) == (8, 7)
    assert found["process"]["exe"] == "/usr/bin/agent"
    assert found["process"]["parent"]["pid"] == 7


def test_after_exec_it_is_what_it_became(tmp_path: Path) -> None:
    make(tmp_path)
    made = enricher(tmp_path)
    made.see("exec", 7, START * TICK_NS)
    made.see("fork", 8, (START + 5) * TICK_NS, 7)
    make(tmp_path, 8, start=START + 5, exe="/usr/bin/curl", ppid=7)
    made.see("exec", 8, (START + 5) * TICK_NS, 7)
    assert context(made, 8, START + 5)["process"]["exe"] == "/usr/bin/curl"


def test_an_exec_that_could_not_be_read_is_not_taken_for_its_parent(tmp_path: Path) -> None:
    make(tmp_path)
    made = enricher(tmp_path)
    made.see("exec", 7, START * TICK_NS)
    made.see("fork", 8, (START + 5) * TICK_NS, 7)
    made.see("exec", 8, (START + 5) * TICK_NS, 7, 1000)
    found = context(made, 8, START + 5)
    assert "exe" not in found["process"]
    assert found["process"]["ppid"] == 7
    assert found["actor"]["uid"] == 1000
    assert made.missed == 1


def test_a_reused_pid_is_another_process(tmp_path: Path) -> None:
    folder = make(tmp_path)
    made = enricher(tmp_path)
    made.see("exec", 7, START * TICK_NS)
    shutil.rmtree(folder)
    make(tmp_path, start=START + 100, exe="/usr/bin/other")
    assert context(made)["process"]["exe"] == "/usr/bin/agent"
    assert context(made, start=START + 100)["process"]["exe"] == "/usr/bin/other"


def test_a_parent_that_is_younger_is_none(tmp_path: Path) -> None:
    make(tmp_path, 5, start=START + 1, ppid=0)
    make(tmp_path, ppid=5)
    assert "ancestors" not in context(enricher(tmp_path))["process"]


def test_ancestors_end(tmp_path: Path) -> None:
    for pid in range(10, 40):
        make(tmp_path, pid, ppid=pid - 1)
    make(tmp_path, 9, ppid=39)
    assert len(context(enricher(tmp_path), 30)["process"]["ancestors"]) == 8


def test_lives_are_bounded(tmp_path: Path) -> None:
    made = enricher(tmp_path)
    for pid in range(1, LIVES + 100):
        made.see("exec", pid, START * TICK_NS)
    assert len(made._lives) == LIVES
    assert len(made._latest) == LIVES


def test_containers() -> None:
    name = "ab" * 32
    assert container_of(f"/system.slice/docker-{name}.scope") == ({"id": name, "runtime": "docker"}, {})
    uid = "01234567-89ab-cdef-0123-456789abcdef"
    path = f"/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{name}.scope"
    assert container_of(path) == ({"id": name, "runtime": "containerd"}, {"pod_uid": uid})
    assert container_of("/user.slice/session-1.scope") == ({}, {})


def test_clouds(tmp_path: Path) -> None:
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "sys_vendor").write_text("Amazon EC2\n")
    (dmi / "board_asset_tag").write_text("i-0123456789abcdef0\n")
    (dmi / "product_name").write_text("m7i.large\n")
    found = {"provider": "aws", "instance_id": "i-0123456789abcdef0", "instance_type": "m7i.large"}
    assert cloud_facts(tmp_path) == found
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    (tmp_path / "run/cloud-init/instance-data.json").write_text('{"v1":{"cloud_name":"aws","region":"eu-west-1"}}')
    assert cloud_facts(tmp_path) == {**found, "region": "eu-west-1"}
    (dmi / "sys_vendor").write_text("Microsoft Corporation\n")
    (tmp_path / "run/cloud-init/instance-data.json").write_text("[]")
    assert cloud_facts(tmp_path) == {}


@pytest.mark.parametrize(
    ("exe", "arguments", "app"),
    [
        ("/usr/local/bin/claude", [], "claude-code"),
        ("/usr/bin/node", ["node", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js"], "claude-code"),
        ("/usr/bin/node", ["node", "--no-warnings", "/usr/bin/gemini"], "gemini-cli"),
        ("/usr/bin/python3.11", ["python3", "/usr/bin/aider", "--model", "x"], "aider"),
        ("/usr/bin/python3", ["python3", "-m", "vllm.entrypoints"], "vllm"),
        ("/usr/bin/python3", ["python3", "-c", "claude"], None),
        ("/usr/bin/cat", ["cat", "claude"], None),
        ("", [], None),
    ],
)
def test_apps(exe: str, arguments: list[str], app: str | None) -> None:
    found = app_facts(exe, arguments)
    assert (found["app_id"] if found else None) == app
    if found:
        assert not problems(event({"app": found, "source": {"collector": "x"}}))


def test_this_process_is_found(tmp_path: Path) -> None:
    from oisp_sensor.enrich.procfs import read_process

    own = read_process(os.getpid())
    assert own is not None
    found = decoded(Enricher(ArgumentPolicy()).members(os.getpid(), own.start_ns).allowed)
    assert found["process"]["pid"] == os.getpid()
    assert found["actor"]["uid"] == os.getuid()
    assert not problems(event(found))
