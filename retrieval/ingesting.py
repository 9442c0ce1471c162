"""One sync of one source: list it, take in what it lists, take out what is gone. A source that is large, and that any
process can read, is cut into parts; each part may be read by another process, at any time and more than once, and only
when all were read is anything taken out.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from bot.errors import TryAgain
from bot.vocabulary import Fate, IngestReport, LastReport, Listing, PartReport, Source, SourceFailure
from retrieval.decoding import RECORDS
from retrieval.embedding import Embedder
from retrieval.index import Index
from retrieval.intake import Intake, already_there
from retrieval.reading import Reader
from retrieval.sources import Item, Unread
from retrieval.stamps import Stamps

Result = TypeVar("Result")
Progress = Callable[[int, int, str], None]
"""Called with how many documents are read, how many are expected, and where the last one stands."""
PART = 200
"""Items of a part. A file of records ends one, for nobody knows how many it holds."""


class Parts(Protocol):
    """The parts of a listed source."""

    count: int
    began: datetime

    async def page(self, number: int) -> str:
        """Gives what was listed for a part."""
        ...

    async def report(self, number: int) -> PartReport:
        """Gives what became of a part."""
        ...


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
        before: tuple[str, ...] | None = None,
    ) -> None:
        """`before` are the terms by which it is remembered as this begins: its own if none are given, () where it is
        new."""
        self._team_id, self._source, self._reader = team_id, source, reader
        self._before = terms_of(source) if before is None else before
        self._index, self._embedder, self._cores = index, embedder, cores
        self._stamps = stamps or Stamps()

    async def run(self, form: str, progress: Progress | None = None) -> IngestReport:
        """Syncs all of it here and now, and remembers it as embedded in `form`.

        Raises TellUser when the source cannot be read at all, and then changes nothing.
        """
        return await self._run(await self._compute(lambda: list(self._reader.items())), form, progress)

    async def spread(self, form: str, keep: Callable[[int, str], Awaitable[None]]) -> Listing | IngestReport:
        """Lists it, and hands each part with its number to `keep`. What fits into one part, and what only this process
        can read, is synced at once instead. Raises as `run` does."""
        origin = self._reader.origin
        if not origin.hands:
            return await self.run(form)
        parts = in_parts(self._reader.items())
        part = await self._compute(next, parts, None)
        following = await self._compute(next, parts, None)
        if following is None:
            return await self._run(part or [], form)
        count = 0
        while part is not None:
            await keep(count, written(part))
            part, following = following, await self._compute(next, parts, None)
            count += 1
        return Listing(form=form, terms=terms_of(self._source), parts=count, hands=origin.hands, knows=origin.knows)

    async def part(self, page: str) -> PartReport:
        """Takes one part in. Doing it again does no harm. Raises TellUser where the source cannot be read."""
        await self._compute(self._reader.origin.check)
        return await self._take(read_back(page))

    async def tally(self, parts: Parts) -> IngestReport:
        """Adds up what became of all parts, and names what is to be taken out.

        Of a document that stands in several parts the first one counts, as within a part; it is read once more, for
        whichever was stored last is there now.
        """
        known = await self._index.digests(self._team_id, self._source.name)
        first = dict.fromkeys(known, -1)  # which part a document is in; -1 where in none
        fates: Counter[Fate] = Counter()
        twice: dict[int, list[tuple[str, str]]] = {}
        failed: list[SourceFailure] = []
        kept: list[str] = []
        passages = 0
        for number in range(parts.count):
            report = await parts.report(number)
            for id, (place, fate) in report.documents.items():
                if first.get(id, -1) >= 0:
                    twice.setdefault(first[id], []).append((id, place))
                else:
                    first[id] = number
                    fates[fate] += 1
            failed += report.failed
            kept += report.kept
            passages += report.passages
        for number, others in twice.items():
            failed += await self._settle(number, others, parts)
        gone = [id for id, number in first.items() if number < 0]
        if self._source.synced_at and self._source.synced_at > parts.began:
            gone = []  # another sync took out what was gone by then, and may have brought what our listing lacks
        seconds = (datetime.now(UTC) - parts.began).total_seconds()
        return _report(fates, _removed(gone, kept), failed, passages, seconds)

    async def conclude(self, form: str, report: IngestReport) -> None:
        """Takes out what a report says is gone, and remembers the source as synced. Doing it again does no harm."""
        await self._index.remove(self._team_id, self._source.name, report.removed_ids)
        await self._remember(form, report)
        await self._compute(self._stamps.save, report.removed_ids)

    async def _run(self, items: list[Item | Unread], form: str, progress: Progress | None = None) -> IngestReport:
        began = datetime.now(UTC)
        total = await self._compute(self._reader.count, items)
        known = await self._index.digests(self._team_id, self._source.name)

        def tell(done: int, place: str) -> None:
            if progress:
                progress(done, max(done, total), place)

        one = await self._intake().take(items, known, tell)
        removed = _removed(known.keys() - one.documents.keys(), one.kept)
        fates = Counter(fate for _, fate in one.documents.values())
        report = _report(fates, removed, one.failed, one.passages, (datetime.now(UTC) - began).total_seconds())
        await self.conclude(form, report)
        return report

    async def _take(self, items: list[Item | Unread]) -> PartReport:
        ids = await self._compute(self._reader.ids, items)
        known = await self._index.digests(self._team_id, self._source.name, ids)
        return await self._intake().take(items, known, lambda done, place: None)

    async def _settle(self, number: int, others: list[tuple[str, str]], parts: Parts) -> list[SourceFailure]:
        """Reads documents of a part once more, and says of others (id, place) that they are there already."""
        ids = {id for id, _ in others}
        items = [item for item in read_back(await parts.page(number)) if isinstance(item, Item)]
        await self._take([item for item in items if item.kind in RECORDS or item.id in ids])
        first = (await parts.report(number)).documents
        return [SourceFailure(source=place, reason=already_there(id, first[id][0])) for id, place in others]

    def _intake(self) -> Intake:
        name = self._source.name
        return Intake(self._team_id, name, self._reader, self._index, self._embedder, self._cores, self._stamps)

    async def _compute(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._cores, work, *arguments)

    async def _remember(self, form: str, report: IngestReport) -> None:
        """Remembers the source as synced; what an operator did to it meanwhile stands. Raises TryAgain where it is to
        be read by other terms now, or was read by its old ones while this moved it."""
        name = self._source.name
        there = {source.name: source for source in await self._index.sources(self._team_id)}.get(name)
        if there is None and self._before:
            await self._index.forget_source(self._team_id, name)
            return
        if there and (now := terms_of(there)) != terms_of(self._source):
            check_same_readers(self._source, there)
            if now != self._before or there.synced_at != self._source.synced_at:
                raise TryAgain(f"{name} was changed or read while it was read from elsewhere: it is read again.")
        documents, passages = await self._index.count(self._team_id, name)
        synced = {"synced_at": datetime.now(UTC), "documents": documents, "passages": passages, "form": form}
        synced["last_report"] = LastReport.of(report)
        schedule = {"every_s": there.every_s} if there else {}
        await self._index.save_source(self._team_id, self._source.model_copy(update=synced | schedule))


def terms_of(source: Source) -> tuple[str, ...]:
    """Gives what its parts must have been read by, all the same."""
    return source.address, source.audience, source.base_url or ""


def check_same_readers(began: Source, there: Source | None) -> None:
    """Raises TryAgain when a source is for others now than when its reading began: what was written since may be for
    the wrong ones, and the next reading puts that right."""
    if there and there.audience != began.audience:
        raise TryAgain(f"{began.name} is for {there.audience} now, no longer for {began.audience}: it is read again.")


def in_parts(items: Iterable[Item | Unread]) -> Iterator[list[Item | Unread]]:
    """Cuts a listing into parts, as it comes."""
    part: list[Item | Unread] = []
    for item in items:
        part.append(item)
        if len(part) == PART or (isinstance(item, Item) and item.kind in RECORDS):
            yield part
            part = []
    if part:
        yield part


def written(part: list[Item | Unread]) -> str:
    """Writes a part for another process."""
    fields = [{field: getattr(item, field) for field in item.__slots__} for item in part]  # asdict takes tenfold
    return json.dumps(fields, default=datetime.isoformat)


def read_back(page: str) -> list[Item | Unread]:
    """Reads a part that `written` wrote."""
    items: list[Item | Unread] = []
    for fields in json.loads(page):
        if "reason" in fields:
            items.append(Unread(**fields))
        else:
            moment = fields.pop("updated_at")
            items.append(Item(**fields, updated_at=moment and datetime.fromisoformat(moment)))
    return items


def _removed(gone: Iterable[str], kept: Collection[str]) -> list[str]:
    """Names what is taken out of what is gone: not what may only be out of reach."""

    def may_still_be(id: str) -> bool:
        return any(one == "" or id == one or id.startswith(f"{one}/") for one in kept)

    return [id for id in sorted(gone) if not may_still_be(id)]


def _report(
    fates: Counter[Fate], removed: list[str], failed: Iterable[SourceFailure], passages: int, seconds: float
) -> IngestReport:
    return IngestReport(
        added=fates["added"],
        changed=fates["changed"],
        unchanged=fates["unchanged"],
        removed=len(removed),
        removed_ids=tuple(removed),
        failed=tuple(failed),
        passages=passages,
        seconds=round(seconds, 3),
    )
