"""What the worker does for tuning: it follows each tuning job to its end, in small jobs of the queue that add their own
next one. Several workers share one such chain, and a worker that starts takes up whatever was not finished."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from bot.errors import Broken, TellUser, TryAgain
from bot.journal import now
from bot.learning.tuning.jobs import Tuning
from bot.log import log
from bot.vocabulary import TuningJob
from bot.worker import Duty, Queue

News = Callable[[TuningJob], Awaitable[None]]

LOOK_S = 5.0
"""Between two looks at a job that has just begun."""
LOOK_AGAIN_S = 60.0
"""After a look at a tuner that was away."""
LOOK_SELDOM_S = 600.0
"""Between two looks at a job that runs for days, or that an operator must set going."""
PATIENCE = 0.02
"""Share of a job's age that passes between two looks."""
LONG_S = 86_400.0
"""After which a job is told of as one that may be stuck."""


class Following:
    """The duty `tune`, with what it needs; `news` is called with each job that has ended, cannot go on or may be stuck,
    perhaps more than once."""

    def __init__(self, tuning: Tuning, queue: Queue, news: News | None = None) -> None:
        self._tuning, self._queue, self._news = tuning, queue, news

    @property
    def duties(self) -> Mapping[str, Duty]:
        """The duty of each kind of job."""
        return {"tune": Duty(self.tune)}

    async def take_up(self) -> None:
        """Queues what is to be followed. Raises TryAgain when Redis is away."""
        for job in await self._tuning.unfinished():
            await follow(self._queue, job.dataset)

    async def tune(self, digest: str) -> None:
        """Brings a job one step further and queues the next look, for as long as it takes, the more seldom the older
        the job is. Where an operator must act, who started it is told, and it goes on by itself after that. Raises
        TellUser when there is no such job."""
        try:
            job = await self._tuning.advance(digest)
        except TryAgain as error:
            log.warning("tuning_waits", dataset=digest[:12], cause=str(error))
            after_s = LOOK_AGAIN_S
        except (Broken, TellUser) as error:
            known = await self._tuning.job(digest)
            if known is None:
                raise
            log.error("tuning_cannot_go_on", dataset=digest[:12], cause=str(error))
            await self._tell(known.model_copy(update={"problem": str(error)}))
            after_s = LOOK_SELDOM_S
        else:
            if job.has_ended:
                how = log.info if job.status == "succeeded" else log.error
                told = {"status": job.status, "model": job.fine_tuned_model, "cause": job.problem}
                how("tuning_ended", dataset=digest[:12], **told)
                await self._tell(job)
                return
            age_s = (now() - job.created_at).total_seconds()
            after_s = max(LOOK_S, min(LOOK_SELDOM_S, PATIENCE * age_s))
            if age_s > LONG_S:
                log.warning("tuning_takes_long", dataset=digest[:12], status=job.status, hours=round(age_s / 3600))
                problem = f"It takes longer than a day. `train cancel {digest[:12]}` ends it."
                await self._tell(job.model_copy(update={"problem": problem}))
        await follow(self._queue, digest, after_s=after_s)

    async def _tell(self, job: TuningJob) -> None:
        if self._news:
            await self._news(job)


async def follow(queue: Queue, digest: str, *, after_s: float = 0) -> None:
    """Queues the next look at a job. Looks that are due in the same moment are one, so that chains which were begun by
    several processes become one. Raises TryAgain."""
    moment = int((time.time() + after_s) // LOOK_S)
    await queue.add("tune", digest, key=f"tune:{digest}:{moment}", thread=f"tune:{digest}", after_s=after_s)
