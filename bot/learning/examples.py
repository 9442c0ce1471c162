"""From a thumbs-up to an example. A thumbs-up is a candidate, not a label: an admin approves or rejects it, and only
what everyone in the workspace may read is ever exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

from bot.errors import TellUser
from bot.journal import Entry, Journal, example_id, now
from bot.persona import Persona, training_messages
from bot.vocabulary import PUBLIC, WORKSPACE, Example, ExampleStatus, Verdict, narrower

WANTED = 500
"""Approved examples from which on a tuned persona is worth its while (the seed's figure)."""


def proposed(entry: Entry, verdicts: Iterable[Verdict], place_audience: str, team_id: str) -> Example | None:
    """Makes a candidate of a liked answer; None when there is nothing to learn from it: nobody likes it, it is no
    answer with citations, or its asker alone saw it."""
    likers = tuple(sorted(verdict.user_id for verdict in verdicts if verdict.is_helpful))
    answer = entry.answer
    if not likers or answer is None or answer.status != "answered" or not answer.citations or entry.asked.is_private:
        return None
    return Example(
        id=example_id(entry.asked.id),
        team_id=team_id,
        question_id=entry.asked.id,
        question=answer.query or entry.asked.text,
        answer=answer.text,
        passages=answer.passages,
        audience=reduce(narrower, (passage.audience for passage in answer.passages), place_audience),
        produced_by=answer.model,
        liked_by=likers,
        created_at=now(),
    )


async def keep(journal: Journal, entry: Entry, verdicts: Iterable[Verdict], place_audience: str) -> Example | None:
    """Brings the stored example of an answer in line with the verdicts on it. What an admin has decided on stays."""
    stored = await journal.example(example_id(entry.asked.id))
    if stored and stored.status != "candidate":
        return stored
    example = proposed(entry, verdicts, place_audience, journal.team_id)
    if example is None:
        await journal.remove_example(entry.asked.id)
        return None
    if stored:
        example = example.model_copy(update={"created_at": stored.created_at})
    await journal.keep_example(example, entry=entry)
    return example


async def question_changed(journal: Journal, entry: Entry) -> None:
    """Takes verdicts and example of an answer along that is about to be replaced; what an admin has approved is kept
    aside, out of training."""
    await journal.forget_verdicts(entry.asked.id)
    stored = await journal.example(example_id(entry.asked.id))
    if stored and stored.status == "approved":
        await journal.keep_example(stored.model_copy(update={"status": "quarantined"}))
    elif stored:
        await journal.remove_example(entry.asked.id)


async def review(
    journal: Journal, id: str, status: ExampleStatus, reviewer: str, readable: frozenset[str] | None
) -> Example:
    """Approves or rejects an example; `readable` is None for an operator at the shell, who may read everything.

    Raises TellUser when there is none that may be read here.
    """
    example = await journal.example(id)
    if example is None or (readable is not None and example.audience not in readable):
        raise TellUser(f"There is no example `{id[:40]}` that may be read here.")
    reviewed = example.model_copy(update={"status": status, "reviewed_by": reviewer, "reviewed_at": now()})
    await journal.keep_example(reviewed)
    return reviewed


def export(examples: Iterable[Example], persona: Persona) -> Iterator[dict[str, Any]]:
    """Gives the training lines of the examples that everyone in the workspace may read, in OpenAI's chat layout."""
    for example in examples:
        if example.audience in (PUBLIC, WORKSPACE):
            yield {"messages": training_messages(persona, example.question, example.passages, example.answer)}
