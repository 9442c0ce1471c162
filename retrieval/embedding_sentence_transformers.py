"""Any sentence-transformers model by name or folder: the extra `embeddings`, with torch. Questions and passages each
get the prompt that the model was trained with (`families.py`), and no question waits for more than a few passages.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from bot.settings import Settings
from retrieval.embedding import Remembered, whole
from retrieval.families import Prompts, prompts_of, stretch_of

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

BATCH = 8
_HUB_TIMEOUT_S = 5.0
_HOW = {"batch_size": BATCH, "normalize_embeddings": True, "convert_to_numpy": True, "show_progress_bar": False}


class SentenceTransformerEmbedder:
    """A model of the sentence-transformers package. Loads when it is made, for only the model knows its dimensions."""

    is_remote = False

    def __init__(self, settings: Settings) -> None:
        name = settings.embedding_model
        if find_spec("sentence_transformers") is None:
            raise TellUser(f"EMBEDDING_MODEL={name} needs sentence-transformers: run `make setup-models`.")
        self._model = _load(name)
        self.dimensions = int(self._model.get_embedding_dimension())
        self.max_tokens = int(self._model.max_seq_length or 512)
        declared = _declared(self._model.prompts)
        self.prompts, self.stretch = prompts_of(settings, declared), stretch_of(name)
        self.id = f"{_version(self._model, name)}/{self.max_tokens}"
        if self.prompts != declared:
            self.id += f"/{self.prompts.query!r}/{self.prompts.passage!r}"
        self._next, self._busy = threading.Lock(), threading.Lock()
        self.embed_query = Remembered(self._embed_query)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))  # like lengths need no padding
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            with self._turn():
                vectors[batch] = self._model.encode_document(
                    [whole(texts[number]) for number in batch], prompt=self.prompts.passage, **_HOW
                )
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        with self._turn():
            tokens = self._model.tokenizer(list(map(whole, texts)), add_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        return [len(ids) for ids in tokens]

    def _embed_query(self, text: str) -> Vectors:
        with self._turn():
            vector: Vectors = self._model.encode_query([whole(text)], prompt=self.prompts.query, **_HOW)[0]
        return vector.astype("float32", copy=False)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Lets one thread at a time to the model, which threads share at their own risk. Who waits is next: whoever
        has just had a turn gets no other before, as it would from a lock alone."""
        with self._next:
            self._busy.acquire()
        try:
            yield
        finally:
            self._busy.release()


def _load(name: str) -> Any:
    """Loads a model; what is on this machine alone where the hub does not answer, which is tried for minutes else."""
    is_alone = not Path(name).is_dir() and not _hub_answers(name)
    if is_alone and not _is_kept(name):
        raise TellUser(
            f"EMBEDDING_MODEL={name} is neither a folder nor a model that this machine has, and Hugging Face, where it "
            "would be looked for, does not answer."
        )
    from sentence_transformers import SentenceTransformer  # with torch: after what can be said without it

    try:
        return SentenceTransformer(name, local_files_only=is_alone)
    except (OSError, ValueError) as error:
        raise TellUser(f"EMBEDDING_MODEL={name} is no model that sentence-transformers can load: {error}") from error


def _hub_answers(name: str) -> bool:
    """Whether the hub can be asked for a model, be it that it knows none of that name."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT_S)
    except (HfHubHTTPError, ValueError):
        return True
    except Exception:  # of whichever HTTP client it is built on
        return False
    return True


def _is_kept(name: str) -> bool:
    """Whether a model of this name was loaded before; one without an owner may be sentence-transformers' own."""
    from huggingface_hub import try_to_load_from_cache

    owned = (name,) if "/" in name else (name, f"sentence-transformers/{name}")
    files = ("modules.json", "config.json")
    return any(isinstance(try_to_load_from_cache(repository, file), str) for repository in owned for file in files)


def _declared(prompts: dict[str, str]) -> Prompts:
    """Gives the prompts that a model's own files name."""
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), "")
    return Prompts(prompts.get("query") or "", passage)


def _version(model: Any, name: str) -> str:
    """Tells one version of a model from another: by the hub's commit, or by what is in its folder, wherever it lies."""
    folder = Path(name)
    if not folder.is_dir():
        commit = getattr(getattr(model[0], "auto_model", None), "config", None)
        return f"{name}/{getattr(commit, '_commit_hash', None) or 'unversioned'}"
    whole = sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        path = file.relative_to(folder)
        if any(part.startswith((".", "__")) for part in path.parts) or path.suffix in (".md", ".onnx"):
            continue
        with file.open("rb") as opened:
            whole.update(path.as_posix().encode() + file_digest(opened, "sha256").digest())
    return f"{folder.resolve().name}/{whole.hexdigest()[:12]}"
