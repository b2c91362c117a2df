# SPDX-License-Identifier: Apache-2.0
"""Recorded traffic as a corpus: a recording of the sensor (`.oisp`), or a folder of exchanges and what is true of them.

A folder holds `exchanges.jsonl.gz` (id, method, url, status, headers and base64 bodies of each exchange, content
codings undone) and `truth.jsonl.gz` (by the same id: kind, model_requested, model_answered, text, usage). Exchanges
become HTTP/1.1, one a connection, streams an event a chunk; all of it again on new connections until it is long enough
to be timed. Nothing of what is read is run, and what is not understood is counted, not guessed.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oisp_bench import corpora
from oisp_bench.check import WrongAnswer
from oisp_bench.corpora import Corpus, Segment
from oisp_bench.traffic import chunk, pieces_of
from oisp_core.errors import ConfigError

__all__ = ["check", "load"]

LONG_ENOUGH = 16_000_000
DATA, CONTEXT = 1, 7
_DATA = struct.Struct("<IHHQQQQQQQIIIIIHBB")
# Between two machines only: these are the renderer's business.
HOP = frozenset((
    "connection", "content-encoding", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te",
    "transfer-encoding", "upgrade",
))  # fmt: skip


def load(path: Path) -> Corpus:
    if path.is_dir():
        return from_folder(path)
    if path.is_file():
        return from_recording(path)
    raise ConfigError(path, message="no such file or folder")


# --- a recording of the sensor ---


class Recorded(Corpus):
    """Its packed form is the recording's own records, of all kinds."""

    def __init__(self, name: str, records: list[bytes], clock_base_ns: int) -> None:
        datas = [record for record in records if kind_of(record) == DATA]
        segments: list[Segment] = []
        for record in datas:
            fields = _DATA.unpack_from(record)
            begin, size = fields[15], fields[13]
            segments.append((fields[3], fields[16], clock_base_ns + fields[5], record[begin : begin + size]))
        super().__init__(name, segments, {segment[0]: b"" for segment in segments}, {})
        self.records = records
        self.facts = {"recording": True, "clock_base_ns": clock_base_ns}

    def _pack(self, batch: int) -> list[bytes]:
        buffers: list[bytes] = []
        now: list[bytes] = []
        have = 0
        for record in self.records:
            now.append(record)
            have += len(record)
            if have >= batch:
                buffers.append(b"".join(now))
                now, have = [], 0
        return [*buffers, b"".join(now)] if now else buffers


def kind_of(record: bytes) -> int:
    return int.from_bytes(record[4:6], "little")


def from_recording(path: Path) -> Corpus:
    from oisp_sensor.capture.recording import Recording

    try:
        with Recording(path) as recording:
            return Recorded(path.name, [bytes(record) for record in recording], recording.clock_base_ns)
    except OSError as error:
        raise ConfigError(path, message=f"cannot be read: {error.strerror}") from None


# --- a folder of exchanges ---


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                    raise ConfigError(path, number, expected="an object with an id", got=str(row)[:60])
                yield row
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(path, message=f"cannot be read: {error}") from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(path, message=f"no line of JSON: {error}") from None


