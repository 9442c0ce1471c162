"""`train import`, `draft`, `export`: examples come out of files and go into files, in the shell."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from bot.learning.desk import open_desk
from bot.shell import AudienceOption, Json, json_bytes, load_settings, print_json, readable, run, writable, write
from bot.vocabulary import WORKSPACE, Example, ExampleStatus

if TYPE_CHECKING:
    from bot.learning.tuning.datasets import Kind
    from bot.settings import Settings


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    train.command("import")(import_)
    train.command("draft")(draft)
    train.command("export")(export)


def import_(
    file: Annotated[Path, typer.Argument(help='JSON lines of {"messages": […]}.', exists=True, dir_okay=False)],
    audience: Annotated[
        str, typer.Option(help="Who may read them: public, workspace, channel:ID or group:ID.")
    ] = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Bring along examples: question and answer, with their passages or without. They wait for review.

    A line is {"messages": [{"role": "user", "content": "[1] Title: text\\n\\nQuestion?"}, {"role": "assistant",
    "content": "Answer [1]."}]}, as `train export` writes it; a system message may stand before. Without passages the
    library is searched for what supports the answer. What cannot be read is refused, line by line, with the reason; the
    exit status is 1 when that is every line, else 0.
    """
    from bot.learning import examples, importing
    from bot.progress import progress_bar
    from bot.wiring import open_library_of

    settings = load_settings(log_level="ERROR")

    async def take() -> tuple[importing.Imported, str]:
        readable(audience)
        async with open_library_of(settings) as (team_id, library), open_desk(settings, team_id) as desk:
            with progress_bar() as progress:
                imported = await importing.import_file(
                    desk.journal, file, library.find, audience=audience, rules=desk.rules, progress=progress
                )
            return imported, await examples.progress(desk.journal)

    imported, progress = run(take())
    faulty = [one for one in imported.added if one.problems]
    if imported.refused:
        lines = len(imported.added) + imported.known + len(imported.refused)
        typer.echo(f"{len(imported.refused)} of {lines} lines were refused.", err=True)
    if as_json:
        print_json(
            {
                "added": [{"id": one.id, "problems": list(one.problems)} for one in imported.added],
                "known": imported.known,
                "refused": [{"line": one.number, "reason": one.reason} for one in imported.refused],
                "progress": progress,
            }
        )
    else:
        for refusal in imported.refused:
            typer.echo(f"{file}, line {refusal.number}: {refusal.reason}", err=True)
        typer.echo(
            f"{len(imported.added)} added, {len(faulty)} of them with problems; {imported.known} known already; "
            f"{len(imported.refused)} refused. `train review` lists them; {progress}."
        )
    if imported.refused and not imported.added and not imported.known:
        raise typer.Exit(1)


