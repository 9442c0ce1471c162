"""Sources that are synced by themselves. Every worker looks now and then which are due, and queues them; the queue sees
to it that one source is synced by one worker at a time, and that a killed worker's sync is taken up by another. Large
sources are read by all workers together (`bot.spreading`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import structlog

from bot.errors import TellUser, TryAgain
from bot.source_words import without_secrets
from bot.vocabulary import IngestReport
from bot.worker import Duty, Queue

LOOK_S = 60
"""Seconds between two looks."""
NAMED_IN_LOG = 50

log = structlog.get_logger()


class Schedule:
    """The duty of syncing, and the looks."""

    def __init__(
        self,
        queue: Queue,
        due: Callable[[], Awaitable[list[str]]],
        sync: Callable[[str], Awaitable[IngestReport | None]],
        look_s: float = LOOK_S,
    ) -> None:
        """`sync` gives no report of a source that goes on being read."""
        self._queue, self._due, self._sync, self._look_s = queue, due, sync, look_s

    @property
    def duties(self) -> Mapping[str, Duty]:
        """The duty of each kind of job."""
        return {"sync": Duty(self.sync)}

    async def sync(self, name: str) -> None:
        """Syncs a source. One that cannot be read now is tried again when it is due again."""
        try:
            report = await self._sync(name)
        except TellUser as error:
            log.warning("source_not_read", source=name, cause=without_secrets(str(error)))
            return
        if report:
            log_report(name, report)

    async def look(self) -> None:
        """Queues what is due."""
        for name in await self._due():
            await order(self._queue, name)

    async def keep(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            try:
                await self.look()
            except TryAgain as error:
                log.warning("schedule_not_kept", cause=str(error), again_in_s=self._look_s)
            await asyncio.sleep(self._look_s)


async def order(queue: Queue, name: str) -> None:
    """Queues the sync of a source, unless it waits already: one that runs may be past what has changed since."""
    await queue.add("sync", name, key=_key(name), thread=f"source:{quote(name, safe='')}", again=True)


async def is_ordered(queue: Queue, name: str) -> bool:
    """Whether a sync of a source waits or runs."""
    return await queue.has(_key(name))


def _key(name: str) -> str:
    return f"sync:{quote(name, safe='')}"


def log_report(name: str, report: IngestReport) -> None:
    """Logs what a sync did."""
    log.info("source_synced", source=name, **report.model_dump(exclude={"failed"}), failed=len(report.failed))
    for failure in report.failed[:NAMED_IN_LOG]:
        place, reason = without_secrets(failure.source), without_secrets(failure.reason)
        log.warning("document_not_read", source=name, place=place, reason=reason)
    if report.has_emptied:
        log.warning("source_emptied", source=name, removed=report.removed_ids[:NAMED_IN_LOG])
