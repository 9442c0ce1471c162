"""A model behind any server that speaks OpenAI's API for embeddings: OpenAI, Azure, vLLM, llama.cpp, Text Embeddings
Inference, Ollama. Requests are small enough for all of them, several run at once, and what does not last is tried again
within a bound. What comes back is checked, for an index takes every vector for true: one per text, in the order of the
texts, finite, and as long as the others. A server that does not answer is left alone for a while, so that not every
asker waits for what will not come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import Broken, FootnoteError, LibraryUnavailable, RequestRefused
from bot.settings import Settings
from bot.source_words import shown_address
from retrieval.breaker import Breaker
from retrieval.embedding import MiniLM, Remembered, whole
from retrieval.families import NONE, Prompts, prompts_of, stretch_of

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

    from retrieval.embedding import Vectors

MAX_TOKENS = 400
"""Tokens of MiniLM that are sent of one text. Nearly every model reads 512 of its own, larger ones for most texts."""
BATCH = 32
"""Texts in a request: what Text Embeddings Inference takes unless told otherwise. OpenAI takes 2,048, and 300,000
tokens, which these never reach."""
AT_ONCE = 4
_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 2.0
_ATTEMPTS_FOR_A_QUESTION = 2
_ATTEMPTS_FOR_PASSAGES = 6
_LONGEST_WAIT_S = {_ATTEMPTS_FOR_A_QUESTION: 2.0, _ATTEMPTS_FOR_PASSAGES: 60.0}
_FAILURES = 3
"""Questions in a row that had no answer, after which the server is left alone."""
_PAUSE_S = 5.0
"""Between two looks whether it is back."""
_SHORTEST = 100
"""Characters of a text that is refused even so: then it is not for its length."""
_PASSING = frozenset({408, 409, 425, 429})
_WHAT_TO_CHECK = {
    401: "it refused the key: check EMBEDDING_API_KEY",
    403: "it refused the key for this model: check EMBEDDING_API_KEY",
    404: "it does not know this model or path: check EMBEDDING_MODEL and EMBEDDING_BASE_URL (most end in /v1)",
}


class ApiEmbedder:
    """The model of a name at a server. Nothing is asked before the first text."""

    max_tokens = MAX_TOKENS
    is_remote = True

    def __init__(self, client: OpenAI, model: str, dimensions: int, prompts: Prompts = NONE) -> None:
        self.dimensions, self.prompts, self.stretch = dimensions, prompts, stretch_of(model)
        self.id = f"{model}/api/{dimensions}/{prompts.query!r}/{prompts.passage!r}"
        self._client, self._model = client, model
        self._breaker = Breaker("the embedding server", _FAILURES, _PAUSE_S)
        self._requests = ThreadPoolExecutor(AT_ONCE, "embedding-api")
        # MiniLM's tokenizer, which the core has, stands for the unknown one: of most texts it makes more tokens.
        self._tokenizer = MiniLM()
        self.count_tokens = self._tokenizer.count_tokens
        self.embed_query = Remembered(self._embed_query)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))  # like lengths need no padding
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        sent = [[self._cut(self.prompts.passage, texts[number]) for number in batch] for batch in batches]
        for batch, rows in zip(batches, self._requests.map(self._embed_in_parts, sent), strict=True):
            vectors[batch] = rows
        return vectors

    def _embed_query(self, text: str) -> Vectors:
        if reason := self._breaker.turned_away():
            raise LibraryUnavailable(reason)
        try:
            vectors = self._embed_in_parts([self._cut(self.prompts.query, text)], _ATTEMPTS_FOR_A_QUESTION)
        except _Silent as error:
            self._breaker.failed(str(error))
            raise
        except FootnoteError:
            self._breaker.answered()
            raise
        self._breaker.answered()
        vector: Vectors = vectors[0]
        return vector

    def _embed_in_parts(self, texts: list[str], attempts: int = _ATTEMPTS_FOR_PASSAGES) -> Vectors:
        """Embeds at once what the server takes at once: it may know limits that nobody has told us, of texts in a
        request and of the length of one."""
        import numpy as np

        try:
            return ask(self._client, self._model, texts, self.dimensions, attempts)
        except RequestRefused:
            if len(texts) == 1 and len(texts[0]) <= _SHORTEST:
                raise
        if len(texts) == 1:
            return self._embed_in_parts([texts[0][: len(texts[0]) // 2]], attempts)
        half = len(texts) // 2
        return np.concatenate([self._embed_in_parts(part, attempts) for part in (texts[:half], texts[half:])])

    def _cut(self, prompt: str, text: str) -> str:
        return self._tokenizer.cut(whole(prompt + text), self.max_tokens) or " "  # OpenAI refuses an empty text


def open_api_embedder(settings: Settings) -> ApiEmbedder:
    """Gives the embedder at EMBEDDING_BASE_URL. Asks for its dimensions unless they are set, or known from before.

    Raises LibraryUnavailable when it must ask and the server is down, Broken when the server refuses.
    """
    from openai import OpenAI, Timeout
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks(())  # a call that works the second time is no news, and what fails for good is logged
    key = settings.embedding_api_key
    client = OpenAI(
        base_url=settings.embedding_base_url,
        api_key=key.get_secret_value() if key else "none",  # servers often want none, the client always one
        timeout=Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
        max_retries=0,
    )
    model = settings.embedding_model
    dimensions = settings.embedding_dimensions or _dimensions(client, model, settings.data_dir / "models")
    return ApiEmbedder(client, model, dimensions, prompts_of(settings))


def ask(client: OpenAI, model: str, texts: list[str], dimensions: int | None, attempts: int) -> Vectors:
    """Embeds texts in one request: float32, (texts, dimensions), each of length 1.

    Raises RequestRefused when the server does not take these texts, Broken when an operator must act, and
    LibraryUnavailable when the server is down, slow or busy, or talks nonsense.
    """
    import stamina

    def is_passing(error: Exception) -> bool | float:
        if isinstance(error, _Busy) and error.wait_s > _LONGEST_WAIT_S[attempts]:
            return False
        return error.wait_s if isinstance(error, _Busy) and error.wait_s else isinstance(error, LibraryUnavailable)

    for attempt in stamina.retry_context(
        on=is_passing, attempts=attempts, timeout=None, wait_initial=0.2, wait_max=10.0, wait_jitter=0.2
    ):
        with attempt, _translated(str(client.base_url)):
            answer = client.embeddings.create(model=model, input=texts)
            return _read(answer, len(texts), dimensions)
    raise AssertionError("an attempt either gives vectors or raises")


def _read(answer: Any, texts: int, dimensions: int | None) -> Vectors:
    import numpy as np

    data = sorted(answer.data, key=lambda row: row.index)
    lengths = {len(row.embedding) for row in data}
    if [row.index for row in data] != list(range(texts)) or 0 in lengths:
        raise LibraryUnavailable(f"the embedding server did not give a vector for each of {texts} texts")
    if len(lengths) > 1 or (dimensions and lengths != {dimensions}):
        raise Broken(
            f"The embedding server gives vectors of {'/'.join(map(str, sorted(lengths)))} numbers instead of "
            f"{dimensions}: check EMBEDDING_MODEL and EMBEDDING_DIMENSIONS."
        )
    vectors: Vectors = np.array([row.embedding for row in data], dtype=np.float32)
    sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(sizes).all() and sizes.all()):
        raise LibraryUnavailable("the embedding server gave a vector that is not finite, or of length 0")
    vectors /= sizes
    return vectors


def _dimensions(client: OpenAI, model: str, folder: Path) -> int:
    """Gives the length of a model's vectors, asked once: from then on a bot starts while the server is down."""
    file = folder / "embedding-dimensions.json"
    which = f"{model} at {client.base_url}"
    known: dict[str, int] = {}
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text(encoding="utf-8"))
    if which not in known:
        known[which] = ask(client, model, ["How long is a vector?"], None, _ATTEMPTS_FOR_A_QUESTION).shape[1]
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known), encoding="utf-8")
    return known[which]


