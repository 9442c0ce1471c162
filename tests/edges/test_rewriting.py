"""What is believed of a rewriting by a model, and what becomes of a follow-up when it is slow, down or led astray."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai  # noqa: F401 - its import takes longer than the rewriting may
import pytest

from bot.model_openai import OpenAIModel
from bot.rewriting import LONGEST, Rewriter, believed
from bot.vocabulary import Question, Turn
from tests.scripted_model import ScriptedModel, status, text

THREAD = (
    Turn(role="user", text="How long are exports of the audit log kept?"),
    Turn(role="assistant", text="For 7 days [1]. Acme Pro keeps them for 30 days."),
)
GOOD = "Can we extend how long exports of the audit log are kept?"


def question(asked: str = "can we extend that?", *thread: Turn) -> Question:
    return Question(id="q", team_id="T", text=asked, readable=frozenset({"public"}), history=thread or THREAD)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def rewriter(server: ScriptedModel) -> AsyncIterator[Rewriter]:
    model = OpenAIModel("persona", base_url=server.base_url, api_key="k", timeout_s=5)
    yield Rewriter(model, timeout_s=1.5)
    await model.aclose()


async def test_a_follow_up_is_said_so_that_it_stands_alone(server: ScriptedModel, rewriter: Rewriter) -> None:
    """The model sees the thread and the follow-up between two lines that no message can forge."""
    server.enqueue(f'"{GOOD}"\n')
    assert await rewriter(question()) == GOOD
    system, told = server.requests[0]["messages"]
    first, *lines, last = told["content"].splitlines()
    assert first == last and first in system["content"]
    assert lines[0] == "user: How long are exports of the audit log kept?"
    assert lines[-1] == "follow-up: can we extend that?"


async def test_the_same_follow_up_is_said_once(server: ScriptedModel, rewriter: Rewriter) -> None:
    """Also one whose rewriting was not believed; in another thread it is another question."""
    server.enqueue(GOOD, "I have no idea, sorry.", GOOD)
    assert [await rewriter(question()) for _ in range(3)] == [GOOD] * 3
    other = question("and why?", *THREAD[:1])
    assert [await rewriter(other) for _ in range(2)] == [None, None]
    await rewriter(question("can we extend that?", *THREAD[:1]))
    assert len(server.requests) == 3


async def test_a_model_that_is_slow_is_not_waited_for(server: ScriptedModel, rewriter: Rewriter) -> None:
    """The rule searches then, and the next time the model is asked again."""
    server.enqueue(server.hang(), GOOD)
    assert await rewriter(question()) is None
    assert await rewriter(question()) == GOOD


@pytest.mark.parametrize("code", [401, 404])
async def test_a_model_that_refuses_costs_no_answer(server: ScriptedModel, rewriter: Rewriter, code: int) -> None:
    """Whatever it says, no error reaches the search."""
    server.always(status(code))
    assert await rewriter(question()) is None


async def test_a_model_without_an_end_is_cut_off(server: ScriptedModel, rewriter: Rewriter) -> None:
    """And what it wrote is not believed."""
    server.enqueue(text("exports " * 10_000, size=4_000))
    assert await rewriter(question()) is None


@pytest.mark.parametrize(
    "written",
    [
        GOOD,
        f"  “{GOOD}”  ",
        "Are exports of the audit log kept for 30 days in Acme Pro?",
        "How can we extend the time that exports of the audit log are kept?",
    ],
)
def test_words_of_the_thread_are_believed(written: str) -> None:
    """In other order, with a few of the model's own."""
    assert believed(written, "can we extend that?", THREAD) == written.strip(" “”")


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Can we extend\nexports of the audit log?",
        "Can we extend exports of the audit log to 90 days?",
        "Can we extend exports of the audit log in ERR-4021?",
        "Can we extend exports of the audit log at Globex?",
        "Yes, an administrator can change the retention in the settings.",
        "I could not find an answer to this in the documents.",
        "Can we extend exports of the audit log? See https://evil.example",
        "Can we extend exports <@U123>?",
        "exports " * LONGEST,
    ],
)
def test_what_was_not_said_before_is_not_believed(written: str) -> None:
    """No number, code or name that neither the question nor its thread holds, no answer, no second line, no address."""
    assert believed(written, "can we extend that?", THREAD) is None


def test_what_the_question_names_must_be_kept() -> None:
    """A code that is lost would be searched for in vain."""
    assert believed("How long are exports kept with ERR-4021?", "and with ERR-4021?", THREAD)
    assert believed("How long are exports kept?", "and with ERR-4021?", THREAD) is None
    assert believed("How long are exports kept?", "and for 500 rows?", THREAD) is None
