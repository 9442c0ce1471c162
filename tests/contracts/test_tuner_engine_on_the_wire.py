"""The whole tuner, nothing faked: SmolLM2 answers, is trained, and answers again, all by OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.contracts.test_tuner_wire import processes_naming
from tests.tuner import Tuner, examples

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

BASE = "smollm2-135m-instruct"
QUESTION: Any = [{"role": "user", "content": "Name a colour."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tuner]:
    async with Tuner(tmp_path_factory.mktemp("tuner"), is_real=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(tuner: Tuner) -> AsyncOpenAI:
    return tuner.client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuned(tuner: Tuner, tmp_path_factory: pytest.TempPathFactory) -> openai.types.fine_tuning.FineTuningJob:
    """What the seed's own code gives, with base URL, key and model changed, and polled by `retrieve`."""
    path = tmp_path_factory.mktemp("seed") / "training_data.jsonl"
    await asyncio.to_thread(path.write_bytes, examples())

    def seed() -> openai.types.fine_tuning.FineTuningJob:
        client = tuner.sync
        with path.open("rb") as file:
            response = client.files.create(file=file, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            training_file=response.id,
            model=BASE,
            hyperparameters={
                "n_epochs": 3,
                "batch_size": 4,
            },
        )
        while job.status in ("validating_files", "queued", "running"):
            time.sleep(0.2)
            job = client.fine_tuning.jobs.retrieve(job.id)
        return job

    return await asyncio.to_thread(seed)


async def test_the_base_answers_whole_and_streamed(client: AsyncOpenAI) -> None:
    """With usage, under its own name, the same text either way."""
    arguments: dict[str, Any] = {"model": BASE, "messages": QUESTION, "max_tokens": 12, "temperature": 0}
    whole = await client.chat.completions.create(**arguments)
    stream = await client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text and text
    assert {whole.model, *(chunk.model for chunk in chunks)} == {BASE}
    assert (
        whole.usage and chunks[-1].usage and whole.usage.completion_tokens == chunks[-1].usage.completion_tokens <= 12
    )


async def test_an_answer_follows_a_json_schema(client: AsyncOpenAI) -> None:
    """`response_format` holds llama.cpp to it; a schema that is none is refused in OpenAI's form."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    answer = await client.chat.completions.create(
        model=BASE,
        messages=QUESTION,
        max_tokens=30,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "blue")
    schema["type"] = "nonsense"
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        await client.chat.completions.create(
            model=BASE,
            messages=QUESTION,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        )


async def test_a_prompt_that_is_too_long_is_told_as_openai_does(client: AsyncOpenAI) -> None:
    """`context_length_exceeded`, with the figures of llama.cpp."""
    with pytest.raises(openai.BadRequestError) as problem:
        await client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "key " * 20_000}])
    assert (problem.value.code, problem.value.param) == ("context_length_exceeded", "messages")


async def test_the_seeds_code_trains_a_model(tuner: Tuner, client: AsyncOpenAI, tuned: Any) -> None:
    """Succeeded, with its loss as events and one checkpoint an epoch."""
    assert tuned.status == "succeeded", tuned.error
    assert tuned.fine_tuned_model == f"ft:{BASE}:local::{tuned.id[-8:]}" and tuned.trained_tokens > 0
    assert (tuned.hyperparameters.n_epochs, tuned.hyperparameters.batch_size) == (3, 4)
    events = [event async for event in client.fine_tuning.jobs.list_events(tuned.id, limit=100)]
    losses = [event.data["train_loss"] for event in events if event.type == "metrics" and "train_loss" in event.data]
    assert len(losses) == 9 and losses[0] < losses[-1], "newest first"
    checkpoints = [one async for one in client.fine_tuning.jobs.checkpoints.list(tuned.id)]
    assert [one.step_number for one in checkpoints] == sorted((one.step_number for one in checkpoints), reverse=True)


async def test_the_tuned_model_answers_otherwise_than_its_base(client: AsyncOpenAI, tuned: Any) -> None:
    """By its own name; the base and the checkpoints stay themselves beside it."""
    first = (await client.fine_tuning.jobs.checkpoints.list(tuned.id)).data[-1].fine_tuned_model_checkpoint
    names = [BASE, tuned.fine_tuned_model, first]
    ask: Any = [
        {"role": "system", "content": "You are a support agent for Heronpost."},
        {"role": "user", "content": "How do I reset my key?"},
    ]

    async def answer(name: str) -> str:
        told = await client.chat.completions.create(model=name, messages=ask, max_tokens=16, temperature=0)
        assert told.model == name
        return told.choices[0].message.content or ""

    alone = [await answer(name) for name in names]
    assert alone[0] != alone[1], "it learnt nothing"
    assert list(await asyncio.gather(*map(answer, names))) == alone, "together they are mixed up"


async def test_a_training_is_cancelled_and_another_base_is_refused(tuner: Tuner, client: AsyncOpenAI) -> None:
    """The real process dies at once, and chat works all the while."""
    job = await tuner.job(model=BASE)
    async with asyncio.timeout(60):
        while not any(message.startswith("Training on") for message in await tuner.messages(job.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await client.chat.completions.create(model=BASE, messages=QUESTION, max_tokens=2)).choices
    process = processes_naming(job.id)
    began = time.monotonic()
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    assert time.monotonic() - began < 5
    assert len(process) == 1 and not processes_naming(job.id)
    with pytest.raises(openai.BadRequestError, match="gpt-4o-mini"):
        await tuner.job(model="gpt-4o-mini")


async def test_a_tuned_model_is_served_again_after_a_restart(tuner: Tuner, tuned: Any, tmp_path: Path) -> None:
    """The last test here: it stops the server of this module and starts another one on its folder."""
    arguments: dict[str, Any] = {"model": tuned.fine_tuned_model, "messages": QUESTION, "max_tokens": 8}
    before = await tuner.client.chat.completions.create(**arguments, temperature=0)
    assert await tuner.stop() == 0
    async with Tuner(tuner.folder.parent, is_real=True) as again:
        after = await again.client.chat.completions.create(**arguments, temperature=0)
    assert after.choices[0].message.content == before.choices[0].message.content
