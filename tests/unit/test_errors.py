# SPDX-License-Identifier: Apache-2.0
"""Messages are one line, say where and what, and carry nothing that a terminal would act upon."""

from __future__ import annotations

import pickle

import pytest

from oisp_core import errors
from oisp_core.errors import ConfigError, EngineBusyError, EventError, LimitError, OispError, RecordingError


def test_config_error_names_place_expectation_and_finding() -> None:
    error = ConfigError(
        "semconv/x.yaml", 12, "fingerprints[0].tpye", ["type", "pattern"], "tpye", message="unknown key"
    )
    assert str(error) == (
        "semconv/x.yaml:12: fingerprints[0].tpye: unknown key; expected one of type, pattern; got 'tpye'"
    )
    assert (error.file, error.line, error.key, error.got) == ("semconv/x.yaml", 12, "fingerprints[0].tpye", "tpye")


def test_config_error_without_a_file_names_the_flag() -> None:
    error = ConfigError(key="--content", expected=["metadata", "full"], got="all", hint="see docs/PRIVACY.md")
    assert str(error) == "--content: expected one of metadata, full; got 'all'; see docs/PRIVACY.md"


@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[2J", "\x9b31m", "\u202eabc", "\ud800"])
def test_hostile_text_is_shown_escaped(hostile: str) -> None:
    for error in (
        ConfigError(hostile, 1, hostile, hostile, hostile, message=hostile, hint=hostile),
        RecordingError(hostile, 3, hostile, hostile, message=hostile),
        EventError(hostile, hostile),
        LimitError(hostile, hostile),
    ):
        assert str(error).isprintable()


def test_long_findings_are_shortened() -> None:
    assert len(str(ConfigError(key="k", got="x" * 10_000))) < 200


def test_recording_error_gives_the_byte() -> None:
    error = RecordingError("a.oisprec", 64, "a record of at least 16 bytes", 8, message="truncated record")
    assert str(error) == "a.oisprec: byte 64: truncated record; expected a record of at least 16 bytes; got 8"


def test_limit_error_gives_the_bounds() -> None:
    assert str(LimitError("out_bytes", -1, 4096, 2**31)) == (
        "limits.out_bytes: expected an integer, 4096 to 2147483648; got -1"
    )


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("f", 1, "k", ["a"], 2, message="m", hint="h"),
        RecordingError("f", 1, "e", b"\0", message="m"),
        EventError("$.a", "r"),
        LimitError("n", 1, 2, 3),
        EngineBusyError(),
    ],
)
def test_errors_survive_pickling(error: OispError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_every_error_is_an_oisp_error() -> None:
    for name in set(errors.__all__) - {"printable"}:
        assert issubclass(getattr(errors, name), OispError)
