"""Sources of a library that are read in parts, by whichever process is free. Each call opens what it needs and lets go
of it: between two of them the source may be removed, or another form go live, and then nobody needs the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from bot.vocabulary import IngestReport, Listing, PartReport, Source
from retrieval.editions import Edition, Editions
from retrieval.ingesting import Parts, Sync, check_same_readers, terms_of

IntoLive = Callable[[str, Source, str], AbstractAsyncContextManager[tuple[Edition, Sync]]]
"""Opens the sync of a team's source into the live form, given what was learned of the source when it was listed."""


class PartReading:
    """A library, as far as it is read into in parts. Each method is about a team and a source, by name."""

    def __init__(
        self,
        find: Callable[[str, str], Awaitable[Source | None]],
        into_live: IntoLive,
        editions: Editions,
    ) -> None:
        self._find, self._into_live, self._editions = find, into_live, editions

    async def part(self, team_id: str, name: str, listing: Listing, page: str) -> PartReport | None:
        """Takes one part in; None when nobody needs it any more. Raises TellUser where it cannot be read here."""
        source = await self._there(team_id, name)
        if source is None or source.address != listing.terms[0]:
            return None
        async with self._into_live(team_id, source, listing.knows) as (edition, sync):
            report = await sync.part(page) if edition.form.id == listing.form else None
        there = await self._there(team_id, name)
        check_same_readers(source, there)
        # Of a source that is for others now this part is right again; those that were read before are not.
        return report if there and terms_of(there) == listing.terms else None

    async def tally(self, team_id: str, name: str, listing: Listing, parts: Parts) -> IngestReport | None:
        """Adds up what became of the parts; None as above."""
        source = await self._as_listed(team_id, name, listing)
        if source is None:
            return None
        async with self._into_live(team_id, source, listing.knows) as (edition, sync):
            return await sync.tally(parts) if edition.form.id == listing.form else None

    async def conclude(self, team_id: str, name: str, listing: Listing, report: IngestReport) -> bool:
        """Takes out what is gone, and remembers the source as synced; false when nobody needs that any more."""
        source = await self._as_listed(team_id, name, listing)
        if source is None:
            return False
        async with self._into_live(team_id, source, listing.knows) as (edition, sync):
            if edition.form.id != listing.form:
                return False
            await sync.conclude(edition.form.id, report)
            return await self._editions.is_live(edition)

    async def _as_listed(self, team_id: str, name: str, listing: Listing) -> Source | None:
        """Gives the source if it still is where it was listed, and for the same readers."""
        source = await self._there(team_id, name)
        return source if source and terms_of(source) == listing.terms else None

    async def _there(self, team_id: str, name: str) -> Source | None:
        """Gives the source as it is remembered; of one that was removed meanwhile nothing stays that a part brought."""
        source = await self._find(team_id, name)
        if source is None:
            await (await self._editions.writing()).index.forget_source(team_id, name)
        return source
