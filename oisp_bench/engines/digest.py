# SPDX-License-Identifier: Apache-2.0
"""A yardstick for `metadata`: hashlib's SHA-256 over the texts that the engine must hash, already unescaped."""

from __future__ import annotations

import hashlib

from oisp_bench.corpora import Corpus
from oisp_bench.engines.base import Sink

__all__ = ["Digests"]


class Digests:
    """Messages of the request and the text of the answer, each by itself."""

    def __init__(self, corpus: Corpus) -> None:
        exchanges = [exchange for rows in corpus.truth.values() for exchange in rows]
        self.texts = [text.encode() for e in exchanges for text in [*e["messages"], e["text"]]]

    def prepare(self) -> None:
        """It remembers nothing."""

    def run(self, sink: Sink) -> None:
        sha256 = hashlib.sha256
        for text in self.texts:
            sha256(text).digest()
