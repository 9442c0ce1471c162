"""No version of the persona goes live unmeasured. A candidate and the version that is live answer the same held-out
questions; it passes if it is not inferior in what keeps readers safe, and better in one measure that was named before
the first question was asked. The measure is named once for two versions, and on one set of questions they are measured
once: whoever could repeat it, or name another measure afterwards, would find a reason sooner or later. None is asked
what it was trained on. Answers already made outlive a crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

from bot.answering import Voice
from bot.errors import RequestRefused, TellUser
from bot.journal import Journal, now
from bot.learning.held_out import unseen
from bot.learning.tracing import Standing, put_aside
from bot.learning.versions.health import health_of, signs_of
from bot.learning.versions.measures import Outcome, Trial
from bot.learning.versions.register import Register
from bot.learning.versions.trials import ask, digest_of, held_out_of, trials_of
from bot.learning.versions.verdicts import NAMEABLE, GateReport, figures_of, in_words, judge, persona_digest
from bot.learning.versions.voices import Voices
from bot.log import log
from bot.persona import Persona
from bot.progress import Progress
from bot.vocabulary import Example, Frozen
from bot.worker import Run

ANSWERS_KEPT_S = 7 * 86_400
CONCURRENCY = 4


class Begun(Frozen):
    """What is written down before the first question."""

    named: str
    by: str
    at: datetime


async def run(
    candidate: Voice,
    live: Voice,
    trials: Sequence[Trial],
    *,
    register: Register,
    persona: Persona,
    named: str,
    by: str,
    trained_on: int = 0,
    progress: Progress = lambda done, total, label: None,
    concurrency: int = CONCURRENCY,
) -> GateReport:
    """Measures a candidate against what is live and keeps the report; gives the kept one if that was done before.
    `trained_on` examples were left out of the trials, for the report.

    Raises TellUser without trials, for a measure that there is not, or another one than was named for these versions;
    TryAgain or Broken when a model cannot be reached, or takes no question at all: the next run goes on where this one
    stopped.
    """
    if named not in NAMEABLE:
        raise TellUser(f"`{named[:40]}` is no measure. There are: {', '.join(NAMEABLE)}.")
    if candidate.version == live.version:
        raise TellUser(f"`{live.version}` is live: it cannot be measured against itself.")
    if not trials:
        raise TellUser(
            "There is no held-out example to measure on, and nothing was named. One thread in five of what people "
            "wrote or corrected is held out: approve more of them (`train review`), or import some (`train import`)."
        )
    id = _id(candidate, live, trials, persona)
    begun = await _begin(register, Begun(named=named, by=by, at=now()), candidate, live, len(trials))
    if known := await report_of(register, id):
        return known
    made = await _answers(register, id, (live, candidate), trials, persona, progress, concurrency)
    _refuse_deaf((live, candidate), trials, made)
    report = await asyncio.to_thread(_judged, id, begun, candidate, live, trials, made, persona)
    before = [one.verdict for one in await reports(register) if _pair(one) == _pair(report) and one.id != id]
    report = report.model_copy(update={"earlier": tuple(before), "trained_on": trained_on})
    if not await register.call(register.redis.hsetnx(register.key("gates"), id, report.model_dump_json())):
        return await report_of(register, id) or report  # another process was at the same one, and was first
    await register.note(f"gate: {report.verdict}", report.candidate, by, " ".join(report.reasons))
    log.info("gate_done", candidate=report.candidate, live=report.live, verdict=report.verdict, id=id)
    return report


async def run_for(
    version: str,
    *,
    voices: Voices,
    register: Register,
    journal: Journal,
    persona: Persona,
    standing: Standing,
    named: str = "format",
    by: str,
    against: str | None = None,
    more: Sequence[Trial] = (),
    progress: Progress = lambda done, total, label: None,
    concurrency: int = CONCURRENCY,
) -> GateReport:
    """Measures a version by its id against another one, or what is live now, on the held-out examples there are, and
    `more` trials. Examples whose pages have changed, or are for fewer readers now, are put aside before, and what asks
    nearly the same as an example that one of the two was trained on is left out.

    Raises TellUser when there is no such version, LibraryUnavailable; else as `run`.
    """
    candidate = await voices.of(version)
    live = await voices.of(against or (await register.routing()).live)
    await put_aside(journal, standing)
    every = await journal.examples()
    taught = await taught_to(register, (candidate.version, live.version), every)

    def trials_and_left_out() -> tuple[tuple[Trial, ...], int]:
        held_out = {one.id for one in held_out_of(every, persona)}
        asked = [one for one in every if one.id in held_out]
        strange = unseen(asked, taught)
        return trials_of(strange, persona), len(asked) - len(strange)

    trials, trained_on = await asyncio.to_thread(trials_and_left_out)
    return await run(
        candidate,
        live,
        (*trials, *more),
        register=register,
        persona=persona,
        named=named,
        by=by,
        trained_on=trained_on,
        progress=progress,
        concurrency=concurrency,
    )


async def taught_to(register: Register, versions: Iterable[str], examples: Iterable[Example]) -> list[Example]:
    """Gives those of the examples that versions were trained on; what was erased since cannot be known."""
    known = [one for id in versions if (one := await register.version(id)) is not None]
    digests = {one.dataset for one in known}
    ids = {id for one in await register.datasets() if one.digest in digests for id in one.example_ids}
    return [one for one in examples if one.id in ids]


class GateOrder(Frozen):
    """The payload of a `gate` job: which version is to be measured, by what, at whose word, and where to tell."""

    version: str
    named: str = "format"
    by: str
    tell: str = ""
    """For the duty's `tell`: a channel, a response URL."""


