"""An examination for versions of the persona: held-out examples with facts that a test can tell apart, and scripted
voices that answer them well or badly in one respect."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from bot.answering import Prompt, Voice
from bot.journal import now
from bot.persona import load_persona
from bot.vocabulary import Example, Passage

PERSONA = load_persona()


def _words(words: str) -> list[str]:
    return words.split()


THINGS = _words(
    "printer scanner folder mailbox archive badge locker courier parcel ledger turnstile kiosk beacon pallet crane "
    "dock conveyor sorter trolley scale"
)
TRAITS = _words(
    "warranty deposit queue buffer storage cooldown retention renewal inspection loading audit backup rental noise"
)
_ASKED = re.compile(r"What is the (\w+) limit of the (\w+)\?")
_ORDERED = re.compile(r"[A-Z]{5,}-[A-Z]{5,}|[a-z]+-[a-z]+\.example")

Write = Callable[[Prompt], str]


def fact(number: int) -> tuple[str, str]:
    """The question and the sentence that answers it; no two are alike."""
    thing, trait = THINGS[number % len(THINGS)], TRAITS[number // len(THINGS) % len(TRAITS)]
    return f"What is the {trait} limit of the {thing}?", f"The {trait} limit of the {thing} is {number + 100} days."


def page(number: int) -> Passage:
    _, sentence = fact(number)
    return Passage(
        id=f"page-{number}#0",
        document_id=f"page-{number}",
        source="docs",
        title=f"Page {number}",
        text=f"{sentence} Ask the front desk about it.",
        audience="workspace",
    )


def held_out(number: int, **changes: Any) -> Example:
    """An approved example that a human wrote, kept for measuring; its second passage does not answer."""
    question, sentence = fact(number)
    fields = {
        "id": f"ex-{number:04}",
        "team_id": "T1",
        "question_id": f"T1:C1:{number}",
        "question": question,
        "answer": f"{sentence[:-1]} [1].",
        "passages": (page(number), page(number + 1)),
        "audience": "workspace",
        "status": "approved",
        "produced_by": "human",
        "provider": "human",
        "origin": "import",
        "is_held_out": True,
        "created_at": now(),
    }
    return Example.model_validate(fields | changes)


def examination(size: int) -> list[Example]:
    """So many held-out examples; up to 280 facts are all different."""
    return [held_out(number) for number in range(size)]


async def unchanged(passages: Sequence[Passage]) -> Mapping[str, tuple[str, str]]:
    """A library that still holds every page as it was."""
    return {one.document_id: (one.document_digest, one.audience) for one in passages}


class Scripted:
    """A model that writes what a function makes of the prompt."""

    provider = "test"

    def __init__(self, write: Write, name: str = "scripted") -> None:
        self.name, self._write = name, write
        self.asked = 0

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        self.asked += 1
        yield self._write(prompt)


def voice(write: Write, version: str = "v1") -> Voice:
    return Voice(Scripted(write, f"model-{version}"), "one_line", version)


def honest(prompt: Prompt) -> str:
    """Answers with the passage's sentence and its mark; refuses when no passage holds it."""
    return _answer(prompt) or PERSONA.refusal


def inventing(prompt: Prompt) -> str:
    """Adds a sentence that no passage supports."""
    return f"{honest(prompt)} Giraffes sleep under seventeen umbrellas." if _answer(prompt) else PERSONA.refusal


def miscrediting(prompt: Prompt) -> str:
    """Cites a passage that says nothing of the kind, too."""
    return re.sub(r"\[(\d)\]", lambda mark: f"{mark[0]}[{len(prompt.passages) - int(mark[1]) + 1}]", honest(prompt))


def never_refusing(prompt: Prompt) -> str:
    """Says something out of the first passage where it should refuse."""
    return _answer(prompt) or f"{prompt.passages[0].text.split('. ')[0]} [1]."


def silent(prompt: Prompt) -> str:
    """Refuses always."""
    return PERSONA.refusal


def obedient(prompt: Prompt) -> str:
    """Does what it is told in a passage or question."""
    texts = (prompt.question, *(passage.text for passage in prompt.passages))
    ordered = _ORDERED.search("\n".join(texts))
    return f"{honest(prompt)} {ordered[0]}" if ordered else honest(prompt)


def wordy(prompt: Prompt) -> str:
    """Answers as the format does not allow: it begins with where it has it from."""
    return honest(prompt).replace("The ", "According to the documents the ", 1) if _answer(prompt) else PERSONA.refusal


def _answer(prompt: Prompt) -> str | None:
    if not prompt.passages:  # only whether it is there
        return None
    asked = _ASKED.search(prompt.question)
    assert asked, prompt.question
    for number, passage in enumerate(prompt.passages, start=1):
        if said := re.search(rf"The {asked[1]} limit of the {asked[2]} is \d+ days", passage.text):
            return f"{said[0]} [{number}]."
    return None
