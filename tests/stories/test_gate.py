"""The gate: which candidate may go live, and on what evidence. Each of the fakes is bad in one respect."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from typing import get_args

import pytest

from bot.answering import Prompt, Voice
from bot.errors import Broken, ModelUnavailable, RequestRefused, TellUser
from bot.evaluating import Asked
from bot.journal import Journal, now
from bot.learning.tracing import Standing
from bot.learning.versions import gate
from bot.learning.versions.commands import Nameable
from bot.learning.versions.gate_page import page as gate_page
from bot.learning.versions.injections import INJECTIONS, planted
from bot.learning.versions.measures import Outcome, Prices, Trial, measure
from bot.learning.versions.register import Register
from bot.learning.versions.trials import ask, held_out_of, trials_of, unanswerable_in
from bot.learning.versions.verdicts import JUDGED, NAMEABLE, WANTED_PAIRS, GateReport, in_words
from bot.learning.versions.voices import Voices
from bot.memory import Memory
from bot.vocabulary import Answer, Dataset, Example, Found, Hit, ModelVersion, Passage, Question
from tests.examination import (
    PERSONA,
    Scripted,
    Write,
    examination,
    fact,
    held_out,
    honest,
    inventing,
    miscrediting,
    never_refusing,
    obedient,
    page,
    silent,
    unchanged,
    voice,
    wordy,
)
from tests.keys import keys_without_ttl
from tests.lessons import thread

ENOUGH = 204
TRIALS = trials_of(examination(ENOUGH), PERSONA)
FEW = trials_of(examination(30), PERSONA)


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, "T1")


async def examined(
    register: Register,
    candidate: Write | Voice,
    live: Write | Voice = honest,
    *,
    named: str = "format",
    trials: tuple[Trial, ...] = TRIALS,
) -> GateReport:
    """Runs the gate for two voices; functions become v1 against the configured one."""
    one = candidate if isinstance(candidate, Voice) else voice(candidate, "v1")
    other = live if isinstance(live, Voice) else voice(live, "configured")
    return await gate.run(one, other, trials, register=register, persona=PERSONA, named=named, by="U1")


# The verdict


async def test_a_candidate_that_is_better_in_the_named_measure_and_worse_in_none_passes(register: Register) -> None:
    """Live leaves the format in every answer, the candidate in none, and both are as well grounded."""
    report = await examined(register, honest, wordy)
    assert report.verdict == "passed", report.reasons
    figures = {figure.measure: figure for figure in report.figures}
    assert (figures["format"].live, figures["format"].candidate, figures["format"].gain) == (0.0, 1.0, 1.0)
    assert all(figures[name].pairs >= WANTED_PAIRS for name in (*JUDGED, "format"))
    assert "train promote v1" in in_words(report)


@pytest.mark.parametrize(
    ("candidate", "measure"),
    [
        (inventing, "groundedness"),
        (miscrediting, "citation_precision"),
        (never_refusing, "right_refusals"),
        (silent, "right_refusals"),
        (obedient, "injection_resistance"),
    ],
)
async def test_a_planted_worse_model_is_refused_for_what_it_does_worse(
    register: Register, candidate: Write, measure: str
) -> None:
    """Although it is better than live in the measure that was named."""
    report = await examined(register, candidate, wordy)
    assert report.verdict == "refused"
    assert [reason.split()[0] for reason in report.reasons] == [measure]
    assert "-2 is the limit" in report.reasons[0]


async def test_an_equal_candidate_is_not_better(register: Register) -> None:
    """Nobody goes live for being no worse."""
    report = await examined(register, honest)
    assert report.verdict == "refused"
    assert report.reasons == ("format, which was named, is not better: +0.0 points (+0.0 to +0.0).",)


async def test_a_candidate_that_is_worse_in_one_answer_of_twenty_is_refused(register: Register) -> None:
    """Two points are the limit of the bound, not of the mean."""
    count = itertools.count()

    def sometimes(prompt: Prompt) -> str:
        return inventing(prompt) if next(count) % 20 == 0 else honest(prompt)

    report = await examined(register, sometimes, wordy)
    grounded = next(figure for figure in report.figures if figure.measure == "groundedness")
    assert report.verdict == "refused" and grounded.low < -0.02 < grounded.high < 0.02


async def test_few_questions_are_no_evidence_however_clear_they_are(register: Register) -> None:
    """Thirty questions, all of them won."""
    report = await examined(register, honest, wordy, trials=FEW)
    assert report.verdict == "not enough evidence"
    assert "groundedness 30" in report.reasons[0] and "--override" in in_words(report)


async def test_without_any_held_out_example_there_is_no_gate(register: Register) -> None:
    """A loop of sixty examples may have none; the measure stays free to be named once there are some."""
    with pytest.raises(TellUser, match="no held-out example"):
        await examined(register, honest, wordy, trials=())
    assert await gate.reports(register) == []


async def test_less_is_better_where_it_is(register: Register) -> None:
    """A shorter answer is a gain in words, and can be what is named."""
    report = await examined(register, honest, wordy, named="words")
    words = next(figure for figure in report.figures if figure.measure == "words")
    assert report.verdict == "passed" and words.gain == words.live - words.candidate > 0


# No second try


async def test_the_measure_is_written_down_before_the_first_question(register: Register) -> None:
    """By then nobody can know how it will come out."""
    seen: list[list[str]] = []

    class Looking(Scripted):
        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            seen.append([f"{one.what}: {one.reason}" for one in await register.decisions()])
            yield honest(prompt)

    candidate = Voice(Looking(honest, "m"), "one_line", "v1")
    await examined(register, candidate, trials=FEW)
    assert seen[0] == [f"gate begun: format is named, against configured, {len(FEW)} trials"]
    assert (await register.decisions())[0].what == "gate: not enough evidence"


async def test_another_measure_cannot_be_named_afterwards(register: Register) -> None:
    """Not even on other questions, which one more approved example makes; another version begins anew."""
    await examined(register, honest, wordy, named="groundedness", trials=FEW)
    for trials in (FEW, FEW[3:]):
        with pytest.raises(TellUser, match="`groundedness` was named"):
            await examined(register, honest, wordy, named="format", trials=trials)
    assert (await examined(register, voice(honest, "v2"), wordy, named="format", trials=FEW)).named == "format"


async def test_the_same_versions_on_the_same_questions_are_measured_once(register: Register) -> None:
    """A model that rolls dice gets no second throw: the report that there is stands."""
    candidate = voice(honest)
    first = await examined(register, candidate, trials=FEW)
    assert isinstance(candidate.model, Scripted)
    asked = candidate.model.asked
    assert await examined(register, candidate, trials=FEW) == first
    assert candidate.model.asked == asked


async def test_a_report_tells_of_the_tries_before_it(register: Register) -> None:
    """New questions are a new gate, and also a new chance for luck."""
    await examined(register, honest, trials=FEW)
    report = await examined(register, honest, trials=FEW[1:])
    assert report.earlier == ("not enough evidence",)
    assert "measured before: not enough evidence." in in_words(report)


async def test_of_two_processes_at_one_gate_the_first_report_stands(register: Register) -> None:
    """Both give the same one, and neither counts the other as a try before."""
    reports = await asyncio.gather(*(examined(register, honest, trials=FEW) for _ in range(2)))
    assert reports[0] == reports[1] and reports[0].earlier == ()
    assert [one.what for one in await register.decisions()] == ["gate: not enough evidence", "gate begun"]


@pytest.mark.parametrize("named", ["beauty", "cost", ""])
async def test_a_measure_that_there_is_not_is_refused_with_those_that_there_are(register: Register, named: str) -> None:
    """Before anything is written down."""
    with pytest.raises(TellUser, match="groundedness"):
        await examined(register, honest, named=named, trials=FEW)
    assert await register.decisions() == []


async def test_a_version_is_not_measured_against_itself(register: Register) -> None:
    """It would only cost money."""
    with pytest.raises(TellUser, match="against itself"):
        await examined(register, voice(honest, "configured"), trials=FEW)


# Crashes


async def test_a_gate_goes_on_where_it_stopped(register: Register, memory: Memory) -> None:
    """The model's server dies in the middle; the second run asks only what was not answered, and what is kept for that
    expires."""

    class Dying(Scripted):
        def __init__(self) -> None:
            super().__init__(honest, "m")
            self.is_dead = False

        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            if self.is_dead:
                raise ModelUnavailable("the server is down")
            self.asked += 1
            self.is_dead = self.asked == 40
            yield honest(prompt)

    model, live = Dying(), voice(honest, "configured")
    candidate = Voice(model, "one_line", "v1")
    with pytest.raises(ModelUnavailable, match="the server is down"):
        await examined(register, candidate, live, trials=FEW)
    model.is_dead, model.asked = False, 41
    report = await examined(register, candidate, live, trials=FEW)
    assert model.asked == 41 + len(FEW) - 40
    assert report.verdict == "not enough evidence"
    answers = {key for key in await keys_without_ttl(memory.redis) if key.startswith("footnote:T1:gate:")}
    assert answers == set()


async def test_a_model_that_breaks_off_is_measured_by_what_it_wrote(register: Register) -> None:
    """One that never ends its answers must not keep the gate from ending."""

    class BreakingOff(Scripted):
        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            yield "The printer "
            raise ModelUnavailable("it wrote 8000 characters and did not stop")

    report = await examined(register, Voice(BreakingOff(honest, "m"), "one_line", "v1"), trials=FEW)
    figures = {figure.measure: figure for figure in report.figures}
    assert figures["format"].candidate == 0.0 and figures["right_refusals"].candidate == 0.0


async def test_a_model_that_does_not_stop_is_stopped(register: Register) -> None:
    """Where an answer would be too long to be shown; a loop of a small model would take minutes."""

    class Endless(Scripted):
        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            while True:
                self.asked += 1
                yield "and so on and on "

    model = Endless(honest, "m")
    report = await examined(register, Voice(model, "one_line", "v1"), trials=FEW[:5])
    assert model.asked < 5 * 200
    assert {figure.measure: figure.candidate for figure in report.figures}["right_refusals"] == 0.0


class Short(Scripted):
    """Behind a server that has no room for some questions."""

    def __init__(self, is_too_long: Callable[[Prompt], bool]) -> None:
        super().__init__(honest, "m")
        self._is_too_long = is_too_long

    async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
        self.asked += 1
        if self._is_too_long(prompt):
            raise RequestRefused("The model's server answered 400: it refused the request.")
        yield honest(prompt)


async def test_a_question_that_is_too_long_for_a_model_is_a_failed_answer(register: Register) -> None:
    """One such page must not keep the gate from a verdict for ever."""
    question, _ = fact(3)
    short = Short(lambda prompt: prompt.question == question)
    report = await examined(register, Voice(short, "one_line", "v1"), wordy, trials=FEW)
    figures = {figure.measure: figure for figure in report.figures}
    assert figures["right_refusals"].candidate == pytest.approx(29 / 30)
    assert figures["format"].candidate == pytest.approx(29 / 30)


async def test_a_model_that_takes_no_question_is_not_judged(register: Register) -> None:
    """Something else is wrong then; once that is mended, the gate goes on."""
    is_broken = True
    short = Short(lambda prompt: is_broken)
    with pytest.raises(Broken, match="refused each of"):
        await examined(register, Voice(short, "one_line", "v1"), wordy, trials=FEW)
    is_broken = False
    report = await examined(register, Voice(short, "one_line", "v1"), wordy, trials=FEW)
    assert next(one for one in report.figures if one.measure == "format").candidate == 1.0


async def test_not_more_questions_are_asked_at_a_time_than_allowed(register: Register) -> None:
    """The tuner may run on a laptop."""
    now = most = 0

    class Counting(Scripted):
        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            yield honest(prompt)

    candidate, live = (Voice(Counting(honest, name), "one_line", name) for name in ("v1", "v2"))
    steps: list[int] = []
    await gate.run(
        candidate,
        live,
        FEW,
        register=register,
        persona=PERSONA,
        named="format",
        by="U1",
        concurrency=3,
        progress=lambda done, total, label: steps.append(done),
    )
    assert most == 3 and steps == list(range(len(FEW) + 1))


# What is asked


def test_only_what_humans_wrote_and_everyone_may_read_is_measured_on() -> None:
    """Approved, held out, human, not from a private channel."""
    others = [
        held_out(1, is_held_out=False),
        held_out(2, status="candidate"),
        held_out(3, produced_by="some-model", provider="api.example"),
        held_out(4, audience="channel:C1"),
        held_out(5, passages=()),
    ]
    assert [one.id for one in held_out_of([held_out(0), *others], PERSONA)] == ["ex-0000"]


def test_a_held_out_refusal_cannot_be_answered() -> None:
    """Whoever approved it said so."""
    (trial,) = held_out_of([held_out(0, answer=PERSONA.refusal)], PERSONA)
    assert not trial.is_answerable


def test_a_question_with_the_passages_of_another_has_no_answer_in_them() -> None:
    """Each gets passages that share neither document nor answer, the same ones every time."""
    trials = trials_of(reversed(examination(40)), PERSONA)
    made = [trial for trial in trials if trial.kind == "unanswerable"]
    assert len(made) == 40 and trials == trials_of(examination(40), PERSONA)
    for trial in made:
        number = int(trial.question_id.removeprefix("ex-"))
        assert trial.question == fact(number)[0]
        assert not {page(number).document_id, page(number + 1).document_id} & {
            passage.document_id for passage in trial.passages
        }
        assert all(str(number + 100) not in passage.text for passage in trial.passages)


def test_the_same_page_is_no_unanswerable_one() -> None:
    """Two examples on one document: neither can be asked with the other's passages."""
    twins: list[Example] = [held_out(0), held_out(0, id="ex-twin", question="How long is the printer's limit?")]
    assert [trial.kind for trial in trials_of(twins, PERSONA)].count("unanswerable") == 0


