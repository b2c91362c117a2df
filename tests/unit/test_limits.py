# SPDX-License-Identifier: Apache-2.0
"""The bounds: header and table name the same things, and a value outside its range is refused in one clear line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from oisp_core.errors import ConfigError, LimitError
from oisp_core.limits import LIMITS, Limit, Limits

WIDTH = {"uint32_t": 32, "uint64_t": 64}


@pytest.fixture(scope="module")
def header(repo_root: Path) -> list[tuple[str, str]]:
    text = (repo_root / "oisp_core/include/oisp/limits.h").read_text()
    body = re.search(r"typedef struct oisp_limits \{(.*?)\} oisp_limits;", text, re.S)
    assert body
    return re.findall(r"^\s*(uint\d+_t) (\w+);", body[1], re.M)


def test_header_table_and_class_have_the_same_fields_in_the_same_order(header: list[tuple[str, str]]) -> None:
    names = [name for _, name in header]
    assert len(names) >= 15
    assert names == [row.name for row in LIMITS]
    assert names == [field.name for field in dataclasses.fields(Limits)]


def test_what_may_be_set_fits_the_field_of_the_header(header: list[tuple[str, str]]) -> None:
    for (kind, name), row in zip(header, LIMITS, strict=True):
        assert row.most < 1 << WIDTH[kind], name


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.name)
def test_every_row_is_whole(row: Limit) -> None:
    assert row.least <= row.default <= row.most
    assert len(row.reason) > 30
    assert row.unit
    assert row.effect
    assert getattr(Limits(), row.name) == row.default


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.name)
def test_the_range_is_kept(row: Limit) -> None:
    for good in (row.least, row.most):
        assert getattr(Limits(**{row.name: good}), row.name) == good
    bad: list[Any] = [row.least - 1, row.most + 1, str(row.default), 1.5, None, True]
    for value in bad:
        with pytest.raises(LimitError) as caught:
            Limits(**{row.name: value})
        assert row.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_of_takes_nothing_a_mapping_or_limits() -> None:
    assert Limits.of(None) == Limits()
    assert Limits.of({"items": 100}).items == 100
    given = Limits(streams=7)
    assert Limits.of(given) is given


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"limits\.itmes: unknown limit; expected one of head_bytes"):
        Limits.of({"itmes": 100})


def test_limits_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().items = 3  # type: ignore[misc]