def gate_duty(
    voices: Voices,
    register: Register,
    journal: Journal,
    persona: Persona,
    standing: Standing,
    tell: Callable[[GateOrder, str], Awaitable[None]],
) -> Run:
    """Gives what a `gate` job does (`Duty(gate_duty(…))`): it measures, goes on after a crash, and tells the findings
    or why there are none."""

    async def run_gate(payload: str, /) -> None:
        order = GateOrder.model_validate_json(payload)
        try:
            report = await run_for(
                order.version,
                voices=voices,
                register=register,
                journal=journal,
                persona=persona,
                standing=standing,
                named=order.named,
                by=order.by,
            )
        except TellUser as error:
            await tell(order, str(error))
        else:
            await tell(order, in_words(report))

    return run_gate


# What was found


async def report_of(register: Register, id: str) -> GateReport | None:
    """Reads a report."""
    value = await register.call(register.redis.hget(register.key("gates"), id))
    return GateReport.model_validate_json(value) if value else None


async def reports(register: Register) -> list[GateReport]:
    """Reads all reports, oldest first."""
    values = await register.call(register.redis.hvals(register.key("gates")))
    return sorted((GateReport.model_validate_json(value) for value in values), key=lambda one: one.at)


async def latest(register: Register, candidate: Voice, live: Voice | None = None) -> GateReport | None:
    """Reads the newest report on a candidate, against a certain version or any."""
    for report in reversed(await reports(register)):
        is_it = (report.candidate, report.candidate_model) == (candidate.version, candidate.model.name)
        if is_it and (live is None or (report.live, report.live_model) == (live.version, live.model.name)):
            return report
    return None


async def objection(register: Register, report: GateReport | None, live: str, persona: Persona) -> str:
    """Says what keeps a version from going live by its newest report against `live`; empty where nothing does. Luck
    after a refusal, other rules of the persona, and what was seen of it since make a passed gate void."""
    if report is None:
        return f"no gate against `{live}`"
    if report.verdict != "passed":
        return f"gate {report.id}: {report.verdict}"
    if "refused" in report.earlier:
        return f"gate {report.id} passed it, but one before refused it against `{live}`"
    if report.persona != persona_digest(persona):
        return f"gate {report.id} passed it by other rules of the persona than today's"
    for decision in await register.decisions():
        is_its_return = (decision.what, decision.version) == ("returned automatically", report.candidate)
        if is_its_return and datetime.fromisoformat(decision.at) > report.at:
            return f"it was returned automatically after gate {report.id}"
    return ""


def _pair(report: GateReport) -> tuple[str, ...]:
    return report.candidate, report.candidate_model, report.live, report.live_model


async def answers_of(register: Register, report: GateReport) -> dict[str, dict[str, Outcome]]:
    """Reads what both versions answered, by trial and version; nothing once it has expired."""
    stored = await register.call(register.redis.hgetall(register.key("gate", report.id)))
    made: dict[str, dict[str, Outcome]] = {}
    for field, value in stored.items():
        version, _, trial = field.partition(" ")
        made.setdefault(trial, {})[version] = Outcome.model_validate_json(value)
    return {trial: both for trial, both in made.items() if len(both) == 2}


