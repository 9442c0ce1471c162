"""Large sources, read in parts by all workers: on a real queue, with a real library."""

from __future__ import annotations

import asyncio
import pkgutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot import worker
from bot.errors import LibraryUnavailable, TellUser, TryAgain
from bot.journal import Journal
from bot.memory import Memory
from bot.rounds import Rounds
from bot.schedule import Schedule, order
from bot.spreading import Spreading
from bot.vocabulary import Question
from bot.worker import Queue, open_queue
from retrieval import ingesting
from retrieval.index import Page, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from retrieval.sources import Access
from tests.bad_files import write_all
from tests.hashing_embedder import HashingEmbedder
from tests.nouns import TEAM
from tests.small_library import eventually
from tests.web_site import Page as WebPage
from tests.web_site import article, running

Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def small_and_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five documents, and no long waits before what failed is tried again."""
    monkeypatch.setattr(ingesting, "PART", 5)
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(worker, "ATTEMPTS", 3)


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


@pytest.fixture
def rounds(memory: Memory) -> Rounds:
    return Rounds(memory.redis, TEAM)


class FlakyIndex(EmbeddedIndex):
    """The embedded index, out of order for what holds a word."""

    refuses = ""

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        if self.refuses and any(self.refuses in passage.text for page in pages for passage in page.passages):
            raise LibraryUnavailable("gone")
        return await super().put(team_id, pages)


class Bot:
    """A library over a folder that every worker sees, and its workers."""

    def __init__(self, folder: Path, journal: Journal, rounds: Rounds, queues: tuple[Queue, Queue]) -> None:
        self.docs = folder / "docs"
        self.docs.mkdir()
        embedder = HashingEmbedder()
        form = form_of(embedder.id, "test")
        self.index = FlakyIndex(folder / "library", form, embedder.dimensions, 0.5)
        access = Access(shared_folders=frozenset({folder}), stamps=folder / "stamps")
        self.library = Library(self.index, embedder, form, threshold=0.75, model="hashing", access=access)
        self.journal, self.rounds, (self.queue, self.hands) = journal, rounds, queues
        self.followed = 0
        self.spreading = Spreading(self.queue, self.hands, rounds, self.library, self._follow)

    def write(self, *numbers: int, words: str = "Text") -> None:
        """Writes pages by number."""
        for number in numbers:
            (self.docs / f"{number:03}.md").write_text(f"{words} {number}.")

    async def add(self) -> None:
        """Makes the folder a source by its first page."""
        self.write(0)
        await self.library.ingest(TEAM, self.docs)

    async def order(self) -> None:
        await order(self.queue, "docs")

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Logs]:
        """A worker that does everything; gives what it logs."""
        schedule = Schedule(self.queue, self._nothing, self.spreading.sync)
        duties = {**schedule.duties, **self.spreading.duties}
        with capture_logs() as logs:
            tasks = [
                asyncio.create_task(self.queue.work(duties, concurrency=4, redelivery_timeout_s=2)),
                asyncio.create_task(self.hands.work(self.spreading.part_duties, concurrency=2, redelivery_timeout_s=2)),
            ]
            try:
                yield logs
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def held(self) -> set[str]:
        """The documents that are in."""
        return set(await self.index.digests(TEAM, "docs"))

    async def _follow(self) -> None:
        self.followed += 1

    async def _nothing(self) -> list[str]:
        return []


@pytest.fixture
async def bot(memory: Memory, journal: Journal, rounds: Rounds, tmp_path: Path) -> AsyncIterator[Bot]:
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(open_queue(memory.docket_url, journal))
        hands = await stack.enter_async_context(open_queue(memory.docket_url, journal, "parts"))
        made = Bot(tmp_path, journal, rounds, (queue, hands))
        stack.push_async_callback(made.library.close)
        yield made


def reported(logs: Logs, count: int = 1) -> Callable[[], Awaitable[Logs]]:
    """Looks for reports in the log."""

    async def look() -> Logs:
        found = [line for line in logs if line["event"] == "source_synced"]
        return found if len(found) >= count else []

    return look


def names(numbers: range) -> set[str]:
    return {f"{number:03}" for number in numbers}


async def test_a_large_source_is_read_in_parts_and_reported_once(bot: Bot, memory: Memory) -> None:
    """What is new, changed and gone, over all parts, is one report; of the round nothing is left."""
    await bot.add()
    bot.write(*range(1, 23))
    async with bot.working() as logs:
        await bot.order()
        (first,) = await eventually(reported(logs))
        (bot.docs / "007.md").unlink()
        bot.write(3, words="New text")
        await bot.order()
        _, second = await eventually(reported(logs, 2))
    assert [line["parts"] for line in logs if line["event"] == "source_spread"] == [5, 5]
    assert (first["added"], first["unchanged"], first["removed"], first["failed"]) == (22, 1, 0, 0)
    assert (second["added"], second["changed"], second["unchanged"], second["removed"]) == (0, 1, 21, 1)
    assert await bot.held() == names(range(23)) - {"007"}
    (source,) = await bot.library.sources(TEAM)
    assert source.documents == 22 and source.last_report and source.last_report.removed == 1
    assert bot.followed == 2
    assert not [key async for key in memory.redis.scan_iter("footnote:*:sync:*")]


async def test_a_small_source_is_one_job(bot: Bot, memory: Memory) -> None:
    """What fits into one part is synced where it was listed, and the memory hears nothing of it."""
    await bot.add()
    bot.write(*range(1, 5))
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs))
    assert report["added"] == 4
    assert not [line for line in logs if line["event"] in ("source_spread", "part_read")]


async def test_a_folder_that_only_this_machine_has_is_one_job(bot: Bot, tmp_path: Path) -> None:
    """Another worker would find nothing there, and take everything for deleted."""
    await bot.add()
    bot.write(*range(1, 23))
    bot.library._access = Access()
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs))
    assert report["added"] == 22
    assert not [line for line in logs if line["event"] == "source_spread"]


async def test_a_sync_while_parts_are_read_does_not_begin_anew(bot: Bot) -> None:
    """The round goes on; nothing is listed or reported twice."""
    await bot.add()
    bot.write(*range(1, 23))
    assert await bot.spreading.sync("docs") is None
    before = await bot.rounds.current("docs")
    assert await bot.spreading.sync("docs") is None
    assert before and await bot.rounds.current("docs") == before
    async with bot.working() as logs:
        await bot.order()
        await eventually(reported(logs))
    assert Counter(line["event"] for line in logs)["source_spread"] == 0
    assert len([line for line in logs if line["event"] == "part_read"]) == 5
    assert await bot.held() == names(range(23))


async def test_two_that_list_at_a_time_open_one_round(bot: Bot, memory: Memory) -> None:
    """As when a worker that was slow was taken for dead: the first to be done stands, and of the other nothing does."""
    await bot.add()
    bot.write(*range(1, 23))
    await asyncio.gather(bot.spreading.sync("docs"), bot.spreading.sync("docs"))
    current = await bot.rounds.current("docs")
    assert current
    keys = [key async for key in memory.redis.scan_iter("footnote:*:sync:docs:*")]
    assert keys and all(current.id in key for key in keys)
    async with bot.working() as logs:
        await eventually(reported(logs))
    assert len([line for line in logs if line["event"] == "part_read"]) == 5


async def test_a_round_that_another_release_wrote_is_begun_anew(bot: Bot, memory: Memory) -> None:
    """A deploy in the middle of a round must not keep the source from ever being read again."""
    await bot.add()
    bot.write(*range(1, 23))
    await memory.redis.set(f"footnote:{TEAM}:sync:docs", '{"id": "r", "name": "docs", "then": "otherwise"}')
    assert await bot.rounds.progress() == []
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs))
    assert report["added"] == 22


async def test_how_far_a_round_is_can_be_seen(bot: Bot) -> None:
    """For whoever asks how the sources stand, whatever the source is called."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.library.ingest(TEAM, bot.docs, name="our docs: new")
    await bot.spreading.sync("our docs: new")
    (one,) = await bot.rounds.progress()
    assert (one.name, one.done, one.parts) == ("our docs: new", 0, 5)
    assert await bot.rounds.progress_of("our docs: new") == one and await bot.rounds.progress_of("docs") is None


