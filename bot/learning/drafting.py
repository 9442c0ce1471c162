"""Examples that the configured model drafts, for people to review: all of them, whatever the settings approve by
themselves. Each is kept as it comes, so that a run which is broken off goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.errors import ModelUnavailable
from bot.evaluating import Asked
from bot.journal import Journal, now
from bot.learning.importing import digest, example_id
from bot.learning.judging import Rules, audience_of, redacted
from bot.progress import Progress
from bot.vocabulary import Answer, Example, Question

AT_A_TIME = 4
"""Questions that the model answers side by side."""
PATIENCE = 5
"""Failures of the model, one after the other, after which drafting is given up."""


@dataclass(frozen=True)
class Drafted:
    """What became of the questions."""

    added: tuple[Example, ...]
    known: int
    unanswered: tuple[Asked, ...]
    """What the documents do not answer, or what is no question."""
    failed: tuple[Asked, ...]
    """Where the model failed."""


async def draft(
    journal: Journal,
    questions: Sequence[Asked],
    answer: Callable[[Question], Awaitable[Answer]],
    *,
    audience: str,
    readable: frozenset[str],
    rules: Rules | None = None,
    progress: Progress = lambda done, total, label: None,
) -> Drafted:
    """Lets the model answer questions, and puts each answer among the candidates as it comes: a run that is broken off
    goes on where it was. Raises ModelUnavailable when the model fails again and again."""
    rules = rules or Rules()
    added: list[Example] = []
    left: dict[str, list[Asked]] = {"known": [], "unanswered": [], "failed": []}
    in_a_row = 0
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(asked: Asked) -> None:
        nonlocal in_a_row
        example, outcome = None, "known"
        id = example_id("draft", asked.id, asked.question)
        async with slots:
            if in_a_row >= PATIENCE:
                return
            if not (await journal.example(id) or await journal.was_rejected(id)):
                example, outcome = await _drafted(id, journal.team_id, asked, answer, audience, readable)
                in_a_row = in_a_row + 1 if outcome == "failed" else 0
        if example:
            added.append(rules.judged(example))
            await journal.keep_example(added[-1])
        else:
            left[outcome].append(asked)
        progress(len(added) + sum(map(len, left.values())), len(questions), asked.question[:60])

    try:
        async with asyncio.TaskGroup() as group:
            for asked in questions:
                group.create_task(one(asked))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if in_a_row >= PATIENCE:
        raise ModelUnavailable(
            f"The model failed {in_a_row} times in a row; {len(added)} answers were drafted. Run it again to go on."
        )
    return Drafted(tuple(added), len(left["known"]), tuple(left["unanswered"]), tuple(left["failed"]))


async def _drafted(
    id: str,
    team_id: str,
    asked: Asked,
    answer: Callable[[Question], Awaitable[Answer]],
    audience: str,
    readable: frozenset[str],
) -> tuple[Example | None, Literal["added", "unanswered", "failed"]]:
    question = Question(
        id=f"draft:{id}", team_id=team_id, text=asked.question, readable=readable, history=asked.history
    )
    done = await answer(question)
    if done.status == "failed":
        return None, "failed"
    if done.status != "answered" or not done.citations:
        return None, "unanswered"
    example = Example(
        id=id,
        team_id=team_id,
        question_id=f"draft:{id}",
        question=done.query or asked.question,
        answer=done.text,
        passages=done.passages,
        audience=audience_of(done.passages, audience),
        produced_by=done.model,
        provider=done.provider,
        origin="draft",
        thread=f"draft:{digest(asked.question.lower())}",
        created_at=now(),
    )
    return redacted(example), "added"
