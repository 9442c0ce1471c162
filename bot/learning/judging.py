"""What an example is worth: who may read it, what is wrong with it, whose word approves it, and whether a model may be
trained on it. Secrets and personal data are out of it before anybody asks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

from bot.learning import linting
from bot.learning.held_out import Neighbours, is_held_out
from bot.persona import Persona, load_persona
from bot.redacting import redact_together
from bot.settings import Settings
from bot.vocabulary import PUBLIC, WORKSPACE, Example, Passage, narrower

EVERYBODY = frozenset({PUBLIC, WORKSPACE})
"""The audiences that training, and whatever everybody sees, may come from."""
OURS = frozenset({"human", "quoting"})
"""Providers whose words may always be trained on: people, and the pages themselves."""


@dataclass(frozen=True)
class Rules:
    """How examples are judged: by which persona's format, and whose word approves them."""

    persona: Persona = field(default_factory=load_persona)
    approval: str = "required"
    trusted_voters: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the settings make."""
        return cls(load_persona(settings.persona_file), settings.approval, settings.trusted_voters)

    def judged(self, example: Example) -> Example:
        """Gives an example with its side of the split and what is wrong with it; approved, where nothing is wrong and
        the settings say that no admin is asked."""
        found = linting.problems(example, self.persona)
        trusts = self.approval == "off" or (
            self.approval == "trusted voters" and not self.trusted_voters.isdisjoint(example.liked_by)
        )
        is_approved = trusts and not found and example.status == "candidate" and example.liked_by
        return example.model_copy(
            update={
                "status": "approved" if is_approved else example.status,
                "is_held_out": is_held_out(example),
                "problems": tuple(found),
            }
        )


def words_of(example: Example) -> str:
    """Names the words of an example, so that a decision on them is known to be about these: others, another name."""
    return hashlib.sha256(f"{example.question}\n{example.answer}".encode()).hexdigest()[:12]


def redacted(example: Example) -> Example:
    """Gives an example without secrets and personal data; one numbering runs through all of its texts."""
    passages = example.passages
    texts = [example.question, example.answer, example.refused_answer or ""]
    texts += [text for passage in passages for text in (passage.title, passage.section, passage.text)]
    question, answer, refused, *rest = redact_together(texts)
    parts = zip(passages, rest[::3], rest[1::3], rest[2::3], strict=True)
    clean = [
        passage.model_copy(update={"title": title, "section": section, "text": text})
        for passage, title, section, text in parts
    ]
    changes = {"question": question, "answer": answer, "passages": tuple(clean), "refused_answer": refused or None}
    return example.model_copy(update=changes)


def audience_of(passages: Iterable[Passage], place_audience: str) -> str:
    """Gives who may read what was said at a place from passages."""
    return reduce(narrower, (passage.audience for passage in passages), place_audience)


def may_be_read(example: Example, readable: frozenset[str] | None) -> bool:
    """Whether who reads these audiences may read an example and every passage of it; None reads everything."""
    audiences = {example.audience, *(passage.audience for passage in example.passages)}
    return readable is None or audiences <= readable


# What may be trained on


def trainable(
    examples: Iterable[Example], persona: Persona, providers: frozenset[str] = frozenset()
) -> tuple[list[Example], list[tuple[Example, str]]]:
    """Parts examples into those to train on and the rest, each with the reason; `providers` are the hosts whose terms
    allow it. All examples are wanted, for those that are held out decide what is too near to them; run `recheck`
    before, which puts aside what rests on a document that has changed."""
    every = list(examples)
    kept = [one for one in every if is_held_out(one) and one.status == "approved"]
    questions, answers = Neighbours(one.question for one in kept), {bare(one.answer) for one in kept}
    usable: list[Example] = []
    refused: list[tuple[Example, str]] = []
    for one in every:
        reason = _refusal(one, persona, providers)
        if reason is None and (questions.of(one.question) or bare(one.answer) in answers):
            reason = "It is nearly the same as one that is held out."
        if reason is None:
            usable.append(one)
        else:
            refused.append((one, reason))
    usable, doubles = _without_doubles(usable)
    return usable, [*refused, *doubles]


def kept_back(refused: Iterable[tuple[Example, str]]) -> dict[str, int]:
    """Counts the approved ones among the examples that `trainable` refused by the kind of their reason, the most
    frequent first."""
    return dict(Counter(kind_of(reason) for one, reason in refused if one.status == "approved").most_common())


def kind_of(reason: str) -> str:
    """Gives a reason without the words, numbers and ids of the one example that it was said of."""
    general = re.sub(r"“[^”]*”", "A sentence", reason).split(": ")[0].rstrip(".")
    general = re.sub(r"[\d,]+ characters", "too many characters", general).partition(", more than")[0]
    general = re.sub(r"(?:\[\d+\])+", "a passage", general)
    return f"{re.sub(r'ex-[0-9a-f]+', 'another one', general)}."


def _refusal(example: Example, persona: Persona, providers: frozenset[str]) -> str | None:
    """Why one example alone must not be trained on."""
    if example.status != "approved":
        return f"It is {'a candidate' if example.status == 'candidate' else example.status}."
    if not may_be_read(example, EVERYBODY):
        return "Not everyone in the workspace may read it."
    if is_held_out(example):
        return "It is held out for measuring."
    if example.provider not in OURS | providers:
        writer = f"{example.produced_by or 'a model'} at {example.provider or 'a host that was not noted'}"
        return f"It was written by {writer}, and TRAINABLE_PROVIDERS does not say that one may train on that."
    found = linting.problems(example, persona)
    return found[0] if found else None


def _without_doubles(examples: list[Example]) -> tuple[list[Example], list[tuple[Example, str]]]:
    """Keeps one of those that ask nearly the same: a person's words before a model's, then the newest."""
    order = sorted(examples, key=lambda one: (one.provider == "human", one.created_at), reverse=True)
    known = Neighbours(one.question for one in order)
    doubles: dict[str, str] = {}
    for index, one in enumerate(order):
        before = [order[near] for near in known.of(one.question) if near < index and order[near].id not in doubles]
        if before:
            doubles[one.id] = f"It asks nearly the same as {before[0].id}."
    return (
        [one for one in examples if one.id not in doubles],
        [(one, doubles[one.id]) for one in examples if one.id in doubles],
    )


def bare(answer: str) -> str:
    """Gives an answer's letters and digits, without its marks: the same for the same words."""
    return "".join(sign for sign in linting.without_marks(answer).lower() if sign.isalnum())
