# SPDX-License-Identifier: Apache-2.0
"""`python -m oisp_sensor.demo.double FOLDER`: serve until standard input closes.

FOLDER gets `ca.pem` and `log.jsonl`; the first line on standard output is the port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from oisp_sensor.demo.double.server import Server, make_certificate

HOSTS = [
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "api.cohere.com",
    "api.mistral.ai",
    "api.groq.com",
    "ollama.com",
    "bedrock-runtime.eu-west-1.amazonaws.com",
    "mcp.deepwiki.com",
    "*.example.com",
    "localhost",
]


async def serve(folder: Path, seed: int) -> None:
    descriptor = os.open(folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as log:
        server, port = await Server(make_certificate(str(folder), HOSTS), log, seed).serve()
        print(port, flush=True)
        # The parent holds the other end: when it is gone, so are we, however it ended.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="oisp_sensor.demo.double", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="an existing folder that only you can write to")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same answers and ids")
    options = parser.parse_args()
    asyncio.run(serve(options.folder, options.seed))


if __name__ == "__main__":
    main()
