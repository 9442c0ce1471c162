"""What an operator does to a source while it is read stands: the sync that is slower neither brings a source back nor
puts it where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.errors import TryAgain
from bot.vocabulary import IngestReport
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from tests.hashing_embedder import HashingEmbedder, HeldUp
from tests.nouns import TEAM


class Two:
    """A shell, and a worker that is held up in the middle of a sync."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.held_up = folder, HeldUp()
        self.shell, self.worker = self._open(HashingEmbedder()), self._open(self.held_up)

    def _open(self, embedder: HashingEmbedder) -> Library:
        form = form_of(embedder.id, "test")
        index = EmbeddedIndex(self.folder / "library", form, embedder.dimensions, 0.5)
        return Library(index, embedder, form, threshold=0.0, model="hashing")

    def write(self, place: str, *names: str) -> Path:
        """Makes a folder of such pages."""
        (self.folder / place).mkdir(exist_ok=True)
        for name in names:
            (self.folder / place / f"{name}.md").write_text(f"The {name} stands in {place}.")
        return self.folder / place

    @asynccontextmanager
    async def syncing(self) -> AsyncIterator[asyncio.Task[object]]:
        """The worker in the middle of a sync, which ends after the block."""

        async def keep(number: int, page: str) -> None:
            raise AssertionError("It is one part.")

        task: asyncio.Task[object] = asyncio.create_task(self.worker.spread(TEAM, "docs", keep))
        await asyncio.to_thread(self.held_up.has_begun.wait, 30)
        yield task
        self.held_up.may_go_on.set()
        await asyncio.wait({task})

    async def held(self) -> set[str]:
        return set(await self.worker._index.digests(TEAM, "docs"))


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    both = Two(tmp_path)
    yield both
    both.held_up.may_go_on.set()
    await both.shell.close()
    await both.worker.close()


async def test_a_source_that_is_removed_during_its_first_sync_does_not_come_back(two: Two) -> None:
    """Nor does any document of it."""
    await two.shell.register(TEAM, two.write("old", "lamp"), name="docs")
    async with two.syncing():
        await two.shell.remove(TEAM, "docs")
    assert await two.shell.sources(TEAM) == [] and await two.held() == set()


async def test_a_source_that_is_moved_while_it_is_read_stays_where_it_was_moved(two: Two) -> None:
    """The sync that began at the old address says that it is to be done again, and then all of it is the new one."""
    await two.shell.register(TEAM, two.write("old", "lamp", "chair"), name="docs")
    async with two.syncing() as sync:
        await two.shell.ingest(TEAM, two.write("new", "table"), name="docs", base_url="https://kb.example/")
    with pytest.raises(TryAgain, match="it is read again"):
        await sync
    (source,) = await two.shell.sources(TEAM)
    assert (source.address, source.base_url) == (str(two.folder / "new"), "https://kb.example/")
    await two.worker.sync(TEAM, "docs")
    assert await two.held() == {"table"}


async def test_a_source_that_is_moved_only_on_paper_while_it_is_read_is_read_there(two: Two) -> None:
    """As by `sources add --by-workers`: what is remembered is where the next attempt reads."""
    await two.shell.register(TEAM, two.write("old", "lamp"), name="docs")
    async with two.syncing() as sync:
        await two.shell.register(TEAM, two.write("new", "table"), name="docs")
    with pytest.raises(TryAgain, match="it is read again"):
        await sync
    await two.worker.sync(TEAM, "docs")
    (source,) = await two.shell.sources(TEAM)
    assert source.address == str(two.folder / "new") and await two.held() == {"table"}


async def test_a_move_sees_that_the_old_place_was_read_meanwhile(two: Two) -> None:
    """Two wrote the documents of one source: which of them came last nobody knows."""
    await two.shell.ingest(TEAM, two.write("old", "lamp"), name="docs")
    moving = asyncio.create_task(two.worker.ingest(TEAM, two.write("new", "table"), name="docs"))
    await asyncio.to_thread(two.held_up.has_begun.wait, 30)
    await two.shell.sync(TEAM, "docs")
    two.held_up.may_go_on.set()
    with pytest.raises(TryAgain, match="it is read again"):
        await moving
    report = await two.worker.ingest(TEAM, two.folder / "new", name="docs")
    assert isinstance(report, IngestReport) and await two.held() == {"table"}