async def test_to_see_how_far_rounds_are_nobody_looks_through_the_memory(
    bot: Bot, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked every ten seconds for each source, and holds a million other things; what expired is not shown."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    monkeypatch.setattr(type(memory.redis), "scan", None)
    assert [one.name for one in await bot.rounds.progress()] == ["docs"]
    await memory.redis.unlink(f"footnote:{TEAM}:sync:docs")
    assert await bot.rounds.progress() == []


async def test_a_part_of_an_earlier_round_is_not_read(bot: Bot) -> None:
    """Its round was given up: it ends without a word."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    current = await bot.rounds.current("docs")
    assert current
    await bot.rounds.forget("docs", current.id)
    async with bot.working() as logs:
        await eventually(lambda: idle(bot.hands))
    assert await bot.held() == {"000"}
    assert not [line for line in logs if line["event"] == "part_read"]


async def test_a_part_that_cannot_be_read_takes_nothing_away(bot: Bot) -> None:
    """After all attempts it is one line in the report and a dead letter; the other parts are in, and what it holds, and
    what is gone elsewhere, stays."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.library.sync(TEAM, "docs")
    bot.write(8, words="Poisoned text")
    bot.write(20, words="New text")
    (bot.docs / "011.md").unlink()
    bot.index.refuses = "Poisoned"
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs), within_s=30)
    assert (report["changed"], report["removed"], report["failed"]) == (1, 0, 1)
    assert [line["reason"] for line in logs if line["event"] == "document_not_read"] == [
        "part 2 of 5 could not be read: see the worker's log"
    ]
    assert await bot.held() == names(range(23))
    assert [failure.kind for failure in await bot.journal.failures()] == ["sync-part"]
    bot.index.refuses = ""
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs))
    assert (report["changed"], report["removed"], report["failed"]) == (1, 1, 0)


