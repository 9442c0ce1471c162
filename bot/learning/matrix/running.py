"""The decision matrix: which way to answer is best for these documents and these questions, measured, not believed.
Every arm is given the same passages, found once, the threshold off. The arms take turns within each question, so that
whatever slows the machine slows them all. What is answered is kept in a file of JSON lines as it comes: a run that is
broken off goes on where it was, and one with a further arm asks only that. An arm that fails is a figure, no crash."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.answering import Demonstrate, Voice, answer
from bot.errors import TellUser
from bot.evaluating import Asked
from bot.learning.held_out import unlike, unseen
from bot.learning.matrix.arms import Arm
from bot.learning.matrix.cases import Case, prepare
from bot.learning.matrix.figures import figures
from bot.learning.matrix.speaking import Speaker, Speech
from bot.learning.versions.measures import CHARACTERS_PER_TOKEN
from bot.persona import Persona
from bot.progress import Progress
from bot.terminal import SilentReply
from bot.vocabulary import Answer, Example, Found, Frozen, Hit, Passage, Question

PATIENCE = 5
"""Answers that may fail in a row before an arm is not asked any more."""

Nearest = Callable[[int], Demonstrate]
"""Gives what shows so many approved examples."""

_NO_PASSAGE = Passage(id="", document_id="", source="", title="", text="", audience="")
"""What an answer from memory is checked against: it supports nothing."""


class Given(Frozen):
    """What one arm answered to one case."""

    key: str
    """A digest of everything that the answer depends on."""
    case: str
    arm: str
    answer: Answer
    tokens_in: int
    tokens_out: int
    tokens_are_counted: bool = True
    """By the server; else they are estimated by the length."""
    problem: str = ""
    was_kept: bool = False
    """It comes from an earlier run."""


async def run_matrix(
    asked: Sequence[Asked],
    arms: Sequence[Arm],
    *,
    find: Callable[[Question, int], Awaitable[Found]],
    endpoint: Callable[[Arm], tuple[str | None, str | None]],
    persona: Persona,
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str,
    kept: Path | None = None,
    nearest: Nearest | None = None,
    taught: Sequence[Example] = (),
    timeout_s: float = 20,
    deadline_s: float = 45,
    progress: Progress = lambda done, total, label: None,
    announce: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Asks every arm every question and gives `{"arms", "summary", "differences", "claims", "recommendations",
    "answers", "cases"}`; see `figures.figures`. Differences are against the first arm.

    `endpoint` gives base URL and key of an arm. What asks nearly the same as one of `taught`, on which tuned arms were
    trained, is not asked; `trained_on` counts it. `announce` is told how much will be asked before it is.

    Raises TellUser when an arm cannot be opened, or nothing can be asked.
    """
    if any(arm.nearest for arm in arms) and nearest is None:
        raise TellUser("An arm shows the nearest examples, and there is no approved one yet.")
    strange = unseen(asked, taught)
    if asked and not strange:
        raise TellUser("The tuned arms were trained on each of these questions, so that they would tell nothing.")
    async with AsyncExitStack() as stack:
        speakers = []
        for arm in arms:
            speakers.append(Speaker(arm, persona, endpoint, timeout_s=timeout_s))
            stack.push_async_callback(speakers[-1].aclose)
        cases = await prepare(
            strange, find=find, team_id=team_id, readable=readable, audience=audience, progress=progress
        )
        if not any(case.passages for case in cases):
            raise TellUser("The library holds nothing on these questions that may be read here.")
        announce(_size(len(cases), len(arms), deadline_s))
        for speaker in speakers:
            await speaker.warm_up()
        place = Question(id=f"{team_id}:matrix", team_id=team_id, text="", readable=readable(audience))
        run = _Run(place, persona, _Kept(kept), nearest, deadline_s)
        given = await _ask_all(cases, speakers, run, progress)
    found = figures(cases, arms, given, persona, asked=len(strange))
    return {**found, "trained_on": len(asked) - len(strange)}


def _size(cases: int, arms: int, deadline_s: float) -> str:
    """Says what a run asks, and what it may take at the worst."""
    to_whom = f"each of {arms} arms" if arms > 1 else "one arm"
    return (
        f"{cases:,} questions to {to_whom}: {cases * arms:,} answers, one after the other, none of them longer than "
        f"{deadline_s:.0f} s. Ctrl-C breaks it off; the same command goes on from there."
    )


@dataclass(frozen=True)
class _Run:
    """What is the same for every answer of a run."""

    place: Question
    persona: Persona
    kept: _Kept
    nearest: Nearest | None
    deadline_s: float


async def _ask_all(cases: Sequence[Case], speakers: Sequence[Speaker], run: _Run, progress: Progress) -> list[Given]:
    given: list[Given] = []
    failures = dict.fromkeys((speaker.arm.name for speaker in speakers), 0)
    for turn, case in enumerate(cases):
        first = turn % len(speakers)
        for speaker in [*speakers[first:], *speakers[:first]]:
            name = speaker.arm.name
            progress(len(given), len(cases) * len(speakers), f"{name}: {case.question[:30]}")
            one = _given_up(case, name) if failures[name] >= PATIENCE else await _answered(case, speaker, run)
            failures[name] = failures[name] + 1 if one.answer.status == "failed" else 0
            given.append(one)
    progress(len(given), len(given), "")
    return given


