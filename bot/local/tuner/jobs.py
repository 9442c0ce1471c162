"""The life of the fine-tuning jobs: validating_files → queued → running → succeeded, failed or cancelled.

Every step is on disk before anybody sees it. A tuner that was killed takes up each unfinished job again: validated
again, queued again, and trained again from its beginning, in a folder that no earlier run can reach. A model exists
from the one record on that says that its job succeeded.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.local.tuner.base_models import Refused
from bot.local.tuner.disk import complain, keep, new_id
from bot.local.tuner.errors import JSON, WireError, busy, invalid
from bot.local.tuner.examples import BadExamples, count_examples
from bot.local.tuner.files import Files
from bot.local.tuner.job import Checkpoint, Job
from bot.local.tuner.ledger import Ledger
from bot.local.tuner.requests import JobRequest
from bot.local.tuner.serving import Serving
from bot.local.tuner.trainer import COMMAND, TrainingFailed, train

FEWEST_EXAMPLES = 10
MOST_CHECKPOINTS = 3
"""Of a run, the newest, as OpenAI keeps them: each is an adapter of the full size."""
MOST_UNFINISHED = 100
"""Jobs that may wait at the same time."""


class Jobs:
    """What happens to the jobs of a ledger, one task each."""

    def __init__(
        self,
        ledger: Ledger,
        files: Files,
        serving: Serving,
        *,
        work_folder: Path,
        command: Sequence[str] = COMMAND,
        threads: int = 1,
    ) -> None:
        """`threads` are those that a training computes with."""
        self._threads = threads
        self._ledger, self._work_folder = ledger, work_folder
        self._files, self._serving, self._command = files, serving, command
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._expected: dict[str, int] = {}
        self._validator, self._trainer = asyncio.Lock(), asyncio.Lock()

    async def start(self) -> None:
        """Reads what is there, serves the models, and takes up what was not finished. Raises OSError."""
        self._ledger.start()
        for job in self._ledger.all():
            if job.has_model:
                await self._serve_again(job)
            elif job.model_deleted:
                self._ledger.clear(job)
            elif not job.is_finished:
                self._take_up(job)

    async def close(self) -> None:
        """Ends all work, and leaves the records so that the next start takes it up."""
        for task in (tasks := list(self._tasks.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._ledger.close()

    # -- what a client does

    async def create(self, request: JobRequest, idempotency_key: str | None) -> Job:
        """Takes on a job; the same key gives the same job, whoever asks how often. Raises WireError, OSError."""
        if (known := self._ledger.known(request, idempotency_key)) is not None:
            return known
        if request.model not in self._serving.bases():
            known_bases = ", ".join(sorted(self._serving.bases())) or "none"
            message = f"The model '{request.model}' cannot be fine-tuned here; these can: {known_bases}."
            raise invalid("model", message, "model_not_available")
        for param in ("training_file", "validation_file"):
            if (id := getattr(request, param)) is not None:
                try:
                    self._files.get(id)
                except WireError:
                    raise invalid(param, f"There is no file '{id}'.") from None
        try:
            await self._serving.check_base(request.model)
        except Refused as refused:
            raise invalid("model", refused.message, refused.code) from None
        if (known := self._ledger.known(request, idempotency_key)) is not None:
            return known
        if len(self._tasks) >= MOST_UNFINISHED:
            raise busy(f"{MOST_UNFINISHED} jobs are waiting already.", retry_after_s=60)
        job = Job(
            id=new_id("ftjob"),
            created_at=int(time.time()),
            request=request,
            seed=random.randrange(2**31) if request.seed is None else request.seed,
            hyperparameters=request.asked,
            idempotency_key=idempotency_key,
        )
        self._ledger.open(job)
        self._begin(job)
        return job

    async def cancel(self, id: str) -> Job:
        """Stops a job; when this returns, its process is gone. Raises WireError where it has finished already."""
        job = self._ledger.get(id)
        if job.is_finished:
            raise invalid(None, f"The job '{id}' has {job.status} already.", "job_already_finished")
        if (task := self._tasks.get(id)) is not None:
            if not task.cancelling():  # a second word would catch it killing its process
                task.cancel()
            await asyncio.wait({task})
        job = self._ledger.get(id)
        if not job.is_finished:
            self._ledger.finish(job, "cancelled")
            self._ledger.tell(job, "The job was cancelled")
        elif job.status != "cancelled":  # it had reached its end before the word
            raise invalid(None, f"The job '{id}' has {job.status} already.", "job_already_finished")
        return self._ledger.get(id)

    def shown(self, job: Job) -> JSON:
        return job.shown(self._expected.get(job.id))

    # -- a job's life

    def _take_up(self, job: Job) -> None:
        self._ledger.clear(job)
        if job.status == "running":
            job = job.model_copy(update={"status": "queued", "checkpoints": ()})
            self._ledger.put(job)
            self._ledger.tell(job, "The tuner had stopped; the job starts again from its beginning", level="warn")
        self._begin(job)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._live(job.id))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _live(self, id: str) -> None:
        """Brings a job to its end. Cancelling it leaves the record as it is."""
        try:
            if self._ledger.get(id).status == "validating_files":
                async with self._validator:
                    await self._validate(self._ledger.get(id))
            async with self._trainer:
                await self._train(self._ledger.get(id))
            return
        except TrainingFailed as failed:
            error = failed.error
        except OSError as problem:
            error = _error("storage_error", f"The tuner cannot use its data folder: {problem.strerror or problem}.")
        except Exception:
            complain(traceback.format_exc())
            error = _error("server_error", "The tuner failed; the reason is in its log.")
        job = self._ledger.get(id)
        self._ledger.finish(job, "failed", error=error)
        self._ledger.tell(job, error["message"], level="error")

    async def _validate(self, job: Job) -> None:
        self._ledger.tell(job, f"Validating training file: {job.request.training_file}")
        examples = await self._count(job.request.training_file, "training_file", FEWEST_EXAMPLES)
        if job.request.validation_file is not None:
            await self._count(job.request.validation_file, "validation_file", 1)
        resolved = job.hyperparameters.resolved(examples)
        self._ledger.put(job.model_copy(update={"status": "queued", "hyperparameters": resolved}))
        self._ledger.tell(job, f"Files validated ({examples} examples), moving job to queued state")

    async def _count(self, file: str, param: str, fewest: int) -> int:
        where = param.replace("_", " ")
        try:
            return await asyncio.to_thread(count_examples, self._content(file, param), fewest=fewest)
        except BadExamples as problem:
            message = f"The {where} {file} cannot be used. {problem}"
            raise TrainingFailed(f"invalid_{param}", message, param) from None

    def _content(self, file: str, param: str) -> Path:
        try:
            return self._files.content(file)
        except WireError:
            message = f"The {param.replace('_', ' ')} {file} was deleted."
            raise TrainingFailed(f"invalid_{param}", message, param) from None

    async def _train(self, job: Job) -> None:
        base = self._serving.bases().get(job.request.model)
        if base is None:
            raise TrainingFailed("model_not_available", f"The base '{job.request.model}' is no longer here.", "model")
        validation = job.request.validation_file
        order = {
            "base": str(base),
            "training_file": str(self._content(job.request.training_file, "training_file")),
            "validation_file": str(self._content(validation, "validation_file")) if validation else None,
            **job.hyperparameters.model_dump(),
            "seed": job.seed,
            "work_folder": str(self._work_folder),
            "threads": self._threads,
        }
        job = job.model_copy(update={"status": "running", "run": new_id("run")})
        folder = self._ledger.run_folder(job)
        folder.mkdir()
        keep(folder / "job.json", json.dumps(order).encode())
        self._ledger.put(job)
        self._ledger.tell(job, "Fine-tuning job started")
        started = time.time()

        def report(told: JSON) -> None:
            if isinstance(checkpoint := told.get("checkpoint"), dict):
                self._add_checkpoint(job.id, checkpoint)
            else:
                self._expect(job.id, started, told.get("data"))
                self._ledger.tell(job, told.get("message"), told.get("level"), told.get("type"), told.get("data"))

        try:
            tokens = await train(folder, command=self._command, report=report)
        finally:
            self._expected.pop(job.id, None)
        await self._publish(self._ledger.get(job.id), tokens)

    def _add_checkpoint(self, id: str, told: JSON) -> None:
        job = self._ledger.get(id)
        folder = self._ledger.run_folder(job).resolve()
        path = (folder / str(told.get("adapter"))).resolve()
        if not isinstance(told.get("step"), int) or not path.is_relative_to(folder) or not path.is_file():
            complain(f"{id} told of a checkpoint that is none: {told}")
            return
        checkpoint = Checkpoint(
            id=new_id("ftckpt"),
            created_at=int(time.time()),
            step=told["step"],
            metrics=dict(told.get("metrics") or {}),
            adapter=str(path.relative_to(folder)),
        )
        every = (*job.checkpoints, checkpoint)
        self._ledger.put(job.model_copy(update={"checkpoints": every[-MOST_CHECKPOINTS:]}))
        for old in every[:-MOST_CHECKPOINTS]:
            (folder / old.adapter).unlink(missing_ok=True)
        self._ledger.tell(job, f"Checkpoint created at step {checkpoint.step}")

    async def _publish(self, job: Job, tokens: int) -> None:
        """Serves the model, then says so; a model whose job did not get to say so is not served."""
        name = job.model_name
        done = {"status": "succeeded", "fine_tuned_model": name, "trained_tokens": tokens}
        try:
            await self._serving.add(name, job.request.model, self._ledger.adapter(job))
            self._ledger.put(job.model_copy(update={**done, "finished_at": int(time.time())}))
        except BaseException as problem:
            if name in self._serving.models():
                await self._serving.remove(name)
            if isinstance(problem, Refused):
                raise TrainingFailed(problem.code, problem.message) from None
            raise
        self._ledger.tell(job, f"New fine-tuned model created: {name}")
        self._ledger.tell(job, "The job has successfully completed")

    async def _serve_again(self, job: Job) -> None:
        assert job.fine_tuned_model
        try:
            await self._serving.add(job.fine_tuned_model, job.request.model, self._ledger.adapter(job))
        except (Refused, OSError) as problem:
            complain(f"{job.fine_tuned_model} cannot be served: {problem}")

    def _expect(self, id: str, started: float, data: Any) -> None:
        """When the training will be over, at the pace so far."""
        step, total = (data.get("step"), data.get("total_steps")) if isinstance(data, dict) else (None, None)
        if isinstance(step, int) and isinstance(total, int) and 0 < step <= total:
            self._expected[id] = int(started + (time.time() - started) * total / step)


def _error(code: str, message: str) -> JSON:
    return {"code": code, "message": message, "param": None}
