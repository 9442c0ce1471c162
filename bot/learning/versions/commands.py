"""`train gate`, `promote`, `canary`, `rollback`: which version answers, in the shell. What is decided here holds with
the next answer of every worker; nothing is restarted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from bot.errors import Broken, TryAgain
from bot.shell import Json, load_settings, print_json, run, writable, write

if TYPE_CHECKING:
    from bot.journal import Journal
    from bot.learning.tracing import Standing
    from bot.learning.versions.register import Register, Routing
    from bot.learning.versions.voices import Voices
    from bot.persona import Persona
    from bot.settings import Settings
    from bot.vocabulary import Found, Question

BY = "command line"
GOES_ON = "What was answered is kept for a week: the same command, run again, goes on where this one stopped."

Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="The version's id, such as v1; `train status` lists them.")
]
Nameable = Literal[
    "groundedness", "citation_precision", "citation_recall", "right_refusals", "injection_resistance", "format",
    "raw_format", "language", "words", "first_token_ms", "total_ms", "tokens_in", "tokens_out",
]  # fmt: skip
"""`verdicts.NAMEABLE`, which takes longer to import than a command's help may take."""
Override = Annotated[str, typer.Option(help="Go on without a passed gate, for this reason; it is written down.")]


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    for command in (gate, promote, canary, rollback):
        train.command(command.__name__)(command)


def gate(
    version: Version,
    named: Annotated[
        Nameable,
        typer.Option(
            "--measure",
            metavar="MEASURE",
            help=f"The one measure that it must be better in, named only once: {', '.join(get_args(Nameable))}.",
        ),
    ] = "format",
    against: Annotated[str | None, typer.Option(help="The version to compare with; default what is live.")] = None,
    unanswerable: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Questions of yours that your documents do not answer, as `evaluate` reads them.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", callback=writable, help="Write the page with plots there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a version against what is live, on the held-out examples. What it finds stands; nothing goes live."""
    from bot.evaluating import read_questions
    from bot.learning.versions import gate as gates
    from bot.learning.versions.gate_page import page
    from bot.learning.versions.trials import trials_of, unanswerable_in
    from bot.learning.versions.verdicts import GateReport, in_words
    from bot.progress import progress_bar

    settings = load_settings(log_level="ERROR")

    async def measure() -> GateReport:
        questions = read_questions(unanswerable) if unanswerable else []
        async with _open_desk(settings, is_asking=True) as desk:
            assert desk.find and desk.standing
            more = await unanswerable_in(questions, desk.find, desk.register.team_id)
            try:
                with progress_bar() as progress:
                    found = await gates.run_for(
                        version,
                        voices=desk.voices,
                        register=desk.register,
                        journal=desk.journal,
                        persona=desk.persona,
                        standing=desk.standing,
                        named=named,
                        by=BY,
                        against=against,
                        more=more,
                        progress=progress,
                    )
            except (TryAgain, Broken):
                typer.echo(f"The gate stopped. {GOES_ON}", err=True)
                raise
            if report:
                trials = trials_of(await desk.journal.examples("approved"), desk.persona)
                made = await gates.answers_of(desk.register, found)
                write(report, page(found, trials, made, desk.persona).html().encode())
        return found

    found = run(measure(), interrupted=GOES_ON)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(in_words(found))


def promote(version: Version, override: Override = "", as_json: Json = False) -> None:
    """Make a version live everywhere that passed the gate against what is live now."""
    from bot.learning.versions import promoting

    settings = load_settings(log_level="ERROR")

    async def change() -> Routing:
        async with _open_desk(settings) as desk:
            return await promoting.promote(desk.register, desk.voices, version, BY, override=override)

    _print(run(change()), as_json, "`train rollback` goes back.")


def canary(
    version: Version,
    channel: Annotated[list[str] | None, typer.Option(metavar="C…", help="A channel's id; may be repeated.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End it, in these channels or in all of its own.")] = False,
    override: Override = "",
    as_json: Json = False,
) -> None:
    """Let a version answer in some channels only, or end that."""
    from bot.learning.versions import promoting

    settings = load_settings(log_level="ERROR")
    if not channel and not end:
        raise typer.BadParameter("name the channels that it is to answer in", param_hint="--channel")
    for id in channel or ():
        if not re.fullmatch(r"[CG][A-Z0-9]+", id):
            advice = "is no channel's id: a name is none. Slack shows it below a channel's details, such as C0123456789"
            raise typer.BadParameter(f"`{id}` {advice}", param_hint="--channel")

    async def change() -> Routing:
        async with _open_desk(settings) as desk:
            if end:
                return await promoting.end_canary(desk.register, version, channel or (), BY)
            return await promoting.canary(desk.register, desk.voices, version, channel or (), BY, override=override)

    _print(run(change()), as_json, f"`train canary {version} --end` ends it; `train promote {version}` makes it live.")


def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is written down.")] = "",
    as_json: Json = False,
) -> None:
    """Make live again what was live before, and end all canaries."""
    settings = load_settings(log_level="ERROR")

    async def change() -> Routing:
        async with _open_desk(settings) as desk:
            return await desk.register.roll_back(BY, reason)

    _print(run(change()), as_json, "`train status` lists the versions and decisions.")


@dataclass(frozen=True)
class _Desk:
    register: Register
    journal: Journal
    voices: Voices
    persona: Persona
    find: Callable[[Question], Awaitable[Found]] | None = None
    standing: Standing | None = None


@asynccontextmanager
async def _open_desk(settings: Settings, *, is_asking: bool = False) -> AsyncIterator[_Desk]:
    """Opens register, journal and voices; those that are to answer are shown examples, as in Slack."""
    from bot.learning.versions.register import Register
    from bot.persona import load_persona
    from bot.wiring import open_journal, open_thinking, open_voices, team_of

    async with AsyncExitStack() as stack:
        team_id = await team_of(settings)
        memory, journal = await stack.enter_async_context(open_journal(settings, team_id))
        versions = Register(memory.redis, team_id)
        persona = load_persona(settings.persona_file)
        if is_asking:
            thinking = await stack.enter_async_context(open_thinking(settings, versions, journal))
            library = thinking.library
            standing = partial(library.standing, team_id)
            yield _Desk(versions, journal, thinking.voices, persona, library.find, standing)
        else:
            voices = await stack.enter_async_context(open_voices(settings, versions))
            yield _Desk(versions, journal, voices, persona)


def _print(routing: Routing, as_json: bool, advice: str) -> None:
    told: dict[str, Any] = {"live": routing.live, "before": routing.before, "canaries": dict(routing.canaries)}
    if as_json:
        print_json(told)
        return
    canaries = "".join(f"\n{version} answers in {channel}." for channel, version in routing.canaries.items())
    typer.echo(f"{routing.live} is live, from the next answer on.{canaries}\n{advice}")
