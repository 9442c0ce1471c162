"""A worker that does nothing but sync, for tests that kill some of several: `python -m tests.reading_worker JSON`. It
notes in a file when it embeds, and what it reports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from bot.journal import Journal
from bot.memory import open_redis
from bot.rounds import Rounds
from bot.schedule import Schedule
from bot.spreading import Spreading
from bot.worker import open_queue
from retrieval import ingesting
from retrieval.index import Index, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from retrieval.sources import Access
from tests.hashing_embedder import HashingEmbedder
from tests.nouns import TEAM

REDELIVERY_S = 2


class SleepyEmbedder(HashingEmbedder):
    """Takes its time, and notes when."""

    def __init__(self, notes: Path, sleep_s: float) -> None:
        super().__init__()
        self._notes, self._sleep_s = notes, sleep_s

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        began = time.monotonic()  # one clock for all processes
        note(self._notes, event="begun", at=began)
        time.sleep(self._sleep_s)
        note(self._notes, event="embedded", began=began, ended=time.monotonic())
        return super().embed_passages(texts)


def note(file: Path, **fields: Any) -> None:
    """Adds a line, whole, whoever else writes."""
    line = json.dumps({"pid": os.getpid(), **fields}, default=str) + "\n"
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, line.encode())
    os.close(out)


def open_library(folder: Path, weaviate: dict[str, str | None] | None, sleep_s: float = 0) -> Library:
    """Opens the library of a test, over a folder that every worker sees."""
    embedder = SleepyEmbedder(folder / "notes", sleep_s)
    form = form_of(embedder.id, "test")
    index: Index = EmbeddedIndex(folder / "library", form, embedder.dimensions, 0.5)
    if weaviate:
        from retrieval.index_weaviate import WeaviateIndex
        from retrieval.weaviate_connection import Connection

        index = WeaviateIndex(Connection(**weaviate), form, embedder.dimensions, 0.5)  # type: ignore[arg-type]
    access = Access(shared_folders=frozenset({folder}))
    return Library(index, embedder, form, threshold=0.75, model="hashing", access=access)


async def main(redis_url: str, folder: str, part: int, sleep_s: float, weaviate: dict[str, str | None] | None) -> None:
    """Works until it is killed."""
    notes = Path(folder) / "notes"

    def keep_note(logger: Any, method: str, event: Any) -> Any:
        note(notes, **event)
        raise structlog.DropEvent

    structlog.configure(processors=[keep_note])
    ingesting.PART = part
    library = open_library(Path(folder), weaviate, sleep_s)
    async with open_redis(redis_url, Path(folder)) as memory:
        journal = Journal(memory.redis, TEAM)
        async with (
            open_queue(memory.docket_url, journal) as queue,
            open_queue(memory.docket_url, journal, "parts") as hands,
        ):

            async def nothing() -> None:
                """There are no examples here."""

            async def none_due() -> list[str]:
                return []

            spreading = Spreading(queue, hands, Rounds(memory.redis, TEAM), library, nothing)
            schedule = Schedule(queue, none_due, spreading.sync)
            duties = {**schedule.duties, **spreading.duties}
            note(notes, event="ready")
            await asyncio.gather(
                queue.work(duties, concurrency=4, redelivery_timeout_s=REDELIVERY_S),
                hands.work(spreading.part_duties, concurrency=1, redelivery_timeout_s=REDELIVERY_S),
            )


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
