# SPDX-License-Identifier: Apache-2.0
"""The archives under test. `./oisp test` builds them and names them; a run of single tests has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def archive(variable: str) -> Path:
    named = os.environ.get(variable)
    if named:
        assert Path(named).is_file(), f"{variable}={named}: no such file"
        return Path(named)
    if os.environ.get("CI"):
        pytest.fail(f"{variable} is not set: `./oisp test` without arguments builds the wheel and sets it")
    pytest.skip(f"{variable} is not set; `./oisp test` without arguments builds and tests the wheel")


@pytest.fixture(scope="session")
def wheel() -> Path:
    return archive("OISP_WHEEL")


@pytest.fixture(scope="session")
def sdist() -> Path:
    return archive("OISP_SDIST")
