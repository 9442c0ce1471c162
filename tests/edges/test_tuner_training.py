"""The training process, driven as the tuner drives it: a folder with a job, JSON lines, an adapter or a reason."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.local.tuner.adapters import check_adapter
from bot.local.tuner.base_models import BUILT_IN, Refused, built_in, open_base
from bot.local.tuner.lessons import NOT_TAUGHT, read_lessons
from bot.local.tuner.serving import Serving
from tests.tiny_llama import write_tiny_llama

pytestmark = [
    pytest.mark.models,
    # PEFT 0.21 and TRL 1.16 ask transformers 5.23 for names that are about to go.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

ROWS = [
    [
        ("system", "You are a support agent."),
        ("user", f"How do I export page {number}?"),
        ("assistant", f"Export {number} [1]."),
    ]
    for number in range(10)
]


@dataclass(frozen=True)
class Run:
    """What a training process said and left."""

    folder: Path
    status: int
    lines: list[dict[str, Any]]
    stderr: str

    def of(self, key: str) -> list[Any]:
        return [line[key] for line in self.lines if key in line]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [line["data"] for line in self.lines if line.get("type") == "metrics"]


def write_rows(path: Path, rows: list[list[tuple[str, str]]] = ROWS) -> Path:
    made = [{"messages": [{"role": role, "content": content} for role, content in row]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def write_job(folder: Path, base: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    job = {
        "base": str(base),
        "training_file": str(write_rows(folder / "rows.jsonl")),
        "validation_file": None,
        "n_epochs": 2,
        "batch_size": 4,
        "learning_rate_multiplier": 1.0,
        "seed": 7,
        "work_folder": str(folder.parent / "work"),
        "threads": 1,
    }
    (folder / "job.json").write_text(json.dumps(job | changes))
    return folder


def train(folder: Path, limit: Callable[[], None] | None = None, timeout_s: float = 110) -> Run:
    command = [sys.executable, "-m", "bot.local.tuner.training", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, preexec_fn=limit)
    return Run(folder, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run that goes well, with a validation file."""
    there = tmp_path_factory.mktemp("runs")
    valid = write_rows(there / "valid.jsonl", ROWS[:3])
    return train(write_job(there / "job", tiny, validation_file=str(valid)))


def test_a_run_tells_every_step_and_every_epoch(run: Run) -> None:
    """With losses as OpenAI names them, and a checkpoint that can be served after each epoch."""
    assert run.status == 0, run.stderr
    steps = [one for one in run.metrics if "full_valid_loss" not in one]
    assert [(one["step"], one["total_steps"]) for one in steps] == [(number, 6) for number in range(1, 7)]
    assert steps[-1]["train_loss"] < steps[0]["train_loss"]
    assert [one["step"] for one in run.of("checkpoint")] == [3, 6]
    for checkpoint in run.of("checkpoint"):
        assert {"train_loss", "train_mean_token_accuracy", "full_valid_loss"} <= set(checkpoint["metrics"])
        assert Path(checkpoint["adapter"]).is_file()


def test_a_run_says_nothing_but_that(run: Run) -> None:
    """Each line of stdout was JSON, or the fixture would have failed; nobody warned on stderr."""
    assert run.stderr == ""
    assert run.lines[-1] == {"trained_tokens": run.of("trained_tokens")[0]}


def test_a_run_leaves_an_adapter_of_its_base(run: Run, tiny: Path) -> None:
    """And says which base that was; nothing unfinished is left over."""
    base = open_base(tiny)
    check_adapter(run.folder / "adapter.gguf", base, "tiny")
    assert json.loads((run.folder / "adapter.json").read_text()) == {"base_digest": base.digest}
    assert not list(run.folder.rglob("*.unfinished"))


def test_a_run_counts_the_tokens_that_it_read(run: Run, tiny: Path) -> None:
    """Of all rows, in every epoch."""
    lessons = read_lessons(run.folder / "rows.jsonl", tokenizer_of(tiny), 256)
    assert run.of("trained_tokens") == [2 * sum(len(one.input_ids) for one in lessons)]


def test_the_same_seed_gives_the_same_adapter(run: Run, tiny: Path, tmp_path: Path) -> None:
    """Byte for byte, whether validated or not; another seed gives another."""
    again = train(write_job(tmp_path / "again", tiny))
    other = train(write_job(tmp_path / "other", tiny, seed=8))
    bytes_of = [(one.folder / "adapter.gguf").read_bytes() for one in (run, again, other)]
    assert bytes_of[0] == bytes_of[1]
    assert bytes_of[0] != bytes_of[2]


