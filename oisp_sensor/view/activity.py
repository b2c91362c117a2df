# SPDX-License-Identifier: Apache-2.0
"""Lines of what processes did: process.*, network.* and file.* events."""

from __future__ import annotations

from typing import Any

from oisp_sensor.view.pieces import Describe, Line, Piece, at, duration, joined, number, plural, text

__all__ = ["DESCRIBE_ACTIVITY"]


def _line(word: str, what: str, facts: str = "", *, failed: bool = False) -> list[Line]:
    shown = [Piece("error" if failed else "plain", word), Piece("text", f" {what}" if what else "")]
    return [[*shown, Piece("dim", f"  {facts}" if facts else "")]]


def _words(values: Any, limit: int | None) -> str:
    """A command line; arguments that hold blanks in quotes."""
    if not isinstance(values, list):
        return ""
    words = [value for value in values if isinstance(value, str)]
    return text(" ".join(f'"{word}"' if not word or " " in word else word for word in words), limit)


def _exec(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    exe = text(at(data, "exe"), limit)
    return _line("exec", joined((exe, _words((at(data, "args") or [])[1:], limit)), " "))


def _exit(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    signal = text(at(data, "signal_name"))
    how = f"killed by {signal}" if signal else str(at(data, "exit_code"))
    return _line("exit", how, duration(at(data, "runtime_ms")), failed=bool(signal))


def _fork(event: dict[str, Any], limit: int | None) -> list[Line]:
    return _line("fork", str(at(event, "data", "child_pid")))


def _place(endpoint: Any) -> str:
    """`name (address):port`, as far as it is known."""
    domain, ip, port = text(at(endpoint, "domain")), text(at(endpoint, "ip")), at(endpoint, "port")
    where = f"[{ip}]" if ":" in ip else ip
    return (f"{domain} ({where})" if domain else where) + (f":{port}" if isinstance(port, int) else "")


def _connect(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    failed = at(data, "success") is False
    facts = joined((text(at(data, "error")), duration(at(data, "latency_ms"))))
    return _line("connect", _place(at(data, "dest")), facts, failed=failed)


def _accept(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    return _line("accept", f"{_place(at(data, 'src'))} on {_place(at(data, 'dest'))}")


def _flow(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    other = at(data, "src" if at(data, "direction") == "inbound" else "dest")
    moved = joined((f"{number(at(data, 'bytes_sent'))} bytes out", f"{number(at(data, 'bytes_received'))} in"))
    return _line("closed", _place(other), joined((moved, duration(at(data, "duration_ms")))))


def _dns(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    answers = at(data, "answers")
    values = joined(text(at(one, "value")) for one in answers) if isinstance(answers, list) else ""
    code = text(at(data, "response_code")) or "no answer"
    failed = code != "NOERROR"
    asked = f"{text(at(data, 'query_name'), limit)} {text(at(data, 'query_type'))}"
    found = code if failed or not values else values
    return _line("lookup", asked, joined((found, duration(at(data, "latency_ms")))), failed=failed)


def _file(word: str, *members: str) -> Describe:
    """`members`: counts and truths of the data that are worth a word."""

    def describe(event: dict[str, Any], limit: int | None) -> list[Line]:
        data = event.get("data")
        facts = [plural(at(data, name), "byte") for name in members if name.startswith("bytes_")]
        facts += [name for name in members if at(data, name) is True]
        return _line(word, text(at(data, "path"), limit), joined(facts))

    return describe


def _rename(event: dict[str, Any], limit: int | None) -> list[Line]:
    data = event.get("data")
    old, new = text(at(data, "old_path"), limit), text(at(data, "new_path"), limit)
    return _line("rename", f"{old} \N{RIGHTWARDS ARROW} {new}")


DESCRIBE_ACTIVITY: dict[str, Describe] = {
    "process.exec": _exec,
    "process.exit": _exit,
    "process.fork": _fork,
    "network.connect": _connect,
    "network.accept": _accept,
    "network.flow": _flow,
    "network.dns": _dns,
    "file.open": _file("open"),
    "file.read": _file("read", "bytes_read", "complete"),
    "file.write": _file("write", "bytes_written", "created", "truncated"),
    "file.delete": _file("delete"),
    "file.rename": _rename,
}
