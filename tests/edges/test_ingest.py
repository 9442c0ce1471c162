"""A sync when things go wrong: bad files, sources out of reach, a store that refuses or goes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.errors import LibraryUnavailable, TellUser
from bot.settings import Settings
from bot.vocabulary import Question
from retrieval.index import Page, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.intake import BATCH_PASSAGES
from retrieval.library import Library, open_library
from tests.hashing_embedder import HashingEmbedder

TEAM = "T1"


class FlakyIndex(EmbeddedIndex):
    """The embedded index with a store that can be told to refuse documents or to go away."""

    refuses: frozenset[str] = frozenset()
    puts_left: int = 1_000_000

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        if self.puts_left <= 0:
            raise LibraryUnavailable("gone")
        self.puts_left -= 1
        good = [page for page in pages if page.document_id not in self.refuses]
        return {name: "too big" for name in self.refuses} | await super().put(team_id, good)


@pytest.fixture
async def index(tmp_path: Path) -> FlakyIndex:
    embedder = HashingEmbedder()
    return FlakyIndex(tmp_path / "library", form_of(embedder.id, "test"), embedder.dimensions, 0.5)


@pytest.fixture
async def library(index: FlakyIndex) -> AsyncIterator[Library]:
    opened = Library(index, HashingEmbedder(), form_of("hashing/1", "test"), threshold=0.75, model="hashing")
    yield opened
    await opened.close()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


async def held(library: Library, text: str = "text") -> set[str]:
    """The documents that a search for a word of all of them finds."""
    question = Question(id="q", team_id=TEAM, text=text, readable=frozenset({"public", "workspace"}))
    return {hit.passage.document_id for hit in (await library.find(question, k=50)).hits}


async def test_bad_files_are_reported_and_the_good_ones_go_in(library: Library, docs: Path) -> None:
    """One line for each bad file, by name; the rest is found."""
    (docs / "good.md").write_text("Good text.")
    (docs / "empty.md").write_bytes(b"")
    (docs / "latin.md").write_bytes("Größe".encode("latin-1"))
    (docs / "records.jsonl").write_text('{"id": "r1", "text": "Record text."}\n{"id": \n')
    report = await library.ingest(TEAM, docs)
    assert (report.added, report.removed) == (2, 0)
    assert {failure.source for failure in report.failed} == {"empty.md", "latin.md", "records.jsonl:2"}
    assert all(failure.reason for failure in report.failed)
    assert not report.is_total_failure
    assert await held(library) == {"good", "r1"}


async def test_two_documents_with_one_id_do_not_replace_each_other(library: Library, docs: Path) -> None:
    """The second is reported, with the place of the first."""
    lines = [{"id": "a", "title": "One", "text": "Text of one."}, {"id": "a", "title": "Two", "text": "Text of two."}]
    (docs / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = await library.ingest(TEAM, docs)
    assert report.added == 1
    (failure,) = report.failed
    assert failure.source == "records.jsonl:2"
    assert "records.jsonl:1" in failure.reason


async def test_a_source_that_went_away_loses_nothing(library: Library, docs: Path, tmp_path: Path) -> None:
    """When the folder is not there (an unmounted disk), the sync fails and everything stays."""
    (docs / "a.md").write_text("Some text.")
    await library.ingest(TEAM, docs)
    shutil.move(docs, tmp_path / "elsewhere")
    with pytest.raises(TellUser, match="docs"):
        await library.sync(TEAM, "docs")
    assert await held(library) == {"a"}


async def test_what_is_out_of_reach_is_not_taken_for_deleted(
    library: Library, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be opened now keeps its place in the library; one that is gone does not."""
    for name in ("a", "b", "c"):
        (docs / f"{name}.md").write_text(f"Text {name}.")
    await library.ingest(TEAM, docs)
    (docs / "b.md").unlink()
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.md":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    report = await library.ingest(TEAM, docs)
    assert [(failure.source, failure.reason) for failure in report.failed] == [("a.md", "permission denied")]
    assert (report.removed, report.unchanged) == (1, 1)
    assert await held(library) == {"a", "c"}


async def test_a_page_that_turned_bad_is_not_answered_from_any_more(library: Library, docs: Path) -> None:
    """Its old words are not what the source says now: perhaps somebody was just about to restrict them."""
    (docs / "a.md").write_text("Old text.")
    (docs / "b.md").write_text("Other text.")
    await library.ingest(TEAM, docs)
    (docs / "a.md").write_text("---\naudience: chanel:C1\n---\nOld text.")
    report = await library.ingest(TEAM, docs)
    assert len(report.failed) == report.removed == 1
    assert await held(library) == {"b"}


async def test_what_the_store_refuses_is_reported_and_tried_again(
    library: Library, index: FlakyIndex, docs: Path
) -> None:
    """A refused document is no success, and the next sync brings it in."""
    (docs / "a.md").write_text("Text a.")
    (docs / "b.md").write_text("Text b.")
    index.refuses = frozenset({"b"})
    report = await library.ingest(TEAM, docs)
    assert (report.added, [(failure.source, failure.reason) for failure in report.failed]) == (1, [("b.md", "too big")])
    index.refuses = frozenset()
    report = await library.ingest(TEAM, docs)
    assert (report.added, report.unchanged, report.failed) == (1, 1, ())


