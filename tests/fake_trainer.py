"""A training process without training: it reads its order and reports as the real one does. What it does is said by the
training examples: a user's message `trainer: hold` makes it wait to be killed, and so on (`Behaviour`)."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Any


class Behaviour(StrEnum):
    """How a run goes."""

    LEARN = "learn"
    HOLD = "hold"
    FAIL = "fail"
    CRASH = "crash"
    KILLED = "killed"
    EMPTY = "empty"
    OTHER_BASE = "other base"
    CHATTER = "chatter"


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def event(step: int, loss: float) -> None:
    data = {"step": step, "total_steps": 2, "train_loss": loss}
    say(level="info", type="metrics", message=f"Step {step}/2: training loss={loss}", data=data)


def main(folder: Path) -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    order = json.loads((folder / "job.json").read_text())
    examples = [json.loads(line) for line in Path(order["training_file"]).read_text("utf-8-sig").splitlines() if line]
    asked = [message["content"] for one in examples for message in one["messages"] if message["role"] == "user"]
    how = next((text.removeprefix("trainer: ") for text in asked if text.startswith("trainer: ")), Behaviour.LEARN)
    if how == Behaviour.CHATTER:
        print("a library says hello\n[1, 2]\nnull", flush=True)
    event(1, 2.0)
    if how == Behaviour.HOLD:
        while True:
            time.sleep(60)
    if how == Behaviour.FAIL:
        say(error={"code": "no_memory", "message": "The base needs 9 GB.", "param": None})
        return 1
    if how == Behaviour.CRASH:
        raise RuntimeError("a tensor was bent")
    if how == Behaviour.KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == Behaviour.EMPTY:
        say(trained_tokens=1)
        return 0
    for step in range(1, 1 + (order["n_epochs"] if order["n_epochs"] > 4 else 2)):  # many only where a test asks
        (folder / f"step-{step}.gguf").write_text(f"adapter at step {step}")
        adapter = str(folder / f"step-{step}.gguf")
        say(checkpoint={"step": step, "metrics": {"train_loss": 2.0 / step}, "adapter": adapter})
    event(2, float("nan") if how == Behaviour.CHATTER else 1.0)
    (folder / "adapter.gguf").write_text("adapter")
    base = "another" if how == Behaviour.OTHER_BASE else order["base"]
    (folder / "adapter.json").write_text(json.dumps({"base_digest": base}))
    say(trained_tokens=len(examples) * order["n_epochs"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