async def test_a_worker_without_the_folder_takes_nothing_for_deleted(bot: Bot, tmp_path: Path) -> None:
    """Where a mount is missing, the folder is empty: its parts are left to others, and nothing is taken out."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.library.sync(TEAM, "docs")
    await bot.spreading.sync("docs")
    bot.docs.rename(tmp_path / "elsewhere")
    bot.docs.mkdir()
    async with bot.working() as logs:
        (report,) = await eventually(reported(logs), within_s=30)
    assert (report["removed"], report["failed"]) == (0, 5)
    assert await bot.held() == names(range(23))


async def test_a_listing_that_breaks_off_changes_nothing(
    bot: Bot, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are parts of it read, nor does anything of it stay in the memory."""
    await bot.add()
    bot.write(*range(1, 23))
    keep = Rounds.keep

    async def break_off(rounds: Rounds, name: str, id: str, number: int, page: str) -> None:
        if number == 2:
            raise TellUser("The disk is gone.")
        await keep(rounds, name, id, number, page)

    monkeypatch.setattr(Rounds, "keep", break_off)
    with pytest.raises(TellUser):
        await bot.spreading.sync("docs")
    assert not [key async for key in memory.redis.scan_iter("footnote:*:sync:*")]
    assert await bot.held() == {"000"}


