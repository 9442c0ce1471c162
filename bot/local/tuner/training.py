"""One training run: `python -m bot.local.tuner.training FOLDER` reads FOLDER/job.json, tunes a LoRA adapter on its
rows by TRL and PEFT, and leaves FOLDER/adapter.gguf with FOLDER/adapter.json when all went well. It is a process of its
own, so that its gigabytes go with it and a job can be killed at any moment. It promises: nothing but JSON lines on
stdout; the same seed, the same adapter (on the same machine); nothing half-written under a final name; no network; no
run whose parent is gone; and for what a user can mend, a line `{"error": …}` that says how, with exit status 1.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bot.local.tuner.adapters import write_adapter
from bot.local.tuner.base_models import Base, Refused, move_in_place, open_base, training_folder
from bot.local.tuner.lessons import read_lessons

Tell = Callable[[dict[str, Any]], None]

RANK, ALPHA = 16, 32
LARGEST_STEP = 8
"""Rows that are in memory at a time; larger batches are gathered from several."""
LONGEST_EAGER = 512
"""Tokens up to which plain attention is faster on a CPU (a step by a fifth); it takes memory by the square."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: list[str]) -> int:
    """Runs the command line and returns its exit status."""
    folder = Path(arguments[0])
    job: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    die_with_parent()
    start_again_with(environment(Path(job["work_folder"]), int(job["threads"])), arguments)
    tell = take_stdout()
    try:
        train(job, folder, tell)
    except Refused as refused:
        tell({"error": {"code": refused.code, "message": refused.message, "param": None}})
        return 1
    return 0


def environment(work_folder: Path, threads: int) -> dict[str, str]:
    """Gives what must be set before Python starts; what somebody set already stays."""
    settings = {
        # Steps allocate and free the same hundreds of megabytes: glibc shall keep them, or page faults take a fifth.
        "MALLOC_TOP_PAD_": "268435456",
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "8589934592",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
        "HF_HOME": str(work_folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TQDM_DISABLE": "1",
    }
    return {**settings, **{name: os.environ[name] for name in settings if name in os.environ}}


def start_again_with(settings: dict[str, str], arguments: list[str]) -> None:
    """Replaces this process by one with the settings, once: then it has them."""
    if any(os.environ.get(name) != value for name, value in settings.items()):
        command = [sys.executable, "-m", "bot.local.tuner.training", *arguments]
        os.execve(sys.executable, command, {**os.environ, **settings})  # noqa: S606 (ourselves)


def die_with_parent() -> None:
    """Asks the system to end us with the thread that started us. Only Linux can do that (prctl 1 is PR_SET_PDEATHSIG);
    elsewhere, the next line that we tell meets a closed pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def take_stdout() -> Tell:
    """Gives the only way to stdout; what libraries print there goes to stderr from now on."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return lambda line: print(json.dumps(line), file=lines)


def train(job: dict[str, Any], folder: Path, tell: Tell) -> None:
    """Trains as the job says. Raises Refused."""
    from safetensors import SafetensorError

    try:
        _train(job, folder, tell)
    except MemoryError as problem:
        raise _too_large(job) from problem
    except OSError as problem:
        if problem.errno not in _NO_ROOM:
            raise
        raise _no_room(problem.filename or folder) from problem
    except (RuntimeError, SafetensorError) as problem:  # these say only by their words what it was
        words = str(problem).lower()
        if "out of memory" in words or "allocate memory" in words or "not enough memory" in words:
            raise _too_large(job) from problem
        if "no space left" in words or "file too large" in words or "quota exceeded" in words:
            raise _no_room(folder) from problem
        raise


def _no_room(where: object) -> Refused:
    return Refused("no_space", f"There is no room on the disk of {where}; make some and start the job again.")


def _too_large(job: dict[str, Any]) -> Refused:
    return Refused(
        "out_of_memory",
        f"The memory does not suffice for a batch of {job['batch_size']} of these examples; take a smaller batch_size, "
        "shorter examples or a smaller base.",
    )


def _train(job: dict[str, Any], folder: Path, tell: Tell) -> None:
    base = open_base(Path(job["base"]))
    message(tell, f"Preparing the base model {base.path.name}")
    model_folder = training_folder(base, Path(job["work_folder"]))

    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTConfig

    from bot.local.tuner.loop import Progress, Trainer

    torch.set_num_threads(int(job["threads"]))
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    files = {"train": job["training_file"], "valid": job["validation_file"]}
    lessons = {name: read_lessons(Path(file), tokenizer, base.context) for name, file in files.items() if file}
    rows = {name: datasets.Dataset.from_list(list(map(asdict, some))) for name, some in lessons.items()}

    longest = max(len(one.input_ids) for some in lessons.values() for one in some)

    on_gpu = torch.cuda.is_available()
    in_bf16 = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
    model = AutoModelForCausalLM.from_pretrained(
        model_folder,
        local_files_only=True,
        dtype=torch.bfloat16 if in_bf16 else torch.float32,
        attn_implementation="sdpa" if on_gpu or longest > LONGEST_EAGER else "eager",
    )
    batch = int(job["batch_size"])
    at_a_time = next(size for size in range(min(batch, LARGEST_STEP), 0, -1) if batch % size == 0)

    def save(model: Any, step: int) -> Path:
        model.save_pretrained(folder / "peft", save_embedding_layers=False)
        write_adapter(folder / "peft", model_folder, base.digest, file := folder / f"checkpoint-{step}.gguf")
        return file

    progress = Progress(tell, save, validates="valid" in rows)
    trainer = Trainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows["train"],
        eval_dataset=rows.get("valid"),
        peft_config=LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[progress],
        args=SFTConfig(
            output_dir=str(folder / "peft"),
            num_train_epochs=int(job["n_epochs"]),
            per_device_train_batch_size=at_a_time,
            per_device_eval_batch_size=at_a_time,
            gradient_accumulation_steps=batch // at_a_time,
            learning_rate=learning_rate(model.config.hidden_size) * float(job["learning_rate_multiplier"]),
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            seed=int(job["seed"]),
            bf16=in_bf16,
            use_cpu=not on_gpu,
            gradient_checkpointing=on_gpu,
            dataloader_pin_memory=on_gpu,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            eval_strategy="epoch" if "valid" in rows else "no",
            save_strategy="no",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    message(tell, f"Training on {len(rows['train'])} examples")
    trainer.train()
    assert progress.latest
    leave(progress.latest, base, folder)
    tell({"trained_tokens": sum(len(one.input_ids) for one in lessons["train"]) * int(job["n_epochs"])})


def learning_rate(hidden_size: int) -> float:
    """Gives the rate for a multiplier of 1: 2e-4 for a model of 7B, as is usual for LoRA, more for narrower ones."""
    return float(2e-4 * (4096 / hidden_size) ** 0.5)


def leave(adapter: Path, base: Base, folder: Path) -> None:
    """Puts the result in place, the adapter itself last."""
    (digest := folder / "adapter.json.unfinished").write_text(json.dumps({"base_digest": base.digest}))
    move_in_place(digest, folder / "adapter.json")
    shutil.copyfile(adapter, copy := folder / "adapter.gguf.unfinished")
    move_in_place(copy, folder / "adapter.gguf")


def message(tell: Tell, text: str) -> None:
    """Tells how far the job is, in words."""
    tell({"level": "info", "type": "message", "message": text, "data": {}})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
