"""What an embedder keeps whose model is behind an API like OpenAI's, over real HTTP: vectors of length 1 in the order
of the texts however they arrive, bounded requests, and an error that says what to do for each way to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from bot.errors import Broken, LibraryUnavailable, RequestRefused
from bot.settings import Settings
from bot.vocabulary import LibraryStatus
from bot.wiring import examine_library
from retrieval import embedding_api
from retrieval.embedding import Embedder, open_embedder
from retrieval.embedding_api import AT_ONCE, BATCH, MAX_TOKENS, ApiEmbedder
from retrieval.families import Prompts
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library, open_library
from tests.embedding_server import EmbeddingServer, garbage, refused, rows
from tests.running_bot import free_port

TEXTS = [f"page {number} about {'keys and tokens ' * (number % 7)}" for number in range(150)]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


def embedder_at(server: EmbeddingServer, folder: Path, **settings: object) -> Embedder:
    given = {"embedding_base_url": server.base_url, "embedding_model": "hashing", "data_dir": folder} | settings
    return open_embedder(Settings.model_validate(given))


@pytest.fixture
def embedder(server: EmbeddingServer, tmp_path: Path) -> Embedder:
    return embedder_at(server, tmp_path, embedding_dimensions=64)


def right(server: EmbeddingServer, texts: list[str]) -> np.ndarray:
    return np.stack([server.embedder.embed_query(text) for text in texts])


@pytest.mark.parametrize("speaks_base64", [True, False])
def test_each_text_has_its_row_whatever_order_and_form_the_answer_has(
    server: EmbeddingServer, embedder: Embedder, speaks_base64: bool
) -> None:
    """The server gives rows backwards and too long; they come in order, of length 1, in base64 or as numbers."""
    server.speaks_base64 = speaks_base64
    vectors = embedder.embed_passages(TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, right(server, TEXTS), atol=1e-5)
    assert np.allclose(embedder.embed_query(TEXTS[3]), vectors[3], atol=1e-5)
    assert embedder.embed_passages([]).shape == (0, 64)


def test_requests_are_small_and_several_at_once(server: EmbeddingServer, embedder: Embedder) -> None:
    """No server that is set up as it comes refuses them for their number of texts; none is sent twice."""
    server.answering.clear()
    running = threading.Thread(target=embedder.embed_passages, args=(TEXTS,))
    running.start()
    wait_until(lambda: len(server.requests) == AT_ONCE)
    server.answering.set()
    running.join()
    assert max(len(body["input"]) for body in server.requests) <= BATCH
    assert sorted(server.texts) == sorted(TEXTS)


def test_the_key_and_the_model_are_sent(server: EmbeddingServer, tmp_path: Path) -> None:
    """The key is that of the embedding server alone; where none is set, no other one goes out."""
    embedder_at(server, tmp_path, embedding_api_key="k-1", embedding_dimensions=64).embed_query("x")
    embedder_at(server, tmp_path, openai_api_key="secret", embedding_dimensions=64).embed_query("x")
    assert server.keys == ["Bearer k-1", "Bearer none"]
    assert {body["model"] for body in server.requests} == {"hashing"}


def test_questions_and_passages_get_their_prompts(server: EmbeddingServer, tmp_path: Path) -> None:
    """The prompts are sent with the texts, and make another embedder of it: its vectors are others."""
    prompts = {"embedding_query_prompt": r"Instruct: find\nQuery: ", "embedding_passage_prompt": "passage: "}
    embedder = embedder_at(server, tmp_path, embedding_dimensions=64, **prompts)
    embedder.embed_query("how?")
    embedder.embed_passages(["so"])
    assert server.texts == ["Instruct: find\nQuery: how?", "passage: so"]
    assert embedder.id != embedder_at(server, tmp_path, embedding_dimensions=64).id


def test_dimensions_are_asked_once_and_kept(server: EmbeddingServer, tmp_path: Path) -> None:
    """From the second start on the server may be down: nothing is asked before the first text."""
    assert embedder_at(server, tmp_path).dimensions == 64
    server.faults.append(refused(500))
    assert embedder_at(server, tmp_path).dimensions == 64
    assert len(server.requests) == 1


def test_a_server_that_is_down_at_the_very_first_start_says_so(tmp_path: Path) -> None:
    """Without its dimensions there is no index; the setting spares the question."""
    with EmbeddingServer() as gone:
        pass
    with pytest.raises(LibraryUnavailable, match="cannot be reached"):
        embedder_at(gone, tmp_path)
    embedder = embedder_at(gone, tmp_path, embedding_dimensions=64)
    with pytest.raises(LibraryUnavailable, match="cannot be reached"):
        embedder.embed_query("x")


def test_a_server_that_never_answers_is_given_up(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question waits for two timeouts, no more."""
    monkeypatch.setattr(embedding_api, "_TIMEOUT_S", 0.2)
    embedder = embedder_at(server, tmp_path, embedding_dimensions=64)
    server.answering.clear()
    with pytest.raises(LibraryUnavailable, match="in time"):
        embedder.embed_query("x")
    assert len(server.requests) == 2


