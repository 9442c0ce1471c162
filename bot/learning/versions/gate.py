"""No version of the persona goes live unmeasured. A candidate and the version that is live answer the same held-out
questions; it passes if it is not inferior in what keeps readers safe, and better in one measure that was named before
the first question was asked. One pair of versions on one set of questions is measured once: whoever could repeat it, or
name another measure afterwards, would find a reason sooner or later. Answers already made outlive a crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from bot.answering import Voice
from bot.errors import TellUser
from bot.journal import Journal, now
from bot.learning.versions.health import health_of, signs_of
from bot.learning.versions.measures import Outcome, Trial
from bot.learning.versions.register import Register
from bot.learning.versions.trials import ask, digest_of, trials_of
from bot.learning.versions.verdicts import NAMEABLE, GateReport, figures_of, in_words, judge
from bot.learning.versions.voices import Voices
from bot.log import log
from bot.persona import Persona
from bot.progress import Progress
from bot.vocabulary import Frozen
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
    progress: Progress = lambda done, total, label: None,
    concurrency: int = CONCURRENCY,
) -> GateReport:
    """Measures a candidate against what is live and keeps the report; gives the kept one if that was done before.

    Raises TellUser for a measure that there is not, or another one than was named for these versions and questions;
    TryAgain or Broken when a model cannot be reached: the next run goes on where this one stopped.
    """
    if named not in NAMEABLE:
        raise TellUser(f"`{named[:40]}` is no measure. There are: {', '.join(NAMEABLE)}.")
    if candidate.version == live.version:
        raise TellUser(f"`{live.version}` is live: it cannot be measured against itself.")
    id = _id(candidate, live, trials, persona)
    begun = await _begin(register, id, Begun(named=named, by=by, at=now()), candidate, live, len(trials))
    if known := await report_of(register, id):
        return known
    made = await _answers(register, id, (live, candidate), trials, persona, progress, concurrency)
    report = await asyncio.to_thread(_judged, id, begun, candidate, live, trials, made, persona)
    before = [one.verdict for one in await reports(register) if _pair(one) == _pair(report)]
    report = report.model_copy(update={"earlier": tuple(before)})
    await register.call(register.redis.hset(register.key("gates"), id, report.model_dump_json()))
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
    named: str = "format",
    by: str,
    against: str | None = None,
    more: Sequence[Trial] = (),
    progress: Progress = lambda done, total, label: None,
    concurrency: int = CONCURRENCY,
) -> GateReport:
    """Measures a version by its id against another one, or what is live now, on the held-out examples there are, and
    `more` trials.

    Raises TellUser when there is no such version; else as `run`.
    """
    candidate = await voices.of(version)
    live = await voices.of(against or (await register.routing()).live)
    trials = await asyncio.to_thread(trials_of, await journal.examples("approved"), persona)
    return await run(
        candidate,
        live,
        (*trials, *more),
        register=register,
        persona=persona,
        named=named,
        by=by,
        progress=progress,
        concurrency=concurrency,
    )


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


async def _begin(register: Register, id: str, begun: Begun, candidate: Voice, live: Voice, trials: int) -> Begun:
    """Writes down which measure is named; gives what was written first."""
    key = register.key("gates-begun")
    if await register.call(register.redis.hsetnx(key, id, begun.model_dump_json())):
        reason = f"{begun.named} is named, against {live.version}, {trials} trials"
        await register.note("gate begun", candidate.version, begun.by, reason)
        return begun
    first = Begun.model_validate_json(await register.call(register.redis.hget(key, id)))
    if first.named != begun.named:
        raise TellUser(
            f"For `{candidate.version}` against `{live.version}` on these questions `{first.named}` was named on "
            f"{first.at:%Y-%m-%d}, and that stands: to try one measure after the other until one fits proves nothing. "
            "More held-out examples, another version, or a changed persona begin anew."
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
        by=begun.by,
        named_at=begun.at,
        at=now(),
    )