# Asking


def _id(candidate: Voice, live: Voice, trials: Sequence[Trial], persona: Persona) -> str:
    voices = [(one.version, one.model.name, one.model.provider, one.prompt) for one in (candidate, live)]
    parts = json.dumps([voices, digest_of(trials), persona.model_dump(mode="json")])
    return hashlib.sha256(parts.encode()).hexdigest()[:12]


async def _begin(register: Register, begun: Begun, candidate: Voice, live: Voice, trials: int) -> Begun:
    """Writes down which measure is named for two versions; gives what was written first."""
    key = register.key("gates-begun")
    id = json.dumps([candidate.version, candidate.model.name, live.version, live.model.name])
    if await register.call(register.redis.hsetnx(key, id, begun.model_dump_json())):
        reason = f"{begun.named} is named, against {live.version}, {trials} trials"
        await register.note("gate begun", candidate.version, begun.by, reason)
        return begun
    first = Begun.model_validate_json(await register.call(register.redis.hget(key, id)))
    if first.named != begun.named:
        raise TellUser(
            f"For `{candidate.version}` against `{live.version}` the measure `{first.named}` was named on "
            f"{first.at:%Y-%m-%d}, and that stands, whatever the questions: to try one measure after the other until "
            "one fits proves nothing. Another version begins anew."
        )
    return first


async def _answers(
    register: Register,
    id: str,
    voices: tuple[Voice, Voice],
    trials: Sequence[Trial],
    persona: Persona,
    progress: Progress,
    concurrency: int,
) -> dict[str, dict[str, Outcome]]:
    """Lets both versions answer all trials but for what is answered already, the two in turn, so that neither always
    comes first; gives the outcomes by trial and version."""
    key = register.key("gate", id)
    stored = await register.call(register.redis.hgetall(key))
    made: dict[str, dict[str, Outcome]] = {trial.id: {} for trial in trials}
    done, waiting = 0, iter(enumerate(trials))

    async def work() -> None:
        nonlocal done
        for index, trial in waiting:
            for voice in voices if index % 2 else reversed(voices):
                field = f"{voice.version} {trial.id}"
                if value := stored.get(field):
                    outcome = Outcome.model_validate_json(value)
                else:
                    outcome = await ask(trial, voice, persona)
                if not value and not _is_deaf(outcome):
                    async with register.redis.pipeline(transaction=True) as pipe:
                        pipe.hset(key, field, outcome.model_dump_json())
                        pipe.expire(key, ANSWERS_KEPT_S)
                        await register.call(pipe.execute())
                made[trial.id][voice.version] = outcome
            done += 1
            progress(done, len(trials), trial.question[:40])

    progress(0, len(trials), "")
    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return made


def _is_deaf(outcome: Outcome) -> bool:
    """Whether a server did not take the question; it is asked anew by a run that goes on."""
    return outcome.answer.status == "failed" and not outcome.answer.completion


def _refuse_deaf(
    voices: tuple[Voice, Voice], trials: Sequence[Trial], made: Mapping[str, Mapping[str, Outcome]]
) -> None:
    """Refuses to judge a model whose server took no question at all, for then something else is wrong."""
    for voice in voices:
        if trials and all(_is_deaf(made[trial.id][voice.version]) for trial in trials):
            raise RequestRefused(
                f"The server of {voice.model.name} refused each of {len(trials)} questions: it must be a chat model "
                "with room for five passages."
            )


# Judging


def _judged(
    id: str,
    begun: Begun,
    candidate: Voice,
    live: Voice,
    trials: Sequence[Trial],
    made: Mapping[str, Mapping[str, Outcome]],
    persona: Persona,
) -> GateReport:
    """Measures the outcomes and gives the verdict."""
    figures = figures_of(trials, made, candidate.version, live.version, persona)
    verdict, reasons = judge(figures, begun.named)
    answers = [made[trial.id][candidate.version].answer for trial in trials if trial.kind == "held_out"]
    health = health_of(signs for answer in answers if (signs := signs_of(answer, persona)))
    return GateReport(
        id=id,
        candidate=candidate.version,
        live=live.version,
        candidate_model=candidate.model.name,
        live_model=live.model.name,
        named=begun.named,
        verdict=verdict,
        reasons=reasons,
        figures=figures,
        health=health.model_copy(update={"refused": None}),
        persona=persona_digest(persona),
        by=begun.by,
        named_at=begun.at,
        at=now(),
    )