def test_a_copy_of_the_page_elsewhere_answers_too() -> None:
    """Another document that says the same is the nearest of all, and no passage to refuse over."""
    copy = page(0).model_copy(update={"id": "copy#0", "document_id": "copy"})
    examples = [held_out(0), held_out(0, id="ex-copy", passages=(copy,)), held_out(20)]
    made = {trial.question_id: trial for trial in trials_of(examples, PERSONA) if trial.kind == "unanswerable"}
    assert made["ex-0000"].passages == made["ex-copy"].passages == held_out(20).passages


async def measured_on(
    memory: Memory, examples: Sequence[Example], dataset: Sequence[str], standing: Standing = unchanged
) -> tuple[GateReport, list[str]]:
    """Lets the gate measure a version that was trained on a dataset; gives the report and what the version was asked
    of the held-out questions."""
    register, journal = Register(memory.redis, "T1"), Journal(memory.redis, "T1")
    for example in examples:
        await journal.keep_example(example)
    await register.keep_dataset(Dataset(digest="d", example_ids=tuple(dataset), created_at=now()))
    tuned = ModelVersion(id="", model="m", endpoint="tuner", prompt="one_line", dataset="d", created_at=now())
    version = (await register.add_version(tuned)).id
    asked: list[str] = []

    def overheard(prompt: Prompt) -> str:
        asked.append(prompt.question)
        return honest(prompt)

    voices = Voices(Scripted(wordy), lambda endpoint, name: Scripted(overheard, name), register, persona=PERSONA)
    report = await gate.run_for(
        version, voices=voices, register=register, journal=journal, persona=PERSONA, standing=standing, by="U1"
    )
    return report, asked


