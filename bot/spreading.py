"""Large sources, read by all workers together. The sync of a source lists it; what is more than one part becomes a
round whose parts are jobs for whoever is free, each worker one at a time; when the last part is done, one job takes out
what is gone and reports, once. A worker may be killed anywhere: its job is done again by another, and doing it twice
does no harm. While a round is on, another sync of its source only sees to it that it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote
from uuid import uuid4

import structlog

from bot.errors import TellUser, TryAgain
from bot.rounds import Round, Rounds
from bot.schedule import log_report, order
from bot.vocabulary import Frozen, IngestReport, Listing, PartReport, SourceFailure
from bot.worker import Duty, Queue

log = structlog.get_logger()


class PartReading(Protocol):
    """A library, as far as it is read into in parts. Each method is about a team and a source, by name."""

    async def part(self, team_id: str, name: str, listing: Listing, page: str) -> PartReport | None:
        """Takes one part in; None when nobody needs it any more. Raises TellUser where it cannot be read here."""
        ...

    async def tally(self, team_id: str, name: str, listing: Listing, parts: PartsOf) -> IngestReport | None:
        """Adds up what became of the parts; None as above."""
        ...

    async def conclude(self, team_id: str, name: str, listing: Listing, report: IngestReport) -> bool:
        """Takes out what is gone, and remembers the source as synced; false when nobody needs that any more."""
        ...


class Library(Protocol):
    """What can be read in parts."""

    @property
    def parts(self) -> PartReading: ...

    async def spread(
        self, team_id: str, name: str, keep: Callable[[int, str], Awaitable[None]]
    ) -> Listing | IngestReport:
        """Lists a source and hands each part to `keep`; or syncs it at once, where it is small or can be read here
        only. Raises TellUser when it cannot be read."""
        ...


class PartJob(Frozen):
    """One part to read."""

    name: str
    round: str
    number: int


class PartsOf:
    """The parts of a round."""

    def __init__(self, rounds: Rounds, round: Round) -> None:
        self._rounds, self._round = rounds, round
        self.count, self.began = round.listing.parts, round.began

    async def page(self, number: int) -> str:
        return await self._rounds.page(self._round, number)

    async def report(self, number: int) -> PartReport:
        return await self._rounds.report(self._round, number)


class Spreading:
    """Syncs sources, the large ones by many hands."""

    def __init__(
        self,
        queue: Queue,
        hands: Queue,
        rounds: Rounds,
        library: Library,
        synced: Callable[[], Awaitable[None]],
    ) -> None:
        """`hands` is a queue of its own, so that no question waits behind a thousand parts; `synced` is called when a
        source was read in parts."""
        self._queue, self._hands, self._rounds = queue, hands, rounds
        self._library, self._synced = library, synced

    @property
    def duties(self) -> Mapping[str, Duty]:
        """What a worker of the queue does."""
        return {
            "sync-end": Duty(self.end, apology="sync-end-lost"),
            "sync-end-lost": Duty(self.give_up),
            "sync-anew": Duty(self.anew),
        }

    @property
    def part_duties(self) -> Mapping[str, Duty]:
        """What one of the hands does."""
        return {"sync-part": Duty(self.part, apology="sync-part-lost"), "sync-part-lost": Duty(self.lose)}

    async def sync(self, name: str) -> IngestReport | None:
        """Syncs a source; None when it is read in parts now. Raises TellUser when it cannot be read."""
        if current := await self._rounds.current(name):
            await self._go_on(current)
            return None
        id, began = uuid4().hex, datetime.now(UTC)
        try:
            listing = await self._library.spread(
                self._rounds.team_id, name, lambda number, page: self._rounds.keep(name, id, number, page)
            )
        except BaseException:  # a listing that broke off is no listing
            await asyncio.shield(self._rounds.forget(name, id))
            raise
        if isinstance(listing, IngestReport):
            return listing
        current = await self._rounds.open(Round(id=id, name=name, began=began, listing=listing))
        log.info("source_spread", source=name, parts=listing.parts)
        await self._go_on(current)
        return None

    async def part(self, payload: str) -> None:
        """Reads one part, unless that is done, or was for an earlier round."""
        job = PartJob.model_validate_json(payload)
        current = await self._rounds.current(job.name)
        if current is None or current.id != job.round:
            return
        if job.number not in await self._rounds.done(current):
            report = await self._read(current, job.number)
            if report is None:
                await self._begin_anew(current)
                return
            await self._note(current, job.number, report)
        await self._go_on(current, job.number)

    async def lose(self, payload: str) -> None:
        """Goes on without a part that was given up: nothing is taken out by this round."""
        job = PartJob.model_validate_json(payload)
        current = await self._rounds.current(job.name)
        if current is None or current.id != job.round:
            return
        reason = f"part {job.number + 1} of {current.listing.parts} could not be read: see the worker's log"
        failure = SourceFailure(source=job.name, reason=reason)
        await self._note(current, job.number, PartReport(failed=(failure,), kept=("",)))
        await self._go_on(current, job.number)

    async def end(self, payload: str) -> None:
        """Takes out what is gone, and reports."""
        job = PartJob.model_validate_json(payload)
        current = await self._rounds.current(job.name)
        if current is None or current.id != job.round:
            return
        report = await self._rounds.settled(current)
        if report is None:
            parts = PartsOf(self._rounds, current)
            with _here_or_elsewhere():
                tallied = await self._library.parts.tally(self._rounds.team_id, job.name, current.listing, parts)
            report = tallied and await self._rounds.settled(current, tallied)
        if report is None or not await self._conclude(current, report):
            await self._begin_anew(current)
            return
        await self._synced()
        if await self._rounds.forget(job.name, job.round):
            log_report(job.name, report)

    async def give_up(self, payload: str) -> None:
        """Ends a round that could not be ended well, so that the next sync of its source begins anew."""
        job = PartJob.model_validate_json(payload)
        await self._rounds.forget(job.name, job.round)

    async def anew(self, payload: str) -> None:
        """Ends a round that nobody needs any more, and has its source synced anew."""
        job = PartJob.model_validate_json(payload)
        await order(self._queue, job.name)  # it waits in this line until the round is gone
        if await self._rounds.forget(job.name, job.round):
            log.info("round_ended", source=job.name, id=job.round)

    async def _begin_anew(self, current: Round) -> None:
        """Has a round ended that nobody needs any more, because another form is live, or the source was removed, is
        elsewhere or for others; what holds now is for the next sync to find out. It is a job of its own, which does
        all of it again after a kill: a part without its round would leave the sync to nobody."""
        await self._queue_up("sync-anew", current)

    async def _conclude(self, current: Round, report: IngestReport) -> bool:
        with _here_or_elsewhere():
            return await self._library.parts.conclude(self._rounds.team_id, current.name, current.listing, report)

    async def _read(self, current: Round, number: int) -> PartReport | None:
        if await self._rounds.is_left_alone(current):
            return PartReport(kept=("",))
        page = await self._rounds.page(current, number)
        with _here_or_elsewhere():
            return await self._library.parts.part(self._rounds.team_id, current.name, current.listing, page)

    async def _note(self, current: Round, number: int, report: PartReport) -> None:
        await self._rounds.note(current, number, report)
        log.info("part_read", source=current.name, part=number + 1, parts=current.listing.parts)

    async def _go_on(self, current: Round, after: int | None = None) -> None:
        """Queues what comes next: behind a part the next one of its line, or the end; without one, what is next in
        every line. There are as many lines as there may be hands."""
        parts, hands = current.listing.parts, current.listing.hands
        done = await self._rounds.done(current)
        for line in range(min(hands, parts)) if after is None else [after % hands]:
            number = next((number for number in range(line, parts, hands) if number not in done), None)
            if number is not None:
                job = PartJob(name=current.name, round=current.id, number=number)
                key = f"sync-part:{current.id}:{number}"
                await self._hands.add("sync-part", job.model_dump_json(), key=key, thread=key)
        if len(done) == parts:
            await self._queue_up("sync-end", current)

    async def _queue_up(self, kind: str, current: Round) -> None:
        """Queues what ends a round, in the line of its source."""
        job = PartJob(name=current.name, round=current.id, number=current.listing.parts)
        thread = f"source:{quote(current.name, safe='')}"
        await self._queue.add(kind, job.model_dump_json(), key=f"{kind}:{current.id}", thread=thread)


@contextmanager
def _here_or_elsewhere() -> Iterator[None]:
    """Lets another worker try, which may have what this one lacks: a mounted folder, a package."""
    try:
        yield
    except TellUser as error:
        raise TryAgain(str(error)) from error
