# SPDX-License-Identifier: Apache-2.0
"""What the OpenSSL of this machine has no occasion for, by a library of the test's own with its functions: one
whose end cannot be told, SSL_write_ex2, SSL_sendfile. And a process that may do nearly nothing (seccomp)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from oisp_sensor.capture import CaptureError, kernel, uretprobes
from tests.conftest import unavailable
from tests.live.capture.harness import watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A library and its client, in a folder of their own."""
    if shutil.which("gcc") is None:
        unavailable("gcc is not installed", required=False)
    folder = tmp_path_factory.mktemp("stack")
    sources = Path(__file__).parent
    library, client = folder / "libstack.so", folder / "client"
    for command in (
        ["gcc", "-O1", "-fPIC", "-shared", "-o", str(library), str(sources / "stack.c")],
        ["gcc", "-O1", "-o", str(client), str(sources / "stack_client.c"), f"-L{folder}", "-lstack"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return SimpleNamespace(libssl=library, client=str(client), env={"LD_LIBRARY_PATH": str(folder)})


def whole(run) -> tuple[bytes, bytes]:
    [found] = run.streams.values()
    assert not found.midway
    return bytes(found.written), bytes(found.read)


def test_a_function_whose_end_cannot_be_told_is_refused_and_the_rest_is_seen(stack):
    run = watch(stack, [stack.client, "jump"])
    assert run.code == 0
    [target] = run.report.targets
    assert "SSL_write" in target.refused
    assert "SSL_write" not in target.functions
    assert whole(run) == (b"", pattern(50_000))


def test_on_request_a_uretprobe_sees_its_end(stack):
    if not kernel.filters_by_process() or uretprobes.harm(1):
        unavailable("uretprobes would do harm on this kernel", required=False)
    run = watch(stack, [stack.client, "jump"], uretprobes=True)
    assert run.code == 0
    assert whole(run) == (pattern(50_000), pattern(50_000))
    assert run.lost == 0
    assert run.report.targets[0].returned == ("SSL_write",)


def test_where_it_would_do_harm_it_is_left_out_and_said(stack, monkeypatch):
    monkeypatch.setattr(uretprobes, "harm", lambda pid: "it would be killed")
    run = watch(stack, [stack.client, "jump"], uretprobes=True)
    assert run.code == 0
    assert whole(run) == (b"", pattern(50_000))
    assert run.report.targets[0].refused["SSL_write"].endswith("; no uretprobe: it would be killed")


def test_never_in_all_processes_that_map_a_file(stack):
    run = watch(stack, [stack.client, "jump"], uretprobes=True, per_process=False)
    assert whole(run) == (b"", pattern(50_000))
    assert "every process" in run.report.targets[0].refused["SSL_write"]


def test_a_write_with_flags(stack):
    """SSL_write_ex2 stores its count by the fifth argument; where it stores 0, nothing was moved."""
    run = watch(stack, [stack.client, "flags"])
    assert run.code == 0
    assert whole(run) == (pattern(3000), b"")


@pytest.mark.parametrize("way", [{}, {"variant": "basic"}], ids=["modern", "basic"])
def test_a_file_that_the_kernel_sends_is_a_gap_of_known_length(stack, way):
    run = watch(stack, [stack.client, "file"], **way)
    assert run.code == 0
    [found] = run.streams.values()
    assert bytes(found.written) == pattern(100) + bytes(70_000) + pattern(150)[100:]
    assert found.missing == [70_000, 0]
    assert found.closed == (70_150, 0, 70_000, 0)
    assert found.told_lost == [70_000, 0]
    assert (run.losses["fault"].written, run.losses["fault"].records) == (70_000, 5)


def test_a_process_that_may_do_nothing_but_read_and_write(private_libssl, certificate, tmp_path):
    """SECCOMP_MODE_STRICT: every other system call kills. Entry and RET probes need none."""
    source = Path(__file__).with_name("client.c")
    program = tmp_path / "client"
    subprocess.run(["gcc", "-O1", "-o", str(program), str(source), "-lssl", "-lcrypto"], check=True)
    run = watch(private_libssl, [str(program), "strict", *certificate, "3000"])
    assert run.code == 0
    assert sorted(bytes(s.written) for s in run.streams.values()) == [b"", pattern(3000) * 5]
    assert run.lost == 0


def test_the_request_is_refused_where_it_cannot_be_met(stack):
    with pytest.raises(CaptureError, match="uretprobes"):
        watch(stack, [stack.client, "jump"], uretprobes=True, variant="basic")
