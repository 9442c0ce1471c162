"""Sources that are synced by themselves: on a real queue, by workers that look often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.errors import LibraryUnavailable, TellUser
from bot.journal import Journal
from bot.memory import Memory
from bot.schedule import Schedule, is_ordered, log_report, order
from bot.vocabulary import IngestReport, Question, SourceFailure
from bot.worker import Queue, open_queue
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from tests.hashing_embedder import HashingEmbedder
from tests.nouns import TEAM
from tests.small_library import eventually


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


@pytest.fixture
async def queue(memory: Memory, journal: Journal) -> AsyncIterator[Queue]:
    async with open_queue(memory.docket_url, journal) as opened:
        yield opened


@asynccontextmanager
async def keeping(queue: Queue, schedule: Schedule) -> AsyncIterator[None]:
    """A worker that keeps a schedule."""
    looking = asyncio.create_task(schedule.keep())
    working = asyncio.create_task(queue.work(schedule.duties, concurrency=4, redelivery_timeout_s=2))
    try:
        yield
    finally:
        for task in (looking, working):
            task.cancel()
        await asyncio.gather(looking, working, return_exceptions=True)


class Syncing:
    """A library whose one source is due until it was synced often enough."""

    def __init__(self, times: int = 1, error: Exception | None = None) -> None:
        self.left, self.error = times, error
        self.synced = self.at_once = self.most_at_once = 0

    async def due(self) -> list[str]:
        return ["docs"] if self.left > 0 else []

    async def sync(self, name: str) -> IngestReport:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.1)
        self.at_once -= 1
        self.synced += 1
        self.left -= 1
        if self.error:
            raise self.error
        return IngestReport(added=1)

    async def is_done(self) -> bool:
        return self.left <= 0 and not self.at_once


async def test_what_changed_in_a_source_is_known_by_itself(queue: Queue, tmp_path: Path) -> None:
    """Nobody types a command: when its time has come, the source is synced, and the next question follows."""
    embedder = HashingEmbedder()
    form = form_of(embedder.id, "test")
    index = EmbeddedIndex(tmp_path / "library", form, embedder.dimensions, 0.5)
    library = Library(index, embedder, form, threshold=0.75, model="hashing")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "fee.md"
    page.write_text("The fee is 4711.")
    await library.ingest(TEAM, tmp_path / "docs", every_s=60)
    page.write_text("The fee is 4712.")
    (source,) = await library.sources(TEAM)
    await index.save_source(TEAM, source.model_copy(update={"tried_at": datetime.now(UTC) - timedelta(minutes=2)}))

    async def is_known() -> bool:
        question = Question(id="q", team_id=TEAM, text="the fee", readable=frozenset({"workspace"}))
        return "4712" in (await library.find(question)).hits[0].passage.text

    async def due() -> list[str]:
        return await library.due(TEAM)

    async def sync(name: str) -> IngestReport:
        return await library.sync(TEAM, name)

    async with keeping(queue, Schedule(queue, due, sync, look_s=0.05)):
        await eventually(is_known)
    assert await library.due(TEAM) == []
    await library.close()


async def test_several_workers_sync_a_source_one_at_a_time(memory: Memory, journal: Journal) -> None:
    """Each of them sees that it is due; the queue lets one do it."""
    syncing = Syncing(times=3)
    async with open_queue(memory.docket_url, journal) as one, open_queue(memory.docket_url, journal) as other:
        first = Schedule(one, syncing.due, syncing.sync, look_s=0.02)
        second = Schedule(other, syncing.due, syncing.sync, look_s=0.02)
        async with keeping(one, first), keeping(other, second):
            await eventually(syncing.is_done)
    assert syncing.most_at_once == 1


async def test_what_is_ordered_while_its_source_is_read_is_done_afterwards(queue: Queue) -> None:
    """The sync that runs may be past the page that has just changed; of orders that wait, one is enough."""
    may_end, synced = asyncio.Event(), 0

    async def sync(name: str) -> IngestReport:
        nonlocal synced
        synced += 1
        await may_end.wait()
        return IngestReport()

    async def begun() -> bool:
        return synced > 0

    async def is_idle() -> bool:
        backlog = await queue.backlog()
        return not backlog.waiting and not backlog.running

    assert not await is_ordered(queue, "docs")
    await order(queue, "docs")
    await order(queue, "docs")
    async with keeping(queue, Schedule(queue, Syncing(0).due, sync)):
        await eventually(begun)
        assert await is_ordered(queue, "docs")
        for _ in range(3):
            await order(queue, "docs")
        may_end.set()
        await eventually(is_idle)
    assert synced == 2 and not await is_ordered(queue, "docs")


async def test_a_source_that_cannot_be_read_is_no_dead_letter(queue: Queue, journal: Journal) -> None:
    """It is logged for the operator, and tried again when it is due again."""
    syncing = Syncing(error=TellUser("The disk is not there."))
    async with keeping(queue, Schedule(queue, syncing.due, syncing.sync, look_s=0.02)):
        await eventually(syncing.is_done)
    assert await journal.failures() == []


async def test_a_library_that_is_down_does_not_end_the_schedule(queue: Queue) -> None:
    """The looks go on, and the sync comes when it is back."""
    syncing = Syncing()
    looks = 0

    async def due() -> list[str]:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise LibraryUnavailable("gone")
        return await syncing.due()

    async with keeping(queue, Schedule(queue, due, syncing.sync, look_s=0.02)):
        await eventually(syncing.is_done)
    assert looks >= 3


async def test_no_secret_of_an_address_is_logged(queue: Queue) -> None:
    """An operator may have added one; the log has other readers."""
    address = "https://docs.example/a?token=Gr4nadilla"
    failed = IngestReport(failed=(SourceFailure(source=address, reason=f"leads to {address}"),))
    with capture_logs() as lines:
        log_report("docs", failed)
        await Schedule(queue, Syncing().due, Syncing(error=TellUser(f"{address} is not there.")).sync).sync("docs")
    assert "docs.example/a?token=…" in str(lines) and "Gr4nadilla" not in str(lines)
