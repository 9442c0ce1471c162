"""`train review`, `export`: the examples, in the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from bot.shell import json_bytes, load_settings, run, writable, write
from bot.vocabulary import ExampleStatus


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    train.command("review")(review)
    train.command("export")(export)


def review(
    approve: Annotated[list[str] | None, typer.Option(help="Approve this example.", metavar="ID")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Reject this example.", metavar="ID")] = None,
) -> None:
    """List the examples that wait for review, approve or reject some."""
    from bot.learning import examples
    from bot.wiring import open_journal, team_of

    settings = load_settings()

    async def decide() -> None:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (_, journal):
            decisions: list[tuple[str, ExampleStatus]] = [(id, "approved") for id in approve or []]
            decisions += [(id, "rejected") for id in reject or []]
            for id, status in decisions:
                await examples.review(journal, id, status, "command line", None)
                typer.echo(f"{id} is {status}.")
            waiting = await journal.examples("candidate")
            for example in waiting:
                typer.echo(f"\n{example.id}  {example.audience}  by {example.produced_by}")
                typer.echo(f"  {example.question}\n  {example.answer}")
            approved = len(await journal.examples("approved"))
            typer.echo(f"{len(waiting)} wait for review; {approved} of {examples.WANTED} approved.")

    run(decide())


def export(
    file: Annotated[Path, typer.Argument(help="The JSON lines file to write.", callback=writable)],
    status: Annotated[str, typer.Option(help="candidate, approved, rejected or quarantined.")] = "approved",
) -> None:
    """Write examples that everyone in the workspace may read as training lines in OpenAI's chat layout."""
    from bot.learning import examples
    from bot.persona import load_persona
    from bot.wiring import open_journal, team_of

    if status not in get_args(ExampleStatus):
        raise typer.BadParameter(f"{status!r} is none of {', '.join(get_args(ExampleStatus))}", param_hint="--status")
    settings = load_settings()

    async def lines() -> tuple[list[bytes], int]:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (_, journal):
            found = [one for one in await journal.examples() if one.status == status]
        persona = load_persona(settings.persona_file)
        exported = [json_bytes(line, indent=None) for line in examples.export(found, persona)]
        return exported, len(found) - len(exported)

    exported, kept_back = run(lines())
    write(file, b"".join(exported))
    typer.echo(f"{len(exported)} {status} examples written to {file}", err=True)
    if kept_back:
        typer.echo(f"{kept_back} kept back: not everyone in the workspace may read them", err=True)
