"""Several workers read one source, and are killed while they do: what one began, another ends."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.journal import Journal
from bot.memory import Memory
from bot.schedule import order
from bot.worker import open_queue
from tests.nouns import TEAM
from tests.reading_worker import open_library
from tests.small_library import eventually
from tests.weaviate_server import SKIP_REASON, is_available, running

ROOT = Path(__file__).parents[2]
PART = 5
Where = dict[str, Any] | None
"""How a Weaviate is reached; nothing for the embedded index."""


@pytest.fixture(params=["embedded", pytest.param("weaviate", marks=pytest.mark.weaviate)])
def weaviate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    """Each of the two indexes in turn."""
    if request.param == "embedded":
        yield None
        return
    if not is_available():
        pytest.skip(SKIP_REASON)
    with running(tmp_path_factory.mktemp("weaviate")) as server:
        yield {"url": server.url, "grpc_url": server.grpc_url, "key": server.key}


@dataclass
class Crew:
    """Workers on one folder, which are processes."""

    memory_url: str
    folder: Path
    weaviate: Where
    sleep_s: float
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def hire(self) -> None:
        """Starts one more."""
        told = {"redis_url": self.memory_url, "folder": str(self.folder), "part": PART, "sleep_s": self.sleep_s}
        words = json.dumps({**told, "weaviate": self.weaviate})
        command = [sys.executable, "-m", "tests.reading_worker", words]
        self.workers.append(await asyncio.create_subprocess_exec(*command, cwd=ROOT))

    async def kill(self, pid: int) -> None:
        """Kills one, as a platform does."""
        (worker,) = (one for one in self.workers if one.pid == pid)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        self.workers.remove(worker)

    def notes(self, event: str) -> list[dict[str, Any]]:
        """What they noted of one kind, in order."""
        file = self.folder / "notes"
        lines = file.read_text().splitlines() if file.exists() else []
        return [found for found in map(json.loads, lines) if found["event"] == event]

    async def are_ready(self) -> bool:
        return len(self.notes("ready")) >= len(self.workers)

    async def reported(self) -> bool:
        return bool(self.notes("source_synced"))


@asynccontextmanager
async def crew(memory_url: str, folder: Path, weaviate: Where, sleep_s: float) -> AsyncIterator[Crew]:
    made = Crew(memory_url, folder, weaviate, sleep_s)
    try:
        yield made
    finally:
        for worker in list(made.workers):
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()


async def write(folder: Path, weaviate: Where, count: int) -> None:
    """Makes a source that holds a page to stay, one to go, and many to come."""
    docs = folder / "docs"
    docs.mkdir()
    for name in ("000", "gone"):
        (docs / f"{name}.md").write_text(f"Text {name}.")
    library = open_library(folder, weaviate)
    await library.ingest(TEAM, docs)
    await library.close()
    (folder / "notes").unlink()
    (docs / "gone.md").unlink()
    for number in range(1, count):
        (docs / f"{number:03}.md").write_text(f"Text {number}.")


async def order_sync(memory: Memory) -> None:
    async with open_queue(memory.docket_url, Journal(memory.redis, TEAM)) as queue:
        await order(queue, "docs")


async def held(folder: Path, weaviate: Where) -> tuple[set[str], int]:
    """The documents that are in, and the passages that are said to be."""
    library = open_library(folder, weaviate)
    try:
        status = await library.status(TEAM)
        (source,) = await library.sources(TEAM)
        assert (source.documents, source.passages) == (status.documents, status.passages)
        return set(await library._index.digests(TEAM, "docs")), status.passages
    finally:
        await library.close()


async def test_workers_read_at_the_same_time(memory: Memory, memory_url: str, tmp_path: Path, weaviate: Where) -> None:
    """Two workers embed parts of one source side by side: more workers, more throughput."""
    await write(tmp_path, weaviate, 40)
    async with crew(memory_url, tmp_path, weaviate, sleep_s=0.6) as workers:
        await workers.hire()
        await workers.hire()
        await eventually(workers.are_ready, within_s=60)
        await order_sync(memory)
        await eventually(workers.reported, within_s=60)
    spans = [(one["began"], one["ended"], one["pid"]) for one in workers.notes("embedded")]
    pids = {pid for *_, pid in spans}
    assert len(pids) == 2
    side_by_side = [
        (first, second)
        for first in spans
        for second in spans
        if first[2] < second[2] and max(first[0], second[0]) < min(first[1], second[1])
    ]
    assert len(side_by_side) >= 2
    assert (await held(tmp_path, weaviate))[0] == {f"{number:03}" for number in range(40)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.nightly)])
async def test_kills_over_the_parts_leave_the_right_documents_and_one_report(
    memory: Memory, memory_url: str, tmp_path: Path, weaviate: Where, kills: int
) -> None:
    """A worker is killed while it embeds, again and again: in the end every page is in once, what is gone is out, and
    one report was made."""
    draw = random.Random(5)
    count = 30 * kills if kills < 5 else 10 * kills
    await write(tmp_path, weaviate, count)
    await order_sync(memory)
    async with crew(memory_url, tmp_path, weaviate, sleep_s=0.2) as workers:
        for _ in range(2):
            await workers.hire()
        for _ in range(kills):
            seen = len(workers.notes("begun"))

            async def is_at_it(seen: int = seen) -> int:
                new = [one["pid"] for one in workers.notes("begun")[seen:]]
                return next((pid for pid in new if pid in {one.pid for one in workers.workers}), 0)

            pid = await eventually(is_at_it, within_s=60)
            await asyncio.sleep(draw.uniform(0, 0.3))  # in the middle of it, or of storing
            await workers.kill(pid)
            await workers.hire()
        await eventually(workers.reported, within_s=120)
    reports = workers.notes("source_synced")
    assert len(reports) == 1
    assert (reports[0]["removed"], reports[0]["failed"]) == (1, 0)
    # What a killed worker had noted and not stored is a change to the next one.
    assert sum(reports[0][fate] for fate in ("added", "changed", "unchanged")) == count
    ids, passages = await held(tmp_path, weaviate)
    assert ids == {f"{number:03}" for number in range(count)} and passages == count
    assert not [key async for key in memory.redis.scan_iter("footnote:*:sync:*")]
