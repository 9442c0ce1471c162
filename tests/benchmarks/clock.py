"""Clocks. What is not ours, the embedder's part, is measured where it happens, inside the same run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from retrieval.embedding import Embedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrieval.embedding import Vectors


class TimedEmbedder:
    """An embedder that says how long its last question took, and all passages since the clock was set to 0."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.id, self.dimensions, self.max_tokens = embedder.id, embedder.dimensions, embedder.max_tokens
        self.stretch, self.is_remote = embedder.stretch, embedder.is_remote
        self.count_tokens = embedder.count_tokens
        self.question_ms = self.passages_ms = 0.0

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        began = time.perf_counter()
        vectors = self._embedder.embed_passages(texts)
        self.passages_ms += ms_since(began)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        began = time.perf_counter()
        vector = self._embedder.embed_query(text)
        self.question_ms = ms_since(began)
        return vector


def ms_since(began: float) -> float:
    """Gives the milliseconds since a `time.perf_counter()`."""
    return (time.perf_counter() - began) * 1_000