async def _answered(case: Case, speaker: Speaker, run: _Run) -> Given:
    """What an arm answers to a case, or answered to the very same prompt before."""
    question = run.place.model_copy(update={"text": case.question, "history": case.history})
    shown: Sequence[Example] = ()
    if speaker.arm.nearest and run.nearest is not None:
        shown = await _strange(run.nearest, question, case, speaker.arm.nearest)
    passages = case.passages if speaker.arm.retrieval else ()
    speech = Speech(speaker, case.question, case.query, passages, case.history, tuple(shown))
    key = _key(speech, run.persona)
    if (known := run.kept.of(key)) is not None:
        return known.model_copy(update={"case": case.id, "arm": speaker.arm.name})
    one = await _ask(speech, case, question, run, key)
    run.kept.keep(one)
    return one


def _given_up(case: Case, arm: str) -> Given:
    failed = Answer(question_id=case.id, status="failed", text="")
    problem = f"it was not asked any more after failing {PATIENCE} times in a row"
    return Given(key="", case=case.id, arm=arm, answer=failed, tokens_in=0, tokens_out=0, problem=problem)


async def _strange(nearest: Nearest, question: Question, case: Case, count: int) -> list[Example]:
    """The nearest examples that ask something else, for others would show the answer, and that may be read here."""
    examples = await nearest(count + 2)(question, _found(case, case.passages))
    strange = unlike(case.query, unlike(question.text, examples))
    return [one for one in strange if one.audience in question.readable][-count:]


def _found(case: Case, passages: Sequence[Passage]) -> Found:
    hits = tuple(Hit(passage=passage, score=1, certainty=1) for passage in passages)
    return Found(hits=hits, query=case.query, confidence=1, is_sufficient=True)


def _key(speech: Speech, persona: Persona) -> str:
    fields = {"model", "endpoint", "base_url", "prompt", "retrieval", "options"}
    arm = speech.speaker.arm.model_dump(mode="json", include=fields)
    passages = [[one.title, one.section, one.text] for one in speech.passages]
    turns = [turn.model_dump() for turn in speech.history]
    shown = [[one.question, one.answer, [each.text for each in one.passages]] for one in speech.shown]
    asked = [speech.question, speech.query, turns, shown]
    return sha256(json.dumps([arm, asked, passages, persona.model_dump()], sort_keys=True).encode()).hexdigest()


async def _ask(speech: Speech, case: Case, question: Question, run: _Run, key: str) -> Given:
    """Lets an arm answer as the bot would: what it writes is checked sentence by sentence."""
    arm = speech.speaker.arm
    found = _found(case, speech.passages if arm.retrieval else (_NO_PASSAGE,))

    async def find(_: Question) -> Found:
        return found

    answered = await answer(
        question,
        find=find,
        voice=Voice(speech),
        persona=run.persona,
        reply=SilentReply(),
        deadline_s=run.deadline_s,
    )
    spoken = speech.spoken
    find_ms = case.find_ms if arm.retrieval else 0.0
    timings = {"find": find_ms, "total": answered.timings_ms["total"] + find_ms}
    if spoken.first_ms is not None:
        timings["model_first_token"] = spoken.first_ms + find_ms
    update = {
        "question_id": case.id,
        "completion": spoken.completion,
        "passages": (),  # they are the case's
        "nearest": (),
        "timings_ms": {name: round(value, 3) for name, value in timings.items()},
    }
    return Given(
        key=key,
        case=case.id,
        arm=arm.name,
        answer=answered.model_copy(update=update),
        tokens_in=_estimated(spoken.characters_in) if spoken.tokens_in is None else spoken.tokens_in,
        tokens_out=_estimated(len(spoken.completion)) if spoken.tokens_out is None else spoken.tokens_out,
        tokens_are_counted=spoken.tokens_in is not None or arm.is_quoting,
        problem=spoken.problem or ("it took too long" if answered.status == "failed" else ""),
    )


def _estimated(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


class _Kept:
    """The answers so far, and the file that they are kept in."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, Given] = {}
        if file is None or not file.exists():
            return
        text = file.read_text(encoding="utf-8")
        for line in text.splitlines():
            with suppress(ValidationError):  # a line that was cut off, or of an older version, is asked for again
                one = Given.model_validate_json(line)
                self._known[one.key] = one.model_copy(update={"was_kept": True})
        if text and not text.endswith("\n"):
            self._append("\n")

    def of(self, key: str) -> Given | None:
        """The answer that was given to this very prompt."""
        return self._known.get(key)

    def keep(self, one: Given) -> None:
        """Keeps an answer; one that failed is asked for again the next time."""
        if one.answer.status != "failed":
            self._known[one.key] = one
            self._append(f"{one.model_dump_json()}\n")

    def _append(self, text: str) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(text)
