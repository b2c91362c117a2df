# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test folder shares: where the tree and the corpus are, what may be captured, private libraries.

Not here: anything that knows a parser or an event. Tests of one part keep their helpers beside them.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

from oisp_sensor.demo.libraries import NoPrivateLibrary, copy_libraries

# The wheel's tests run in a staged folder of symbolic links (see `oisp`); resolving leads back to the real tree.
ROOT = Path(__file__).resolve().parents[1]

# In CI the same examples every time: what fails there fails everywhere, and nothing else does.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests marked `full` (minutes, not seconds)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full") or os.environ.get("OISP_FULL") == "1" or "full" in config.getoption("markexpr"):
        return
    full = [item for item in items if item.get_closest_marker("full")]
    if full:
        items[:] = [item for item in items if not item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)


MAY_BE_MISSING = "not required: "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under OISP_REQUIRE_BPF=1 a test of capture that cannot run fails, whatever it lacks."""
    report = yield
    of_capture = item.get_closest_marker("live") is not None or "tests/bpf/" in item.nodeid
    if report.skipped and of_capture and not hasattr(report, "wasxfail") and os.environ.get("OISP_REQUIRE_BPF") == "1":
        why = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if MAY_BE_MISSING not in why:
            report.outcome, report.longrepr = "failed", f"could not run: {why}"
    return report


def unavailable(reason: str, *, required: bool) -> NoReturn:
    """Skip, or fail where the run has promised that this can be tested. What is not required may be missing always."""
    if required:
        pytest.fail(reason, pytrace=False)
    pytest.skip(f"{MAY_BE_MISSING}{reason}")


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The source tree: schema/, semconv/, examples/, documents. Never put it on sys.path."""
    return ROOT


# --- the corpus -----------------------------------------------------------------------------------------------------


class Corpus:
    """Recorded exchanges beside the project. Read them here; they are never copied into the tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.render_py = folder / "render.py"

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(self.folder / name, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    @cache  # noqa: B019 (one object for the whole session)
    def exchanges(self) -> list[dict[str, Any]]:
        return list(self._rows("exchanges.jsonl.gz"))

    @cache  # noqa: B019
    def truth(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self._rows("truth.jsonl.gz")}


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """`../shared/corpus` (or OISP_CORPUS). Skips where it is absent, fails under CI."""
    folder = Path(os.environ.get("OISP_CORPUS") or ROOT.parent / "shared" / "corpus")
    if not (folder / "exchanges.jsonl.gz").is_file():
        unavailable("the corpus of recorded exchanges is not beside the project", required=bool(os.environ.get("CI")))
    return Corpus(folder)


# --- capturing ------------------------------------------------------------------------------------------------------


@cache
def bpf_obstacle() -> str | None:
    """Why eBPF capture cannot run here, or None."""
    if sys.platform != "linux":
        return "eBPF needs Linux"
    if os.geteuid() != 0:
        return "eBPF needs root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF (/sys/kernel/btf/vmlinux)"
    # PERF_EVENT uprobes are announced by this folder; it exists without tracefs being mounted.
    if not Path("/sys/bus/event_source/devices/uprobe").exists():
        return "this kernel has no uprobe event source"
    return None


@pytest.fixture(scope="session")
def require_bpf() -> None:
    """For tests marked `live`: skip where eBPF cannot run, fail there under OISP_REQUIRE_BPF=1."""
    obstacle = bpf_obstacle()
    if obstacle:
        unavailable(obstacle, required=os.environ.get("OISP_REQUIRE_BPF") == "1")


@dataclass(frozen=True)
class PrivateSsl:
    """Copies of libssl and libcrypto that only this test's own processes load."""

    folder: Path
    libssl: Path
    libcrypto: Path
    env: dict[str, str]


def make_private_libssl(folder: Path, program: str | None = None) -> PrivateSsl:
    try:
        copies = copy_libraries(folder, program)
    except NoPrivateLibrary as error:
        unavailable(str(error), required=os.environ.get("OISP_REQUIRE_BPF") == "1")
    home = folder / "home"
    home.mkdir()
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(home), "LANG": "C.UTF-8", **copies.env}
    env["PYTHONUNBUFFERED"] = "1"
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return PrivateSsl(copies.folder, copies.libssl, copies.libcrypto, env)


@pytest.fixture
def private_libssl(tmp_path: Path) -> PrivateSsl:
    """Private copies in a temporary folder; start targets with `env=` so that they load them, and probe only these."""
    return make_private_libssl(tmp_path / "private-ssl")


@pytest.fixture(scope="session")
def new_private_libssl(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PrivateSsl]:
    """Each call makes one more set, for targets of wider scope or for other programs (`program`: what ldd reads)."""

    def make(program: str | None = None) -> PrivateSsl:
        return make_private_libssl(tmp_path_factory.mktemp("ssl") / "private-ssl", program)

    return make
