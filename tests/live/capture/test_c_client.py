# SPDX-License-Identifier: Apache-2.0
"""What only C programs do with a TLS handle. The client is compiled for the test, and loads private libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from oisp_sensor.capture import messages
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


def test_offered_protocols_are_those_of_the_handle(play):
    run = play("alpn", 300)
    assert written(run) == [pattern(300)] * 2
    assert sorted(s.offers for s in run.streams.values()) == [(), (), ("h2",), ("http/1.1",)]


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


def test_early_data_is_the_beginning_of_its_connection(play):
    run = play("early", 700)
    assert [bytes(s.written) for s in run.streams.values() if s.written] == [pattern(700), pattern(700) * 2]
    assert [bytes(s.read) for s in run.streams.values() if s.read] == [pattern(700), pattern(700) * 2]
    assert not any(s.midway for s in run.streams.values())


MOMENTS = 20


def children(client, private_libssl, certificate, **options):
    """A shell runs them one after the other, each for some milliseconds."""
    script = f'for i in $(seq {MOMENTS}); do "$@" || exit 1; done'
    run = watch(private_libssl, ["/bin/sh", "-c", script, "sh", str(client), "ints", *certificate, "2000"], **options)
    assert run.code == 0
    [shell] = {m.pid for m in run.processes("seen")}
    executed = {m.pid for m in run.processes("exec")} - {shell}
    assert len(executed) == MOMENTS + 1  # seq
    whole = {pid for pid in executed if account(run, pid) == (2000, 2000)}
    return run, executed, whole


def account(run, pid: int) -> tuple[int, int]:
    mine = [s for s in run.streams.values() if s.pid == pid and not s.midway and s.closed]
    return sum(len(s.written) for s in mine), sum(len(s.read) for s in mine)


def test_children_that_live_for_a_moment(client, private_libssl, certificate):
    """Each gets its probes at its fork, if it is not faster. Nobody waits for that, and nobody is missing without a
    word: whoever mapped the library is captured whole, or named as late or as missed."""
    run, executed, whole = children(client, private_libssl, certificate)
    late = {m.pid for m in run.told if isinstance(m, messages.Attached) and m.late}
    missed = {m.pid for m in run.told if isinstance(m, messages.Missed)}
    assert len(whole | late | missed) == MOMENTS
    assert not whole & missed
    assert {s.pid for s in run.streams.values()} <= whole | late
    assert (run.report.late, run.report.missed, run.report.unexamined) == (len(late), len(missed), 0)
    assert whole | late | missed <= executed


def test_no_child_is_too_fast_for_probes_on_the_file(client, private_libssl, certificate):
    run, _, whole = children(client, private_libssl, certificate, per_process=False)
    assert len(whole) == MOMENTS
    assert (run.report.late, run.report.missed) == (0, 0)
