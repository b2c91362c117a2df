# SPDX-License-Identifier: Apache-2.0
"""The automaton against ahocorasick_rs (its DFA), and what a verdict costs.

python benchmarks/bench_match.py [--rounds N]

The patterns are those that a search of heads and bodies for providers would use: every host, path, header name, key
prefix and body key in semconv/providers. Both sides are called from Python, on the same bytes, in one run, and give the
same matches (leftmost, longest). Aims: 1.2 times as fast on heads of 200 bytes, 3 times on bodies of 20 KB; 60 ns for
the head of a known host, 1 us to find a model, 30 ms to load what ships, 2 s to compile the providers.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ahocorasick_rs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.bench_http1 import REQUEST_FIELDS
from benchmarks.drive import ROOT, build, compare
from oisp_core import resources
from oisp_core.decode.dialects import load_dialects
from oisp_core.encode.models import Models
from oisp_core.match.automaton import Automaton
from oisp_core.match.compile import compile_folders
from oisp_core.match.fingerprints import read_documents, read_semconv
from oisp_core.match.rules import load_registry
from oisp_core.match.tables import dump, source_hash

WORDS = "the of and a to in is you that it he was for on are as with his they I at be this have from"
PROVIDERS = ROOT / "semconv" / "providers"


def patterns() -> list[bytes]:
    """Every literal of the provider files that could be looked for, at least four bytes long."""
    semconv = read_semconv(read_documents(PROVIDERS))
    found: set[str] = set()
    for p in semconv.providers:
        found |= {piece for h in p.hosts for piece in re.split(r"\{[a-z_]+\}|\*", h.pattern)}
        found |= {piece for e in p.endpoints for path in e.paths for piece in re.split(r"\{[a-z_+]+\}", path)}
        found |= {s.header for s in p.signals} | {k.prefix for k in p.keys}
    for shape in semconv.shapes.values():
        found |= {f'"{key}"' for term in (*shape.all, *shape.any) for key in re.findall(r"[a-z_]{4,}", term)}
    return sorted(p.lower().encode() for p in found if len(p) >= 4)


def heads(count: int, size: int) -> list[bytes]:
    rng = random.Random(1)
    made = []
    for _ in range(count):
        fields = rng.sample(REQUEST_FIELDS, len(REQUEST_FIELDS))
        text = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{n.lower()}: {v}\r\n" for n, v in fields)
        made.append(text.encode()[:size])
    return made


def bodies(count: int, size: int) -> list[bytes]:
    rng = random.Random(2)
    words = WORDS.split()
    made = []
    for _ in range(count):
        text = " ".join(rng.choices(words, k=size // 4))
        made.append(
            f'{{"model":"gpt-5","messages":[{{"role":"user","content":"{text}"}}],"stream":true}}'.encode()[:size]
        )
    return made


def search(title: str, data: list[bytes], rounds: int, ours: Automaton, theirs: Any) -> None:
    """Every piece scanned once; lists of (pattern, start, end) on both sides."""
    candidates: dict[str, Callable[[], Any]] = {
        "ahocorasick_rs (DFA)": lambda: [theirs.find_matches_as_indexes(d) for d in data],
        "oisp": lambda: [ours.scan(d) for d in data],
    }
    compare(title, candidates, sum(map(len, data)), rounds=rounds, units=("call", len(data)))


def questions(count: int) -> dict[str, list[Any]]:
    """Heads as the engine would ask about them."""
    fields = [(n.encode(), v.encode()) for n, v in REQUEST_FIELDS[1:]]
    body = b'{"model":"gpt-5","messages":[{"role":"user","content":"' + b"x" * 400 + b'"}],"stream":true}'
    chat = b"/v1/chat/completions"
    return {
        "known host, chat, 16 fields": [(b"POST", chat, b"api.openai.com", fields, body)] * count,
        "known host by pattern, Bedrock": [
            (
                b"POST",
                b"/model/us.amazon.nova-lite-v1%3A0/converse",
                b"bedrock-runtime.us-east-1.amazonaws.com",
                fields,
                body,
            )
        ]
        * count,
        "known host, path that is not AI": [(b"GET", b"/v1/files/file-1/content", b"api.openai.com", fields, b"")]
        * count,
        "unknown host, ordinary request": [(b"GET", b"/api/v2/orders/1", b"shop.example.com", fields[:8], b"")] * count,
        "unknown host, chat, with its body": [(b"POST", chat, b"gateway.internal:8443", fields, body)] * count,
    }


def verdicts(rounds: int) -> None:
    drive = build("drive_match")
    registry = load_registry(["openai.chat"])
    print("\nVerdicts")
    for title, rows in questions(2000).items():
        asked = drive.Heads(rows)
        expected = len(rows) if "not AI" not in title and "ordinary" not in title else 0
        assert drive.count_ai(registry, asked, True) == expected, title
        spent = []
        for _ in range(rounds):
            begin = time.thread_time_ns()
            drive.count_ai(registry, asked, True)
            spent.append((time.thread_time_ns() - begin) / len(rows))
        print(f"  {title:34} {statistics.median(spent):9.1f} ns/message (least {min(spent):.1f})")


def timed(title: str, run: Callable[[], Any], times: int) -> None:
    spent = []
    for _ in range(times):
        begin = time.thread_time_ns()
        run()
        spent.append((time.thread_time_ns() - begin) / 1e6)
    print(f"  {title:34} {statistics.median(spent):9.1f} ms of this thread (least {min(spent):.1f})")


NAMES = {
    "its own name": ("openai", "gpt-4o-mini"),
    "with a date": ("openai", "gpt-4o-mini-2024-07-18"),
    "region and version": ("aws_bedrock", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"),
    "a path, any provider": ("", "publishers/google/models/gemini-2.5-flash"),
    "a fine-tune": ("openai", "ft:gpt-4o-mini-2024-07-18:org::id"),
    "not known": ("openai", "a-name-that-nobody-has-2025-01-01"),
}


def lookups(rounds: int) -> None:
    """A model found under a name of the wire; in the engine once for each event that names one."""
    models = Models(resources.read("semconv/models.tsv"), "semconv/models.tsv")
    print(f"\nModels ({len(models)})")
    for title, (provider, name) in NAMES.items():
        assert (models.find(provider, name) is not None) == (title != "not known"), name
        spent = []
        for _ in range(rounds):
            begin = time.thread_time_ns()
            models.time_find(provider, name, 2000)
            spent.append((time.thread_time_ns() - begin) / 2000)
        print(f"  {title:34} {statistics.median(spent):9.1f} ns/lookup (least {min(spent):.1f})")


def loading() -> None:
    print("\nLoading")
    names = list(load_dialects().names)
    timed("providers that ship", lambda: load_registry(names), 15)
    timed("dialects that ship", load_dialects, 15)
    timed("models that ship", lambda: Models(resources.read("semconv/models.tsv"), "semconv/models.tsv"), 15)
    timed("compiled from YAML", lambda: dump(compile_folders(PROVIDERS), source_hash(PROVIDERS)), 3)
    with tempfile.TemporaryDirectory() as folder:
        own = "provider: {id: corp, name: Corp}\nfingerprints: [{type: domain, pattern: llm.corp.example}]\n"
        (Path(folder) / "corp.yaml").write_text(own + "endpoints: {chat: {path: /v1/chat/completions}}\n")
        timed("with a folder of one's own", lambda: load_registry(["openai.chat"], folder), 3)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=11)
    args = options.parse_args()
    wanted = patterns()
    ours = Automaton(wanted, matches="leftmost")
    theirs = ahocorasick_rs.BytesAhoCorasick(
        wanted, ahocorasick_rs.MatchKind.LeftmostLongest, ahocorasick_rs.Implementation.DFA
    )
    print(
        f"{len(wanted)} patterns, {sum(map(len, wanted))} bytes, {ours.to_arrays()['next'].nbytes >> 10} KiB of table"
    )
    search("Heads of 200 bytes", heads(2000, 200), args.rounds, ours, theirs)
    search("Bodies of 20 KB", bodies(60, 20_000), args.rounds, ours, theirs)
    verdicts(args.rounds)
    lookups(args.rounds)
    loading()


if __name__ == "__main__":
    main()
