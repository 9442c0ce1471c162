"""The models by their names: the bases, those that a job has tuned, and the checkpoints on the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.local.tuner.base_models import Refused
from bot.local.tuner.errors import JSON, WireError, missing
from bot.local.tuner.job import ORGANISATION, Checkpoint, Job
from bot.local.tuner.ledger import Ledger
from bot.local.tuner.serving import Serving, Upstream

_CHECKPOINT = ":ckpt-step-"


class Models:
    """What can be asked for an answer."""

    def __init__(self, ledger: Ledger, serving: Serving) -> None:
        self._ledger, self._serving = ledger, serving
        self._adding = asyncio.Lock()

    def all(self) -> list[JSON]:
        """As OpenAI lists models; checkpoints are found by their names only."""
        served = set(self._serving.models())
        tuned = [job for job in self._ledger.all() if job.has_model and job.fine_tuned_model in served]
        return [*map(self._shown_base, self._serving.bases()), *map(_shown, tuned)]

    def get(self, name: str) -> JSON:
        """Raises WireError."""
        if name in self._serving.bases():
            return self._shown_base(name)
        job, checkpoint = self._tuned(name)
        if job.fine_tuned_model not in self._serving.models():  # its base is not here any more
            raise _no_model(name)
        return _shown(job, checkpoint)

    async def delete(self, name: str) -> None:
        """Deletes a tuned model with its checkpoints; answers that are being written come to their end. Raises
        WireError, OSError."""
        if name in self._serving.bases():
            raise WireError(403, f"'{name}' is a base, which nobody can delete here.", param="model")
        job, checkpoint = self._tuned(name)
        if checkpoint is not None:
            raise WireError(403, "A checkpoint goes with its model; delete that.", param="model")
        async with self._adding:
            self._ledger.forget_model(job)
            for one in (name, *(checkpoint_name(job, checkpoint) for checkpoint in job.checkpoints)):
                if one in self._serving.models():
                    await self._serving.remove(one)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Upstream]:
        """The server that answers as this model, for as long as the block runs. Raises WireError."""
        async with AsyncExitStack() as stack:
            try:
                if name not in self._serving.models():
                    await self._serve_checkpoint(name)
                upstream = await stack.enter_async_context(self._serving.using(name))
            except KeyError:
                raise _no_model(name) from None
            except Refused as refused:
                raise WireError(503, refused.message, kind="server_error", code=refused.code, again=False) from None
            yield upstream

    async def _serve_checkpoint(self, name: str) -> None:
        """A checkpoint costs memory from its first question on, not from its making."""
        async with self._adding:
            job, checkpoint = self._tuned(name)
            if checkpoint is not None and name not in self._serving.models():
                await self._serving.add(name, job.request.model, self._ledger.adapter(job, checkpoint))

    def _tuned(self, name: str) -> tuple[Job, Checkpoint | None]:
        for job in self._ledger.all():
            if job.has_model and job.fine_tuned_model == name:
                return job, None
            for checkpoint in job.checkpoints if job.has_model and _CHECKPOINT in name else ():
                if checkpoint_name(job, checkpoint) == name:
                    return job, checkpoint
        raise _no_model(name)

    def _shown_base(self, name: str) -> JSON:
        try:
            created = int(self._serving.bases()[name].stat().st_mtime)
        except OSError:
            created = 0
        return {"id": name, "object": "model", "created": created, "owned_by": "system", "shutdown_date": None}


def _no_model(name: str) -> WireError:
    return missing("model", name, param="model", code="model_not_found")


def checkpoint_name(job: Job, checkpoint: Checkpoint) -> str:
    return f"{job.fine_tuned_model}{_CHECKPOINT}{checkpoint.step}"


def shown_checkpoint(job: Job, checkpoint: Checkpoint) -> JSON:
    """As OpenAI shows a checkpoint of a job."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": checkpoint.created_at,
        "fine_tuned_model_checkpoint": checkpoint_name(job, checkpoint),
        "fine_tuning_job_id": job.id,
        "metrics": {"step": checkpoint.step, **checkpoint.metrics},
        "step_number": checkpoint.step,
    }


def _shown(job: Job, checkpoint: Checkpoint | None = None) -> JSON:
    return {
        "id": checkpoint_name(job, checkpoint) if checkpoint else job.fine_tuned_model,
        "object": "model",
        "created": checkpoint.created_at if checkpoint else job.finished_at,
        "owned_by": f"org-{ORGANISATION}",
        "shutdown_date": None,
    }
