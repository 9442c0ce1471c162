"""Weaviate is killed in the middle of a sync, at different moments: the sync ends within its deadlines, nothing that
was acknowledged is lost, and the next sync brings the rest and nothing else."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bot.errors import LibraryUnavailable
from bot.vocabulary import Question
from retrieval.index import Page, form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.library import Library
from retrieval.weaviate_connection import Connection
from tests.contracts.index_suite import new_team
from tests.hashing_embedder import HashingEmbedder
from tests.weaviate_server import SKIP_REASON, Server, binary, running

pytestmark = [pytest.mark.weaviate, pytest.mark.skipif(not binary(), reason=SKIP_REASON)]

FORM = form_of(HashingEmbedder().id, "test")
DOCUMENTS = 1_500
SHORT_S = 90
"""Longest that a sync may take to see that its store is gone, and a store to be back."""


class NotingIndex(WeaviateIndex):
    """Weaviate's index, which notes what it was asked to store, and what it said was stored."""

    def __init__(self, server: Server) -> None:
        super().__init__(
            Connection(server.url, server.grpc_url, server.key), FORM, HashingEmbedder.dimensions, alpha=0.5
        )
        self.begun = self.removals = 0
        self.acknowledged: dict[str, str] = {}

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        self.begun += 1
        refused = await super().put(team_id, pages)
        self.acknowledged |= {page.document_id: page.digest for page in pages if page.document_id not in refused}
        return refused

    async def remove(self, team_id: str, source: str, document_ids: Sequence[str]) -> None:
        self.removals += len(document_ids)
        await super().remove(team_id, source, document_ids)


@asynccontextmanager
async def library_on(server: Server) -> AsyncIterator[tuple[Library, NotingIndex]]:
    index = NotingIndex(server)
    library = Library(index, HashingEmbedder(), FORM, threshold=0.75, model="hashing")
    try:
        yield library, index
    finally:
        await library.close()


def write(records: Path, numbers: range, version: int = 0) -> None:
    lines = (
        {
            "id": f"d{n}",
            "title": f"Page {n}",
            "url": f"https://x.example/{n}",
            "text": f"Number {n}, edition {version}.",
        }
        for n in numbers
    )
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))


async def until(is_so: Callable[[], bool], within_s: float = SHORT_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def restart(server: Server, index: NotingIndex) -> None:
    await asyncio.to_thread(server.start)
    deadline = time.monotonic() + SHORT_S
    while not await index.is_ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


by_night = pytest.mark.nightly


@pytest.mark.parametrize(
    "batch", [pytest.param(1, marks=by_night), 2, pytest.param(4, marks=by_night), pytest.param(6, marks=by_night)]
)
async def test_a_server_killed_while_it_stores_loses_nothing_that_it_took(tmp_path: Path, batch: int) -> None:
    """Killed when a batch has just been sent: the sync says that the library is unavailable, questions say the same,
    what was acknowledged is there after the restart, and the next sync stores exactly what is missing."""
    records, team_id = tmp_path / "pages.jsonl", new_team()
    write(records, range(DOCUMENTS))
    with running(tmp_path) as server:
        if server.process is None:
            pytest.skip("not our server to kill")
        async with library_on(server) as (library, index):
            syncing = asyncio.create_task(library.ingest(team_id, records, name="pages"))
            await until(lambda: index.begun >= batch)
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            with pytest.raises(LibraryUnavailable):
                async with asyncio.timeout(SHORT_S):
                    await syncing
            assert DOCUMENTS > len(index.acknowledged) >= 1 - (batch == 1)
            with pytest.raises(LibraryUnavailable):
                await library.find(question(team_id, 1))

            await restart(server, index)
            there = await index.digests(team_id, "pages")
            taken = dict(index.acknowledged)
            assert there.items() >= taken.items()
            report = await library.ingest(team_id, records, name="pages")
            assert (report.failed, report.removed) == ((), 0)
            assert report.added + report.changed == DOCUMENTS - report.unchanged
            assert report.unchanged >= len(taken), "what was acknowledged was stored again"
            assert len(await index.digests(team_id, "pages")) == DOCUMENTS
            assert await index.count(team_id) == (DOCUMENTS, DOCUMENTS)
            last = await library.find(question(team_id, DOCUMENTS - 1))
            assert last.hits[0].passage.document_id == f"d{DOCUMENTS - 1}"


@by_night
async def test_a_server_killed_while_it_changes_and_removes_is_put_right_by_the_next_sync(tmp_path: Path) -> None:
    """Killed while pages are replaced, and again while pages are taken out: afterwards each page that is left is there
    once, as it is now, and none of the others."""
    records, team_id = tmp_path / "pages.jsonl", new_team()
    write(records, range(DOCUMENTS))
    with running(tmp_path) as server:
        if server.process is None:
            pytest.skip("not our server to kill")
        async with library_on(server) as (library, index):
            await library.ingest(team_id, records, name="pages")
            begun = index.begun
            write(records, range(DOCUMENTS), version=1)
            for is_time in (lambda: index.begun >= begun + 2, lambda: index.removals > 0):
                syncing = asyncio.create_task(library.ingest(team_id, records, name="pages"))
                await until(is_time)
                await asyncio.to_thread(server.stop, signal.SIGKILL)
                with suppress(LibraryUnavailable):  # the last write may just have been done
                    async with asyncio.timeout(SHORT_S):
                        await syncing
                await restart(server, index)
                write(records, range(100), version=1)
            report = await library.ingest(team_id, records, name="pages")
            assert report.failed == ()
            digests = await index.digests(team_id, "pages")
            assert sorted(digests) == sorted(f"d{n}" for n in range(100))
            assert await index.count(team_id) == (100, 100)
            found = await library.find(question(team_id, 7), 10)
            assert {hit.passage.text.split(", ")[1] for hit in found.hits} == {"edition 1."}


def question(team_id: str, number: int) -> Question:
    return Question(id="q", team_id=team_id, text=f"Page {number}", readable=frozenset({"workspace"}))
