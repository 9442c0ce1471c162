"""`train start`, `status`: datasets, tuning jobs and versions, in the shell. A job does not need the shell that started
it: a worker follows it, and so does whoever asks for the status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import FootnoteError, TellUser, TryAgain
from bot.shell import Json, load_settings, print_json, run
from bot.vocabulary import ModelVersion, TuningJob

if TYPE_CHECKING:
    from bot.journal import Journal
    from bot.learning.tuning.jobs import Tuning
    from bot.learning.versions.register import Register
    from bot.persona import Persona
    from bot.progress import Progress
    from bot.settings import Settings
    from bot.vocabulary import Example
    from bot.worker import Queue

LOOK_S = 1.0
"""Between two looks at a job that somebody is waiting for."""
PATIENCE_S = 30.0
"""How long the shell puts up with a tuner that is away."""


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    train.command("start")(start)
    train.command("status")(status)
    train.command("cancel")(cancel)


def start(
    few: Annotated[bool, typer.Option("--few", help="Train although the examples are fewer than wanted.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Train once more on a dataset whose job has ended at the tuner.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="The model to tune, as the tuner names it; default TUNER_MODEL.", metavar="MODEL")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=50, help="How often each example is seen.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, max=256, help="Examples in one step.")] = 4,
    wait: Annotated[bool, typer.Option(help="Wait until the model is there; Ctrl-C ends only the waiting.")] = True,
    as_json: Json = False,
) -> None:
    """Tune a model on the approved examples. What comes of it is a version, which is not live until it is promoted."""
    settings = load_settings(log_level="ERROR")

    async def tune() -> tuple[TuningJob, ModelVersion | None]:
        from bot.learning.examples import WANTED
        from bot.learning.tuning.following import follow
        from bot.learning.tuning.jobs import RISK
        from bot.progress import progress_bar

        async with _open_school(settings) as school:
            await school.put_aside()
            usable, refused = await school.examples()
            try:
                job = await school.tuning.start(
                    usable,
                    school.persona,
                    by="command line",
                    few=few,
                    again=again,
                    base=base,
                    epochs=epochs,
                    batch_size=batch_size,
                )
            except TellUser:
                _tell_refused(refused)
                raise
            if len(usable) < WANTED:
                typer.echo(RISK, err=True)
            if not job.has_ended:
                await follow(school.queue, job.dataset)
                with progress_bar() as progress:
                    job = await watch(school.tuning, job, progress, until_done=wait)
            return job, await school.version_of(job)

    interrupted = "Training goes on; `train status --wait` waits for it again, and `train cancel` ends it."
    job, version = run(tune(), interrupted=interrupted)
    if as_json:
        print_json(
            {"job": job.model_dump(mode="json"), "version": version.model_dump(mode="json") if version else None}
        )
    else:
        typer.echo(_told(job))
        if version:
            typer.echo(
                f"It is {version.id}: {version.model}. `train gate {version.id}` measures it; it is not live yet."
            )
    if job.status in ("failed", "cancelled"):
        raise typer.Exit(1)


def status(
    wait: Annotated[bool, typer.Option(help="Wait until no job runs any more.")] = False,
    as_json: Json = False,
) -> None:
    """Show how many examples there are, what was tuned on them, and which version is live."""
    settings = load_settings(log_level="ERROR")

    async def look() -> dict[str, Any]:
        from bot.progress import progress_bar

        async with _open_school(settings) as school:
            problems = []
            for job in await school.tuning.unfinished():
                try:
                    with progress_bar() as progress:
                        await watch(school.tuning, job, progress, until_done=wait, patience_s=PATIENCE_S if wait else 0)
                except FootnoteError as error:
                    problems.append(str(error))
            return await school.report(problems)

    report = run(look())
    if as_json:
        print_json(report)
    else:
        _print(report)


def cancel(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="The beginning of its dataset's digest; may be left out for one job.")
    ] = "",
    as_json: Json = False,
) -> None:
    """End a tuning job, at the tuner too."""
    settings = load_settings(log_level="ERROR")

    async def end() -> TuningJob:
        async with _open_school(settings) as school:
            running = [one for one in await school.tuning.unfinished() if job in (one.job_id, one.dataset[: len(job)])]
            if len(running) != 1:
                known = ", ".join(one.dataset[:12] for one in running)
                which = f"Several jobs run; name one of them: {known}." if known else "No such tuning job runs."
                raise TellUser(f"{which} `train status` lists them.")
            return await school.tuning.cancel(running[0].dataset)

    ended = run(end())
    if as_json:
        print_json(ended.model_dump(mode="json"))
    else:
        typer.echo(_told(ended))


async def watch(
    tuning: Tuning, job: TuningJob, progress: Progress, *, until_done: bool, patience_s: float = PATIENCE_S
) -> TuningJob:
    """Advances a job until it has ended, or until the tuner has it, and shows how far it is. Raises TryAgain when the
    tuner does not take the job, or is then away for longer than `patience_s`, and what `Tuning.advance` raises."""
    away_since: float | None = None
    while not job.has_ended:
        before = job
        try:
            job = await tuning.advance(job.dataset)
            away_since, told = None, job.last_event if job.status == "running" else job.status
        except TryAgain as error:
            away_since, told = away_since or time.monotonic(), str(error)[:80]
            if job.job_id is None or time.monotonic() - away_since >= patience_s:
                raise
        progress(round(job.progress * 100), 100, told)
        if job.job_id and not until_done:
            break
        if (job.file_id, job.job_id) == (before.file_id, before.job_id) and not job.has_ended:
            await asyncio.sleep(LOOK_S)
    return job


@dataclass(frozen=True)
class _School:
    """What the commands need, open."""

    settings: Settings
    persona: Persona
    journal: Journal
    register: Register
    tuning: Tuning
    queue: Queue

    async def put_aside(self) -> None:
        """Puts aside what rests on documents that have changed, and says so. Raises TryAgain when the library is
        away."""
        from bot.learning.tracing import put_aside
        from bot.wiring import open_library_of

        async with open_library_of(self.settings) as (team_id, library):
            found = await put_aside(self.journal, partial(library.standing, team_id))
        if found:
            typer.echo(f"Put aside, because the pages behind them have changed: {len(found)}.", err=True)

    async def examples(self) -> tuple[list[Example], list[tuple[Example, str]]]:
        """Gives the examples to train on, and the others with their reasons."""
        from bot.learning.examples import trainable

        return trainable(await self.journal.examples(), self.persona, self.settings.trainable_providers)

    async def version_of(self, job: TuningJob) -> ModelVersion | None:
        """Gives the version that came of a job."""
        found = [one for one in await self.register.versions() if one.model == job.fine_tuned_model]
        return found[-1] if found and job.fine_tuned_model else None

    async def report(self, problems: Sequence[str]) -> dict[str, Any]:
        """Gives everything that `train status` tells."""
        from bot.learning.examples import WANTED
        from bot.learning.judging import kept_back
        from bot.learning.tuning import end_dates
        from bot.wiring import end_of

        usable, refused = await self.examples()
        routing = await self.register.routing()
        ends = await end_dates.warnings(self.register, partial(end_of, self.settings), self.settings.persona_model)
        return {
            "examples": {"trainable": len(usable), "wanted": WANTED, "kept_back": kept_back(refused)},
            "datasets": [
                one.model_dump(mode="json", exclude={"example_ids"}) | {"examples": len(one.example_ids)}
                for one in await self.register.datasets()
            ],
            "jobs": [one.model_dump(mode="json") for one in await self.register.jobs()],
            "versions": [
                one.model_dump(mode="json") | {"is_live": one.id == routing.live}
                for one in await self.register.versions()
            ],
            "live": routing.live,
            "canaries": dict(routing.canaries),
            "warnings": [*problems, *ends],
        }


@asynccontextmanager
async def _open_school(settings: Settings) -> AsyncIterator[_School]:
    from bot.learning.versions.register import Register
    from bot.persona import load_persona
    from bot.wiring import open_journal, open_tuning, team_of
    from bot.worker import open_queue

    team_id = await team_of(settings)
    persona = load_persona(settings.persona_file)
    async with open_journal(settings, team_id) as (memory, journal), open_queue(memory.docket_url, journal) as queue:
        register = Register(memory.redis, team_id)
        async with open_tuning(settings, register) as tuning:
            yield _School(settings, persona, journal, register, tuning, queue)


def _tell_refused(refused: Sequence[tuple[Example, str]]) -> None:
    from bot.learning.judging import kept_back

    if tally := kept_back(refused):
        typer.echo(f"{sum(tally.values())} approved examples are kept back:", err=True)
        for reason, count in tally.items():
            typer.echo(f"  {count:>5}  {reason}", err=True)


def _told(job: TuningJob) -> str:
    """One line about a job."""
    where = f"on dataset {job.dataset[:12]}, {job.base} at {job.server}"
    if job.status == "running":
        where += f", {job.progress:.0%}" + (f" ({job.last_event})" if job.last_event else "")
    return f"{job.status}: {where}" + (f"\n  {job.problem}" if job.problem else "")


def _print(report: dict[str, Any]) -> None:
    counted = report["examples"]
    typer.echo(f"{counted['trainable']} of {counted['wanted']} examples may be trained on.")
    for reason, count in counted["kept_back"].items():
        typer.echo(f"  {count:>5} approved ones kept back: {reason}")
    for one in report["datasets"]:
        few = ", few" if one["is_few"] else ""
        typer.echo(f"Dataset {one['digest'][:12]}: {one['examples']} examples{few}, {one['created_at'][:16]}")
    for one in report["jobs"]:
        typer.echo(f"Job {_told(TuningJob.model_validate(one))}")
    for one in report["versions"]:
        marks = [mark for mark, holds in (("live", one["is_live"]), ("made of few", one["is_few"])) if holds]
        marks += [f"canary in {channel}" for channel, id in report["canaries"].items() if id == one["id"]]
        marks += [f"ends on {one['ends_on']}"] if one["ends_on"] else []
        typer.echo(f"Version {one['id']}: {one['model']}" + (f" ({', '.join(marks)})" if marks else ""))
    typer.echo(f"Live: {report['live']}")
    for sentence in report["warnings"]:
        typer.echo(f"⚠ {sentence}")