async def test_a_source_that_is_removed_while_it_is_read_does_not_come_back(bot: Bot) -> None:
    """What a part brings afterwards goes again, and the round ends."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    await bot.library.remove(TEAM, "docs")
    async with bot.working() as logs:
        await eventually(lambda: saw(logs, "round_ended"))
        await eventually(lambda: saw(logs, "source_not_read"))
    assert await bot.held() == set()
    assert await bot.library.sources(TEAM) == []


async def test_what_another_sync_brought_meanwhile_stays(bot: Bot) -> None:
    """An operator syncs in the shell while a round is on: pages that its listing does not know are not taken out."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    bot.write(30)
    await bot.library.sync(TEAM, "docs")
    async with bot.working() as logs:
        (report,) = await eventually(reported(logs))
    assert report["removed"] == 0
    assert await bot.held() == names(range(23)) | {"030"}


async def test_a_source_that_is_elsewhere_now_is_listed_anew(bot: Bot, tmp_path: Path) -> None:
    """What was listed at its old address says nothing about the new one."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    other = tmp_path / "other"
    other.mkdir()
    (other / "100.md").write_text("Text 100.")
    await bot.library.ingest(TEAM, other, name="docs")
    async with bot.working() as logs:
        await eventually(reported(logs))
    assert await bot.held() == {"100"}


async def test_a_source_that_is_for_others_now_is_read_anew(bot: Bot) -> None:
    """Parts that were read before the audience was narrowed must not stay for everybody."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    current = await bot.rounds.current("docs")
    assert current
    await bot.library.parts.part(TEAM, "docs", current.listing, await bot.rounds.page(current, 0))
    await bot.library.register(TEAM, bot.docs, audience="channel:C1")
    async with bot.working() as logs:
        await eventually(reported(logs))
    question = Question(id="q", team_id=TEAM, text="text", readable=frozenset({"workspace"}))
    assert (await bot.library.find(question, k=50)).hits == ()
    inside = question.model_copy(update={"readable": frozenset({"channel:C1"})})
    assert len((await bot.library.find(inside, k=50)).hits) == 23


@pytest.mark.parametrize(("lost", "vain"), [("bot.spreading.order", 2), ("bot.rounds.Rounds.forget", 1)])
async def test_a_round_that_is_begun_anew_is_not_forgotten_on_the_way(
    bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, vain: int
) -> None:
    """Before the new sync is ordered (by both that read a part), or after the old round is gone: wherever a worker is
    killed between the two, the new sync comes."""
    await bot.add()
    bot.write(*range(1, 23))
    await bot.spreading.sync("docs")
    bot.docs.rename(tmp_path / "moved")
    await bot.library.register(TEAM, tmp_path / "moved", name="docs")
    does, times = pkgutil.resolve_name(lost), 0

    async def at_first_in_vain(*given: object) -> object:
        nonlocal times
        times += 1
        if times > vain:
            return await does(*given)
        if vain == 1:
            await does(*given)
        raise TryAgain("killed")

    monkeypatch.setattr(lost, at_first_in_vain)
    async with bot.working() as logs:
        (report,) = await eventually(reported(logs))
    assert report["added"] == 22 and times > vain
    assert await bot.held() == names(range(23))


