"""`matrix`: measure the ways to answer against each other on one's own questions, in the shell."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.shell import AudienceOption, json_bytes, load_settings, readable, run, writable, write
from bot.vocabulary import PUBLIC, WORKSPACE

if TYPE_CHECKING:
    from bot.answering import Demonstrate
    from bot.learning.matrix.arms import Arm
    from bot.progress import Progress
    from bot.settings import Settings


def register(cli: typer.Typer) -> None:
    """Adds the command."""
    cli.command("matrix")(matrix)


def matrix(
    questions: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines: id, question, answer, evidence, …")
    ],
    arms: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The ways to answer, JSON or YAML; default what is configured."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=writable, help="The page; default matrix.html in DATA_DIR.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", callback=writable, help="Write JSON there; - is stdout.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first so many questions only.")] = None,
    audience: AudienceOption = WORKSPACE,
) -> None:
    """Compare ways to answer: models, prompts, retrieval, tuning. What is answered is kept beside the page, so that a
    run that is broken off goes on."""
    from bot.evaluating import read_questions
    from bot.learning.matrix.page import page, print_matrix
    from bot.progress import progress_bar

    settings = load_settings(log_level="CRITICAL")
    file = report or settings.data_dir / "matrix.html"
    answers = file.with_suffix(".answers.jsonl")
    is_private = audience not in (PUBLIC, WORKSPACE)

    async def measure() -> dict[str, Any]:
        from bot.learning.matrix.arms import read_arms

        asked = read_questions(questions)[:limit]
        given = read_arms(arms) if arms else None
        if is_private:
            _keep_private(answers)
        with progress_bar() as progress:
            return await matrix_of(settings, asked, given, audience, answers, progress, partial(typer.echo, err=True))

    result = run(measure())
    for shown in (file, as_json):
        if is_private and shown and str(shown) != "-":
            _keep_private(shown)
    measured = f"Measured on {datetime.now(UTC):%d %B %Y, %H:%M} UTC with the questions of {questions.name}."
    write(file, page(result, measured=measured).html().encode())
    run(_note(settings, result))
    if as_json:
        write(as_json, json_bytes(result))
    if str(as_json) != "-":
        print_matrix(result)
    typer.echo(f"The page is {file}.", err=True)


def _keep_private(file: Path) -> None:
    """Lets nobody but the operator read a file with what not everyone may read, before there is a word in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.chmod(0o600)


async def _note(settings: Settings, result: dict[str, Any]) -> None:
    """Leaves the findings where `/support matrix` reads them."""
    from bot.errors import TryAgain
    from bot.journal import now
    from bot.learning.matrix.page import lines
    from bot.learning.versions.register import MatrixNote, Register
    from bot.wiring import open_journal, team_of

    arms = tuple(arm["name"] for arm in result["arms"])
    note = MatrixNote(at=now(), arms=arms, questions=len(result["cases"]), lines=tuple(lines(result)))
    try:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (memory, _):
            await Register(memory.redis, team_id).keep_matrix(note)
    except TryAgain as error:
        typer.echo(f"`/support matrix` will not tell of it: {error}", err=True)


async def matrix_of(
    settings: Settings,
    asked: Sequence[Any],
    arms: Sequence[Arm] | None,
    audience: str,
    kept: Path | None,
    progress: Progress = lambda done, total, label: None,
    announce: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Opens what a matrix needs and runs it, with the configured arms where none are given; see `run_matrix`."""
    from bot.learning.matrix.arms import configured_arms
    from bot.learning.matrix.running import run_matrix
    from bot.learning.versions.gate import taught_to
    from bot.learning.versions.register import Register
    from bot.wiring import demonstrations, endpoint_of, has_model_server, open_asking, open_journal

    def endpoint(arm: Arm) -> tuple[str | None, str | None]:
        if arm.base_url is None:
            return endpoint_of(settings, arm.endpoint)
        return arm.base_url, os.environ.get(arm.api_key_env) if arm.api_key_env else None

    async with AsyncExitStack() as stack:
        team_id, thinking = await stack.enter_async_context(open_asking(settings))
        versions, jobs, taught, nearest = [], [], [], None
        if has_model_server(settings) or any(arm.nearest or arm.tuned for arm in arms or ()):
            memory, journal = await stack.enter_async_context(open_journal(settings, team_id))
            known = Register(memory.redis, team_id)
            versions, jobs = await known.versions(), await known.jobs()
            compared = arms or configured_arms(settings, versions, jobs)
            models = {arm.model for arm in compared}
            tuned = [one.id for one in versions if one.model in models]
            taught = await taught_to(known, tuned, await journal.examples())
            if await journal.examples("approved"):

                @cache
                def nearest(count: int) -> Demonstrate:
                    showing = settings.model_copy(update={"demonstrations": count})
                    return demonstrations(showing, thinking.library, journal)

        return await run_matrix(
            asked,
            arms or configured_arms(settings, versions, jobs, has_examples=nearest is not None),
            find=thinking.library.find,
            endpoint=endpoint,
            persona=thinking.persona,
            team_id=team_id,
            readable=readable,
            audience=audience,
            kept=kept,
            nearest=nearest,
            taught=taught,
            timeout_s=settings.model_timeout_s,
            deadline_s=settings.answer_deadline_s,
            progress=progress,
            announce=announce,
        )
