"""Clocks. What is not ours in an answer, the embedder's part, is measured where it happens, inside the same run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from retrieval.embedding import Embedder

if TYPE_CHECKING:
    from retrieval.embedding import Vectors


class TimedEmbedder:
    """An embedder that says how long its last question took."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.id, self.dimensions, self.max_tokens = embedder.id, embedder.dimensions, embedder.max_tokens
        self.embed_passages, self.count_tokens = embedder.embed_passages, embedder.count_tokens
        self.question_ms = 0.0

    def embed_query(self, text: str) -> Vectors:
        began = time.perf_counter()
        vector = self._embedder.embed_query(text)
        self.question_ms = ms_since(began)
        return vector


def ms_since(began: float) -> float:
    """Gives the milliseconds since a `time.perf_counter()`."""
    return (time.perf_counter() - began) * 1_000
