"""What a Weaviate that is down, slow, foreign or killed does to us; on a real server, and on ports where nobody is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bot.errors import Broken, LibraryUnavailable, TellUser
from bot.settings import Settings
from bot.vocabulary import Question
from retrieval.forms import Form
from retrieval.index import form_of
from retrieval.index_weaviate import UNFINISHED, WeaviateIndex
from retrieval.library import open_library
from retrieval.weaviate_connection import Connection
from retrieval.weaviate_schema import ALIAS
from tests.contracts.index_suite import WeaviateKind, new_team, page, shelf
from tests.hashing_embedder import HashingEmbedder
from tests.weaviate_server import Server

FORM = form_of(HashingEmbedder().id, "test")


def index_at(url: str, grpc_url: str | None = None, key: str | None = None) -> WeaviateIndex:
    return WeaviateIndex(Connection(url, grpc_url, key), FORM, HashingEmbedder.dimensions, 0.5)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that is taken, and where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


async def test_a_weaviate_that_is_down_is_unavailable_not_a_crash(nobody: str) -> None:
    """Everything says so within seconds, and the status says not ready; opening alone needs no server."""
    index = index_at(nobody)
    began = time.monotonic()
    with pytest.raises(LibraryUnavailable):
        await index.count("T1")
    assert not await index.is_ready()
    assert time.monotonic() - began < 10
    await index.close()


async def test_the_library_opens_while_weaviate_is_down(nobody: str) -> None:
    """A bot starts without its store, says that it is not ready, and answers when the store is back."""
    async with open_library(Settings(weaviate_url=nobody)) as library:
        status = await library.status("T1")
        assert (status.backend, status.is_ready) == ("weaviate", False)
        assert f"Weaviate at {nobody} does not answer" in status.remark
        with pytest.raises(LibraryUnavailable):
            await library.find(Question(id="q", team_id="T1", text="hello", readable=frozenset({"public"})))


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://"])
def test_an_address_that_is_none_is_told_to_the_operator(url: str) -> None:
    """With the name of the setting."""
    with pytest.raises(TellUser, match="WEAVIATE_URL"):
        index_at(url)


@pytest.mark.weaviate
async def test_a_wrong_key_is_broken_not_unavailable(weaviate_server: Server) -> None:
    """Trying again would not help: an operator must act."""
    if not weaviate_server.key:
        pytest.skip("this Weaviate wants no key")
    index = index_at(weaviate_server.url, weaviate_server.grpc_url, "wrong")
    with pytest.raises(Broken, match="refuses"):
        await index.count("T1")
    await index.close()


@pytest.mark.weaviate
async def test_a_dead_grpc_port_is_not_ready(weaviate_server: Server, nobody: str) -> None:
    """REST alone is not enough: searches go over gRPC."""
    index = index_at(weaviate_server.url, nobody, weaviate_server.key)
    assert not await index.is_ready()
    await index.close()


@pytest.mark.weaviate
async def test_the_alias_is_there_from_the_first_write(weaviate_kind: WeaviateKind) -> None:
    """`Passages` leads to the collection of our form, and never is one itself; what is stored says what it is for."""
    async with shelf(weaviate_kind, new_team()) as library:
        await library.put("page", "Some words.")
        connection = weaviate_kind.connection()
        async with connection.use(30) as client:
            assert (await client.alias.get(alias_name=ALIAS)).collection == f"Passages_{FORM}"
            config = await client.collections.use(ALIAS).config.get()
            tokens = {each.name: each.tokenization.value for each in config.properties if each.tokenization}
            tenants = await client.collections.use(f"Passages_{FORM}").tenants.get()
        await connection.close()
    assert config.multi_tenancy_config.enabled
    assert list(tenants) == [library.team_id]
    assert {tokens[name] for name in ("audience", "source", "document_id", "document_digest")} == {"field"}
    assert (tokens["identifiers"], tokens["text"]) == ("lowercase", "word")


@pytest.mark.weaviate
async def test_what_the_server_refuses_is_told_apart_from_what_it_took(
    weaviate_kind: WeaviateKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our own check out of the way: a document with a vector that the server refuses is named with the reason and
    is not known, so that it is tried again, and what was taken of it is out; the others of the same call are in. So it
    is when all are refused."""
    monkeypatch.setattr("retrieval.index_weaviate.check_vectors", lambda pages, dimensions: None)
    async with shelf(weaviate_kind, new_team()) as library:
        await library.put("first", "first words")
        good = page(library.team_id, "good", "good words", embedder=library.embedder)
        odd = page(library.team_id, "odd", "## One\n\nodd words\n\n## Two\n\nmore", embedder=library.embedder)
        odd = replace(odd, vectors=[odd.vectors[0], np.ones(3, dtype=np.float32)])
        for pages in ([odd, good], [odd]):
            refused = await library.index.put(library.team_id, pages)
            assert list(refused) == ["odd"]
            assert "dimensions" in refused["odd"]
            assert set(await library.index.digests(library.team_id, "docs")) == {"first", "good"}
            assert await library.index.count(library.team_id) == (2, 2)
        assert "good" in await library.ids("good words")


