# SPDX-License-Identifier: Apache-2.0
"""SHA-256 and HMAC against the published vectors and hashlib, for every backend that this processor has."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from oisp_core.encode import _testing, writer

# Those of this processor, the best last.
BACKENDS = [name for name in ("portable", "sha-ni", "armv8") if _testing.sha256(b"", backend=name) is not None]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def vectors(repo_root: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads((repo_root / "tests/vectors/encode/sha256.json").read_text())
    assert len(found["sha256"]) >= 6
    assert len(found["hmac"]) >= 6
    return found


def message(row: dict[str, str]) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode() * int(row.get("repeat", 1))


def test_published_vectors(backend: str, vectors: dict[str, list[dict[str, str]]]) -> None:
    for row in vectors["sha256"]:
        assert _testing.sha256(message(row), backend=backend).hex() == row["digest"], row["from"]


def test_published_hmac_vectors(vectors: dict[str, list[dict[str, str]]]) -> None:
    for row in vectors["hmac"]:
        key = bytes.fromhex(row["key"]) * int(row.get("key_repeat", 1))
        digest = _testing.hmac_sha256(key, bytes.fromhex(row["hex"]))
        assert digest.hex().startswith(row["digest"]), row["from"]


def test_every_length_around_the_block_border(backend: str) -> None:
    data = bytes(range(256)) * 3
    for size in range(300):
        assert _testing.sha256(data[:size], backend=backend) == hashlib.sha256(data[:size]).digest(), size


def test_every_cut_of_a_message(backend: str) -> None:
    data = bytes(range(200))
    whole = hashlib.sha256(data).digest()
    for a in range(0, 200, 7):
        for b in range(a, 200, 11):
            assert _testing.sha256(data, backend=backend, cuts=(a, b)) == whole


def test_backends_agree_on_long_input(backend: str) -> None:
    data = b"".join(hashlib.sha512(str(i).encode()).digest() for i in range(3000))
    cuts = tuple(range(0, len(data), 4097))
    assert _testing.sha256(data, backend=backend, cuts=cuts) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
def test_hmac_keys_of_every_kind_of_length(size: int) -> None:
    key, data = bytes(range(size)), b"text" * 50
    assert _testing.hmac_sha256(key, data) == hmac.digest(key, data, "sha256")


def test_the_best_backend_is_chosen() -> None:
    assert BACKENDS[0] == "portable"
    assert writer.sha256_backend() == BACKENDS[-1]
