"""An embedder for tests that are not about meaning: each word falls into one of 64 dimensions by its hash, so that
texts with the same words are near each other, in microseconds and the same on every machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray


class HashingEmbedder:
    """Bags of hashed words. `version` makes it another model, with other vectors, of another length if it is told."""

    dimensions = 64
    max_tokens = 256
    stretch = 1.0
    is_remote = False

    def __init__(self, version: str = "1", dimensions: int = dimensions) -> None:
        self.id, self.dimensions = f"hashing/{version}", dimensions
        self.embedded = 0
        """How many passages it was asked for."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        vector = np.full(self.dimensions, 1e-3, dtype=np.float32)
        for word in self.words(text):
            vector[sha256(f"{self.id}{word}".encode()).digest()[0] % self.dimensions] += 1
        return vector / np.linalg.norm(vector)

    @staticmethod
    def words(text: str) -> list[str]:
        """Gives the words of a text, in small letters."""
        return re.findall(r"\w+", text.lower())

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


class HeldUp(HashingEmbedder):
    """Embeds no passage until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        return super().embed_passages(texts)
