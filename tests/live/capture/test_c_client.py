# SPDX-License-Identifier: Apache-2.0
"""What only C programs do with a TLS handle. The client is compiled for the test, and loads private libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live.capture.harness import watch
from tests.live.capture.targets import pattern

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("require_bpf")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    out = tmp_path_factory.mktemp("client") / "client"
    source = Path(__file__).with_name("client.c")
    command = ["gcc", "-O1", "-Wall", "-o", str(out), str(source), "-lssl", "-lcrypto"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        if "openssl/ssl.h" in built.stderr or "cannot find -lssl" in built.stderr:
            pytest.skip("the headers of OpenSSL are not installed")
        pytest.fail(built.stderr)
    return out


@pytest.fixture
def play(client, private_libssl, certificate):
    def run(mode: str, size: int, **options):
        done = watch(private_libssl, [str(client), mode, *certificate, str(size)], **options)
        assert done.code == 0
        assert done.lost == 0
        return done

    return run


def written(run) -> list[bytes]:
    return sorted((bytes(s.written) for s in run.streams.values() if s.written), key=len)


def read(run) -> list[bytes]:
    return sorted((bytes(s.read) for s in run.streams.values() if s.read), key=len)


@pytest.mark.parametrize("way", [{}, {"multi": False}, {"variant": "basic"}], ids=["multi", "perf", "basic"])
def test_the_int_functions(play, way):
    run = play("ints", 3_000_000, **way)
    assert written(run) == read(run) == [pattern(3_000_000)]
    assert not any(s.midway for s in run.streams.values())


def test_partial_writes_and_retries_count_what_was_moved(play):
    """The pair takes 4 KiB: nearly every write ends early or asks to be tried again."""
    run = play("partial", 100_000)
    assert written(run) == read(run) == [pattern(100_000)]


def test_peeked_bytes_are_there_once(play):
    run = play("peek", 5_000)
    assert written(run) == read(run) == [pattern(5_000)]


def test_a_cleared_handle_is_a_new_connection(play):
    run = play("clear", 700)
    assert written(run) == read(run) == [pattern(700)] * 4
    assert all(s.closed for s in run.streams.values())
    assert not any(s.midway for s in run.streams.values())


def test_a_second_reference_keeps_the_connection_open(play):
    run = play("references", 700)
    assert written(run) == [pattern(700) * 2]
    assert len(run.streams) == 2
    assert all(s.closed for s in run.streams.values())


def test_a_call_inside_a_call_is_its_own(play):
    run = play("nest", 3_000)
    assert written(run) == read(run) == [pattern(100), pattern(3_000)]


def test_calls_that_never_return_leave_no_trace(play):
    run = play("jump", 3_000)
    assert written(run) == read(run) == [pattern(3_000)]


def test_children_that_live_for_a_moment(client, private_libssl, certificate):
    """A shell runs them one after the other; each gets its probes at its fork, before it maps the library. Nobody waits
    for that: a child that was faster is missing, never half there without a word."""
    script = 'for i in 1 2 3 4 5 6 7 8 9 10; do "$@" || exit 1; done'
    run = watch(private_libssl, ["/bin/sh", "-c", script, "sh", str(client), "ints", *certificate, "2000"])
    assert run.code == 0
    assert len(run.processes("exit")) == 11
    whole = [s for s in run.streams.values() if not s.midway]
    assert whole
    assert {len(s.written) + len(s.read) for s in whole} == {2000}
    assert all(s.closed for s in whole)
