"""Orders about sources that come twice, late, from somebody who may not give them, or about too much at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.errors import TellUser, TryAgain
from bot.journal import Journal, now
from bot.memory import Memory
from bot.rounds import Progress
from bot.vocabulary import IngestReport, LastReport, Source, SourceFailure
from handlers.blocks import BLOCKS_LIMIT, SECTION_LIMIT
from handlers.commands.sources import Shelves, SourceOrder, Sources, mark_of
from handlers.inbox import Commanded
from tests.nouns import TEAM

REPORT = IngestReport(added=2, failed=(SourceFailure(source="a.md", reason="is empty (0 bytes)"),))


class Library:
    """A library of sources that are read at once, or in parts."""

    def __init__(self, *sources: Source) -> None:
        self.kept = {one.name: one for one in sources}
        self.added: list[SourceOrder] = []
        self.ordered: list[SourceOrder] = []
        self.parts: list[Progress] = []
        self.report: IngestReport | None = REPORT
        self.waiting: set[str] = set()

    async def sources(self) -> list[Source]:
        return list(self.kept.values())

    async def add(self, order: SourceOrder) -> IngestReport | None:
        self.added.append(order)
        return self.report

    async def sync(self, name: str) -> IngestReport | None:
        return self.report

    async def remove(self, name: str) -> int:
        return self.kept.pop(name).documents

    async def progress(self) -> list[Progress]:
        return self.parts

    async def progress_of(self, name: str) -> Progress | None:
        return next((one for one in self.parts if one.name == name), None)

    async def is_ordered(self, name: str) -> bool:
        return name in self.waiting

    async def order(self, order: SourceOrder, after_s: float) -> None:
        self.ordered.append(order)

    @property
    def shelves(self) -> Shelves:
        return Shelves(
            sources=self.sources,
            add=self.add,
            sync=self.sync,
            remove=self.remove,
            progress=self.progress,
            progress_of=self.progress_of,
            is_ordered=self.is_ordered,
            order=self.order,
            name_of=lambda address: "docs",
        )


class Unreadable(Library):
    """A library whose sources can be added and not be read; at first it does not answer."""

    attempts = 0

    async def add(self, order: SourceOrder) -> IngestReport | None:
        self.attempts += 1
        self.kept.setdefault(order.name, docs())
        if self.attempts == 1:
            raise TryAgain("gone")
        raise TellUser("Nothing is there.")


class Rights:
    """Who may do what: U0ADMIN everything that the workspace reads, everywhere."""

    async def readable(self, user_id: str, channel_id: str) -> frozenset[str]:
        if user_id != "U0ADMIN":
            raise TellUser("That is for admins of this workspace.")
        return frozenset({"public", "workspace"})


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


def over(library: Library, journal: Journal) -> Sources:
    return Sources(journal, None, Rights(), library.shelves)  # type: ignore[arg-type]


def order(what: Any, name: str = "docs", **fields: Any) -> SourceOrder:
    given = {"by": "U0ADMIN", "channel_id": "D0ADMIN", "once": "1.2.3"}
    return SourceOrder(what=what, name=name, **(given | fields))


def docs(**fields: Any) -> Source:
    return Source(**({"name": "docs", "address": "https://docs.example/", "documents": 7} | fields))


def command(text: str) -> Commanded:
    given = {"user_id": "U0ADMIN", "user_team_id": TEAM, "channel_id": "D0ADMIN", "text": f"sources {text}"}
    return Commanded.model_validate(given | {"response_url": "https://x.example", "trigger_id": "1.2.3"})


async def said(sources: Sources, given: SourceOrder) -> str:
    shown = await sources.done(given)
    assert shown
    return shown[0]


async def test_an_order_that_is_delivered_again_is_carried_out_once(journal: Journal) -> None:
    """Slack repeats what it thinks was lost; so does the queue, after a crash."""
    library = Library()
    sources = over(library, journal)
    add = order("add", address="https://docs.example/")
    assert "2 added" in await said(sources, add) and "a.md: is empty" in await said(sources, add)
    await journal.note_done(add.once)
    library.added.clear()
    assert await sources.done(add) is None
    await sources.carry_out(command("add https://docs.example/"), ["add", "https://docs.example/"])
    assert library.added == [] and library.ordered == []


async def test_who_is_no_admin_any_more_gives_no_orders(journal: Journal) -> None:
    """Also where the order was given before; and nobody by somebody else's button."""
    library = Library(docs())
    for what in ("add", "sync", "remove", "keep"):
        assert "for admins" in await said(over(library, journal), order(what, by="U0MAYA"))
    assert library.added == [] and "docs" in library.kept


async def test_a_name_that_was_taken_meanwhile_is_not_taken_over(journal: Journal) -> None:
    """Two admins add under one name: the second would take the documents of the first out."""
    library = Library(docs(address="https://other.example/"))
    assert "is taken" in await said(over(library, journal), order("add", address="https://docs.example/"))
    assert library.added == []


async def test_what_is_removed_already_is_told_so(journal: Journal) -> None:
    """As after a crash between the removal and its telling."""
    sources = over(Library(docs()), journal)
    remove = order("remove", mark=mark_of("https://docs.example/"))
    assert "7 pages with it" in await said(sources, remove)
    assert "not among the sources any more" in await said(sources, remove)


