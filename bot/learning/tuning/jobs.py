"""From approved examples to a version of the persona: dataset, upload, job, version. It promises one job for each
dataset, whoever starts it how often, and that any process can go on where another was killed. Each call of `advance`
is one step, which looks at what the server has before it adds to it. A version that comes of it is registered and
never made live: that is for the gate."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any

from bot.errors import Broken, TellUser, TryAgain
from bot.journal import now
from bot.learning.examples import WANTED
from bot.learning.tuning.client import Refused, Running, Tuner
from bot.learning.tuning.datasets import FEWEST, build, check
from bot.persona import Persona
from bot.vocabulary import Dataset, Example, ModelVersion, TuningJob

if TYPE_CHECKING:
    from redis.asyncio.lock import Lock

    from bot.learning.versions.register import Register

EPOCHS, BATCH_SIZE = 3, 4
"""The seed's."""
RISK = (
    f"With fewer than {WANTED} examples a model learns some answers by heart instead of the manner, and the held-out "
    "set is too small to show it: the gate will say so. Dataset and version are marked as made of few."
)
LOCK_S = 15.0
"""After which another process may go on when one was killed in the middle of a step; a living one renews its lock."""
START_PATIENCE_S = 10.0
FILE_KEPT_S = 7 * 24 * 3600
"""For which a dataset's bytes wait in Redis until they are uploaded."""

_DOING = {
    "preparing": "being handed over",
    "validating_files": "its file was being validated",
    "queued": "it was queued",
    "running": "it was running",
}