class _Busy(LibraryUnavailable):
    """Says after how long to ask again."""

    def __init__(self, text: str, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class _Silent(LibraryUnavailable):
    """The server was not reached, or had no answer in time."""


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Turns what the client raises into our errors."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _by_status(error) from error
    except openai.APITimeoutError as error:
        raise _Silent(f"the embedding server at {shown_address(address)} did not answer in time") from error
    except openai.APIConnectionError as error:
        why = f": {error.__cause__}" if error.__cause__ else ""
        raise _Silent(f"the embedding server at {shown_address(address)} cannot be reached{why}") from error
    except openai.OpenAIError as error:
        raise LibraryUnavailable(f"the embedding server reports an error: {str(error)[:200]}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LibraryUnavailable("the embedding server sent something that is no list of vectors") from error


def _by_status(error: APIStatusError) -> LibraryUnavailable | Broken:
    status = error.status_code
    if status in _WHAT_TO_CHECK:
        return Broken(f"The embedding server answered {status}: {_WHAT_TO_CHECK[status]}.")
    if status not in _PASSING and status < 500:
        return RequestRefused(f"The embedding server answered {status}: {error.message[:200]}")
    try:
        wait_s = float(error.response.headers.get("retry-after", "0"))
    except ValueError:  # a date
        wait_s = 60.0
    return _Busy(f"the embedding server answered {status}", wait_s)