class Interrupted(WeaviateIndex):
    """Is killed before, or is refused, what it writes of documents whose manifest entry begins with `at`."""

    at, is_killed = "", True

    async def _insert(self, name: str, team_id: str, objects: Iterable[Any]) -> dict[int, str]:
        some = list(objects)
        if name.startswith("Documents_") and any(one.properties["digest"].startswith(self.at) for one in some):
            if self.is_killed:
                raise LibraryUnavailable("Killed here.")
            return dict.fromkeys(range(len(some)), "no room")
        return await super()._insert(name, team_id, some)


@pytest.mark.weaviate
async def test_a_new_document_that_is_half_in_is_seen_by_the_next_sync(weaviate_kind: WeaviateKind) -> None:
    """Killed when its passages are in, and it is not yet called known: it can be taken out, and brought in again."""
    async with shelf(weaviate_kind, new_team()) as library:
        index = Interrupted(weaviate_kind.connection(), FORM, HashingEmbedder.dimensions, 0.5)
        half = page(library.team_id, "half", "Half words.", embedder=library.embedder)
        index.at = half.digest
        for is_removed in (True, False):
            with pytest.raises(LibraryUnavailable):
                await index.put(library.team_id, [half])
            assert await library.ids("words") == ["half"]
            ((known, digest),) = (await library.index.digests(library.team_id, "docs")).items()
            assert known == "half" and digest != half.digest
            if is_removed:
                await library.index.remove(library.team_id, "docs", ["half"])
                assert await library.index.count(library.team_id) == (0, 0)
        assert await library.index.put(library.team_id, [half]) == {}
        assert await library.index.digests(library.team_id, "docs") == {"half": half.digest}
        await index.close()


@pytest.mark.weaviate
async def test_a_document_that_cannot_be_marked_is_refused(weaviate_kind: WeaviateKind) -> None:
    """Of a new one nothing is stored then, and of a changed one the earlier version is read."""
    async with shelf(weaviate_kind, new_team()) as library:
        index = Interrupted(weaviate_kind.connection(), FORM, HashingEmbedder.dimensions, 0.5)
        index.at, index.is_killed = UNFINISHED, False
        old = await library.put("old", "Old words.")
        for name in ("new", "old"):
            changed = page(library.team_id, name, "Changed words.", embedder=library.embedder)
            assert await index.put(library.team_id, [changed]) == {name: "no room"}
            assert [hit.passage.text for hit in await library.find("changed words")] == ["Old words."]
            assert await library.index.digests(library.team_id, "docs") == {"old": old.digest}
        await index.close()


@pytest.mark.weaviate
async def test_what_is_asked_of_a_form_that_was_dropped_is_broken(weaviate_kind: WeaviateKind) -> None:
    """Whoever waits until it is searchable would else wait for what is not made any more, and so it is for a switch."""
    forms = weaviate_kind.forms()
    for name in ("one", "two"):
        await forms.record(Form(id=name, model=name, dimensions=HashingEmbedder.dimensions))
    assert await forms.is_searchable("two")
    await forms.drop("two")
    with pytest.raises(Broken, match="no form two"):
        await forms.is_searchable("two")
    with pytest.raises(Broken):
        await forms.switch("two")
    assert await forms.live() == "one"
    await forms.close()


class Looking(WeaviateIndex):
    """Counts how often it looks into the manifest."""

    looks = 0

    async def _listed(self, team_id: str, **what: Any) -> list[Any]:
        self.looks += 1
        return await super()._listed(team_id, **what)


@pytest.mark.weaviate
async def test_a_source_is_looked_up_beside_large_ones_at_once(
    weaviate_kind: WeaviateKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that is larger than what the server gives at once is picked out of all that the team has."""
    monkeypatch.setattr("retrieval.index_weaviate.PER_CALL", 2)
    monkeypatch.setattr("retrieval.index_weaviate.FEW", 4)
    async with shelf(weaviate_kind, new_team()) as library:
        index = Looking(weaviate_kind.connection(), FORM, HashingEmbedder.dimensions, 0.5)
        stored = {
            source: {name: (await library.put(name, "Words.", source=source)).digest for name in "abcdefgh"[:number]}
            for source, number in (("docs", 3), ("wiki", 8))
        }
        for source, looks in (("docs", 1), ("wiki", 1 + 6)):
            index.looks = 0
            assert await index.digests(library.team_id, source) == stored[source]
            assert index.looks == looks
        await index.close()
