"""Examples to learn from, for tests: as many as are asked for, each with a question and an answer of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from bot.learning.held_out import is_held_out
from bot.learning.tracing import IMPORTED
from bot.vocabulary import Example
from tests.nouns import MAYA, PASSAGE, TEAM


def thread(number: int, *, held_out: bool = False) -> str:
    """A thread that is for training, or one that is for measuring."""
    names = (f"C0HELP:{number}.{attempt:06}" for attempt in count())
    fields = {"team_id": TEAM, "question_id": "", "is_held_out": False}
    return next(name for name in names if is_held_out(Example.model_construct(**fields, thread=name)) == held_out)


def example(number: int = 1, **changes: Any) -> Example:
    """An approved example that may be trained on."""
    passage = PASSAGE.model_copy(
        update={
            "id": f"p{number}",
            "document_id": f"keys-{number}",
            "source": IMPORTED,
            "text": f"To reset API key {number}, open Settings.",
        }
    )
    fields = {
        "id": f"e{number}",
        "team_id": TEAM,
        "question_id": f"{TEAM}:C0HELP:{number}",
        "question": f"How do I reset API key {number}?",
        "answer": f"To reset API key {number}, open Settings [1].",
        "passages": (passage,),
        "audience": "workspace",
        "status": "approved",
        "produced_by": "human",
        "provider": "human",
        "thread": thread(number),
        "liked_by": (MAYA,),
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return Example.model_validate(fields | changes)


def corrected(number: int = 1, **changes: Any) -> Example:
    """A correction: the bot's own answer was refused."""
    return example(number, origin="correction", refused_answer=f"Key {number} cannot be reset [1].", **changes)


def examples(count: int) -> list[Example]:
    return [example(number) for number in range(count)]