async def test_no_question_waits_for_the_others_to_be_embedded(
    server: EmbeddingServer, embedder: Embedder, tmp_path: Path
) -> None:
    """A server that is slow is waited for by all at once, however few cores there are."""
    index = EmbeddedIndex(tmp_path / "index", "form", embedder.dimensions, alpha=0.7)
    library = Library(index, embedder, "form", 0.75, "hashing")
    server.answering.clear()
    texts = TEXTS[:16]
    asking = asyncio.gather(*(library.question_vector(text) for text in texts))
    await asyncio.to_thread(wait_until, lambda: len(server.requests) == len(texts))
    server.answering.set()
    assert np.allclose(await asking, right(server, texts), atol=1e-5)
    await library.close()


async def test_nothing_else_waits_while_a_library_is_opened(server: EmbeddingServer, tmp_path: Path) -> None:
    """A process that waits for the server at its start can be stopped meanwhile, and keeps up what runs beside it."""
    server.answering.clear()

    async def opened() -> LibraryStatus:
        given = Settings(embedding_base_url=server.base_url, embedding_model="hashing", data_dir=tmp_path)
        async with open_library(given) as library:
            return await library.status("T")

    opening = asyncio.create_task(opened())
    await asyncio.to_thread(wait_until, lambda: server.requests)
    server.answering.set()
    assert (await opening).is_ready


