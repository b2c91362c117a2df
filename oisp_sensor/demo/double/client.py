# SPDX-License-Identifier: Apache-2.0
"""Start a double in a process of its own, and tell clients how to reach it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Double:
    port: int
    ca: Path
    log_path: Path
    pid: int

    @property
    def env(self) -> dict[str, str]:
        """What an unchanged client needs: the proxy that answers for every host, and its authority."""
        proxy = f"http://127.0.0.1:{self.port}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "SSL_CERT_FILE": str(self.ca),
            "CURL_CA_BUNDLE": str(self.ca),
        }

    def log(self, at_least: int = 0, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The exchanges so far, in the order in which their responses ended; waits for `at_least` of them."""
        deadline = time.monotonic() + timeout
        while True:
            lines = self.log_path.read_bytes().split(b"\n")[:-1]  # a line counts when it is whole
            if len(lines) >= at_least:
                return [json.loads(line) for line in lines]
            if time.monotonic() > deadline:
                raise TimeoutError(f"the provider double has logged {len(lines)} of {at_least} exchanges")
            time.sleep(0.01)


@contextmanager
def running(folder: Path, seed: int = 0) -> Iterator[Double]:
    """A double with its own certificate authority; `folder` must exist and be private. Ends with the block."""
    command = [sys.executable, "-P", "-m", "oisp_sensor.demo.double", str(folder), "--seed", str(seed)]
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}  # never on a probed library
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])  # where this package was found, installed or not
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"the provider double did not start (exit code {process.wait()})")
        try:
            yield Double(int(port), folder / "ca.pem", folder / "log.jsonl", process.pid)
        finally:
            process.stdin.close()
            process.wait(timeout=10)