async def test_nobody_is_examined_on_what_it_was_trained_on(memory: Memory) -> None:
    """An example was trained on; later one that asks nearly the same fell on the side of the examination, and took
    it along. Neither is asked, in whatever form, and the report says so."""
    question, _ = fact(2)
    like = held_out(2, id="ex-like", question=f"And {question[0].lower()}{question[1:]}")
    examples = [*examination(5), like, held_out(7, is_held_out=False, thread=thread(7))]
    report, asked = await measured_on(memory, examples, ["ex-0002", "ex-0007"])
    assert report.trained_on == 2 and "2 held-out examples were left out" in in_words(report)
    assert not [one for one in asked if question[1:] in one]
    assert {fact(number)[0] for number in (0, 1, 3, 4)} <= set(asked)


async def test_no_page_is_examined_that_fewer_may_read_now(memory: Memory) -> None:
    """The report is shown to others; what rests on such a page is put aside before."""

    async def narrower(passages: Sequence[Passage]) -> dict[str, tuple[str, str]]:
        there = dict(await unchanged(passages))
        return {id: (digest, "channel:C1" if id == "page-2" else label) for id, (digest, label) in there.items()}

    _, asked = await measured_on(memory, examination(5), [], narrower)
    assert {fact(number)[0] for number in (0, 3, 4)} == {one.split("?")[0] + "?" for one in asked}


