"""Promise 3 while a source is being read: what is told of its readers during a sync stands, and nothing that the sync
writes with the readers of before outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.errors import TryAgain
from bot.vocabulary import Listing, Question
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from retrieval.sources import Access
from tests.hashing_embedder import HashingEmbedder, HeldUp

TEAM = "T1"
CLOSED = "channel:C0CLOSED"


@asynccontextmanager
async def process(folder: Path, embedder: HashingEmbedder) -> AsyncIterator[Library]:
    """A library as one more process has it open."""
    form = form_of(embedder.id, "test")
    index = EmbeddedIndex(folder / "library", form, embedder.dimensions, 0.5)
    access = Access(shared_folders=frozenset({folder}))  # so that a folder is read in parts
    library = Library(index, embedder, form, threshold=0.0, model="hashing", access=access)
    yield library
    await library.close()


async def found(library: Library, *readable: str) -> str:
    question = Question(id="q", team_id=TEAM, text="the vault opens with", readable=frozenset(readable))
    return str((await library.find(question)).hits)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "vault.md").write_text("The vault opens with Quillfeather.")
    return folder


async def test_a_sync_that_began_before_does_not_open_what_was_closed_meanwhile(docs: Path, tmp_path: Path) -> None:
    """It says that it is to be done again, and then everything is for those for whom it was said to be."""
    held_up = HeldUp()
    async with process(tmp_path, HashingEmbedder()) as shell, process(tmp_path, held_up) as worker:
        await shell.ingest(TEAM, docs)
        (docs / "vault.md").write_text("The vault opens with Marrowgate.")
        syncing = asyncio.create_task(worker.sync(TEAM, "docs"))
        await asyncio.to_thread(held_up.has_begun.wait, 30)
        await shell.ingest(TEAM, docs, audience=CLOSED)
        assert "Marrowgate" not in await found(shell, "public", "workspace")
        held_up.may_go_on.set()
        with pytest.raises(TryAgain, match="it is read again"):
            await syncing
        (source,) = await shell.sources(TEAM)
        assert source.audience == CLOSED
        await worker.sync(TEAM, "docs")
        assert "Marrowgate" not in await found(worker, "public", "workspace")
        assert "Marrowgate" in await found(worker, CLOSED)


async def test_a_part_that_began_before_is_read_again(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the readers were told while all workers read the source."""
    monkeypatch.setattr("retrieval.ingesting.PART", 1)
    (docs / "cellar.md").write_text("The cellar has no door.")
    held_up = HeldUp()
    pages: list[str] = []

    async def keep(number: int, page: str) -> None:
        pages.append(page)

    async with process(tmp_path, HashingEmbedder()) as shell, process(tmp_path, held_up) as worker:
        await shell.ingest(TEAM, docs)
        listing = await worker.spread(TEAM, "docs", keep)
        assert isinstance(listing, Listing)
        (page,) = (page for page in pages if "vault.md" in page)
        (docs / "vault.md").write_text("The vault opens with Marrowgate.")
        reading = asyncio.create_task(worker.parts.part(TEAM, "docs", listing, page))
        await asyncio.to_thread(held_up.has_begun.wait, 30)
        await shell.ingest(TEAM, docs, audience=CLOSED)
        held_up.may_go_on.set()
        with pytest.raises(TryAgain, match="it is read again"):
            await reading
        await worker.parts.part(TEAM, "docs", listing, page)
        assert "Marrowgate" not in await found(worker, "public", "workspace")
        assert "Marrowgate" in await found(worker, CLOSED)
