"""Three nodes of Weaviate are one library with three replicas: any one of them may go."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from bot.errors import LibraryUnavailable
from retrieval.index import form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.weaviate_connection import Connection
from retrieval.weaviate_schema import Keeping
from tests.contracts.index_suite import Shelf, new_team, page
from tests.hashing_embedder import HashingEmbedder
from tests.weaviate_server import SKIP_REASON, Server, binary, cluster

pytestmark = [
    pytest.mark.weaviate,
    pytest.mark.nightly,
    pytest.mark.skipif(not binary(), reason=SKIP_REASON),
]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Server]]:
    with cluster(tmp_path) as servers:
        yield servers


@asynccontextmanager
async def shelf_at(
    node: Server, team_id: str, consistency: Literal["ONE", "QUORUM", "ALL"] = "QUORUM"
) -> AsyncIterator[Shelf]:
    """An index through one of the nodes, with three replicas."""
    embedder = HashingEmbedder()
    connection = Connection(node.url, node.grpc_url, node.key, keeping=Keeping(replicas=3, consistency=consistency))
    index = WeaviateIndex(connection, form_of(embedder.id, "test"), embedder.dimensions, 0.5)
    try:
        yield Shelf(index, team_id, embedder)
    finally:
        await index.close()


async def until_so(look: Callable[[], Awaitable[object]], wanted: object, within_s: float) -> None:
    """Waits until the others have noticed that a node is gone, or back."""
    async with asyncio.timeout(within_s):
        while True:
            with suppress(LibraryUnavailable):
                if await look() == wanted:
                    return
            await asyncio.sleep(0.2)


async def test_a_library_with_three_replicas_outlives_a_node(nodes: list[Server]) -> None:
    """With a quorum, what was stored through one node is found through each of the others at once; after one was
    killed, both that are left store and find, each what the other one stored."""
    team_id = new_team()
    async with shelf_at(nodes[0], team_id) as first, shelf_at(nodes[1], team_id) as second:
        await first.put("page", "Forty seedlings.")
        async with shelf_at(nodes[2], team_id) as third:
            assert await third.ids("seedlings") == ["page"]
        await asyncio.to_thread(nodes[2].stop, signal.SIGKILL)
        for number, (one, other) in enumerate([(first, second), (second, first)] * 3):
            stored = page(team_id, f"new{number}", f"Edition {number}.")
            assert await one.index.put(team_id, [stored]) == {}
            assert f"new{number}" in await other.ids(f"edition {number}", k=10)
        assert "page" in await second.ids("forty seedlings", k=10)
        await until_so(lambda: second.index.count(team_id), (7, 7), within_s=30)


async def test_a_node_that_comes_back_gets_what_it_missed(nodes: list[Server]) -> None:
    """What was stored while it was away is found through it, and by a reader who wants all three to agree."""
    team_id = new_team()
    async with shelf_at(nodes[0], team_id) as first:
        await first.put("before", "Forty seedlings.")
        await asyncio.to_thread(nodes[2].stop, signal.SIGKILL)
        for number in range(5):
            assert await first.index.put(team_id, [page(team_id, f"new{number}", f"Edition {number}.")]) == {}
    await asyncio.to_thread(nodes[2].start)
    async with shelf_at(nodes[2], team_id, "ALL") as third:
        everything = sorted(["before", *(f"new{number}" for number in range(5))])

        async def found() -> list[str]:
            return sorted(await third.ids("edition", k=10))

        await until_so(found, everything, within_s=180)
