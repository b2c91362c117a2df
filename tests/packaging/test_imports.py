# SPDX-License-Identifier: Apache-2.0
"""Every module imports alone, without a warning, and the core stays light."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

# Imported with the core: what an embedder pays. Counted in modules, which does not depend on the machine.
CORE_IMPORTS_MAX = 262
# Belongs to the demo's extras or to a target that is asked for by name.
HEAVY = {"openai", "anthropic", "httpx", "jsonschema", "rich", "asyncio", "pytest", "Cython", "setuptools"}


def modules(package: str) -> list[str]:
    spec = find_spec(package)
    assert spec is not None
    found = pkgutil.walk_packages(spec.submodule_search_locations, f"{package}.")
    return [package, *sorted(name for _, name, _ in found if not name.endswith("__main__"))]


def fresh(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("package", ["oisp_core", "oisp_sensor", "oisp_bench"])
def test_every_module_imports_alone_without_a_warning(package: str) -> None:
    """Each in a forked child of one fresh interpreter, so that none leans on what another imported."""
    names = modules(package)
    assert len(names) > 5
    code = f"""
import importlib, os, sys, traceback
failed = []
for name in {names!r}:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(name, file=sys.stderr)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(len(failed))
"""
    done = fresh(code, "-W", "error")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["oisp_core", "oisp_core.engine"])
def test_the_core_is_light(package: str) -> None:
    done = fresh(f"import sys; before = set(sys.modules); import {package}; print(*set(sys.modules) - before)")
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert not [name for name in loaded if name.startswith("oisp_sensor")]
    assert len(loaded) <= CORE_IMPORTS_MAX, f"{len(loaded)} modules are imported"


def test_the_core_imports_where_there_is_no_ebpf() -> None:
    """Another platform: no libbpf to open, no Linux. Importing must not look for either."""
    code = """
import sys, ctypes
def refused(*a, **k):
    raise OSError("no library on this platform")
ctypes.CDLL.__init__ = refused
sys.platform = "darwin"
import oisp_core.engine, oisp_sensor.cli
"""
    done = fresh(code)
    assert done.returncode == 0, done.stderr


def test_the_tests_use_what_is_installed() -> None:
    """Under `./oisp test` the source tree must not shadow the wheel."""
    import os

    import oisp_core

    if "OISP_WHEEL" not in os.environ:
        pytest.skip("not a run of the wheel's tests")
    assert "site-packages" in str(oisp_core.__file__)
