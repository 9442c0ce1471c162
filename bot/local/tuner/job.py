"""One fine-tuning job: what is kept of it, and how OpenAI shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from bot.local.tuner.errors import JSON
from bot.local.tuner.requests import Hyperparameters, JobRequest

ORGANISATION = "local"
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
    def model_name(self) -> str:
        """What its model will be called, or is."""
        return f"ft:{self.request.model}:{ORGANISATION}:{self.request.suffix or ''}:{self.id[-8:]}"

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