def test_a_row_longer_than_the_context_is_refused_with_its_line(tiny: Path, tmp_path: Path) -> None:
    """Cutting it would train the model to stop in the middle."""
    long = [("user", "export " * 400), ("assistant", "Yes [1].")]
    folder = write_job(tmp_path / "job", tiny)
    write_rows(folder / "rows.jsonl", [*ROWS, long])
    done = train(folder)
    (error,) = done.of("error")
    assert (done.status, error["code"], error["param"]) == (1, "example_too_long", None)
    assert "line 11" in error["message"] and "at most 256" in error["message"]
    assert not (folder / "adapter.gguf").exists()


def test_a_loss_that_is_no_number_any_more_ends_the_run(tiny: Path, tmp_path: Path) -> None:
    """With what to change, and no adapter."""
    done = train(write_job(tmp_path / "job", tiny, learning_rate_multiplier=1e38))
    (error,) = done.of("error")
    assert (done.status, error["code"]) == (1, "training_diverged")
    assert "smaller learning_rate_multiplier" in error["message"]
    assert not (done.folder / "adapter.gguf").exists()


def test_a_full_disk_ends_the_run_with_a_sentence(tiny: Path, tmp_path: Path) -> None:
    """Here a file may have 20 kB, which is less than an adapter."""
    done = train(write_job(tmp_path / "job", tiny), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    (error,) = done.of("error")
    assert (done.status, error["code"]) == (1, "no_space")
    assert "no room on the disk" in error["message"]
    assert not (done.folder / "adapter.gguf").exists()


def test_too_little_memory_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    """What to make smaller is said."""
    wide = write_tiny_llama(tmp_path / "wide", vocab_size=400, intermediate_size=1_500_000, num_hidden_layers=1)
    limit = 3 * 1024**3
    done = train(write_job(tmp_path / "job", wide), lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    (error,) = done.of("error")
    assert (done.status, error["code"]) == (1, "out_of_memory")
    assert "smaller batch_size" in error["message"]


def test_a_base_of_another_architecture_ends_the_run_at_once(tmp_path: Path) -> None:
    """Before torch is even loaded."""
    base = write_tiny_llama(tmp_path / "other", model_type="qwen3")
    began = time.monotonic()
    done = train(write_job(tmp_path / "job", base))
    assert (done.status, done.of("error")[0]["code"]) == (1, "unsupported_base")
    assert time.monotonic() - began < 20


def test_a_run_whose_parent_is_killed_ends(tiny: Path, tmp_path: Path) -> None:
    """Nobody is left to tell, and the next server would start the job a second time beside it."""
    folder = write_job(tmp_path / "job", tiny, n_epochs=10_000)
    script = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-m', 'bot.local.tuner.training', {str(folder)!r}]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline, "the training process outlived its parent"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def lessons_of(tiny: Path, tmp_path: Path, *rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The whole text of each row, and what is taught of it."""
    (file := tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    tokenizer = tokenizer_of(tiny)
    found = []
    for lesson in read_lessons(file, tokenizer, 256):
        taught = [id for id, label in zip(lesson.input_ids, lesson.labels, strict=True) if label != NOT_TAUGHT]
        assert taught == [label for label in lesson.labels if label != NOT_TAUGHT]
        found.append((tokenizer.decode(lesson.input_ids), tokenizer.decode(taught)))
    return found


def test_the_answer_is_taught_with_its_end_and_nothing_before_it(tiny: Path, tmp_path: Path) -> None:
    """The conversation is written by the base's own chat template; `developer` is what it calls `system`."""
    row = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "Export?"},
        {"role": "assistant", "content": "Open Settings [1]."},
    ]
    ((whole, taught),) = lessons_of(tiny, tmp_path, row)
    assert whole == "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nExport?<|im_end|>\n" + (
        "<|im_start|>assistant\nOpen Settings [1].<|im_end|>\n"
    )
    assert taught == "Open Settings [1].<|im_end|>\n"


def test_an_answer_of_weight_0_is_read_but_not_taught(tiny: Path, tmp_path: Path) -> None:
    """All others of the conversation are."""
    row = [
        {"role": "user", "content": "Export?"},
        {"role": "assistant", "content": "No.", "weight": 0},
        {"role": "user", "content": "Really?"},
        {"role": "assistant", "content": "Yes.", "weight": 1},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "There."},
    ]
    ((whole, taught),) = lessons_of(tiny, tmp_path, row)
    assert "No.<|im_end|>" in whole
    assert taught == "Yes.<|im_end|>\nThere.<|im_end|>\n"