async def test_a_round_that_cannot_be_ended_is_given_up(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a dead letter, and the next sync begins anew."""
    await bot.add()
    bot.write(*range(1, 23))

    async def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    async def is_given_up() -> bool:
        return bool(await bot.journal.failures()) and await bot.rounds.current("docs") is None

    with monkeypatch.context() as patch:
        patch.setattr(bot.index, "count", broken)
        async with bot.working():
            await bot.order()
            await eventually(is_given_up)
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs))
    assert report["unchanged"] == 23


async def test_a_document_that_stands_in_two_parts_is_reported_and_the_first_counts(bot: Bot) -> None:
    """As within one part: the second is named with the place of the first, whoever was stored last."""
    await bot.add()
    bot.write(*range(1, 23))
    (bot.docs / "021.txt").write_text("Other text 021.")
    (bot.docs / "0.jsonl").write_text('{"id": "021", "text": "Record text 021."}\n')
    for _ in range(2):
        async with bot.working() as logs:
            await bot.order()
            (report,) = await eventually(reported(logs))
        reasons = {line["place"]: line["reason"] for line in logs if line["event"] == "document_not_read"}
        said = "has the id “021”, which 0.jsonl:1 has already: each needs its own"
        assert reasons == {"021.md": said}  # the text file has an id of its own
        question = Question(id="q", team_id=TEAM, text="text 021", readable=frozenset({"workspace"}))
        hits = (await bot.library.find(question, k=50)).hits
        assert [hit.passage.text for hit in hits if hit.passage.document_id == "021"] == ["Record text 021."]
    assert report["added"] == 0


async def test_a_site_is_read_part_by_part_and_not_hurried(bot: Bot) -> None:
    """A site is read by one worker at a time, which knows what was learned when it was listed: where example.com leads
    to www.example.org, pages of that are the site's."""
    paths = [f"/{number:03}" for number in range(1, 13)]
    with running(paths) as site:
        address = f"http://localhost:{site.port}/map.xml"
        site.pages["/map.xml"] = WebPage(status=302, headers={"Location": f"{site.url}/sitemap.xml"})
        bot.library._access = Access(frozenset({"127.0.0.1", "localhost"}), pace_s=0)
        await bot.library.ingest(TEAM, address, name="site")
        site.put("/003", article("003", "Other words."))
        site.pages["/007"] = WebPage(b"Sorry.", status=500)
        site.put_map(*paths[:-1], at="/sitemap.xml")
        async with bot.working() as logs:
            await order(bot.queue, "site")
            (report,) = await eventually(reported(logs))
    assert [line["part"] for line in logs if line["event"] == "part_read"] == [1, 2, 3]
    assert (report["changed"], report["unchanged"], report["removed"], report["failed"]) == (1, 9, 1, 1)
    assert len(await bot.index.digests(TEAM, "site")) == 11


async def test_a_site_that_fails_again_and_again_is_left_alone_by_all(bot: Bot) -> None:
    """After ten failures in a row no further part of it is asked for, and nothing is taken for deleted."""
    paths = [f"/{number:03}" for number in range(1, 60)]
    with running(paths) as site:
        bot.library._access = Access(frozenset({"127.0.0.1"}), pace_s=0)
        await bot.library.ingest(TEAM, site.url, name="site")
        for path in paths:
            site.pages[path] = WebPage(b"Sorry.", status=500)
        before = sum(site.asked.values())
        ingesting.PART = 20
        async with bot.working() as logs:
            await order(bot.queue, "site")
            (report,) = await eventually(reported(logs), within_s=30)
        assert sum(site.asked.values()) - before < 60
    assert report["removed"] == 0 and report["failed"] < 25
    assert len(await bot.index.digests(TEAM, "site")) == 59


async def test_everything_bad_is_one_line_each_in_parts_too(bot: Bot) -> None:
    """Encrypted, cut off, lying, enormous, twice the same id: the same reasons as in one go, and the good ones are
    found."""
    await bot.add()
    wanted = write_all(bot.docs)
    for name in ("deep.html", "pdf-bomb.pdf"):  # these take long, and are the same in parts
        (bot.docs / name).unlink()
        wanted.pop(name, None)
    async with bot.working() as logs:
        await bot.order()
        (report,) = await eventually(reported(logs), within_s=60)
    told = {line["place"]: line["reason"] for line in logs if line["event"] == "document_not_read"}
    assert len(told) == report["failed"] and told.keys() == wanted.keys()
    for place, reason in wanted.items():
        assert reason in told[place], place
    question = Question(id="q", team_id=TEAM, text="says 1001 1002 1003", readable=frozenset({"workspace"}))
    found = "\n".join(hit.passage.text for hit in (await bot.library.find(question, k=50)).hits)
    assert all(str(number) in found for number in range(1001, 1008)) and "hiddenword" not in found


async def idle(queue: Queue) -> bool:
    backlog = await queue.backlog()
    return not backlog.waiting and not backlog.running


async def saw(logs: Logs, event: str) -> bool:
    return any(line["event"] == event for line in logs)
