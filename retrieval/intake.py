"""From items of a source to what the index holds: read, compare by digest, cut, embed what changed, store it. The three
slow parts overlap (the next batch is read and the last one stored while the model works on this one), and a batch is
small, so that memory stays flat however much there is to read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from bot.vocabulary import Document, Fate, PartReport, Passage, SourceFailure
from retrieval.chunking import Chunker, embedded_text
from retrieval.embedding import Embedder
from retrieval.index import Index, Page
from retrieval.reading import Entry, Reader, Unchanged
from retrieval.sources import Item, Unread
from retrieval.stamps import Stamps

Result = TypeVar("Result")
BATCH_PASSAGES = 64
"""Embedded at a time, while the next are read and the last are stored; the first and last overlap with nothing."""


@dataclass(frozen=True)
class Draft:
    """A new or changed document, cut but not yet embedded."""

    place: str
    document: Document
    digest: str
    passages: list[Passage]


@dataclass(frozen=True)
class Batch:
    """Drafts to embed in one go, and how far the reading has come with them."""

    drafts: list[Draft]
    done: int
    place: str


class Intake:
    """Takes some of a source in, once: all that it lists, or a part of that."""

    def __init__(
        self,
        team_id: str,
        source: str,
        reader: Reader,
        index: Index,
        embedder: Embedder,
        cores: Executor,
        stamps: Stamps,
    ) -> None:
        self._team_id, self._source, self._reader = team_id, source, reader
        self._index, self._embedder, self._cores, self._stamps = index, embedder, cores, stamps
        self._known: Mapping[str, str] = {}
        self._seen: dict[str, tuple[str, Fate]] = {}  # where each document stands, and what became of it
        self._kept: list[str] = []
        self._failed: list[SourceFailure] = []
        self._passages = 0
        self._ends_reading = False

    async def take(
        self, items: Iterable[Item | Unread], known: Mapping[str, str], progress: Callable[[int, str], None]
    ) -> PartReport:
        """Reads items and stores what is new beside the digests that the index holds of them."""
        self._known = known
        await self._compute(self._stamps.load, known)
        batches = self._batches(items)
        batch: Batch | None = await self._compute(next, batches, None)
        pages: list[Page] = []
        try:
            while batch or pages:
                drafts = batch.drafts if batch else []
                async with _together() as group:
                    reading = group.create_task(self._compute(next, batches, None))
                    embedding = group.create_task(self._compute(self._embed, drafts))
                    group.create_task(self._store(pages))
                upcoming, embedded = reading.result(), embedding.result()
                if batch:
                    progress(batch.done, batch.place)
                batch, pages = upcoming, embedded
        finally:
            with suppress(ValueError):  # a thread is still reading the next batch: it closes what it leaves
                batches.close()
        await self._compute(self._stamps.save)
        return PartReport.model_construct(  # what we made ourselves needs no check, and may be long
            documents=self._seen,
            failed=tuple(self._failed),
            kept=tuple(self._kept),
            passages=self._passages,
            ends_reading=self._ends_reading,
        )

    def _batches(self, items: Iterable[Item | Unread]) -> Generator[Batch, None, None]:
        """Reads, compares and cuts; runs in a thread, a batch at a time."""
        chunker = Chunker(self._embedder)
        drafts: list[Draft] = []
        done, place = 0, ""
        for done, entry in enumerate(self._reader.entries(items, self._stamps.of), start=1):
            place = entry.place
            draft = self._draft(entry, chunker)
            if draft:
                drafts.append(draft)
                if sum(len(draft.passages) for draft in drafts) >= BATCH_PASSAGES:
                    yield Batch(drafts, done, place)
                    drafts = []
        yield Batch(drafts, done, place)

    def _draft(self, entry: Entry, chunker: Chunker) -> Draft | None:
        place, found, stamp = entry
        if isinstance(found, Unread):
            self._fail(place, found.reason)
            if found.keeps is not None:
                self._kept.append(found.keeps)
            self._ends_reading |= found.ends_reading
            return None
        if found.id in self._seen:
            self._fail(place, already_there(found.id, self._seen[found.id][0]))
            return None
        if isinstance(found, Unchanged):
            self._seen[found.id] = place, "unchanged"
            return None
        digest = digest_of(found)
        self._stamps.note(found.id, stamp, digest)
        if self._known.get(found.id) == digest:
            self._seen[found.id] = place, "unchanged"
            return None
        self._seen[found.id] = place, "changed" if found.id in self._known else "added"
        return Draft(place, found, digest, chunker.cut(found, self._team_id, digest))

    def _embed(self, drafts: list[Draft]) -> list[Page]:
        texts = [embedded_text(passage) for draft in drafts for passage in draft.passages]
        if not texts:
            return []
        vectors = self._embedder.embed_passages(texts)
        pages, start = [], 0
        for draft in drafts:
            end = start + len(draft.passages)
            pages.append(Page(self._source, draft.document.id, draft.digest, draft.passages, vectors[start:end]))
            start = end
        return pages

    async def _store(self, pages: list[Page]) -> None:
        if not pages:
            return
        refused = await self._index.put(self._team_id, pages)
        for page in pages:
            if page.document_id in refused:
                place, _ = self._seen[page.document_id]
                self._seen[page.document_id] = place, "refused"
                self._fail(place, refused[page.document_id])
            else:
                self._passages += len(page.passages)

    def _fail(self, place: str, reason: str) -> None:
        self._failed.append(SourceFailure(source=place, reason=reason))

    async def _compute(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._cores, work, *arguments)


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Runs tasks side by side to the end of all; the first error ends the others, and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def already_there(document_id: str, place: str) -> str:
    """Says why a second document of an id does not go in."""
    return f"has the id “{document_id}”, which {place} has already: each needs its own"


def digest_of(document: Document) -> str:
    """Gives the SHA-256 of all that a reader of a document sees, and of who may read it."""
    content = (document.title, document.url, document.audience, document.text)
    return sha256(json.dumps(content).encode()).hexdigest()