async def test_a_sync_that_broke_off_is_finished_by_the_next_one(
    library: Library, index: FlakyIndex, docs: Path
) -> None:
    """When the store goes away in the middle, what is in stays in, and only the rest is embedded by the next sync."""
    (docs / "all.jsonl").write_text("\n".join(json.dumps({"id": f"d{n}", "text": f"Text {n}."}) for n in range(600)))
    index.puts_left = 1
    with pytest.raises(LibraryUnavailable):
        await library.ingest(TEAM, docs)
    index.puts_left = 1_000
    report = await library.ingest(TEAM, docs)
    assert report.unchanged == BATCH_PASSAGES
    assert report.added == 600 - BATCH_PASSAGES
    assert (await library.status(TEAM)).documents == 600


async def test_two_syncs_of_one_source_at_a_time_do_no_harm(library: Library, docs: Path) -> None:
    """Both finish, and everything is there once."""
    for number in range(20):
        (docs / f"{number}.md").write_text(f"Text {number}.")
    await asyncio.gather(library.ingest(TEAM, docs), library.ingest(TEAM, docs))
    status = await library.status(TEAM)
    assert (status.documents, status.passages) == (20, 20)


async def test_no_question_waits_for_an_ingest(index: FlakyIndex, docs: Path) -> None:
    """While the embedder is busy with passages for as long as it likes, questions are answered."""
    may_go_on = threading.Event()
    busy = threading.Semaphore(0)

    class BusyEmbedder(HashingEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
            busy.release()
            assert may_go_on.wait(30)
            return super().embed_passages(texts)

    (docs / "a.md").write_text("Text a.")
    library = Library(index, BusyEmbedder(), form_of("hashing/1", "test"), threshold=0.75, model="hashing")
    ingests = [asyncio.create_task(library.ingest(TEAM, docs, name=f"docs{number}")) for number in range(4)]
    try:
        for _ in range(2):
            assert await asyncio.to_thread(busy.acquire, timeout=10)
        async with asyncio.timeout(10):
            assert await held(library) == set()
    finally:
        may_go_on.set()
        await asyncio.gather(*ingests)
    assert await held(library) == {"a"}
    await library.close()


async def test_what_is_done_to_a_source_while_it_is_synced_stands(index: FlakyIndex, docs: Path) -> None:
    """A source that was removed in the middle of its sync does not come back; one that got a schedule keeps it."""
    may_go_on, is_busy = threading.Event(), threading.Event()
    may_go_on.set()

    class PatientEmbedder(HashingEmbedder):
        def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
            is_busy.set()
            assert may_go_on.wait(30)
            return super().embed_passages(texts)

    library = Library(index, PatientEmbedder(), form_of("hashing/1", "test"), threshold=0.75, model="hashing")
    for name in ("wiki", "plan"):
        (docs / "a.md").write_text(f"Text of {name}.")
        await library.ingest(TEAM, docs, name=name)
        (docs / "a.md").write_text(f"New text of {name}.")
        may_go_on.clear()
        is_busy.clear()
        syncing = asyncio.create_task(library.sync(TEAM, name))
        assert await asyncio.to_thread(is_busy.wait, 10)
        if name == "wiki":
            await library.remove(TEAM, name)
        else:
            (source,) = await library.sources(TEAM)
            await index.save_source(TEAM, source.model_copy(update={"every_s": 60}))
        may_go_on.set()
        await syncing
    assert [(source.name, source.every_s) for source in await library.sources(TEAM)] == [("plan", 60)]
    assert (await library.status(TEAM)).documents == 1
    await library.close()


async def test_another_folder_of_the_same_name_does_not_empty_the_first(
    library: Library, docs: Path, tmp_path: Path
) -> None:
    """Two sources called `docs` would delete each other's pages: the second needs a name."""
    (docs / "a.md").write_text("Text a.")
    other = tmp_path / "other" / "docs"
    other.mkdir(parents=True)
    (other / "b.md").write_text("Text b.")
    await library.ingest(TEAM, docs)
    with pytest.raises(TellUser, match="--name"):
        await library.ingest(TEAM, other)
    await library.ingest(TEAM, other, name="other")
    assert await held(library) == {"a", "b"}


async def test_a_wrong_audience_changes_nothing(library: Library, docs: Path) -> None:
    """A label with a slip of the pen is refused before anything is read."""
    (docs / "a.md").write_text("Text a.")
    with pytest.raises(TellUser, match="chanel"):
        await library.ingest(TEAM, docs, audience="chanel:C1")
    assert await library.sources(TEAM) == []


async def test_an_unknown_source_cannot_be_synced(library: Library) -> None:
    """It is named in the answer."""
    with pytest.raises(TellUser, match="wiki"):
        await library.sync(TEAM, "wiki")


async def test_a_damaged_file_is_told_from_a_busy_one(tmp_path: Path) -> None:
    """An index that is no database is broken; it does not fail as if it came back by itself."""
    async with open_library(Settings(data_dir=tmp_path)) as library:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "a.md").write_text("Text.")
        await library.ingest(TEAM, tmp_path / "docs")
    for file in (tmp_path / "library" / TEAM).iterdir():
        file.write_bytes(b"not a database" * 1000)
    async with open_library(Settings(data_dir=tmp_path)) as library:
        status = await library.status(TEAM)
        assert (status.is_ready, status.passages) == (False, 0)
