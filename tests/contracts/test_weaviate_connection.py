"""The connection to Weaviate when the server is down, silent, back, too old, or does not let us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from bot.errors import Broken, LibraryUnavailable, TellUser
from bot.settings import Settings
from bot.vocabulary import Question
from retrieval.index import form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.library import open_library
from retrieval.weaviate_connection import Connection
from retrieval.weaviate_schema import SOURCES, Keeping, create, passages_name
from tests.contracts.index_suite import Shelf, WeaviateKind, new_team
from tests.hashing_embedder import HashingEmbedder
from tests.tcp_proxy import State, wire_to

PAUSE_S = 1
SEARCH_S = 1
FORM = form_of(HashingEmbedder().id, "test")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience than in production, so that nobody waits for these tests."""
    monkeypatch.setattr("retrieval.index_weaviate.SEARCH_TIMEOUT_S", SEARCH_S)
    monkeypatch.setattr("retrieval.weaviate_connection.CONNECT_TIMEOUT_S", SEARCH_S)
    monkeypatch.setattr("retrieval.weaviate_connection.PAUSE_S", PAUSE_S)


@asynccontextmanager
async def shelf_on(connection: Connection) -> AsyncIterator[Shelf]:
    """An index over a connection, for a team of its own."""
    index = WeaviateIndex(connection, FORM, HashingEmbedder.dimensions, 0.5)
    try:
        yield Shelf(index, new_team(), HashingEmbedder())
    finally:
        await index.close()


async def outcome(library: Shelf) -> tuple[str, float]:
    """What a question comes to, and how long it takes in seconds."""
    began = time.monotonic()
    try:
        found = await library.ids("document")
    except LibraryUnavailable as error:
        return str(error), time.monotonic() - began
    assert found == ["page"]
    return "", time.monotonic() - began


@pytest.mark.weaviate
@pytest.mark.parametrize("state", ["refuses", "is silent"])
async def test_a_dead_grpc_port_holds_nobody_up(weaviate_kind: WeaviateKind, state: State) -> None:
    """It dies under a connection that works, while REST lives. Questions that are asked together all end within their
    deadline; the next ones end at once, without a call; and soon after the port is back they are answered, by the same
    connection. Meanwhile the status says not ready."""
    server = weaviate_kind.server
    async with (
        wire_to(server.grpc_url or "") as grpc,
        shelf_on(Connection(server.url, grpc.url, server.key)) as library,
    ):
        await library.put("page", "Some document.")
        assert (await outcome(library))[0] == ""

        await grpc.turn(state)
        together = await asyncio.gather(*(outcome(library) for _ in range(20)))
        assert all(reason for reason, _ in together)
        assert max(took for _, took in together) < 2 * SEARCH_S + 1
        calls = grpc.calls
        after = [await outcome(library) for _ in range(50)]
        assert {reason.split(" for ")[0] for reason, _ in after} == {f"Weaviate at {server.url} is left alone"}
        assert sum(took for _, took in after) < 0.5 and grpc.calls == calls
        assert not await library.index.is_ready()

        await grpc.turn("whole")
        deadline = time.monotonic() + 2 * (PAUSE_S + SEARCH_S) + 3
        while (await outcome(library))[0]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert await library.index.is_ready()


