# SPDX-License-Identifier: Apache-2.0
"""Where the nanoseconds of a case go: samples of the engine alone (perf, CPU clock), by what the code is for.

    python -m benchmarks.profile CASE [--seconds N] [--symbols N]

For docs/PERFORMANCE.md. Shares are of the samples in the engine's own code and in the C library that it calls; what the
interpreter does around it is left out and its share said. `dismissed` is a case of its own here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# The first that fits says what a symbol is for.
AREAS = (
    ("walk over records", r"oisp_core_6engine"),
    ("connection: lookup, offsets, roles", r"oisp_core_(10connection|7streams|6resync)"),
    ("HTTP framing and heads", r"reassemble_(5http1|5http2|5hpack|4face|5sniff)|huffman"),
    ("event framing", r"reassemble_(3sse|6ndjson|11eventstream|9websocket|4grpc)|oisp_core_6reader"),
    ("learned shapes", r"decoder_decode_known|template"),
    ("text of the answer", r"decoder_(extend|put_plain|text_room|note_chunk|append)"),
    ("JSON pass", r"oisp_json|check_string|^scalar$|frame_close|find_string|string_end|_quote|_structure|utf8"),
    ("decoder: captures to fields", r"6decode_7decoder|8jsonscan|^lookup$"),
    ("matching: host, path, body", r"match_5rules|match_9automaton"),
    ("hashes", r"compress_|sha256|fast_hash|meaning_hash|digest"),
    ("conversations and threads", r"5links|7threads|find_asker|session|^oisp_thread"),
    ("prices and models", r"oisp_usage|oisp_model|6models|7clients"),
    ("writer", r"6encode_|^line_|^oisp_put|^put_|context_check|4emit|5facts|4form|oisp_escape|oisp_text"),
    ("message: turns and bodies", r"7message|7inflate"),
    ("copies and searches of the C library", r"^__mem|^__str|^mem"),
    ("allocator", r"malloc|free|unlink_chunk|calloc|realloc"),
)
INTERPRETER = re.compile(r"^_?Py|_PyEval|^gc_|unicode|dict|tuple|list_|bytes_|^PyObject|method|vectorcall")


def work(name: str, seconds: float) -> None:
    """What perf watches: the engine over the case's traffic, again and again."""
    from oisp_bench import cases, corpora, measure
    from oisp_bench.engines.ours import Packed
    from oisp_core import Engine

    measure.keep_memory()
    if name == "dismissed":
        data = bytes(range(128, 256)) * 8
        made = [corpora.data_record(1 + i % 100, 0, corpora.START_NS, i // 100 * 1024, data) for i in range(12_000)]
        buffers = [b"".join(made[i : i + 256]) for i in range(0, len(made), 256)]
        engine = Engine(id_seed=1)
    else:
        (case,) = [case for case in cases.select([name]) if case.name == name]
        runner = Packed(corpora.make(name, case.corpus), content=case.content, chunks=case.chunks)
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        if name == "dismissed":
            for buffer in buffers:
                engine.feed_packed(buffer)
        else:
            runner.engine = runner.make()
            for _ in range(10):
                runner.run(len)


def samples(name: str, seconds: float) -> list[tuple[str, str, float]]:
    """(symbol, file, share) of what was running."""
    with tempfile.TemporaryDirectory() as place:
        data = f"{place}/perf.data"
        target = [sys.executable, "-m", "benchmarks.profile", name, "--seconds", str(seconds), "--work"]
        subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-o", data, *target], check=True)
        command = [
            "perf",
            "report",
            "-i",
            data,
            "--stdio",
            "--no-children",
            "-s",
            "symbol,dso",
            "-F",
            "overhead,symbol,dso",
        ]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\s*([\d.]+)%\s+\[[.k]\]\s+(\S+).*?\s(\S+)\s*$", text, re.MULTILINE)
    return [(symbol, file, float(share)) for share, symbol, file in rows]


def area_of(symbol: str) -> str:
    return next((area for area, pattern in AREAS if re.search(pattern, symbol)), "")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("case")
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--symbols", type=int, default=12, help="how many of the functions to list (default 12)")
    options.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.work:
        return work(args.case, args.seconds)
    if shutil.which("perf") is None:
        sys.exit("perf is not installed")
    shares: Counter[str] = Counter()
    rest = 0.0
    found = samples(args.case, args.seconds)
    for symbol, file, share in found:
        area = area_of(symbol)
        if file.startswith(("python", "libpython")) or file == "[unknown]" or INTERPRETER.search(symbol):
            rest += share
        elif area or file.endswith(".so"):
            shares[area or "elsewhere in the engine"] += share
        else:
            rest += share
    whole = sum(shares.values())
    print(f"{args.case}: {whole:.0f} % of the samples are the engine's, {rest:.0f} % the interpreter's and others'")
    for area, share in shares.most_common():
        print(f"  {100 * share / whole:5.1f} %  {area}")
    print()
    for symbol, _, share in sorted(found, key=lambda row: -row[2])[: args.symbols]:
        print(f"  {100 * share / whole:5.1f} %  {re.sub(r'^__pyx_f_9oisp_core_(?:[0-9]+)?', '', symbol)}")
    return None


if __name__ == "__main__":
    main()
