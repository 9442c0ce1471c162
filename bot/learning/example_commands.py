"""`train review` and `forget`: the examples, in the shell. What is listed is what the place named by `--audience` may
read, for whoever stands behind an operator reads along."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.learning import file_commands
from bot.learning.desk import CLEAN, open_desk, told_of
from bot.shell import AudienceOption, Json, load_settings, print_json, readable, run
from bot.vocabulary import WORKSPACE, DraftPage, Example, ExampleStatus

PERSON = re.compile(r"[UW][A-Z0-9]{2,}")
"""Slack's ids of people."""


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    train.command("review")(review)
    file_commands.register(train)
    train.command("forget")(forget)


def review(
    approve: Annotated[
        list[str] | None,
        typer.Option(help=f"Approve this one; `{CLEAN}`: all in which nothing is wrong.", metavar="ID"),
    ] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Reject this one.", metavar="ID")] = None,
    edit: Annotated[str | None, typer.Option(help="Give this one another answer.", metavar="ID")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer for --edit; `-` reads it from stdin.")] = None,
    pages: Annotated[
        Path | None,
        typer.Option(help="Write the draft pages there as Markdown, to be completed and ingested.", file_okay=False),
    ] = None,
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """List the examples that wait for review, with what is wrong with them; approve, edit or reject some."""
    if (edit is None) != (answer is None):
        raise typer.BadParameter("name an example and give its answer", param_hint="--edit and --answer")
    better = sys.stdin.read() if answer == "-" else answer or ""
    settings = load_settings(log_level="ERROR")

    async def decide() -> tuple[list[Example], list[DraftPage], str]:
        from bot.learning import examples
        from bot.wiring import open_library_of

        may_read = readable(audience)
        async with open_library_of(settings) as (team_id, library), open_desk(settings, team_id) as desk:
            await desk.hold_against_the_library(partial(library.standing, team_id), library.find)
            if edit:
                await desk.edit(edit, better.strip(), may_read)
            for id in [*(approve or []), *(reject or [])]:
                status: ExampleStatus = "approved" if id in (approve or []) else "rejected"
                await desk.decide(id, status, may_read)
            waiting = [
                one
                for one in await desk.journal.examples()
                if one.status in ("candidate", "quarantined") and examples.may_be_read(one, may_read)
            ]
            drafts = [page for page in await desk.register.draft_pages() if page.audience in may_read]
            return waiting, drafts, await examples.progress(desk.journal)

    waiting, drafts, progress = run(decide())
    if pages:
        _write_pages(pages, drafts)
    if as_json:
        shown: dict[str, Any] = {"examples": [one.model_dump(mode="json") for one in waiting]}
        print_json(shown | {"draft_pages": [one.model_dump(mode="json") for one in drafts], "progress": progress})
        return
    for one in waiting:
        _print_example(one)
    for page in drafts:
        typer.echo(f"\n{page.id}  draft page of {page.owner}, {page.audience}\n  {page.title}")
    typer.echo(f"{len(waiting)} wait for review; {progress}.")


def forget(
    user: Annotated[str, typer.Argument(help="Slack's id of the person, such as U0123ABCD.")],
    as_json: Json = False,
) -> None:
    """Erase what rests on one person, and say which datasets and models have seen it."""
    from bot.learning import examples
    from bot.learning.tracing import Forgotten
    from bot.wiring import team_of

    if not PERSON.fullmatch(user):
        raise typer.BadParameter(f"{user!r} is no id of Slack's: U or W, then letters and digits", param_hint="USER")
    settings = load_settings(log_level="ERROR")

    async def erase() -> Forgotten:
        async with open_desk(settings, await team_of(settings)) as desk:
            return await examples.forget_person(desk.journal, desk.register, user)

    gone = run(erase())
    datasets, versions = [one.digest for one in gone.datasets], [one.id for one in gone.versions]
    if as_json:
        erased = {"examples": list(gone.example_ids), "draft_pages": list(gone.page_ids)}
        print_json({"erased": erased, "datasets": datasets, "versions": versions, "copies": list(gone.copies)})
        return
    typer.echo(f"Erased: {len(gone.example_ids)} examples, {len(gone.page_ids)} draft pages, and what was journalled.")
    if gone.datasets:
        typer.echo(told_of(gone.datasets, gone.versions))
    for copy in gone.copies:
        typer.echo(f"Still there, to be deleted by you: {copy}.")
    if gone.example_ids:
        typer.echo("What `train export`, the gate's pages and the matrix wrote into files is yours to delete.")


def _print_example(one: Example) -> None:
    state = "" if one.status == "candidate" else f"  {one.status}"
    held_out = "  held out for measuring" if one.is_held_out else ""
    typer.echo(f"\n{one.id}  {one.audience}  {one.origin} by {one.produced_by}{state}{held_out}")
    typer.echo(f"  {one.question}\n  {one.answer}")
    for number, passage in enumerate(one.passages, 1):
        typer.echo(f"    [{number}] {passage.title}: {' '.join(passage.text.split())[:160]}")
    for problem in one.problems:
        typer.echo(f"  ⚠ {problem}")


def _write_pages(folder: Path, drafts: list[DraftPage]) -> None:
    """Writes draft pages as Markdown with front matter; one that somebody has written on already is left alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for page in drafts:
            file = folder / f"{page.id}.md"
            if not file.exists():
                title = json.dumps(page.title, ensure_ascii=False)  # which is YAML, too, whatever the title holds
                front = f"title: {title}\naudience: {page.audience}"
                owner = f"<!-- Draft of {page.owner}: complete and check it, then ingest it. -->"
                file.write_text(f"---\n{front}\n---\n\n{owner}\n\n{page.text}\n", encoding="utf-8")
    except OSError as error:
        typer.echo(f"{folder} cannot be written: {error.strerror}.", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{len(drafts)} draft pages are in {folder}; ingest them once they are complete.", err=True)
