"""What a run tells while it trains: the loss of every step, and after every epoch a checkpoint that can be served.
Imports transformers, so it is imported when that is there anyway."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from bot.local.tuner.base_models import Refused

_NAMES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "eval_loss": "full_valid_loss",
    "eval_mean_token_accuracy": "full_valid_mean_token_accuracy",
}


class Progress(TrainerCallback):  # type: ignore[misc]
    """Follows one run. `save` writes the adapter of a model as it is after a step and gives the file."""

    def __init__(
        self, tell: Callable[[dict[str, Any]], None], save: Callable[[Any, int], Path], validates: bool
    ) -> None:
        self._tell, self._save, self._validates = tell, save, validates
        self._metrics: dict[str, float] = {}
        self.latest: Path | None = None
        """The adapter after the last epoch so far."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Tells the loss of a step; the sums after the last one are not told again."""
        found = {_NAMES[name]: round(float(value), 6) for name, value in logs.items() if name in _NAMES}
        if not all(map(isfinite, found.values())):
            raise Refused(
                "training_diverged",
                f"The loss is no number any more after step {state.global_step}; "
                "take a smaller learning_rate_multiplier, and look for odd examples.",
            )
        self._metrics |= found
        if "train_loss" in found:
            message = f"Step {state.global_step}/{state.max_steps}: training loss={found['train_loss']:.2f}"
            data = {"step": state.global_step, "total_steps": state.max_steps, **found}
            self._tell({"level": "info", "type": "metrics", "message": message, "data": data})

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Keeps a checkpoint, but waits for the validation where there is one."""
        if not self._validates:
            self._keep(model, state)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], model: Any, **_: Any) -> None:
        """Tells the loss on the validation file and keeps a checkpoint."""
        loss = self._metrics["full_valid_loss"]
        message = f"Step {state.global_step}/{state.max_steps}: full validation loss={loss:.2f}"
        data = {"step": state.global_step, "total_steps": state.max_steps, **self._metrics}
        self._tell({"level": "info", "type": "metrics", "message": message, "data": data})
        self._keep(model, state)

    def _keep(self, model: Any, state: Any) -> None:
        self.latest = self._save(model, state.global_step)
        metrics = {"step": state.global_step, **self._metrics}
        self._tell({"checkpoint": {"step": state.global_step, "metrics": metrics, "adapter": str(self.latest)}})
