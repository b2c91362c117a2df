# SPDX-License-Identifier: Apache-2.0
"""The writer alone: nanoseconds for an event, and what `metadata` costs above a bare SHA-256 of the same text.

    python benchmarks/bench_encode.py [--rounds N]

CPU time of the thread, candidates interleaved round by round, medians. Every candidate's answer is checked before it is
timed; hashlib hashes the very text (as UTF-8) that the writer finds escaped on the wire.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from oisp_core.encode import _testing, writer

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CONTEXT = (
    b'"host":{"hostname":"build-7","os":"linux","arch":"x86_64","kernel_version":"6.1.0"},"actor":{"uid":1000,'
    b'"user":"alice"},"process":{"pid":4242,"ppid":4100,"exe":"/usr/bin/python3.11","name":"python3","cmdline":'
    b'"python3 agent.py","cwd":"/home/alice/project","start_time":"2025-12-22T14:00:00.000000Z"},"source":'
    b'{"collector":"oisp-sensor","collector_version":"0.1.0","capture_method":"ebpf_uprobe"}'
)
FACTS = {
    "event_id": ULID, "request_event": ULID, "response_event": ULID, "parent_event": ULID, "request_id": ULID,
    "ts_ns": 1_766_413_935_123_456_789, "context": CONTEXT, "context_has_source": 1, "provider_id": b"openai",
    "dialect": b"openai.chat", "scheme": b"https", "authority": b"api.openai.com", "path": b"/v1/chat/completions",
    "status": 200, "streamed": 1, "latency_ns": 1_234_567_890, "first_token_ns": 234_567_890,
    "verdict": {"kind": 1, "request_type": 1, "provider_name": 1, "auth_type": 1, "key": b"sk-proj-" + b"x" * 48},
    "confidence": {"level": 1, "reasons": 0b100001101, "detection_method": 1, "content_source": 2,
                   "process_attribution": 1},
}  # fmt: skip
WORDS = (
    'The function returns early when the list is empty.\n\tfor item in items:\n\t\tprint(f"{item!r}")\n'
    "Prüfe bitte auch den Fall, dass die Datei fehlt — und die Grenzen. 日本語のコメントもある。\n"
)


def text_of(size: int) -> str:
    """About `size` bytes of UTF-8: prose and code, with escapes and a few non-ASCII characters."""
    text = WORDS * (size // len(WORDS.encode()) + 1)
    return text.encode()[:size].decode("utf-8", "ignore")


def exchange(text: str) -> dict[str, Any]:
    call = {"id": "call_abc123", "name": "read_file", "type": "function", "arguments": '{"path": "src/main.rs"}'}
    return {
        "flags": 1,
        "model_requested": "gpt-4o",
        "temperature": (2, b"0.7"),
        "max_tokens": (2, b"4096"),
        "messages": [{"role": 1, "content": "You are a helpful assistant."}, {"role": 2, "content": text}],
        "tools": [{"name": name, "type": 1} for name in ("read_file", "write_file", "bash")],
        "response_id": "chatcmpl-9wcf63ElMv37nCRAW9VlNU9BJKFZV",
        "model_answered": "gpt-4o-2024-08-06",
        "success": 1,
        "finish": 3,
        "choices": [{"role": 3, "finish": 3, "content": "I will look at the file first."}],
        "calls": [call],
        "usage": {"prompt": 1234, "completion": 56, "total": 1290, "cached": 1024, "reasoning": 0},
        "answers": [{"call_id": "call_abc123", "content": "fn main() {}\n" * 20}],
        "chunk_index": 7,
        "chunk_content": " world",
    }


def interleaved(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median nanoseconds of each, taken in turns."""
    taken: dict[str, list[int]] = {name: [] for name in candidates}
    gc.disable()
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.thread_time_ns()
            run()
            taken[name].append(time.thread_time_ns() - start)
    gc.enable()
    return {name: statistics.median(times) for name, times in taken.items()}


def events(rounds: int) -> None:
    x, f = _testing.Exchange(exchange("Fix the bug in main.rs")), _testing.Facts(FACTS)
    kinds = ["ai.request", "ai.response", "agent.tool_call", "agent.tool_result", "ai.streaming_chunk"]
    repeat = 2000
    runs, sizes = {}, {}
    for policy, name in ((0, "metadata"), (1, "redacted"), (2, "full")):
        for kind in kinds:
            w = _testing.Writer(policy)
            sizes[f"{kind} {name}"] = len(w.encode(kind, x, f))
            runs[f"{kind} {name}"] = lambda w=w, kind=kind: w.time(kind, x, f, repeat)
    print(f"{'event, policy':32}{'bytes':>8}{'ns/event':>10}{'MB/s':>8}")
    for name, total in interleaved(runs, rounds).items():
        ns = total / repeat
        print(f"{name:32}{sizes[name]:>8}{ns:>10.0f}{sizes[name] / ns * 1000:>8.0f}")


def metadata(size: int, rounds: int) -> None:
    text = text_of(size)
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()[:16]
    runs: dict[str, Callable[[], Any]] = {"hashlib.sha256": lambda: hashlib.sha256(data).digest()}
    for ascii_only, name in ((False, "metadata, UTF-8 on the wire"), (True, "metadata, \\u escapes on the wire")):
        wire = json.dumps(text, ensure_ascii=ascii_only).encode()
        x = _testing.Exchange(exchange("") | {"messages": [{"role": 2, "content": (1, wire[1:-1])}]})
        f, w = _testing.Facts(FACTS), _testing.Writer(0)
        marker = json.loads(w.encode("ai.request", x, f))["data"]["messages"][0]["content"]["$redacted"]
        assert marker == {"reason": "policy", "original_length": len(text), "hash": f"sha256:{digest}"}
        runs[name] = lambda w=w, x=x, f=f: w.time("ai.request", x, f, 1)
    taken = interleaved(runs, rounds)
    for name, ns in taken.items():
        ratio = ns / taken["hashlib.sha256"]
        print(f"{size // 1000:>4} KB  {name:36}{ns / 1000:>10.1f} us{len(data) / ns * 1000:>8.0f} MB/s{ratio:>8.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(f"SHA-256: {writer.sha256_backend()}")
    events(max(rounds // 10, 3))
    for size in (20_000, 200_000):
        metadata(size, rounds)


if __name__ == "__main__":
    main()