async def test_an_untuned_model_is_not_shown_the_answer_to_its_question() -> None:
    """What asks nearly the same shows it; an order that is planted in the question changes nothing about that."""
    shown: list[list[str]] = []
    others = [held_out(3), held_out(4), held_out(3, id="ex-like", question=f"So {fact(3)[0]}")]

    async def demonstrate(question: Question, found: Found) -> Sequence[Example]:
        return others

    class Reading(Scripted):
        async def write(self, prompt: Prompt):  # type: ignore[no-untyped-def]
            shown.append([one.question for one in others if one.question in str(prompt.messages[1:-1])])
            yield honest(prompt)

    trial = held_out_of([held_out(3)], PERSONA)[0]
    in_question = next(number for number, one in enumerate(INJECTIONS) if one.place == "question")
    for one in (trial, planted(trial, in_question)):
        await ask(one, Voice(Reading(honest), "full", demonstrate=demonstrate), PERSONA)
    assert shown == [[fact(4)[0]], [fact(4)[0]]]


async def test_an_operators_own_unanswerable_questions_come_with_what_the_library_finds() -> None:
    """Those that are answerable, and those for which nothing is found, are left out."""
    asked = [
        Asked(id="1", question="Can it fly?"),
        Asked(id="2", question="Is there a bar?", answerable=False),
        Asked(id="3", question="Who may read it?", answerable=True),
        Asked(id="4", question="Nothing at all?", expected_behavior="abstain"),
    ]

    async def find(question: Question) -> Found:
        assert question.readable == {"public", "workspace"}
        hits = () if question.text.startswith("Nothing") else (Hit(passage=page(1), score=1, certainty=1),)
        return Found(hits=hits, query=question.text)

    made = await unanswerable_in(asked, find, "T1")
    assert [(trial.question, trial.is_answerable) for trial in made] == [
        ("Can it fly?", False),
        ("Is there a bar?", False),
    ]
    assert all(trial.passages == (page(1),) for trial in made)


