"""The half of the library that takes documents in: sources, remembered for each team with where they are, for whom, and
how often they are synced. Every sync goes into the form that is live, whichever that becomes meanwhile, and what it
changes leaves the other forms first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bot.errors import TellUser
from bot.vocabulary import IngestReport, LastReport, Listing, Source, SourceFailure
from retrieval.editions import Edition, Editions
from retrieval.forms import Everywhere, FormLeft
from retrieval.index import Index
from retrieval.ingesting import Progress, Sync, terms_of
from retrieval.parts import PartReading
from retrieval.reading import READING, Reader, check_audience
from retrieval.sources import Access, address_of, name_of, open_origin
from retrieval.stamps import Stamps, stamps_file


class Syncing:
    """The sources of a library, and their syncs."""

    def __init__(self, editions: Editions, index: Index, access: Access) -> None:
        self._editions, self._index, self._access = editions, index, access
        # Threads of their own, so that no question waits behind a batch of passages, which takes seconds.
        self._ingesting = ThreadPoolExecutor(2, "library-ingesting")

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
            terms = terms_of(before.model_copy(update={"audience": told.audience})) if before else ()
            return await self._read_into_live(team_id, told.model_copy(update=now), progress, terms)

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

    async def _read_into_live(
        self, team_id: str, source: Source, progress: Progress | None, before: tuple[str, ...] | None = None
    ) -> IngestReport:
        """Syncs a source into the live form, again when another one went live meanwhile; what the sync changes leaves
        the other forms. Raises TellUser when it cannot be read, or the live form not be opened, here."""
        first: IngestReport | None = None
        while True:
            try:
                async with self._into_live(team_id, source, before=before) as (edition, sync):
                    report = await sync.run(edition.form.id, progress)
            except FormLeft:
                continue
            first, before = first or report, None
            if await self._editions.is_live(edition):
                return first

    @asynccontextmanager
    async def _into_live(
        self, team_id: str, source: Source, knows: str = "", before: tuple[str, ...] | None = None
    ) -> AsyncIterator[tuple[Edition, Sync]]:
        """Opens the sync of a source into the live form."""
        edition = await self._editions.writing()
        others, was_left = await self._editions.others(edition), partial(self._editions.was_left, edition)
        everywhere = Everywhere(edition.index, others, was_left)
        try:
            async with self._syncing(replace(edition, index=everywhere), team_id, source, knows, before) as sync:
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
    async def _syncing(
        self,
        edition: Edition,
        team_id: str,
        source: Source,
        knows: str = "",
        before: tuple[str, ...] | None = None,
    ) -> AsyncIterator[Sync]:
        origin = await asyncio.to_thread(open_origin, source.address, self._access, knows)
        with closing(origin):
            reader = Reader(origin, source.name, source.audience, source.base_url)
            terms = "\n".join((READING, source.address, source.audience, source.base_url or ""))
            stamps = Stamps(stamps_file(self._access.stamps, team_id, source.name), terms)
            yield Sync(team_id, source, reader, edition.index, edition.embedder, self._ingesting, stamps, before)


def _name_for(address: str, known: dict[str, Source]) -> str:
    name = name_of(address)
    other = known.get(name)
    if other and other.address != address and ("://" in other.address or Path(other.address).exists()):
        raise TellUser(f"A source named “{name}” is {other.address} already: give this one a name (--name).")
    return name


def _is_due(source: Source, now: datetime) -> bool:
    tried = source.tried_at or source.synced_at
    return source.every_s is not None and (tried is None or (now - tried).total_seconds() >= source.every_s)
