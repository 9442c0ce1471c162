"""The fine-tuning jobs: validating_files → queued → running → succeeded, failed or cancelled.

Every step is on disk before anybody sees it. A tuner that was killed takes up each unfinished job again: validated
again, queued again, and trained again from its beginning, in a folder that no earlier run can reach. A model exists
from the one record on that says that its job succeeded.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from bot.local.tuner.base_models import Refused
from bot.local.tuner.disk import complain, keep, keep_record, new_id, records, settle
from bot.local.tuner.errors import JSON, WireError, busy, invalid, missing
from bot.local.tuner.events import Events
from bot.local.tuner.examples import BadExamples, count_examples
from bot.local.tuner.files import Files
from bot.local.tuner.requests import Hyperparameters, JobRequest
from bot.local.tuner.serving import Serving
from bot.local.tuner.trainer import COMMAND, TrainingFailed, train

FEWEST_EXAMPLES = 10
MOST_UNFINISHED = 100
"""Jobs that may wait at the same time."""
ORGANISATION = "local"
SAVE_AGAIN_S = 2
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class Checkpoint(BaseModel, frozen=True):
    """The adapter as it was after a step; it becomes a model together with its job's."""

    id: str
    created_at: int
    step: int
    metrics: dict[str, Any]
    adapter: str
    """Its file's path inside the folder of the run."""


class Job(BaseModel, frozen=True):
    """One job as it is kept; times are in Unix seconds."""

    id: str
    created_at: int
    request: JobRequest
    seed: int
    hyperparameters: Hyperparameters
    status: Status = "validating_files"
    run: str = "none"
    """The folder of the training that counts. Each run has a new one, out of reach of the process of an earlier run."""
    checkpoints: tuple[Checkpoint, ...] = ()
    fine_tuned_model: str | None = None
    finished_at: int | None = None
    trained_tokens: int | None = None
    error: JSON | None = None
    model_deleted: bool = False
    idempotency_key: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def has_model(self) -> bool:
        return self.status == "succeeded" and not self.model_deleted

    def shown(self, estimated_finish: int | None) -> JSON:
        """As OpenAI shows a job."""
        hyperparameters = self.hyperparameters.model_dump()
        return {
            "object": "fine_tuning.job",
            "id": self.id,
            "created_at": self.created_at,
            "model": self.request.model,
            "fine_tuned_model": self.fine_tuned_model,
            "finished_at": self.finished_at,
            "estimated_finish": estimated_finish,
            "hyperparameters": hyperparameters,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "integrations": [],
            "metadata": self.request.metadata,
            "organization_id": f"org-{ORGANISATION}",
            "result_files": [],
            "seed": self.seed,
            "status": self.status,
            "trained_tokens": self.trained_tokens,
            "training_file": self.request.training_file,
            "validation_file": self.request.validation_file,
            "error": self.error,
        }


