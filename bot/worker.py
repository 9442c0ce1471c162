"""The docket tasks: durable jobs that survive any process. There is one kind of task, a job; what a job of each kind
does is its duty. `web` only adds jobs; `worker` has the duties and does them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog
from redis.exceptions import RedisError

from bot.errors import Broken, TryAgain
from bot.journal import Failure, Journal, now
from bot.log import cause_of, trouble

if TYPE_CHECKING:
    from docket import Docket

ATTEMPTS = 9
"""With delays that double, up to about eight minutes: what is outside often comes back within that time."""
FIRST_DELAY_S = 2
KILLS = 7
"""A job may be unlucky in several restarts before it is suspected of killing its worker."""

log = structlog.get_logger()


class Run(Protocol):
    """Does a job, given its payload (JSON)."""

    async def __call__(self, payload: str, /) -> None: ...


@dataclass(frozen=True)
class Duty:
    """What a kind of job does; and the kind of job, given the same payload, that tells people when it was in vain."""

    run: Run
    apology: str | None = None


@dataclass(frozen=True)
class Job:
    """One thing to do."""

    kind: str
    payload: str
    thread: str
    key: str


@dataclass(frozen=True)
class Backlog:
    """How much work there is."""

    waiting: int
    running: int
    workers: int


class Queue:
    """Where jobs wait. Jobs of one `thread` are done one at a time."""

    def __init__(self, docket: Docket, journal: Journal) -> None:
        from docket import ConcurrencyLimit, CurrentExecution, Execution, Retry

        self._docket = docket
        self._journal = journal
        self._duties: Mapping[str, Duty] = {}

        async def job(
            kind: str,
            payload: str,
            thread: str,
            one_at_a_time: ConcurrencyLimit = ConcurrencyLimit("thread", 1),
            retry: Retry = Retry(attempts=ATTEMPTS),
            execution: Execution = CurrentExecution(),
        ) -> None:
            if not await self._do(Job(kind, payload, thread, execution.key), retry.attempt):
                retry.after(timedelta(seconds=FIRST_DELAY_S * 2 ** (retry.attempt - 1)))

        docket.register(job)

    async def add(
        self, kind: str, payload: str, *, key: str, thread: str, after_s: float = 0, again: bool = False
    ) -> None:
        """Adds a job unless one with this key is waiting or running; it is begun after `after_s` seconds at the
        earliest. With `again` it is done once more behind one that runs. It is durable when this returns.

        Raises TryAgain when Redis does not take it.
        """
        from docket.execution import Disposition, ExecutionState

        try:
            when = datetime.now(UTC) + timedelta(seconds=after_s) if after_s else None
            there = await self._docket.add("job", when=when, key=key)(kind, payload, thread)
            if not again or there.disposition is not Disposition.ALREADY_SCHEDULED:
                return
            await there.sync()
        except (RedisError, OSError) as error:
            raise TryAgain(f"the queue does not take jobs: {type(error).__name__}") from error
        if there.state not in (ExecutionState.SCHEDULED, ExecutionState.QUEUED):
            await self.add(kind, payload, key=_again(key), thread=thread, after_s=after_s)

    async def has(self, key: str) -> bool:
        """Whether a job with this key is waiting or running, or one behind it. Raises TryAgain when Redis does not
        answer."""
        from docket.execution import ExecutionState

        try:
            found = [await self._docket.get_execution(one) for one in (key, _again(key))]
        except (RedisError, OSError) as error:
            raise TryAgain(f"the queue does not answer: {type(error).__name__}") from error
        is_on = (ExecutionState.SCHEDULED, ExecutionState.QUEUED, ExecutionState.RUNNING)
        return any(one is not None and one.state in is_on for one in found)

    async def backlog(self) -> Backlog:
        """Counts the jobs."""
        snapshot = await self._docket.snapshot()
        running = len(snapshot.running)
        # `future` lacks a job that is just becoming due, and whatever is beyond the first thousand.
        return Backlog(snapshot.total_tasks - running, running, len(snapshot.workers))

    async def work(self, duties: Mapping[str, Duty], *, concurrency: int, redelivery_timeout_s: float) -> None:
        """Does jobs until it is cancelled; then ends those that are running and returns."""
        from docket import Worker

        self._duties = duties
        async with Worker(
            self._docket,
            concurrency=concurrency,
            redelivery_timeout=timedelta(seconds=redelivery_timeout_s),
            reconnection_delay=timedelta(seconds=1),
            minimum_check_interval=timedelta(milliseconds=50),
        ) as worker:
            running = asyncio.create_task(worker.run_forever())
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                raise

    async def _do(self, job: Job, attempt: int) -> bool:
        """Does a job, or gives it up; false when it is to be tried again."""
        # A job that kills its worker never raises, so beginnings are counted, too.
        begun = await self._journal.attempt(job.key)
        try:
            if begun - attempt > KILLS:
                raise Broken(f"begun {begun} times and never ended")
            await self._duties[job.kind].run(job.payload)
            await self._journal.ended(job.key)
        except TryAgain as error:
            log.warning("job_failed", kind=job.kind, key=job.key, attempt=attempt, cause=cause_of(error))
            if attempt < ATTEMPTS:
                return False
            await self._give_up(job, error)
        except Exception as error:  # the worker's loop: one poisoned job must not stop the others
            await self._give_up(job, error)
        return True

    async def _give_up(self, job: Job, error: Exception) -> None:
        log.error("job_given_up", kind=job.kind, key=job.key, **trouble(error))
        duty = self._duties.get(job.kind)
        if duty and duty.apology:
            await self.add(duty.apology, job.payload, key=f"{job.key}#apology", thread=job.thread)
        failure = Failure(kind=job.kind, payload=job.payload, cause=cause_of(error), at=now())
        await self._journal.give_up(failure)
        await self._journal.ended(job.key)


def _again(key: str) -> str:
    return f"{key}#again"


@asynccontextmanager
async def open_queue(redis_url: str, journal: Journal, name: str = "") -> AsyncIterator[Queue]:
    """Opens the queue of the journal's team; one with a name is another queue, for work that nobody waits for."""
    from docket import Docket

    async with Docket(name=f"footnote-{journal.team_id}{name and f'-{name}'}", url=redis_url) as docket:
        yield Queue(docket, journal)
