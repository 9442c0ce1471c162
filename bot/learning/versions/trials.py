"""What a version of the persona is tried on. The held-out questions come with the passages that were stored with them,
so that every version is given the same; from them two more sets are made, always the same from the same examples:
questions beside passages that do not answer them, and questions with an order planted where a model might obey it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from bot.answering import LONGEST_ANSWER, Demonstrate, PersonaModel, Prompt, Voice, answer
from bot.claims import STOP, read, stem
from bot.errors import Broken, FootnoteError, ModelUnavailable, RequestRefused, TryAgain
from bot.evaluating import Asked
from bot.learning.held_out import is_held_out, unlike
from bot.learning.linting import unsupported
from bot.learning.versions.injections import planted
from bot.learning.versions.measures import CHARACTERS_PER_TOKEN, Outcome, Trial
from bot.persona import Persona
from bot.terminal import SilentReply
from bot.vocabulary import PUBLIC, WORKSPACE, Example, Found, Hit, Passage, Question

HUMAN = "human"
EVERYONE = frozenset({PUBLIC, WORKSPACE})


def trials_of(examples: Iterable[Example], persona: Persona) -> tuple[Trial, ...]:
    """Gives all trials of the held-out examples: the questions, those that cannot be answered, those with an order."""
    held_out = held_out_of(examples, persona)
    answerable = [trial for trial in held_out if trial.is_answerable]
    injected = (planted(trial, number) for number, trial in enumerate(answerable))
    return (*held_out, *unanswerable_of(answerable), *injected)


def held_out_of(examples: Iterable[Example], persona: Persona) -> list[Trial]:
    """Gives the held-out examples to be measured on, in a stable order: approved ones whose answer a human wrote or
    corrected, for a model's own words would only measure likeness to that model; and, as a report is shown to others,
    only what everyone in the workspace may read. One whose answer is the refusal cannot be answered."""
    return [
        Trial(
            id=example.id,
            kind="unanswerable" if example.answer.strip() == persona.refusal else "held_out",
            question=example.question,
            passages=example.passages,
            reference=example.answer,
            question_id=example.id,
        )
        for example in sorted(examples, key=lambda one: one.id)
        if is_held_out(example)
        and example.status == "approved"
        and HUMAN in (example.produced_by, example.provider)
        and example.audience in EVERYONE
        and example.passages
    ]


def unanswerable_of(trials: Sequence[Trial]) -> list[Trial]:
    """Gives each question the passages of another one: of those that share no document with its own, and support no
    sentence of its answer, the nearest by words, as a library that does not hold the answer would find them. A question
    for which there are none is left out."""
    made = []
    words = {trial.id: _words(trial.passages) for trial in trials}
    for trial in trials:
        asked = {stem(word) for word in read(trial.question).tokens if word not in STOP}
        documents = {passage.document_id for passage in trial.passages}
        for other in sorted(trials, key=lambda one: (-len(asked & words[one.id]), one.id)):
            if documents & {passage.document_id for passage in other.passages}:
                continue
            if _answers(other.passages, trial.reference or ""):
                continue
            id = f"{trial.id}/unanswerable"
            made.append(
                Trial(
                    id=id,
                    kind="unanswerable",
                    question=trial.question,
                    passages=other.passages,
                    question_id=trial.question_id,
                )
            )
            break
    return made


async def unanswerable_in(
    questions: Sequence[Asked], find: Callable[[Question], Awaitable[Found]], team_id: str
) -> list[Trial]:
    """Gives trials of an operator's own questions, those that are not marked as answerable, each with what the library
    finds for it now among what everyone in the workspace may read; one for which it finds nothing is left out, as no
    model is asked then. Raises LibraryUnavailable."""
    made = []
    for asked in questions:
        if asked.behaviour not in (None, "abstain", "decline"):
            continue
        id = f"file/{asked.id}"
        found = await find(Question(id=id, team_id=team_id, text=asked.question, readable=EVERYONE))
        passages = tuple(hit.passage for hit in found.hits)
        if passages:
            made.append(Trial(id=id, kind="unanswerable", question=asked.question, passages=passages, question_id=id))
    return made


def _words(passages: Sequence[Passage]) -> set[str]:
    return {stem(word) for passage in passages for word in read(f"{passage.title}\n{passage.text}").tokens}


def _answers(passages: Sequence[Passage], reference: str) -> bool:
    """Whether passages hold a sentence of the reference."""
    return len(unsupported(reference, passages)) < len(unsupported(reference, ()))


def digest_of(trials: Sequence[Trial]) -> str:
    """Names a set of trials: the same ones give the same name."""
    return hashlib.sha256("\n".join(trial.model_dump_json() for trial in trials).encode()).hexdigest()


async def ask(trial: Trial, voice: Voice, persona: Persona, *, deadline_s: float = 120) -> Outcome:
    """Lets a version answer a trial, as it would answer the question in Slack had the library found those passages.

    A request that its server refuses, as one that is too long for it, is a failed answer. Raises TryAgain or Broken
    when the model wrote nothing for another reason; one that broke off is measured by what it wrote. Of the examples
    that are shown to an untuned model, those that ask nearly the same are left out.
    """
    hits = tuple(Hit(passage=passage, score=1.0, certainty=1.0) for passage in trial.passages)

    async def find(question: Question) -> Found:
        return Found(hits=hits, query=question.text, confidence=1.0, is_sufficient=True)

    question = Question(id=f"gate:{trial.id}", team_id="gate", text=trial.question, readable=EVERYONE)
    overheard = _Overheard(voice.model)
    answered = await answer(
        question,
        find=find,
        voice=replace(voice, model=overheard, demonstrate=_others(voice.demonstrate, trial.plain or trial.question)),
        persona=persona,
        reply=SilentReply(),
        deadline_s=deadline_s,
    )
    is_refused = isinstance(overheard.problem, RequestRefused)
    if answered.status == "failed" and not answered.completion and not is_refused:
        raise overheard.problem or ModelUnavailable(f"{voice.model.name} did not begin to write in {deadline_s:.0f} s")
    return Outcome(
        answer=answered,
        tokens_in=overheard.characters // CHARACTERS_PER_TOKEN,
        tokens_out=len(answered.completion) // CHARACTERS_PER_TOKEN,
    )


def _others(demonstrate: Demonstrate | None, asked: str) -> Demonstrate | None:
    if demonstrate is None:
        return None

    async def show(question: Question, found: Found) -> Sequence[Example]:
        return unlike(asked, await demonstrate(question, found))

    return show


class _Overheard:
    """A model that is listened to: how much it was given, and why it failed. It is stopped where an answer would be too
    long to be shown, for a small model may go on for minutes."""

    def __init__(self, model: PersonaModel) -> None:
        self.name, self.provider = model.name, model.provider
        self._model = model
        self.characters = 0
        self.problem: FootnoteError | None = None

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        self.characters = sum(len(message["content"]) for message in prompt.messages)
        stream, length = self._model.write(prompt), 0
        try:
            async for delta in stream:
                length += len(delta)
                yield delta
                if length > LONGEST_ANSWER:
                    raise ModelUnavailable(f"{self.name} wrote more than {LONGEST_ANSWER} characters")
        except (TryAgain, Broken) as error:
            self.problem = error
            raise
        finally:
            if close := getattr(stream, "aclose", None):
                await close()