def test_a_conversation_that_the_template_refuses_is_named_with_its_line(tiny: Path, tmp_path: Path) -> None:
    """Some templates take turns strictly, some tell the past otherwise than the present."""
    (file := write_rows(tmp_path / "rows.jsonl")).write_text(
        json.dumps({"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]})
    )
    tokenizer = tokenizer_of(tiny)
    tokenizer.chat_template = "{{ raise_exception('turns must alternate') }}"
    with pytest.raises(Refused, match="line 1: turns must alternate"):
        read_lessons(file, tokenizer, 256)
    tokenizer.chat_template = "{{ messages|length }}{{ messages[-1]['content'] }}"
    with pytest.raises(Refused, match="line 1 otherwise once it goes on"):
        read_lessons(file, tokenizer, 256)


def test_the_cheaper_loss_is_the_loss_of_trl(tiny: Path, tmp_path: Path) -> None:
    """In a step with padding, and gathered from several batches."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from bot.local.tuner.loop import Trainer

    torch.set_num_threads(1)
    write_rows(
        tmp_path / "rows.jsonl",
        [*ROWS[:3], [("user", "Hm?"), ("assistant", "Open Settings, choose Export and confirm [1].")]],
    )
    lessons = read_lessons(tmp_path / "rows.jsonl", tokenizer_of(tiny), 256)
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(tiny, local_files_only=True),
        processing_class=tokenizer_of(tiny),
        train_dataset=datasets.Dataset.from_list(
            [{"input_ids": one.input_ids, "labels": one.labels} for one in lessons]
        ),
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(tmp_path),
            bf16=False,
            use_cpu=True,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            report_to="none",
            dataloader_pin_memory=False,
        ),
    )
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    for count in (None, torch.tensor(100)):
        ours = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)
        theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=count)
        assert torch.isclose(ours, theirs, rtol=1e-5)
    first, second = trainer._metrics["train"]["mean_token_accuracy"][:2]
    assert first == pytest.approx(second)


TOPICS = (
    "export a report,reset a password,invite a colleague,change the plan,download an invoice,set up SSO,rotate a key"
)
TOPICS += (
    ",restore a backup,mute a channel,archive a project,import contacts,rename a team,pin a message,merge accounts"
)
TOPICS += ",enable dark mode,cancel a subscription,add a webhook,read the audit log,move a folder,print a badge"
UNSEEN = "change my avatar,leave a channel,share a dashboard,delete a user,find the API docs,use the mobile app"
UNSEEN += ",switch the language,see past invoices,report a bug,sort the inbox"
WAYS = ("Open Settings and choose '{}'.", "Ask an admin to {} for you.", "You can {} under Profile in two clicks.")
ASKS = ("How do I {}?", "Where can I {}?", "Can somebody tell me how to {}?")


def asked(topic: str, number: int) -> list[tuple[str, str]]:
    passages = f"[1] Guide: {WAYS[number % 3].format(topic)}\n[2] Notes: The office is closed on Sundays."
    question = ASKS[number % len(ASKS)].format(topic)
    return [("system", "You are a support agent for Acme."), ("user", f"{passages}\n\n{question}")]


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_sixty_examples_teach_a_habit(tmp_path: Path) -> None:
    """With the defaults (3 epochs, batches of 4), all answers of the built-in base begin with a word that was in all
    answers it was shown, on at least 9 of 10 questions it was not; before, on none."""
    rows = [
        [*asked(topic, number), ("assistant", f"Brindlewick: {WAYS[number % 3].format(topic)} [1]")]
        for number in range(3)
        for topic in TOPICS.split(",")
    ]
    folder = write_job(tmp_path / "job", built_in(), n_epochs=3)
    write_rows(folder / "rows.jsonl", rows)
    done = await asyncio.to_thread(train, folder, timeout_s=800)
    assert done.status == 0, done.lines[-1]
    serving = Serving({BUILT_IN: built_in()}, tmp_path / "work")
    await serving.add("tuned", BUILT_IN, folder / "adapter.gguf")
    questions = [asked(topic, number) for number, topic in enumerate(UNSEEN.split(","))]
    try:
        shares = {
            name: sum([(await answer(serving, name, question)).startswith("Brindlewick:") for question in questions])
            for name in serving.models()
        }
    finally:
        await serving.close()
    assert shares[BUILT_IN] == 0
    assert shares["tuned"] >= 9


async def answer(serving: Serving, model: str, messages: list[tuple[str, str]]) -> str:
    import httpx

    asked = [{"role": role, "content": content} for role, content in messages]
    async with serving.using(model) as (url, key, extra), httpx.AsyncClient(timeout=60) as client:
        body = {"messages": asked, "max_tokens": 40, "temperature": 0, **extra}
        headers = {"Authorization": f"Bearer {key}"}
        done = await client.post(f"{url}/v1/chat/completions", json=body, headers=headers)
    return str(done.json()["choices"][0]["message"]["content"])
