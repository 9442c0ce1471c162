"""What every persona model keeps, the quoting one and the one behind OpenAI's API alike."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from bot.answering import PersonaModel, Prompt
from bot.model_openai import OpenAIModel
from bot.model_quoting import QuotingModel
from bot.persona import load_persona, messages
from bot.vocabulary import Passage
from tests.scripted_model import ScriptedModel

PASSAGES = (
    Passage(
        id="keys#0",
        document_id="keys",
        source="docs",
        title="API keys",
        section="Reset a key",
        url="https://docs.heronpost.example/keys",
        text="To reset an API key, open Settings > API Keys and select **Regenerate**. The old key stops at once.",
        audience="public",
    ),
    Passage(
        id="limits#0",
        document_id="limits",
        source="docs",
        title="Rate limits",
        text="A key may send 40 requests a second.",
        audience="public",
    ),
)


def prompt(question: str = "How do I reset my API key?", passages: tuple[Passage, ...] = PASSAGES) -> Prompt:
    return Prompt(question, question, passages, messages(load_persona(), question, passages))


@pytest.fixture(params=["quoting", "openai"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[PersonaModel]:
    if request.param == "quoting":
        yield QuotingModel()
        return
    async with ScriptedModel() as server:
        server.always("Open **Settings > API Keys** and select **Regenerate** [1]. The old key stops at once [1].")
        client = OpenAIModel("scripted", base_url=server.base_url, api_key="k")
        yield client
        await client.aclose()


async def test_it_writes_text_with_marks_of_given_passages(model: PersonaModel) -> None:
    """The marks lead to passages of the prompt, counted from 1."""
    text = "".join([delta async for delta in model.write(prompt())])
    numbers = [int(number) for number in re.findall(r"\[(\d+)\]", text)]
    assert "Regenerate" in text
    assert numbers and all(1 <= number <= len(PASSAGES) for number in numbers)


async def test_it_yields_no_empty_text(model: PersonaModel) -> None:
    """Every delta holds something, so that the first one marks the first token."""
    assert all([bool(delta) async for delta in model.write(prompt())])


async def test_a_reader_may_leave_in_the_middle(model: PersonaModel) -> None:
    """Closing the stream early leaves nothing behind, and the model still answers the next question."""
    stream = model.write(prompt())
    async with aclosing(stream):  # type: ignore[type-var]
        await anext(stream)
    assert "".join([delta async for delta in model.write(prompt())])


async def test_it_has_a_name_for_the_journal(model: PersonaModel) -> None:
    """The name says which model wrote an answer."""
    assert model.name