async def test_what_is_another_source_by_now_is_not_removed(journal: Journal) -> None:
    """The button was shown for what was at another address, and may have stood there for days."""
    library = Library(docs(address="https://moved.example/"))
    remove = order("remove", mark=mark_of("https://docs.example/"))
    assert "another source by now" in await said(over(library, journal), remove)
    assert "docs" in library.kept


@pytest.mark.parametrize("what", ["add", "sync"])
async def test_a_source_that_all_workers_read_is_told_of_at_its_end(journal: Journal, what: str) -> None:
    """The order waits beside the queue, looks now and then, and tells what the source then remembers."""
    library = Library(docs())
    library.report = None
    sources = over(library, journal)
    assert "part by part" in await said(sources, order(what, address="https://docs.example/"))
    library.parts = [Progress("docs", 3, 12, now())]
    (watch,) = library.ordered
    assert await sources.done(watch) is None
    assert (library.ordered[-1].looks, library.ordered[-1].key) == (1, "source:1.2.3:told:1")
    assert "3 of 12 parts done" in str(await sources.carry_out(command("list"), ["list"]))
    library.parts = []
    synced_at = now() + timedelta(seconds=1)
    library.kept["docs"] = docs(synced_at=synced_at, last_report=LastReport.of(REPORT))
    told = await said(sources, library.ordered[-1])
    assert "2 added" in told and "a.md: is empty (0 bytes)" in told


async def test_an_addition_that_is_delivered_again_goes_on_to_its_telling(journal: Journal) -> None:
    """Its worker was killed when the parts were listed and before anybody was to tell how they end."""
    library = Library(docs())
    library.report, library.parts = None, [Progress("docs", 0, 12, now())]
    assert "part by part" in await said(over(library, journal), order("add", address="https://docs.example/"))
    assert [one.what for one in library.ordered] == ["tell"]


@pytest.mark.parametrize("there", [[], [docs()], [docs(synced_at=now())]])
async def test_a_new_source_that_cannot_be_read_does_not_stay(journal: Journal, there: list[Source]) -> None:
    """Also where it was remembered by an attempt that was broken off; what was there before stays."""
    library = Unreadable(*there)
    add = order("add", address="https://docs.example/")
    with pytest.raises(TryAgain):
        await over(library, journal).done(add)
    assert "Nothing is there" in await said(over(library, journal), add)
    assert list(library.kept.values()) == there


async def test_what_was_just_removed_while_it_was_read_is_not_added_yet(journal: Journal) -> None:
    """Of the parts that were read before nothing is left: the next reading is to be one from the beginning."""
    library = Library()
    library.parts = [Progress("docs", 3, 12, now())]
    assert "being read in parts" in await said(over(library, journal), order("add", address="https://docs.example/"))
    assert library.added == []


async def test_a_reading_that_was_broken_off_is_told_as_that(journal: Journal) -> None:
    """What an earlier sync did is not given for its result."""
    synced_at = now() - timedelta(hours=1)
    sources = over(Library(docs(synced_at=synced_at, last_report=LastReport.of(REPORT))), journal)
    assert "not read to its end" in await said(sources, order("tell"))


async def test_a_reading_that_is_begun_anew_is_told_of_at_its_end(journal: Journal) -> None:
    """Its round is gone, as where the source was moved; the next one waits, or is being listed."""
    library = Library(docs())
    library.waiting = {"docs"}
    sources = over(library, journal)
    assert await sources.done(order("tell")) is None
    (later,) = library.ordered
    library.waiting, library.kept["docs"] = set(), docs(synced_at=now(), last_report=LastReport.of(REPORT))
    assert "2 added" in await said(sources, later)


async def test_a_name_that_looks_like_something_secret_can_be_typed(journal: Journal) -> None:
    """The command was redacted on its way; what is left of the name finds its source."""
    library = Library(docs(name="192.0.2.7:8080"))
    await over(library, journal).carry_out(command("sync ⟨ip 1⟩:8080"), ["sync", "⟨ip", "1⟩:8080"])
    assert [one.name for one in library.ordered] == ["192.0.2.7:8080"]


async def test_many_sources_and_many_failures_fit_into_a_message(journal: Journal) -> None:
    """Slack refuses more than 50 blocks, and sections above 3,000 characters; what is left out is counted."""
    failed = tuple(SourceFailure(source=f"{number}.md", reason="<!channel> " * 60) for number in range(2_000))
    report = IngestReport(failed=failed)
    every = [docs(name=f"{number:04}", last_report=LastReport.of(report)) for number in range(1_000)]
    library = Library(*every)
    library.report = report
    sources = over(library, journal)
    for text, shown in (
        await sources.carry_out(command(""), []),
        await sources.done(order("sync", "0001")) or ("", None),
    ):
        assert shown and len(shown) <= BLOCKS_LIMIT and len(text) <= SECTION_LIMIT
        assert all(len(str(one)) <= SECTION_LIMIT + 200 for one in shown)
        assert "more" in str(shown[-1]) and "<!channel>" not in str(shown)