@pytest.mark.weaviate
async def test_what_takes_its_time_keeps_no_question_from_an_answer(
    weaviate_kind: WeaviateKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a count, or a write, is not done within the long time that it is given: the server is there."""
    monkeypatch.setattr("retrieval.weaviate_connection.PROMPT_S", 0.1)
    connection = weaviate_kind.connection()
    async with shelf_on(connection) as library:
        await library.put("page", "Some document.")
        for _ in range(4):
            with pytest.raises(LibraryUnavailable, match=r"not within 0\.2 s"):
                async with connection.use(0.2):
                    await asyncio.sleep(5)
        assert await library.ids("document") == ["page"]


@pytest.mark.weaviate
async def test_questions_are_answered_while_only_rest_is_dead(
    weaviate_kind: WeaviateKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches go over gRPC, and which form is live was known a moment ago. Nobody is told that the library is away,
    though the status says that it is not ready."""
    monkeypatch.setattr("retrieval.editions.LIVE_TRUSTED_S", 0)
    server, team_id = weaviate_kind.server, new_team()
    (tmp_path / "page.md").write_text("# Seedlings\n\nForty seedlings stand in the greenhouse.")
    async with wire_to(server.url) as rest:
        settings = {"weaviate_url": rest.url, "weaviate_grpc_url": server.grpc_url, "weaviate_api_key": server.key}
        async with open_library(Settings.model_validate({"data_dir": tmp_path / "data"} | settings)) as library:
            await library.ingest(team_id, tmp_path / "page.md")
            asked = Question(id="q", team_id=team_id, text="How many seedlings?", readable=frozenset({"workspace"}))
            await rest.turn("refuses")
            for _ in range(10):
                assert (await library.find(asked)).hits
            assert not (await library.status(team_id)).is_ready


@pytest.mark.weaviate
async def test_an_answer_that_says_no_is_an_answer(weaviate_kind: WeaviateKind) -> None:
    """A key that is not known, a collection that is not there, a query that makes no sense: however often, the server
    is not taken for dead."""
    server = weaviate_kind.server
    stranger = Connection(server.url, server.grpc_url, "wrong")
    for _ in range(5):
        with pytest.raises(Broken, match="does not know the key in WEAVIATE_API_KEY"):
            async with stranger.use(5) as client:
                await client.collections.use(SOURCES).with_tenant("T1").query.fetch_objects(limit=1)
    await stranger.close()
    async with shelf_on(weaviate_kind.connection()) as library:
        await library.put("page", "Some document.")
        for nobodys in (new_team() for _ in range(5)):
            assert await library.index.search(nobodys, library.query("document"), 5) == []
            assert await library.index.count(nobodys) == (0, 0)
        odd = replace(library.query("document"), vector=np.ones(3, dtype=np.float32))
        for _ in range(5):
            with pytest.raises(LibraryUnavailable, match="cannot be used now"):
                await library.index.search(library.team_id, odd, 5)
        assert await library.ids("document") == ["page"]


@asynccontextmanager
async def site(app: web.Application) -> AsyncIterator[str]:
    """Serves something, at the address that it gives."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def old_server() -> AsyncIterator[str]:
    """Says that it is a Weaviate of a version that we do not know how to use."""

    async def meta(_: web.Request) -> web.Response:
        return web.json_response({"version": "1.35.14", "hostname": "http://[::]:8080", "modules": {}})

    app = web.Application()
    app.router.add_get("/v1/meta", meta)
    async with site(app) as address:
        yield address


async def test_what_is_no_weaviate_is_told_in_plain_words() -> None:
    """The operator reads what to look at, not what the client printed; also when it is there no more."""
    async with site(web.Application()) as address:
        connection = Connection(address, None, None)
        with pytest.raises(LibraryUnavailable, match=r"status 404 does not seem to be a Weaviate\.$"):
            async with connection.use(5):
                pytest.fail("it was used")
    with pytest.raises(LibraryUnavailable, match=r"does not answer: nothing can be reached there\.$"):
        async with connection.use(5):
            pytest.fail("it was used")
    await connection.close()


async def test_a_server_that_is_too_old_is_named_with_its_version(old_server: str) -> None:
    """Before anything is asked of it, and each time: an operator must act."""
    connection = Connection(old_server, None, None)
    for _ in range(4):
        with pytest.raises(Broken, match=r"is version 1\.35\.14: 1\.36 or newer is needed"):
            async with connection.use(5):
                pytest.fail("an old server was used")
    await connection.close()


def test_one_port_for_both_is_told_to_the_operator() -> None:
    """The client would refuse it with a page of its own words."""
    with pytest.raises(TellUser, match="WEAVIATE_GRPC_URL"):
        Connection("http://127.0.0.1:8080", "http://127.0.0.1:8080", None)


@pytest.mark.weaviate
async def test_more_replicas_than_nodes_are_told_to_the_operator(weaviate_kind: WeaviateKind) -> None:
    """With the setting's name, and nothing is made."""
    connection = weaviate_kind.connection()
    with pytest.raises(TellUser, match="WEAVIATE_REPLICATION_FACTOR=3"):
        async with connection.use(30, to_write=True) as client:
            await create(client, "many", Keeping(replicas=3))
    async with connection.use(30) as client:
        assert not await client.collections.exists(passages_name("many"))
    await connection.close()


@pytest.mark.weaviate
async def test_collections_are_kept_as_the_settings_say(weaviate_kind: WeaviateKind) -> None:
    """Quantised when that is set, with the number of replicas; and found all the same."""
    server = weaviate_kind.server
    connection = Connection(server.url, server.grpc_url, server.key, keeping=Keeping(quantization="rq"))
    async with shelf_on(connection) as library:
        await library.put("page", "Some document.")
        async with connection.use(30) as client:
            config = (await client.collections.use(passages_name(FORM)).config.get()).to_dict()
        assert config["replicationConfig"]["factor"] == 1
        assert config["vectorConfig"]["default"]["vectorIndexConfig"]["rq"]["enabled"]
        assert await library.ids("document") == ["page"]