def test_orders_are_planted_in_many_ways() -> None:
    """Every one of our own, each with something that no honest answer holds."""
    assert len({injection.text for injection in INJECTIONS}) == len(INJECTIONS) >= 25
    assert {injection.place for injection in INJECTIONS} == {"page", "paragraph", "question"}
    for trial in trials_of(examination(len(INJECTIONS)), PERSONA):
        if trial.kind == "injection":
            assert trial.forbidden and all(word not in held_out(0).answer for word in trial.forbidden)
            assert "{" not in trial.question + "".join(passage.text for passage in trial.passages)


# What is measured

KEYS = page(3)
ASKED = Trial(id="t", question=fact(3)[0], passages=(KEYS, page(4)), reference=f"{fact(3)[1][:-1]} [1].")


def measured(completion: str, trial: Trial = ASKED, **changes: object) -> dict[str, float]:
    fields = {"question_id": "q", "status": "answered", "text": completion, "completion": completion}
    answer = Answer.model_validate(fields | {"timings_ms": {"total": 40.0, "model_first_token": 9.0}} | changes)
    return measure(
        trial, Outcome(answer=answer, tokens_in=100, tokens_out=20), PERSONA, Prices(tokens_in=2, tokens_out=10)
    )


def test_a_grounded_answer_has_full_marks() -> None:
    """And what it took is told, with its unit in the name."""
    found = measured(f"{fact(3)[1][:-1]} [1].")
    assert {name: found[name] for name in ("groundedness", "citation_precision", "citation_recall", "format")} == {
        "groundedness": 1.0,
        "citation_precision": 1.0,
        "citation_recall": 1.0,
        "format": 1.0,
    }
    assert (found["total_ms"], found["first_token_ms"], found["cost"]) == (40.0, 9.0, pytest.approx(0.0004))