def test_a_server_that_does_not_answer_is_left_alone_for_a_while(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three questions in vain the next ones are told so at once; then one looks, and finds it back."""
    monkeypatch.setattr(embedding_api, "_TIMEOUT_S", 0.1)
    now = [1_000.0]
    monkeypatch.setattr("retrieval.breaker.time", SimpleNamespace(monotonic=lambda: now[0]))
    embedder = embedder_at(server, tmp_path, embedding_dimensions=64)
    server.answering.clear()
    for number in range(3):
        with pytest.raises(LibraryUnavailable, match="in time"):
            embedder.embed_query(f"question {number}")
    requests = len(server.requests)
    with pytest.raises(LibraryUnavailable, match=r"left alone .* in time"):
        embedder.embed_query("one more")
    assert len(server.requests) == requests
    server.answering.set()
    now[0] += 5
    assert np.allclose(embedder.embed_query("one more"), right(server, ["one more"])[0], atol=1e-5)


def test_a_server_that_says_no_is_still_asked(server: EmbeddingServer, embedder: Embedder) -> None:
    """A question that is refused, or that it has no time for, says nothing about the next one."""
    server.faults.extend([refused(401), refused(503), refused(503), refused(401), refused(429, retry_after="60")] * 2)
    for number in range(8):
        with pytest.raises((Broken, LibraryUnavailable), match="answered"):
            embedder.embed_query(f"question {number}")
    embedder.embed_query("one more")


def test_what_passes_is_tried_again(server: EmbeddingServer, embedder: Embedder) -> None:
    """Once for a question; longer for passages, which can wait."""
    server.faults.extend([refused(503), refused(429, retry_after="0.1"), refused(500)])
    assert np.allclose(embedder.embed_passages(["a page"]), right(server, ["a page"]), atol=1e-5)
    server.faults.append(refused(502))
    embedder.embed_query("a question")
    server.faults.extend([refused(502), refused(502)])
    with pytest.raises(LibraryUnavailable, match="502"):
        embedder.embed_query("another question")


def test_a_question_does_not_wait_for_a_server_that_asks_for_a_minute(
    server: EmbeddingServer, embedder: Embedder
) -> None:
    """The asker is told at once; only a sync may wait so long."""
    server.faults.append(refused(429, retry_after="60"))
    with pytest.raises(LibraryUnavailable, match="429"):
        embedder.embed_query("x")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "EMBEDDING_API_KEY"), (403, "EMBEDDING_API_KEY"), (404, "EMBEDDING_MODEL")]
)
def test_what_an_operator_must_mend_is_named(
    server: EmbeddingServer, embedder: Embedder, status: int, hint: str
) -> None:
    """It is not tried again, and the message says which setting to look at."""
    server.faults.append(refused(status))
    with pytest.raises(Broken, match=hint):
        embedder.embed_passages(["x"])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"<html>ok</html>", b"{}", b'{"data": null}', b'{"data": [{"index": 0, "embedding": "!"}]}', b"[1]"],
)
def test_nonsense_is_no_vector(server: EmbeddingServer, embedder: Embedder, payload: bytes) -> None:
    """What is no list of vectors is an error of the server, never of ours."""
    server.faults.extend([garbage(payload)] * 2)
    with pytest.raises(LibraryUnavailable):
        embedder.embed_query("x")


def test_too_few_rows_and_numbers_that_are_none_are_refused(server: EmbeddingServer, embedder: Embedder) -> None:
    """An index would take them for true."""
    nan, zero, good = np.full(64, np.nan), np.zeros(64), np.ones(64)
    for given in ([], [good, good], [nan], [zero]):
        server.faults.extend([lambda body, given=given: rows(given)] * 2)  # type: ignore[misc]
        with pytest.raises(LibraryUnavailable, match="vector"):
            embedder.embed_query(f"x {len(given)} {given}")


def test_vectors_of_another_length_are_refused_by_name(server: EmbeddingServer, embedder: Embedder) -> None:
    """A server whose model was changed must not fill the index with what cannot be compared."""
    server.faults.append(lambda body: rows([np.ones(32)]))
    with pytest.raises(Broken, match="32 numbers instead of 64"):
        embedder.embed_query("x")


def test_a_server_with_smaller_limits_gets_smaller_requests(tmp_path: Path) -> None:
    """Fewer texts at once, and of a text that is too long the beginning: nothing stops a whole source."""
    with EmbeddingServer(most_texts=4, most_characters=300) as server:
        embedder = embedder_at(server, tmp_path, embedding_dimensions=64)
        texts = [*TEXTS[:9], "word " * 200]
        vectors = embedder.embed_passages(texts)
        assert np.allclose(vectors[:9], right(server, texts[:9]), atol=1e-5)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_that_no_length_makes_right_is_refused(tmp_path: Path) -> None:
    """The server's own words are in the message."""
    with EmbeddingServer(most_characters=10) as server:
        embedder = embedder_at(server, tmp_path, embedding_dimensions=64)
        with pytest.raises(RequestRefused, match="too much"):
            embedder.embed_query("word " * 200)


def test_what_is_too_long_is_cut_before_it_is_sent(server: EmbeddingServer, embedder: Embedder) -> None:
    """A pasted log as a question sends some hundred tokens; letters that are none are replaced, an empty text is not
    sent as one."""
    embedder.embed_query("word " * 50_000)
    embedder.embed_query("half a \ud83d face")
    embedder.embed_query("")
    assert embedder.count_tokens(server.texts) == [MAX_TOKENS, embedder.count_tokens(["half a ? face"])[0], 0]
    assert server.texts[1:] == ["half a ? face", " "]


def test_tokens_are_estimated_by_the_tokenizer_of_the_core(embedder: Embedder) -> None:
    """The chunker counts without the server; passages stay below what nearly every model reads."""
    assert embedder.count_tokens(["one two three", "word " * 1000, ""]) == [3, 1000, 0]


def test_an_embedder_is_named_by_model_dimensions_and_prompts(server: EmbeddingServer) -> None:
    """Not by its address: a server may move."""
    from openai import OpenAI

    def named(model: str, dimensions: int, prompts: Prompts = Prompts()) -> str:  # noqa: B008
        return ApiEmbedder(OpenAI(base_url=server.base_url, api_key="k"), model, dimensions, prompts).id

    ids = {
        named("a", 64),
        named("b", 64),
        named("a", 32),
        named("a", 64, Prompts("q: ")),
        named("a", 64, Prompts("", "q: ")),
    }
    assert len(ids) == 5


def wait_until(is_so: object) -> None:
    """Waits for what a thread is about to do."""
    deadline = threading.Event()
    for _ in range(500):
        if is_so():  # type: ignore[operator]
            return
        deadline.wait(0.01)
    raise AssertionError("it did not come about in 5 s")


async def test_the_doctor_asks_the_server(server: EmbeddingServer, tmp_path: Path) -> None:
    """The library may be in order and nothing found all the same."""
    settings = Settings(
        embedding_base_url=server.base_url, embedding_model="hashing", embedding_dimensions=64, data_dir=tmp_path
    )
    (finding,) = await examine_library(settings)
    assert finding.is_fine
    server.faults.append(refused(401))
    (finding,) = await examine_library(settings)
    assert not finding.is_fine and "EMBEDDING_API_KEY" in finding.found


async def test_the_doctor_knows_the_embedding_server_from_the_store(tmp_path: Path) -> None:
    """When the server is down, it is its variables that are to be checked, not Weaviate's."""
    settings = Settings(embedding_base_url=f"http://127.0.0.1:{free_port()}/v1", embedding_model="x", data_dir=tmp_path)
    (finding,) = await examine_library(settings)
    assert not finding.is_fine
    assert f"embedding server at {settings.embedding_base_url}" in finding.found and "refused" in finding.found
    assert "EMBEDDING_BASE_URL" in finding.advice and "WEAVIATE" not in finding.advice


def test_an_address_without_its_scheme_is_refused() -> None:
    """What would never be reached is said when the settings are read."""
    with pytest.raises(ValidationError, match=r"write http\(s\)://host"):
        Settings(embedding_base_url="localhost:8080/v1", embedding_model="x")
