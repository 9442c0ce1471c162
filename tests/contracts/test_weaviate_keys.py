"""Two keys, with the rights that docs/weaviate.md asks for: one finds and can do nothing else, the other does all that
a library does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.errors import Broken
from bot.vocabulary import Source
from retrieval.forms import Form
from retrieval.forms_weaviate import WeaviateForms
from retrieval.index import form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.weaviate_connection import Connection
from tests.contracts.index_suite import Shelf, WeaviateKind, new_team
from tests.hashing_embedder import HashingEmbedder
from tests.weaviate_server import OTHER_KEYS, Server

pytestmark = pytest.mark.weaviate

DOCS = Path(__file__).resolve().parents[2] / "docs" / "weaviate.md"
READER, WRITER = OTHER_KEYS["reader"], OTHER_KEYS["writer"]
ROLES = ("footnote-find", "footnote-write")


@asynccontextmanager
async def shelf_with(server: Server, key: str, read_key: str | None, team_id: str) -> AsyncIterator[Shelf]:
    """An index for a team, over a connection with these keys."""
    connection = Connection(server.url, server.grpc_url, key, read_key)
    index = WeaviateIndex(connection, form_of(HashingEmbedder().id, "test"), HashingEmbedder.dimensions, 0.5)
    try:
        yield Shelf(index, team_id, HashingEmbedder())
    finally:
        await index.close()


@pytest.fixture
async def server(weaviate_kind: WeaviateKind) -> AsyncIterator[Server]:
    """A Weaviate whose two users have the rights that the documentation names."""
    server = weaviate_kind.server
    if server.process is None:
        pytest.skip("not our server to give rights on")
    await asyncio.to_thread(give_rights, server)
    yield server
    await asyncio.to_thread(take_rights, server)


def give_rights(server: Server) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    with administrator(server) as client:
        exec(program, {"client": client, "reader": "reader", "writer": "writer"})


def take_rights(server: Server) -> None:
    with administrator(server) as client:
        for role in ROLES:
            client.roles.delete(role)


def administrator(server: Server):  # type: ignore[no-untyped-def]
    import weaviate
    from weaviate.classes.init import Auth

    rest, grpc = urlsplit(server.url), urlsplit(server.grpc_url or "")
    return weaviate.connect_to_custom(
        rest.hostname or "",
        rest.port or 0,
        False,
        grpc.hostname or "",
        grpc.port or 0,
        False,
        auth_credentials=Auth.api_key(server.key or ""),
        skip_init_checks=True,
    )


async def test_the_two_keys_do_all_that_a_library_does(server: Server) -> None:
    """Store, find, list, count, change, remove and forget; each with the rights that the documentation asks for."""
    async with shelf_with(server, WRITER, READER, new_team()) as library:
        assert await library.ids("seedlings") == []
        await library.put("page", "Forty seedlings.")
        await library.put("other", "Another page.")
        source = Source(name="docs", address="/docs", form=form_of(library.embedder.id, "test"))
        await library.index.save_source(library.team_id, source)
        assert (await library.ids("seedlings"))[0] == "page"
        assert await library.index.is_ready()
        await library.put("page", "Fifty seedlings.")
        await library.index.remove(library.team_id, "docs", ["other"])
        assert set(await library.index.digests(library.team_id, "docs")) == {"page"}
        assert await library.index.count(library.team_id) == (1, 1)
        assert await library.index.sources(library.team_id) == [source]
        await library.index.forget_source(library.team_id, "docs")
        assert await library.index.count(library.team_id) == (0, 0)


async def test_the_two_keys_make_a_form_live_and_drop_another(server: Server) -> None:
    """Which takes the rights on collections, on the alias and to look at the nodes."""
    forms = WeaviateForms(Connection(server.url, server.grpc_url, WRITER, READER), 0.5)
    try:
        for name in ("before", "after"):
            await forms.record(Form(id=name, model=name, dimensions=HashingEmbedder.dimensions))
        await forms.switch("after")
        assert await forms.live() == "after"
        assert await forms.is_searchable("after")
        assert [form.model for form in await forms.all()] == ["after", "before"]
        await forms.drop("before")
        assert [form.model for form in await forms.all()] == ["after"]
        assert await forms.teams() == []
    finally:
        await forms.close()


async def test_the_key_to_find_with_cannot_change_anything(server: Server) -> None:
    """Storing, removing and forgetting with it are refused, with the right that is lacking; all is as it was."""
    team_id = new_team()
    async with shelf_with(server, WRITER, None, team_id) as library:
        await library.put("page", "Forty seedlings.")
    async with shelf_with(server, READER, READER, team_id) as library:
        index = library.index
        for change in (
            lambda: library.put("page", "No seedlings."),
            lambda: index.remove(team_id, "docs", ["page"]),
            lambda: index.forget_source(team_id, "docs"),
            lambda: index.save_source(team_id, Source(name="docs", address="/elsewhere")),
        ):
            with pytest.raises(Broken, match=r"the key in WEAVIATE_API_KEY lacks a right.*(create|update|delete)_"):
                await change()
        (hit,) = await library.find("seedlings")
        assert hit.passage.text == "Forty seedlings."


async def test_neither_key_reaches_what_is_not_ours(server: Server) -> None:
    """A collection of somebody else on the same Weaviate is neither read nor taken away, whoever asks."""
    ours = WeaviateKind(server).connection()
    async with ours.use(30) as client:
        await client.collections.create("Foreign")
    for key in (READER, WRITER):
        stranger = Connection(server.url, server.grpc_url, key)
        for reach in (
            lambda client: client.collections.use("Foreign").query.fetch_objects(limit=1),
            lambda client: client.collections.delete("Foreign"),
        ):
            with pytest.raises(Broken, match="lacks a right"):
                async with stranger.use(5) as client:
                    await reach(client)
        await stranger.close()
    async with ours.use(30) as client:
        assert await client.collections.exists("Foreign")
        await client.collections.delete("Foreign")
    await ours.close()


async def test_a_key_without_rights_is_told_from_one_that_nobody_knows(weaviate_kind: WeaviateKind) -> None:
    """Each with the setting that holds it, and neither as if the server were down."""
    server = weaviate_kind.server
    if server.process is None:
        pytest.skip("not our server to have users on")
    async with shelf_with(server, server.key or "", None, new_team()) as library:
        await library.put("page", "Forty seedlings.")
    for read_key, trouble in ((READER, "lacks a right"), ("nobody's", "it does not know the key")):
        async with shelf_with(server, server.key or "", read_key, library.team_id) as other:
            with pytest.raises(Broken, match=f"{trouble}|the key in WEAVIATE_READ_API_KEY {trouble}") as refused:
                await other.ids("seedlings")
            assert "WEAVIATE_READ_API_KEY" in str(refused.value)
