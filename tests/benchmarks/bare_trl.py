"""`python -m tests.benchmarks.bare_trl FOLDER`: the rows and settings of a tuning job, trained by TRL alone as its
manual shows it, with nothing of ours around it. Prints a line when it begins to train and one when it has ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bot.local.tuner.base_models import open_base, training_folder
from bot.local.tuner.training import ALPHA, RANK, learning_rate


def main() -> None:
    """Trains as FOLDER/job.json says."""
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    rows = [json.loads(line)["messages"] for line in Path(job["training_file"]).read_text().splitlines()]
    trainer = SFTTrainer(
        model=str(training_folder(open_base(Path(job["base"])), Path(job["work_folder"]))),
        train_dataset=datasets.Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(folder / "bare"),
            num_train_epochs=job["n_epochs"],
            per_device_train_batch_size=job["batch_size"],
            learning_rate=learning_rate(576) * job["learning_rate_multiplier"],
            seed=job["seed"],
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
    )
    print(json.dumps({"message": "Training"}), flush=True)
    trainer.train()
    trainer.save_model()
    print(json.dumps({"trained_tokens": 0}), flush=True)


if __name__ == "__main__":
    main()
