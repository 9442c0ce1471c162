"""Any sentence-transformers model by name or folder: the extra `embeddings`, with torch. Questions and passages each
get the prompt that the model was trained with."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from retrieval.embedding import QUERIES_REMEMBERED

if TYPE_CHECKING:
    from retrieval.embedding import Vectors


class SentenceTransformerEmbedder:
    """A model of the sentence-transformers package. Loads when it is made, for only the model knows its dimensions."""

    def __init__(self, name: str) -> None:
        if find_spec("sentence_transformers") is None:
            raise TellUser(f"EMBEDDING_MODEL={name} needs sentence-transformers: run `make setup-models`.")
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(name)
        except (OSError, ValueError) as error:
            raise TellUser(
                f"EMBEDDING_MODEL={name} is no model that sentence-transformers can load: {error}"
            ) from error
        self.dimensions = int(self._model.get_embedding_dimension())
        self.max_tokens = int(self._model.max_seq_length or 512)
        self.id = f"{name}/{_version(self._model, name)}/{self.max_tokens}"
        self._lock = threading.Lock()  # a torch model is shared by threads at one's own risk
        self._remembered = lru_cache(maxsize=QUERIES_REMEMBERED)(self._embed_query)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            vectors: Vectors = self._model.encode_document(list(texts), **_HOW)
        return vectors.astype("float32", copy=False)

    def embed_query(self, text: str) -> Vectors:
        return self._remembered(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        tokens = self._model.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [len(ids) for ids in tokens]

    def _embed_query(self, text: str) -> Vectors:
        with self._lock:
            vector: Vectors = self._model.encode_query([text], **_HOW)[0].astype("float32", copy=False)
        vector.setflags(write=False)
        return vector


_HOW = {"batch_size": 8, "normalize_embeddings": True, "convert_to_numpy": True, "show_progress_bar": False}


def _version(model: Any, name: str) -> str:
    """Tells one version of a model from another: the hub's commit, or the digest of a folder's files by size."""
    folder = Path(name)
    if folder.is_dir():
        files = sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in folder.rglob("*.*"))
        return sha256(json.dumps(files).encode()).hexdigest()[:12]
    commit = getattr(getattr(model[0], "auto_model", None), "config", None)
    return str(getattr(commit, "_commit_hash", None) or "unversioned")
