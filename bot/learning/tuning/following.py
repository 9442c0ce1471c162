"""What the worker does for tuning: it follows each tuning job to its end, in small jobs of the queue that add their own
next one. Several workers share one such chain, and a worker that starts takes up whatever was not finished."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from bot.errors import TryAgain
from bot.learning.tuning.jobs import Tuning
from bot.log import log
from bot.vocabulary import TuningJob
from bot.worker import Duty, Queue

Ended = Callable[[TuningJob], Awaitable[None]]

LOOK_S = 5.0
"""Between two looks at a job."""
LOOK_AGAIN_S = 60.0
"""After a look at a tuner that was away."""


class Following:
    """The duty `tune`, with what it needs; `ended` is called with each job that has ended, perhaps more than once."""

    def __init__(self, tuning: Tuning, queue: Queue, ended: Ended | None = None) -> None:
        self._tuning, self._queue, self._ended = tuning, queue, ended

    @property
    def duties(self) -> Mapping[str, Duty]:
        """The duty of each kind of job."""
        return {"tune": Duty(self.tune)}

    async def take_up(self) -> None:
        """Queues what is to be followed. Raises TryAgain when Redis is away."""
        for job in await self._tuning.unfinished():
            await follow(self._queue, job.dataset)

    async def tune(self, digest: str) -> None:
        """Brings a job one step further and queues the next look, for as long as it takes. Raises Broken when an
        operator must act: then it goes on when a worker starts, or `train start` or `train status` is called."""
        after_s = LOOK_S
        try:
            job = await self._tuning.advance(digest)
        except TryAgain as error:
            log.warning("tuning_waits", dataset=digest[:12], cause=str(error))
            after_s = LOOK_AGAIN_S
        else:
            if job.has_ended:
                how = log.info if job.status == "succeeded" else log.error
                told = {"status": job.status, "model": job.fine_tuned_model, "cause": job.problem}
                how("tuning_ended", dataset=digest[:12], **told)
                if self._ended:
                    await self._ended(job)
                return
        await follow(self._queue, digest, after_s=after_s)


async def follow(queue: Queue, digest: str, *, after_s: float = 0) -> None:
    """Queues the next look at a job. Looks that are due in the same moment are one, so that chains which were begun by
    several processes become one. Raises TryAgain."""
    moment = int((time.time() + after_s) // LOOK_S)
    await queue.add("tune", digest, key=f"tune:{digest}:{moment}", thread=f"tune:{digest}", after_s=after_s)
