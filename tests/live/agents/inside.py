# SPDX-License-Identifier: Apache-2.0
"""Run as a module inside a network namespace that has loopback alone: an agent under capture, its provider beside it.

Usage: python -m tests.live.agents.inside CERT KEY FOLDER PROGRAM [ARGUMENT ...]. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

from oisp_core import Engine
from tests.live.capture.harness import watch
from tests.live.matrix.peer import Peer

ANSWER: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_invented",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello from the double"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


class Provider(Peer):
    """Answers every request with one streamed message."""

    def answer(self, body: bytes) -> bytes:
        stream = b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in ANSWER)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(stream)
        return head + stream


def main(cert: str, key: str, folder: str, *command: str) -> None:
    provider = Provider((cert, key))
    home = Path(folder)
    env = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "ANTHROPIC_API_KEY": "sk-ant-api03-invented-for-this-test-01234",
        "ANTHROPIC_BASE_URL": f"https://localhost:{provider.port}",
        "NODE_EXTRA_CA_CERTS": cert,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    private = types.SimpleNamespace(env=env, libssl=None)
    run = watch(private, command, libraries=[next(c for c in command if c.endswith("claude"))])
    engine = Engine(content="full")
    engine.feed_packed(b"".join(run.records))
    engine.close()
    streams = [s for s in run.streams.values() if s.written or s.read]
    told = {
        "code": run.code,
        "lost": run.lost,
        "midway": [s.midway for s in streams],
        "exact": sorted(bytes(s.written) for s in streams) == sorted(bytes(b) for b in provider.received if b),
        "answers": sorted(bytes(s.read) for s in streams) == sorted(bytes(b) for b in provider.sent if b),
        "events": [json.loads(line) for line in engine.drain().splitlines()],
        "targets": [[t.runtime, list(t.functions)] for t in run.report.targets] if run.report else [],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
