"""The library: finds passages for a question, and takes documents in. It holds an embedder and an index, and promises
that a hit was readable for everyone at the place that asked: the index filters, and the library checks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bot.calibration import Calibration, Signs, calibration_file, load_calibration
from bot.errors import FootnoteError, TellUser
from bot.log import log
from bot.settings import Settings
from bot.vocabulary import (
    Found,
    IngestReport,
    LastReport,
    LibraryStatus,
    Passage,
    Question,
    Source,
    SourceFailure,
)
from retrieval.chunking import CHUNKER
from retrieval.embedding import Embedder, open_embedder
from retrieval.finding import STEPS, Finder, Rewrite
from retrieval.index import Index, form_of
from retrieval.ingesting import Progress, Sync
from retrieval.questions import identifiers
from retrieval.reading import READING, Reader, check_audience
from retrieval.sources import Access, address_of, name_of, open_origin
from retrieval.stamps import Stamps, stamps_file
from retrieval.sufficiency import signs

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

Result = TypeVar("Result")


class Library:
    """One library for many teams. `find` is for askers, the rest for operators."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        form: str,
        threshold: float,
        model: str,
        access: Access = Access(),  # noqa: B008 - it is frozen
        calibration: Calibration | None = None,
    ) -> None:
        self._index, self._embedder, self._form = index, embedder, form
        self._model, self._access = model, access
        # Threads of their own, so that no question waits behind a batch of passages, which takes seconds.
        self._asking = ThreadPoolExecutor(os.cpu_count() or 1, "library-asking")
        self._ingesting = ThreadPoolExecutor(2, "library-ingesting")
        self._finder = Finder(index, embedder, self._asking, threshold, calibration)

    async def find(
        self,
        question: Question,
        k: int = 5,
        *,
        without: frozenset[str] = frozenset(),
        hidden: frozenset[str] = frozenset(),
        rewrite: Rewrite | None = None,
    ) -> Found:
        """Finds the `k` best passages that everyone at the place of the question may read; to measure, without some of
        the steps of finding, and as if some documents were not there. `rewrite` says a follow-up without its thread.

        Raises LibraryUnavailable when the index is down or slow.
        """
        return await self._finder.find(question, k, without=without, hidden=hidden, rewrite=rewrite)

    @property
    def form(self) -> str:
        """The embedding model and chunker, as a hash."""
        return self._form

    @property
    def steps(self) -> dict[str, str]:
        """The steps of finding that `find` can leave out, each with what it is."""
        return dict(STEPS)

    def names(self, text: str) -> tuple[str, ...]:
        """Gives the error codes, settings and flags that a text names, as written."""
        return identifiers(text)

    def signs(self, found: Found) -> Signs:
        """Gives what speaks for it that passages answer, by name; see `retrieval.sufficiency`."""
        return signs(found.query, found.hits)

    async def standing(self, team_id: str, passages: Sequence[Passage]) -> dict[str, tuple[str, str]]:
        """Gives, by id, the digest and the audience of those documents of passages, all of one source, that are still
        there. The digest covers the audience; of a changed document the new audience is not looked up, and is empty."""
        known = {passage.document_id: passage for passage in passages}
        if not known:
            return {}
        (source,) = {passage.source for passage in passages}
        digests = await self._index.digests(team_id, source, list(known))
        return {
            id: (digest, known[id].audience if digest == known[id].document_digest else "")
            for id, digest in digests.items()
        }

    async def question_vector(self, text: str) -> Vectors:
        """Gives a question's place in the vector space: float32, (dimensions,), of length 1."""
        return await self._compute(self._embedder.embed_query, text)

    async def ingest(
        self,
        team_id: str,
        source: str | Path,
        *,
        name: str | None = None,
        audience: str | None = None,
        base_url: str | None = None,
        every_s: int | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Syncs a folder, a file, a web site or any other source; afterwards the library holds of it exactly what it
        holds now.

        A source is named by its last part unless `name` says otherwise. What is not given stays as it was the last
        time; the first time `audience` is `workspace`, and nothing is synced by itself (`every_s` of 0 ends that).
        Raises TellUser when the source cannot be read at all.
        """
        address = await asyncio.to_thread(address_of, source)
        known = {there.name: there for there in await self._index.sources(team_id)}
        name = name or _name_for(address, known)
        before = known.get(name) or Source(name=name, address=address)
        audience = check_audience(audience or before.audience)
        schedule = before.every_s if every_s is None else every_s or None
        before = before.model_copy(update={"every_s": schedule, "tried_at": datetime.now(UTC)})
        if name in known:  # first, so that a sync that fails is not due again at once
            await self._index.save_source(team_id, before)
        told = before.model_copy(
            update={"address": address, "audience": audience, "base_url": base_url or before.base_url}
        )
        try:
            return await self._read(team_id, told, progress)
        except TellUser as error:
            failed = IngestReport(failed=(SourceFailure(source=name, reason=str(error)),))
            for there in await self._index.sources(team_id):
                if there.name == name:
                    failing = there.model_copy(update={"last_report": LastReport.of(failed)})
                    await self._index.save_source(team_id, failing)
            raise

    async def _read(self, team_id: str, source: Source, progress: Progress | None) -> IngestReport:
        """Syncs a source as it was told to be. Raises TellUser when it cannot be read at all."""
        origin = await asyncio.to_thread(open_origin, source.address, self._access)
        with closing(origin):
            reader = Reader(origin, source.name, source.audience, source.base_url)
            terms = "\n".join((READING, source.address, source.audience, source.base_url or ""))
            stamps = Stamps(stamps_file(self._access.stamps, team_id, source.name), terms)
            sync = Sync(team_id, source, reader, self._index, self._embedder, self._ingesting, stamps)
            return await sync.run(self._form, progress)

    async def sync(self, team_id: str, name: str, progress: Progress | None = None) -> IngestReport:
        """Syncs a source that was ingested before, by its name. Raises TellUser when there is none of that name."""
        for source in await self.sources(team_id):
            if source.name == name:
                return await self.ingest(team_id, source.address, name=name, progress=progress)
        raise TellUser(f"There is no source named “{name}”.")

    async def due(self, team_id: str) -> list[str]:
        """Names the sources whose time to be synced by themselves has come."""
        now = datetime.now(UTC)
        return [source.name for source in await self.sources(team_id) if _is_due(source, now)]

    async def remove(self, team_id: str, name: str) -> int:
        """Forgets a source and takes all its documents out; gives how many. Raises TellUser when there is none of that
        name."""
        if name not in [source.name for source in await self.sources(team_id)]:
            raise TellUser(f"There is no source named “{name}”.")
        documents, _ = await self._index.count(team_id, name)
        await self._index.forget_source(team_id, name)
        file = stamps_file(self._access.stamps, team_id, name)
        if file:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        return documents

    async def sources(self, team_id: str) -> list[Source]:
        """Lists a team's sources by name."""
        return await self._index.sources(team_id)

    async def status(self, team_id: str) -> LibraryStatus:
        """Says how a team's library stands; not ready when the index does not answer."""
        documents = passages = 0
        try:
            is_ready = await self._index.is_ready()
            documents, passages = await self._index.count(team_id)
        except FootnoteError as error:
            log.warning("library_not_ready", error=str(error))
            is_ready = False
        return LibraryStatus(
            passages=passages,
            documents=documents,
            backend=self._index.backend,
            embedding_model=self._model,
            is_ready=is_ready,
        )

    async def close(self) -> None:
        """Lets go of the index and the threads."""
        for threads in (self._asking, self._ingesting):
            threads.shutdown(wait=False, cancel_futures=True)
        await self._index.close()

    async def _compute(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._asking, work, *arguments)


def _name_for(address: str, known: dict[str, Source]) -> str:
    name = name_of(address)
    other = known.get(name)
    if other and other.address != address and ("://" in other.address or Path(other.address).exists()):
        raise TellUser(f"A source named “{name}” is {other.address} already: give this one a name (--name).")
    return name


def _is_due(source: Source, now: datetime) -> bool:
    tried = source.tried_at or source.synced_at
    return source.every_s is not None and (tried is None or (now - tried).total_seconds() >= source.every_s)


@asynccontextmanager
async def open_library(settings: Settings) -> AsyncIterator[Library]:
    """Opens the library that the settings name: on Weaviate when its URL is set, else embedded in the data folder."""
    embedder = open_embedder(settings.embedding_model, settings.data_dir)
    form = form_of(embedder.id, CHUNKER)
    index = _index(settings, form, embedder.dimensions)
    access = Access(settings.intranet_hosts, settings.data_dir / "stamps")
    calibration = load_calibration(calibration_file(settings.data_dir), form, settings.hybrid_alpha)
    threshold, model = settings.sufficiency_threshold, settings.embedding_model
    library = Library(index, embedder, form, threshold, model, access, calibration)
    try:
        yield library
    finally:
        await library.close()


def _index(settings: Settings, form: str, dimensions: int) -> Index:
    if settings.weaviate_url:
        from retrieval.index_weaviate import WeaviateIndex
        from retrieval.weaviate_connection import Connection

        connection = Connection.of(settings)
        return WeaviateIndex(connection, form, dimensions, settings.hybrid_alpha)
    from retrieval.index_embedded import EmbeddedIndex

    return EmbeddedIndex(settings.data_dir / "library", form, dimensions, settings.hybrid_alpha)
