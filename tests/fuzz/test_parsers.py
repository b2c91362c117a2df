# SPDX-License-Identifier: Apache-2.0
"""A short run of each parser's fuzzing; OISP_FUZZ_SECONDS makes it a long one."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.fuzz_parsers import PARSERS, fuzz, fuzz_content

SECONDS = float(os.environ.get("OISP_FUZZ_SECONDS", "0.7"))


@pytest.mark.parametrize("name", PARSERS)
def test_parser(name: str) -> None:
    assert fuzz(name, SECONDS) > 0


def test_content() -> None:
    assert fuzz_content(SECONDS) > 0
