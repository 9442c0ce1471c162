"""One sync of one source: read, compare by digest, cut, embed what changed, store it, take out what is gone. The three
slow parts overlap (the next batch is read and the last one stored while the model works on this one), and a batch is
small, so that memory stays flat however large the source is.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from bot.vocabulary import Document, IngestReport, LastReport, Passage, Source, SourceFailure
from retrieval.chunking import Chunker, embedded_text
from retrieval.embedding import Embedder
from retrieval.index import Index, Page
from retrieval.reading import Entry, Reader, Unchanged
from retrieval.sources import Item, Unread
from retrieval.stamps import Stamps

Result = TypeVar("Result")
Progress = Callable[[int, int, str], None]
"""Called with how many documents are read, how many are expected, and where the last one stands."""
BATCH_PASSAGES = 256


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


class Sync:
    """One sync of one source of one team."""

    def __init__(
        self,
        team_id: str,
        source: Source,
        reader: Reader,
        index: Index,
        embedder: Embedder,
        cores: Executor,
        stamps: Stamps | None = None,
    ) -> None:
        self._team_id, self._source, self._reader = team_id, source, reader
        self._index, self._embedder, self._cores = index, embedder, cores
        self._stamps = stamps or Stamps()
        self._known: dict[str, str] = {}
        self._seen: dict[str, str] = {}  # where each document stands
        self._kept: list[str] = []
        self._failed: list[SourceFailure] = []
        self._added = self._changed = self._unchanged = self._passages = 0

    async def run(self, form: str, progress: Progress | None = None) -> IngestReport:
        """Syncs, remembers the source as embedded in `form`, and reports.

        Raises TellUser when the source cannot be read at all, and then changes nothing.
        """
        began = time.perf_counter()
        items = await self._compute(self._reader.items)
        total = await self._compute(self._reader.count, items)
        self._known = await self._index.digests(self._team_id, self._source.name)
        await self._compute(self._stamps.load, self._known)
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
                if batch and progress:
                    progress(batch.done, max(batch.done, total), batch.place)
                batch, pages = upcoming, embedded
        finally:
            with suppress(ValueError):  # a thread is still reading the next batch: it closes what it leaves
                batches.close()
        removed = [name for name in sorted(self._known.keys() - self._seen.keys()) if not self._may_still_be(name)]
        await self._index.remove(self._team_id, self._source.name, removed)
        report = IngestReport(
            added=self._added,
            changed=self._changed,
            unchanged=self._unchanged,
            removed=len(removed),
            removed_ids=tuple(removed),
            failed=tuple(self._failed),
            passages=self._passages,
            seconds=round(time.perf_counter() - began, 3),
        )
        await self._remember(form, report)
        await self._compute(self._stamps.save, self._seen.keys())
        return report

    def _batches(self, items: list[Item | Unread]) -> Generator[Batch, None, None]:
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
            return None
        if found.id in self._seen:
            self._fail(place, f"has the id “{found.id}”, which {self._seen[found.id]} has already")
            return None
        self._seen[found.id] = place
        if isinstance(found, Unchanged):
            self._unchanged += 1
            return None
        digest = digest_of(found)
        self._stamps.note(found.id, stamp, digest)
        if self._known.get(found.id) == digest:
            self._unchanged += 1
            return None
        return Draft(place, found, digest, chunker.cut(found, self._team_id, digest))

    def _embed(self, drafts: list[Draft]) -> list[Page]:
        texts = [embedded_text(passage) for draft in drafts for passage in draft.passages]
        if not texts:
            return []
        vectors = self._embedder.embed_passages(texts)
        pages, start = [], 0
        for draft in drafts:
            end = start + len(draft.passages)
            pages.append(Page(self._source.name, draft.document.id, draft.digest, draft.passages, vectors[start:end]))
            start = end
        return pages

    async def _store(self, pages: list[Page]) -> None:
        if not pages:
            return
        refused = await self._index.put(self._team_id, pages)
        for page in pages:
            if page.document_id in refused:
                self._fail(self._seen[page.document_id], refused[page.document_id])
                continue
            self._passages += len(page.passages)
            if page.document_id in self._known:
                self._changed += 1
            else:
                self._added += 1

    async def _remember(self, form: str, report: IngestReport) -> None:
        """Remembers the source as synced; what an operator did to it meanwhile stands."""
        name = self._source.name
        there = {source.name: source for source in await self._index.sources(self._team_id)}.get(name)
        if self._source.synced_at and there is None:
            await self._index.forget_source(self._team_id, name)
            return
        documents, passages = await self._index.count(self._team_id, name)
        now = {"synced_at": datetime.now(UTC), "documents": documents, "passages": passages, "form": form}
        now["last_report"] = LastReport.of(report)
        schedule = {"every_s": there.every_s} if there else {}
        await self._index.save_source(self._team_id, self._source.model_copy(update=now | schedule))

    def _may_still_be(self, document_id: str) -> bool:
        return any(kept == "" or document_id == kept or document_id.startswith(f"{kept}/") for kept in self._kept)

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


def digest_of(document: Document) -> str:
    """Gives the SHA-256 of all that a reader of a document sees, and of who may read it."""
    content = (document.title, document.url, document.audience, document.text)
    return sha256(json.dumps(content).encode()).hexdigest()