def from_folder(path: Path) -> Corpus:
    truths = {row["id"]: row for row in rows_of(path / "truth.jsonl.gz")}
    rendered: list[tuple[dict[str, Any], list[tuple[int, bytes]]]] = []
    left_out = 0
    for row in rows_of(path / "exchanges.jsonl.gz"):
        pieces = render(row)
        if pieces is None or row["id"] not in truths:
            left_out += 1
        else:
            rendered.append((truths[row["id"]], pieces))
    if not rendered:
        raise ConfigError(path, message="holds no exchange over HTTP that could be rendered")
    size = sum(len(data) for _, pieces in rendered for _, data in pieces)
    return lay(path.name, rendered, max(1, LONG_ENOUGH // size), left_out)


def lay(name: str, rendered: list[tuple[dict[str, Any], list[tuple[int, bytes]]]], times: int, left_out: int) -> Corpus:
    """Connections one after the other, each a process of its own."""
    segments: list[Segment] = []
    contexts: dict[int, bytes] = {}
    truth: dict[int, list[dict[str, Any]]] = {}
    for conn, (facts, pieces) in enumerate(itertools.chain.from_iterable(itertools.repeat(rendered, times)), 1):
        contexts[conn] = corpora.context_of(conn)
        truth[conn] = [facts]
        for way, data in pieces:
            segments.append((conn, way, corpora.START_NS + len(segments) * corpora.STEP_NS, data))
    made = Corpus(name, segments, contexts, truth, len(contexts))
    made.facts = {"folder": True, "left_out": left_out}
    return made


def render(row: dict[str, Any]) -> list[tuple[int, bytes]] | None:
    """Of one exchange; none where it was messages over WebSocket or gRPC, or where a part is missing."""
    if "ws" in row or "grpc" in row or not row.get("url") or not isinstance(row.get("status"), int):
        return None
    url = urlsplit(row["url"])
    sent, body = base64.b64decode(row["request_body"]), base64.b64decode(row["response_body"])
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc.rpartition("@")[2] or row.get("provider_host", "")
    lines = [f"{row['method']} {target} HTTP/1.1", f"Host: {host}", *fields_of(row["request_headers"])]
    ask = head_of([*lines, f"Content-Length: {len(sent)}"]) + sent
    lines = [f"HTTP/1.1 {row['status']} {row.get('reason') or 'OK'}", *fields_of(row["response_headers"])]
    events = events_of(body, lines)
    if events is None:
        answer = pieces_of(head_of([*lines, f"Content-Length: {len(body)}"]) + body)
    else:
        answer = [head_of([*lines, "Transfer-Encoding: chunked"]), *map(chunk, events), b"0\r\n\r\n"]
    return [*((0, piece) for piece in pieces_of(ask)), *((1, piece) for piece in answer)]


def fields_of(pairs: list[list[str]]) -> list[str]:
    return [f"{name}: {value}" for name, value in pairs if name.lower() not in HOP]


def head_of(lines: list[str]) -> bytes:
    clean = [re.sub(r"[\r\n]", " ", line) for line in lines]
    return ("\r\n".join(clean) + "\r\n\r\n").encode("latin-1", "replace")


def events_of(body: bytes, lines: list[str]) -> list[bytes] | None:
    """A streamed body cut where servers cut it; none where it came whole."""
    kinds = [line.lower() for line in lines if line.lower().startswith("content-type:")]
    kind = kinds[0] if kinds else ""
    if "text/event-stream" in kind:
        return [piece for piece in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", body) if piece]
    if "ndjson" in kind or "jsonl" in kind:
        return [piece for piece in re.split(rb"(?<=\n)", body) if piece]
    if "eventstream" in kind:
        return [body[at : at + 4096] for at in range(0, len(body), 4096)]
    return None


# --- is the answer right? ---


def check(events: list[dict[str, Any]], corpus: Corpus) -> str:
    """Of a folder: every chat says what truth does, and what is no AI traffic gives no `ai` event. A note for the
    report. Raises WrongAnswer with the first exchange that differs."""
    by_connection: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        by_connection.setdefault(event["process"]["pid"] - 4000, []).append(event)
    checked = 0
    for conn, (truth,) in corpus.truth.items():
        for what, wanted, got in statements(truth, by_connection.get(conn, [])):
            checked += 1
            if wanted != got:
                raise WrongAnswer(f"exchange {truth['id']}: {what} is {got!r:.200}, recorded was {wanted!r:.200}")
    left = corpus.facts["left_out"]
    return f"{checked} facts of {len(corpus.truth)} exchanges are as recorded; left out: {left} that are not plain HTTP"


def statements(truth: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    asked = [e["data"] for e in events if e["event_type"] == "ai.request"]
    said = [e["data"] for e in events if e["event_type"] == "ai.response"]
    if truth["kind"] == "none":
        yield "events", 0, len([e for e in events if e["event_type"].startswith("ai.")])
    if truth["kind"] not in {"chat", "completion"}:
        return
    yield "requests and answers", (1, 1), (len(asked), len(said))
    if not asked or not said:
        return
    if truth.get("model_requested"):
        yield "the model asked for", truth["model_requested"], asked[0].get("model", {}).get("id")
    yield "status", truth["status"], said[0].get("status_code")
    if truth.get("success") and truth.get("text"):
        contents = [choice["message"].get("content") for choice in said[0].get("choices", [])]
        yield "text", True, truth["text"] in contents or truth.get("texts") == contents
    usage = truth.get("usage", {})
    for name, key in (("prompt_all", "prompt_tokens"), ("completion_all", "completion_tokens")):
        if usage.get(name) is not None:
            yield key, usage[name], said[0].get("usage", {}).get(key)
