"""The books of all jobs: one folder each, with its record, its events and the folders of its runs. What stands in a
record is true whatever is killed; an end that cannot be written, because the disk is full, is written later."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bot.local.tuner.disk import complain, keep_record, records, settle
from bot.local.tuner.errors import JSON, WireError, missing
from bot.local.tuner.events import Events
from bot.local.tuner.job import Checkpoint, Job, Status
from bot.local.tuner.requests import JobRequest

SAVE_AGAIN_S = 2


class Ledger:
    """All jobs of one folder, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Reads what is there. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.iterdir():
            if not (folder / "record.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # killed before it was acknowledged
        self._jobs = {path.parent.name: job for path, job in records(self._folder.glob("*/record.json"), Job)}

    async def close(self) -> None:
        for task in (tasks := list(self._saving.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def get(self, id: str) -> Job:
        """Raises WireError."""
        if id not in self._jobs:
            raise missing("fine-tuning job", id, param="fine_tuning_job_id", code="fine_tune_not_found")
        return self._jobs[id]

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    def known(self, request: JobRequest, key: str | None) -> Job | None:
        """The job that an idempotency key has made already. Raises WireError where that was asked otherwise."""
        for job in self._jobs.values() if key else ():
            if job.idempotency_key == key:
                if job.request != request:
                    message = f"The idempotency key '{key}' belongs to another request."
                    raise WireError(400, message, kind="idempotency_error", code="idempotency_key_reused")
                return job
        return None

    def open(self, job: Job) -> None:
        """Enters a new job. Raises OSError; then there is none."""
        try:
            (self._folder / job.id).mkdir()
            self.tell(job, f"Created fine-tuning job: {job.id}")
            self.put(job)
            settle(self._folder)
        except OSError:
            self._jobs.pop(job.id, None)
            shutil.rmtree(self._folder / job.id, ignore_errors=True)
            raise

    def put(self, job: Job) -> None:
        """Keeps a job as it is now. Raises OSError; then it is as it was."""
        keep_record(self._folder / job.id / "record.json", job)
        self._jobs[job.id] = job

    def finish(self, job: Job, status: Status, error: JSON | None = None) -> None:
        """Keeps an end without a model: it is the end even where it cannot be written yet."""
        job = job.model_copy(update={"status": status, "error": error, "finished_at": int(time.time())})
        self._jobs[job.id] = job
        self.clear(job)
        try:
            self.put(job)
        except OSError as problem:
            complain(f"cannot write that {job.id} has {status}: {problem}")
            task = asyncio.create_task(self._save_later(job))
            self._saving[job.id] = task
            task.add_done_callback(lambda _: self._saving.pop(job.id, None))

    async def _save_later(self, job: Job) -> None:
        while True:
            await asyncio.sleep(SAVE_AGAIN_S)
            with suppress(OSError):
                self.put(job)
                return

    def run_folder(self, job: Job) -> Path:
        """Where the run that counts has its order, its log and its result."""
        return self._folder / job.id / job.run

    def adapter(self, job: Job, checkpoint: Checkpoint | None = None) -> Path:
        """The file of a model."""
        return self.run_folder(job) / (checkpoint.adapter if checkpoint else "adapter.gguf")

    def forget_model(self, job: Job) -> None:
        """Deletes a model for good; its job stays. Raises OSError."""
        self.put(job.model_copy(update={"model_deleted": True}))
        self.clear(job)

    def clear(self, job: Job) -> None:
        """Removes what runs have left, but for the log of one that failed."""
        for path in (self._folder / job.id).glob("run-*/*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "log" or job.status != "failed":
                with suppress(OSError):
                    path.unlink()
        for folder in (self._folder / job.id).glob("run-*"):
            with suppress(OSError):
                folder.rmdir()  # if there is nothing in it

    def events(self, id: str) -> Events:
        """Raises WireError."""
        return Events(self._folder / self.get(id).id / "events.jsonl")

    def tell(self, job: Job, message: Any, level: Any = "info", kind: Any = "message", data: Any = None) -> None:
        """Adds an event, whatever a training process says it is."""
        Events(self._folder / job.id / "events.jsonl").append(
            str(message),
            level=level if level in ("info", "warn", "error") else "info",
            kind=kind if kind in ("message", "metrics") else "message",
            data=data if isinstance(data, dict) else {},
        )
