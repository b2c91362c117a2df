# SPDX-License-Identifier: Apache-2.0
"""A short run of each target: its seeds, what guided runs kept, and as many mutations; the same inputs every time.

`make fuzz SECONDS=600` is the long one.
"""

from __future__ import annotations

import pytest

from tests.fuzz.mutate import corpus, run
from tests.fuzz.targets import TARGETS

# What one input costs differs a hundredfold.
COUNTS = {"engine": 150, "packed": 150, "http1": 1200}


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    assert corpus(name)
    assert run(name, count=COUNTS.get(name, 2000)) > 0


@pytest.mark.full
@pytest.mark.parametrize("name", TARGETS)
def test_target_long(name: str) -> None:
    assert run(name, seed=2, seconds=20) > 0
