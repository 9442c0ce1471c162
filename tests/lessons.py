"""Examples to learn from, for tests: as many as are asked for, each with a question and an answer of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.vocabulary import Example
from tests.nouns import MAYA, PASSAGE, TEAM

REFUSAL = "The documents do not answer this."


def example(number: int = 1, **changes: Any) -> Example:
    """An approved example that may be trained on."""
    fields = {
        "id": f"e{number}",
        "team_id": TEAM,
        "question_id": f"{TEAM}:C0HELP:{number}",
        "question": f"How do I reset API key {number}?",
        "answer": f"To reset API key {number}, open Settings [1].",
        "passages": (PASSAGE,),
        "audience": "workspace",
        "status": "approved",
        "produced_by": "human",
        "liked_by": (MAYA,),
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return Example.model_validate(fields | changes)


def corrected(number: int = 1, **changes: Any) -> Example:
    """A correction: the bot's own answer was refused."""
    return example(number, origin="correction", refused_answer=f"Key {number} cannot be reset [1].", **changes)


def examples(count: int) -> list[Example]:
    return [example(number) for number in range(count)]