def draft(
    questions: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines: id, question, history.")],
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Let the configured model answer questions, for people to review: all of them wait for that."""
    from bot.evaluating import read_questions
    from bot.learning import drafting, examples
    from bot.progress import progress_bar
    from bot.terminal import SilentReply
    from bot.wiring import open_thinking, team_of

    settings = load_settings(log_level="ERROR")

    async def write_drafts() -> tuple[drafting.Drafted, str]:
        asked = read_questions(questions)
        may_read = readable(audience)
        async with open_desk(settings, await team_of(settings)) as desk, open_thinking(settings) as thinking:
            _warn_of_terms(settings, thinking.voices.configured.model.provider)
            with progress_bar() as progress:
                drafted = await drafting.draft(
                    desk.journal,
                    asked,
                    lambda question: thinking.answer(question, SilentReply()),
                    audience=audience,
                    readable=may_read,
                    rules=desk.rules,
                    progress=progress,
                )
            return drafted, await examples.progress(desk.journal)

    drafted, progress = run(write_drafts())
    figures = {"known": drafted.known, "unanswered": len(drafted.unanswered), "failed": len(drafted.failed)}
    left = {"unanswered": drafted.unanswered, "failed": drafted.failed}
    if as_json:
        named = [{"id": one.id, "why": why} for why, questions in left.items() for one in questions]
        print_json({"added": [one.id for one in drafted.added]} | figures | {"left": named, "progress": progress})
        return
    for why, without in left.items():
        for one in without:
            typer.echo(f"{why}: {one.id}: {one.question}", err=True)
    told = ", ".join(f"{count} {name}" for name, count in figures.items() if count)
    typer.echo(f"{len(drafted.added)} drafted{f', {told}' if told else ''}. `train review` lists them; {progress}.")


def export(
    file: Annotated[Path, typer.Argument(help="The JSON lines file to write.", callback=writable)],
    status: Annotated[str, typer.Option(help="candidate, approved, rejected or quarantined.")] = "approved",
    kind: Annotated[
        str, typer.Option(help="sft: OpenAI's chat layout; dpo: its preference layout; kto: TRL's rows.")
    ] = "sft",
    trainable: Annotated[
        bool, typer.Option("--trainable", help="Only what `train start` would take: nothing held out for measuring.")
    ] = False,
    with_origin: Annotated[
        bool,
        typer.Option(
            "--with-origin",
            help="With produced_by and provider, which `train import` reads and fine-tuning APIs refuse.",
        ),
    ] = False,
) -> None:
    """Write examples that everyone in the workspace may read as training lines in OpenAI's chat layout, or as pairs."""
    from bot.learning import examples
    from bot.learning.held_out import is_held_out
    from bot.learning.judging import EVERYBODY
    from bot.learning.tuning.datasets import lines
    from bot.wiring import open_library_of

    for name, value, known in (("--status", status, get_args(ExampleStatus)), ("--kind", kind, ("sft", "dpo", "kto"))):
        if value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=name)
    if with_origin and kind != "sft":
        raise typer.BadParameter("only --kind sft can be imported again", param_hint="--with-origin")
    settings = load_settings()

    async def exported() -> tuple[list[bytes], int, int]:
        async with open_library_of(settings) as (team_id, library), open_desk(settings, team_id) as desk:
            await desk.hold_against_the_library(partial(library.standing, team_id))
            every, persona = await desk.journal.examples(), desk.rules.persona
        found = [one for one in every if one.status == status]
        if trainable:
            usable = {one.id for one in examples.trainable(every, persona, settings.trainable_providers)[0]}
            found = [one for one in found if one.id in usable]
        for_all = [one for one in found if examples.may_be_read(one, EVERYBODY)]
        written = [
            _with_origin(line, one) if with_origin else line
            for one in for_all
            for line in lines([one], persona, cast("Kind", kind), held_out=True)
        ]
        measuring = sum(map(is_held_out, for_all)) if status == "approved" else 0
        return written, len(found) - len(for_all), measuring

    written, kept_back, measuring = run(exported())
    write(file, b"".join(written))
    what = f"{status} examples" if kind == "sft" else f"{kind} lines of {status} examples"
    typer.echo(f"{len(written)} {what} written to {file}", err=True)
    if kept_back:
        typer.echo(f"{kept_back} kept back: not everyone in the workspace may read them", err=True)
    if measuring:
        typer.echo(f"{measuring} of them are held out for measuring: train on what --trainable writes", err=True)


def _with_origin(line: bytes, one: Example) -> bytes:
    """Adds who wrote the answer, so that an import does not take it for a person's."""
    by = {"produced_by": one.produced_by, "provider": one.provider or "unknown"}
    return json_bytes(json.loads(line) | by, indent=None)


def _warn_of_terms(settings: Settings, provider: str) -> None:
    """Says before it costs anything that the drafts could not be trained on."""
    from bot.learning.judging import OURS

    if provider not in OURS | settings.trainable_providers:
        typer.echo(
            f"What {provider} writes may not be trained on as far as TRAINABLE_PROVIDERS says: the drafts can be "
            "reviewed and shown as examples, and are kept out of every dataset.",
            err=True,
        )