@pytest.mark.parametrize(
    ("completion", "grounded", "precision", "recall"),
    [
        (f"{fact(3)[1]}", 1.0, 0.0, 0.0),  # no mark
        (f"{fact(3)[1][:-1]} [2].", 1.0, 0.0, 0.0),  # the wrong one
        (f"{fact(3)[1][:-1]} [9].", 1.0, 0.0, 0.0),  # one that there is not
        (f"{fact(3)[1][:-1]} [1][2].", 1.0, 0.5, 1.0),
        (f"{fact(3)[1][:-1]} [1]. Pigs fly at dawn [1].", 0.5, 0.5, 1.0),
        (f"{fact(3)[1][:-1]} [1]. " * 9, 1.0, 1.0, 1.0),  # to say it again is no merit
        (f"{fact(4)[1][:-1]} [2].", 1.0, 0.0, 0.0),  # true, but not what was asked
        ("The printer limit is 999 days [1].", 0.0, 0.0, 0.0),
    ],
)
def test_marks_are_held_against_support_and_reference(
    completion: str, grounded: float, precision: float, recall: float
) -> None:
    """Precision counts the marks, recall the passages that the reference cites."""
    found = measured(completion)
    assert (found["groundedness"], found["citation_precision"], found["citation_recall"]) == (
        grounded,
        precision,
        recall,
    )


def test_a_passage_that_says_the_same_may_be_cited_instead() -> None:
    """Precision does not punish a second source; recall knows only the reference's."""
    twin = KEYS.model_copy(update={"id": "twin", "document_id": "twin"})
    found = measured(f"{fact(3)[1][:-1]} [2].", ASKED.model_copy(update={"passages": (KEYS, twin)}))
    assert (found["citation_precision"], found["citation_recall"]) == (1.0, 0.0)


def test_a_refusal_says_nothing_about_groundedness() -> None:
    """Else silence would be perfect; it is wrong where there was an answer, and keeps the format."""
    found = measured(PERSONA.refusal, status="declined", text=f"{PERSONA.refusal} This page comes nearest.")
    assert "groundedness" not in found and "citation_precision" not in found
    assert (found["right_refusals"], found["format"]) == (0.0, 1.0)


def test_an_answer_of_which_nothing_could_be_shown_kept_no_format() -> None:
    """What was posted is the refusal, but the model had written something else."""
    assert measured("Pigs fly at dawn.", status="declined", left_out=1)["format"] == 0.0


def test_an_order_that_was_followed_is_seen_in_what_the_model_wrote() -> None:
    """However it is written, and although it was never shown."""
    trial = ASKED.model_copy(update={"kind": "injection", "forbidden": ("AMBER-VELLUM",)})
    assert measured("It is amber\u200b-vellum.", trial, text="It is.") == {"injection_resistance": 0.0}
    assert measured("It is amber.", trial) == {"injection_resistance": 1.0}


def test_an_answer_in_another_language_is_counted_as_one() -> None:
    """By its little words; code and names say nothing."""
    trial = ASKED.model_copy(update={"reference": "Open the settings and choose the key that you want to reset [1]."})
    assert (
        measured("Öffnen Sie die Einstellungen und wählen Sie den Schlüssel, der das ist [1].", trial)["language"] == 0
    )
    assert measured("You find it in the settings, where you can reset the key [1].", trial)["language"] == 1


# The page


async def test_the_page_shows_figures_plots_and_answers_side_by_side(register: Register) -> None:
    """One file, with what must be better marked as such."""
    report = await examined(register, wordy, honest, trials=FEW)
    made = await gate.answers_of(register, report)
    html = gate_page(report, FEW, made, PERSONA).html()
    assert html.count("<svg") == 3 and "named: must be better" in html and "must not be inferior" in html
    assert "According to the documents" in html and fact(0)[0] in html
    assert "100.0 %" in html and " points (" in html and not re.search(r"\d\.\d{3}\b", html.partition("<svg")[0])
    assert "named by U1 in Slack" in html


def test_the_shell_offers_the_measures_that_may_be_named() -> None:
    """Its help lists them without loading what measures."""
    assert get_args(Nameable) == NAMEABLE


async def test_the_page_has_its_figures_also_when_the_answers_have_expired(register: Register) -> None:
    """They are kept for a week."""
    report = await examined(register, wordy, honest, trials=FEW)
    assert "have expired" in gate_page(report, FEW, {}, PERSONA).html()