class Jobs:
    """All jobs of one folder, each in `ID/`: its record, its events, the folders of its runs."""

    def __init__(
        self, folder: Path, files: Files, serving: Serving, *, work_folder: Path, command: Sequence[str] = COMMAND
    ) -> None:
        self._folder, self._work_folder = folder, work_folder
        self._files, self._serving, self._command = files, serving, command
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}
        self._expected: dict[str, int] = {}
        self._validator, self._trainer = asyncio.Lock(), asyncio.Lock()

    async def start(self) -> None:
        """Reads what is there, serves the models, and takes up what was not finished. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.iterdir():
            if not (folder / "record.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # killed before it was acknowledged
        self._jobs = {path.parent.name: job for path, job in records(self._folder.glob("*/record.json"), Job)}
        for job in list(self._jobs.values()):
            if job.has_model:
                await self._serve_again(job)
            elif job.model_deleted:
                self._clear(job)
            elif not job.is_finished:
                self._take_up(job)

    async def close(self) -> None:
        """Ends all work, and leaves the records so that the next start takes it up."""
        tasks = [*self._tasks.values(), *self._saving.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what a client does

    async def create(self, request: JobRequest, idempotency_key: str | None) -> Job:
        """Takes on a job; the same key gives the same job, whoever asks how often. Raises WireError, OSError."""
        if (known := self._known(request, idempotency_key)) is not None:
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
        if (known := self._known(request, idempotency_key)) is not None:
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
        try:
            (self._folder / job.id).mkdir()
            self._tell(job, f"Created fine-tuning job: {job.id}")
            self._put(job)
            settle(self._folder)
        except OSError:
            self._jobs.pop(job.id, None)
            shutil.rmtree(self._folder / job.id, ignore_errors=True)
            raise
        self._begin(job)
        return job

    def get(self, id: str) -> Job:
        """Raises WireError."""
        if id not in self._jobs:
            raise missing("fine-tuning job", id, param="fine_tuning_job_id", code="fine_tune_not_found")
        return self._jobs[id]

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    async def cancel(self, id: str) -> Job:
        """Stops a job; when this returns, its process is gone. Raises WireError where it has finished already."""
        job = self.get(id)
        if job.is_finished:
            raise invalid(None, f"The job '{id}' has {job.status} already.", "job_already_finished")
        if (task := self._tasks.get(id)) is not None:
            if not task.cancelling():  # a second word would catch it killing its process
                task.cancel()
            await asyncio.wait({task})
        job = self.get(id)
        if not job.is_finished:
            self._finish(job, "cancelled")
            self._tell(job, "The job was cancelled")
        elif job.status != "cancelled":  # it had reached its end before the word
            raise invalid(None, f"The job '{id}' has {job.status} already.", "job_already_finished")
        return self.get(id)

    def shown(self, job: Job) -> JSON:
        return job.shown(self._expected.get(job.id))

    def events(self, id: str) -> Events:
        """Raises WireError."""
        return Events(self._folder / self.get(id).id / "events.jsonl")

    def adapter(self, job: Job, checkpoint: Checkpoint | None = None) -> Path:
        """The file of a model."""
        return self._run_folder(job) / (checkpoint.adapter if checkpoint else "adapter.gguf")

    def forget_model(self, job: Job) -> None:
        """Deletes a model for good; its job stays. Raises OSError."""
        self._put(job.model_copy(update={"model_deleted": True}))
        self._clear(job)

    # -- a job's life

    def _take_up(self, job: Job) -> None:
        self._clear(job)
        if job.status == "running":
            job = job.model_copy(update={"status": "queued", "checkpoints": ()})
            self._put(job)
            self._tell(job, "The tuner had stopped; the job starts again from its beginning", level="warn")
        self._begin(job)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._live(job.id))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _live(self, id: str) -> None:
        """Brings a job to its end. Cancelling it leaves the record as it is."""
        try:
            if self._jobs[id].status == "validating_files":
                async with self._validator:
                    await self._validate(self._jobs[id])
            async with self._trainer:
                await self._train(self._jobs[id])
            return
        except TrainingFailed as failed:
            error = failed.error
        except OSError as problem:
            error = _error("storage_error", f"The tuner cannot use its data folder: {problem.strerror or problem}.")
        except Exception:
            complain(traceback.format_exc())
            error = _error("server_error", "The tuner failed; the reason is in its log.")
        job = self._jobs[id]
        self._finish(job, "failed", error=error)
        self._tell(job, error["message"], level="error")

    async def _validate(self, job: Job) -> None:
        self._tell(job, f"Validating training file: {job.request.training_file}")
        examples = await self._count(job.request.training_file, "training_file", FEWEST_EXAMPLES)
        if job.request.validation_file is not None:
            await self._count(job.request.validation_file, "validation_file", 1)
        resolved = job.hyperparameters.resolved(examples)
        self._put(job.model_copy(update={"status": "queued", "hyperparameters": resolved}))
        self._tell(job, f"Files validated ({examples} examples), moving job to queued state")

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
        }
        job = job.model_copy(update={"status": "running", "run": new_id("run")})
        folder = self._run_folder(job)
        folder.mkdir()
        keep(folder / "job.json", json.dumps(order).encode())
        self._put(job)
        self._tell(job, "Fine-tuning job started")
        started = time.time()

        def report(told: JSON) -> None:
            if isinstance(checkpoint := told.get("checkpoint"), dict):
                self._add_checkpoint(job.id, checkpoint)
            else:
                self._expect(job.id, started, told.get("data"))
                self._tell(job, told.get("message"), told.get("level"), told.get("type"), told.get("data"))

        try:
            tokens = await train(folder, command=self._command, report=report)
        finally:
            self._expected.pop(job.id, None)
        await self._publish(self._jobs[job.id], tokens)

    def _add_checkpoint(self, id: str, told: JSON) -> None:
        job = self._jobs[id]
        folder = self._run_folder(job).resolve()
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
        self._put(job.model_copy(update={"checkpoints": (*job.checkpoints, checkpoint)}))
        self._tell(job, f"Checkpoint created at step {checkpoint.step}")

    async def _publish(self, job: Job, tokens: int) -> None:
        """Serves the model, then says so; a model whose job did not get to say so is not served."""
        name = f"ft:{job.request.model}:{ORGANISATION}:{job.request.suffix or ''}:{job.id[-8:]}"
        done = {"status": "succeeded", "fine_tuned_model": name, "trained_tokens": tokens}
        try:
            await self._serving.add(name, job.request.model, self.adapter(job))
            self._put(job.model_copy(update={**done, "finished_at": int(time.time())}))
        except BaseException as problem:
            if name in self._serving.models():
                await self._serving.remove(name)
            if isinstance(problem, Refused):
                raise TrainingFailed(problem.code, problem.message) from None
            raise
        self._tell(job, f"New fine-tuned model created: {name}")
        self._tell(job, "The job has successfully completed")

    async def _serve_again(self, job: Job) -> None:
        assert job.fine_tuned_model
        try:
            await self._serving.add(job.fine_tuned_model, job.request.model, self.adapter(job))
        except (Refused, OSError) as problem:
            complain(f"{job.fine_tuned_model} cannot be served: {problem}")

    # -- keeping

    def _known(self, request: JobRequest, key: str | None) -> Job | None:
        for job in self._jobs.values() if key else ():
            if job.idempotency_key == key:
                if job.request != request:
                    message = f"The idempotency key '{key}' belongs to another request."
                    raise WireError(400, message, kind="idempotency_error", code="idempotency_key_reused")
                return job
        return None

    def _run_folder(self, job: Job) -> Path:
        return self._folder / job.id / job.run

    def _clear(self, job: Job) -> None:
        """Removes what runs have left, but for the log of one that failed."""
        for path in (self._folder / job.id).glob("run-*/*"):
            if path.name != "log" or job.status != "failed":
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in (self._folder / job.id).glob("run-*"):
            with suppress(OSError):
                folder.rmdir()  # if there is nothing in it

    def _put(self, job: Job) -> None:
        keep_record(self._folder / job.id / "record.json", job)
        self._jobs[job.id] = job

    def _finish(self, job: Job, status: Status, error: JSON | None = None) -> None:
        """An end without a model: it is the end even where it cannot be written yet."""
        job = job.model_copy(update={"status": status, "error": error, "finished_at": int(time.time())})
        self._jobs[job.id] = job
        self._clear(job)
        try:
            self._put(job)
        except OSError as problem:
            complain(f"cannot write that {job.id} has {status}: {problem}")
            task = asyncio.create_task(self._save_later(job))
            self._saving[job.id] = task
            task.add_done_callback(lambda _: self._saving.pop(job.id, None))

    async def _save_later(self, job: Job) -> None:
        while True:
            await asyncio.sleep(SAVE_AGAIN_S)
            try:
                self._put(job)
            except OSError:
                continue
            return

    def _expect(self, id: str, started: float, data: Any) -> None:
        """When the training will be over, at the pace so far."""
        step, total = (data.get("step"), data.get("total_steps")) if isinstance(data, dict) else (None, None)
        if isinstance(step, int) and isinstance(total, int) and 0 < step <= total:
            self._expected[id] = int(started + (time.time() - started) * total / step)

    def _tell(self, job: Job, message: Any, level: Any = "info", kind: Any = "message", data: Any = None) -> None:
        Events(self._folder / job.id / "events.jsonl").append(
            str(message),
            level=level if level in ("info", "warn", "error") else "info",
            kind=kind if kind in ("message", "metrics") else "message",
            data=data if isinstance(data, dict) else {},
        )


def _error(code: str, message: str) -> JSON:
    return {"code": code, "message": message, "param": None}
