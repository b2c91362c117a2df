# SPDX-License-Identifier: Apache-2.0
"""Records of activity to events: written here byte by byte, as oisp/activity.h says, and nothing else assumed."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_core.validate import problems
from oisp_sensor.activity import ActivityEvents, FileRules, records
from oisp_sensor.activity.ids import Ulids
from oisp_sensor.activity.names import parse
from oisp_sensor.enrich.enricher import ArgumentPolicy, Enricher

BASE = 1_700_000_000_000_000_000
PID, TID, START = 4_100_000, 4_100_001, 5_000_000_000  # no process has this id
LOOPBACK = bytes(10) + b"\xff\xff\x7f\0\0\1"
ELSEWHERE = bytes(10) + b"\xff\xff\x08\x08\x08\x08"


def text(slot: int, data: bytes, index: int = 0, flags: int = 0, tid: int = TID) -> bytes:
    body = struct.pack("<IHHII", tid, slot, flags, len(data), index) + data
    return record(records.TEXT, body)


def record(kind: int, body: bytes, flags: int = 0) -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", 8 + len(body), kind, flags) + body


def happening(kind: int, event: int, body: bytes = b"", texts: int = 0, ts: int = 1000, flags: int = 0) -> bytes:
    who = struct.pack("<QQQIIIIIHH", ts, START, 7, PID, TID, 1000, 1000, 4_000_000, event, texts)
    return record(kind, who + body, flags)


def process(event: int, *, status: int = 0, size: int = 0, texts: int = 0, ts: int = 1000, flags: int = 0) -> bytes:
    body = struct.pack("<IIQQQQ", status, PID + 9, START + 1, size, 30_000_000, 2_000_000)
    return happening(records.PROCESS, event, body, texts, ts, flags)


def network(event: int, *, error: int = 0, accepted: int = 0, remote: bytes = ELSEWHERE) -> bytes:
    counts = struct.pack("<QQQQQQ", 77, 500, 10, 20, 3, 4)
    addresses = LOOPBACK + remote + struct.pack("<HHHBB", 1234, 443, error, accepted, 0)
    return happening(records.NETWORK, event, counts + addresses, ts=2_000_500)


def dns(event: int, payload: bytes, ts: int = 1000) -> bytes:
    body = struct.pack("<Q16sHHI", 500, ELSEWHERE, 5353, 53, len(payload)) + payload
    return happening(records.DNS, event, body, ts=ts)


def file(event: int, number: int = 1, *, read: int = 0, written: int = 0, state: int = 0, texts: int = 0) -> bytes:
    body = struct.pack("<QQQQQQIIIIII", number, 500, 99, 6, read, written, 1, 0o101, 0o100640, state, 3, 0)
    return happening(records.FILE, event, body, texts)


class Bench:
    def __init__(self, content: str = "metadata", **options: Any) -> None:
        enricher = Enricher(ArgumentPolicy(content), host={"hostname": "h", "os": "linux"}, boot_ns=BASE)
        self.events = ActivityEvents(enricher, clock_base_ns=BASE, new_id=Ulids(1), boot_offset_ns=0, **options)

    def play(self, *given: bytes) -> list[dict[str, Any]]:
        lines = self.events.take(given)
        for line in lines.splitlines():
            assert not list(problems(line)), line
        return [json.loads(line) for line in lines.splitlines()]


QUESTION = b"\0\7\1\0\0\1\0\0\0\0\0\0\3api\7example\3com\0\0\1\0\1"
ANSWER = b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + QUESTION[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x08\x08\x08\x08"


def test_an_exec_has_its_whole_command_line() -> None:
    long = b"x" * 5000
    block = b"curl\0--header\0Authorization: Bearer sk-very-secret\0" + long + b"\0"
    pieces = [text(records.ARGUMENTS, block[at : at + 4096], at // 4096) for at in range(0, len(block), 4096)]
    given = [
        text(records.PROGRAM_FILE, b"/usr/bin/curl"),
        text(records.DIRECTORY, b"/srv"),
        text(records.EXE, b"/usr/bin/curl"),
        *pieces,
        process(records.EXEC, size=len(block), texts=3 + len(pieces)),
    ]
    (event,) = Bench("full").play(*given)
    assert event["event_type"] == "process.exec"
    assert event["confidence"] == {"level": "high", "completeness": "full", "process_attribution": "direct"}
    assert event["data"]["exe"] == event["process"]["exe"] == "/usr/bin/curl"
    assert event["data"]["cwd"] == "/srv"
    assert event["data"]["args"][0] == "curl"
    assert event["data"]["args"][-1] == long.decode()
    assert b"very-secret" not in json.dumps(event).encode()
    assert event["process"]["pid"] == PID
    assert event["actor"]["uid"] == 1000
    (quiet,) = Bench().play(*given)
    assert long.decode() not in json.dumps(quiet)


def test_what_a_full_ring_swallowed_is_said() -> None:
    (event,) = Bench().play(text(records.EXE, b"/bin/true"), process(records.EXEC, size=10, texts=4))
    assert event["confidence"]["completeness"] == "partial"
    assert event["confidence"]["missing"] == ["data.args"]


def test_texts_of_another_thread_and_of_a_lost_record_are_not_taken() -> None:
    (event,) = Bench().play(
        text(records.EXE, b"/of/a/lost/record"),
        text(records.EXE, b"/bin/other", tid=9),
        text(records.EXE, b"/bin/true"),
        process(records.EXEC, texts=1),
    )
    assert event["data"]["exe"] == "/bin/true"


def test_a_script_names_its_interpreter() -> None:
    (event,) = Bench().play(
        text(records.PROGRAM_FILE, b"/srv/run.sh"),
        text(records.EXE, b"/usr/bin/dash"),
        process(records.EXEC, texts=2, flags=records.SCRIPT),
    )
    assert event["data"]["script_path"] == event["data"]["exe"] == "/srv/run.sh"
    assert event["data"]["interpreter"] == "/usr/bin/dash"
    assert event["data"]["is_script"] is event["data"]["is_shell"] is True


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(0, 0, "normal"), (3 << 8, 3, "normal"), (9, 137, "signaled"), (139, 139, "coredump")]
)
def test_how_a_process_ended(status: int, code: int, kind: str) -> None:
    (event,) = Bench().play(process(records.EXIT, status=status, ts=START + 70_000_000))
    data = event["data"]
    assert (data["exit_code"], data["termination_type"]) == (code, kind)
    assert (data["runtime_ms"], data["cpu_user_ms"], data["cpu_system_ms"]) == (70, 30, 2)
    assert ("signal" in data) == (kind != "normal")


def test_a_fork_names_the_child() -> None:
    (event,) = Bench().play(process(records.FORK))
    assert event["data"] == {"child_pid": PID + 9, "is_thread": False}


def test_a_connect_that_failed() -> None:
    (event,) = Bench().play(network(records.CONNECT, error=111))
    data = event["data"]
    assert (data["success"], data["error"], data["latency_ms"]) == (False, "ECONNREFUSED", 2.0)
    assert data["dest"] == {"ip": "8.8.8.8", "port": 443, "is_private": False}
    assert data["src"] == {"ip": "127.0.0.1", "port": 1234, "is_private": True}


def test_who_called_stands_as_the_source() -> None:
    accept, flow = Bench().play(network(records.ACCEPT, accepted=1), network(records.FLOW, accepted=1))
    for event in (accept, flow):
        assert event["data"]["src"]["ip"] == "8.8.8.8"
        assert event["data"]["dest"]["port"] == 1234
        assert event["confidence"]["process_attribution"] == "heuristic"
    assert flow["data"]["direction"] == "inbound"
    assert (flow["data"]["bytes_sent"], flow["data"]["bytes_received"]) == (10, 20)


def test_a_flow_that_goes_on_is_partial() -> None:
    (event,) = Bench().play(network(records.INTERIM))
    assert event["confidence"]["missing"] == ["data.end_time"]
    assert "end_time" not in event["data"]


def test_a_question_is_told_with_its_answer_and_names_the_connection() -> None:
    bench = Bench()
    assert not bench.play(dns(records.QUERY, QUESTION))
    (named,) = bench.play(dns(records.ANSWER, ANSWER))
    assert named["data"] == {
        "query_name": "api.example.com",
        "query_type": "A",
        "response_code": "NOERROR",
        "answers": [{"type": "A", "value": "8.8.8.8", "ttl": 60}],
        "resolver": "8.8.8.8",
        "latency_ms": 0.0005,
    }
    (connected,) = bench.play(network(records.CONNECT))
    assert connected["data"]["dest"]["domain"] == "api.example.com"
    assert "domain" not in connected["data"]["src"]


def test_a_question_without_answer_is_told_after_a_while() -> None:
    bench = Bench()
    bench.play(dns(records.QUERY, QUESTION))
    assert not bench.events.advance(9 * 10**9)
    (event,) = [json.loads(line) for line in bench.events.advance(11 * 10**9).splitlines()]
    assert event["confidence"]["missing"] == ["data.response_code"]
    bench.play(dns(records.QUERY, QUESTION))
    assert bench.events.finish()


def test_one_event_for_an_open_file() -> None:
    bench = Bench()
    opened = [text(records.PATH, b"/srv/notes.txt"), file(records.OPEN, texts=1)]
    (read,) = bench.play(*opened, file(records.CLOSE, read=6, state=records.AT_END))
    assert read["event_type"] == "file.read"
    assert (read["data"]["bytes_read"], read["data"]["complete"]) == (6, True)
    (written,) = bench.play(*opened, file(records.CLOSE, read=6, written=9, state=records.CREATED))
    assert written["event_type"] == "file.write"
    assert (written["data"]["bytes_written"], written["data"]["created"]) == (9, True)
    assert written["ext"]["oisp"] == {"bytes_read": 6}
    (only,) = bench.play(*opened, file(records.CLOSE))
    assert only["event_type"] == "file.open"
    assert only["data"]["flags"] == ["write", "create"]
    assert not bench.play(file(records.CLOSE, 5, read=1))
    assert bench.events.account()["nameless"] == 1


def test_names_of_calls_are_made_absolute() -> None:
    bench = Bench()
    deleted, renamed = bench.play(
        text(records.NAME, b"../a.txt"),
        text(records.BASE, b"/srv/x"),
        file(records.DELETE, texts=2),
        text(records.NAME, b"/srv/a"),
        text(records.NEW_NAME, b"b"),
        text(records.NEW_BASE, b"/srv"),
        file(records.RENAME, texts=3),
    )
    assert deleted["data"]["path"] == "/srv/a.txt"
    assert (renamed["data"]["old_path"], renamed["data"]["new_path"]) == ("/srv/a", "/srv/b")
    assert not bench.play(text(records.NAME, b"a.txt"), file(records.DELETE, texts=2))
    assert bench.events.account()["nameless"] == 1


def test_rules() -> None:
    rules = FileRules(["/srv/private/*"])
    assert rules.tells("/srv/notes.txt", changed=False)
    assert not rules.tells("/usr/lib/x86_64-linux-gnu/libc.so.6", changed=False)
    assert rules.tells("/usr/lib/x86_64-linux-gnu/libc.so.6", changed=True)
    assert not rules.tells("/srv/private/deep/file", changed=True)
    assert not rules.tells("/home/a/.cache/x", changed=True)
    assert FileRules(defaults=False).tells("/home/a/.cache/x", changed=False)
    bench = Bench(rules=rules)
    assert not bench.play(text(records.PATH, b"/lib/x.so"), file(records.OPEN, texts=1), file(records.CLOSE, read=4))
    assert bench.events.account()["left_out"] == 1


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([*records.KINDS, 3]), st.binary(max_size=200)), max_size=8))
def test_no_record_raises(given_: list[tuple[int, bytes]]) -> None:
    bench = Bench()
    bench.play(*(record(kind, body) for kind, body in given_), b"", b"short")
    assert bench.events.account()["malformed"] >= 2


@settings(max_examples=300)
@given(st.binary(max_size=80), st.integers(0, 60), st.binary(max_size=4))
def test_no_message_raises(noise: bytes, at: int, put: bytes) -> None:
    parse(noise)
    parse(ANSWER[:at] + put + ANSWER[at + len(put) :])


def test_ids_are_reproducible_with_a_seed_and_sort_by_time() -> None:
    first, second = Ulids(7), Ulids(7)
    made = [first(BASE), first(BASE + 10**9)]
    assert made == [second(BASE), second(BASE + 10**9)] == sorted(made)
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", one) for one in [*made, Ulids()(BASE)])


def test_the_numbers_are_those_of_the_header(repo_root: Path) -> None:
    header = (repo_root / "oisp_core/include/oisp/activity.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"\bOISP_([A-Z_]+) = (\d+)", header)}
    ours = {
        "RECORD_TEXT": records.TEXT,
        "RECORD_PROCESS_EVENT": records.PROCESS,
        "RECORD_NETWORK_EVENT": records.NETWORK,
        "RECORD_DNS_MESSAGE": records.DNS,
        "RECORD_FILE_EVENT": records.FILE,
        "TEXT_EXE": records.EXE,
        "TEXT_FILE": records.PROGRAM_FILE,
        "TEXT_DIRECTORY": records.DIRECTORY,
        "TEXT_ARGUMENTS": records.ARGUMENTS,
        "TEXT_PATH": records.PATH,
        "TEXT_NAME": records.NAME,
        "TEXT_BASE": records.BASE,
        "TEXT_NEW_NAME": records.NEW_NAME,
        "TEXT_NEW_BASE": records.NEW_BASE,
        "TEXT_CUT": records.CUT,
        "TEXT_FAULT": records.FAULT,
        "NETWORK_CONNECT": records.CONNECT,
        "NETWORK_ACCEPT": records.ACCEPT,
        "NETWORK_FLOW": records.FLOW,
        "NETWORK_INTERIM": records.INTERIM,
        "DNS_QUERY": records.QUERY,
        "DNS_ANSWER": records.ANSWER,
        "FILE_OPEN": records.OPEN,
        "FILE_CLOSE": records.CLOSE,
        "FILE_DELETE": records.DELETE,
        "FILE_RENAME": records.RENAME,
        "FILE_RMDIR": records.RMDIR,
        "FILE_CREATED": records.CREATED,
        "FILE_TRUNCATED": records.TRUNCATED,
        "FILE_INHERITED": records.INHERITED,
        "FILE_AT_END": records.AT_END,
    }
    assert ours == found
