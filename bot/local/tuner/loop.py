"""What is ours in TRL's loop: a loss that costs less without a GPU, and what a run tells while it trains. Imports torch
and TRL, so it is imported by the training process only, when these are there anyway."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from bot.local.tuner.base_models import Refused
from bot.local.tuner.lessons import NOT_TAUGHT

_NAMES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "eval_loss": "full_valid_loss",
    "eval_mean_token_accuracy": "full_valid_mean_token_accuracy",
}


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer of a LoRA adapter. Without Triton, TRL 1.16 looks up every token of the vocabulary for every token
    of a row; here only for the taught ones, some of many. The loss is the same."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Gives the mean loss of the taught tokens: of this batch, or its share of what is gathered to one step."""
        if torch.cuda.is_available():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        taught = labels != NOT_TAUGHT
        right = labels[taught]
        chat = self.accelerator.unwrap_model(model).get_base_model()
        with self.accelerator.autocast():
            states = chat.model(inputs["input_ids"], inputs["attention_mask"], use_cache=False).last_hidden_state
            logits = chat.lm_head(states[:, :-1][taught]).float()
        loss = torch.nn.functional.cross_entropy(logits, right, reduction="sum")
        count = len(right) if num_items_in_batch is None else num_items_in_batch
        accuracy = (logits.argmax(-1) == right).float().mean().item() if len(right) else 0.0
        self._metrics["train" if model.training else "eval"]["mean_token_accuracy"].append(accuracy)
        return loss / max(int(count), 1)


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
