# SPDX-License-Identifier: Apache-2.0
def text_digest(text: str | bytes, hash_key: bytes | None = None) -> tuple[str, int]:
    """(hash, code points) of a text, as events carry them. `text` is str, or bytes of UTF-8, in which whatever is not
    valid counts as U+FFFD; `hash_key` is the key of `Engine(hash_key=)`."""

def sha256_backend() -> str:
    """Name of the SHA-256 that this processor runs: `sha-ni`, `armv8` or `portable`."""

def policy_table() -> list[tuple[str, str, str, str, str, str, str]]:
    """The rows that the writer runs: (name, event types, path, metadata, redacted, full, what stays)."""
