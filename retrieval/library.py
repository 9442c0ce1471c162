"""The library: finds passages for a question, and takes documents in. It holds an embedder and an index, and promises
that a hit was readable for everyone at the place that asked: the index filters, and the library checks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bot.calibration import Calibration, Signs, calibration_file, load_calibration
from bot.errors import FootnoteError, TellUser
from bot.log import log
from bot.settings import Settings
from bot.vocabulary import (
    FormStatus,
    Found,
    IngestReport,
    LastReport,
    LibraryStatus,
    Listing,
    Passage,
    Question,
    Reembedded,
    Source,
    SourceFailure,
)
from retrieval.editions import Edition, Editions
from retrieval.embedding import Embedder, open_embedder
from retrieval.finding import STEPS, Finder, Rewrite
from retrieval.forms import Everywhere, Form, FormLeft, Forms, open_forms, set_about_embedding
from retrieval.index import Index
from retrieval.ingesting import Progress, Sync
from retrieval.parts import PartReading
from retrieval.questions import identifiers
from retrieval.reading import READING, Reader, check_audience
from retrieval.reembedding import Reembedding
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
        form: str | Form,
        threshold: float,
        model: str,
        access: Access = Access(),  # noqa: B008 - it is frozen
        calibration: Calibration | None = None,
        forms: Forms | None = None,
        embedder_of: Callable[[Form], Embedder] | None = None,
        calibration_of: Callable[[str], Calibration | None] = lambda form_id: None,
    ) -> None:
        """`index` and `embedder` are of the form that EMBEDDING_MODEL, `model`, makes. With `forms` the library follows
        the one that is live, and opens models and calibrations of others by `embedder_of` and `calibration_of`."""
        own = form if isinstance(form, Form) else Form.made_by(embedder, model, id=form)
        self._editions = Editions(
            Edition(own, index, embedder, calibration), forms, embedder_of=embedder_of, calibration_of=calibration_of
        )
        self._index, self._embedder, self._threshold, self._access = index, embedder, threshold, access
        # Threads of their own, so that no question waits behind a batch of passages, which takes seconds.
        self._asking = ThreadPoolExecutor(os.cpu_count() or 1, "library-asking")
        self._ingesting = ThreadPoolExecutor(2, "library-ingesting")
        self._finders: dict[str, Finder] = {}

    async def find(
        self,
        question: Question,
        k: int = 5,
        *,
        without: frozenset[str] = frozenset(),
        hidden: frozenset[str] = frozenset(),
        rewrite: Rewrite | None = None,
        around: bool = False,
    ) -> Found:
        """Finds the `k` best passages that everyone at the place of the question may read; to measure, without some of
        the steps of finding, and as if some documents were not there. `rewrite` says a follow-up without its thread;
        with `around`, what stands around the best hit is read, too.

        Raises LibraryUnavailable when the index is down or slow.
        """
        finder = self._finder(await self._editions.reading())
        return await finder.find(question, k, without=without, hidden=hidden, rewrite=rewrite, around=around)

    async def around(self, question: Question, passage: Passage, reach: int) -> list[Passage]:
        """Gives a page from `reach` passages before one of it to as many after it, as far as everyone at the place of
        the question may read it; nothing when the page has changed since."""
        edition = await self._editions.reading()
        near = await edition.index.around(question.team_id, passage, reach, question.readable)
        return [one for one in near if one.audience in question.readable]

    @property
    def form(self) -> str:
        """The embedding model and chunker that were answered from last, as a hash."""
        return self._editions.current.form.id

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
        edition = await self._editions.reading()
        digests = await edition.index.digests(team_id, source, list(known))
        return {
            id: (digest, known[id].audience if digest == known[id].document_digest else "")
            for id, digest in digests.items()
        }

    async def question_vector(self, text: str) -> Vectors:
        """Gives a question's place in the vector space of EMBEDDING_MODEL, whatever is live: float32, (dimensions,), of
        length 1."""
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
        told, before = await self._told(team_id, source, name, audience, base_url, every_s)
        now = {"every_s": told.every_s, "tried_at": datetime.now(UTC)}
        if before:  # first, so that a sync that fails is not due again at once, and one that runs sees for whom it is
            await self._remember(team_id, before.model_copy(update={**now, "audience": told.audience}))
        async with self._noting_failure(team_id, told.name):
            return await self._read_into_live(team_id, told.model_copy(update=now), progress)

    async def register(
        self,
        team_id: str,
        source: str | Path,
        *,
        name: str | None = None,
        audience: str | None = None,
        base_url: str | None = None,
        every_s: int | None = None,
    ) -> Source:
        """Remembers a source as `ingest` does, and leaves the reading to `spread`. Raises TellUser when it can be
        none."""
        told, _ = await self._told(team_id, source, name, audience, base_url, every_s)
        (await asyncio.to_thread(open_origin, told.address, self._access)).close()
        await self._remember(team_id, told)
        return told

    async def _told(
        self,
        team_id: str,
        source: str | Path,
        name: str | None,
        audience: str | None,
        base_url: str | None,
        every_s: int | None,
    ) -> tuple[Source, Source | None]:
        """Gives a source as it is told to be now, and as it was before."""
        address = await asyncio.to_thread(address_of, source)
        known = {there.name: there for there in await self._index.sources(team_id)}
        name = name or _name_for(address, known)
        before = known.get(name)
        told = before or Source(name=name, address=address)
        update = {
            "address": address,
            "audience": check_audience(audience or told.audience),
            "base_url": base_url or told.base_url,
            "every_s": told.every_s if every_s is None else every_s or None,
        }
        return told.model_copy(update=update), before

    async def spread(
        self, team_id: str, name: str, keep: Callable[[int, str], Awaitable[None]]
    ) -> Listing | IngestReport:
        """Lists a source that is known, and hands each part of it to `keep`, by number, for `parts` to read; what is
        small, or can be read by this process only, is synced at once. Raises as `sync` does."""
        source = await self._source(team_id, name)
        if source is None:
            raise TellUser(f"There is no source named “{name}”.")
        source = source.model_copy(update={"tried_at": datetime.now(UTC)})
        await self._remember(team_id, source)
        async with self._noting_failure(team_id, name), self._into_live(team_id, source) as (edition, sync):
            done = await sync.spread(edition.form.id, keep)
        if isinstance(done, Listing) or await self._editions.is_live(edition):
            return done
        return await self._read_into_live(team_id, source, None)

    @property
    def parts(self) -> PartReading:
        """What reads the parts that `spread` made."""
        return PartReading(self._source, self._into_live, self._editions)

    async def _source(self, team_id: str, name: str) -> Source | None:
        return next((one for one in await self.sources(team_id) if one.name == name), None)

    @asynccontextmanager
    async def _noting_failure(self, team_id: str, name: str) -> AsyncIterator[None]:
        """Remembers with a source why it could not be read at all."""
        try:
            yield
        except TellUser as error:
            failed = IngestReport(failed=(SourceFailure(source=name, reason=str(error)),))
            if there := await self._source(team_id, name):
                await self._remember(team_id, there.model_copy(update={"last_report": LastReport.of(failed)}))
            raise

    async def _remember(self, team_id: str, source: Source) -> None:
        """Remembers a source, through the live form: EMBEDDING_MODEL's need not be there."""
        await (await self._editions.live_index()).save_source(team_id, source)

    async def _read_into_live(self, team_id: str, source: Source, progress: Progress | None) -> IngestReport:
        """Syncs a source into the live form, again when another one went live meanwhile; what the sync changes leaves
        the other forms. Raises TellUser when it cannot be read, or the live form not be opened, here."""
        first: IngestReport | None = None
        while True:
            try:
                async with self._into_live(team_id, source) as (edition, sync):
                    report = await sync.run(edition.form.id, progress)
            except FormLeft:
                continue
            first = first or report
            if await self._editions.is_live(edition):
                return first

    @asynccontextmanager
    async def _into_live(self, team_id: str, source: Source, knows: str = "") -> AsyncIterator[tuple[Edition, Sync]]:
        """Opens the sync of a source into the live form."""
        edition = await self._editions.writing()
        others, was_left = await self._editions.others(edition), partial(self._editions.was_left, edition)
        everywhere = Everywhere(edition.index, others, was_left)
        try:
            async with self._syncing(replace(edition, index=everywhere), team_id, source, knows) as sync:
                yield edition, sync
        finally:
            await everywhere.close()

    async def _read(
        self, edition: Edition, team_id: str, source: Source, progress: Progress | None = None
    ) -> IngestReport:
        """Syncs a source as it was told to be into one form. Raises TellUser when it cannot be read at all."""
        async with self._syncing(edition, team_id, source) as sync:
            return await sync.run(edition.form.id, progress)

    @asynccontextmanager
    async def _syncing(self, edition: Edition, team_id: str, source: Source, knows: str = "") -> AsyncIterator[Sync]:
        origin = await asyncio.to_thread(open_origin, source.address, self._access, knows)
        with closing(origin):
            reader = Reader(origin, source.name, source.audience, source.base_url)
            terms = "\n".join((READING, source.address, source.audience, source.base_url or ""))
            stamps = Stamps(stamps_file(self._access.stamps, team_id, source.name), terms)
            yield Sync(team_id, source, reader, edition.index, edition.embedder, self._ingesting, stamps)

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
        index = await self._editions.live_index()
        documents, _ = await index.count(team_id, name)
        await index.forget_source(team_id, name)
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
        trouble = ""
        try:
            is_ready = await self._index.is_ready()
            edition = await self._editions.reading()
            documents, passages = await edition.index.count(team_id)
        except FootnoteError as error:
            trouble = str(error)
            log.warning("library_not_ready", error=trouble)
            is_ready = False
        return LibraryStatus(
            passages=passages,
            documents=documents,
            backend=self._index.backend,
            embedding_model=self._editions.current.form.model,
            is_ready=is_ready,
            remark=self._editions.remark or trouble,
        )

    async def forms(self) -> list[FormStatus]:
        """Lists the forms of the library with what is in them, the live one first."""
        return await Reembedding(self._editions, self._read, self._read_into_live).status()

    async def reembed(self, progress: Progress | None = None, *, incomplete: bool = False) -> Reembedded:
        """Embeds every source of every team anew by EMBEDDING_MODEL, behind the readers' backs, and then switches to
        it; goes on where an earlier one was ended. With problems what is live stays so, unless the new form may be
        `incomplete`."""
        return await Reembedding(self._editions, self._read, self._read_into_live).run(progress, incomplete)

    async def roll_back(self) -> FormStatus:
        """Switches back to the form that was live before, in one step. It holds nothing that is outdated, but may lack
        what changed since: `sync` brings that. Raises TellUser where there is none."""
        return await Reembedding(self._editions, self._read, self._read_into_live).roll_back()

    async def prune(self) -> list[FormStatus]:
        """Drops all forms but the live one, the one before, and that of EMBEDDING_MODEL; gives what is dropped."""
        return await Reembedding(self._editions, self._read, self._read_into_live).prune()

    async def close(self) -> None:
        """Lets go of the index and the threads."""
        for threads in (self._asking, self._ingesting):
            threads.shutdown(wait=False, cancel_futures=True)
        await self._editions.close()

    def _finder(self, edition: Edition) -> Finder:
        id = edition.form.id
        if id not in self._finders:
            self._finders[id] = Finder(
                edition.index, edition.embedder, self._asking, self._threshold, edition.calibration
            )
        return self._finders[id]

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
    embedder = open_embedder(settings)
    form = Form.made_by(embedder, settings.embedding_model, set_about_embedding(settings))
    forms = open_forms(settings)

    def calibration_of(form_id: str) -> Calibration | None:
        return load_calibration(calibration_file(settings.data_dir), form_id, settings.hybrid_alpha)

    library = Library(
        forms.index(form),
        embedder,
        form,
        settings.sufficiency_threshold,
        settings.embedding_model,
        Access(
            settings.intranet_hosts,
            settings.data_dir / "stamps",
            shared_folders=frozenset(Path(address_of(folder)) for folder in settings.shared_folders),
        ),
        calibration_of(form.id),
        forms=forms,
        embedder_of=lambda form: open_embedder(settings.model_copy(update=form.settings)),
        calibration_of=calibration_of,
    )
    try:
        yield library
    finally:
        await library.close()
