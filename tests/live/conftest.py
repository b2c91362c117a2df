# SPDX-License-Identifier: Apache-2.0
"""What live tests share, and the matrix that they print: what was tried, and what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import unavailable

_ROWS: list[tuple[str, ...]] = []
_HEAD = ("client", "stack", "role", "size", "at once", "outcome")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Called with what is tried; how it went is added when the test has ended."""

    def note(*cells: object) -> None:
        request.node.matrix_row = tuple(map(str, cells))

    return note


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    cells = getattr(item, "matrix_row", None)
    if cells and report.when == "call":
        _ROWS.append((*cells, "byte for byte" if report.passed else report.outcome))


def pytest_terminal_summary(terminalreporter) -> None:
    if not _ROWS:
        return
    rows = [_HEAD, *_ROWS]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    terminalreporter.section("live matrix")
    for cells in rows:
        terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder into which pip has installed (or, for another Python's, unpacked) one release of a package."""
    done: dict[str, Path] = {}

    def get(release: str, *options: str) -> Path:
        if release not in done:
            folder = tmp_path_factory.mktemp("wheel")
            command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
            command += ["--only-binary=:all:", "--target", str(folder), *options, release]
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if made.returncode:
                required = os.environ.get("OISP_REQUIRE_BPF") == "1"
                unavailable(f"pip cannot install {release}: {made.stderr.strip()[-300:]}", required=required)
            done[release] = folder
        return done[release]

    return get


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate for localhost, and its key."""
    folder: Path = tmp_path_factory.mktemp("certificate")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