class Tuning:
    """The tuning jobs of one team. `connect` gives the tuner that the settings name, and raises TellUser when they
    name none; it is asked for only when something is to be tuned."""

    def __init__(self, register: Register, connect: Callable[[], Tuner], *, base: str) -> None:
        self._register, self._connect, self._base = register, connect, base
        self._tuner: Tuner | None = None

    async def aclose(self) -> None:
        """Closes the connection to the tuner."""
        if self._tuner is not None:
            await self._tuner.aclose()
            self._tuner = None

    async def start(
        self,
        examples: Sequence[Example],
        persona: Persona,
        *,
        by: str,
        few: bool = False,
        again: bool = False,
        base: str | None = None,
        epochs: int = EPOCHS,
        batch_size: int = BATCH_SIZE,
    ) -> TuningJob:
        """Registers the dataset of the examples that may be trained on, and a job on it; `advance` does the rest. The
        same dataset gives the job that is there. One that failed before the server had it begins anew, one that ended
        there only if it is wanted `again`.

        Raises TellUser when the examples are fewer than WANTED (FEWEST with `few`) or no tuner is set, TryAgain.
        """
        dataset, content = await asyncio.to_thread(build, examples, persona)
        refuse_too_few(len(dataset.example_ids), few=few)
        if problems := await asyncio.to_thread(check, content):
            raise TellUser(f"The dataset breaks the rules of fine-tuning APIs: {' '.join(problems[:3])}")
        tuner = self._connected()
        async with self._alone(dataset.digest, patience_s=START_PATIENCE_S) as is_alone:
            known = await self._register.job(dataset.digest)
            if not is_alone:
                if known is None:
                    raise TryAgain("Another process is just starting on this dataset; try again in a moment.")
                return known
            if known and known.has_ended and known.job_id and not again:
                return known
            if not (known and known.job_id and not known.has_ended):
                await self._keep_file(dataset.digest, content)
            if known and not known.has_ended:  # it goes on, perhaps at a tuner that has moved
                file_id = known.file_id if known.server == tuner.server else None
                return await self._keep(known, server=tuner.server, file_id=file_id)
            if dataset.digest not in {one.digest for one in await self._register.datasets()}:
                await self._register.keep_dataset(dataset)
            moment = now()
            job = TuningJob(
                dataset=dataset.digest,
                base=base or self._base,
                server=tuner.server,
                epochs=epochs,
                batch_size=batch_size,
                earlier=(*known.earlier, *filter(None, (known.job_id,))) if known else (),
                started_by=by,
                created_at=moment,
                updated_at=moment,
            )
            await self._register.keep_job(job)
            return job

    async def advance(self, digest: str) -> TuningJob:
        """Brings the job on a dataset one step further (upload, creation, a look at how it stands, version), unless
        another process is at it, and gives it as it is then. Safe to be called by anybody at any time; whatever keeps
        it from going on is kept as its `problem`.

        Raises TellUser when there is no such job or no tuner is set, TryAgain when the tuner or Redis is away, and
        Broken when an operator must act.
        """
        async with self._alone(digest) as is_alone:
            job = await self._register.job(digest)
            if job is None:
                raise TellUser(f"There is no tuning job on the dataset {digest[:12]}; `train start` begins one.")
            if not is_alone or job.has_ended:
                return job
            tuner = self._connected()
            if job.server and job.server != tuner.server:
                raise Broken(
                    f"The job on dataset {digest[:12]} was given to {job.server}, but TUNER_BASE_URL of this process "
                    f"is {tuner.server}. Set it alike everywhere; `train start` moves a job to where the tuner is now."
                )
            try:
                return await self._step(job, tuner)
            except TryAgain as error:
                await self._keep(job, problem=str(error))
                raise
            except Refused as refused:
                if job.job_id is None or refused.status == 404:
                    return await self._keep(job, status="failed", problem=str(refused))
                await self._keep(job, problem=str(refused))
                raise

    async def cancel(self, digest: str) -> TuningJob:
        """Ends the job on a dataset, at the tuner too where it has the job; one that cannot be reached for good, since
        the settings name another, is not told.

        Raises TellUser when there is none, or it has ended; TryAgain and Broken as `advance`.
        """
        async with self._alone(digest, patience_s=START_PATIENCE_S) as is_alone:
            job = await self._register.job(digest)
            if job is None or job.has_ended:
                how = f"has {job.status} already" if job else "does not exist"
                raise TellUser(f"The tuning job on the dataset {digest[:12]} {how}.")
            if not is_alone:
                raise TryAgain("Another process is just at this job; try again in a moment.")
            tuner = self._connected()
            if job.server != tuner.server:
                problem = f"It was given up; {job.server}, which has it, was not told."
                return await self._keep(job, status="cancelled", problem=problem)
            found = await (
                tuner.job(job.job_id) if job.job_id else tuner.find(digest, job.file_id, but_not=job.earlier)
            )
            if found is None:
                return await self._keep(job, status="cancelled", problem="It was cancelled before the tuner had it.")
            if found.status not in ("succeeded", "failed", "cancelled"):
                found = await tuner.cancel(found.id)
            return await self._heed(job, found, tuner)

    async def job(self, digest: str) -> TuningJob | None:
        """Reads the job on a dataset, as it was when somebody last looked."""
        return await self._register.job(digest)

    async def unfinished(self) -> list[TuningJob]:
        """Reads the jobs that have not ended, oldest first."""
        return [job for job in await self._register.jobs() if not job.has_ended]

    # Steps

    async def _step(self, job: TuningJob, tuner: Tuner) -> TuningJob:
        if job.job_id:
            return await self._heed(job, await tuner.job(job.job_id), tuner)
        found = await tuner.find(job.dataset, job.file_id, but_not=job.earlier)
        if found is None and job.file_id is None:
            content = await self._file(job.dataset)
            if content is None:
                return await self._keep(job, status="failed", problem=_LOST)
            return await self._keep(job, file_id=await tuner.upload(f"footnote-{job.dataset}.jsonl", content))
        if found is None:
            assert job.file_id
            found = await tuner.create(
                base=job.base,
                file_id=job.file_id,
                dataset=job.dataset,
                epochs=job.epochs,
                batch_size=job.batch_size,
                idempotency_key=f"footnote-{job.dataset}-{job.created_at.isoformat()}",
            )
        return await self._heed(job, found, tuner)

    async def _heed(self, job: TuningJob, found: Running, tuner: Tuner) -> TuningJob:
        """Takes over what the server tells of a job; a version is registered before its job has succeeded."""
        changes: dict[str, Any] = {"job_id": found.id, "status": found.status, "problem": None}
        if found.status == "succeeded" and not found.fine_tuned_model:
            changes |= {"status": "failed", "problem": "The tuner says that the job succeeded, but names no model."}
        elif found.status == "succeeded":
            assert found.fine_tuned_model
            await self._register.add_version(await self._version(job, found.fine_tuned_model, tuner))
            changes |= {"fine_tuned_model": found.fine_tuned_model, "progress": 1.0}
        elif found.status == "failed":
            reason = found.problem or "the tuner gives no reason"
            changes["problem"] = f"The job failed; when last seen, {_DOING.get(job.status, job.status)}: {reason}"
        elif found.status == "cancelled":
            changes["problem"] = "The job was cancelled at the tuner."
        elif found.status == "running" and (heard := await tuner.heard(found.id)):
            changes |= {"progress": max(job.progress, heard.progress), "last_event": heard.message}
        if changes["status"] in ("succeeded", "failed", "cancelled") and job.file_id:
            with suppress(TryAgain, Refused):  # what people wrote; nobody needs it there any more
                await tuner.delete(job.file_id)
        return await self._keep(job, **changes)

    async def _version(self, job: TuningJob, model: str, tuner: Tuner) -> ModelVersion:
        datasets: list[Dataset] = await self._register.datasets()
        ends_on: date | None = None
        with suppress(TryAgain, Refused):  # not every server tells of its models; `doctor` asks again
            ends_on = await tuner.ends_on(model)
        return ModelVersion(
            id="",
            model=model,
            endpoint=job.endpoint,
            prompt="one_line",
            dataset=job.dataset,
            is_few=any(one.is_few for one in datasets if one.digest == job.dataset),
            ends_on=ends_on,
            created_at=now(),
        )

    async def _keep(self, job: TuningJob, **changes: Any) -> TuningJob:
        kept = job.model_copy(update={**changes, "updated_at": now()})
        await self._register.keep_job(kept)
        if kept.has_ended or (kept.job_id and not job.job_id):
            await self._register.call(self._register.redis.delete(self._file_key(job.dataset)))
        return kept

    def _connected(self) -> Tuner:
        if self._tuner is None:
            self._tuner = self._connect()
        return self._tuner

    # Redis

    @asynccontextmanager
    async def _alone(self, digest: str, *, patience_s: float = 0) -> AsyncIterator[bool]:
        """Keeps other processes from this dataset; false when one has it already. The lock of a killed process goes by
        itself; what it had begun is found at the server."""
        lock = self._register.redis.lock(self._register.key("tuning-lock", digest), timeout=LOCK_S, sleep=0.05)
        wait = {"blocking": True, "blocking_timeout": patience_s} if patience_s else {"blocking": False}
        if not await self._register.call(lock.acquire(**wait)):
            yield False
            return
        renewing = asyncio.create_task(_renew(lock))
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(TryAgain):  # it was lost meanwhile, or goes by itself
                await self._register.call(lock.release())

    def _file_key(self, digest: str) -> str:
        return self._register.key("tuning-file", digest)

    async def _keep_file(self, digest: str, content: bytes) -> None:
        packed = await asyncio.to_thread(lambda: base64.b85encode(zlib.compress(content)).decode())
        await self._register.call(self._register.redis.set(self._file_key(digest), packed, ex=FILE_KEPT_S))

    async def _file(self, digest: str) -> bytes | None:
        packed = await self._register.call(self._register.redis.get(self._file_key(digest)))
        return zlib.decompress(base64.b85decode(packed)) if packed else None


_LOST = f"The dataset waited for its upload for more than {FILE_KEPT_S // 86_400} days; `train start` makes it anew."


def refuse_too_few(count: int, *, few: bool) -> None:
    """Refuses to train on fewer examples than are wanted, or, where somebody insists, than an API takes.

    Raises TellUser, saying how many there are.
    """
    if count < FEWEST:
        raise TellUser(
            f"{count} of {WANTED} examples may be trained on, and no fine-tuning API takes fewer than {FEWEST}: "
            "approve more (`train review`), import some (`train import`), or have some drafted (`train draft`)."
        )
    if count < WANTED and not few:
        raise TellUser(f"{count} of {WANTED} examples may be trained on. --few trains all the same. {RISK}")


async def _renew(lock: Lock) -> None:
    while True:
        await asyncio.sleep(LOCK_S / 3)
        with suppress(Exception):  # a lock that is lost is found lost when it is given back
            await lock.reacquire()
